"""Where a fixture with printed markers stands, by a camera on the wrist and one at the side.

Positions are in the fixture's frame [m] unless stated otherwise: origin at the middle of its top, z up.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from enpire_envs.cell import CellFault

from enpire_real.bringup.calibrate import PoorCalibration, Sample, calibrate_hand_eye
from enpire_real.cameras import FreshFrames, Lens, mount_pose
from enpire_real.fixture_section import FixtureSection
from enpire_real.kinematics import Pose
from enpire_real.perception.markers import MarkerMat, MatLost, camera_over_mat, find_markers
from enpire_real.station import Station

_LOOKS = 10
_MAX_ERROR_PX = 1.0  # of the markers' corners


@dataclass(frozen=True, slots=True)
class MarkedFixture:
    """What is printed on a fixture.

    Attributes:
        plate: on its top, in the fixture's own x and y.
        face: on the side that the side camera sees.
        face_pose: that sheet's pose (x along it, y up, z towards the camera).
    """

    plate: MarkerMat
    face: MarkerMat
    face_pose: Pose


class FixtureEyes:
    """The two cameras of a station that look at a fixture.

    Attributes:
        fixture: pose of the fixture in the station's frame; nominal before `survey`.
        surveyed: whether `survey` has been made.
    """

    def __init__(self, station: Station, section: FixtureSection, marked: MarkedFixture) -> None:
        self.wrist, self.side = section.wrist_camera, section.side_camera
        self.fixture, self.surveyed = section.fixture, False
        self._station, self._clock, self._marked = station, station.clock, marked
        self._frames = FreshFrames(station.cameras, station.clock, station.file)
        self._on_flange = mount_pose(station.file.cameras[self.wrist])

    def lens(self, camera: str) -> Lens:
        """A camera's intrinsics."""
        return self._station.lens(camera)

    def image(self, camera: str) -> np.ndarray:
        """The newest image. Raises CameraLost where there is no new one."""
        return self._frames.newest(camera).image

    def sample(self, flange: Pose) -> Sample | None:
        """What the wrist camera sees of the plate's markers with the flange at a pose in the station's frame; None where it sees too little."""
        points, pixels = find_markers(self.image(self.wrist), self._marked.plate)
        return Sample(points, pixels, flange) if len(points) >= 12 else None

    def survey(self, samples: list[Sample]) -> None:
        """Where the wrist camera sits and where the fixture stands, from looks from many sides. Raises CellFault."""
        try:
            found = calibrate_hand_eye(samples, self.lens(self.wrist), on_arm=True)
        except PoorCalibration as poor:
            raise CellFault(f"camera {self.wrist}: {poor}") from None
        self._on_flange, self.fixture, self.surveyed = found.camera, found.board, True

    def locate(self, flange: Pose) -> float:
        """Look whether the fixture stands where it stood; returns how far it has moved [m]. Raises CellFault where it is not seen."""
        seen = flange @ self._on_flange @ self.over_plate().inverse()
        return float(np.linalg.norm(seen.position - self.fixture.position))

    def over_plate(self) -> Pose:
        """The wrist camera's pose by the plate's markers. Raises CellFault."""
        return self._by_markers(self.wrist, self._marked.plate)

    def beside(self) -> Pose:
        """The side camera's pose by the markers on the fixture's side. Raises CellFault."""
        return self._marked.face_pose @ self._by_markers(self.side, self._marked.face)

    def _by_markers(self, camera: str, mat: MarkerMat) -> Pose:
        problem = ""
        for _ in range(_LOOKS):
            try:
                pose, error = camera_over_mat(self.image(camera), self.lens(camera), mat)
                if error <= _MAX_ERROR_PX:
                    return pose
                problem = f"the fixture's markers fit to {error:.1f} px only"
            except MatLost as lost:
                problem = str(lost)
            self._clock.sleep(0.07)
        raise CellFault(f"camera {camera}: {problem}")


# -- images ----------------------------------------------------------------------------------------------------------
def green(image: np.ndarray) -> np.ndarray:
    """Which pixels show what is printed in green, as handles are, (height, width) bool."""
    red, green_, blue = np.moveaxis(image.astype(np.int16), -1, 0)
    return (green_ - np.maximum(red, blue) > 25) & (green_ > 1.5 * np.maximum(red, blue))


def largest(mask: np.ndarray, least: int = 25) -> np.ndarray | None:
    """The largest patch of a mask (height, width) bool, or None below `least` pixels."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return None
    k = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return labels == k if stats[k, cv2.CC_STAT_AREA] >= least else None


def ray(lens: Lens, pixel: np.ndarray) -> np.ndarray:
    """(3,) along the ray of a pixel (2,), in the optical frame; its third component is 1."""
    point = cv2.undistortPoints(pixel.reshape(1, 1, 2).astype(np.float64), lens.matrix, lens.distortion).ravel()
    return np.array([point[0], point[1], 1.0])


def on_plane(lens: Lens, pose: Pose, pixel: np.ndarray, height: float) -> np.ndarray | None:
    """(2,) where a pixel's ray meets the plane at `height` [m]; None where it looks along it."""
    along = pose.rotation @ ray(lens, pixel)
    if along[2] > -0.05:
        return None
    point: np.ndarray = pose.position + along * (height - pose.position[2]) / along[2]
    return point[:2]
