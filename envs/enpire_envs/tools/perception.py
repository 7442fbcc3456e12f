"""Classical eyes, with no knowledge of the scene: colours by name, what stands out from a plane, grasps from points.

They are the default where no detection server is configured, and they say so by their scores: a colour with a clean outline
is worth more than a bump.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from enpire_envs.tools.rotations import from_matrix

#: Hue (0..179), saturation and value ranges of OpenCV's HSV.
COLOURS: dict[str, list[tuple[tuple[int, int, int], tuple[int, int, int]]]] = {
    "red": [((0, 110, 60), (8, 255, 255)), ((172, 110, 60), (179, 255, 255))],
    "orange": [((9, 120, 80), (20, 255, 255))],
    "yellow": [((21, 100, 80), (33, 255, 255))],
    "green": [((36, 80, 40), (85, 255, 255))],
    "cyan": [((80, 80, 60), (98, 255, 255))],
    "blue": [((99, 90, 50), (128, 255, 255))],
    "purple": [((129, 70, 40), (155, 255, 255))],
    "pink": [((150, 60, 100), (171, 255, 255))],
    "black": [((0, 0, 0), (179, 120, 55))],
    "white": [((0, 0, 200), (179, 40, 255))],
    "gray": [((0, 0, 60), (179, 35, 190))],
    "brown": [((8, 60, 30), (20, 180, 140))],
}
_MIN_SHARE = 2e-4  # of the image that a region must cover
ABOVE = 0.012  # over the plane that counts as standing out [m]


@dataclass(frozen=True, slots=True)
class Region:
    """A part of an image: mask (height, width) bool, box (x0, y0, x1, y1) [px], score 0 to 1."""

    mask: np.ndarray
    box: tuple[int, int, int, int]
    score: float


def segment(prompt: str, rgb: np.ndarray, points: np.ndarray | None, ignore: np.ndarray) -> list[Region]:
    """Regions that a prompt may mean, best first.

    Args:
        prompt: words; a colour among them decides ("the red cube"), otherwise whatever stands out from the largest plane.
        rgb: (height, width, 3) uint8.
        points: (height, width, 3) where each pixel lies [m], or None without depth.
        ignore: (height, width) bool, such as the robot itself.
    """
    words = prompt.lower().replace("grey", "gray").split()
    named = [colour for colour in COLOURS if colour in words]
    if named:
        smooth = cv2.cvtColor(cv2.GaussianBlur(rgb, (3, 3), 0), cv2.COLOR_RGB2HSV)
        mask = np.zeros(rgb.shape[:2], np.uint8)
        for low, high in COLOURS[named[0]]:
            mask |= np.asarray(cv2.inRange(smooth, np.array(low), np.array(high)), np.uint8)
        return _regions((mask > 0) & ~ignore, 0.9)
    if points is None:
        return []
    return _regions(_standing_out(points, ignore), 0.5)


def _regions(mask: np.ndarray, worth: float) -> list[Region]:
    clean = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(clean, connectivity=8)
    found = []
    for k in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[k])
        if area >= _MIN_SHARE * mask.size:
            found.append(
                (area, Region(labels == k, (x, y, x + w, y + h), round(worth * min(1.0, 1.3 * area / (w * h)), 3)))
            )
    return [region for _, region in sorted(found, key=lambda item: -item[0])]


def _standing_out(points: np.ndarray, ignore: np.ndarray) -> np.ndarray:
    """Pixels above the largest horizontal plane, by the histogram of heights."""
    height, valid = points[..., 2], np.isfinite(points).all(-1) & ~ignore
    if valid.sum() < 100:
        return np.zeros(valid.shape, bool)
    heights = height[valid]
    counts, edges = np.histogram(heights, bins=np.arange(heights.min(), heights.max() + 0.02, 0.01))
    plane = edges[int(np.argmax(counts))] + 0.005
    return valid & (height > plane + ABOVE) & (height < plane + 0.4)


def to_points(depth: np.ndarray, intrinsics: np.ndarray, extrinsics: np.ndarray) -> np.ndarray:
    """Where each pixel of a depth image lies: (height, width, 3) in the body's frame [m]; NaN where nothing was measured."""
    h, w = depth.shape
    v, u = np.mgrid[:h, :w]
    z = np.where((depth > 0.01) & (depth < 5.0), depth, np.nan)
    x = (u - intrinsics[0, 2]) / intrinsics[0, 0] * z
    y = (v - intrinsics[1, 2]) / intrinsics[1, 1] * z
    return np.stack([x, y, z], -1) @ extrinsics[:3, :3].T + extrinsics[:3, 3]


def grasps(points: np.ndarray, opening: float, hand: np.ndarray) -> list[dict[str, Any]]:
    """Grasps of a cloud (n, 3) for a parallel gripper that opens `opening` [m], best first; of the two ways to hold the
    fingers, the one nearer to how the hand (3, 3) is turned now.

    From above, and level from the front (for handles); the fingers close across the narrow side. Each has `position` (3,),
    `quaternion` (4,) of a hand whose z axis approaches and whose y axis closes, `width` [m] and `score`.
    """
    points = points[np.isfinite(points).all(1)]
    if len(points) < 10:
        return []
    low, high = np.percentile(points, [3, 97], axis=0)
    middle = (low + high) / 2
    flat = points[:, :2] - points[:, :2].mean(0)
    _, axes = np.linalg.eigh(np.cov(flat.T) + 1e-9 * np.eye(2))
    found = []
    for axis in axes.T:
        spread = np.percentile(flat @ axis, [3, 97])
        width = float(spread[1] - spread[0])
        closing = np.array([axis[0], axis[1], 0.0])
        down = np.array([0.0, 0.0, -1.0])
        where = np.array([middle[0], middle[1], max(low[2], high[2] - 0.03)])
        found.append(_grasp(where, down, closing, width, opening, 0.9, hand))
    front = np.array([1.0, 0.0, 0.0])
    for closing, width in (
        (np.array([0.0, 0.0, 1.0]), high[2] - low[2]),
        (np.array([0.0, 1.0, 0.0]), high[1] - low[1]),
    ):
        found.append(_grasp(middle, front, closing, float(width), opening, 0.6, hand))
    return sorted(found, key=lambda g: -float(g["score"]))


def _grasp(
    where: np.ndarray,
    approach: np.ndarray,
    closing: np.ndarray,
    width: float,
    opening: float,
    worth: float,
    hand: np.ndarray,
) -> dict[str, Any]:
    if closing @ hand[:, 1] < 0:
        closing = -closing
    matrix = np.stack([np.cross(closing, approach), closing, approach], axis=1)
    fits = float(np.clip((opening - width) / opening, 0, 1))
    return {"position": where, "quaternion": from_matrix(matrix), "width": width, "score": round(worth * fits, 3)}
