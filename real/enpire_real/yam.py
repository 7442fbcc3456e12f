"""The I2RT YAM arm as a table, and the MuJoCo bodies made of it.

Canonical frames: at q = 0 every link's frame is parallel to the base's, x forward, z up; a body sits at its joint's
anchor. Masses, inertias and offsets are I2RT's (MIT), re-expressed so; shapes are primitives of the same sizes. The same
table makes the driver's dynamics, the safety monitor's collision model and the twin, which then deviates from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from enpire_real.hand_tools import BARE_HAND, GRASP_SITE, Tool

DOF = 6

#: Fingers: stroke of both together [m] and what the gripper's motor turns for it [rad].
GRIPPER_STROKE, GRIPPER_TRAVEL = 0.096, 6.57
FINGER_RANGE = 0.0475
PAD_END = 0.1444  # the fingers' ends, from the flange along the approach direction [m]

WRIST_CAMERA_POS = (0.07701, 0.0, 0.07044)  # in the flange's frame


@dataclass(frozen=True, slots=True)
class Link:
    """One moving body. Units: metres, radians, kilograms; inertia Ixx Iyy Izz Ixy Ixz Iyz at the centre of mass."""

    name: str
    pos: tuple[float, float, float]
    axis: tuple[int, int, int]
    range: tuple[float, float]
    mass: float
    com: tuple[float, float, float]
    inertia: tuple[float, float, float, float, float, float]
    capsule: tuple[tuple[float, float, float], tuple[float, float, float], float]  # from, to, radius


@dataclass(frozen=True, slots=True)
class Joint:
    """A joint's drive: motor and reply id, type, gains, friction, rotor inertia at the joint, torque clamp."""

    name: str
    motor_id: int
    motor: str
    kp: float
    kd: float
    friction: float  # Coulomb [Nm]
    armature: float  # [kg m^2]
    torque: float  # MIT full scale [Nm]

    @property
    def reply_id(self) -> int:
        """The id under which the motor answers."""
        return self.motor_id + 0x10


BASE_MASS, BASE_COM = 0.873654, (-0.00004, 0.00002, 0.02477)
BASE_INERTIA = (1.694e-3, 6.783e-4, 1.571e-3, 2.5e-7, 2.0e-7, -9.5e-7)

LINKS = (
    Link("link1", (0, 0, 0.068), (0, 0, 1), (-2.61799, 3.14159), 0.101218, (0.00728, 0.00173, 0.02336),
         (1.260e-4, 4.766e-5, 1.147e-4, -2.59e-6, -1.343e-5, -4.63e-6), ((0, 0, 0), (0.01, 0, 0.045), 0.033)),
    Link("link2", (0.0200, 0.0339, 0.0455), (0, 1, 0), (0.0, 3.66519), 1.46908, (-0.12917, -0.03313, 0.00013),
         (8.001e-4, 1.460e-2, 1.467e-2, -3.2e-6, 3.8e-7, 0.0), ((0, -0.034, 0), (-0.264, -0.034, 0), 0.032)),
    Link("link3", (-0.2640, -0.0688, 0), (0, -1, 0), (0.0, 3.14159), 0.982553, (0.13508, 0.03405, 0.05560),
         (9.376e-4, 7.631e-3, 7.589e-3, -1.103e-5, -6.407e-4, 4.4e-6), ((0, 0.034, 0.03), (0.245, 0.034, 0.06), 0.034)),
    Link("link4", (0.2450, 0.0688, 0.0600), (0, -1, 0), (-1.69297, 1.5708), 0.462165, (0.05755, -0.03273, 0.05510),
         (6.045e-4, 7.640e-4, 4.736e-4, 2.926e-5, -2.388e-4, 3.008e-5), ((0, -0.034, 0), (0.07, -0.034, 0.05), 0.030)),
    Link("link5", (0.0740, -0.0339, 0.0405), (0, 0, -1), (-1.5708, 1.5708), 0.403307, (0.00083, 0.00004, -0.03759),
         (1.811e-4, 2.198e-4, 1.843e-4, -3.5e-7, 1.292e-5, 2.1e-7), ((0, 0, -0.02), (0, 0, -0.05), 0.030)),
    Link("flange", (0.0356, 0, -0.0405), (1, 0, 0), (-2.0944, 2.0944), 0.553219, (0.02931, -0.00025, 0.00004),
         (3.692e-4, 3.249e-4, 4.097e-4, -4.8e-6, 7.9e-7, 5.5e-7), ((0, 0, 0), (0.03, 0, 0), 0.030)),
)  # fmt: skip

