"""Rotations as tools exchange them: matrices, quaternions (w, x, y, z) with w >= 0, rotation vectors [rad]. SciPy does the work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation


def to_matrix(quaternion: np.ndarray) -> np.ndarray:
    """(3, 3) of a quaternion of any length but zero. Raises ValueError."""
    q = np.asarray(quaternion, float)
    length = np.linalg.norm(q) if q.shape == (4,) else 0.0
    if not np.isfinite(length) or length < 1e-9:
        raise ValueError(f"{quaternion} is not a quaternion (w, x, y, z)")
    return _rotation().from_quat(q, scalar_first=True).as_matrix()


def from_matrix(matrix: np.ndarray) -> np.ndarray:
    """The quaternion of a rotation matrix (3, 3)."""
    return _rotation().from_matrix(matrix).as_quat(canonical=True, scalar_first=True)


def rotation_vector(matrix: np.ndarray) -> np.ndarray:
    """(3,) axis times angle of a rotation matrix (3, 3), the angle within [0, pi]."""
    return _rotation().from_matrix(matrix).as_rotvec()


def from_vector(vector: np.ndarray) -> np.ndarray:
    """(3, 3) of a rotation vector (3,)."""
    return _rotation().from_rotvec(vector).as_matrix()


def about(axis: str, angle: float) -> np.ndarray:
    """(3, 3): a turn about "x", "y" or "z"."""
    return _rotation().from_euler(axis, angle).as_matrix()


def _rotation() -> type[Rotation]:
    from scipy.spatial.transform import (
        Rotation,
    )  # a third of a second, which who only lists the tools does not wait for

    return Rotation
