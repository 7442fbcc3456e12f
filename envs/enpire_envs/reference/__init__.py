"""Reference policies: privileged experts that prove a task solvable, and seed demonstrations.

They look at the true state and plan with the simulator, so their rows are never ranked. Every cage hides this folder.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal, Protocol

import gymnasium as gym
import numpy as np

from enpire_envs.env import CellEnv

_MODULES = {
    "PushT": "pusht",
    "PushTSimple": "pusht",
    "PinInsertion": "pin_insertion",
    "GPUInsertion": "gpu_insertion",
    "TieZipTie": "tie_zip_tie",
    "CutZipTie": "cut_zip_tie",
}


class Expert(Protocol):
    """A policy made for one environment, whose true state it may read."""

    def reset(self, observation: Any) -> None: ...

    def act(self, observation: Any) -> np.ndarray: ...


def make_reference(env: gym.Env[Any, Any], kind: Literal["Expert", "Naive"] = "Expert") -> Expert:
    """The reference policy for `env`, or the naive one that shows that the task needs solving (it sees observations
    only). Raises LookupError for an environment that has none."""
    inner = env.unwrapped
    if not isinstance(inner, CellEnv) or inner.task.name not in _MODULES:
        name = env.spec.id if env.spec else type(inner).__name__
        raise LookupError(f"{name} has no {kind.lower()} policy; those that have: {', '.join(_MODULES)}")
    # An environment on another kind of cell may bring its own.
    module = import_module(getattr(inner, "reference_module", f"{__name__}.{_MODULES[inner.task.name]}"))
    policy: Expert = getattr(module, kind)(inner)
    return policy
