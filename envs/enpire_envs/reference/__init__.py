"""Reference policies: privileged experts that prove a task solvable, and seed demonstrations.

They look at the true state and plan with the simulator, so their rows are never ranked. Every cage hides this folder.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from enpire_envs.env import CellEnv

_EXPERTS = {"PushT": "enpire_envs.reference.pusht:Expert", "PushTSimple": "enpire_envs.reference.pusht:Expert"}


class Expert(Protocol):
    """A policy made for one environment, whose true state it may read."""

    def reset(self, observation: Any) -> None: ...

    def act(self, observation: Any) -> np.ndarray: ...


def make_reference(env: gym.Env[Any, Any]) -> Expert:
    """The reference policy for `env`. Raises LookupError for an environment that has none."""
    inner = env.unwrapped
    if not isinstance(inner, CellEnv) or inner.task.name not in _EXPERTS:
        name = env.spec.id if env.spec else type(inner).__name__
        raise LookupError(f"{name} has no reference policy; those that have: {', '.join(_EXPERTS)}")
    module, _, attribute = _EXPERTS[inner.task.name].partition(":")
    expert: Expert = getattr(import_module(module), attribute)(inner)
    return expert
