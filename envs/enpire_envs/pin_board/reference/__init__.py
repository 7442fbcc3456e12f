"""Pin board expert: sees where every pin and hole is, takes the pins one by one and puts each into the next free hole."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from enpire_envs.contact import CONTROL_HZ
from enpire_envs.env import CellEnv
from enpire_envs.pin_board.scene import GRIP_HEIGHT, PINS
from enpire_envs.pin_board.task import STEP
from enpire_envs.pin_insertion.scene import PIN_LENGTH

_TRAVEL = 0.058  # height of the tool over everything that stands about [m]
_LEAD = 0.009  # how far the commanded height runs ahead of the reached one [m]
_UPRIGHT_GAIN = 0.15  # share of the upper end's distance from the hole's axis that is corrected per step
_SLOWLY = 0.0004  # per step, close to the plate [m]
_CAREFULLY = 0.0003  # per step, across, with a pin in a hole [m]
_PATIENCE = 60  # control periods over a hole without getting deeper after which it rises: the wrench is tared up there
_UNGUARDED = 0.006  # how deep a pin is that no force guard holds back [m]
_IN = 0.0190  # how deep a pin is before it is let go of [m]


class Expert:
    """Privileged pin board policy. `act` ignores the observation and reads the cell."""

    def __init__(self, env: CellEnv) -> None:
        self._cell: Any = env.cell

    def reset(self, observation: object) -> None:
        self._lowest, self._waited, self._rising = math.inf, 0, False
        self._gripping = 0.0  # 1: closing, -1: opening, until there is nothing left to close or open

    def act(self, observation: object) -> np.ndarray:
        cell = self._cell
        r, scene = cell.read(), cell.scene
        commanded = (r.target + scene.underway(cell.data)[:6] / CONTROL_HZ)[:3]
        wanted = self._fetch(r) if r.holding is None else self._insert(r, commanded)
        move = (wanted - commanded) / STEP
        if r.holding is not None and r.tip[2] < 0.004:
            move[2] = max(move[2], -_SLOWLY / STEP)
        if (largest := np.abs(move).max()) > 1:
            move /= largest
        return np.array([*move, self._gripping])

    def _fetch(self, r: Any) -> np.ndarray:
        """Over the next pin, down, and close."""
        if self._gripping == -1.0 and r.opening < 1.0:  # out of the way of what it has just let go of
            return np.array([*r.pose[:2], r.pose[2]])
        waiting = np.flatnonzero(r.where == -1)
        if not len(waiting):
            return np.array([*r.pose[:2], _TRAVEL])
        place = self._cell.scene.stand(self._cell.data, int(waiting[0]))
        off = math.hypot(*(place - r.pose[:2]))
        if off > 0.004 and r.pose[2] < _TRAVEL - 0.004:  # rise first
            return np.array([*r.pose[:2], _TRAVEL])
        down = off < 0.001
        there = off < 0.0008 and abs(r.pose[2] - GRIP_HEIGHT) < 0.001
        self._gripping = 1.0 if there or (self._gripping == 1.0 and r.opening > 0.0) else 0.0
        if not there and self._gripping == 0.0 and r.opening < 1.0:
            self._gripping = -1.0
        return np.array([*place, GRIP_HEIGHT if down else _TRAVEL])

    def _insert(self, r: Any, commanded: np.ndarray) -> np.ndarray:
        """Over the next free hole, down, in, and open."""
        self._gripping = 0.0
        wanted = r.pose[:3].copy()
        hole = self._cell.scene.holes[min(set(range(PINS)) - set(r.where.tolist()))]
        off = r.tip[:2] - hole
        if self._held_back(r, math.hypot(*off)):
            wanted[2] = _TRAVEL + 0.001
        elif r.insertion > _IN:  # stop pressing first: what lets go while it presses falls
            self._gripping = -1.0 if abs(r.target[2] - r.pose[2]) < 0.0015 else 0.0
        elif r.insertion > 0.0005:
            # A tilted pin is put upright from its upper end: pushing on would wedge it between two edges of the hole.
            aslant = r.tip[:2] + PIN_LENGTH * r.axis[:2] - hole
            wanted[:2] = commanded[:2] - np.clip(_UPRIGHT_GAIN * aslant, -_CAREFULLY, _CAREFULLY)
            wanted[2] -= _LEAD
        elif math.hypot(*off) > 0.004 and r.pose[2] < _TRAVEL - 0.004:
            wanted[2] = _TRAVEL
        else:
            wanted[:2] -= off
            near = math.hypot(*off)
            wanted[2] = (
                r.pose[2] - _LEAD if near < 0.0002 else r.pose[2] - r.tip[2] + 0.003 if near < 0.002 else _TRAVEL
            )
        return wanted

    def _held_back(self, r: Any, off: float) -> bool:
        """Whether a pin `off` its hole by so little gets no deeper, until it is up again: a wrench that has drifted makes the force guard hold it back."""
        if self._rising:
            self._rising = bool(r.pose[2] < _TRAVEL - 0.0005)
        elif off > 0.004 or r.insertion > _UNGUARDED:
            self._lowest, self._waited = math.inf, 0
        elif r.tip[2] < self._lowest - 0.0001:
            self._lowest, self._waited = r.tip[2], 0
        else:
            self._waited += 1
            if self._waited > _PATIENCE:
                self._rising, self._lowest, self._waited = True, math.inf, 0
        return self._rising


class Naive:
    """Goes straight down where it hovers, and closes."""

    def __init__(self, env: CellEnv) -> None:
        pass

    def reset(self, observation: Any) -> None:
        pass

    def act(self, observation: Any) -> np.ndarray:
        down = observation["agent_pos"][0] > -0.035
        return np.array([0.0, 0.0, -float(down), 0.0 if down else 1.0])
