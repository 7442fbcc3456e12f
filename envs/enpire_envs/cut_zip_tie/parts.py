"""What a cutting scene is built of: a tie with its tail, other ties, a cutter, a stand, and what lies about."""

from __future__ import annotations

import math
from collections.abc import Sequence

import mujoco
import numpy as np

WIDTH, THICKNESS = 0.0036, 0.0014  # of the strap [m]
PIECE_MASS = 0.002  # [kg]; a real one weighs a tenth of that, but welds of lighter bodies are too soft
HEAD = 0.005  # length of the head [m]
WALL = 0.002  # of the head [m]
RING, CABLES = 0.013, 0.006  # radii of the loop and of the bundle in it [m]
BLADE, KERF = 0.018, 0.001  # length and thickness of the blades [m]
PIVOT = 0.030  # from the grip's centre to the blades' hinge, towards -y [m]
OPEN = 0.55  # the jaw's opened angle [rad]
STAND = (0.02, 0.018, 0.006)  # half sizes of the foam that a cutter lies on; it gives way to everything [m]
BENCH = -0.045  # height [m]
LYING = BENCH + 2 * STAND[2] + 0.004  # height of a lying cutter's centre [m]
AXIS = np.array([-HEAD - RING, 0.0, 0.0])  # a point of the bundle's axis, which runs along y [m]
DECOY_TAIL = 0.035  # [m]
SCRAP = 0.012  # half the length of a cut-off tail on the bench [m]
_BOX, _CYLINDER = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER
_SEGMENTS, _FEWER = 24, 12  # of a loop, and of one that is there to be seen: every geom costs a camera time


def add_tie(spec: mujoco.MjSpec, body: mujoco.MjsBody) -> None:
    """Head, loop and bundle; the tail leaves the head at the body's origin, along x."""
    body.add_geom(spec.find_default("fixed"), name="head", type=_BOX, size=_half_head(), pos=[-HEAD / 2, 0, 0], material="head")  # fmt: skip
    body.add_geom(spec.find_default("fixed"), name="cables", type=_CYLINDER, size=[CABLES, 0.04, 0], pos=AXIS, material="cable",
                  quat=[math.sqrt(0.5), math.sqrt(0.5), 0, 0])  # fmt: skip
    _add_loop(spec, body, "loop", "strap", _SEGMENTS)


def add_decoy(spec: mujoco.MjSpec, tie: mujoco.MjsBody, k: int) -> None:
    """Another tie about the same bundle, as a body at its axis: all of it is to be left alone."""
    body = tie.add_body(name=f"decoy{k}", pos=AXIS)
    at = [RING, 0, 0]
    body.add_geom(spec.find_default("loop"), name=f"decoy{k}_head", type=_BOX, size=_half_head(), pos=[at[0] + HEAD / 2, 0, 0], material="head")  # fmt: skip
    body.add_geom(spec.find_default("loop"), name=f"decoy{k}_tail", size=[DECOY_TAIL / 2, WIDTH / 2, THICKNESS / 2],
                  pos=[at[0] + HEAD + DECOY_TAIL / 2, 0, 0], material="decoy")  # fmt: skip
    _add_loop(spec, body, f"decoy{k}_loop", "decoy", _FEWER, -AXIS)


def _half_head() -> np.ndarray:
    return np.array([HEAD / 2, WIDTH / 2 + WALL, THICKNESS / 2 + WALL])


def _add_loop(spec: mujoco.MjSpec, body: mujoco.MjsBody, name: str, material: str, count: int, shift: np.ndarray | float = 0.0) -> None:  # fmt: skip
    loop = spec.find_default("loop")
    for k in range(1, count):
        angle = 2 * math.pi * k / count  # from the head, downwards
        at = AXIS + shift + RING * np.array([math.cos(angle), 0, -math.sin(angle)])
        body.add_geom(loop, name=f"{name}{k}", pos=at, quat=[math.cos(angle / 2), 0, math.sin(angle / 2), 0],
                      size=[THICKNESS / 2, WIDTH / 2, math.pi * RING / count], material=material)  # fmt: skip


