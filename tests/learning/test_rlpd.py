"""RLPD learns a plane in a second, and would not if its update were wrong; with its loop it goes on exactly after an interruption."""

from dataclasses import replace

import numpy as np
import plane
import pytest
import torch
from resumed import goes_on_exactly

from autoenvbench.errors import UserError
from autoenvbench.learning import rlpd
from autoenvbench.learning.bundle.policy import Actor
from autoenvbench.learning.episodes import load
from autoenvbench.learning.rlpd import RLPD, Settings
from autoenvbench.learning.run import Training
from autoenvbench.make_env import make_env

QUICK = {"hidden": 32, "critics": 2, "batch": 128, "learning_rate": 3e-3, "tracking": 0.05}
LOOP = {**QUICK, "batch": 32, "updates": 0.5, "record_every": 1, "clone": 5, "bc_weight": 1.0, "bc_steps": 50}


def learn(data, updates=300, prepare=lambda learner: None, **settings):
    """How much of the plane a learner solves before and after."""
    learner = RLPD(2, 2, Settings(**{**QUICK, **settings}))
    prepare(learner)
    before = plane.solved(learner.actor.mean)
    for _ in range(updates):
        learner.update(plane.part(data, 128))
    return before, plane.solved(learner.actor.mean)


def wrong_way(learner):
    learner.actor_optimiser.param_groups[0]["maximize"] = True


def test_it_learns_from_random_actions():
    torch.manual_seed(1)
    before, after = learn(plane.transitions(3000))
    assert before <= 0.2
    assert after >= 0.9


@pytest.mark.parametrize(
    "broken",
    [{"prepare": wrong_way}, {"tracking": 0.0}],
    ids=["the actor moves the wrong way", "the targets stand still"],
)
def test_a_broken_update_is_seen(broken):
    torch.manual_seed(1)
    assert learn(plane.transitions(3000), **broken)[1] <= 0.5


@pytest.mark.parametrize(("final", "gone"), [(10.0, False), (0.0, True)], ids=["stays", "goes"])
def test_the_bc_term_pulls_towards_what_was_shown_while_it_is_there(final, gone):
    torch.manual_seed(1)
    learner = RLPD(2, 2, Settings(**QUICK, bc_weight=10.0, bc_final=final, bc_steps=50))
    data, shown = plane.transitions(3000), replace(plane.transitions(500), action=torch.full((500, 2), 0.5))
    weights = []
    for _ in range(400):
        weights.append(learner.bc_weight)
        measured = learner.update(plane.part(data, 128), plane.part(shown, 32))
    assert weights[:52:25] == pytest.approx([10.0, (10 + final) / 2, final])
    distance = (learner.actor.mean(data.obs) - 0.5).square().mean().item()
    assert (distance > 0.1) == gone
    assert np.isnan(measured["bc_distance"]) == gone  # nobody asks for it any more


def test_cloning_is_the_start():
    torch.manual_seed(1)
    learner, shown = RLPD(2, 2, Settings(**QUICK)), plane.transitions(1000, good=1.0)
    for _ in range(200):
        learner.clone(plane.part(shown, 128))
    assert plane.solved(learner.actor.mean) > 0.9
    assert plane.solved(learner.average.mean) > 0.9


def test_targets_stay_within_what_can_be_earned():
    torch.manual_seed(1)
    learner = RLPD(2, 2, Settings(**QUICK, target_low=0.0, target_high=1.0))
    batch = plane.transitions(256)
    lies = replace(batch, reward=torch.full((256,), 50.0))
    for _ in range(300):
        learner.update_critic(lies)
    assert learner.critic(batch.obs, batch.action).max() < 1.5


@pytest.mark.parametrize(("entropy", "temperature"), [(-20.0, 0.05), (5.0, 0.2)], ids=["falls to its bound", "rises"])
def test_the_temperature_follows_the_entropy_that_is_wanted(entropy, temperature):
    torch.manual_seed(1)
    learner, data = RLPD(2, 2, Settings(**QUICK, entropy=entropy, min_temperature=0.05)), plane.transitions(1000)
    for _ in range(400):
        learner.update_actor(plane.part(data, 32))
    assert learner.temperature == pytest.approx(0.05) if entropy < 0 else learner.temperature > temperature


def test_the_critics_weights_are_none_of_the_actors_business():
    torch.manual_seed(1)
    learner, data = RLPD(2, 2, Settings(**QUICK)), plane.transitions(64)
    before = [p.clone() for p in learner.critic.parameters()]
    learner.update_actor(data)
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, learner.critic.parameters(), strict=True))
    assert all(p.requires_grad for p in learner.critic.parameters())


