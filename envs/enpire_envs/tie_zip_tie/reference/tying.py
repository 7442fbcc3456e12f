"""What tying from observations alone does whatever finds the slot: line the tip up as estimated, push, and grasp again further back.

Lining up believes averages of what is estimated. The search that follows is a subclass's. Once the tip is in, the strap is pushed until the
fingers are at the head, let go of, and grasped again further back, until enough of it is through.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque

import numpy as np

from enpire_envs.end_effector import rotation
from enpire_envs.scripting import Average, Drive, Load
from enpire_envs.tie_zip_tie.scene import FINGER, SLOT
from enpire_envs.tie_zip_tie.task import ENOUGH, SLIP, STEP, TURN

BEFORE = 0.003  # where to line up, before the slot [m]
IN = 0.0015  # length seen beyond the head that is more than noise [m]
THROUGH = 0.0095  # a tip that went this far without showing behind the head is not in the slot [m]

# lining up
_OUTLIER, _OUTLIER_TURN = (
    0.0015,
    0.05,
)  # an estimate counts up to so far from the mean: its usual error at `state` [m, rad]
_LINED_UP = 2.0  # full steps that may be left to go
_TURNS = 0.27  # how far to turn at most; the hinges end at 0.3 [rad]
_GENTLE = 0.6  # share of full speed while looking: faster, the strap's tip swings
# pushing
_LEAD = 0.004  # how far the command may run ahead: 6 N [m]
_FRONT = FINGER + 0.0035  # nearest the fingers' middle may come to the slot: finger and the slot's error [m]
_ARRIVED = 3.0  # fingers at the head feel this at the latest [N]
# grasping again
_SPARE = 0.004  # further back than what is missing: as much as the length may be misjudged, and more [m]
_SLOPE = 0.15  # steepest that a strap can hang in the slot: play over length [rad]


class Tying(ABC):
    """Everything but the search. A mode names the method that says where the tip should go, in the slot's frame; some are not the tip's.

    Attributes:
        settle: control periods for which estimates are averaged at least.
        late: from an action to its effect [control periods].
        quick: share of the way to the newest force in one.
        gentle: modes in which the tip moves slowly.
        bend: share of the estimated curl that is believed.
    """

    settle: int
    late: int
    quick: float
    gentle: tuple[str, ...] = ()
    bend: float

    def reset(self, observation: np.ndarray) -> None:
        """A new episode."""
        self._drive = Drive(np.concatenate([STEP, [TURN] * 3]), gain=0.5, late=self.late)
        self._load = Load(self.quick, slow=0.025)
        self._poses: deque[np.ndarray] = deque(maxlen=30)
        self._slot, self._slot_turn = Average(3, _OUTLIER), Average(2, _OUTLIER_TURN)
        self._to_tip, self._tip_turn = Average(3, _OUTLIER), Average(2, _OUTLIER_TURN)  # in the fingers' frame
        self._time = self._since = 0
        self._past = 0.0
        self._aim = np.zeros(2)  # where to line up, aside and up from where the slot is believed [m]
        self._middle = np.zeros(2)  # of the slot, from there too [m]
        self._go("line_up")

    def act(self, observation: np.ndarray) -> np.ndarray:
        """The action (7,) for one control period."""
        o = np.asarray(observation, float)
        self._poses.append(o[:6].copy())
        self._load.feel(-o[8:11])
        self._past += 0.3 * (o[21] - self._past)
        self._look(o)
        self._time += 1
        self._pose, self._bound = o[:6], self._drive.expected(o[:6])
        if self._mode == "line_up":
            return self._line_up()
        if self._mode in ("push", "open", "back", "close"):
            return self._feed(o)
        tip, bound = self._tip_at(self._pose), self._tip_at(self._bound)
        goal: np.ndarray = getattr(self, f"_{self._mode}")(tip, bound)
        return self._move(self._with_tip_at(goal, self._angles), speed=_GENTLE if self._mode in self.gentle else 1.0)

    def did(self, action: np.ndarray) -> None:
        """After `act`: this was executed in its place, by a learner that it teaches."""
        self._drive.did(np.asarray(action, float)[:6])

    @abstractmethod
    def _look(self, o: np.ndarray) -> None:
        """Take in an observation; average the estimates while lining up."""

    @abstractmethod
    def _begin_search(self) -> None:
        """The tip is before the slot, as far as is believed: go on with the first mode of the search."""

    # -- what is believed ----------------------------------------------------------------------------------------------
    def _average_tip(self, o: np.ndarray, age: int, turn: np.ndarray | None) -> None:
        """One more estimate of the tip, `age` control periods old, and how it was turned (2,) if that is known [rad]."""
        then = self._poses[-1 - min(age, len(self._poses) - 1)]  # where the fingers were when the tip was looked at
        to_tip = rotation(then[3:]).T @ (o[17:20] - then[:3])
        self._to_tip.add(to_tip)
        self._tip_turn.add(_turn_of(to_tip) if turn is None else turn - then[4:])

    def _tip_at(self, pose: np.ndarray) -> np.ndarray:
        """Where the tip (3,) is in the slot's frame when the fingers are at `pose`, turned as commanded, for all that is believed [m]."""
        at: np.ndarray = self._axes.T @ (pose[:3] + rotation(self._angles) @ self._to_tip.value - self._slot.value)
        return at

    def _with_tip_at(self, at: np.ndarray, angles: np.ndarray) -> np.ndarray:
        """The fingers' pose (6,) for a tip at (3,) in the slot's frame."""
        return np.append(self._slot.value + self._axes @ at - rotation(angles) @ self._to_tip.value, angles)

    # -- lining up -----------------------------------------------------------------------------------------------------
    def _line_up(self) -> np.ndarray:
        self._axes = rotation(np.append(0.0, self._slot_turn.value))
        self._angles = np.clip(np.append(0.0, self._slot_turn.value - self._tip_turn.value), -_TURNS, _TURNS)
        goal = self._with_tip_at(np.array([-BEFORE, *self._aim]), self._angles)
        left = np.abs(goal - self._bound) / np.concatenate([STEP, [TURN] * 3])
        if self._time > self.settle and left.max() < _LINED_UP:
            self._judge_curl()
            self._begin_search()
        return self._move(goal)

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
        self._curl = self.bend * curl
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
        self._mode, self._since = mode, self._time

    def _stride(self, speed: float) -> float:
        """How far ahead a goal must be to go at `speed` [m per step]."""
        return speed / self._drive.gain

    def _lead(self) -> float:
        """How far the command is ahead of the fingers, along the slot [m]."""
        return float((self._axes.T @ (self._drive.commanded - self._pose)[:3])[0])

    def _forward(self, lead: float) -> float:
        """How far ahead the goal is at full speed, unless the command runs ahead by `lead` already [m]."""
        return self._stride(STEP[0]) if self._lead() < lead else 0.0

    def _move(self, goal: np.ndarray, grip: float = 1.0, speed: float = 1.0) -> np.ndarray:
        return np.append(self._drive.towards(goal, self._pose, speed), grip)


def _turn_of(direction: np.ndarray) -> np.ndarray:
    """How x is turned about y and z to point along (3,) [rad]."""
    x, y, z = direction
    return np.array([math.atan2(-z, x), math.atan2(y, x)])
