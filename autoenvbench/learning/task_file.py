"""The environment of a workspace, by its task.json: the simulator on the track `open`, and on the track `station` its spaces alone.

Learning from episodes needs no more than spaces, so `bc`, `iql` and `td3_bc` learn on both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from autoenvbench.errors import UserError
from autoenvbench.make_env import make_env
from autoenvbench.workspace.make_workspace import TASK_FILE


class SpacesOnly(gym.Env[Any, Any]):
    """An environment of which only the spaces are known: its episodes are the station's to run."""

    def __init__(self, env_id: str, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        self.spec = EnvSpec(env_id)
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, **options: Any) -> NoReturn:
        """Raises UserError."""
        raise UserError(
            f"on this track the simulator of {self.spec.id if self.spec else 'this task'} is hidden, so nothing but the station runs episodes: "
            "learn from episodes (bc, iql, td3_bc), and make some with `aeb practice`"
        )

    def step(self, action: Any) -> NoReturn:
        """Raises UserError."""
        self.reset()


def task_of(workspace: Path) -> dict[str, Any]:
    """What a workspace's task.json says: env, env_kwargs, track, regime, observation_space, action_space. Raises UserError."""
    file = workspace / TASK_FILE
    try:
        task: dict[str, Any] = json.loads(file.read_text())
        return {key: task[key] for key in ("env", "env_kwargs", "track", "regime", "observation_space", "action_space")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"cannot read {file}: {error!r}; work in the workspace of a run, and bring the file back with: git checkout {TASK_FILE}"
        ) from None


def open_task(workspace: Path) -> gym.Env[Any, Any]:
    """The environment of a workspace's run. Raises UserError."""
    task = task_of(workspace)
    if task["track"] == "open":
        return make_env(task["env"], task["env_kwargs"])
    return SpacesOnly(task["env"], space_of(task["observation_space"]), space_of(task["action_space"]))


def space_of(about: Mapping[str, Any]) -> spaces.Space[Any]:
    """The space that `enpire_envs.episode_file.describe_space` describes. Raises UserError for one that is neither Box nor Dict."""
    if about.get("type") == "Dict":
        return spaces.Dict({key: space_of(part) for key, part in about["spaces"].items()})
    if about.get("type") != "Box":
        raise UserError(f"nothing here learns with a space {about.get('text', about)}")
    dtype = np.dtype(about["dtype"])
    low, high = (
        np.broadcast_to(np.asarray(_bounds(about[name], limit), dtype), about["shape"])
        for name, limit in (("low", -np.inf), ("high", np.inf))
    )
    return spaces.Box(low, high, dtype=dtype.type)


def _bounds(value: Any, infinite: float) -> Any:
    """A number or nested lists of them; null is no bound."""
    if isinstance(value, list):
        return [_bounds(part, infinite) for part in value]
    return infinite if value is None else value
