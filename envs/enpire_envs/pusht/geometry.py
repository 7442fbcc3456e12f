"""The T, its pose and its exact overlap with the target.

T frame: origin at the centroid, +y from the crossbar along the stem. With u the bar width, the crossbar is
4u x u and the stem u x 3u (the shape of gym-pusht). Poses are (x, y, yaw) in metres and radians.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

U = 0.040  # bar width [m]: the paper's T is 160 x 160 mm
_CENTROID = 19 / 14 * U  # from the crossbar's outer edge: (4 * u/2 + 3 * 5u/2) / 7
AREA = 7 * U * U

#: (x_min, x_max, y_min, y_max) of crossbar and stem in the T frame [m].
BAR = (-2 * U, 2 * U, -_CENTROID, U - _CENTROID)
STEM = (-U / 2, U / 2, U - _CENTROID, 4 * U - _CENTROID)

#: (8, 2) outline in the T frame, counter-clockwise [m].
OUTLINE = np.array(
    [
        (-2 * U, -_CENTROID), (2 * U, -_CENTROID), (2 * U, U - _CENTROID), (U / 2, U - _CENTROID),
        (U / 2, 4 * U - _CENTROID), (-U / 2, 4 * U - _CENTROID), (-U / 2, U - _CENTROID), (-2 * U, U - _CENTROID),
    ]
)  # fmt: skip
_OUTLINE = [tuple(map(float, p)) for p in OUTLINE]
#: From the centroid to the farthest corner [m].
REACH = float(np.linalg.norm(OUTLINE, axis=1).max())


#: Anything indexable that holds a pose (x, y, yaw) or a point (x, y): tuple, list or array.
PoseLike = Any


def wrap(angle: float) -> float:
    """The angle in (-pi, pi] [rad]."""
    return math.pi - (math.pi - angle) % (2 * math.pi)


def in_frame(pose: PoseLike, frame: PoseLike) -> tuple[float, float, float]:
    """`pose` as seen from `frame`."""
    dx, dy = pose[0] - frame[0], pose[1] - frame[1]
    c, s = math.cos(frame[2]), math.sin(frame[2])
    return c * dx + s * dy, c * dy - s * dx, wrap(pose[2] - frame[2])


def outline(pose: PoseLike) -> np.ndarray:
    """(8, 2) corners of a T at `pose` [m]."""
    c, s = math.cos(pose[2]), math.sin(pose[2])
    return OUTLINE @ np.array([[c, s], [-s, c]]) + (pose[0], pose[1])


def bounding_box(pose: PoseLike) -> tuple[float, float, float, float]:
    """(x_min, x_max, y_min, y_max) of a T at `pose` [m]."""
    c, s = math.cos(pose[2]), math.sin(pose[2])
    xs = [c * x - s * y for x, y in _OUTLINE]
    ys = [s * x + c * y for x, y in _OUTLINE]
    return pose[0] + min(xs), pose[0] + max(xs), pose[1] + min(ys), pose[1] + max(ys)


def coverage(pose: PoseLike, goal: PoseLike) -> float:
    """Share of the goal T's area that a T at `pose` covers, exact, in [0, 1].

    Green's theorem instead of polygon clipping: for a box [a, b] x [c, d] in the goal frame,
    area(T and box) is the integral of -clamp(y - c, 0, d - c) dx along the counter-clockwise outline of the
    T inside the strip a <= x <= b. The T's two boxes are disjoint, so their areas add up.
    """
    gx, gy, turn = in_frame(pose, goal)
    if gx * gx + gy * gy > 4 * REACH * REACH:
        return 0.0
    c, s = math.cos(turn), math.sin(turn)
    points = [(gx + c * x - s * y, gy + s * x + c * y) for x, y in _OUTLINE]
    area = 0.0
    x0, y0 = points[-1]
    for x1, y1 in points:
        if x0 != x1:
            area -= _under_edge(x0, y0, x1, y1, BAR) + _under_edge(x0, y0, x1, y1, STEM)
        x0, y0 = x1, y1
    return min(max(area / AREA, 0.0), 1.0)


def _under_edge(x0: float, y0: float, x1: float, y1: float, box: tuple[float, float, float, float]) -> float:
    """Signed integral of clamp(y - c, 0, d - c) dx along an edge, inside the strip a <= x <= b."""
    a, b, c, d = box
    if x0 < x1:
        lo, hi = (x0 if x0 > a else a), (x1 if x1 < b else b)
        sign = 1.0
    else:
        lo, hi = (x1 if x1 > a else a), (x0 if x0 < b else b)
        sign = -1.0
    if lo >= hi:
        return 0.0
    slope = (y1 - y0) / (x1 - x0)
    p = y0 + slope * (lo - x0) - c
    q = y0 + slope * (hi - x0) - c
    h = d - c
    if p <= 0.0 and q <= 0.0:
        return 0.0
    if p >= h and q >= h:
        mean = h
    elif 0.0 <= p <= h and 0.0 <= q <= h:
        mean = 0.5 * (p + q)
    else:  # the edge crosses the box's floor or ceiling: integrate the clamp piecewise
        mean = (_clamp_integral(q, h) - _clamp_integral(p, h)) / (q - p)
    return sign * mean * (hi - lo)


def _clamp_integral(y: float, h: float) -> float:
    """Antiderivative of clamp(y, 0, h)."""
    if y <= 0.0:
        return 0.0
    return 0.5 * y * y if y < h else h * (y - 0.5 * h)


def clearance(point: PoseLike, pose: PoseLike) -> float:
    """Distance from `point` (x, y) to a T at `pose`, 0 inside [m]."""
    x, y, _ = in_frame((point[0], point[1], 0.0), pose)
    return min(math.hypot(max(a - x, 0.0, x - b), max(c - y, 0.0, y - d)) for a, b, c, d in (BAR, STEM))
