"""A printed mat with square markers: their images, and the pose of a camera that sees at least three of them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from enpire_real.cameras import Lens
from enpire_real.kinematics import Pose

_MIN_MARKERS = 3


class MatLost(RuntimeError):
    """Fewer than three of the mat's markers are in view."""


@dataclass(frozen=True, slots=True)
class MarkerMat:
    """Where markers lie on a mat.

    Attributes:
        centres: marker id -> (x, y) of its centre in the mat's frame [m]; markers are parallel to its axes, upright along +y.
        side_m: of each marker, without its white surround.
    """

    centres: dict[int, tuple[float, float]]
    side_m: float


def marker_image(marker: int, pixels: int) -> np.ndarray:
    """A marker for printing, (pixels, pixels) uint8, without its white surround."""
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    return np.asarray(cv2.aruco.generateImageMarker(dictionary, marker, pixels))


def print_sheet(mat: MarkerMat, side_m: float, middle: tuple[float, float], px_per_mm: int) -> np.ndarray:
    """All markers of a mat in their places on one white sheet, a square of `side_m` [m] around `middle` (x, y): (n, n) uint8 for printing."""
    pixels = 1000 * px_per_mm  # a metre
    sheet = np.full((round(side_m * pixels),) * 2, 255, np.uint8)
    half = mat.side_m / 2
    for marker, (x, y) in mat.centres.items():
        left = round((x - half - middle[0] + side_m / 2) * pixels)
        top = round((middle[1] + side_m / 2 - y - half) * pixels)
        image = marker_image(marker, round(mat.side_m * pixels))
        sheet[top : top + len(image), left : left + len(image)] = image
    return sheet


def find_markers(image: np.ndarray, mat: MarkerMat) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the mat's markers in an RGB image: (4 k, 3) in the mat's frame [m] and (4 k, 2) pixels, for k markers seen."""
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    parameters.cornerRefinementWinSize = 3
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    corners, ids, _ = cv2.aruco.ArucoDetector(dictionary, parameters).detectMarkers(gray)
    half = mat.side_m / 2
    square = np.array([(-half, half), (half, half), (half, -half), (-half, -half)])
    points, pixels = [], []
    for marker, seen in zip(() if ids is None else np.asarray(ids).ravel(), corners, strict=True):
        if int(marker) in mat.centres:
            flat = square + np.array(mat.centres[int(marker)])
            points.append(np.column_stack([flat, np.zeros(4)]))
            pixels.append(np.asarray(seen, dtype=np.float64).reshape(4, 2))
    if not points:
        return np.zeros((0, 3)), np.zeros((0, 2))
    return np.concatenate(points), np.concatenate(pixels)


def camera_over_mat(image: np.ndarray, lens: Lens, mat: MarkerMat) -> tuple[Pose, float]:
    """The camera's pose (optical frame) in the mat's frame, and the reprojection error [px]. Raises MatLost."""
    points, pixels = find_markers(image, mat)
    if len(points) < 4 * _MIN_MARKERS:
        raise MatLost(
            f"{len(points) // 4} of the mat's {len(mat.centres)} markers are in view, at least {_MIN_MARKERS} are needed: is "
            "something lying on them, is the light right, does the camera see the whole mat?"
        )
    _, rvec, tvec = cv2.solvePnP(points, pixels, lens.matrix, lens.distortion, flags=cv2.SOLVEPNP_ITERATIVE)
    seen, _ = cv2.projectPoints(points, rvec, tvec, lens.matrix, lens.distortion)
    error = float(np.sqrt(((seen.reshape(-1, 2) - pixels) ** 2).sum(axis=1).mean()))
    return Pose(tvec.ravel(), Rotation.from_rotvec(rvec.ravel()).as_matrix()).inverse(), error
