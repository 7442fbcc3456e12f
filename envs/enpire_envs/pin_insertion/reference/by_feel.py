"""Pin insertion by feel, where all is sensed well, as at `intro`: descend, sweep until the tip drops, feel for the walls, search the middle, push.

The pin's tip has a 0.5 mm step, so there are two drops: the tip's, anywhere within half a millimetre of the hole's axis, and the pin's,
within the clearance. In between the tip stands in the hole with play all around, and touching opposite walls tells where the middle is.
What comes next follows from what was seen and felt in the last second or two, so that a network can learn it from demonstrations.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from enpire_envs.pin_insertion.task import STEP

SPEED = 0.0003  # of the sweep and of feeling for walls [m per control period]: as fast as actions allow
SLOWLY = 0.0001  # of the search for the middle: a pin that passes faster does not fall in
PRESS = (
    3.0  # force on the plate while searching [N]: with less the tip hops over the rim, with more friction holds it back
)
PRESS_GAIN = 3e-5  # of the force control along z [m/N per control period]
LEVER = (
    0.030**2 / 6.0
)  # the tip trails the gripper by this much per newton [m/N]: its length, squared, by the gripper's hinge stiffness
STRAIGHTEN = 0.4  # share of the command's sideways lead that is taken back per control period, where the way bends

NEAR_PLATE = (
    -0.0030
)  # height at which it slows down and waits to be over the estimate [m]: at least 1 mm above the plate
TOUCHED = 1.5  # force that tells of the plate [N]: ten times the sensor's noise

PITCH = 0.0007  # between the sweep's turns [m]: the tip falls in up to 0.5 mm off the axis, less what it drifts while falling
AHEAD = 0.0004  # how far ahead on the spiral it aims [m]
INSIDE, OUTSIDE = (
    0.0004,
    0.0024,
)  # radii between which it sweeps [m]: the touch covers the inner disc, the estimate's error is below 2 mm
BLOCKED = 3.0  # force against the way that friction cannot explain [N]: a wall, so the tip has been in the hole from the start

TIP_IN, PIN_IN = 0.0003, 0.0013  # how far below the plate's top [m]: the step is 0.5 mm high
WALL = 1.8  # force against the way that tells of a wall [N]: more than friction, which is about 1
BRAKE = 0.00015  # how far before the middle it turns off [m]: what it still moves until it stands
LOST = 0.0014  # so far from where the tip fell in no hole's wall can be [m]

FINE_PITCH, FINE_REACH = (
    0.0001,
    0.0003,
)  # of the search around the middle [m]: the clearance, and how wrong the middle may be
FINE_GAIN = 0.2  # share of the error corrected per control period

PUSH = 8.0  # force along the hole at the end [N]: 3 turn a tilted pin upright, 15 wedge it
PUSH_GAIN = 1e-4  # of the force control then [m/N per control period], along z and in giving way to the walls


class ByFeel:
    """Sweeping until the tip drops, then feeling for the walls."""

    def reset(self, observation: np.ndarray) -> None:
        """A new episode."""
        self._command = np.zeros(3)  # sum of all actions [m]
        self._phase: Callable[[], np.ndarray] = self._descend
        self._inward = False

    def act(self, seen: np.ndarray, n: int) -> np.ndarray:
        """The action (3,) for one control period, by an observation whose first n components are the pose."""
        self._force = seen[n : n + 3]
        self._tip = seen[:3].copy()  # relative to where it was at the start [m]
        self._tip[:2] += LEVER * self._force[:2]
        self._estimate = seen[n + 7 : n + 9]
        self._said = np.clip(self._phase() / STEP, -1.0, 1.0)
        self._command += self._said * STEP
        return self._said

    def did(self, action: np.ndarray) -> None:
        """After `act`: this was executed in its place, by a learner that it teaches."""
        self._command += (np.clip(action[:3], -1.0, 1.0) - self._said) * STEP

    # -- phases: each returns by how much to move the commanded position (3,) [m] ----------------------------------------
    def _descend(self) -> np.ndarray:
        """Go over the estimate and down until the plate is felt."""
        if self._force[2] > TOUCHED:
            self._begin_sweep()
        away = math.hypot(*(self._estimate - self._tip[:2])) > 0.0003
        down = STEP[2] if self._tip[2] > NEAR_PLATE else 0.0 if away else STEP[2] / 2
        return np.array([*(0.5 * (self._estimate - self._command[:2])), -down])

    def _begin_sweep(self) -> None:
        self._surface = self._tip[2]  # height when the tip is on the plate [m]
        self._phase = self._sweep

    def _sweep(self) -> np.ndarray:
        """Slide over the plate on a spiral about the estimate, outwards and straight back in, until the tip falls."""
        off = self._tip[:2] - self._estimate
        radius = math.hypot(*off)
        if not INSIDE < radius < OUTSIDE:
            self._inward = radius >= OUTSIDE
        if self._inward:
            way = -off / radius
        elif radius <= INSIDE:
            way = np.array([1.0, 0.0])
        else:
            way = _along_spiral(off, radius)
        if self._felt_against(way) > BLOCKED:
            self._surface = self._tip[2] + 0.0005
        if self._depth() > TIP_IN:
            self._begin_walls(way)
        return self._slide(way)

    def _begin_walls(self, way: np.ndarray) -> None:
        """Plan to touch the wall ahead and the one behind, and from midway between them the two on either side."""
        side = np.array([-way[1], way[0]])
        self._way, self._fell, self._walls = way, self._tip[:2], list[np.ndarray]()
        self._moves = [("wall", way), ("wall", -way), ("middle", way), ("wall", side), ("wall", -side)]
        self._phase = self._feel_walls

    def _feel_walls(self) -> np.ndarray:
        """Make the planned moves; mostly the pin falls in on the way across."""
        until, way = self._moves[0]
        if until == "wall" and self._felt_against(way) > WALL:
            self._walls.append(self._tip[:2])
            self._moves.pop(0)
        elif until == "middle" and ((self._walls[0] + self._walls[1]) / 2 - self._tip[:2]) @ way < BRAKE:
            self._moves.pop(0)
        if not self._moves:
            ahead, behind, left, right = self._walls
            self._middle = (left + right) / 2
            self._middle = self._middle + self._way * (((ahead + behind) / 2 - self._middle) @ self._way)
            self._angle = 0.0
            self._phase = self._search_middle
        if math.hypot(*(self._tip[:2] - self._fell)) > LOST:
            self._begin_sweep()
        return self._slide(way)

    def _search_middle(self) -> np.ndarray:
        """A small spiral about the middle; where it ends in vain, touch the walls again, in other places."""
        radius = FINE_PITCH * self._angle / (2 * math.pi)
        wanted = self._middle + radius * np.array([math.cos(self._angle), math.sin(self._angle)])
        self._angle += min(SLOWLY / max(radius, FINE_PITCH / 2), 1.0)
        if radius > FINE_REACH:
            self._begin_walls(_turned(self._way, math.pi / 4))
        return np.array([*(FINE_GAIN * (wanted - self._tip[:2])), self._pressing()])

    def _push(self) -> np.ndarray:
        """Down the hole, giving way to its walls, which put the pin upright."""
        return PUSH_GAIN * (self._force - np.array([0.0, 0.0, PUSH]))

    # -- what they share -------------------------------------------------------------------------------------------------
    def _slide(self, way: np.ndarray) -> np.ndarray:
        """Move along a unit vector (2,), pressing lightly. Friction holds the tip back, so the command leads, and only ahead."""
        lead = self._command[:2] - self._tip[:2]
        across = SPEED * way - STRAIGHTEN * (lead - (lead @ way) * way)
        return np.array([*across, self._pressing()])

    def _pressing(self) -> float:
        """The command's change along z that presses lightly; pushes from now on where that has brought the pin in."""
        if self._depth() > PIN_IN:
            self._phase = self._push
        return PRESS_GAIN * (float(self._force[2]) - PRESS)

    def _depth(self) -> float:
        """Of the tip below the plate's top [m]."""
        return float(self._surface - self._tip[2])

    def _felt_against(self, way: np.ndarray) -> float:
        """Force against a unit vector (2,) [N]."""
        return float(-self._force[:2] @ way)


def _along_spiral(off: np.ndarray, radius: float) -> np.ndarray:
    """Where to go next, as a unit vector (2,), on the nearest turn of an Archimedean spiral, from `off` (2,) its centre [m]."""
    angle = math.atan2(off[1], off[0])
    turn = max(0, round(radius / PITCH - angle / (2 * math.pi)))
    angle += 2 * math.pi * turn
    angle += AHEAD / max(PITCH * angle / (2 * math.pi), PITCH / 2)
    aim = PITCH * angle / (2 * math.pi) * np.array([math.cos(angle), math.sin(angle)]) - off
    return aim / math.hypot(*aim)


def _turned(way: np.ndarray, angle: float) -> np.ndarray:
    """A vector (2,), turned."""
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([cos * way[0] - sin * way[1], sin * way[0] + cos * way[1]])
