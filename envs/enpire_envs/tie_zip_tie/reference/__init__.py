"""Tying expert: sees the true strap, threads its tip, pushes, and regrasps further back until enough is through."""

from __future__ import annotations

import numpy as np

from enpire_envs.env import CellEnv
from enpire_envs.tie_zip_tie.scene import FINGER
from enpire_envs.tie_zip_tie.task import STEP, TURN

_FRONT = FINGER + 0.003  # nearest the fingers' centre may come to the head [m]
_BACK = 0.024  # how far to go back for a new grasp [m]


class Expert:
    """Privileged tying policy. `act` ignores the observation and reads the cell."""

    def __init__(self, env: CellEnv) -> None:
        self._cell = env.cell

    def reset(self, observation: object) -> None:
        self._mode, self._until = "push", 0.0

    def act(self, observation: object) -> np.ndarray:
        r = self._cell.read()
        action = np.zeros(7)
        action[6] = 1.0
        action[3:6] = np.clip(-0.3 * r.pose[3:] / TURN, -1, 1)
        x = r.pose[0]
        if self._mode == "push":
            threaded = r.past > 0.003
            off = -r.tip[1:] if not threaded else -r.pose[1:3]
            lined_up = threaded or (np.abs(off).max() < 0.0003 and np.abs(r.pose[3:]).max() < 0.01)
            action[1:3] = np.clip(0.4 * off / STEP[1:], -1, 1)
            if lined_up or r.tip[0] < -0.002:
                action[0] = 1.0 if lined_up and r.target[0] - x < 0.008 else 0.0
            if x > -_FRONT:
                self._mode = "open"
        elif self._mode == "open":
            action[6] = -1.0
            if r.opening >= 1.0:
                self._mode, self._until = "back", x - _BACK
        elif self._mode == "back":
            action[6] = -1.0
            action[0] = -1.0
            near = r.nodes[np.argmin(np.abs(r.nodes[:, 0] - x))]
            action[1:3] = np.clip(0.4 * (near[1:] - r.pose[1:3]) / STEP[1:], -1, 1)
            if x < self._until:
                self._mode = "close"
        else:
            near = r.nodes[np.argmin(np.abs(r.nodes[:, 0] - x))]
            action[1:3] = np.clip(0.4 * (near[1:] - r.pose[1:3]) / STEP[1:], -1, 1)
            action[6] = 1.0
            if r.opening <= 0.0:
                self._mode = "push" if r.held else "open"
        return action


class Naive:
    """Pushes straight ahead."""

    def __init__(self, env: CellEnv) -> None:
        pass

    def reset(self, observation: np.ndarray) -> None:
        pass

    def act(self, observation: np.ndarray) -> np.ndarray:
        return np.array([1.0, 0, 0, 0, 0, 0, 1.0])
