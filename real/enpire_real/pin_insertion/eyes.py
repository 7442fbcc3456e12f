"""Where fixture and pin are, by a camera on the wrist and one at the side; each answer says how sure it is, or there is none.

Positions are in the fixture's frame [m] unless stated otherwise. Printed markers tell where the cameras are, colours what belongs to the pin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from enpire_envs.cell import CellFault
from enpire_envs.pin_insertion.scene import HOLE_DEPTH, PIN_LENGTH

from enpire_real.cameras import Lens
from enpire_real.kinematics import Pose
from enpire_real.perception.fixture import FixtureEyes, MarkedFixture, green, largest, on_plane, ray
from enpire_real.pin_insertion.equipment import (
    COLLAR,
    COLLAR_HALF,
    FACE,
    HANDLE,
    HANDLE_HALF,
    NEST,
    PLATE,
    PLATE_HALF,
    STUB_RADIUS,
    hole,
)
from enpire_real.pin_insertion.section import PinSection
from enpire_real.station import Station

#: Where a pin may stand.
PLACES = {"nest": NEST, **{f"hole {c} {r}": hole(c, r) for c in range(3) for r in range(3)}}
MARKED = MarkedFixture(
    PLATE, FACE, Pose(np.array([0.0, -PLATE_HALF, 0.0]), np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]))
)
_LOWEST, _HIGHEST, _STEP = PIN_LENGTH - HOLE_DEPTH, PIN_LENGTH, 0.001  # heights of a standing pin's collar
_BLUR = 0.004  # by which markers at one end of a picture may be wrong about the other [m]
_ALIKE = 0.6  # of what a standing pin would show and what is seen: below it nothing stands
_PIXEL = np.ones((3, 3), np.uint8)


@dataclass(frozen=True, slots=True)
class Standing:
    """A pin that stands upright: where, how high its collar's lower face is over the plate, and how well that fits what is seen (0 to 1)."""

    place: str
    height: float
    fit: float


@dataclass(frozen=True, slots=True)
class Seen:
    """One camera's word on a held pin in a hole: how deep it is [m], and how far off the hole's axis across that camera's view [m]."""

    depth: float
    beside: float


