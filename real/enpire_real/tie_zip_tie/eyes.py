"""Where head, strap and fingers are, by two cameras that look at the slot broadside; each answer says how sure it is, or there is none.

Positions are in the slot's frame [m]: origin at its entrance, x along it, y up, z to the right. Printed markers tell where the cameras are,
colours what belongs to what. A point counts where the two cameras' rays to it nearly meet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from enpire_envs.cell import CellFault
from enpire_envs.tie_zip_tie.scene import HALF_Y, HALF_Z, LINK, SLOT

from enpire_real.cameras import FreshFrames
from enpire_real.kinematics import Pose
from enpire_real.perception.fixture import green, largest, ray
from enpire_real.perception.markers import MatLost, camera_over_mat
from enpire_real.station import Station
from enpire_real.tie_zip_tie.equipment import HEAD_HALF, HEAD_MIDDLE, PLATE, SLOT_FRAME, TIPS_HALF, TIPS_MIDDLE
from enpire_real.tie_zip_tie.section import TieSection

_LOOKS, _MAX_ERROR_PX = 10, 1.0  # at the markers, and how well their corners must fit
_APART = 0.0006  # how far two cameras' rays to one point may pass each other [m]
_HEAD_OFF = 0.001  # how far the head may be seen from where its fixture has it [m]
_WHOLE = LINK - 0.0007  # a red end that is seen so long hides nothing [m]
_MOUTH = 0.0008  # beyond the slot's edges, how far off a strap may come out of it [m]
_AGREE = 0.0015  # how far two cameras may be apart on a length [m]
_LEAST = 14  # pixels that are no noise
_REACH = 0.016  # how far beside the slot's axis a strap at the head is looked for [m]
_SHORT = 0.006  # a patch shorter than this tells no direction: it is in the slot, so along that [m]


@dataclass(frozen=True, slots=True)
class Strap:
    """What the cameras say of a strap at the head.

    Attributes:
        tip: (3,) its tip [m]; None where they cannot tell.
        past: length beyond the head [m].
        pasts: the same by each camera alone; None where it does not see any.
        entering: whether each camera sees a strap where it enters the slot.
        time: when the older of the two pictures was taken [s].
    """

    tip: np.ndarray | None
    past: float
    pasts: tuple[float | None, float | None]
    entering: tuple[bool, bool]
    time: float


class TieEyes:
    """The two cameras of a station that look at the head.

    Attributes:
        cameras: their names.
        fixture: pose of the fixture in the station's frame; nominal before `survey`.
        surveyed: whether `survey` has been made.
    """

    def __init__(self, station: Station, section: TieSection) -> None:
        self.cameras = tuple(section.cameras)
        self.fixture, self.surveyed = section.fixture, False
        self._frames, self._clock = FreshFrames(station.cameras, station.clock, station.file), station.clock
        self._lenses = [station.lens(camera) for camera in self.cameras]
        self._poses: list[Pose] = []  # of the cameras in the slot's frame, by the last look at the markers

    @property
    def slot(self) -> Pose:
        """Pose of the slot's frame in the station's."""
        return self.fixture @ SLOT_FRAME

    def image(self, camera: str) -> np.ndarray:
        """The newest image. Raises CameraLost where there is no new one."""
        return self._frames.newest(camera).image

    def newest(self) -> float:
        """When the older of the two newest images was taken [s on the station's clock]. Raises CameraLost where one camera has no new one."""
        return min(self._frames.newest(camera).time for camera in self.cameras)

    def camera_pose(self, camera: str) -> Pose | None:
        """Pose of a camera's optical frame in the slot's, by the last look at the markers; None before the first."""
        return dict(zip(self.cameras, self._poses, strict=False)).get(camera)

    # -- where cameras, fixture and head are -------------------------------------------------------------------------
    def locate(self) -> float:
        """Look where the cameras are, by markers and head; returns how far the farther one has moved since [m], 0 at first.

        Raises CellFault where markers or head are not seen, or the head is not where its fixture has it.
        """
        before, self._poses = self._poses, [self._over_plate(k) for k in (0, 1)]
        self._find_head()
        return max(
            (float(np.linalg.norm(a.position - b.position)) for a, b in zip(before, self._poses, strict=False)),
            default=0.0,
        )

    def _over_plate(self, k: int) -> Pose:
        problem = ""
        for _ in range(_LOOKS):
            try:
                pose, error = camera_over_mat(self.image(self.cameras[k]), self._lenses[k], PLATE)
                if error <= _MAX_ERROR_PX:
                    return SLOT_FRAME.inverse() @ pose
                problem = f"the fixture's markers fit to {error:.1f} px only"
            except MatLost as lost:
                problem = str(lost)
            self._clock.sleep(0.04)
        raise CellFault(f"camera {self.cameras[k]}: {problem}")

    def _find_head(self) -> None:
        """Count from the head itself: markers carry less far."""
        found = self._box(blue, HEAD_HALF, HEAD_MIDDLE)
        if found is None:
            raise CellFault("the two cameras do not see one head on the fixture: is it there, is something before it?")
        off = found - HEAD_MIDDLE
        if np.abs(off).max() > _HEAD_OFF:
            raise CellFault(
                f"the head is {np.round(1000 * off, 1).tolist()} mm from where the fixture has it: clamp it against its stop"
            )
        self._poses = [Pose(pose.position - off, pose.rotation) for pose in self._poses]

    def fingers(self, near: np.ndarray) -> np.ndarray | None:
        """(3,) the middle of the closed fingertips, that are upright near a point (3,); None where the two cameras do not see them."""
        found = self._box(green, TIPS_HALF, near + TIPS_MIDDLE, covered=True)
        return None if found is None else found - TIPS_MIDDLE

    def survey(self, seen: np.ndarray, felt: np.ndarray) -> None:
        """Where the fixture stands, from places of the fingertips: (n, 3) as seen, and (n, 3) in the station's frame. Raises CellFault."""
        a, b = seen - seen.mean(axis=0), felt - felt.mean(axis=0)
        u, _, vt = np.linalg.svd(a.T @ b)
        turn = vt.T @ np.diag([1, 1, np.sign(np.linalg.det(vt.T @ u.T))]) @ u.T
        off = np.linalg.norm(felt - felt.mean(axis=0) - a @ turn.T, axis=1)
        if off.max() > 2 * _APART:
            raise CellFault(f"the fingertips are seen up to {1000 * off.max():.1f} mm from where the joints have them")
        slot = Pose(felt.mean(axis=0) - turn @ seen.mean(axis=0), turn)
        self.fixture, self.surveyed = slot @ SLOT_FRAME.inverse(), True

    def _box(
        self, colour: Callable[[np.ndarray], np.ndarray], half: np.ndarray, near: np.ndarray, covered: bool = False
    ) -> np.ndarray | None:
        """(3,) the middle of an upright box of one colour, near a point (3,): where its outline has the middle that is seen, in both views.

        `covered`: something stands on it, so that its upper face is not seen. None where the views do not agree on one.
        """
        masks = [largest(colour(self.image(camera)), _LEAST) for camera in self.cameras]
        seen = np.concatenate([_middle(mask) for mask in masks if mask is not None])
        if len(seen) < 4:
            return None
        signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
        corners = []
        for pose in self._poses:
            far_above = (signs[:, 1] > 0) & (signs[:, 2] * pose.position[2] < 0)
            corners.append(half * signs[~(far_above & covered)])
        at = np.array(near, dtype=np.float64)
        for _ in range(4):
            slope = np.stack(
                [(self._outlines(corners, at + d) - self._outlines(corners, at)) / 1e-3 for d in 1e-3 * np.eye(3)]
            )
            at = at + np.linalg.lstsq(slope.T, seen - self._outlines(corners, at), rcond=None)[0]
        off = seen - self._outlines(corners, at)
        return at if np.abs(off).max() * self._scale() < _APART else None

    def _outlines(self, corners: list[np.ndarray], at: np.ndarray) -> np.ndarray:
        """(4,) the middles of a convex body's outlines in both views [px]; its corners (n, 3) as each sees them, from a point (3,)."""
        middles = []
        for k in (0, 1):
            moments = cv2.moments(cv2.convexHull(self._project(k, corners[k] + at).astype(np.float32)))
            middles += [moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]]
        return np.array(middles)

    def _scale(self) -> float:
        """Of a pixel at the slot [m]."""
        return max(
            float(np.linalg.norm(p.position)) / lens.matrix[0, 0]
            for p, lens in zip(self._poses, self._lenses, strict=True)
        )

    # -- where the strap is ------------------------------------------------------------------------------------------
    def strap(self) -> Strap:
        """What is to be seen of a strap at the head. Raises CameraLost where one camera has no new image."""
        frames = [self._frames.newest(camera) for camera in self.cameras]
        reds, entering = [], []
        for k, frame in enumerate(frames):
            rows = self._rows(k)
            red, any_strap = np.zeros((2, *frame.image.shape[:2]), bool)
            red[rows], any_strap[rows] = tip_colour(frame.image[rows]), strap_colour(frame.image[rows])
            reds.append(red)
            entering.append(self._covered(k, any_strap | red))
        pasts = tuple(self._past_alone(k, red) for k, red in enumerate(reds))
        tip, past = None, 0.0
        beyond = self._end([self._part(k, red, SLOT, np.inf) for k, red in enumerate(reds)])
        if beyond is not None:
            middle, along, length = beyond
            back, tip = middle - along * length / 2, middle + along * length / 2
            exit_ = back + along * (SLOT - back[0]) / along[0]
            if abs(exit_[1]) < HALF_Y + _MOUTH and abs(exit_[2]) < HALF_Z + _MOUTH:
                past = (
                    float(tip[0] - SLOT)
                    if length < _WHOLE
                    else float(np.linalg.norm(back - exit_)) * (back[0] > SLOT) + length
                )
        else:
            before = self._end([self._part(k, red, -np.inf, 0.0) for k, red in enumerate(reds)])
            if before is not None:
                middle, along, length = before
                tip = middle + along * (LINK - min(length, LINK) / 2)
                if length >= _WHOLE:
                    tip = middle + along * LINK / 2
        return Strap(tip, past, pasts, tuple(entering), min(frame.time for frame in frames))  # type: ignore[arg-type]

    def _project(self, k: int, points: np.ndarray) -> np.ndarray:
        return self._lenses[k].project(self._poses[k].inverse().apply(points))

    def _rows(self, k: int) -> slice:
        """The rows of a picture in which a strap at the head can be."""
        v = self._project(k, np.array([[x, 0.0, 0.0] for x in (-0.04, 0.04)]))[:, 1]
        reach = _REACH / self._scale()
        return slice(max(int(v.min() - reach), 0), max(int(v.max() + reach), 1))

    def _axis(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the slot's entrance is in a picture (2,), and what to multiply pixels with for x (2,) [m/px]."""
        a, b = self._project(k, np.array([[0.0, 0, 0], [0.01, 0, 0]]))
        return a, 0.01 * (b - a) / float((b - a) @ (b - a))

    def _part(self, k: int, mask: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray, float] | None:
        """The largest patch of a mask between two x: its middle (2,), its direction (2,) towards +x, its length [px]."""
        origin, along = self._axis(k)
        rows, columns = np.nonzero(mask)
        x = (np.column_stack([columns, rows]) - origin) @ along
        keep = (x > low) & (x < high)
        if np.count_nonzero(keep) < _LEAST:
            return None
        part = np.zeros(mask.shape, bool)
        part[rows[keep], columns[keep]] = True
        patch = largest(part, _LEAST)
        if patch is None:
            return None
        rows, columns = np.nonzero(patch)
        points = np.column_stack([columns, rows]).astype(float)
        middle = points.mean(axis=0)
        spread = np.cov((points - middle).T) + np.eye(2) / 12
        way = along / np.linalg.norm(along)
        length = float(np.sqrt(12 * way @ spread @ way))
        if length * float(np.linalg.norm(along)) >= _SHORT:
            squared, axes = np.linalg.eigh(spread)
            way = axes[:, 1] if axes[:, 1] @ along > 0 else -axes[:, 1]
            length = float(np.sqrt(12 * squared[1]))
        return middle, way, length

    def _end(
        self, parts: list[tuple[np.ndarray, np.ndarray, float] | None]
    ) -> tuple[np.ndarray, np.ndarray, float] | None:
        """A patch in space, of what both cameras see of it: its middle (3,), its direction (3,) and its length [m]; None where they differ."""
        if parts[0] is None or parts[1] is None:
            return None
        eyes, rays, planes = [], [], []
        for k, (middle, way, _) in enumerate(parts):  # type: ignore[misc]
            pose = self._poses[k]
            towards = [pose.rotation @ ray(self._lenses[k], p) for p in (middle, middle + 10 * way)]
            eyes.append(pose.position)
            rays.append(towards[0] / np.linalg.norm(towards[0]))
            planes.append(np.cross(towards[0], towards[1]))
        middle, apart = _meet(eyes, rays)
        along = np.cross(planes[0], planes[1])
        along = along / np.linalg.norm(along)
        along = along if along[0] > 0 else -along
        if apart > _APART or along[0] < 0.5:
            return None
        lengths = []
        for k, (at, way, length) in enumerate(parts):  # type: ignore[misc]
            ends = [
                _along(
                    eyes[k], self._poses[k].rotation @ ray(self._lenses[k], at + s * way * length / 2), middle, along
                )
                for s in (-1, 1)
            ]
            lengths.append(ends[1] - ends[0])
        if abs(lengths[0] - lengths[1]) > _AGREE:
            return None
        return middle, along, float(np.mean(lengths))

    def _past_alone(self, k: int, red: np.ndarray) -> float | None:
        """Length beyond the head by one camera: from the head's far side to the end of what is red."""
        part = self._part(k, red, SLOT - 0.0003, np.inf)
        if part is None:
            return None
        middle, way, length = part
        origin, along = self._axis(k)
        return float((middle + way * length / 2 - origin) @ along) - SLOT

    def _covered(self, k: int, mask: np.ndarray) -> bool:
        """Whether a strap is seen just before the slot."""
        line = self._project(k, np.column_stack([np.linspace(-0.0028, -0.0008, 9), np.zeros((9, 2))]))
        columns, rows = np.round(line).astype(int).T
        inside = (rows >= 1) & (rows < mask.shape[0] - 1) & (columns >= 0) & (columns < mask.shape[1])
        return bool(inside.all()) and bool(
            np.mean([mask[r - 1 : r + 2, c].any() for r, c in zip(rows, columns, strict=True)]) > 0.6
        )


# -- images ----------------------------------------------------------------------------------------------------------
def _channels(image: np.ndarray) -> np.ndarray:
    return np.moveaxis(image.astype(np.int16), -1, 0)


def blue(image: np.ndarray) -> np.ndarray:
    """Which pixels show the head, (height, width) bool."""
    red, green_, blue_ = _channels(image)
    return (blue_ - np.maximum(red, green_) > 25) & (blue_ > 1.4 * np.maximum(red, green_))


def tip_colour(image: np.ndarray) -> np.ndarray:
    """Which pixels show a strap's last link, (height, width) bool."""
    red, green_, blue_ = _channels(image)
    return (red > 2.4 * green_) & (red - blue_ > 45)


def strap_colour(image: np.ndarray) -> np.ndarray:
    """Which pixels show a strap but for its tip, (height, width) bool."""
    red, green_, blue_ = _channels(image)
    return (red > 1.2 * green_) & (red <= 2.4 * green_) & (green_ > 1.7 * blue_)


def _middle(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()])


def _meet(eyes: list[np.ndarray], rays: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """Where two rays (unit vectors) come nearest, in the middle (3,), and how far apart they pass [m]."""
    matrix = np.stack([rays[0], -rays[1]], axis=1)
    ways = np.linalg.lstsq(matrix, eyes[1] - eyes[0], rcond=None)[0]
    points = [eye + way * direction for eye, way, direction in zip(eyes, ways, rays, strict=True)]
    return (points[0] + points[1]) / 2, float(np.linalg.norm(points[0] - points[1]))


def _along(eye: np.ndarray, towards: np.ndarray, middle: np.ndarray, along: np.ndarray) -> float:
    """How far along a line a ray passes it nearest [m]."""
    matrix = np.stack([along, -towards / np.linalg.norm(towards)], axis=1)
    return float(np.linalg.lstsq(matrix, eye - middle, rcond=None)[0][0])