JOINTS = (
    Joint("joint1", 0x01, "DM4340", 80, 5, 0.3, 0.032, 28),
    Joint("joint2", 0x02, "DM4340", 80, 5, 0.3, 0.032, 28),
    Joint("joint3", 0x03, "DM4340", 80, 5, 0.3, 0.032, 28),
    Joint("joint4", 0x04, "DM4310", 40, 1.5, 0.06, 0.0018, 10),
    Joint("joint5", 0x05, "DM4310", 20, 1.0, 0.06, 0.0018, 10),
    Joint("joint6", 0x06, "DM4310", 20, 1.0, 0.06, 0.0018, 10),
)
GRIPPER = Joint("gripper", 0x07, "DM4310", 20, 0.5, 0.0, 0.0, 10)

LOWER = np.array([link.range[0] for link in LINKS])
UPPER = np.array([link.range[1] for link in LINKS])

#: A pose that can be taken from anywhere in reach, above the table, hand level.
HOME = np.array([0.0, 1.047, 1.047, 0.0, 0.0, 0.0])
#: Folded onto itself: where the arm may be switched off.
REST = np.zeros(6)

#: How the names of the fingers' geoms begin: they may come as close to the table as a tool.
FINGER_GEOMS = ("pad_", "strut_")
_FINGERS = (
    ("tip_left", (0.05456, -0.04506, 0.02390), (0, 1, 0), 1),
    ("tip_right", (0.05456, 0.04506, -0.02390), (0, -1, 0), -1),
)
_FINGER_MASS = 0.071004
_FINGER_COM = (0.02247, 0.04263, -0.01434)
_FINGER_INERTIA = (4.82e-5, 5.07e-5, 5.20e-5, -1.14e-5, 1.03e-5, 1.10e-5)


