"""`Example/Reach-v0`: an environment that says to a station what it is (`enpire_envs.contract.StationEnv`)."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from enpire_envs.env import MAX_RESET_ATTEMPTS, ResetFailed
from enpire_envs.time_limit import StepLimit, limits_around

from .scene import HALF_WIDTH, moved


class ReachEnv(gym.Env[np.ndarray, np.ndarray]):
    """Bring a tip onto a mark and let it rest there.

    Action: `Box(-1, 1, (2,))`, displacement x 8 cm, 10 Hz. Observation: `Box((4,))`, tip and mark [m]. Success: the tip lies within
    `tolerance` of the mark and moved less than half of that in the last step. 60 steps.

    Args:
        tolerance: [m].
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    # What a station asks.
    kind, control_hz, act_cpu_ms = "sim", 10.0, 50.0
    stages = ("start", "near", "success")
    in_process, real_cell = True, None
    reset_options = ("start",)
    names = {"observation": ["x", "y", "mark_x", "mark_y"], "action": ["x", "y"]}  # noqa: RUF012

    def __init__(self, *, tolerance: float = 0.05, render_mode: str | None = None) -> None:
        self.tolerance, self.render_mode = tolerance, render_mode
        self.limit = StepLimit(60)
        self.action_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        self.observation_space = gym.spaces.Box(-HALF_WIDTH, HALF_WIDTH, (4,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        start = (options or {}).get("start")
        for attempts in range(1, MAX_RESET_ATTEMPTS + 1):  # noqa: B007  (reported below)
            drawn = self.np_random.uniform(-HALF_WIDTH, HALF_WIDTH, (2, 2))
            self.tip, self.goal = (np.array(start["tip"], float), np.array(start["goal"], float)) if start else drawn
            if self._distance() > self.tolerance:
                break
        else:
            raise ResetFailed("the tip lies on the mark already", attempts)
        self._steps, self._last_step = 0, self.limit.within(limits_around(self))
        return self._observe(), {**self._info("start"), "reset_attempts": attempts}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        before, self.tip = self.tip, moved(self.tip, np.asarray(action, float))
        self._steps += 1
        near = self._distance() < self.tolerance
        success = bool(near and np.linalg.norm(self.tip - before) < self.tolerance / 2)
        truncated = not success and self._steps >= self._last_step
        info = self._info("success" if success else "near" if near else "start")
        if truncated:
            info["reason"] = "time_limit"
        return self._observe(), float(success), success, truncated, info

    def render(self) -> np.ndarray | None:
        if self.render_mode is None:
            return None
        picture = np.full((96, 96, 3), 255, np.uint8)
        for point, colour in ((self.goal, (0, 160, 0)), (self.tip, (200, 0, 0))):
            column, row = (46 * (1 + point * (1, -1) / HALF_WIDTH)).astype(int)
            picture[row : row + 4, column : column + 4] = colour
        return picture

    def finish(self) -> dict[str, Any]:
        return self._info("near" if self._distance() < self.tolerance else "start")

    def tools_body(self) -> None:
        return None

    def identity(self) -> dict[str, Any]:
        return {"code": ["reach.env"]}

    def _distance(self) -> float:
        return float(np.linalg.norm(self.tip - self.goal))

    def _observe(self) -> np.ndarray:
        return np.concatenate([self.tip, self.goal]).astype(np.float32)

    def _info(self, stage: str) -> dict[str, Any]:
        success = stage == "success"
        return {
            "success": success,
            "score": self.stages.index(stage) / 2,
            "stage": stage,
            "violations": [],
            "cell": "sim",
        }
