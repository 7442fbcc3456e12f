"""Head, strap and feeder in the twin's model: the simulated task's ratchet, in a hand that grips."""

from __future__ import annotations

import math
from typing import Any

import mujoco
import numpy as np
from enpire_envs.end_effector import weld_as_it_lies
from enpire_envs.tie_zip_tie.levels import LEVELS
from enpire_envs.tie_zip_tie.scene import GRASP_REACH, LINK, LINKS, SLOT, THICKNESS, TieScene, past_head
from scipy.spatial.transform import Rotation

from enpire_real.kinematics import Pose
from enpire_real.tie_zip_tie.equipment import (
    BLUE,
    FEED,
    FEED_CLIP,
    GREEN,
    HAND,
    HEAD_HALF,
    ORANGE,
    PAD_HALF,
    PLATE,
    PLATE_HALF,
    PLATE_HEIGHT,
    RED,
    RISE,
    SLOT_FRAME,
    STRAP,
)
from enpire_real.tie_zip_tie.section import TieSection
from enpire_real.twin.grasp import PAINT, add_markers

_INTRO = LEVELS["intro"]
_SHIFT, _TURN = 0.003, math.radians(1.5)  # how far a station's fixture is off its nominal place, uniform +- [m, rad]
_FED, _FED_TURN = 0.001, math.radians(1.0)  # how far a strap in the feeder is off its place, uniform +- [m, rad]
_BITES, _LETS_GO = (
    THICKNESS + 0.0003,
    THICKNESS + 0.001,
)  # gap of the fingers at which they hold a strap, and no longer do [m]
_WORN = 0.2  # friction of pads below which they hold no strap
_BOX = mujoco.mjtGeom.mjGEOM_BOX


