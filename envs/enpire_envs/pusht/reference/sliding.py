"""How a T slides when a fingertip pushes it slowly: quasi-static pushing with an ellipsoidal limit surface (Lynch and Mason 1996).

All functions work on n cases at once: poses (n, 3) of the T [m, rad], fingertips (n, 2) [m].
"""

from __future__ import annotations

import heapq
import math

import numpy as np

from enpire_envs.pusht.geometry import BAR, OUTLINE, STEM

#: Torsional over sliding friction of the T on the table, as it usually is [m].
CHARACTERISTIC_LENGTH = 0.048
TIP_FRICTION = 0.5  # between fingertip and T, as it usually is
_BOXES = np.array([BAR, STEM])
_CENTRES = np.stack([_BOXES[:, [0, 2]] + _BOXES[:, [1, 3]]], axis=0)[0] / 2
_HALVES = np.stack([_BOXES[:, [1, 3]] - _BOXES[:, [0, 2]]], axis=0)[0] / 2
#: The corners that stick out (6, 2), and the diagonal that leads away from the T at each.
_CORNERS = OUTLINE[[0, 1, 2, 4, 5, 7]]
_OUTWARD = np.array([(-1, -1), (1, -1), (1, 1), (1, 1), (-1, 1), (-1, 1)])


def corners(poses: np.ndarray) -> np.ndarray:
    """(n, 8, 2) corners of Ts [m]."""
    c, s = np.cos(poses[:, 2, None]), np.sin(poses[:, 2, None])
    x = c * OUTLINE[:, 0] - s * OUTLINE[:, 1] + poses[:, :1]
    y = s * OUTLINE[:, 0] + c * OUTLINE[:, 1] + poses[:, 1:2]
    return np.stack([x, y], axis=-1)


def nearest(poses: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The point (n, 2) of each T that is nearest to its point, and from there to it (n, 2); both in the T's frame [m]."""
    c, s = np.cos(poses[:, 2]), np.sin(poses[:, 2])
    dx, dy = (points - poses[:, :2]).T
    local = np.stack([c * dx + s * dy, c * dy - s * dx], axis=1)
    off = local[:, None] - _CENTRES
    gap = off - np.clip(off, -_HALVES, _HALVES)
    which = (gap**2).sum(axis=2).argmin(axis=1)
    away = gap[np.arange(len(gap)), which]
    return local - away, away


def clearance(poses: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Distance (n,) from points to Ts, 0 inside [m]."""
    _, away = nearest(poses, points)
    return np.hypot(*away.T)


def pushed(poses: np.ndarray, tips: np.ndarray, moves: np.ndarray, radius: float) -> np.ndarray:
    """Poses (n, 3) after fingertips have moved by `moves` (n, 2), at most half a radius, to where they are now."""
    contact, away = nearest(poses, tips)
    distance = np.maximum(np.hypot(*away.T), 1e-9)
    depth = np.maximum(radius - distance, 0.0)
    normal = -away / distance[:, None]
    tangent = np.stack([-normal[:, 1], normal[:, 0]], axis=1)
    c, s = np.cos(poses[:, 2]), np.sin(poses[:, 2])
    along = (c * moves[:, 0] + s * moves[:, 1]) * tangent[:, 0] + (c * moves[:, 1] - s * moves[:, 0]) * tangent[:, 1]
    # the force that lets the contact point move with the fingertip, in units in which it is the T's velocity
    arm_n = (contact[:, 0] * normal[:, 1] - contact[:, 1] * normal[:, 0]) / CHARACTERISTIC_LENGTH
    arm_t = (contact[:, 0] * tangent[:, 1] - contact[:, 1] * tangent[:, 0]) / CHARACTERISTIC_LENGTH
    whole = 1 + arm_n**2 + arm_t**2
    press = ((1 + arm_t**2) * depth - arm_n * arm_t * along) / whole
    rub = ((1 + arm_n**2) * along - arm_n * arm_t * depth) / whole
    # more than friction bears: it slides, and the T keeps out of the fingertip's way
    side = np.where(rub > 0, TIP_FRICTION, -TIP_FRICTION)
    slips = (press <= 0) | (np.abs(rub) > TIP_FRICTION * press)
    sliding = depth / np.maximum(1 + arm_n**2 + side * arm_n * arm_t, 0.2)
    press = np.where(slips, sliding, press)
    rub = np.where(slips, side * sliding, rub)
    touching = depth > 0
    press, rub = press * touching, rub * touching
    x, y = (press[:, None] * normal + rub[:, None] * tangent).T
    turn = (arm_n * press + arm_t * rub) / CHARACTERISTIC_LENGTH
    return poses + np.stack([c * x - s * y, s * x + c * y, turn], axis=1)


def swept(poses: np.ndarray, tips: np.ndarray, moves: np.ndarray, radius: float, parts: int) -> np.ndarray:
    """Poses (n, 3) after fingertips at `tips` have moved by `moves` (n, 2), reckoned in `parts`."""
    step = moves / parts
    for k in range(1, parts + 1):
        poses = pushed(poses, tips + k * step, step, radius)
    return poses


def way_around(pose: np.ndarray, tip: np.ndarray, to: np.ndarray, room: float, half: np.ndarray) -> list[np.ndarray]:
    """The points after `tip` of the shortest way to `to` that keeps `room` from the T, over its corners; straight where there is none [m]."""
    c, s = math.cos(pose[2]), math.sin(pose[2])
    grown = (_CORNERS + _OUTWARD * (room + 0.002)) @ np.array([[c, s], [-s, c]]) + pose[:2]
    nodes = np.array([tip, to, *grown[(np.abs(grown) <= half).all(axis=1)]])
    n = len(nodes)
    a, b = np.triu_indices(n, 1)
    share = np.linspace(0, 1, 30)[:, None, None]
    lines = nodes[a] + share * (nodes[b] - nodes[a])
    flat = lines.reshape(-1, 2)
    gaps = clearance(np.broadcast_to(pose, (len(flat), 3)), flat).reshape(30, -1)
    ends = np.minimum(gaps[0], gaps[-1])
    free = (gaps >= np.minimum(room, ends) - 0.0005).all(axis=0)
    lengths = np.full((n, n), math.inf)
    lengths[a[free], b[free]] = lengths[b[free], a[free]] = np.hypot(*(nodes[b] - nodes[a])[free].T)
    best = {0: 0.0}
    queue: list[tuple[float, int, list[int]]] = [(0.0, 0, [])]
    while queue:
        length, node, way = heapq.heappop(queue)
        if node == 1:
            return [nodes[k] for k in way]
        for other in range(n):
            total = length + lengths[node, other]
            if total < best.get(other, math.inf):
                best[other] = total
                heapq.heappush(queue, (total, other, [*way, other]))
    return [to]
