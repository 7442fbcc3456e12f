"""Zip tie expert: ties as tying's expert does, lets go, fetches the cutter, and cuts the tail in the middle of the allowed stub."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from enpire_envs.contact import CONTROL_HZ
from enpire_envs.cut_zip_tie.parts import KERF, PIVOT, WIDTH
from enpire_envs.cut_zip_tie.task import STEP, TURN
from enpire_envs.env import CellEnv
from enpire_envs.tie_zip_tie import task as tying
from enpire_envs.tie_zip_tie.reference import Expert as Tying
from enpire_envs.tie_zip_tie.scene import LINK, SLOT
from enpire_envs.zip_tie_full.scene import CUTTER, FullReadings
from enpire_envs.zip_tie_full.task import TIGHT

_SPARE = 0.003  # how much more than tight it pulls [m]
_LEVER = 0.009  # where along the blades the strap should be [m]
_ABOVE = 0.0018  # of the strap's middle over the lower blade's edge while coming in [m]
_CLEAR = 0.026  # hinge to strap, while lining up [m]
_OVER = 0.025  # how far above the cutter the gripper travels [m]
_TO_TYING = np.array([*tying.STEP / STEP, *[tying.TURN / TURN] * 3, 1.0])  # tying's actions in this task's


class Expert:
    """Privileged policy. `act` ignores the observation and reads the cell."""

    def __init__(self, env: CellEnv) -> None:
        self._cell: Any = env.cell
        self._task: Any = env.task
        self._tying = Tying(env)

    def reset(self, observation: object) -> None:
        self._tying.reset(observation)
        self._mode = "tie"

    def act(self, observation: object) -> np.ndarray:
        r: FullReadings = self._cell.read()
        if self._mode == "tie" and r.loop < TIGHT - _SPARE:
            self._mode = "let go"
        if self._mode == "tie":
            return self._tying.act(observation) * _TO_TYING
        # how far it will go by itself: what is under way and how the drives run out, so that delay and lag make nothing swing
        model, data = self._cell.model, self._cell.data
        lag = model.actuator_biasprm[:6, 2] / model.actuator_biasprm[:6, 1]
        ahead = data.qvel[:6] * lag + self._cell.scene.underway(data)[:6] / CONTROL_HZ
        if self._mode == "let go":
            if r.opening >= 1.0:
                self._mode = "fetch"
            return np.array([*[0.0] * 6, -1.0])
        return self._cut(r, ahead) if r.has_cutter else self._fetch(r, ahead)

    def _fetch(self, r: FullReadings, ahead: np.ndarray) -> np.ndarray:
        """Up, over the cutter, down, and close."""
        self._mode = "line_up"
        move = r.pivot + PIVOT * r.blades[:, 1] - r.pose[:3]
        turn = np.array([0.0, 0.0, math.atan2(r.blades[1, 0], r.blades[0, 0])]) - r.pose[3:]
        closing = -1.0
        if np.abs(move[:2]).max() > 0.001 or np.abs(turn).max() > 0.02:
            over = CUTTER[2] + _OVER - r.pose[2]
            if r.pose[1] < CUTTER[1] / 2 and r.pose[2] < CUTTER[2] + _OVER / 2:
                move[:2] = 0  # rise first
            move[2] = max(move[2], over)
        elif np.abs(move).max() < 0.001:
            closing = 1.0
        return _towards(move, turn, ahead, closing)

    def _cut(self, r: FullReadings, ahead: np.ndarray) -> np.ndarray:
        """Blades level and across the tail where it leaves the head; in; close; open; out."""
        tail = self._tail(r)
        root = r.in_scene(np.array([SLOT, *self._leaves(r)]))
        turn = -_angles(r.blades, math.atan2(tail[1], tail[0]))
        normal = r.blades[:, 0] @ tail
        half = (KERF + WIDTH * math.sqrt(max(1 - normal**2, 0.0))) / 2 / normal  # of what a slanting cut takes away
        across, along, above = r.along_blades(root + (self._task.aim + half) * tail)
        lever = _CLEAR if self._mode == "line_up" else _LEVER
        local = np.array([across, lever - along, above - _ABOVE])
        move, closing = r.blades @ local, 0.0
        if self._mode == "line_up":
            if np.abs(move[2]) > 0.01 and np.abs(move[:2]).max() > 0.002:
                move[:2] = 0  # up from the post first
            if np.abs(local).max() < 0.0004 and np.abs(turn).max() < 0.01:
                self._mode = "enter"
        elif self._mode == "enter":
            if np.abs(local).max() < 0.0005:
                self._mode = "cut"
        elif self._mode == "cut":
            if r.severed:
                self._mode = "open"
            return np.array([*[0.0] * 6, 1.0])
        else:
            move, closing = r.blades[:, 1] * (0.01 if r.jaw > 0.2 else 0.0), -1.0
        return _towards(move, turn, ahead, closing)

    def _leaves(self, r: FullReadings) -> np.ndarray:
        """Where the strap is at the slot's far end (2,), in the head's frame [m]."""
        k = int((r.loop + SLOT) / LINK)
        share = (r.loop + SLOT) / LINK - k
        return (r.nodes[k] + share * (r.nodes[k + 1] - r.nodes[k]))[1:]

    def _tail(self, r: FullReadings) -> np.ndarray:
        """The direction (3,) in the scene in which the strap leaves the head."""
        at = (r.loop + SLOT + self._task.aim) / LINK
        k = min(int(at), len(r.nodes) - 2)
        a = np.array([SLOT, *self._leaves(r)])
        b = r.nodes[k] + (at - k) * (r.nodes[k + 1] - r.nodes[k])
        tail: np.ndarray = r.axes @ (b - a)
        return tail / np.linalg.norm(tail)


class Naive:
    """Pushes straight ahead."""

    def __init__(self, env: CellEnv) -> None:
        pass

    def reset(self, observation: np.ndarray) -> None:
        pass

    def act(self, observation: np.ndarray) -> np.ndarray:
        return np.array([0.5, 0, 0, 0, 0, 0, 1.0])


def _towards(move: np.ndarray, turn: np.ndarray, ahead: np.ndarray, closing: float) -> np.ndarray:
    """An action that moves (3,) [m] and turns (3,) [rad]."""
    step = np.concatenate([(move - ahead[:3]) / STEP, (turn - ahead[3:]) / TURN])
    return np.array([*np.clip(0.6 * step, -1, 1), closing])


def _angles(blades: np.ndarray, yaw: float) -> np.ndarray:
    """How far blades are turned from lying level and across a tail at `yaw` [rad], as a small vector (3,)."""
    across = np.array([[math.cos(yaw), -math.sin(yaw), 0], [math.sin(yaw), math.cos(yaw), 0], [0, 0, 1]])
    off = blades @ across.T
    return np.array([off[2, 1] - off[1, 2], off[0, 2] - off[2, 0], off[1, 0] - off[0, 1]]) / 2
