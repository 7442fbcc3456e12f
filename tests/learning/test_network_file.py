"""The declared network answers as the exported policy does, step by step, in the station's own runner."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from autoenvbench.learning.buffer import Buffer
from autoenvbench.learning.bundle.features import Features, flat
from autoenvbench.learning.bundle.policy import Actor
from autoenvbench.learning.episodes import Trajectory
from autoenvbench.learning.export import pack
from autoenvbench.learning.network_file import declared_network
from autoenvbench.learning.networks import encoder, mlp
from autoenvbench.station.networks import NetworkPolicy

VECTOR = spaces.Box(-3, 3, (4,), np.float32)
CAMERA = spaces.Dict(
    a=spaces.Box(-3, 3, (2,), np.float32), pixels=spaces.Box(0, 255, (32, 32, 3), np.uint8), b=spaces.Box(-3, 3, (1,), np.float32),
)  # fmt: skip
CAMERAS = spaces.Dict(
    agent_pos=VECTOR, pixels=spaces.Dict(dict.fromkeys(("wrist", "side"), CAMERA["pixels"]))
)  # as image levels have them
PIXELS = spaces.Box(0, 255, (32, 32, 3), np.uint8)
ACTIONS = spaces.Box(np.float32([-1, 0]), np.float32([1, 10]))


@pytest.mark.parametrize(
    ("space", "history", "stride", "actions", "head"),
    [
        (VECTOR, 0, 1, True, "tanh"), (VECTOR, 3, 4, True, "gaussian"), (VECTOR, 3, 4, False, "gaussian"), (VECTOR, 5, 1, True, "tanh"),
        (CAMERA, 2, 3, True, "gaussian"), (PIXELS, 0, 1, True, "gaussian"),
        (CAMERAS, 2, 3, True, "gaussian"),
    ],
)  # fmt: skip
def test_it_answers_as_the_policy_does(tmp_path, space, history, stride, actions, head):
    torch.manual_seed(0)
    space.seed(0)
    seen = [space.sample() for _ in range(30)]
    flat_ones = [flat(step) for step in seen]  # as files of episodes hold them; what acts is given them as they are
    whole = (
        {key: np.stack([s[key] for s in flat_ones]) for key in flat_ones[0]}
        if isinstance(space, spaces.Dict)
        else np.stack(seen)
    )
    features = Features.of([whole], 2, history=history, stride=stride, actions=actions)
    eyes = {f"image.{key}": encoder((32, 32, 3), 8) for key in features.images}
    actor = mlp([features.size + 8 * len(eyes), 32, 4], layer_norm=True)
    packed = pack(features, {"actor": actor, **eyes}, ACTIONS.low, ACTIONS.high, head=head)
    (tmp_path / "network.onnx").write_bytes(declared_network(*packed, space))
    policy, network = Actor(*packed), NetworkPolicy(tmp_path / "network.onnx", space, ACTIONS)
    for _ in range(2):  # nothing is left of the first episode in the second
        policy.reset(seen[0])
        network.reset(seen[0])
        for step in seen:
            assert network.act(step) == pytest.approx(policy.act(step), abs=2e-4)


@pytest.mark.parametrize(
    ("head", "chunk", "execute", "hold", "history"),
    [
        ("tanh", 1, 1, 3, 0), ("tanh", 1, 1, 2, 2), ("gaussian", 4, 4, 1, 2), ("gaussian", 5, 3, 2, 2), ("gaussian", 3, 1, 1, 0),
        ("mixture", 1, 1, 1, 0), ("mixture", 4, 3, 1, 2),
    ],
)  # fmt: skip
def test_actions_that_last_and_mixtures_are_in_the_graph(tmp_path, head, chunk, execute, hold, history):
    torch.manual_seed(0)
    VECTOR.seed(0)
    seen = [VECTOR.sample() for _ in range(30)]
    features = Features.of([np.stack(seen)], 2, history=history, stride=3)
    out = 5 * (1 + 2 * chunk) if head == "mixture" else 4 * chunk
    timing = {"chunk": chunk, "execute": execute, "hold": hold}
    packed = pack(
        features, {"actor": mlp([features.size, 32, out])}, ACTIONS.low, ACTIONS.high, head=head, components=5, **timing
    )
    (tmp_path / "network.onnx").write_bytes(declared_network(*packed, VECTOR))
    policy, network = Actor(*packed), NetworkPolicy(tmp_path / "network.onnx", VECTOR, ACTIONS)
    for length in (30, 7):  # the second episode begins while the first one's plan is not done
        policy.reset(seen[0])
        network.reset(seen[0])
        acted = [policy.act(step) for step in seen[:length]]
        for step, action in zip(seen, acted, strict=False):
            assert network.act(step) == pytest.approx(action, abs=2e-4)
    changes = [bool(np.any(a != b)) for a, b in itertools.pairwise(acted)]
    assert changes == [(k + 1) % hold == 0 for k in range(6)]  # what is held is held, and nothing else


def test_commands_run_ahead_of_a_controller_that_follows_late(tmp_path):
    """What it makes of them is what a policy wants that takes it for granted; network and replay agree."""
    torch.manual_seed(0)
    VECTOR.seed(0)
    seen, late = [VECTOR.sample() for _ in range(30)], 1.5
    plain = Features.of([np.stack(seen)], 2, history=2, stride=3)
    actor, half = mlp([plain.size, 32, 4]), (ACTIONS.high - ACTIONS.low) / 2
    with torch.no_grad():
        actor[-1].weight *= 0.5  # where a command would pass its bound, not all can be had
        actor[-1].bias *= 0.5
    acted = {}
    for features in (plain, replace(plain, lead=late)):
        packed = pack(features, {"actor": actor}, ACTIONS.low, ACTIONS.high, head="tanh", hold=2)
        (tmp_path / "network.onnx").write_bytes(declared_network(*packed, VECTOR))
        policy, network = Actor(*packed), NetworkPolicy(tmp_path / "network.onnx", VECTOR, ACTIONS)
        policy.reset(seen[0])
        network.reset(seen[0])
        acted[features] = np.array([policy.act(step) for step in seen])
        assert np.array([network.act(step) for step in seen]) == pytest.approx(acted[features], abs=2e-4)
    wanted, commands = ((actions - ACTIONS.low) / half - 1 for actions in acted.values())
    moving, moved = np.zeros(2), []
    for command in commands:
        moved.append(moving := moving + (command - moving) / (1 + late))
    assert np.array(moved) == pytest.approx(wanted, abs=1e-4)
    assert np.abs(commands - wanted).max() > 0.1
    shown = Trajectory(np.stack([*seen, seen[-1]]), acted[features].astype(np.float32), np.zeros(30), False, False)
    held = Buffer.of(features, [shown], ACTIONS.low, ACTIONS.high).batch(np.arange(0, 30, 2), gamma=0.9, hold=2)
    assert held.action.numpy() == pytest.approx(wanted[::2], abs=1e-4)


def test_the_likeliest_component_of_a_mixture_acts():
    features = Features.of([np.zeros((3, 4), np.float32)], 2)
    actor = mlp([4, 6])
    with torch.no_grad():
        actor[0].weight.zero_()
        actor[0].bias.copy_(torch.tensor([0.0, 0.2, -0.5, 0.5, 0.25, -1.0]))  # two scores, then the means of each
    policy = Actor(*pack(features, {"actor": actor}, -np.ones(2), np.ones(2), head="mixture", components=2))
    policy.reset(np.zeros(4))
    assert policy.act(np.zeros(4)) == pytest.approx([0.25, -1.0], abs=1e-6)
