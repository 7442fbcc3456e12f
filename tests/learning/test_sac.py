"""Stable-Baselines3's SAC learns through our replay what it is to learn, and goes on exactly."""

import numpy as np
import plane
import pytest
import torch
from resumed import goes_on_exactly

from autoenvbench.learning import sac
from autoenvbench.learning.bundle.policy import Actor
from autoenvbench.learning.episodes import load
from autoenvbench.learning.run import Training
from autoenvbench.learning.sac import SAC, Settings
from autoenvbench.make_env import make_env

QUICK = {"hidden": 32, "batch": 128, "learning_rate": 3e-3, "tracking": 0.05, "gamma": plane.GAMMA}
LOOP = {**QUICK, "batch": 32, "warm_up": 100, "updates": 0.3, "record_every": 1}


class Plane:
    """The plane's transitions where a buffer is expected."""

    def __init__(self, reward=1.0):
        self._data = plane.transitions(3000)
        self._data.reward *= reward

    def sample(self, n, rng):
        return rng.integers(len(self._data.reward), size=n)

    def batch(self, rows, **decisions):
        return type(self._data)(*(getattr(self._data, name)[rows] for name in self._data.__dataclass_fields__))


def learn(data):
    learner = SAC(2, 2, Settings(**QUICK), data, np.random.default_rng(1))
    policy = lambda at: learner.model.actor(at, deterministic=True)  # noqa: E731
    before = plane.solved(policy)
    learner.update(300)
    return before, plane.solved(policy)


def test_it_learns_from_our_replay():
    torch.manual_seed(1)
    before, after = learn(Plane(reward=30.0))  # theirs starts with a weight of 1 for the entropy
    assert before <= 0.3
    assert after >= 0.9


def test_ends_and_discounts_arrive():
    """Theirs takes `done` and a discount; of ours, 0 is an end."""
    data = Plane()
    given = sac._Replay(data, Settings(**QUICK), np.random.default_rng(0)).sample(500)
    ours = (1 - given.dones) * given.discounts
    assert ours.unique().tolist() == pytest.approx([0.0, plane.GAMMA])
    assert torch.equal(ours == 0, given.rewards == 1)
    assert given.rewards.shape == given.dones.shape == given.discounts.shape == (500, 1)


def test_it_goes_on_exactly(reach, shown, tmp_path):
    def train(training, episodes):
        return sac.train(make_env(reach), load([shown]), Settings(**LOOP, episodes=episodes), training)

    goes_on_exactly(train, tmp_path, until=3, limit=5)


def test_what_is_exported_acts_as_their_actor(reach, tmp_path, monkeypatch):
    made = []
    right = SAC.__init__
    monkeypatch.setattr(SAC, "__init__", lambda self, *args: (right(self, *args), made.append(self))[0])
    env = make_env(reach)
    packed = sac.train(env, None, Settings(**LOOP, episodes=3), Training(tmp_path / "run", seed=1, minutes=1))
    policy, (observation, _) = Actor(*packed), env.reset(seed=0)
    policy.reset(observation)
    theirs, _ = made[0].model.predict(observation, deterministic=True)
    np.testing.assert_allclose(policy.act(observation), theirs, atol=1e-5)
