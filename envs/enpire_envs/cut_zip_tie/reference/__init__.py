"""Cutting expert: sees the true scene, brings the blades to the middle of the allowed stub, cuts, opens and draws back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from enpire_envs.contact import CONTROL_HZ
from enpire_envs.cut_zip_tie.parts import KERF, LYING, PIVOT, WIDTH
from enpire_envs.cut_zip_tie.reference.scripted import Scripted
from enpire_envs.cut_zip_tie.scene import CutReadings
from enpire_envs.cut_zip_tie.task import CUTTER_Y, STEP, TURN
from enpire_envs.env import CellEnv

__all__ = ["Expert", "Naive", "Scripted"]

_LEVER = 0.009  # where along the blades the strap should be [m]
_ABOVE = 0.0018  # of the strap's middle over the lower blade's edge while coming in [m]
_CLEAR = 0.026  # hinge to strap, while lining up [m]
_LOW, _LIFT = 0.003, 0.012  # how far above its stand a cutter goes sideways, and how far counts as raised [m]
_AWAY, _ASIDE = (
    0.1,
    0.15,
)  # how far the cutter is turned with its handle away from the bundle, and at most for a tail that leaves aside [rad]


class Expert:
    """Privileged cutting policy. `act` ignores the observation and reads the cell."""

    def __init__(self, env: CellEnv) -> None:
        self._cell: Any = env.cell
        self._task: Any = env.task
        self._ranked = bool(env._installed)

    def reset(self, observation: object) -> None:
        self._mode = "line_up"

    def act(self, observation: object) -> np.ndarray:
        r: CutReadings = self._cell.read()
        # how far it will go by itself: what is under way and how the drives run out, so that delay and lag make nothing swing
        model, data = self._cell.model, self._cell.data
        lag = model.actuator_biasprm[:6, 2] / model.actuator_biasprm[:6, 1]
        ahead = data.qvel[:6] * lag + self._cell.scene.underway(data)[:6] / CONTROL_HZ
        if not r.held:
            return self._fetch(r, ahead)
        action = np.zeros(7)
        root, end = r.pieces[0]
        tail = (end - root) / np.linalg.norm(end - root)
        turn = -_angles(r.blades, self._yaw(r, tail)) - ahead[3:]
        action[3:6] = np.clip(0.6 * turn / TURN, -1, 1)
        normal = r.blades[:, 0] @ tail
        half = (KERF + WIDTH * math.sqrt(max(1 - normal**2, 0.0))) / 2 / normal  # of what a slanting cut takes away
        across, along, above = r.along_blades(root + (self._task.aim + half) * tail)
        lever = _CLEAR if self._mode == "line_up" else _LEVER
        local = np.array([across, lever - along, above - _ABOVE])
        move = r.blades @ local
        if self._mode == "line_up":
            if self._task._lying and r.pose[2] < LYING + _LIFT and np.abs(move[:2]).max() > 0.002:
                move[2] = LYING + _LOW - r.pose[2]  # out from under the bundle first
            if np.abs(local).max() < 0.0004 and np.abs(action[3:6]).max() < 0.5:
                self._mode = "enter"
        elif self._mode == "enter":
            if np.abs(local).max() < 0.0005:
                self._mode = "cut"
        elif self._mode == "cut":
            action[6] = 1.0
            move[:] = 0
            if r.severed:
                self._mode = "open"
        else:
            move[:] = r.blades[:, 1] * 0.01 if r.jaw > 0.2 else 0
            action[6] = -1.0
        if self._mode == "cut":
            action[:6] = 0
        else:
            action[:3] = np.clip(0.6 * (move - ahead[:3]) / STEP, -1, 1)
        return action

    def _yaw(self, r: CutReadings, tail: np.ndarray) -> float:
        """Across the tail, but never with the handle towards the bundle [rad]."""
        if not self._ranked:
            return 0.0
        x, y, _ = self._cell.data.body("tie").xmat[::3]
        of_tie = math.atan2(y, x)
        return of_tie - _AWAY + min(max(math.atan2(tail[1], tail[0]) - of_tie, -_ASIDE), 0.0)

    def _fetch(self, r: CutReadings, ahead: np.ndarray) -> np.ndarray:
        """Go over the cutter, down, and close."""
        action = np.zeros(7)
        move = r.pivot + PIVOT * r.blades[:, 1] - r.pose[:3]
        turn = math.atan2(r.blades[1, 0], r.blades[0, 0]) - r.pose[5]
        if np.abs(move[:2]).max() > 0.001 or abs(turn) > 0.02:
            move[2] = max(move[2], LYING + 0.03 - r.pose[2])
        elif abs(move[2]) < 0.001:
            action[6] = 1.0
        else:
            action[6] = -1.0
        action[:3] = np.clip(0.6 * (move - ahead[:3]) / STEP, -1, 1)
        action[5] = np.clip(0.6 * (turn - ahead[5]) / TURN, -1, 1)
        return action


class Naive:
    """Goes straight ahead and cuts there; where the cutter lies on its stand, goes blindly to where that and the tie usually are."""

    def __init__(self, env: CellEnv) -> None:
        task: Any = env.task
        self._lying, self._aim = task._lying, task.aim

    def reset(self, observation: object) -> None:
        # stretches of (action, for how many steps)
        still, ahead, close = np.zeros(7), np.eye(7)[1], np.eye(7)[6]
        cut = [(-ahead - close, 42), (close, 28), (-close, 10), (ahead - close, 10**6)]
        if self._lying:
            up, aside = np.eye(7)[2], self._aim / STEP
            fetch = [(-up - close, 80), (close, 6), (np.eye(7)[0], round(aside)), (up, 54), (-close, 10)]
            cut = [
                *fetch,
                (-ahead, round((CUTTER_Y - PIVOT - _LEVER) / STEP)),
                (still, 10),
                (close, 35),
                (-close, 20),
                (ahead - close, 10**6),
            ]
        self._stretches = iter(cut)
        self._action, self._left = next(self._stretches)

    def act(self, observation: object) -> np.ndarray:
        while not self._left:
            self._action, self._left = next(self._stretches)
        self._left -= 1
        return self._action


def _angles(blades: np.ndarray, yaw: float) -> np.ndarray:
    """How far blades are turned from lying level and across a tail at `yaw` [rad], as a small vector (3,)."""
    across = np.array([[math.cos(yaw), -math.sin(yaw), 0], [math.sin(yaw), math.cos(yaw), 0], [0, 0, 1]])
    off = blades @ across.T
    return np.array([off[2, 1] - off[1, 2], off[0, 2] - off[2, 0], off[1, 0] - off[0, 1]]) / 2