def add_tail(spec: mujoco.MjSpec, body: mujoco.MjsBody, pieces: Sequence[float]) -> None:
    """Rigid pieces [m] from the head of `body` to the tip, joined by welds; what a cut leaves of one is an offcut of the next."""
    strap, reach = spec.find_default("strap"), 0.0
    for k, length in enumerate(pieces):
        if k == 0:
            piece = body.add_body(name=f"piece{k}", gravcomp=0.95)
            for name in ("through", "sway", "bend"):
                piece.add_joint(spec.find_default(name), name=name)
        else:
            piece = spec.worldbody.add_body(name=f"piece{k}", pos=[reach, 0, 0], gravcomp=0.95)
            piece.add_freejoint(name=f"piece{k}")
            # on this side of the cut: nothing until then
            piece.add_geom(strap, name=f"offcut{k}", size=[pieces[k - 1] / 2, WIDTH / 2, THICKNESS / 2],
                           pos=[-pieces[k - 1] / 2, 0, 0], mass=0)  # fmt: skip
            spec.add_equality(strap, name=f"join{k}", type=mujoco.mjtEq.mjEQ_WELD, name1=f"piece{k - 1}",
                              name2=f"piece{k}", objtype=mujoco.mjtObj.mjOBJ_BODY)  # fmt: skip
        piece.add_geom(strap, name=f"main{k}", size=[length / 2, WIDTH / 2, THICKNESS / 2], pos=[length / 2, 0, 0],
                       mass=PIECE_MASS, material="tip" if k == len(pieces) - 1 else "strap")  # fmt: skip
        reach += length
    spec.add_exclude(bodyname1=body.name, bodyname2="piece0")  # it comes out of the head


def add_fingers(spec: mujoco.MjSpec) -> None:
    """Two, on either side of the tool's x axis."""
    for sign in (-1, 1):
        spec.body("tool").add_geom(type=_BOX, size=[0.004, 0.006, 0.007], pos=[sign * 0.0105, 0.006, 0.004],
                                   material="finger", mass=0)  # fmt: skip


def add_cutter(spec: mujoco.MjSpec, weight: bool) -> None:
    """In the tool, as body "cutter": a fixed lower blade, and a hinged upper one with its drive. `weight`: whether fingers feel it."""
    cutter, floats = spec.find_default("cutter"), 0 if weight else 1
    body = spec.body("tool").add_body(name="cutter", gravcomp=floats)
    upper = _add_halves(spec, body, "", floats)
    upper.add_joint(cutter, name="jaw")
    spec.add_actuator(cutter, name="jaw", target="jaw", trntype=mujoco.mjtTrn.mjTRN_JOINT)


def add_lying_cutter(spec: mujoco.MjSpec) -> None:
    """On its stand, as body "lying", with nothing that anything could touch; fingers that close on it hold the body "cutter" from then on."""
    body = spec.worldbody.add_body(name="lying")
    body.add_geom(type=_BOX, size=STAND, pos=[0, -0.012, -0.004 - STAND[2]], material="stand")
    upper = _add_halves(spec, body.add_body(name="lying_cutter"), "lying_", 0)
    upper.quat = [math.cos(OPEN / 2), -math.sin(OPEN / 2), 0, 0]
    for geom in (*body.geoms, *spec.body("lying_cutter").geoms, *upper.geoms):
        geom.contype = geom.conaffinity = 0


def _add_halves(spec: mujoco.MjSpec, body: mujoco.MjsBody, prefix: str, floats: int) -> mujoco.MjsBody:
    """Housing and lower blade on the body, the upper blade with its lever on a body of its own, which is returned."""
    cutter = spec.find_default("cutter")
    body.add_geom(cutter, name=f"{prefix}housing", size=[0.006, 0.016, 0.004], pos=[0, -0.012, 0], mass=0.06, material="grip")  # fmt: skip
    body.add_geom(cutter, name=f"{prefix}lower", size=[KERF / 2, BLADE / 2, 0.001], pos=[0, -PIVOT - BLADE / 2, -0.001], mass=0.004)  # fmt: skip
    upper = body.add_body(name=f"{prefix}upper", pos=[0, -PIVOT, 0], gravcomp=floats)
    upper.add_geom(cutter, name=f"{prefix}upper", size=[KERF / 2, BLADE / 2, 0.001], pos=[0, -BLADE / 2, 0.001], mass=0.004)  # fmt: skip
    upper.add_geom(type=_BOX, name=f"{prefix}lever", size=[0.003, 0.016, 0.0015], pos=[0, 0.02, -0.004], mass=0.004, material="grip")  # fmt: skip
    return upper


def add_scrap(spec: mujoco.MjSpec, k: int) -> None:
    """A cut-off tail on the bench, to be seen and not touched."""
    spec.worldbody.add_geom(type=_BOX, name=f"scrap{k}", size=[SCRAP, WIDTH / 2, THICKNESS / 2], pos=[0.1, 0.1, BENCH + THICKNESS],
                            material="strap", quat=[0.9, 0, 0, math.sqrt(1 - 0.81)])  # fmt: skip


def add_wrist_camera(spec: mujoco.MjSpec, place: Sequence[float], look: Sequence[float], fovy: float) -> None:
    """Camera "wrist" on the end effector at `place` [m], towards the point `look` [m], both in the tool's frame."""
    back = np.subtract(place, look) / np.linalg.norm(np.subtract(place, look))
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.stack([right, np.cross(back, right), back], axis=1).ravel())
    spec.body("ee").add_camera(name="wrist", pos=place, quat=quat, fovy=fovy)
