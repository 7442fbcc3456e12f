"""Cutting from observations alone, at `intro` and `state`.

Averages of what is estimated say where cutter and tail are to within two or three millimetres. The rest is felt: the open blades take the
tail in where they are far apart, give way up or down to what presses on one of them, go along the tail until they meet the head, and 5 mm
back from there they cut, whatever the estimates were.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import gymnasium as gym
import numpy as np

from enpire_envs.contact import CONTROL_HZ
from enpire_envs.cut_zip_tie.parts import BLADE, PIVOT
from enpire_envs.cut_zip_tie.task import STEP, TURN
from enpire_envs.end_effector import rotation
from enpire_envs.scripting import Average, Drive, Load

_HALF = BLADE / 2  # from the blades' hinge to the middle of the lower one, which is what estimates are of [m]
_OUTLIER = 0.004  # an estimate counts up to so far from the mean: about its bound at `state` [m]
# fetching the cutter
_LOOK = 15  # steps before the fingers may close: estimates are averaged on the way
_ABOVE, _OVER = 0.012, 0.004  # how far above the handle to stay until the fingers are over it, to within [m]
_AT = 0.0005  # what counts as arrived, for what is still under way [m]
_HALF_OPEN = 3  # steps in a row that the gripper must stay half open: then the cutter is in it
_TRIED = 8  # steps after which closed fingers have missed
_TRIES = (
    np.array([[0, 0, 0], [0, 0, -2], [3, 0, 0], [-3, 0, 0], [0, 3, 0], [0, -3, 0], [0, 0, 3]]) / 1000
)  # then here, in turn [m]
_KEPT = 20  # looks that what was known of the lying cutter counts as, once it is in the hand
_LIFT, _UNDER = 0.003, 0.003  # sideways at this height above the stand, out from under the bundle, until this near [m]
# taking the tail in
_TURNED = 0.35  # how far to turn about z at most: the cutter must not meet the bundle [rad]
_FROM_HEAD = (
    0.0065  # where to go in, along the tail: not before the head even if estimates are off by two deviations [m]
)
_CLEAR = 0.017  # from the tail to the blades' tips before going in [m]
_LEVER = 0.007  # of the tail from the hinge for the cut: near enough for 42 N of 0.6 Nm, and open less than the head is high [m]
_TIPS = 0.014  # up to here the tail is kept in the middle between the blades, which the next says [m]
_MIDDLE = 0.32  # half the opening over the lever [rad]
_SIDE = 2.0  # a tail that is hit with the lower blade's tip is felt so hard [N]
_LOWER, _OFF = 0.0025, 0.004  # then go in again this much lower, from so far away [m]
_FELT, _GIVE, _GIVING = 0.7, 5e-5, 2e-4  # give way to more than this [N], by [m/N per step], at most [m per step]
_LONGEST = 90  # steps that going in may take
# cutting
_CREEP = 0.0003  # towards the head [m per step]
_MET = 1.8  # the head is felt so hard; friction on the tail is less [N]
_FURTHER = 0.004  # beyond where the head should be it is not looked for [m]
_STUB = 0.005  # from the head: the middle of what the strictest of these levels allows [m]
_CLOSED, _SQUEEZE, _LEAST = (
    0.04,
    45,
    20,
)  # jaw's angle that says that nothing is left between the blades [rad]; most and fewest steps to close
_FALLEN = 8  # steps without a look at the tail after which it has fallen: failed looks are fewer in a row
_OPENED, _OPEN = 0.2, 0.5  # jaw's angle from which on to draw back, and at which to go in again [rad]
_MISSED = (-0.0035, 0.007, -0.0035)  # after closing on nothing: lower, higher, as before [m]


class Scripted:
    """Cuts by what policies see; raises ValueError for an observation without estimates."""

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        if observation_space.shape not in ((26,), (31,)):
            raise ValueError(
                "the cutting script reads estimates, which this observation has not; use obs_type='state' at the levels `intro` and `state`"
            )
        self._intro = observation_space.shape == (26,)
        self._late = 2 if self._intro else 4  # at `state` actions come 1 to 3 periods late

    def reset(self, observation: np.ndarray) -> None:
        """A new episode."""
        self._drive = Drive(np.array([STEP] * 3 + [TURN] * 3), gain=0.4, late=self._late)
        self._load = Load(quick=0.25, slow=0.04)
        self._poses: deque[np.ndarray] = deque(maxlen=30)
        self._cutter, self._tie = Average(6, _OUTLIER), Average(6, _OUTLIER)  # handle and blade; head and tip
        self._time = self._half_open = self._tries = self._misses = self._unseen = self._held_for = 0
        self._held = False
        self._free = np.zeros(3)  # what is felt while nothing is touched [N]
        self._up = 0.0  # higher than estimates say that the blades should be [m]
        self._go("fetch")

    def act(self, observation: np.ndarray) -> np.ndarray:
        """The action (7,) for one control period."""
        o = np.asarray(observation, float)
        self._look(o)
        self._time += 1
        self._pose, self._bound, self._jaw = o[:6], self._drive.expected(o[:6]), o[6]
        if not self._held:
            goal, jaws = self._fetch(float(o[8]))
        else:
            if self._mode in ("fetch", "grasp", "reopen"):
                self._stand = self._pose[2]
                self._go("line_up" if self._time == 1 else "out")
            goal, jaws = self._cut()
        return np.append(self._drive.towards(goal, self._pose), jaws)

    def did(self, action: np.ndarray) -> None:
        """After `act`: this was executed in its place, by a learner that it teaches."""
        self._drive.did(np.asarray(action, float)[:6])

    # -- what is believed ----------------------------------------------------------------------------------------------
    def _look(self, o: np.ndarray) -> None:
        """Average estimates: of the tie until the blades are at it, of a cutter in the hand in the hand's frame."""
        self._poses.append(o[:6].copy())
        if self._intro:
            along = np.array([math.sin(o[18]), -math.cos(o[18]), 0.0])
            cutter, tie = np.append(o[15:18] - (PIVOT + _HALF) * along, o[15:18]), o[19:25]
            cutter_seen, tie_seen, age, held = True, o[25] > 0.5, 0, o[8] > 0.5
        else:
            cutter, tie = o[15:21], o[21:27]
            cutter_seen, tie_seen, age = o[28] > 0.5, o[30] > 0.5, round(o[27] * CONTROL_HZ)
            self._half_open = self._half_open + 1 if abs(o[8] - 0.5) < 0.1 else 0
            held = self._half_open >= _HALF_OPEN
        if held and not self._held:
            known = self._cutter.value if self._cutter.count else cutter
            self._cutter.value, self._cutter.count = _in_hand(known, o[:6]), min(self._cutter.count, _KEPT)
            self._held = True
        elif self._held:
            self._held_for += 1
        if cutter_seen and not self._held:
            self._cutter.add(cutter)
        elif cutter_seen and age <= self._held_for:  # looked at since
            self._cutter.add(_in_hand(cutter, self._poses[-1 - min(age, len(self._poses) - 1)]))
        if tie_seen and self._mode in ("fetch", "grasp", "reopen", "out", "line_up", "enter"):
            self._tie.add(tie)
        self._unseen = 0 if tie_seen else self._unseen + 1
        self._load.feel(o[9:12])

    # -- fetching ------------------------------------------------------------------------------------------------------
    def _fetch(self, opening: float) -> tuple[np.ndarray, float]:
        """Over the handle, down, and close; elsewhere if that held nothing."""
        handle, blade = self._cutter.value[:3], self._cutter.value[3:]
        goal = np.zeros(6)
        goal[:3] = handle + _TRIES[self._tries % len(_TRIES)]
        goal[5] = _yaw(blade - handle)
        jaws = -1.0
        if self._mode == "fetch":
            if np.abs(goal[:2] - self._bound[:2]).max() > _OVER:
                goal[2] = max(goal[2], handle[2] + _ABOVE)
            if self._time > _LOOK and np.abs(goal[:3] - self._bound[:3]).max() < _AT:
                self._go("grasp")
        elif self._mode == "grasp":
            jaws = 1.0
            if self._time - self._since > _TRIED:
                self._tries += 1
                self._go("reopen")
        elif opening > 0.9:
            self._go("fetch")
        return goal, jaws

    # -- cutting: positions are of the lower blade's middle, in the frame of the spot to go in at (x along the tail, level) -------
    def _cut(self) -> tuple[np.ndarray, float]:
        """To the tail, about it, along it to the head, back, close, open, away."""
        if self._mode in ("out", "line_up"):
            self._aim()
        at, bound = self._blade_at(self._pose), self._blade_at(self._bound)
        lever = min(max(at[1] + _HALF, _LEVER), _TIPS)
        felt = self._load.over(self._free)
        if self._mode in ("enter", "touch", "off") and at[1] + _HALF < _TIPS and abs(felt[2]) > _FELT:
            self._up += float(np.clip(_GIVE * felt[2], -_GIVING, _GIVING))
        where, jaws = np.array([0.0, _HALF + _CLEAR, self._up - _MIDDLE * lever]), -1.0
        goal = self._with_blade_at(where)
        if self._mode == "out":
            if np.abs(goal[:2] - self._bound[:2]).max() < _UNDER:
                self._go("line_up")
            goal[2] = self._stand + _LIFT
        elif self._mode == "line_up":
            if np.abs((goal - self._bound) / np.array([STEP] * 3 + [TURN] * 3)).max() < 1.5:
                self._go("enter")
        elif self._mode == "enter":
            where[1] = _LEVER - _HALF
            goal = self._with_blade_at(where)
            if self._arrived(goal) or self._time - self._since > _LONGEST:
                self._first = at[0]
                self._go("touch")
            elif felt[1] > _SIDE and lever > _LEVER + 0.002:
                self._up -= _LOWER
                self._away = at[1] + _OFF
                self._go("withdraw")
        elif self._mode == "withdraw":
            where[1] = self._away
            goal = self._with_blade_at(where)
            self._free = self._load.usual
            if self._arrived(goal):
                self._go("enter")
        elif self._mode == "touch":
            where[:2] = bound[0] - _CREEP / self._drive.gain, _LEVER - _HALF
            goal = self._with_blade_at(where)
            if (felt[0] > _MET and self._time - self._since > 5) or at[0] < self._first - _FROM_HEAD - _FURTHER:
                self._spot_x = at[0] + _STUB
                self._go("off")
        elif self._mode == "off":
            where[:2] = self._spot_x, _LEVER - _HALF
            goal = self._with_blade_at(where)
            if abs(at[0] - self._spot_x) < _AT:
                self._hold = self._bound.copy()
                self._go("close")
        elif self._mode == "close":
            goal, jaws, steps = self._hold, 1.0, self._time - self._since
            nothing = self._jaw < _CLOSED and steps > _LEAST and self._unseen == 0
            if self._unseen > _FALLEN or steps > _SQUEEZE or nothing:
                self._go("open")
        else:
            goal = self._bound.copy()
            goal[:3] += self._axes @ np.array([0.0, 0.006 if self._jaw > _OPENED else 0.0, 0.0])
            goal[3:] = 0.0, 0.0, self._turn
            if self._unseen == 0 and self._jaw > _OPEN and at[1] > _HALF + _CLEAR - 0.002:  # the tail is still there
                self._up += _MISSED[self._misses % len(_MISSED)]
                self._misses += 1
                self._go("line_up")
        return goal, jaws

    def _aim(self) -> None:
        """By what is known now: across which line to turn the blades, and where to go in."""
        head, tip = self._tie.value[:3], self._tie.value[3:]
        tail = (tip - head) / max(float(np.linalg.norm(tip - head)), 1e-6)
        along = math.atan2(tail[1], tail[0])
        handle, blade = self._cutter.value[:3], self._cutter.value[3:]
        self._turn = float(np.clip(along - _yaw(blade - handle), -_TURNED, _TURNED))
        self._axes, self._spot = rotation(np.array([0.0, 0.0, along])), head + _FROM_HEAD * tail
        self._free = self._load.usual

    def _blade_at(self, pose: np.ndarray) -> np.ndarray:
        at: np.ndarray = self._axes.T @ (pose[:3] + self._offset() - self._spot)
        return at

    def _with_blade_at(self, at: np.ndarray) -> np.ndarray:
        return np.array([*(self._spot + self._axes @ at - self._offset()), 0.0, 0.0, self._turn])

    def _offset(self) -> np.ndarray:
        """From the end effector to the lower blade's middle (3,), turned as it should be [m]."""
        offset: np.ndarray = rotation(np.array([0.0, 0.0, self._turn])) @ self._cutter.value[3:]
        return offset

    def _arrived(self, goal: np.ndarray) -> bool:
        return bool(np.abs(goal - self._bound)[:3].max() < _AT)

    def _go(self, mode: str) -> None:
        self._mode, self._since = mode, self._time


def _yaw(along: np.ndarray) -> float:
    """Of a cutter whose blades point along (3,) [rad]."""
    return math.atan2(along[0], -along[1])


def _in_hand(points: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Two points (6,) in the frame of an end effector at a pose (6,)."""
    return np.concatenate([rotation(pose[3:]).T @ (point - pose[:3]) for point in (points[:3], points[3:])])
