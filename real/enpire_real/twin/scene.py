"""Builds the twin's MuJoCo model: arms, table, cameras, calibration board and a task's props, with a station's own deviations."""

from __future__ import annotations

import math

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from enpire_real.perception.board import BOARD, BOARD_ON_FLANGE, BOARD_ON_FLANGE_QUAT, BOARD_ON_TABLE, board_image
from enpire_real.station_file import Camera, StationFile, YamArm
from enpire_real.tasks import find_tool
from enpire_real.twin.props import TwinProps
from enpire_real.twin.station import SIDES, TIMESTEP, Variation
from enpire_real.yam import FINGER_RANGE, GRIPPER, GRIPPER_TRAVEL, JOINTS, add_arm


def build(file: StationFile, props: TwinProps, variation: Variation, rng: np.random.Generator) -> mujoco.MjModel:
    """The compiled model. Units: metres, kilograms, seconds; station frame, table top at z = 0."""
    spec = mujoco.MjSpec()
    spec.modelname = "yam station twin"
    spec.compiler.degree = False
    spec.option.timestep = TIMESTEP
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.iterations = 30
    light = 1 + variation.light * rng.uniform(-1, 1)
    spec.visual.headlight.ambient = [0.34 * light] * 3
    spec.visual.headlight.diffuse = [0.22 * light] * 3
    spec.visual.headlight.specular = [0, 0, 0]
    spec.visual.quality.numslices, spec.visual.quality.numstacks, spec.visual.quality.numquads = 14, 8, 1
    spec.visual.quality.offsamples = 0  # a third of the time on a CPU; noise hides the steps
    spec.visual.map.znear, spec.visual.map.zfar = 0.01, 20
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1280, 960
    world = spec.worldbody
    world.add_light(pos=(0.3, -0.4, 1.6), dir=(0.05, 0.2, -0.97), type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
                    castshadow=False, diffuse=[0.5 * light] * 3, specular=[0.1] * 3)  # fmt: skip
    friction = 1 + variation.friction * rng.uniform(-1, 1)
    table = world.add_geom(name="table", type=mujoco.mjtGeom.mjGEOM_BOX, pos=(0.4, 0, -0.02), size=(0.6, 0.7, 0.02),
                           rgba=(0.86, 0.85, 0.82, 1))  # fmt: skip
    table.friction = (0.4 * friction, 0.005, 0.0001)
    world.add_geom(
        name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, pos=(0, 0, -0.75), size=(3, 3, 0.1), rgba=(0.4, 0.4, 0.42, 1)
    )
    for side in SIDES:
        arm = file.arms[side]
        tool = find_tool(arm.tool if isinstance(arm, YamArm) else "none")
        add_arm(spec, f"{side}_", tuple(arm.base_m), tool=tool, wrist_camera=True)  # type: ignore[arg-type]
        for joint in (*JOINTS, GRIPPER):
            name = "joint7" if joint is GRIPPER else joint.name
            drive = spec.add_actuator(
                name=f"{side}_{joint.name}", trntype=mujoco.mjtTrn.mjTRN_JOINT, target=f"{side}_{name}"
            )
            drive.biastype = mujoco.mjtBias.mjBIAS_AFFINE  # force = ctrl - kp q - kd dq: see Twin._step
            most = joint.torque * (GRIPPER_TRAVEL / FINGER_RANGE if joint is GRIPPER else 1.0)
            drive.forcelimited, drive.forcerange = mujoco.mjtLimited.mjLIMITED_TRUE, (-most, most)
            j = spec.joint(f"{side}_{name}")
            j.frictionloss = float(np.ravel(j.frictionloss)[0]) * (1 + variation.friction * rng.uniform(-1, 1))
    for name, camera in file.cameras.items():
        _add_camera(spec, name, camera, variation, rng)
    assert file.twin is not None
    props.build(spec, friction)
    _add_hand(spec)
    if file.twin.board is not None:
        _add_board(spec, file.twin.board)
    return spec.compile()


def _add_camera(spec: mujoco.MjSpec, name: str, camera: Camera, variation: Variation, rng: np.random.Generator) -> None:
    """A camera where the file says, misaligned a little."""
    body = spec.worldbody if camera.mount == "station" else spec.body(f"{camera.mount}_flange")
    drawn = Rotation.from_quat(camera.quat_wxyz, scalar_first=True)
    about_view = Rotation.from_euler("x", math.pi)  # OpenCV's optical frame looks along +z, MuJoCo's camera along -z
    pos = np.asarray(camera.position_m) + variation.camera_pos * rng.normal(size=3)
    knock = Rotation.from_quat([1.0, *(0.5 * variation.camera_turn * rng.normal(size=3))], scalar_first=True)
    quat = (drawn * about_view * knock).as_quat(scalar_first=True)
    fovy = math.degrees(2 * math.atan(camera.height_px / 2 / camera.intrinsics.fy_px))
    body.add_camera(name=name, pos=pos, quat=quat, fovy=fovy)


def _add_hand(spec: mujoco.MjSpec) -> None:
    """An operator's hand, parked under the floor until a fault brings it into view."""
    hand = spec.worldbody.add_body(name="hand", pos=(0, 0, -1.5), mocap=True)
    look = {"contype": 0, "conaffinity": 0, "rgba": (0.80, 0.55, 0.45, 1)}
    hand.add_geom(name="hand_palm", type=mujoco.mjtGeom.mjGEOM_ELLIPSOID, size=(0.05, 0.045, 0.02), **look)
    hand.add_geom(
        name="hand_arm", type=mujoco.mjtGeom.mjGEOM_CAPSULE, size=[0.03, 0, 0], fromto=(0.03, 0, 0, 0.4, 0, 0.1), **look
    )


def _add_board(spec: mujoco.MjSpec, where: str) -> None:
    """The printed ChArUco board: on the table between the arms, or in a hand, facing up and back."""
    size = BOARD.side_m
    add_print(spec, "board", board_image(800))
    if where == "table":
        body = spec.worldbody.add_body(name="board", pos=BOARD_ON_TABLE)
    elif where in SIDES:
        body = spec.body(f"{where}_flange").add_body(name="board", pos=BOARD_ON_FLANGE, quat=BOARD_ON_FLANGE_QUAT)
    else:
        raise ValueError(f"the board can be on the table, left or right; not {where!r}")
    body.add_geom(name="board_back", type=mujoco.mjtGeom.mjGEOM_BOX, size=(size / 2 + 0.01, size / 2 + 0.01, 0.002), pos=(0, 0, -0.0022),
                  rgba=(1, 1, 1, 1), mass=0.05, contype=0, conaffinity=0)  # fmt: skip
    # A box maps a 2-D texture onto each face; this one is a sheet.
    body.add_geom(name="board_face", type=mujoco.mjtGeom.mjGEOM_BOX, size=(size / 2, size / 2, 0.0002), material="board",
                  mass=0, contype=0, conaffinity=0)  # fmt: skip


def add_print(spec: mujoco.MjSpec, name: str, image: np.ndarray) -> None:
    """Add a material, named `name`, that shows a grey picture (height, width) uint8 upright on a box's upper face (x right, y up)."""
    height, width = image.shape
    texture = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, width=width, height=height, nchannel=3)
    texture.data = np.repeat(image[:, :, None], 3, axis=2).tobytes()
    spec.add_material(name=name).textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name


def yaw_quat(angle: float) -> np.ndarray:
    """(w, x, y, z) of a turn about z [rad]."""
    return Rotation.from_euler("z", angle).as_quat(scalar_first=True)