class PinEyes(FixtureEyes):
    """The two cameras of a station that look at the fixture and the pin."""

    def __init__(self, station: Station, section: PinSection) -> None:
        super().__init__(station, section, MARKED)

    def standing(self) -> Standing | None:
        """The pin, if it stands in a hole or in the nest and both cameras agree; the hand must be out of the way. Raises CellFault."""
        views = [(self.wrist, self.over_plate().inverse()), (self.side, self.beside().inverse())]
        masks = [(green(self.image(camera)), self.lens(camera), pose) for camera, pose in views]
        best: Standing | None = None
        for place, at in PLACES.items():
            lowest = -_BLUR if place == "nest" else _LOWEST - _BLUR
            for height in np.arange(lowest, _HIGHEST + _BLUR, _STEP):
                fit = min(_overlap(mask, lens, pose, (*at, float(height))) for mask, lens, pose in masks)
                if best is None or fit > best.fit:
                    best = Standing(place, float(height), fit)
        return best if best is not None and best.fit >= _ALIKE else None

    def tip(self, height: float) -> np.ndarray | None:
        """(2,) of a held pin's tip, that is at `height` over the plate, by the wrist camera; None where it is not seen. Raises CellFault."""
        image = self.image(self.wrist)
        pose = self.over_plate()
        mask = largest(orange(image))
        if mask is None:
            return None
        rows, columns = np.nonzero(mask)
        points = np.column_stack([columns, rows]).astype(float)
        # The shaft's end that is away from the fingers: they come in from the picture's lower edge.
        (vx, vy, x0, y0) = cv2.fitLine(points.astype(np.float32), cv2.DIST_L2, 0, 0.01, 0.01).ravel()
        way = np.array([vx, vy]) * (-1.0 if vy > 0 else 1.0)
        along = (points - (x0, y0)) @ way
        if np.ptp(along) < 6:
            return None
        end = np.percentile(along, 99.5)
        pixel = np.array([x0, y0]) + way * end
        rim = on_plane(self.lens(self.wrist), pose, pixel, height)
        if rim is None:
            return None
        towards = pose.position[:2] - rim  # what ends the shaft in the picture is its rim on the camera's side
        return rim - STUB_RADIUS * towards / np.linalg.norm(towards)

    def in_hole(self, at: tuple[float, float]) -> tuple[Seen | None, Seen | None]:
        """What wrist and side camera say of a pin in the hole at `at`, that the hand holds; None where one does not see enough to say."""
        said: list[Seen | None] = []
        for look in (self._from_above, self._from_beside):
            try:
                said.append(look(at))
            except CellFault:  # its markers are hidden
                said.append(None)
        return said[0], said[1]

    def _from_beside(self, at: tuple[float, float]) -> Seen | None:
        """By the collar's lower edge, as the side camera sees it."""
        pose, lens = self.beside(), self.lens(self.side)
        mask = largest(green(self.image(self.side)))
        if mask is None:
            return None
        rows, columns = np.nonzero(mask)
        left, right = np.percentile(columns, [2, 98])
        middle = (left + right) / 2
        inner = (columns > middle - 0.35 * (right - left)) & (columns < middle + 0.35 * (right - left))
        lower = np.median([rows[inner & (columns == c)].max() for c in np.unique(columns[inner])]) + 0.5
        # That edge is the collar's nearest one: a point on the plane before the pin's axis.
        along = pose.rotation @ ray(lens, np.array([middle, lower]))
        near = at[1] - COLLAR_HALF
        point = pose.position + along * (near - pose.position[1]) / along[1]
        return Seen(PIN_LENGTH - float(point[2]), abs(float(point[0]) - at[0]))

    def _from_above(self, at: tuple[float, float]) -> Seen | None:
        """By the collar's lower edge on the wrist camera's side, which is upmost in the picture: the collar hides the shaft."""
        pose, lens = self.over_plate(), self.lens(self.wrist)
        mask = largest(green(self.image(self.wrist)))
        if mask is None:
            return None
        rows, columns = np.nonzero(mask)
        left, right = np.percentile(columns[rows < rows.min() + 12], [2, 98])
        middle = (left + right) / 2
        inner = np.abs(columns - middle) < 0.3 * (right - left)
        if not inner.any():
            return None
        edge = np.median([rows[inner & (columns == c)].min() for c in np.unique(columns[inner])]) - 0.5
        along = pose.rotation @ ray(lens, np.array([middle, edge]))
        near = at[0] + COLLAR_HALF * math.copysign(1.0, pose.position[0] - at[0])
        point = pose.position + along * (near - pose.position[0]) / along[0]
        return Seen(PIN_LENGTH - float(point[2]), abs(float(point[1]) - at[1]))


# -- images ----------------------------------------------------------------------------------------------------------
def orange(image: np.ndarray) -> np.ndarray:
    """Which pixels show the pin's shaft, (height, width) bool."""
    red, green_, blue = np.moveaxis(image.astype(np.int16), -1, 0)
    return (red > 1.7 * green_) & (red - blue > 45)


def _round(radius: float, low: float, high: float, at: Sequence[float]) -> np.ndarray:
    angles = np.linspace(0, 2 * math.pi, 12, endpoint=False)
    ring = radius * np.column_stack([np.cos(angles), np.sin(angles)])
    return np.concatenate([np.column_stack([ring, np.full(12, z)]) for z in (low, high)]) + np.asarray(at)


def _overlap(mask: np.ndarray, lens: Lens, pose: Pose, at: tuple[float, float, float]) -> float:
    """How well a mask is what a pin with its collar at `at` would show: 1 less the share of pixels that differ by more than one from its edge."""
    drawn = np.zeros(mask.shape, np.uint8)
    even = math.sqrt(4 / math.pi)  # a disc as large as the square, which may be turned
    for half, low, high in ((COLLAR_HALF, 0.0, COLLAR), (HANDLE_HALF, COLLAR, COLLAR + HANDLE)):
        points = pose.apply(_round(half * even, low, high, at))
        if (points[:, 2] < 0.02).any():
            return 0.0
        hull = cv2.convexHull(lens.project(points).astype(np.float32))
        cv2.fillConvexPoly(drawn, np.round(hull).astype(np.int32), 1)
    around, within = cv2.dilate(drawn, _PIXEL) > 0, cv2.erode(drawn, _PIXEL) > 0
    wrong = np.count_nonzero(mask & ~around) + np.count_nonzero(within & ~mask)
    return 1.0 - int(wrong) / max(int(np.count_nonzero(drawn)), 1)
