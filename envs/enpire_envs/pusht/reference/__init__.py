"""Push-T's reference policies: the push planner of `enpire_envs.skills` on the true state, a script that sees what policies see, and a naive pusher."""

from __future__ import annotations

from typing import Any

import numpy as np

from enpire_envs.env import CellEnv
from enpire_envs.pusht.reference.scripted import Scripted
from enpire_envs.pusht.task import SPEED, PushT
from enpire_envs.sim import SimCell
from enpire_envs.skills.push_planner import PushPlanner

__all__ = ["Expert", "Naive", "Scripted"]


class Expert:
    """Privileged Push-T policy. `act` ignores the observation and reads the cell."""

    def __init__(self, env: CellEnv) -> None:
        task = env.task
        assert isinstance(task, PushT)
        self._env, self._task = env, task
        self._planner = PushPlanner(task.arena, task.control_hz)

    def reset(self, observation: object) -> None:
        self._planner.forget()

    def act(self, observation: object) -> np.ndarray:
        if self._planner.needs_plan:
            cell = self._env.cell
            # plan from where the last push has come to its end; on arms nothing is delayed
            if isinstance(cell, SimCell) and cell.scene.underway(cell.data).any():  # type: ignore[attr-defined]
                return self._wait()
            readings = cell.read()
            self._planner.plan(readings.block, readings.tip, readings.tip_target)
        return self._action(self._planner.next_velocity())

    def _wait(self) -> np.ndarray:
        return self._action(np.zeros(2))

    def _action(self, velocity: np.ndarray) -> np.ndarray:
        if self._task.action_space.high[0] != 1.0:  # absolute control: ask for the position this velocity leads to
            readings = self._env.cell.read()
            return np.asarray(readings.tip_target) + velocity / self._task.control_hz
        return velocity / SPEED


class Naive:
    """Pushes the T towards its target from behind, and does not care how it is turned."""

    def __init__(self, env: CellEnv) -> None:
        assert isinstance(env.task, PushT)
        self._goal = np.array(env.task.goal[:2])
        self._reach = max(env.task.arena.half) + 0.03  # half the height of what the top camera sees [m]

    def reset(self, observation: Any) -> None:
        self._pushing = False

    def act(self, observation: Any) -> np.ndarray:
        tip, block = self._see(observation)
        away = block - self._goal
        behind = block + 0.13 * away / (np.linalg.norm(away) + 1e-6)
        self._pushing |= bool(np.linalg.norm(tip - behind) < 0.02)
        return np.clip(((self._goal if self._pushing else behind) - tip) / 0.03, -1, 1)

    def _see(self, observation: Any) -> tuple[np.ndarray, np.ndarray]:
        """Fingertip and T (2,) [m]; in an image, the T is what is red."""
        if not isinstance(observation, dict):
            return observation[:2], observation[2:4]
        red, green, blue = np.moveaxis(observation["pixels"].astype(int), -1, 0)
        rows, columns = np.nonzero((red > 1.8 * green) & (red > 1.8 * blue))
        if not len(rows):
            return observation["agent_pos"], self._goal
        middle, metres = (len(red) - 1) / 2, 2 * self._reach / len(red)
        return observation["agent_pos"], np.array([columns.mean() - middle, middle - rows.mean()]) * metres