def add_arm(
    spec: mujoco.MjSpec,
    prefix: str = "",
    pos: tuple[float, float, float] = (0, 0, 0),
    *,
    tool: Tool = BARE_HAND,
    wrist_camera: bool = False,
    fingers: bool = True,
) -> None:
    """Add an arm with its foot at `pos` [m] to a model; names get the prefix.

    Joints `joint1` to `joint6`, finger slides `joint7` and `joint8` (tied to each other; welded shut without `fingers`), sites
    `grasp` and `tool` (the tool's tip). `wrist_camera` adds the shape of camera and bracket.
    """
    gray, dark = (0.82, 0.83, 0.85, 1), (0.22, 0.23, 0.25, 1)
    body = spec.worldbody.add_body(name=f"{prefix}base", pos=pos)
    _inertia(body, BASE_MASS, BASE_COM, BASE_INERTIA)
    _geom(body, f"{prefix}base", ((0, 0, 0.033), (0, 0, 0.050), 0.033), dark)
    for k, (link, joint) in enumerate(zip(LINKS, JOINTS, strict=True)):
        body = body.add_body(name=prefix + link.name, pos=link.pos)
        _inertia(body, link.mass, link.com, link.inertia)
        body.add_joint(
            name=prefix + joint.name, type=mujoco.mjtJoint.mjJNT_HINGE, axis=link.axis, range=link.range,
            limited=mujoco.mjtLimited.mjLIMITED_TRUE, armature=joint.armature, frictionloss=joint.friction,
        )  # fmt: skip
        _geom(body, prefix + link.name, link.capsule, gray if k % 2 else dark)
    _box(body, f"{prefix}housing", (0.054, 0, 0), (0.0095, 0.051, 0.0325), dark)
    body.add_site(name=f"{prefix}grasp", pos=(GRASP_SITE, 0, 0), size=[0.003] * 3, group=4)
    body.add_site(name=f"{prefix}tool", pos=tool.tip, size=[0.003] * 3, group=4)
    tool.add_to(body, prefix)
    if wrist_camera:
        _box(body, f"{prefix}wrist_camera", WRIST_CAMERA_POS, (0.0115, 0.021, 0.021), dark)
    for name, pos_f, axis, side in _FINGERS:
        finger = body.add_body(name=prefix + name, pos=pos_f)
        mirror = (1, side, side)
        ixy, ixz, iyz = _FINGER_INERTIA[3:]
        _inertia(finger, _FINGER_MASS, tuple(c * m for c, m in zip(_FINGER_COM, mirror, strict=True)),
                 (*_FINGER_INERTIA[:3], side * ixy, side * ixz, iyz))  # fmt: skip
        if fingers:
            finger.add_joint(
                name=f"{prefix}joint{7 if side > 0 else 8}", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=axis,
                range=(0, FINGER_RANGE), limited=mujoco.mjtLimited.mjLIMITED_TRUE, armature=0.1, frictionloss=0.1,
            )  # fmt: skip
        pad = _box(
            finger, f"{prefix}pad_{name}", (0.0816, side * 0.0468, -side * 0.0239), (0.0082, 0.0017, 0.0072), gray
        )
        pad.friction, pad.priority = (1.0, 5e-3, 5e-4), 1
        pad.condim = 6
        _box(finger, f"{prefix}strut_{name}", (0.045, side * 0.0474, -side * 0.0239), (0.030, 0.0013, 0.006), dark)
    if fingers:
        tie = spec.add_equality(name=f"{prefix}fingers", type=mujoco.mjtEq.mjEQ_JOINT,
                                name1=f"{prefix}joint8", name2=f"{prefix}joint7")  # fmt: skip
        tie.data[:5] = (0, 1, 0, 0, 0)
    chain = [f"{prefix}{n}" for n in ("base", *(link.name for link in LINKS))]
    # Neighbours' neighbours touch by design; so do base and link1, which MuJoCo does not leave out for a fixed base.
    close = [(chain[0], chain[1])] + [(a, b) for i, a in enumerate(chain) for b in chain[i + 2 : i + 3]]
    close += [(f"{prefix}link1", f"{prefix}link4"), *((chain[-1], prefix + f[0]) for f in _FINGERS)]
    close += [(f"{prefix}link5", prefix + f[0]) for f in _FINGERS] + [(f"{prefix}tip_left", f"{prefix}tip_right")]
    for a, b in close:
        spec.add_exclude(bodyname1=a, bodyname2=b)


def _inertia(body: mujoco.MjsBody, mass: float, com: tuple[float, ...], inertia: tuple[float, ...]) -> None:
    body.mass, body.ipos, body.fullinertia = mass, com, inertia
    body.explicitinertial = True


def _geom(body: mujoco.MjsBody, name: str, capsule: tuple, rgba: tuple) -> None:
    start, end, radius = capsule
    body.add_geom(
        name=name, type=mujoco.mjtGeom.mjGEOM_CAPSULE, size=[radius, 0, 0], fromto=(*start, *end), rgba=rgba, mass=0
    )


def _box(body: mujoco.MjsBody, name: str, pos: tuple, half: tuple, rgba: tuple) -> mujoco.MjsGeom:
    return body.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_BOX, pos=pos, size=half, rgba=rgba, mass=0)
