"""Where the T is, from one camera image.

The T's top face is red: its outline is tracked by looking for the colour's edge along normals of the model (the classic edge tracker: Harris, "RAPID",
1990), from the last pose or, at first and when lost, from a search over the whole mat. Covered parts of the outline
have no edge where the model says and do not count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from enpire_envs.pusht.geometry import AREA, BAR, OUTLINE, STEM

from enpire_real.cameras import Lens
from enpire_real.kinematics import Pose

TOP_HEIGHT = 0.030  # of the T [m]
_CELL = 0.002  # of the map of the mat [m]
_HALF = (0.48, 0.40)  # its half extents [m]
_REACH = 0.014  # how far from the model's outline an edge is looked for [m]
_GUESSES = 6  # poses of the coarse search that are refined
_SUPPORT = 0.55  # share of the outline whose edge must be seen for an estimate to be valid
_RESIDUAL = 0.0025  # ... and its scatter [m]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A T's pose (x, y, yaw) in the arena's frame [m, rad]; `support`: share of its outline that was seen."""

    pose: tuple[float, float, float]
    valid: bool
    support: float
    residual: float  # [m]


class TFinder:
    """Follows the T from image to image.

    Args:
        lens: of the camera.
        camera: its pose in the arena's frame.
    """

    def __init__(self, lens: Lens, camera: Pose) -> None:
        x, y = np.meshgrid(np.arange(-_HALF[0], _HALF[0], _CELL), np.arange(_HALF[1], -_HALF[1], -_CELL))
        points = np.stack([x, y, np.full_like(x, TOP_HEIGHT)], axis=-1).reshape(-1, 3)
        pixels = lens.project(camera.inverse().apply(points)).reshape(*x.shape, 2).astype(np.float32)
        self._map_x, self._map_y = np.ascontiguousarray(pixels[..., 0]), np.ascontiguousarray(pixels[..., 1])
        self._outline, self._normals = _sample_outline()
        self._offsets = np.arange(-_REACH, _REACH + 1e-9, _CELL / 2)
        self.last: tuple[float, float, float] | None = None

    def find(self, image: np.ndarray) -> Estimate:
        """The T's pose in an RGB image; without a valid one, the last or, failing that, the middle."""
        red = self.redness(image)
        best = Estimate(self.last or (0.0, 0.0, 0.0), False, 0.0, math.inf)
        for guess in [self.last] if self.last is not None else []:
            best = self._refine(red, guess)
        if not best.valid:
            for guess in self._search(red):
                found = self._refine(red, guess)
                if (found.valid, found.support) > (best.valid, best.support):
                    best = found
        if best.valid:
            self.last = best.pose
        return best

    def redness(self, image: np.ndarray) -> np.ndarray:
        """How red each cell of the mat is, 0 to 1, seen at the height of the T's top."""
        # The colour first, on whole pixels: interpolating a colour edge makes no new colours this way.
        channels = image.astype(np.int16)
        red = np.clip((channels[..., 0] - np.maximum(channels[..., 1], channels[..., 2]) - 30) / 70.0, 0, 1)
        return cv2.remap(red.astype(np.float32), self._map_x, self._map_y, cv2.INTER_LINEAR)

    def _refine(self, red: np.ndarray, pose: tuple[float, float, float]) -> Estimate:
        x, y, yaw = pose
        support, residual = 0.0, math.inf
        for round_ in range(8):
            c, s = math.cos(yaw), math.sin(yaw)
            turn = np.array([[c, s], [-s, c]])
            arms = self._outline @ turn
            normals = self._normals @ turn
            samples = (arms + np.array((x, y)))[:, None, :] + normals[:, None, :] * self._offsets[:, None]
            profile = _lookup(red, samples)
            # The edge: where redness falls through a half, going outward, after red and before not red.
            falls = (profile[:, :-1] >= 0.5) & (profile[:, 1:] < 0.5)
            seen = falls.sum(axis=1) == 1
            k = np.argmax(falls, axis=1)
            rows = np.arange(len(k))
            high, low = profile[rows, k], profile[rows, k + 1]
            shift = self._offsets[k] + (high - 0.5) / np.maximum(high - low, 1e-6) * (_CELL / 2)
            gate = max(_REACH * 0.75**round_, 0.003)
            good = seen & (np.abs(shift) < gate)
            if good.sum() < 20:
                return Estimate((x, y, yaw), False, 0.0, math.inf)
            lever = arms[:, 0] * normals[:, 1] - arms[:, 1] * normals[:, 0]
            a = np.column_stack([normals, lever])[good]
            step, *_ = np.linalg.lstsq(a, shift[good], rcond=None)
            left = shift[good] - a @ step
            x, y, yaw = x + step[0], y + step[1], yaw + step[2]
            support, residual = float(good.mean()), float(np.sqrt((left * left).mean()))
            if np.abs(step).max() < 1e-5:
                break
        pose = (float(x), float(y), math.pi - (math.pi - float(yaw)) % (2 * math.pi))
        return Estimate(pose, support >= _SUPPORT and residual <= _RESIDUAL, support, residual)

    def _search(self, red: np.ndarray) -> list[tuple[float, float, float]]:
        """Coarse poses, best first: the red patch's centroid, turned every 10 degrees, by overlap."""
        mask = (red > 0.5).astype(np.uint8)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
        if count < 2:
            return []
        # All patches of some size: an arm across the T cuts it in two.
        big = [k for k in range(1, count) if stats[k, cv2.CC_STAT_AREA] * _CELL * _CELL > 0.05 * AREA]
        if not big:
            return []
        ys, xs = np.nonzero(np.isin(labels, big))
        points = np.column_stack([xs * _CELL - _HALF[0], _HALF[1] - ys * _CELL])
        points = points[:: max(1, len(points) // 300)]
        middle = points.mean(axis=0)
        yaws = np.radians(np.arange(-180, 180, 10))
        c, s = np.cos(yaws), np.sin(yaws)
        turns = np.stack([np.stack([c, -s], axis=-1), np.stack([s, c], axis=-1)], axis=-2)
        overlap = _inside((points - middle) @ turns).mean(axis=1)
        best = np.argsort(-overlap)[:_GUESSES]
        return [(float(middle[0]), float(middle[1]), float(yaws[k])) for k in best]


def _sample_outline(spacing: float = 0.004) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 2) on the T's outline, off its corners, and outward normals (n, 2)."""
    points, normals = [], []
    for start, end in zip(OUTLINE, np.roll(OUTLINE, -1, axis=0), strict=True):
        along = (end - start) / np.linalg.norm(end - start)
        n = int(np.linalg.norm(end - start) / spacing) - 1
        steps = (np.arange(n) + 0.5) / n * 0.84 + 0.08
        points.append(start + steps[:, None] * (end - start))
        normals.append(np.tile((along[1], -along[0]), (n, 1)))
    return np.concatenate(points), np.concatenate(normals)


def _inside(points: np.ndarray) -> np.ndarray:
    x, y = points[..., 0], points[..., 1]
    return np.logical_or.reduce([(x >= x0) & (x <= x1) & (y >= y0) & (y <= y1) for x0, x1, y0, y1 in (BAR, STEM)])


def _lookup(red: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Redness at points (n, k, 2) of the arena."""
    u = ((samples[..., 0] + _HALF[0]) / _CELL).astype(np.float32)
    v = ((_HALF[1] - samples[..., 1]) / _CELL).astype(np.float32)
    return cv2.remap(red, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
