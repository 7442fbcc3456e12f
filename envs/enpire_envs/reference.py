"""Policies that come with a task: `Expert` proves it solvable, `Scripted` shows how, `Naive` shows that it needs solving.

`Expert` looks at the true state and plans with the simulator, so its rows are never ranked. `Scripted` searches by what policies see: it is
given the spaces and no environment, so nothing else can reach it, and a learner can imitate all that it does. A task's lie in a folder of
their own, which every cage hides.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal, Protocol

import gymnasium as gym
import numpy as np

from enpire_envs.registry import TaskEntry, entries, entry_of

Kind = Literal["Expert", "Scripted", "Naive"]
#: By what name each is known to people.
NAMES: dict[Kind, str] = {"Expert": "reference", "Scripted": "scripted", "Naive": "naive"}


class Expert(Protocol):
    """A policy made for one environment."""

    def reset(self, observation: Any) -> None:
        """A new episode, by its first observation."""

    def act(self, observation: Any) -> np.ndarray:
        """The action for one control period."""


class Teacher(Expert, Protocol):
    """One that can say what it would do while somebody else drives."""

    def did(self, action: np.ndarray) -> None:
        """After `act`: this was executed, and not what it said."""


def make_reference(env: gym.Env[Any, Any], kind: Kind = "Expert") -> Expert:
    """A task's own policy for `env`: the privileged expert, the script that sees observations only, or the naive one (the same).

    Raises LookupError for an environment that has none, with the names of those that have.
    """
    entry = entry_of(env.spec.id if env.spec else "")
    made = None if entry is None else _class_of(entry, kind)
    if made is None:
        known = [name for other in entries() if _class_of(other, kind) is not None for name in other.envs]
        raise LookupError(
            f"{env.spec.id if env.spec else type(env.unwrapped).__name__} has no {NAMES[kind]} policy; "
            f"those that have: {', '.join(known) or 'none yet'}"
        )
    policy: Expert = made(env.observation_space, env.action_space) if kind == "Scripted" else made(env.unwrapped)
    return policy


def demonstrator(env: gym.Env[Any, Any]) -> tuple[Kind, Expert]:
    """Who can show how to do the task of `env`: its script, or the privileged expert where the script cannot read what is observed (pictures).

    Raises LookupError where nobody can.
    """
    try:
        return "Scripted", make_reference(env, "Scripted")
    except ValueError:
        return "Expert", make_reference(env, "Expert")


def _class_of(entry: TaskEntry, kind: Kind) -> Any:
    return getattr(import_module(entry.reference), kind, None) if entry.reference is not None else None
