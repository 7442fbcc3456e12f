"""The camera that looks at Push-T's mat: where it stands, where the T lies, and what a policy is shown."""

from __future__ import annotations

import math

import cv2
import numpy as np
from enpire_envs.cell import CellFault
from enpire_envs.pusht.geometry import in_frame

from enpire_real.cameras import FreshFrames
from enpire_real.kinematics import Pose
from enpire_real.perception.markers import MatLost, camera_over_mat
from enpire_real.pusht.equipment import MAT
from enpire_real.pusht.perception import Estimate, TFinder
from enpire_real.station import Station

_LOOKS = 10  # images before the T counts as not visible
_MAX_ERROR_PX = 1.0  # of the markers' corners: above it something hides or mimics part of one
_VIEW = 0.33  # half side of the policy's top view [m], as the simulated camera's
_VIEW_PX = 480
_SMALL_PX = 240


class MatCamera:
    """One camera of a station over the mat.

    Args:
        name: of the camera in the station file.

    Attributes:
        pose: of its optical frame in the arena's, as last measured by the markers; None before the first `locate_mat`.
        block: pose (x, y, yaw) of the T in the arena's frame [m, rad] when it was last seen; None before that.
        seen_at: when the image of `block` was taken [s on the station's clock].
    """

    def __init__(self, station: Station, name: str) -> None:
        self.name = name
        self.pose: Pose | None = None
        self.block: tuple[float, float, float] | None = None
        self.seen_at = -math.inf
        self._lens, self._clock = station.lens(name), station.clock
        self._station_camera = station.cameras[name]
        self._frames = FreshFrames(station.cameras, station.clock, station.file)
        self._finder: TFinder | None = None

    def locate_mat(self) -> None:
        """Where the camera stands over the mat, now: it may have moved since the last episode. Raises CellFault, CameraLost."""
        self._clock.sleep(0.15)  # for a frame without the arm
        for _ in range(_LOOKS):
            image = self._frames.newest(self.name).image
            try:
                pose, error = camera_over_mat(image, self._lens, MAT)
                if error <= _MAX_ERROR_PX:
                    break
                problem = f"the mat's markers fit to {error:.1f} px only"
            except MatLost as lost:
                problem = str(lost)
            self._clock.sleep(0.1)
        else:
            raise CellFault(f"camera {self.name}: {problem}")
        moved = self.pose is None or (
            np.linalg.norm(self.pose.position - pose.position) > 0.003
            or np.abs(self.pose.rotation - pose.rotation).max() > 0.004
        )
        if moved:
            self.pose = pose
            self._finder = TFinder(self._lens, pose)

    def look_afresh(self) -> tuple[float, float, float]:
        """As `look`, for a verdict: where the camera stands is measured anew, as it may have been knocked since the reset. Raises CellFault."""
        self.locate_mat()
        return self.look()

    def look(self) -> tuple[float, float, float]:
        """A fresh, unobstructed look at the T: two images that agree. Returns its pose. Raises CellFault."""
        assert self._finder is not None, "locate_mat() comes first"
        self._clock.sleep(0.15)
        before: Estimate | None = None
        for _ in range(_LOOKS):
            frame = self._frames.newest(self.name)
            estimate = self._finder.find(frame.image)
            if estimate.valid and before is not None and _agree(before, estimate):
                self.block, self.seen_at = estimate.pose, frame.time
                return estimate.pose
            before = estimate if estimate.valid else None
            self._clock.sleep(0.07)
        raise CellFault("the T is not to be seen: is it on the mat, red side up, and nothing over it?")

    def glance(self) -> bool:
        """Look at the newest image only; `block` is updated if it shows the T, and returned is whether it does."""
        assert self._finder is not None, "locate_mat() comes first"
        frame = self._frames.newest(self.name)
        estimate = self._finder.find(frame.image)
        if estimate.valid:
            self.block, self.seen_at = estimate.pose, frame.time
        return estimate.valid

    def small(self) -> np.ndarray:
        """The newest image, whatever it shows, (240, width, 3) uint8 RGB: for people."""
        image = self._station_camera.latest().image
        return cv2.resize(
            image, (_SMALL_PX * image.shape[1] // image.shape[0], _SMALL_PX), interpolation=cv2.INTER_AREA
        )

    def top_view(self) -> np.ndarray | None:
        """The mat from straight above, as the simulated top camera shows it: (480, 480, 3) uint8 RGB, or None if the camera
        has not been located yet."""
        if self.pose is None:
            return None
        frame = self._frames.newest(self.name).image
        corners = np.array([(-_VIEW, _VIEW, 0), (_VIEW, _VIEW, 0), (_VIEW, -_VIEW, 0), (-_VIEW, -_VIEW, 0)])
        pixels = self._lens.project(self.pose.inverse().apply(corners)).astype(np.float32)
        square = np.array([(0, 0), (_VIEW_PX, 0), (_VIEW_PX, _VIEW_PX), (0, _VIEW_PX)], dtype=np.float32)
        return cv2.warpPerspective(frame, cv2.getPerspectiveTransform(pixels, square), (_VIEW_PX, _VIEW_PX))


def _agree(a: Estimate, b: Estimate) -> bool:
    dx, dy, turn = in_frame(a.pose, b.pose)
    return math.hypot(dx, dy) < 0.002 and abs(turn) < math.radians(1)