class TieProps(TieScene):
    """The fixture with the head, a strap, and the feeder that it comes from.

    A placement is "feeder", or ("through", length) of a strap that has been pulled so far through the head [m].

    Between fingers that close on it a strap is held by a weld, as in the simulated task: a friction grasp of one gram would creep. It stops
    the fingers at its thickness. So does the feeder's clip hold it, until a hand does.

    Args:
        section: where the fixture stands, and which arm works.
    """

    def __init__(self, section: TieSection) -> None:
        super().__init__(_INTRO)
        self._nominal, self._arm = section.fixture, section.arm
        self._slot = self._nominal @ SLOT_FRAME  # where the slot is

    def build(self, spec: mujoco.MjSpec, friction: float) -> None:  # type: ignore[override]
        """Add fixture, head and strap to the station's model."""
        _add_defaults(spec, friction)
        for side, k in (("left", 7), ("right", 8)):  # printed fingertips; the racks that drive them are stiff
            pad, slide = spec.geom(f"{self._arm}_pad_tip_{side}"), spec.joint(f"{self._arm}_joint{k}")
            pad.size, pad.rgba = PAD_HALF, (*GREEN, 1)
            slide.solref_limit[:2], slide.solimp_limit[:3] = (0.004, 1.0), (0.99, 0.999, 0.0005)
        tie = spec.equality(f"{self._arm}_fingers")
        tie.solref[:2], tie.solimp[:3] = (0.004, 1.0), (0.99, 0.999, 0.0005)
        fixture = spec.worldbody.add_body(name="fixture", pos=self._nominal.position, quat=self._nominal.quat())
        fixture.add_geom(name="plate", type=_BOX, size=(PLATE_HALF, 0.03, PLATE_HEIGHT / 2), pos=(0, 0, -PLATE_HEIGHT / 2),
                         rgba=(0.62, 0.66, 0.70, 1))  # fmt: skip
        height = RISE - HEAD_HALF[1]
        fixture.add_geom(name="post", type=_BOX, size=(SLOT / 2, 0.003, height / 2), pos=(SLOT / 2, 0, height / 2),
                         rgba=(0.25, 0.26, 0.28, 1))  # fmt: skip
        add_markers(spec, fixture, PLATE, Pose.identity())
        clip = SLOT_FRAME.apply(FEED - [STRAP - (FEED_CLIP + 0.5) * LINK, 0, 0])
        fixture.add_geom(
            name="feeder", type=_BOX, size=(0.008, 0.006, 0.006), pos=clip, rgba=(0.3, 0.3, 0.3, 1), **PAINT
        )
        fixture.add_body(name="head", pos=SLOT_FRAME.position, quat=SLOT_FRAME.quat())
        spec.body(f"{self._arm}_flange").add_body(name="tool", pos=HAND.tip)
        self._add_head(spec)
        self._add_strap(spec)
        spec.add_equality(spec.find_default("grasp"), name="clip", type=mujoco.mjtEq.mjEQ_WELD, name1="fixture",
                          name2=f"link{FEED_CLIP}", objtype=mujoco.mjtObj.mjOBJ_BODY, active=False)  # fmt: skip
        for k in range(LINKS):  # what is between the fingers is held by them, and they by it
            for finger in ("tip_left", "tip_right", "flange"):
                spec.add_exclude(bodyname1=f"{self._arm}_{finger}", bodyname2=f"link{k}")

    def place(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator, placement: Any) -> None:  # type: ignore[override]
        """Shift the fixture as this station has it; a strap in the feeder, or where `placement` says."""
        shift, turn = rng.uniform(-_SHIFT, _SHIFT, 2), rng.uniform(-_TURN, _TURN)
        fixture = self._nominal @ Pose(np.array([*shift, 0.0]), Rotation.from_euler("z", turn).as_matrix())
        body = model.body("fixture")
        body.pos, body.quat = fixture.position, fixture.quat()
        self._slot = fixture @ SLOT_FRAME
        self._head, self._axes = np.array([*self._slot.position, 0.0, 0.0, 0.0]), self._slot.rotation
        self._find(model)
        if placement in (None, "feeder"):
            self.feed(model, data, rng)
        else:
            self._lie(model, data, np.array([SLOT + placement[1], 0.0, 0.0]), 0.0)

    def _find(self, model: mujoco.MjModel) -> None:
        self._first_site = model.site("link0").id
        self._links = np.array([model.body(f"link{k}").id for k in range(LINKS)])
        self._tool, self._head_body = model.body("tool").id, model.body("head").id
        self._strap_qpos = model.joint("strap").qposadr[0]
        self._strap_dof = model.joint("strap").dofadr[0]
        self._grasps = [model.equality(f"grasp{k}").id for k in range(LINKS)]
        self._clip = model.equality("clip").id
        self._fingers = [model.joint(f"{self._arm}_joint{k}") for k in (7, 8)]
        self._pad = model.geom(f"{self._arm}_pad_tip_left").id

    def feed(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """A strap in the feeder's clip."""
        self._lie(model, data, FEED + rng.uniform(-_FED, _FED, 3) * (1, 0.3, 0.3), rng.uniform(-_FED_TURN, _FED_TURN))
        weld_as_it_lies(model, data, self._clip)

    def lies_about(self, data: mujoco.MjData) -> bool:
        """Whether the strap is neither in a hand, nor in the feeder, nor in the head: somebody may sweep it up."""
        nodes = (self._nodes(data) - self._head[:3]) @ self._axes
        crossing = np.diff(np.sign(nodes[:, 0])) != 0
        near = np.hypot(nodes[:-1, 1], nodes[:-1, 2]) < 0.01
        return not (data.eq_active[[*self._grasps, self._clip]].any() or (crossing & near).any())

    def _lie(self, model: mujoco.MjModel, data: mujoco.MjData, tip: np.ndarray, turn: float) -> None:
        """The strap straight and at rest, its tip at (3,) in the slot's frame."""
        pose = (
            self._slot
            @ Pose(tip, Rotation.from_euler("y", turn).as_matrix())
            @ Pose(np.array([-STRAP, 0, 0]), np.eye(3))
        )
        at, dof = self._strap_qpos, self._strap_dof
        data.qpos[at : at + 7] = *pose.position, *pose.quat()
        data.qpos[at + 7 : at + 7 + 2 * (LINKS - 1)] = 0.0
        data.qvel[dof : dof + 6 + 2 * (LINKS - 1)] = 0.0
        data.eq_active[[*self._grasps, self._clip]] = 0
        model.tendon_range[:, 1] = 3.0  # all free, as in the scene file
        mujoco.mj_forward(model, data)  # the ratchet goes by how long its tendons are

    def tick(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Before physics goes on: the ratchet catches, fingers take hold of a strap between them or let it go."""
        self._engage_ratchet(model, data)
        gap = sum(float(data.qpos[finger.qposadr[0]]) for finger in self._fingers)
        held = bool(data.eq_active[self._grasps].any())
        worn = model.geom_friction[self._pad, 0] < _WORN
        if held and (gap > _LETS_GO or worn):
            data.eq_active[self._grasps] = 0
        nearest = self._between(data)
        if not held and nearest is not None and gap < _BITES and not worn:
            weld_as_it_lies(model, data, self._grasps[nearest])
            data.eq_active[self._clip] = 0
        for finger in self._fingers:
            model.jnt_range[finger.id, 0] = 0.0 if nearest is None else THICKNESS / 2

    def _between(self, data: mujoco.MjData) -> int | None:
        """The link of the strap that lies between the fingers, if one does."""
        centre = data.xpos[self._tool]
        along = np.clip(np.einsum("ij,ij->i", data.xmat[self._links, ::3], centre - data.xpos[self._links]), 0, LINK)
        nearest = data.xpos[self._links] + along[:, None] * data.xmat[self._links, ::3]
        distance = np.linalg.norm(nearest - centre, axis=1)
        best = int(np.argmin(distance))
        return best if distance[best] < GRASP_REACH else None

    def truth(self, data: mujoco.MjData) -> dict[str, Any]:
        """`slot`: its pose in the station's frame; `strap` (LINKS + 1, 3) from the far end to the tip, in the slot's [m]; `past`: how much of
        it is beyond the head [m]; `held`: whether fingers hold it."""
        nodes = (self._nodes(data) - self._head[:3]) @ self._axes
        held = bool(data.eq_active[self._grasps].any())
        return {"slot": self._slot, "strap": nodes, "past": past_head(nodes), "held": held}


def _add_defaults(spec: mujoco.MjSpec, friction: float) -> None:
    """What the simulated task's scene file says of head, strap, grasp and ratchet."""
    sliding = (_INTRO.friction[0] * friction, 0.0, 0.0)
    for name, bits in (("head", (1, 2)), ("strap", (2, 1))):
        part = spec.add_default(name, spec.default)
        part.geom.type, (part.geom.contype, part.geom.conaffinity) = _BOX, bits
        part.geom.condim, part.geom.friction = 3, sliding
        part.geom.solref[:2], part.geom.solimp[:3] = (0.004, 1.0), (0.95, 0.99, 0.0002)
        part.geom.material = name
    strap = spec.find_default("strap")
    strap.joint.type, strap.joint.armature = mujoco.mjtJoint.mjJNT_HINGE, 1e-6
    for name, axis, stiffness, damping in (("bend", (0, 1, 0), 0.02, 4e-4), ("sway", (0, 0, 1), 0.12, 1e-3)):
        joint = spec.add_default(name, strap).joint
        joint.axis, joint.stiffness[0], joint.damping[0] = axis, stiffness, damping
    grasp = spec.add_default("grasp", spec.default).equality
    grasp.solref[:2], grasp.solimp[:3] = (0.004, 1.0), (0.99, 0.999, 0.0005)
    ratchet = spec.add_default("ratchet", spec.default).tendon
    ratchet.limited, ratchet.range = mujoco.mjtLimited.mjLIMITED_TRUE, (0, 3)
    ratchet.solref_limit[:2], ratchet.solimp_limit[:3] = (0.004, 1.0), (0.99, 0.999, 0.0005)
    ratchet.solref_friction[:2], ratchet.solimp_friction[:3] = (0.004, 1.0), (0.999, 0.9999, 0.001)
    for name, rgb in (("head", BLUE), ("strap", ORANGE), ("tip", RED)):
        spec.add_material(name=name, rgba=(*rgb, 1))
