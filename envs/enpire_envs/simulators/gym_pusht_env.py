"""gym-pusht's PushT-v0 under the suite's contract."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame must not look for a display

import gym_pusht  # noqa: F401  (registers the id)
import gymnasium as gym
import numpy as np

from enpire_envs.simulators.contract import SimulatorTask, box
from enpire_envs.simulators.versions import versions

_OBS = ("state", "environment_state_agent_pos", "pixels", "pixels_agent_pos")


class GymPushTTask(SimulatorTask):
    """See `enpire_envs.remote.env.GymPushTEnv`, whose arguments these are."""

    hz = 10.0

    def __init__(
        self, *, obs_type: str = "state", observation_width: int = 96, visualization_width: int = 480,
        max_episode_steps: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if obs_type not in _OBS:
            raise ValueError(f"unknown obs_type {obs_type!r}; choose one of: {', '.join(_OBS)}")
        self.limit = max_episode_steps or 300
        self.env: Any = gym.make(
            "gym_pusht/PushT-v0", obs_type=obs_type, render_mode="rgb_array", observation_width=observation_width,
            observation_height=observation_width, visualization_width=visualization_width,
            visualization_height=visualization_width,
        ).unwrapped  # fmt: skip
        space: Any = self.env.action_space
        self.low, self.high = space.low, space.high
        self._observation: Any = None
        self._native: dict[str, Any] = {}

    @property
    def hold_steps(self) -> int:
        return 1  # gym-pusht ends an episode at once

    def begin(self, start: dict[str, Any], attempt: int) -> None:
        self._observation, native = self.env.reset(seed=start["seed"])
        self._native = {**native, "coverage": self.env._get_coverage()}

    def advance(self, action: np.ndarray) -> float:
        self._observation, reward, _, _, self._native = self.env.step(action)
        return float(reward)

    def solved(self) -> bool:
        return bool(self._native["is_success"])

    def score(self, success: bool) -> float:
        return 1.0 if success else float(np.clip(self._native["coverage"] / 0.95, 0, 0.99))

    def extras(self) -> dict[str, Any]:
        return {"coverage": float(self._native["coverage"])}

    def observe(self) -> Any:
        def fit(value: Any, space: Any) -> Any:
            return np.asarray(value, space.dtype if space.dtype == np.uint8 else np.float32)

        space = self.env.observation_space
        if isinstance(space, gym.spaces.Dict):
            return {key: fit(value, space[key]) for key, value in self._observation.items()}
        return fit(self._observation, space)

    def render(self) -> np.ndarray:
        return np.asarray(self.env.render())

    def describe(self) -> dict[str, Any]:
        def plain(space: Any) -> dict[str, Any]:
            if isinstance(space, gym.spaces.Dict):
                return {"dict": {key: plain(part) for key, part in space.spaces.items()}}
            return box(space.low, space.high, space.dtype if space.dtype == np.uint8 else np.float32)

        return {
            "observation_space": plain(self.env.observation_space),
            "action_space": box(self.low, self.high),
            "hz": self.hz,
            "limit": self.limit,
            "cell": self.cell,
            "body": None,
            "versions": versions("gym-pusht", "pymunk"),
        }

    def close(self) -> None:
        self.env.close()
