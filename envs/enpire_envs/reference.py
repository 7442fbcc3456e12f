"""Reference policies: privileged experts that prove a task solvable, and seed demonstrations.

They look at the true state and plan with the simulator, so their rows are never ranked. A task's lie in a folder of their own, which
every cage hides.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal, Protocol

import gymnasium as gym
import numpy as np

from enpire_envs.registry import entries, entry_of


class Expert(Protocol):
    """A policy made for one environment, whose true state it may read."""

    def reset(self, observation: Any) -> None:
        """A new episode, by its first observation."""

    def act(self, observation: Any) -> np.ndarray:
        """The action for one control period."""


def make_reference(env: gym.Env[Any, Any], kind: Literal["Expert", "Naive"] = "Expert") -> Expert:
    """The reference policy for `env`, or the naive one that shows that the task needs solving (it sees observations
    only). Raises LookupError for an environment that has none."""
    env_id = env.spec.id if env.spec else ""
    entry = entry_of(env_id)
    if entry is None or entry.reference is None:
        known = [name for other in entries() if other.reference for name in other.envs]
        raise LookupError(
            f"{env_id or type(env.unwrapped).__name__} has no {kind.lower()} policy; those that have: {', '.join(known)}"
        )
    policy: Expert = getattr(import_module(entry.reference), kind)(env.unwrapped)
    return policy
