"""Replay gives what was put in, in exact shares, and never a transition that did not happen."""

import numpy as np
import pytest
import torch

from autoenvbench.errors import UserError
from autoenvbench.learning.buffer import Buffer, Mixture
from autoenvbench.learning.bundle.features import Features
from autoenvbench.learning.episodes import Trajectory

LOW, HIGH = np.array([-1.0]), np.array([1.0])
#: Observations are their own step's number and their episode's; not normalised.
PLAIN = Features((), (), 0, 1, True, 1, np.zeros(2, np.float32), np.ones(2, np.float32) * 100)


def walk(name, steps, terminated=True, reward=None):
    observation = np.stack([np.arange(steps + 1), np.full(steps + 1, name)], axis=1).astype(np.float32)
    action = (np.arange(steps, dtype=np.float32) / 100)[:, None]
    rewards = np.arange(1, steps + 1, dtype=np.float32) if reward is None else np.full(steps, reward, np.float32)
    return Trajectory(observation, action, rewards, terminated, terminated)


def seen(tensor):
    return np.rint(tensor.numpy() * 100).astype(int).tolist()


def test_returns_over_several_steps_end_where_the_episode_does():
    buffer = Buffer.of(PLAIN, [walk(1, 5), walk(2, 4, terminated=False)], LOW, HIGH)
    assert len(buffer) == 9
    batch = buffer.batch(buffer.steps, gamma=0.5, n_step=3)
    assert seen(batch.obs) == [[k, 1] for k in range(5)] + [[k, 2] for k in range(4)]
    assert seen(batch.next_obs) == [[3, 1], [4, 1], [5, 1], [5, 1], [5, 1], [3, 2], [4, 2], [4, 2], [4, 2]]
    assert batch.reward[:5].tolist() == [1 + 1 + 0.75, 2 + 1.5 + 1, 3 + 2 + 1.25, 4 + 2.5, 5]
    assert batch.discount.tolist() == [0.125, 0.125, 0, 0, 0, 0.125, 0.125, 0.25, 0.5]  # a time limit is no termination
    assert batch.action[:, 0].tolist() == pytest.approx([0, 0.01, 0.02, 0.03, 0.04, 0, 0.01, 0.02, 0.03])


def test_a_held_decision_is_one_step_of_discount_and_the_mean_of_its_actions():
    buffer = Buffer.of(PLAIN, [walk(1, 7)], LOW, HIGH)
    batch = buffer.batch(np.array([0, 2]), gamma=0.5, n_step=2, hold=3)
    assert seen(batch.next_obs) == [[6, 1], [7, 1]]
    assert batch.reward.tolist() == [1 + 2 + 3 + 0.5 * (4 + 5 + 6), 3 + 4 + 5 + 0.5 * (6 + 7)]
    assert batch.discount.tolist() == [0.25, 0]
    assert batch.action[:, 0].tolist() == pytest.approx([0.01, 0.03])


def test_old_episodes_make_room_whole(rng):
    buffer = Buffer(PLAIN, 20, LOW, HIGH)
    for name in range(30):
        buffer.add(walk(name, int(rng.integers(1, 9))))
        batch = buffer.batch(buffer.steps, gamma=1.0)
        names = {row[1] for row in seen(batch.obs)}
        assert name in names
        assert names == set(range(min(names), name + 1))  # the oldest went first
        assert [[a[0] + 1, a[1]] for a in seen(batch.obs)] == seen(batch.next_obs)
    with pytest.raises(UserError, match="an episode of 20 steps does not fit into a buffer of 20"):
        buffer.add(walk(0, 20))


def test_chunks_of_actions_say_where_the_episode_ended():
    buffer = Buffer.of(PLAIN, [walk(1, 3), walk(2, 5)], LOW, HIGH)
    actions, there = buffer.chunks(np.array([1, 4]), 4)
    assert there.tolist() == [[True, True, False, False], [True] * 4]
    assert actions[:, :, 0].tolist() == [pytest.approx([0.01, 0.02, 0.02, 0.02]), pytest.approx([0, 0.01, 0.02, 0.03])]


def test_actions_are_scaled_by_their_bounds():
    buffer = Buffer.of(PLAIN, [Trajectory(np.zeros((3, 2)), np.array([[2.0], [4.0]]), np.zeros(2), True, True)], np.array([2.0]), np.array([4.0]))  # fmt: skip
    assert buffer.batch(buffer.steps, gamma=1.0).action.tolist() == [[-1], [1]]


@pytest.mark.parametrize("shares", [(0.5, 0.5), (3, 1), (1, 0), (1, 1.7)])
@pytest.mark.parametrize("n", [1, 7, 64])
def test_a_batch_has_exactly_its_shares(rng, shares, n):
    names = ("replay", "demos")
    held = {name: (Buffer.of(PLAIN, [walk(k, 4 + 40 * k)], LOW, HIGH), share) for k, (name, share) in enumerate(zip(names, shares, strict=True))}  # fmt: skip
    mixture = Mixture(held)
    batch = mixture.sample(n, rng, gamma=0.9)
    counts = mixture.counts(n)
    assert sum(counts.values()) == n
    assert [seen(batch.obs)[k][1] for k in range(n)] == [0] * counts["replay"] + [1] * counts["demos"]
    assert batch.source.tolist() == [0] * counts["replay"] + [1] * counts["demos"]
    assert all(abs(counts[name] - n * share / sum(shares)) < 1 for name, share in zip(names, shares, strict=True))


def test_an_empty_source_and_shares_of_nothing_are_refused(rng):
    empty = Buffer(PLAIN, 10, LOW, HIGH)
    with pytest.raises(UserError, match="nothing in replay yet"):
        Mixture({"replay": (empty, 1), "demos": (Buffer.of(PLAIN, [walk(1, 3)], LOW, HIGH), 1)}).sample(4, rng, gamma=1)
    for share in (0.0, -1.0, float("nan")):
        with pytest.raises(UserError, match="shares of sources"):
            Mixture({"demos": (empty, share)})


def test_it_goes_on_as_it_was(rng):
    one, other = (Buffer(PLAIN, 30, LOW, HIGH) for _ in range(2))
    for name in range(9):
        one.add(walk(name, 3 + name % 4))
    other.load_state_dict(one.state_dict())
    for buffer in (one, other):
        buffer.add(walk(99, 6))
    a, b = (buffer.batch(buffer.sample(50, np.random.default_rng(0)), gamma=0.9, n_step=2) for buffer in (one, other))
    assert all(torch.equal(getattr(a, name), getattr(b, name)) for name in a.__dataclass_fields__)
