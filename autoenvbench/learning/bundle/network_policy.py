"""A trained policy: the network in checkpoints/network.onnx, run with ONNX Runtime. Whatever it remembers goes from its outputs `X.next` to
its inputs `X`; `policy.json` says how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


class Policy:
    """What the station runs."""

    def __init__(self, observation_space: Any, action_space: Any) -> None:
        import onnxruntime  # of the extra `train`

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        file = Path(__file__).resolve().parent / "checkpoints" / "network.onnx"
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        inputs = {i.name: (i.type, tuple(i.shape)) for i in self._session.get_inputs()}
        self._seen = {
            k: np.uint8 if "uint8" in kind else np.float32
            for k, (kind, _) in inputs.items()
            if k.startswith("observation")
        }
        self._noise = inputs.pop("noise", (None, None))[1]
        self._shapes = {k: shape for k, (_, shape) in inputs.items() if k not in self._seen}

    def reset(self, observation: Any) -> None:
        """Forget the last episode. The station has seeded NumPy for this one."""
        self._memory = {name: np.zeros(shape, np.float32) for name, shape in self._shapes.items()}

    def act(self, observation: Any) -> np.ndarray:
        """The action (a,) for one control period."""
        fed = {
            name: np.asarray(_part(observation, name), dtype)[None] for name, dtype in self._seen.items()
        } | self._memory
        if self._noise is not None:
            fed["noise"] = np.random.standard_normal(self._noise).astype(np.float32)
        action, *memory = self._session.run(["action", *(f"{name}.next" for name in self._shapes)], fed)
        self._memory = dict(zip(self._shapes, memory, strict=True))
        return np.asarray(action[0])


def _part(observation: Any, name: str) -> Any:
    """What an input such as `observation.pixels.side` is of an observation."""
    for key in name.split(".")[1:]:
        assert isinstance(observation, Mapping)
        observation = observation[key]
    return observation
