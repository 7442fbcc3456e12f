"""Pin insertion expert: sees the true hole, moves onto its axis (and upright, where it may turn), and pushes gently."""

from __future__ import annotations

import numpy as np

from enpire_envs.env import CellEnv
from enpire_envs.pin_insertion.task import STEP, TURN

_LEAD = 0.009  # how far the commanded height runs ahead of the reached one [m]: about 14 N


class Expert:
    """Privileged pin insertion policy. `act` ignores the observation and reads the cell."""

    def __init__(self, env: CellEnv) -> None:
        self._cell = env.cell
        self._size = env.task.action_space.shape[0]

    def reset(self, observation: object) -> None:
        pass

    def act(self, observation: object) -> np.ndarray:
        r = self._cell.read()
        action = np.zeros(self._size)
        off = -r.tip[:2]
        action[:2] = np.clip(0.5 * off / STEP[:2], -1, 1)
        if self._size == 6:
            action[3:5] = np.clip(-0.5 * r.pose[3:5] / TURN, -1, 1)
        settled = np.hypot(*off) < 0.0002 and np.abs(r.pose[3:5]).max() < (0.004 if self._size == 6 else 1)
        if r.insertion > 0.0005 or settled:
            action[2] = -1.0 if r.pose[2] - r.target[2] < _LEAD else 0.0
        return action


class Naive:
    """Pushes straight down where it hovers."""

    def __init__(self, env: CellEnv) -> None:
        self._size = env.task.action_space.shape[0]

    def reset(self, observation: np.ndarray) -> None:
        self._commanded = 0.0

    def act(self, observation: np.ndarray) -> np.ndarray:
        action = np.zeros(self._size)
        if observation[2] - self._commanded < _LEAD:
            action[2] = -1.0
            self._commanded -= STEP[2]
        return action
