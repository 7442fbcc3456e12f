"""`Test/Stationed-v0`: an environment that tells its station's number to whoever sees an observation."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from enpire_envs.time_limit import StepLimit, limits_around


class StationedEnv(gym.Env[np.ndarray, np.ndarray]):
    """Push. Success: at the first step, with an action above 0.

    Observation: `Box((3,))`, the number of the station in three parts of 21 bits each.

    Args:
        level: "intro", "standard" or "fleet".
        station_seed: which station this is.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012
    kind, control_hz, act_cpu_ms = "sim", 50.0, 50.0
    stages = ("start", "success")
    in_process, real_cell = True, None
    reset_options = ("attempt", "station")

    def __init__(self, *, level: str = "intro", station_seed: int = 0, render_mode: str | None = None) -> None:
        if level not in ("intro", "standard", "fleet"):
            raise ValueError(f"unknown level {level!r}")
        self.station, self.render_mode = station_seed, render_mode
        self.limit = StepLimit(3)
        self.action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
        self.observation_space = gym.spaces.Box(0, 2**21, (3,), np.float64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.station = (options or {}).get("station", self.station)
        self._steps, self._last_step = 0, self.limit.within(limits_around(self))
        return self._observe(), self._info(False)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        success = bool(action[0] > 0)
        return self._observe(), float(success), success, self._steps >= self._last_step, self._info(success)

    def render(self) -> np.ndarray:
        return np.zeros((32, 32, 3), np.uint8)

    def finish(self) -> dict[str, Any]:
        return {}

    def tools_body(self) -> None:
        return None

    def identity(self) -> dict[str, Any]:
        return {"code": ["stationed.env"], "ignore": ["station_seed"]}

    def _observe(self) -> np.ndarray:
        return np.array([self.station >> 42 & 0x1FFFFF, self.station >> 21 & 0x1FFFFF, self.station & 0x1FFFFF], float)

    def _info(self, success: bool) -> dict[str, Any]:
        return {"success": success, "stage": "success" if success else "start", "cell": "sim"}


def station_in(observation: np.ndarray) -> int:
    """The number that an observation tells."""
    high, middle, low = map(int, observation)
    return high << 42 | middle << 21 | low
