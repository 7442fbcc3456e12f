"""GPU insertion expert: sees the true card, lines it up with the slot, and pushes until the latch snaps."""

from __future__ import annotations

import numpy as np

from enpire_envs.env import CellEnv
from enpire_envs.gpu_insertion.task import STEP, TURN

_LEAD = 0.016  # how far the commanded height may run ahead of the reached one [m]: 40 N
_GENTLE = 0.002


class Expert:
    """Privileged GPU insertion policy. `act` ignores the observation and reads the cell."""

    def __init__(self, env: CellEnv) -> None:
        self._cell = env.cell

    def reset(self, observation: object) -> None:
        pass

    def act(self, observation: object) -> np.ndarray:
        r = self._cell.read()
        action = np.zeros(6)
        off = -r.ends.mean(axis=0)[:2]
        action[:2] = np.clip(0.4 * off / STEP[:2], -1, 1)
        action[3:] = np.clip(-0.4 * r.pose[3:] / TURN, -1, 1)
        lined_up = np.abs(off).max() < 0.00015 and np.abs(r.pose[3:]).max() < 0.004
        lead = _LEAD if r.seated > 0.0005 else _GENTLE
        if lined_up or r.seated > 0.0005:
            action[2] = -1.0 if r.pose[2] - r.target[2] < lead else 0.0
        return action


class Naive:
    """Pushes straight down where it hovers."""

    def __init__(self, env: CellEnv) -> None:
        pass

    def reset(self, observation: np.ndarray) -> None:
        self._commanded = 0.0

    def act(self, observation: np.ndarray) -> np.ndarray:
        action = np.zeros(6)
        if observation[2] - self._commanded < _LEAD:
            action[2] = -1.0
            self._commanded -= STEP[2]
        return action
