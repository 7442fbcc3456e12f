"""Cutting expert: sees the true scene, brings the blades to the middle of the allowed stub, cuts, opens and draws back."""

from __future__ import annotations

import math

import numpy as np

from enpire_envs.cut_zip_tie.scene import LYING, CutReadings
from enpire_envs.cut_zip_tie.task import AIM, STEP, TURN
from enpire_envs.env import CellEnv

_LEVER = 0.009  # where along the blades the strap should be [m]
_ABOVE = 0.0018  # of the strap's middle over the lower blade's edge while coming in [m]
_CLEAR = 0.026  # hinge to strap, while lining up [m]


class Expert:
    """Privileged cutting policy. `act` ignores the observation and reads the cell."""

    def __init__(self, env: CellEnv) -> None:
        self._cell = env.cell

    def reset(self, observation: object) -> None:
        self._mode = "line_up"

    def act(self, observation: object) -> np.ndarray:
        r: CutReadings = self._cell.read()
        if not r.held:
            return self._fetch(r)
        action = np.zeros(7)
        action[3:6] = np.clip(-0.3 * _angles(r.blades) / TURN, -1, 1)
        root, end = r.pieces[0]
        spot = root + AIM * (end - root) / np.linalg.norm(end - root)
        across, along, above = r.along_blades(spot)
        lever = _CLEAR if self._mode == "line_up" else _LEVER
        move = np.array([across, lever - along, above - _ABOVE])
        if self._mode == "line_up":
            if r.pivot[2] < -0.012:  # from the stand: up first
                move[:2] = 0
            if np.abs(move).max() < 0.0004 and np.abs(action[3:6]).max() < 0.5:
                self._mode = "enter"
        elif self._mode == "enter":
            if abs(move[1]) < 0.0005:
                self._mode = "cut"
        elif self._mode == "cut":
            move[:] = 0
            action[6] = 1.0
            if r.severed:
                self._mode = "open"
        else:
            move[:] = (0, 0.01, 0) if r.jaw > 0.2 else (0, 0, 0)
            action[6] = -1.0
        action[:3] = np.clip(0.4 * move / STEP, -1, 1)
        return action

    def _fetch(self, r: CutReadings) -> np.ndarray:
        """Go over the cutter, down, and close."""
        action = np.zeros(7)
        centre = r.pivot + 0.03 * r.blades[:, 1]
        yaw = math.atan2(r.blades[1, 0], r.blades[0, 0])
        move = centre - r.pose[:3]
        turn = yaw - r.pose[5]
        if np.abs(move[:2]).max() > 0.001 or abs(turn) > 0.02:
            move[2] = max(move[2], LYING + 0.03 - r.pose[2])
        elif abs(move[2]) < 0.001:
            action[6] = 1.0
        else:
            action[6] = -1.0
        action[:3] = np.clip(0.4 * move / STEP, -1, 1)
        action[5] = np.clip(0.3 * turn / TURN, -1, 1)
        return action


class Naive:
    """Goes straight ahead and cuts there."""

    def __init__(self, env: CellEnv) -> None:
        pass

    def reset(self, observation: np.ndarray) -> None:
        self._steps = 0

    def act(self, observation: np.ndarray) -> np.ndarray:
        self._steps += 1
        forward = -1.0 if self._steps <= 42 else 1.0 if self._steps > 80 else 0.0
        return np.array([0, forward, 0, 0, 0, 0, 1.0 if 42 < self._steps <= 70 else -1.0])


def _angles(rotation: np.ndarray) -> np.ndarray:
    """Small rotation matrix as a vector (3,) [rad]."""
    return (
        np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
        / 2
    )
