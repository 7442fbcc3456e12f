"""Pin insertion where little is sensed well: at `state`.

A pin that is askew in the gripper stands on the lowest point of its rim. Dragged over the plate in that direction, within a quarter of a
millimetre of the hole's middle, the rim catches behind the hole's edge and the pin falls in; in the other direction it hardly ever does. So
the pin is first pressed on the plate, where the torque says to which side it leans, and then dragged that way, strip by strip from the
middle of what is believed outwards. Forces are known best by how far the command leads, as the drives are springs.

In the hole, the walls turn the pin upright: what torque remains once the force's lever is taken off is theirs, and the gripper moves to
where they need not.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from enpire_envs.pin_insertion.scene import PIN_LENGTH
from enpire_envs.pin_insertion.task import HOVER, STEP
from enpire_envs.scripting import Average

_STIFFNESS = 1500.0  # of the drives [N/m], give or take a quarter
_PRESSING = 0.4  # share of a wrong pressure that is made good in a step
# where the hole may be
_OUTLIER = 0.0015  # an estimate counts up to so far from the mean [m]
_BELIEF = 0.5  # share of the mean that is believed: starts are as near to the hole as estimates, pin and gripper included, are wrong
_FARTHEST = 0.0017  # from the start, of what is believed [m]
# which way the pin leans
_HASTE, _HASTY = -0.003, 0.0003  # height above which it goes down at full speed, and its speed below [m], [m per step]
_EARLIEST, _HIGHEST = 8, -0.0032  # no plate is met before this step, or above this height [m]
_STOPPED, _SHARE = 4, 0.35  # met: so many steps at less than this share of its speed
_UNLOADED = 5  # newest readings that are not believed to be without load
_PROBE, _NEARLY = 18.0, 2.5  # press so hard, or so much less [N]
_SWING, _READ = 2, 7  # readings until the torque has come to rest, and with those that are averaged
_STICTION = 0.010  # dead band of the torque [Nm]
# dragging
_PRESS = 4.0  # [N]
_STRIP, _STRIPS = (
    0.0005,
    10,
)  # between strips: what the rim catches, to both sides [m]; after so many from the start again
_SPREAD = 0.0011  # half the length of the middle strip [m]
_NARROWS = 0.4  # how fast strips get shorter away from the middle
_RUN_UP, _OVERRUN = 0.0005, 0.0003  # before and behind a strip: friction holds the tip back [m]
_SHORTEST = 0.0002  # that is worth it [m]
_KEEP = 0.3  # share of the way aside of a strip that is made good in a step
_FALLEN = 0.0006  # below the plate's top: the pin is in [m]
# pushing
_PUSH = 20.0  # [N]
_LET_GO = 8  # steps for which to take back what pulled the pin into the hole
_YIELD = 0.006  # how fast to move for a torque of the walls [m/Nm per step]
_CALM = 0.5  # share of the newest reading
_CAUGHT, _PATIENCE = 0.0012, 25  # not in: less deep after so many steps [m]


class ByLean:
    """Dragging towards the side to which the pin leans."""

    def reset(self, observation: np.ndarray) -> None:
        """A new episode."""
        self._command, self._said = np.zeros(3), np.zeros(3)  # sum of all actions, and the last [m]
        self._hole = Average(2, _OUTLIER)
        self._phase: Callable[[], np.ndarray] = self._descend
        self._time = self._since = self._strip = 0
        self._heights: list[float] = []
        self._wrenches: list[np.ndarray] = []
        self._walls = np.zeros(2)

    def act(self, seen: np.ndarray, n: int) -> np.ndarray:
        """The action (3,) for one control period, by an observation whose first n components are the pose."""
        self._time += 1
        self._pose, self._wrench = seen[:3], seen[n : n + 6].copy()
        self._heights.append(float(seen[2]))
        if seen[n + 10] > 0.5:
            self._hole.add(seen[n + 7 : n + 9])
        self._lead = self._command - self._pose
        action = np.clip(self._phase() / STEP, -1.0, 1.0)
        self._said = action * STEP
        self._command = self._command + self._said
        return action

    def did(self, action: np.ndarray) -> None:
        """After `act`: this was executed in its place, by a learner that it teaches."""
        moved = np.clip(action[:3], -1.0, 1.0) * STEP
        self._command, self._said = self._command + moved - self._said, moved

    # -- phases: each returns by how much to move the commanded position (3,) [m] ----------------------------------------
    def _descend(self) -> np.ndarray:
        """Straight down until the plate is met: what moved aside would pull at the torque."""
        down = STEP[2] if self._pose[2] > _HASTE else _HASTY
        self._wrenches.append(self._wrench)
        if self._time > _EARLIEST and self._pose[2] < _HIGHEST and self._went_down(_STOPPED) < _SHARE * _STOPPED * down:
            self._free = np.mean(self._wrenches[:-_UNLOADED], axis=0)
            self._wrenches = []
            self._go(self._probe)
        return np.array([0.0, 0.0, -down])

    def _probe(self) -> np.ndarray:
        """Press hard, and feel to which side of the gripper the plate bears."""
        if -self._lead[2] * _STIFFNESS > _PROBE - _NEARLY:
            self._wrenches.append(self._wrench - self._free)
        if len(self._wrenches) >= _READ:
            torque = np.mean(self._wrenches[_SWING:], axis=0)[3:5]
            torque = torque + np.sign(torque) * np.minimum(_STICTION, 3 * np.abs(torque))
            self._way = np.array([-torque[1], torque[0]]) / max(math.hypot(*torque), 1e-9)
            self._surface = float(np.mean(self._heights[-5:]))
            self._middle = self._believed()
            self._go(self._return)
        return np.array([0.0, 0.0, self._pressing(_PROBE)])

    def _return(self) -> np.ndarray:
        """To a strip's beginning, hardly touching the plate."""
        ends = self._ends()
        if ends is None:
            return self._next_strip()
        begin = ends[0] - _RUN_UP * self._way
        if np.abs(self._command[:2] - begin).max() < 0.0001 and self._command[2] > self._surface - 0.0003:
            self._go(self._drag)
        return np.array([*_straight(begin - self._command[:2]), self._surface - self._command[2]])

    def _drag(self) -> np.ndarray:
        """Along the strip, pressing, until the pin falls in."""
        ends = self._ends()
        assert ends is not None
        if max(self._heights[-2:]) < self._surface - _FALLEN:
            self._walls = np.zeros(2)
            self._go(self._push)
            return self._push()
        if (self._pose[:2] - ends[1]) @ self._way > _OVERRUN:
            return self._next_strip()
        aside = np.array([-self._way[1], self._way[0]])
        back = -_KEEP * ((self._command[:2] - ends[1]) @ aside) * aside
        return np.array([*(_straight(self._way) + back), self._pressing(_PRESS)])

    def _push(self) -> np.ndarray:
        """Down the hole, moving to where its walls need not turn the pin."""
        if self._surface - self._pose[2] < _CAUGHT and self._time - self._since > _PATIENCE:
            return self._next_strip()
        force, torque = np.split(self._wrench - self._free, 2)
        # of the torque at the gripper, the force at the pin's tip makes this part
        lever = PIN_LENGTH * np.array([force[1], -force[0]])
        self._walls = self._walls + _CALM * (torque[:2] - lever - self._walls)
        move = _YIELD * np.array([self._walls[1], -self._walls[0]])
        if self._time - self._since < _LET_GO:
            move = -_straight(self._way)
        return np.array([*move, self._pressing(_PUSH)])

    # -- what they share -------------------------------------------------------------------------------------------------
    def _go(self, phase: Callable[[], np.ndarray]) -> None:
        self._phase, self._since = phase, self._time

    def _went_down(self, steps: int) -> float:
        """How far in so many of the last control periods [m]."""
        return self._heights[-1 - steps] - self._heights[-1]

    def _next_strip(self) -> np.ndarray:
        self._strip += 1
        if self._strip == _STRIPS:
            self._strip, self._middle = 0, self._believed()
        self._go(self._return)
        return np.zeros(3)

    def _believed(self) -> np.ndarray:
        """Where the gripper should be to have the pin over the hole (2,) [m]."""
        hole = _BELIEF * self._hole.value
        return np.asarray(hole * min(1.0, _FARTHEST / max(math.hypot(*hole), 1e-9)))

    def _ends(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Beginning and end (2,) of the strip whose turn it is, as far as the hole can be there [m]."""
        k = self._strip
        off = _STRIP * ((k + 1) // 2) * (1 if k % 2 else -1)
        middle = self._middle + off * np.array([-self._way[1], self._way[0]])
        half = math.sqrt(max(_SPREAD**2 - _NARROWS * off**2, 0.0))
        along = float(middle @ self._way)
        reach = HOVER**2 - float(middle @ middle) + along**2
        if reach <= 0:
            return None
        low, high = max(-half, -along - math.sqrt(reach)), min(half, -along + math.sqrt(reach))
        return (middle + low * self._way, middle + high * self._way) if high - low > _SHORTEST else None

    def _pressing(self, force: float) -> float:
        """The command's change along z that leads by as much as makes a force [N]."""
        return float(np.clip(_PRESSING * (-force / _STIFFNESS - self._lead[2]), -STEP[2], STEP[2]))


def _straight(way: np.ndarray) -> np.ndarray:
    """The move (2,) along a vector (2,) that is as long as it or as actions allow [m]."""
    largest = float(np.abs(way).max())
    return way * min(1.0, STEP[0] / largest) if largest else way
