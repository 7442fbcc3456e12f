"""Inverse kinematics of one arm in any MuJoCo model: damped least squares that keeps the joints' ranges."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np


def solve(
    model: Any, data: Any, site: int, position: np.ndarray, rotation: np.ndarray, start: np.ndarray, *,
    qpos: Any = slice(None), dofs: Any = slice(None), lower: np.ndarray, upper: np.ndarray, iterations: int, tolerance: float,
    damping: float = 0.02, max_step: float = 0.3,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """Joint angles (n,) [rad] that bring a site to a pose, and the remaining error.

    A joint that would leave its range is held there and the rest solve again (Nakamura and Hanafusa 1986; Baerlocher and Boulic
    2004). The error is the larger of position [m] and 0.1 x rotation [rad]; above `tolerance` the pose is out of reach or not
    reached yet.

    Args:
        model, data: MuJoCo's; `data` is worked in, so no other thread may use it meanwhile.
        position, rotation: (3,) [m] and (3, 3) of the site, in the world's frame.
        start: (n,) where to begin.
        qpos, dofs: where the arm's n joints are in the model's positions and velocities.
        lower, upper: (n,) the joints' ranges.
        damping: of steps far from the target.
        max_step: that a joint may take in one iteration [rad].
    """
    jacobian = np.zeros((6, model.nv))
    q = np.clip(start, lower, upper)
    error = np.inf
    for _ in range(iterations):
        data.qpos[qpos] = q
        mujoco.mj_kinematics(model, data)
        twist = _twist(data, site, position, rotation)
        error = float(max(np.linalg.norm(twist[:3]), 0.1 * np.linalg.norm(twist[3:])))
        if error < tolerance:
            break
        mujoco.mj_comPos(model, data)
        mujoco.mj_jacSite(model, data, jacobian[:3], jacobian[3:], site)
        of_arm = jacobian[:, dofs]
        # Near the target the damping may vanish: it is there against the wild steps of singular poses far away.
        lam = damping * min(1.0, error / 0.01) + 1e-4
        free = np.ones(len(q), dtype=bool)
        step = np.zeros(len(q))
        for _ in range(len(q)):
            j = of_arm[:, free]
            step[:] = 0.0
            step[free] = j.T @ np.linalg.solve(j @ j.T + lam * lam * np.eye(6), twist)
            beyond = free & (((q + step < lower) & (q <= lower)) | ((q + step > upper) & (q >= upper)))
            if not beyond.any():
                break
            free &= ~beyond
        largest = float(np.abs(step).max())
        if largest > max_step:
            step *= max_step / largest
        q = np.clip(q + step, lower, upper)
    return q, error


def _twist(data: Any, site: int, position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """(6,) from the site to the target: translation [m], rotation vector [rad], world frame."""
    here = data.site_xmat[site].reshape(3, 3)
    # MuJoCo's own functions, not SciPy's Rotation: 1 us in place of 13 to 53, six times per arm and tick of a 100 Hz loop.
    quat, turn = np.zeros(4), np.zeros(3)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(rotation @ here.T).ravel())
    mujoco.mju_quat2Vel(turn, quat, 1.0)
    return np.concatenate([position - data.site_xpos[site], turn])
