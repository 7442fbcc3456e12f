"""The exported policy computes what the network computed, in its cage, with NumPy alone."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from autoenvbench.errors import UserError
from autoenvbench.learning.bundle.features import Features
from autoenvbench.learning.export import action_bounds, actor_of, export, pack
from autoenvbench.learning.networks import encoder, mlp

LOW, HIGH = np.array([-1.0, 0.0]), np.array([1.0, 10.0])
HEADS = {"gaussian": {"head": "gaussian"}, "tanh": {"head": "tanh"}, "mixture": {"head": "mixture", "components": 3}}


def features_of(rng, **more):
    return Features.of([rng.normal(size=(50, 4)).astype(np.float32)], 2, **more)


@pytest.mark.parametrize("head", HEADS)
def test_an_answer_is_the_networks(rng, head):
    torch.manual_seed(0)
    features = features_of(rng)
    net = mlp([4, 32, 32, {"gaussian": 4, "tanh": 4, "mixture": 9}[head]], layer_norm=True, dropout=0.5).eval()
    actor = actor_of(features, {"actor": net}, LOW, HIGH, **HEADS[head])
    for _ in range(20):
        observation = rng.normal(size=4).astype(np.float32)
        actor.reset(observation)
        with torch.no_grad():
            out = net(torch.from_numpy(features.numbers(observation))[None])[0].numpy()
        if head == "mixture":
            out = out[3:].reshape(3, 2)[out[:3].argmax()]
        expected = np.tanh(out[:2]) if head == "tanh" else np.clip(out[:2], -1, 1)
        assert actor.act(observation) == pytest.approx([expected[0], 5 + 5 * expected[1]], abs=1e-5)


def test_images_go_through_the_encoder(rng):
    torch.manual_seed(0)
    seen = {"pixels": rng.integers(0, 255, (20, 48, 48, 3), dtype=np.uint8), "agent_pos": rng.normal(size=(20, 2))}
    features = Features.of([seen], 2)
    eye, net = encoder((48, 48, 3), 16), mlp([18, 32, 4])
    actor = actor_of(features, {"actor": net, "image.pixels": eye}, -np.ones(2), np.ones(2), head="gaussian")
    observation = {key: value[3] for key, value in seen.items()}
    actor.reset(observation)
    with torch.no_grad():
        image = torch.from_numpy(observation["pixels"]).permute(2, 0, 1).float()[None] / 255
        numbers = torch.from_numpy(features.numbers(observation))[None].float()
        expected = net(torch.cat([numbers, eye(image)], 1))[0, :2].clamp(-1, 1).numpy()
    assert actor.act(observation) == pytest.approx(expected, abs=1e-4)


def test_a_chunk_is_executed_and_held_as_long_as_it_says(rng):
    features = features_of(rng, history=2, stride=2)
    net = mlp([features.size, 16, 12])
    actor = actor_of(features, {"actor": net}, -np.ones(2), np.ones(2), head="gaussian", chunk=3, execute=2, hold=2)
    actor.reset(np.zeros(4))
    done = [actor.act(rng.normal(size=4)) for _ in range(8)]
    same = [bool(np.array_equal(a, b)) for a, b in itertools.pairwise(done)]
    assert same == [True, False, True, False, True, False, True]


def test_nothing_of_one_episode_is_left_in_the_next(rng):
    features = features_of(rng, history=4, stride=2)
    actor = actor_of(
        features, {"actor": mlp([features.size, 16, 4])}, -np.ones(2), np.ones(2), head="gaussian", chunk=1
    )
    steps = rng.normal(size=(10, 4))

    def episode():
        actor.reset(steps[0])
        return np.stack([actor.act(step) for step in steps])

    assert np.array_equal(episode(), episode())


def test_who_looks_on_knows_what_was_done(rng):
    """A learner that watches a teacher drive, and then drives itself, answers as if it had acted all along."""
    features = features_of(rng, history=3, stride=2)
    net = mlp([features.size, 16, 4])
    one, other = (actor_of(features, {"actor": net}, LOW, HIGH, head="gaussian") for _ in range(2))
    steps = rng.normal(size=(12, 4))
    one.reset(steps[0])
    other.reset(steps[0])
    for step in steps[:8]:
        action = one.act(step)
        other.look(step)
        other.did(action)
    assert np.array_equal(one.act(steps[8]), other.act(steps[8]))


def test_the_folder_needs_numpy_and_nothing_of_ours(tmp_path, rng):
    features = features_of(rng, history=2, stride=1)
    folder = export(tmp_path / "policy", pack(features, {"actor": mlp([features.size, 16, 4])}, LOW, HIGH, head="tanh"), {"algorithm": "test"})  # fmt: skip
    program = (
        "import sys, numpy as np; sys.path.insert(0, '.'); import policy; p = policy.Policy(None, None); "
        "p.reset(np.zeros(4)); p.act(np.zeros(4)); assert p.act(np.ones(4)).shape == (2,); "
        "assert not {'torch', 'autoenvbench', 'gymnasium'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-I", "-c", program], cwd=folder, check=True, timeout=60)
    assert json.loads((folder / "policy.json").read_text())["made_by"] == {"algorithm": "test"}
    with np.load(folder / "checkpoints" / "policy.npz", allow_pickle=False) as file:
        assert all(file[name].dtype == np.float32 for name in file.files)
    export(folder, pack(features, {"actor": mlp([features.size, 8, 4])}, LOW, HIGH, head="tanh"), {})  # in its place
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]


def test_what_the_exported_policy_does_not_know_is_refused_beforehand(rng, env):
    with pytest.raises(TypeError, match=r"GELU.* has no counterpart"):
        pack(features_of(rng), {"actor": nn.Sequential(nn.Linear(4, 4), nn.GELU())}, LOW, HIGH, head="tanh")
    low, high = action_bounds(env)
    assert (low.tolist(), high.tolist()) == ([-1, -1], [1, 1])

    class Unbounded:
        spec, action_space = None, type(env.action_space)(-np.inf, np.inf, (2,))

    with pytest.raises(UserError, match="a vector of actions with bounds"):
        action_bounds(Unbounded())
