"""Camera calibration: intrinsics from views of the board, and hand-eye from views of the board at known arm poses.

Hand-eye: closed form first (Park and Martin 1994, on motions between samples), then all views together by Levenberg-Marquardt on
the reprojection error, with the board's own pose among the unknowns. What comes out is the optical frame's pose in its
mount: the station for a fixed camera that looks at a board in a hand, the flange for a wrist camera that looks at
a board on the table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from enpire_real.cameras import Lens
from enpire_real.kinematics import Pose

MIN_SAMPLES = 12
MAX_RESIDUAL_PX = 1.0


class PoorCalibration(RuntimeError):
    """Too few samples, or samples that do not agree; says what to change."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One view of the board: its corners (n, 3) [m], where they were seen (n, 2) [px], and the arm's pose then.

    `arm` is the flange's pose in the frame of the arm's base (given in the station's frame).
    """

    points: np.ndarray
    pixels: np.ndarray
    arm: Pose


@dataclass(frozen=True, slots=True)
class HandEye:
    """`camera`: optical frame in the mount's frame. `board`: the board's in the other one (flange, or station). `lens`: the
    one that was given, or the one that was found with them."""

    camera: Pose
    board: Pose
    lens: Lens
    residual_px: float
    samples: int


def calibrate_lens(views: list[tuple[np.ndarray, np.ndarray]], width: int, height: int) -> tuple[Lens, float]:
    """Intrinsics and the reprojection error [px] from views (points (n, 3), pixels (n, 2)) of the board.

    Raises PoorCalibration below 8 views, or if they do not fit.
    """
    if len(views) < 8:
        raise PoorCalibration(
            f"{len(views)} views show the board; 8 or more are needed: tilt it, near and far, into every corner"
        )
    # A 5 x 5 board fills little of an image: higher orders of distortion would fit its noise.
    flags = cv2.CALIB_FIX_K2 | cv2.CALIB_FIX_K3 | cv2.CALIB_ZERO_TANGENT_DIST
    error, matrix, distortion, _, _ = cv2.calibrateCamera(
        [p.astype(np.float32) for p, _ in views], [x.astype(np.float32) for _, x in views], (width, height), None, None,
        flags=flags,
    )  # fmt: skip
    if not error < MAX_RESIDUAL_PX:
        raise PoorCalibration(
            f"the views disagree by {error:.2f} px (allowed {MAX_RESIDUAL_PX}): is the printed board flat and to scale?"
        )
    return Lens(np.asarray(matrix), np.asarray(distortion).ravel()), float(error)


def calibrate_hand_eye(samples: list[Sample], lens: Lens, *, on_arm: bool, free_lens: bool = False) -> HandEye:
    """Where a camera is. `on_arm`: it is on the flange and the board on the table; else the other way round.

    `free_lens`: focal lengths, centre and first radial distortion are unknown, too; known arm poses determine them better than
    views of a small board alone.

    Raises PoorCalibration for fewer than 12 samples, for poses that turn too little, and for a poor fit.
    """
    if len(samples) < MIN_SAMPLES:
        raise PoorCalibration(f"{len(samples)} samples show the board; {MIN_SAMPLES} or more are needed")
    # arm_pose @ camera @ board_pose = board for all samples: the mount's pose in the frame in which the board is fixed, the
    # camera's in its mount, the board's in the camera's frame.
    arm_poses = [s.arm if on_arm else s.arm.inverse() for s in samples]
    board_poses = [_board_pose(s, lens) for s in samples]
    turns = [np.linalg.norm(_log(m.rotation @ arm_poses[0].rotation.T)) for m in arm_poses]
    if max(turns) < math.radians(15):
        raise PoorCalibration(
            "the arm turned less than 15 degrees between samples: the pose of the camera does not follow from that"
        )
    camera = _park_martin(arm_poses, board_poses)
    board = arm_poses[0] @ camera @ board_poses[0]
    camera, board, lens, residual = _refine(samples, arm_poses, lens, camera, board, free_lens)
    if not residual < MAX_RESIDUAL_PX:
        raise PoorCalibration(
            f"views and arm poses disagree by {residual:.2f} px (allowed {MAX_RESIDUAL_PX}): did the board slip, is its "
            "printed size right, are the joints' zeros right?"
        )
    return HandEye(camera, board, lens, residual, len(samples))


def _board_pose(sample: Sample, lens: Lens) -> Pose:
    """The board's pose in the camera's frame."""
    _, rvec, tvec = cv2.solvePnP(
        sample.points, sample.pixels, lens.matrix, lens.distortion, flags=cv2.SOLVEPNP_ITERATIVE
    )
    return Pose(tvec.ravel(), Rotation.from_rotvec(rvec.ravel()).as_matrix())


def _park_martin(arm_poses: list[Pose], board_poses: list[Pose]) -> Pose:
    """The camera's pose in its mount: X of A X = X B, over motions between samples of mount (A) and board (B)."""
    pairs = [(a, b) for a in range(len(arm_poses)) for b in range(a + 1, len(arm_poses))]
    m = np.zeros((3, 3))
    rows, right = [], []
    for i, j in pairs:
        a = arm_poses[j].inverse() @ arm_poses[i]
        b = board_poses[j] @ board_poses[i].inverse()
        if np.linalg.norm(_log(a.rotation)) > math.radians(5):
            m += np.outer(_log(b.rotation), _log(a.rotation))
            rows.append(a)
            right.append(b)
    u, _, vt = np.linalg.svd(m)
    rotation = vt.T @ np.diag([1, 1, np.linalg.det(vt.T @ u.T)]) @ u.T
    lhs = np.concatenate([a.rotation - np.eye(3) for a in rows])
    rhs = np.concatenate([rotation @ b.position - a.position for a, b in zip(rows, right, strict=True)])
    position, *_ = np.linalg.lstsq(lhs, rhs, rcond=None)
    return Pose(position, rotation)


def _refine(
    samples: list[Sample], arm_poses: list[Pose], lens: Lens, first_camera: Pose, first_board: Pose, free_lens: bool
) -> tuple[Pose, Pose, Lens, float]:
    """Minimise the reprojection error over the camera's and the board's pose, and the lens if it is free, numerically.

    Returns camera, board, lens and the error [px].
    """
    x = np.zeros(17 if free_lens else 12)

    def unpack(x: np.ndarray) -> tuple[Pose, Pose, Lens]:
        optics = lens
        if free_lens:
            matrix, distortion = lens.matrix.copy(), np.zeros(5)
            matrix[[0, 1, 0, 1], [0, 1, 2, 2]] += 1000 * x[12:16]  # pixels, in steps of the poses' size
            distortion[: len(lens.distortion)] = lens.distortion
            distortion[0] += x[16]
            optics = Lens(matrix, distortion)
        return _moved(first_camera, x[:6]), _moved(first_board, x[6:12]), optics

    def errors(x: np.ndarray) -> np.ndarray:
        camera, board, optics = unpack(x)
        off = []
        for sample, pose in zip(samples, arm_poses, strict=True):
            to_camera = (pose @ camera).inverse() @ board
            off.append(optics.project(to_camera.apply(sample.points)) - sample.pixels)
        return np.concatenate(off).ravel()

    now, damping = errors(x), 1e-3
    for _ in range(60):
        jacobian = np.stack([(errors(x + 1e-6 * e) - now) / 1e-6 for e in np.eye(len(x))], axis=1)
        normal = jacobian.T @ jacobian
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-9), -jacobian.T @ now)
        tried = errors(x + step)
        if tried @ tried < now @ now:
            better = (now @ now - tried @ tried) / (now @ now)
            x, now, damping = x + step, tried, damping / 5
            if better < 1e-9:
                break
        else:
            damping *= 10
            if damping > 1e6:
                break
    camera, board, optics = unpack(x)
    return camera, board, optics, float(np.sqrt((now.reshape(-1, 2) ** 2).sum(axis=1).mean()))


def _moved(pose: Pose, x: np.ndarray) -> Pose:
    """Shifted by x[:3] [m] and turned by the rotation vector x[3:] [rad]."""
    return Pose(pose.position + x[:3], pose.rotation @ Rotation.from_rotvec(x[3:6]).as_matrix())


def _log(rotation: np.ndarray) -> np.ndarray:
    """The rotation vector (3,) [rad] of a matrix (3, 3)."""
    return Rotation.from_matrix(rotation).as_rotvec()
