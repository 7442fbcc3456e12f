"""Environments by id, with errors that say what to type instead."""

from __future__ import annotations

import difflib
import json
from typing import Any

import gymnasium as gym
from enpire_envs import registry
from enpire_envs.cell import CellFault
from enpire_envs.contract import step_limit
from enpire_envs.remote.venvs import NotInstalled

from autoenvbench.errors import UserError
from autoenvbench.sandbox.cage import Track


def make_env(env_id: str, kwargs: dict[str, Any] | None = None) -> gym.Env[Any, Any]:
    """The environment as a station runs it. Raises UserError for an unknown id or argument."""
    if env_id not in gym.registry:
        known = registry.listed_ids()
        near = difflib.get_close_matches(env_id, known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        broken = "".join(f"; the task {name} could not be loaded: {why}" for name, why in registry.problems.items())
        raise UserError(f"unknown environment {env_id!r}; {hint} (`autoenvbench envs` lists them){broken}")
    try:
        env = gym.make(env_id, render_mode="rgb_array", disable_env_checker=True, **(kwargs or {}))
        step_limit(env)  # what it says to a station is checked before anything is built on it
        return env
    except NotInstalled as error:
        raise UserError(f"cannot make {env_id}: {error}") from None
    except (TypeError, ValueError, CellFault) as error:
        raise UserError(f"cannot make {env_id} with {kwargs}: {error}") from None


def is_real(env_id: str) -> bool:
    """Whether the id is one of stations of arms and cameras (or their twins)."""
    entry = registry.entry_of(env_id)
    return entry is not None and entry.real


def default_track(env_id: str) -> Track:
    """A robot's simulator is not part of its own station."""
    return "station" if is_real(env_id) else "open"


def parse_env_args(pairs: list[str]) -> dict[str, Any]:
    """`["criterion=pose", "observation_width=64"]` as keyword arguments."""
    kwargs: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key.isidentifier() and equals):
            raise UserError(f"cannot read the environment argument {pair!r}; write it like criterion=pose")
        try:
            kwargs[key] = json.loads(value)
        except json.JSONDecodeError:
            kwargs[key] = value
    return kwargs
