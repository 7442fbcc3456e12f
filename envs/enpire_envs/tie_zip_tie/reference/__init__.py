"""Tying expert: sees the true strap, threads its tip, pushes, and regrasps further back until enough is through."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from enpire_envs.contact import CONTROL_HZ
from enpire_envs.end_effector import rotation
from enpire_envs.env import CellEnv
from enpire_envs.tie_zip_tie.reference.scripted import Scripted
from enpire_envs.tie_zip_tie.scene import FINGER, HALF_Y, HALF_Z, LINK, StrapReadings
from enpire_envs.tie_zip_tie.task import STEP, TURN

__all__ = ["Expert", "Naive", "Scripted"]

_FRONT = FINGER + 0.003  # nearest the fingers' centre may come to the head [m]
_BACK = 0.024  # how far to go back for a new grasp [m]
_LEAD = 0.008  # how far the command runs ahead of the reached position: about 12 N [m]
_LINED_UP = 0.00025  # how far the tip may be aside of the slot to go in [m]
_STRAIGHT = 0.02  # how far the strap may be turned against the slot [rad]
_TURNS = 0.29  # how far the gripper can be turned [rad]
_GAIN = 0.4  # share of what it is turned that is corrected at once: a strap swings


class Expert:
    """Privileged tying policy. `act` ignores the observation and reads the cell."""

    def __init__(self, env: CellEnv) -> None:
        self._cell: Any = env.cell

    def reset(self, observation: object) -> None:
        self._mode, self._until = "push", 0.0

    def act(self, observation: object) -> np.ndarray:
        cell = self._cell
        r: StrapReadings = cell.read()
        # where the target will be once all actions have taken effect; positions are in the head's frame from here on
        commanded = r.target + cell.scene.underway(cell.data)[:6] / CONTROL_HZ
        at, ahead = (r.axes.T @ (pose[:3] - r.head[:3]) for pose in (r.pose, commanded))
        speed, aside, angles, grip = 0.0, at[1:], commanded[3:], 1.0
        if self._mode == "push" and not r.held:  # let go of by a disturbance
            self._mode = "open"
        if self._mode == "push":
            speed, aside, angles = self._push(r, at)
            if at[0] > -_FRONT:
                self._mode = "open"
        elif self._mode == "open":
            grip = -1.0
            if r.opening >= 1.0:
                self._mode, self._until = "back", at[0] - _BACK
        else:
            aside = _strap_at(r.nodes, at[0])[1:]
            if self._mode == "back":
                speed, grip = -1.0, -1.0
                if at[0] < self._until:
                    self._mode = "close"
            elif r.opening <= 0.0:
                self._mode = "push" if r.held else "open"
        forward = np.clip(ahead[0] + speed * STEP[0], at[0] - _LEAD, at[0] + _LEAD) - ahead[0]
        step = r.axes @ np.array([forward, *(aside - ahead[1:])]) / STEP
        turn = np.clip(angles, -_TURNS, _TURNS) - commanded[3:]
        # all three together, so that the strap moves along the slot and not beside it
        return np.array([*(step / max(1.0, np.abs(step).max())), *np.clip(turn / TURN, -1, 1), grip])

    def _push(self, r: StrapReadings, at: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """How fast the fingers should go (share of the fastest), where aside and up (2,) [m], and their angles (3,) [rad]."""
        x, y, z = r.tip.tolist()
        if r.past > 0.0 or (x > 0.001 and abs(y) < HALF_Y and abs(z) < HALF_Z):
            return self._unbent(r)
        along = (r.nodes[-1] - r.nodes[-2]) / LINK
        turn = np.array([0.0, along[2], -along[1]])  # puts the tip along the slot
        can = np.clip(r.pose[3:] + r.axes @ turn, -_TURNS, _TURNS) - r.pose[3:]
        can[0] = 0.0
        turn = r.axes.T @ can * (_GAIN * (np.abs(can).max() > _STRAIGHT))
        aside = at[1:] - r.tip[1:] - np.cross(turn, r.tip - at)[1:]  # turning about the fingers moves the tip as well
        lined_up = max(abs(y), abs(z)) < _LINED_UP and not turn.any()
        angles = r.pose[3:] + r.axes @ turn
        angles[0] = 0.0
        return 1.0 if lined_up else min(1.0, (-0.0015 - x) / 0.002), aside, angles

    def _unbent(self, r: StrapReadings) -> tuple[float, np.ndarray, np.ndarray]:
        """The same for a strap that is in the slot: so that nothing between fingers and slot is bent, which would let it buckle."""
        cell = self._cell
        data, rest = cell.data, cell.scene.rest(cell.model)
        held, tool = int(np.flatnonzero(data.eq_active)[0]), data.body("tool")
        link, hand = data.body(f"link{held}"), tool.xmat.reshape(3, 3)
        turned, origin = hand.T @ link.xmat.reshape(3, 3), hand.T @ (link.xpos - tool.xpos)
        entering = max(int(np.searchsorted(r.nodes[:, 0], 0.0)) - 1, held)  # the link at the slot's entrance
        for k in range(held, entering):
            origin = origin + LINK * turned[:, 0]
            turned = turned @ rotation(np.array([0.0, *rest[k]]))
        a, b = r.nodes[entering : entering + 2]
        entrance = origin + np.clip(a[0] / (a[0] - b[0]), 0, 1) * LINK * turned[:, 0]
        wanted = turned.T  # of the fingers, in the head's frame
        m = r.axes @ wanted
        angles = np.array([math.atan2(-m[1, 2], m[2, 2]), math.asin(m[0, 2]), math.atan2(-m[0, 1], m[0, 0])])
        return 1.0, -(wanted @ entrance)[1:], angles


def _strap_at(nodes: np.ndarray, x: float) -> np.ndarray:
    """The point (3,) of the strap nearest to its tip with this x [m]."""
    crossing = np.flatnonzero((nodes[:-1, 0] <= x) & (nodes[1:, 0] > x))
    if not len(crossing):
        nearest: np.ndarray = nodes[np.argmin(np.abs(nodes[:, 0] - x))]
        return nearest
    k = int(crossing[-1])
    a, b = nodes[k], nodes[k + 1]
    between: np.ndarray = a + (x - a[0]) / (b[0] - a[0]) * (b - a)
    return between


class Naive:
    """Pushes straight ahead."""

    def __init__(self, env: CellEnv) -> None:
        pass

    def reset(self, observation: np.ndarray) -> None:
        pass

    def act(self, observation: np.ndarray) -> np.ndarray:
        return np.array([1.0, 0, 0, 0, 0, 0, 1.0])