def test_the_actor_waits_until_the_critics_are_warm():
    torch.manual_seed(1)
    learner, data = RLPD(2, 2, Settings(**QUICK, warm_up=5)), plane.transitions(500)
    measured = []
    for moves in [False] * 5 + [True]:
        actor, critic = ([p.clone() for p in net.parameters()] for net in (learner.actor, learner.critic))
        measured.append(dict(learner.update(plane.part(data, 128))))
        assert any(not torch.equal(a, b) for a, b in zip(actor, learner.actor.parameters(), strict=True)) == moves
        assert any(not torch.equal(a, b) for a, b in zip(critic, learner.critic.parameters(), strict=True))
    assert list(measured[0]) == list(measured[-1])  # a curve has the same columns everywhere
    assert np.isnan(measured[0]["entropy"])
    assert np.isfinite(measured[-1]["entropy"])


def test_in_bfloat16_it_learns_the_same_and_its_values_stay_exact():
    torch.manual_seed(1)
    data = plane.transitions(3000)
    assert learn(data, precision="bfloat16")[1] >= 0.9
    learner = RLPD(2, 2, Settings(**QUICK, precision="bfloat16"))
    learner.update(plane.part(data, 128))
    values = learner.critic(data.obs, data.action)
    assert {values.dtype, *(p.dtype for p in learner.critic.parameters())} == {torch.float32}
    assert (values != values.bfloat16()).any()
    learner.critic.precision = "float32"
    exact = learner.critic(data.obs, data.action)
    assert 0 < (values - exact).abs().max() < 0.05 * exact.std() + 0.02  # three digits of what is hidden


# -- the loop ----------------------------------------------------------------------------------------------------------
def test_every_batch_has_its_share_of_demonstrations(reach, shown, tmp_path, monkeypatch):
    counts = []
    right = RLPD.update

    def counting(self, batch, demonstrated=None):
        counts.append((int((batch.source == 1).sum()), len(batch.source)))
        return right(self, batch, demonstrated)

    monkeypatch.setattr(RLPD, "update", counting)
    settings = Settings(**LOOP, demo_share=0.25, episodes=2)
    rlpd.train(make_env(reach), load([shown]), settings, Training(tmp_path / "run", seed=1, minutes=1))
    assert set(counts) == {(8, 32)}


def test_what_is_exported_acts_as_the_average_of_the_actor(reach, shown, tmp_path):
    env, made = make_env(reach), []
    right = RLPD.__init__

    class Kept(RLPD):
        def __init__(self, *args):
            right(self, *args)
            made.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rlpd, "RLPD", Kept)
        training = Training(tmp_path / "run", seed=1, minutes=1)
        packed = rlpd.train(env, load([shown]), Settings(**LOOP, episodes=2, hold=2), training)
    policy, (observation, _) = Actor(*packed), env.reset(seed=0)
    policy.reset(observation)
    first = policy.act(observation)
    seen = torch.from_numpy(policy._history.input()[None])
    np.testing.assert_allclose(first, made[0].average.mean(seen)[0].detach(), atol=1e-5)
    other, *_ = env.step(first)
    np.testing.assert_array_equal(policy.act(other), first)  # a decision lasts two steps


def test_it_goes_on_exactly(reach, shown, tmp_path):
    def train(training, episodes):
        return rlpd.train(make_env(reach), load([shown]), Settings(**LOOP, episodes=episodes), training)

    goes_on_exactly(train, tmp_path, until=2, limit=4)


def test_without_demonstrations_it_says_what_to_type(reach, tmp_path):
    env = make_env(reach)
    with pytest.raises(UserError, match="autoenvbench demos"):
        rlpd.train(env, None, Settings(**LOOP), Training(tmp_path / "a", seed=1, minutes=1))
    alone = Settings(**{**LOOP, "clone": 0, "bc_weight": 0.0, "demo_share": 0.0, "episodes": 1})
    Actor(*rlpd.train(env, None, alone, Training(tmp_path / "b", seed=1, minutes=1)))


@pytest.mark.parametrize("imitate_own", [False, True])
def test_its_own_successes_are_imitated_if_asked_and_nothing_else(reach, shown, tmp_path, monkeypatch, imitate_own):
    episodes = iter([replace(load([shown])[0], success=success) for success in (True, False, True)])
    monkeypatch.setattr(rlpd.Practice, "episode", lambda practice: next(episodes))
    training, demos = Training(tmp_path / "run", seed=1, minutes=1), load([shown])
    settings = Settings(**{**LOOP, "updates": 0.1, "record_every": 9}, imitate_own=imitate_own, episodes=3)
    rlpd.train(make_env(reach), demos, settings, training)
    assert training._parts["shown"].episodes == len(demos) + 2 * imitate_own
    assert training._parts["replay"].episodes == 3


def test_it_stops_when_its_time_on_the_robot_is_used(reach, shown, tmp_path):
    training = Training(tmp_path / "run", seed=1, minutes=1)
    settings = Settings(
        **{**LOOP, "updates": 0.1}, episodes=50, robot_minutes=0.25
    )  # an episode is a tenth of one at most
    rlpd.train(make_env(reach), load([shown]), settings, training)
    assert 0.25 <= training._parts["practice"].minutes <= 0.35
