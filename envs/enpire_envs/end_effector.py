"""The Python side of `end_effector.xml`: placing, driving and reading a compliant end effector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import mujoco
import numpy as np

from enpire_envs.wrench import Wrench

XML = Path(__file__).with_name("end_effector.xml")
QPOS = slice(0, 6)  # the end effector comes first in every scene that includes it: x, y, z, then the hinges
FRICTION_FACTORS = (0.8, 1.2)  # smallest and largest, of a nominal friction


@dataclass(slots=True)
class EndEffectorReadings:
    """An end effector at one instant, in the scene's frame.

    Attributes:
        time: seconds since reset.
        pose: (6,) position [m] and hinge angles [rad].
        target: (6,) the last commanded pose.
        wrench: what the surroundings exert on the tool, in the end effector's own axes.
        force: magnitude of the force [N].
        depth: deepest penetration of any two bodies [m], >= 0.
    """

    time: float
    pose: np.ndarray
    target: np.ndarray
    wrench: Wrench
    force: float
    depth: float


Readings = TypeVar("Readings", bound=EndEffectorReadings)


def load(scene: Path) -> mujoco.MjSpec:
    """A scene file with `end_effector.xml` included."""
    return mujoco.MjSpec.from_file(str(scene))


def place(data: mujoco.MjData, pose: np.ndarray) -> None:
    """Put the end effector and its target at a pose (6,) [m, rad]."""
    data.qpos[QPOS] = pose
    data.act[QPOS] = pose


def pose_over(
    point: Sequence[float] | np.ndarray, angles: Sequence[float] | np.ndarray, offset: Sequence[float] | np.ndarray
) -> np.ndarray:
    """The pose (6,) [m, rad] in which a tool turned by `angles` (rx, ry, rz) has the end effector at `offset` from `point`.

    Args:
        point: (3,) of the tool, in the scene's frame [m].
        angles: of the hinges [rad]; those left out are 0.
        offset: (3,) from the point to the end effector, in the tool's frame [m].
    """
    pose = np.zeros(6)
    pose[3 : 3 + len(angles)] = angles
    pose[:3] = np.array(point) + rotation(pose[3:]) @ offset
    return pose


def draw_friction(model: mujoco.MjModel, nominal: float, rng: np.random.Generator) -> None:
    """Give all that can touch the same sliding friction: nominal +- 20 %."""
    model.geom_friction[model.geom_contype != 0, 0] = nominal * rng.uniform(*FRICTION_FACTORS)


def hold(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Command the pose that is measured now: what was pressing lets go."""
    data.act[QPOS] = data.qpos[QPOS]
    data.ctrl[QPOS] = 0.0


def read(kind: type[Readings], data: mujoco.MjData, *, depth: float | None = None, **more: Any) -> Readings:
    """A task's readings, of which the end effector's part is read here.

    Args:
        kind: their class.
        depth: where not every penetration counts [m].
        more: what the class adds.
    """
    felt = -data.sensordata[:6]  # MuJoCo's sensors give what the tool exerts on the end effector's parent side
    fx, fy, fz, *_ = felt.tolist()
    if depth is None:
        depth = max(-float(np.minimum.reduce(data.contact.dist)), 0.0) if data.ncon else 0.0
    return kind(
        time=data.time,
        pose=data.qpos[QPOS].copy(),
        target=data.act[QPOS].copy(),
        wrench=Wrench(felt, "end effector"),
        force=math.sqrt(fx * fx + fy * fy + fz * fz),
        depth=depth,
        **more,
    )


def stiffen(spec: mujoco.MjSpec, slide: float, hinge: float, force_z: float, torque: float) -> None:
    """Set stiffness [N/m, Nm/rad] and limits [N, Nm] of the drives. Damping is twice critical, like an arm's: what was
    pressed and lets go does not slam."""
    for axis, mass in (("x", 0.4), ("y", 0.4), ("z", 0.4), ("rx", 4e-4), ("ry", 4e-4), ("rz", 4e-4)):
        drive = spec.actuator(f"ee_{axis}")
        stiffness = hinge if axis.startswith("r") else slide
        drive.gainprm[0], drive.biasprm[1] = stiffness, -stiffness
        drive.biasprm[2] = -4.0 * float(np.sqrt(stiffness * mass))
        if axis == "z":
            drive.forcerange = [-force_z, force_z]
        elif axis.startswith("r"):
            drive.forcerange = [-torque, torque]


def weld_as_it_lies(model: mujoco.MjModel, data: mujoco.MjData, weld: int) -> None:
    """Switch a weld between two bodies on, in the pose that they have to one another now."""
    one, two = model.eq_obj1id[weld], model.eq_obj2id[weld]
    quat, inverse = np.zeros(4), np.zeros(4)
    mujoco.mju_negQuat(inverse, data.xquat[one])
    mujoco.mju_mulQuat(quat, inverse, data.xquat[two])
    # MuJoCo: the anchor in body 2's frame, the relative pose in body 1's, and how much torque weighs against force
    model.eq_data[weld, 0:3] = 0
    model.eq_data[weld, 3:6] = data.xmat[one].reshape(3, 3).T @ (data.xpos[two] - data.xpos[one])
    model.eq_data[weld, 6:10] = quat
    model.eq_data[weld, 10] = 1.0
    data.eq_active[weld] = 1


def length(vector: np.ndarray) -> float:
    """Of a vector (n,), in less time than `np.linalg.norm`."""
    return math.sqrt(vector.dot(vector))


def rotation(angles: np.ndarray) -> np.ndarray:
    """The end effector's rotation matrix (3, 3) for its hinge angles (rx, ry, rz)."""
    matrix = np.eye(3)
    for k, angle in enumerate(angles):
        quat, part = np.zeros(4), np.zeros(9)
        mujoco.mju_axisAngle2Quat(quat, np.eye(3)[k], angle)
        mujoco.mju_quat2Mat(part, quat)
        matrix = matrix @ part.reshape(3, 3)
    return matrix


def angles(matrix: np.ndarray) -> np.ndarray:
    """The hinge angles (3,) for a rotation matrix (3, 3): the inverse of `rotation`, for ry within a quarter turn."""
    (_, _, xz), (_, _, yz), (_, _, zz) = matrix.tolist()
    return np.array([math.atan2(-yz, zz), math.asin(max(-1.0, min(1.0, xz))), math.atan2(-matrix[0, 1], matrix[0, 0])])
