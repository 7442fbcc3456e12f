"""A correction begins as its base, stays near it, improves on it, and is exported with it as one policy and one network."""

import json

import numpy as np
import plane
import pytest
import torch
from gymnasium import spaces

from autoenvbench.errors import UserError
from autoenvbench.learning import rlpd
from autoenvbench.learning.bundle.features import Features
from autoenvbench.learning.bundle.policy import Actor
from autoenvbench.learning.export import export, pack
from autoenvbench.learning.network_file import declared_network
from autoenvbench.learning.networks import mlp
from autoenvbench.learning.residual import Base, Residual
from autoenvbench.learning.rlpd import RLPD, Settings
from autoenvbench.make_env import make_env
from autoenvbench.station.networks import NetworkPolicy

SEEN, ACTIONS = spaces.Box(-3, 3, (4,), np.float32), spaces.Box(np.float32([-1, 0]), np.float32([1, 10]))
QUICK = {"hidden": 32, "critics": 2, "batch": 128, "learning_rate": 3e-3, "tracking": 0.05}


def policy(folder, head="gaussian", looks=None, sees=4, bounds=ACTIONS, **more):
    """The folder of a policy of random weights, and what is seen in its episodes (30, sees)."""
    torch.manual_seed(0)
    seen = np.random.default_rng(0).uniform(-1, 1, (30, sees)).astype(np.float32)
    features = Features.of([seen], 2, **(looks or {}))
    out = 3 * (1 + 2) if head == "mixture" else 4 * more.get("chunk", 1)
    actor = mlp([features.size, 16, out], layer_norm=True)
    return export(
        folder, pack(features, {"actor": actor}, bounds.low, bounds.high, head=head, components=3, **more), {}
    ), seen


@pytest.mark.parametrize(("head", "hold"), [("gaussian", 1), ("tanh", 2), ("mixture", 1)])
def test_it_begins_as_its_base_and_is_exported_with_it(tmp_path, head, hold):
    folder, seen = policy(tmp_path / "base", head, {"history": 2, "stride": 3}, hold=hold)
    base = Base(folder)
    learner = RLPD(base.features.size, 2, Settings(**QUICK, hold=hold, residual=0.3, noise=0.5), base)

    def acts(one):
        one.reset(seen[0])
        return np.array([one.act(step) for step in seen])

    def exported():
        packed = learner.pack(base.features, ACTIONS.low, ACTIONS.high)
        (tmp_path / "network.onnx").write_bytes(declared_network(*packed, SEEN))
        return acts(Actor(*packed)), acts(NetworkPolicy(tmp_path / "network.onnx", SEEN, ACTIONS))

    alone = acts(Actor(*_read(folder)))
    for same in exported():
        np.testing.assert_allclose(same, alone, atol=2e-4)
    with torch.no_grad():
        learner.average.net[-1].weight.normal_()
    by_policy, by_network = exported()
    np.testing.assert_allclose(by_network, by_policy, atol=1e-3)
    assert np.abs(by_policy[0] - alone[0]).max() > 0.01
    assert np.all(np.abs(by_policy[0] - alone[0]) <= 0.3 * (ACTIONS.high - ACTIONS.low) / 2 + 1e-5)


def test_it_improves_on_a_base_that_it_leaves_as_it_is(tmp_path):
    bounds = spaces.Box(-1, 1, (2,), np.float32)
    base = Base(policy(tmp_path / "base", sees=2, bounds=bounds)[0])
    torch.manual_seed(1)
    learner = RLPD(2, 2, Settings(**QUICK, residual=2.0), base)
    before, weights = plane.solved(learner.actor.mean), [p.clone() for p in base.parameters()]
    data = plane.transitions(3000)
    for _ in range(300):
        learner.update(plane.part(data, 128))
    assert before <= 0.3
    assert plane.solved(learner.actor.mean) >= 0.9
    kept = (*learner.actor.base.parameters(), *learner.average.base.parameters())
    assert all(torch.equal(a, b) for a, b in zip([*weights, *weights], kept, strict=True))


def test_what_it_tries_stays_near_the_base(tmp_path):
    base = Base(policy(tmp_path / "base")[0])
    actor, obs = Residual(base, [4, 16], 0.1, std=2.0), torch.randn(1000, 4)
    with torch.no_grad():
        tried, likelihood = actor(obs)
        off = (tried - base(obs)).abs().max(dim=1).values
    assert 0.05 < off.max() <= 0.1 + 1e-6
    assert likelihood.isfinite().all()


def test_a_base_that_does_not_fit_is_refused_with_what_to_type(reach, tmp_path):
    env = make_env(reach)
    with pytest.raises(UserError, match="name its folder"):
        rlpd.learner_of(env, None, Settings(base=str(tmp_path)))
    with pytest.raises(UserError, match="chunk=1"):
        Base(policy(tmp_path / "chunks", chunk=2)[0])
    with pytest.raises(UserError, match="other observations"):
        rlpd.learner_of(env, None, Settings(base=str(policy(tmp_path / "other")[0])))
    own = rlpd.learner_of(env, None, Settings(hidden=8))[1].pack(
        rlpd.vector_features(env, None), *rlpd.action_bounds(env)
    )
    folder = str(export(tmp_path / "own", own, {}))
    with pytest.raises(UserError, match="--set hold=1"):
        rlpd.learner_of(env, None, Settings(base=folder, hold=2))
    with pytest.raises(UserError, match="--set lead=0"):
        rlpd.learner_of(env, None, Settings(base=folder, lead=2.0))
    with pytest.raises(UserError, match="0 or more"):
        rlpd.learner_of(env, None, Settings(lead=-1.0))
    _, learner = rlpd.learner_of(env, None, Settings(base=folder, hidden=8))
    corrected = export(tmp_path / "twice", learner.pack(rlpd.vector_features(env, None), *rlpd.action_bounds(env)), {})
    with pytest.raises(UserError, match="corrects no other"):
        Base(corrected)


def _read(folder):
    with np.load(folder / "checkpoints" / "policy.npz") as file:
        return json.loads((folder / "policy.json").read_text()), dict(file)
