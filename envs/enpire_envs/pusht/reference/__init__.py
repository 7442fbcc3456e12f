"""Push-T's reference policies: the push planner of `enpire_envs.skills` on the true state, and a naive pusher."""

from __future__ import annotations

import numpy as np

from enpire_envs.env import CellEnv
from enpire_envs.pusht.task import SPEED, PushT
from enpire_envs.skills.push_planner import PushPlanner


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
            readings = self._env.cell.read()
            self._planner.plan(readings.block, readings.tip, readings.tip_target)
        velocity = self._planner.next_velocity()
        if self._task.action_space.high[0] != 1.0:  # absolute control: ask for the position this velocity leads to
            readings = self._env.cell.read()
            return np.asarray(readings.tip_target) + velocity / self._task.control_hz
        return velocity / SPEED


class Naive:
    """Pushes the T towards its target from behind, and does not care how it is turned."""

    def __init__(self, env: CellEnv) -> None:
        assert isinstance(env.task, PushT)
        self._goal = np.array(env.task.goal[:2])

    def reset(self, observation: np.ndarray) -> None:
        self._pushing = False

    def act(self, observation: np.ndarray) -> np.ndarray:
        tip, block = observation[:2], observation[2:4]
        away = block - self._goal
        behind = block + 0.13 * away / (np.linalg.norm(away) + 1e-6)
        self._pushing |= bool(np.linalg.norm(tip - behind) < 0.02)
        return np.clip(((self._goal if self._pushing else behind) - tip) / 0.03, -1, 1)
