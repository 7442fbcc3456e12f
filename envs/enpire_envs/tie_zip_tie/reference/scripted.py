"""Tying from observations alone, at `intro` and `state`.

Estimates of slot and tip are off by more than the strap's play in the slot, but one thing is known well: the head hides the tip (`valid` 0)
while it is between 1 mm before the slot and its far end, within the widest slot. So the head is a light barrier. The script lines the tip up
as estimated, creeps forward until it is hidden, goes up and then aside until it shows, which gives the slot's middle to a tenth of a
millimetre, goes in, pushes until the fingers are at the head, and grasps again further back until enough is through.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import gymnasium as gym
import numpy as np

from enpire_envs.contact import CONTROL_HZ
from enpire_envs.end_effector import rotation
from enpire_envs.scripting import Average, Drive, Load
from enpire_envs.tie_zip_tie.scene import FINGER, HALF_Y, HALF_Z, SLOT
from enpire_envs.tie_zip_tie.task import ENOUGH, SLIP, STEP, TURN

# lining up
_OUTLIER, _OUTLIER_TURN = (
    0.0015,
    0.05,
)  # an estimate counts up to so far from the mean: its usual error at `state` [m, rad]
_PRIOR = (
    1 / 3
)  # at `intro`: share of the estimated offset that is believed; starts spread by 1 mm, and so do both estimates
_BEFORE = 0.003  # where to line up, before the slot [m]
_LINED_UP = 2.0  # full steps that may be left to go
_TURNS = 0.27  # how far to turn at most; the hinges end at 0.3 [rad]
_BEND = 0.5  # share of the estimated curl that is believed: its error is about as large as curls are
# looking for the slot
_CREEP, _SWEEP = (
    0.00012,
    0.00018,
)  # forward, and across the slot: a dark tip must be noticed within a few tenths of a millimetre [m per step]
_GENTLE = 0.6  # share of full speed while looking: faster, the strap's tip swings across the edge
_INTO = 0.0003  # further forward than where the tip was first known to be hidden: away from the edge of hiding [m]
_PAST = (
    0.0014  # this far beyond where the slot should begin, still in sight: the tip is before the head, not the slot [m]
)
_FELT = 0.8  # so is one that meets this force; noise is a quarter of it [N]
_CLEAR = (
    0.0007  # back from the head's face before sweeping: a tip that rubs on it sticks, and the strap bends instead [m]
)
_REACH = 0.0028  # how far to sweep each way for a slot that was missed [m]
_UNSEEN = 22  # steps after which the tip should have been hidden again below the edge
_LOST = 80  # steps after which to start again
_CENTRED = 0.00012  # how near to the middle to be to go in: a third of the least play [m]
# going in and pushing
_LEAD_IN, _LEAD = 0.002, 0.004  # how far the command may run ahead: 3 N while the tip may be blocked, 6 N [m]
_THROUGH = 0.0095  # a tip that went this far without showing behind the head is not in the slot [m]
_BLOCKED = 2.0  # so is one that meets this force; a strap in the slot is held back with less than 1 N [N]
_IN = 0.0015  # length seen beyond the head that is more than noise [m]
_FRONT = FINGER + 0.0035  # nearest the fingers' middle may come to the slot: finger and the slot's error [m]
_ARRIVED = 3.0  # fingers at the head feel this at the latest [N]
# grasping again
_SPARE = 0.004  # further back than what is missing: as much as the length may be misjudged, and more [m]
_SLOPE = 0.15  # steepest that a strap can hang in the slot: play over length [rad]


class Scripted:
    """Ties by what policies see; raises ValueError for an observation without estimates."""

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        if observation_space.shape not in ((22,), (29,)):
            raise ValueError(
                "the tying script reads estimates, which this observation has not; use obs_type='state' at the levels `intro` and `state`"
            )
        self._intro = observation_space.shape == (22,)
        # at `state` estimates must be averaged for a second, and actions come 1 to 3 periods late
        self._settle, self._late, self._quick = (10, 2, 0.5) if self._intro else (25, 4, 0.2)

    def reset(self, observation: np.ndarray) -> None:
        """A new episode."""
        self._drive = Drive(np.concatenate([STEP, [TURN] * 3]), gain=0.5, late=self._late)
        self._load = Load(self._quick, slow=0.025)
        self._poses: deque[np.ndarray] = deque(maxlen=30)
        self._slot, self._slot_turn = Average(3, _OUTLIER), Average(2, _OUTLIER_TURN)
        self._to_tip, self._tip_turn = Average(3, _OUTLIER), Average(2, _OUTLIER_TURN)  # in the fingers' frame
        self._dark = self._hidden_for = self._time = self._since = self._swaps = 0
        self._hidden = self._was_hidden = False
        self._past = 0.0
        self._middle = np.zeros(2)  # of the slot, aside and up from where it is believed [m]
        o = np.asarray(observation, float)
        self._aim = (1 - _PRIOR) * (o[17:20] - o[14:17])[1:] if self._intro else np.zeros(2)
        self._go("line_up")

    def act(self, observation: np.ndarray) -> np.ndarray:
        """The action (7,) for one control period."""
        o = np.asarray(observation, float)
        self._look(o)
        self._time += 1
        self._pose, self._bound = o[:6], self._drive.expected(o[:6])
        if self._mode == "line_up":
            return self._line_up()
        if self._mode in ("push", "open", "back", "close"):
            return self._feed(o)
        tip, bound = self._tip_at(self._pose), self._tip_at(self._bound)
        goal: np.ndarray = getattr(self, f"_{self._mode}")(tip, bound)
        gentle = self._mode in ("seek", "edge", "unstick", "side", "centre")
        return self._move(self._with_tip_at(goal, self._angles), speed=_GENTLE if gentle else 1.0)

    def did(self, action: np.ndarray) -> None:
        """After `act`: this was executed in its place, by a learner that it teaches."""
        self._drive.did(np.asarray(action, float)[:6])

    # -- what is believed ----------------------------------------------------------------------------------------------
    def _look(self, o: np.ndarray) -> None:
        """Average estimates, and notice whether the head hides the tip."""
        self._poses.append(o[:6].copy())
        seen, age = o[20] > 0.5, 0 if self._intro else round(o[28] * CONTROL_HZ)
        self._notice(seen, age)
        self._load.feel(-o[8:11])
        self._past += 0.3 * (o[21] - self._past)
        if self._mode != "line_up":
            return
        if self._intro or o[25] > 0.5:
            self._slot.add(o[14:17])
            self._slot_turn.add(np.zeros(2) if self._intro else o[22:24])
        if seen:
            then = self._poses[-1 - min(age, len(self._poses) - 1)]  # where the fingers were when the tip was looked at
            to_tip = rotation(then[3:]).T @ (o[17:20] - then[:3])
            self._to_tip.add(to_tip)
            self._tip_turn.add(_turn_of(to_tip) if self._intro else o[26:28] - then[4:])

    def _notice(self, seen: bool, age: int) -> None:
        """Tell a hidden tip from looks that failed: looks at a hidden one go on succeeding, so that its estimate is younger than after
        failures, but ages with every step. `age` in control periods."""
        self._dark = 0 if seen else self._dark + 1
        if self._intro or seen:
            self._hidden = not seen
        elif self._hidden:
            self._hidden_for += 1
            if age < self._hidden_for:  # it was looked at since
                self._hidden, self._dark = False, 0
        elif self._dark > 1 and 0 <= age - self._dark < 5:  # after a failure it is 6 periods old at once
            self._hidden, self._hidden_for = True, 2

    def _tip_at(self, pose: np.ndarray) -> np.ndarray:
        """Where the tip (3,) is in the slot's frame when the fingers are at `pose`, turned as commanded, for all that is believed [m]."""
        at: np.ndarray = self._axes.T @ (pose[:3] + rotation(self._angles) @ self._to_tip.value - self._slot.value)
        return at

    def _with_tip_at(self, at: np.ndarray, angles: np.ndarray) -> np.ndarray:
        """The fingers' pose (6,) for a tip at (3,) in the slot's frame."""
        return np.append(self._slot.value + self._axes @ at - rotation(angles) @ self._to_tip.value, angles)

    # -- lining up and looking for the slot: each returns where the tip (3,) should be, in the slot's frame ----------------
    def _line_up(self) -> np.ndarray:
        self._axes = rotation(np.append(0.0, self._slot_turn.value))
        self._angles = np.clip(np.append(0.0, self._slot_turn.value - self._tip_turn.value), -_TURNS, _TURNS)
        goal = self._with_tip_at(np.array([-_BEFORE, *self._aim]), self._angles)
        left = np.abs(goal - self._bound) / np.concatenate([STEP, [TURN] * 3])
        if self._time > self._settle and left.max() < _LINED_UP:
            self._judge_curl()
            self._go("advance")
        return self._move(goal)

    def _advance(self, tip: np.ndarray, bound: np.ndarray) -> np.ndarray:
        """Creep forward until the tip is hidden, or meets the head."""
        if self._hidden:
            self._hold = np.array([tip[0] + _INTO, tip[1], tip[2]])
            self._go("edge")
        elif tip[0] > _PAST or (self._load.rise[0] > _FELT and tip[0] > -_BEFORE + 0.0005):
            self._hold = np.array([tip[0] - _CLEAR, tip[1], tip[2]])
            self._way, self._turned = 1.0, 0
            self._go("seek")
        return np.array([bound[0] + self._stride(_CREEP), *self._aim])

    def _seek(self, tip: np.ndarray, bound: np.ndarray) -> np.ndarray:
        """The head was met beside the slot: sweep up, then down, until the tip is hidden; that is where the slot begins."""
        ready = self._is_clear(tip)
        if self._dark == 1:
            self._went_dark = tip[2]
        if self._hidden and ready:
            self._edge_at, self._middle[1] = tip[2], self._went_dark + self._way * HALF_Z
            self._go("side")
        elif (tip[2] - self._hold[2]) * self._way > _REACH:
            self._turned, self._way = self._turned + 1, -self._way
            if self._turned > 1:
                self._go("retreat")
        return np.array([*self._hold[:2], bound[2] + ready * self._way * self._stride(_SWEEP)])

    def _edge(self, tip: np.ndarray, bound: np.ndarray) -> np.ndarray:
        """Up until the tip shows: it is over the slot's upper edge."""
        if not self._hidden:
            self._edge_at, self._middle[1] = tip[2], tip[2] - HALF_Z
            self._go("side")
        elif tip[2] - self._hold[2] > 2 * HALF_Z + 0.0006:  # the slot is not that high: the tip sticks to the head
            self._hold[0] -= _CLEAR
            self._go("unstick")
        return np.array([*self._hold[:2], bound[2] + self._is_clear(tip) * self._stride(_SWEEP)])

    def _unstick(self, tip: np.ndarray, bound: np.ndarray) -> np.ndarray:
        """Back to where the sweep began, further from the head."""
        if np.abs(tip - self._hold).max() < 0.0003:
            self._go("edge" if self._hidden else "advance")
        return self._hold

    def _side(self, tip: np.ndarray, bound: np.ndarray) -> np.ndarray:
        """Back to the middle's height, and aside until the tip shows again."""
        up = float(self._middle[1])
        ready = abs(tip[2] - up) < 0.0005
        self._was_hidden |= self._hidden and ready
        if self._was_hidden and not self._hidden:
            self._middle[0] = tip[1] - HALF_Y
            self._go("centre")
        elif not self._was_hidden and self._time - self._since > _UNSEEN:  # then it was the slot's other edge
            self._middle[1] += math.copysign(2 * HALF_Z, self._edge_at - up)
            self._since, self._swaps = self._time, self._swaps + 1
        if self._time - self._since > _LOST or self._swaps > 1:
            self._swaps = 0
            self._go("retreat")
        return np.array([self._hold[0], bound[1] + (ready and self._was_hidden) * self._stride(_SWEEP), up])

    def _centre(self, tip: np.ndarray, bound: np.ndarray) -> np.ndarray:
        if np.abs(tip[1:] - self._middle).max() < _CENTRED:
            self._go("enter")
        return np.append(self._hold[0], self._middle)

    def _enter(self, tip: np.ndarray, bound: np.ndarray) -> np.ndarray:
        if self._past > _IN:
            self._go("push")
        elif tip[0] - self._hold[0] > _THROUGH or self._load.rise[0] > _BLOCKED:
            self._aim = self._middle.copy()
            self._go("retreat")
        return np.append(bound[0] + self._forward(_LEAD_IN), self._middle)

    def _retreat(self, tip: np.ndarray, bound: np.ndarray) -> np.ndarray:
        if self._past > 2 * _IN:  # it was in after all, and the ratchet holds it
            self._go("push")
        elif tip[0] < -_BEFORE + 0.001:
            self._go("advance")
        return np.array([-_BEFORE, *self._aim])

    # -- feeding the strap -----------------------------------------------------------------------------------------------
    def _feed(self, o: np.ndarray) -> np.ndarray:
        """Push; at the head open, go back along the strap, close, push on."""
        opening, held = o[6], o[7] > 0.5
        at, bound = (self._axes.T @ (pose[:3] - self._slot.value) for pose in (self._pose, self._bound))
        aside, angles = self._unbent(bound[0])
        x, grip = bound[0], 1.0
        if self._mode == "push":
            x += self._forward(_LEAD)
            if at[0] > -_FRONT or self._load.rise[0] > _ARRIVED:
                self._go("open")
        elif self._mode == "open":
            grip = -1.0
            if opening > 0.9:
                self._until = min(at[0], -_FRONT) - max(ENOUGH + SLIP - self._past, 0.0) - _SPARE
                self._go("back")
        elif self._mode == "back":
            grip, x = -1.0, x - self._stride(STEP[0])
            aside[1] = self._hang(o) * bound[0]
            if at[0] < self._until:
                self._go("close")
        elif opening < 0.05:
            self._go("push" if held else "open")
        where = np.array([x, *(aside + self._middle)])
        return self._move(np.append(self._slot.value + self._axes @ where, angles), grip=grip)

    def _judge_curl(self) -> None:
        """From how the tip is turned against the line to it: the strap's bend per metre, about y and z, and how it leaves the fingers."""
        to_tip = self._to_tip.value
        self._free = float(np.linalg.norm(to_tip))
        curl = 2 * (self._tip_turn.value - _turn_of(to_tip)) / self._free
        self._curl = np.zeros(2) if self._intro else _BEND * curl
        self._leaves = self._tip_turn.value - self._curl * self._free

    def _unbent(self, x: float) -> tuple[np.ndarray, np.ndarray]:
        """Where aside and up (2,) [m], and how turned (3,) [rad] fingers at x before the slot should be so that no strap between is bent."""
        length = min(max(-x, 0.0), self._free)
        about_y, about_z = self._curl
        turn = self._slot_turn.value - self._curl * length - self._leaves
        return np.array([about_z, -about_y]) * length**2 / 2, np.clip(np.append(0.0, turn), -_TURNS, _TURNS)

    def _hang(self, o: np.ndarray) -> float:
        """How steeply the strap that was let go of runs through the slot, by where its tip is seen [rad]."""
        beyond = self._axes.T @ (o[17:20] - self._slot.value)
        return float(np.clip((beyond[2] - self._middle[1]) / max(beyond[0] - SLOT / 2, SLOT), -_SLOPE, _SLOPE))

    # -- moving ------------------------------------------------------------------------------------------------------------
    def _go(self, mode: str) -> None:
        self._mode, self._since, self._was_hidden = mode, self._time, False

    def _is_clear(self, tip: np.ndarray) -> bool:
        """Whether the tip is as far back from the head as it should be for a sweep."""
        return bool(tip[0] < self._hold[0] + 0.0003)

    def _stride(self, speed: float) -> float:
        """How far ahead a goal must be to go at `speed` [m per step]."""
        return speed / self._drive.gain

    def _forward(self, lead: float) -> float:
        """How far ahead the goal is at full speed, unless the command runs ahead by `lead` already [m]."""
        ahead = (self._axes.T @ (self._drive.commanded - self._pose)[:3])[0]
        return self._stride(STEP[0]) if ahead < lead else 0.0

    def _move(self, goal: np.ndarray, grip: float = 1.0, speed: float = 1.0) -> np.ndarray:
        return np.append(self._drive.towards(goal, self._pose, speed), grip)


def _turn_of(direction: np.ndarray) -> np.ndarray:
    """How x is turned about y and z to point along (3,) [rad]."""
    x, y, z = direction
    return np.array([math.atan2(-z, x), math.atan2(y, x)])
