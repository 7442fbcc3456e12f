"""The declared network answers as the exported policy does, step by step, in the station's own runner."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from autoenvbench.errors import UserError
from autoenvbench.learning.bundle.features import Features, flat
from autoenvbench.learning.bundle.policy import Actor
from autoenvbench.learning.export import pack
from autoenvbench.learning.network_file import declared_network
from autoenvbench.learning.networks import encoder, mlp
from autoenvbench.station.networks import NetworkPolicy

VECTOR = spaces.Box(-3, 3, (4,), np.float32)
CAMERA = spaces.Dict(
    a=spaces.Box(-3, 3, (2,), np.float32), pixels=spaces.Box(0, 255, (32, 32, 3), np.uint8), b=spaces.Box(-3, 3, (1,), np.float32),
)  # fmt: skip
CAMERAS = spaces.Dict(agent_pos=VECTOR, pixels=spaces.Dict(dict.fromkeys(("wrist", "side"), CAMERA["pixels"])))  # as image levels have them
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
    whole = {key: np.stack([s[key] for s in flat_ones]) for key in flat_ones[0]} if isinstance(space, spaces.Dict) else np.stack(seen)
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


def test_what_branches_or_counts_is_not_declared():
    features = Features.of([np.zeros((3, 4), np.float32)], 2)
    for more in ({"head": "mixture", "components": 2}, {"head": "tanh", "chunk": 2}, {"head": "tanh", "hold": 2}):
        with pytest.raises(UserError, match="head=gaussian and chunk=1"):
            declared_network(*pack(features, {"actor": mlp([4, 8, 10])}, ACTIONS.low, ACTIONS.high, **more), VECTOR)
