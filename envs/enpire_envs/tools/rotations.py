"""Rotations: matrices, quaternions (w, x, y, z) and rotation vectors [rad]."""

from __future__ import annotations

import numpy as np


def to_matrix(quaternion: np.ndarray) -> np.ndarray:
    """(3, 3) of a quaternion of any length but zero. Raises ValueError."""
    q = np.asarray(quaternion, float)
    length = np.linalg.norm(q) if q.shape == (4,) else 0.0
    if not np.isfinite(length) or length < 1e-9:
        raise ValueError(f"{quaternion} is not a quaternion (w, x, y, z)")
    w, x, y, z = q / length
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def from_matrix(m: np.ndarray) -> np.ndarray:
    """The quaternion with w >= 0, from the largest of the four possible divisors."""
    k = np.array([
        [m[0, 0] + m[1, 1] + m[2, 2], 0, 0, 0],
        [m[2, 1] - m[1, 2], m[0, 0] - m[1, 1] - m[2, 2], 0, 0],
        [m[0, 2] - m[2, 0], m[1, 0] + m[0, 1], m[1, 1] - m[0, 0] - m[2, 2], 0],
        [m[1, 0] - m[0, 1], m[2, 0] + m[0, 2], m[2, 1] + m[1, 2], m[2, 2] - m[0, 0] - m[1, 1]],
    ])  # fmt: skip
    _, vectors = np.linalg.eigh(k / 3)  # Bar-Itzhack (2000); the lower triangle is read
    q = vectors[:, -1]
    return -q if q[0] < 0 else q


def rotation_vector(m: np.ndarray) -> np.ndarray:
    """Axis times angle, the angle within [0, pi]."""
    q = from_matrix(m)
    sine = float(np.linalg.norm(q[1:]))
    return np.zeros(3) if sine < 1e-12 else q[1:] / sine * 2 * np.arctan2(sine, q[0])


def from_vector(vector: np.ndarray) -> np.ndarray:
    """(3, 3) of a rotation vector."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    return to_matrix(np.concatenate([[np.cos(angle / 2)], np.sin(angle / 2) * vector / angle]))


def about(axis: str, angle: float) -> np.ndarray:
    """(3, 3): a turn about "x", "y" or "z"."""
    k = "xyz".index(axis)
    c, s = np.cos(angle), np.sin(angle)
    m = np.eye(3)
    i, j = (k + 1) % 3, (k + 2) % 3
    m[i, i], m[i, j], m[j, i], m[j, j] = c, -s, s, c
    return m
