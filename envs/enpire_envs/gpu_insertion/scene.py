"""The MuJoCo side of GPU insertion."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from enpire_envs import end_effector
from enpire_envs.appearance import APPEARANCE, Appearance
from enpire_envs.end_effector import EndEffectorReadings
from enpire_envs.gpu_insertion.levels import CardLevel
from enpire_envs.levels import ActionDelay
from enpire_envs.randomise import station_stream

_XML = Path(__file__).with_name("scene.xml")

HALF_LENGTH, HALF_THICKNESS = 0.042, 0.0008  # of the card's edge connector [m]
GAP = 0.0003  # slot width less connector thickness
END_CLEARANCE = 0.0005  # slot length less connector length
DEPTH = 0.009
CARD = 0.040  # from the connector's lower edge up to the grasp
HALF_SLOT = HALF_THICKNESS + GAP / 2
HALF_SLOT_LENGTH = HALF_LENGTH + END_CLEARANCE / 2
TAB = np.array([0.046, 0.0, 0.012])  # centre of the tab, from the middle of the connector's lower edge
STIFFNESS = 2500.0  # of the end effector's slides [N/m]
FRICTION = 0.2  # nominal
TUG = 10.0  # [N]
DECOY = (0.013, 0.020)  # how far beside the slot a second one lies: smallest and largest [m]
SEEN = ("side", "wrist")  # cameras of the levels with images
_PAINTED = ("slot", "rim", "board", "card", "gold", "latch", "shroud")
_SOFT = 0.0001  # what soft contacts give way under load [m]
_TUG_STEPS = 15  # control periods of 1/30 s


@dataclass(slots=True)
class CardReadings(EndEffectorReadings):
    """Adds to the end effector's readings:

    Attributes:
        ends: (2, 3) the two lower corners of the connector's middle plane, in the slot's frame (origin: slot's mouth; x along the slot,
            z up) [m].
        latched: the latch's nose is out again, above the tab's height: it is back over the tab of a card that is in the slot.
        seated: depth of the shallower end below the slot's mouth [m]; 0 unless both ends are inside the slot.
        mouth: (6,) the end effector's pose at which a card that it holds well would stand straight at the slot's mouth [m, rad].
        goal: (6,) that at which this card does [m, rad].
    """

    ends: np.ndarray
    latched: bool
    seated: float
    mouth: np.ndarray
    goal: np.ndarray


class CardScene:
    """Builds and operates the GPU insertion model.

    Args:
        level: what differs from station to station and from episode to episode.

    `drive` takes the velocity (6,) of the end effector's target [m/s, rad/s].
    """

    def __init__(self, level: CardLevel) -> None:
        self._level = level
        self._delay = ActionDelay(level.station.delay[1] + level.episode.delay[1], 6)

    mutable = (
        "geom_friction", "geom_size", "body_pos", "body_quat", "jnt_stiffness", "actuator_gainprm", "actuator_biasprm", *APPEARANCE,
    )  # fmt: skip

    def build(self) -> mujoco.MjModel:
        """Compile the model, and be station 0; must come before all else."""
        level = self._level
        spec = end_effector.load(_XML)
        end_effector.stiffen(spec, slide=STIFFNESS, hinge=60.0, force_z=90.0, torque=6.0)
        self._add_slot(spec, spec.body("slot"))
        if level.decoy:
            self._add_slot(spec, spec.body("slot").add_body(name="decoy"))
        self._add_card(spec)
        if level.images:
            _add_cameras(spec)
        spec.nuserdata = self._delay.size + 12  # commands under way and two poses, so that they are part of the state
        model = spec.compile()
        self._ends = [model.site(name).id for name in ("end_a", "end_b")]
        self._tab, self._nose, self._tongue = (model.geom(name).id for name in ("tab", "latch", "tongue"))
        self._latch, self._card, self._slot = (model.body(name).id for name in ("latch", "card", "slot"))
        self._board = [self._slot, model.body("springs").id]
        self._decoy = model.body("decoy").id if level.decoy else None
        self._springs = [model.joint(name).id for name in ("rail_left", "rail_right", "latch")]
        self._latch_qpos = model.joint("latch").qposadr[0]
        self._drives = np.stack([model.actuator_gainprm[:6, 0], model.actuator_biasprm[:6, 2]])
        self._spring = model.jnt_stiffness[self._springs].copy()
        self._nose_height = model.body_pos[self._latch, 2].copy()
        if level.images:
            self._look = Appearance(model, _PAINTED, SEEN)
        self.install(station_stream(0, 0))
        return model

    def install(self, rng: np.random.Generator) -> None:
        """Draw what stays the same for all episodes at one station; it holds from the next `place` on."""
        self._station = self._level.station.draw(rng)
        if self._level.images:
            self._look.install(self._level.station.look, rng)
        side, distance = rng.choice([-1.0, 1.0]), rng.uniform(*DECOY)
        self._decoy_pos = np.array([0.0, side * distance, 0.0])

    def _add_slot(self, spec: mujoco.MjSpec, body: mujoco.MjsBody) -> None:
        """Walls, ends and floor; each wall is cut back at the mouth and given a 45 degree lead-in."""
        wide, long = 0.004, HALF_SLOT_LENGTH
        thick = 0.0003
        chamfer, wall = self._level.chamfer, spec.find_default("wall")
        lead = chamfer / math.sqrt(2)
        rim = "rim" if self._level.images else "slot"  # for cameras, the mouth is darker than what is around it
        prefix = "" if body.name == "slot" else f"{body.name}_"
        for axis, inner, reach in ((1, HALF_SLOT, long + wide), (0, long, HALF_SLOT + wide)):
            for sign in (-1, 1):
                name = f"{'xy'[axis]}{'-+'[sign > 0]}"
                across = axis == 1

                def box(
                    label: str, near: float, far: float, top: float, name: str = name, sign: int = sign,
                    across: bool = across, reach: float = reach,
                ) -> None:  # fmt: skip
                    half, middle = (far - near) / 2, sign * (near + far) / 2
                    height = (top + DEPTH + 0.002) / 2
                    size = [reach, half, height] if across else [half, reach, height]
                    pos = [0, middle, top - height] if across else [middle, 0, top - height]
                    body.add_geom(
                        wall,
                        name=f"{prefix}{label}_{name}",
                        size=size,
                        pos=pos,
                        material=rim if label == "rim" else "slot",
                    )

                box("wall", inner, inner + chamfer, -chamfer)
                box("rim", inner + chamfer, inner + wide, 0.0)
                # the lead-in's face runs from (inner, -chamfer) to (inner + chamfer, 0)
                offset = inner + chamfer / 2 + thick / math.sqrt(2)
                height = -chamfer / 2 - thick / math.sqrt(2)
                size = [reach, lead, thick] if across else [lead, reach, thick]
                pos = [0, sign * offset, height] if across else [sign * offset, 0, height]
                turn = sign * math.pi / 8 * (1 if across else -1)
                quat = [math.cos(turn), math.sin(turn), 0, 0] if across else [math.cos(turn), 0, math.sin(turn), 0]
                body.add_geom(wall, name=f"{prefix}lead_{name}", size=size, pos=pos, quat=quat)
        body.add_geom(wall, name=f"{prefix}floor", material=rim, size=[long + wide, HALF_SLOT + wide, 0.001],
                                pos=[0, 0, -DEPTH - 0.001])  # fmt: skip

    def _add_card(self, spec: mujoco.MjSpec) -> None:
        """The card in a body of its own, which a station and an episode may hold askew; as thick as it ever is, which bounds contacts."""
        card, tongue = spec.body("tool").add_body(name="card"), spec.find_default("tongue")
        half, thickest = 0.007, self._level.station.thicker[1] + self._level.episode.thicker[1]
        box = mujoco.mjtGeom.mjGEOM_BOX
        card.add_geom(
            tongue, name="tongue", size=[HALF_LENGTH, HALF_THICKNESS + thickest / 2, half], pos=[0, 0, half - CARD]
        )
        side = 0.002 / math.sqrt(2)
        turn = math.pi / 8
        card.add_geom(tongue, name="tab", size=[side, 0.003, side], pos=(TAB - (0, 0, CARD)).tolist(),
                      quat=[math.cos(turn), 0, math.sin(turn), 0])  # fmt: skip
        for name, sign in (("end_a", -1), ("end_b", 1)):
            card.add_site(name=name, pos=[sign * HALF_LENGTH, 0, -CARD], size=[0.0001] * 3, rgba=[0, 0, 0, 0])
        look = [("pcb", [0.045, 0.0008, 0.013], [0, 0, 0.027 - CARD], "card"),
                ("shroud", [0.043, 0.006, 0.012], [0, 0.006, 0.034 - CARD], "shroud"),
                ("bracket", [0.0012, 0.003, 0.014], [TAB[0] - 0.002, 0, 0.026 - CARD], "latch")]  # fmt: skip
        for name, size, pos, material in look:
            card.add_geom(name=name, type=box, size=size, pos=pos, material=material, mass=0)

    def place(
        self, model: mujoco.MjModel, data: mujoco.MjData, start: dict[str, Any], rng: np.random.Generator
    ) -> None:
        """The card's edge at `edge` [m] from the slot's mouth, the gripper turned by `turn` [rad]; draws what the level leaves open."""
        drawn = self._station.then(self._level.episode.draw(rng))
        friction, stiffness, *springs = drawn.factors
        thicker, late = drawn.added[:2]
        grip, board = drawn.added[2:8], drawn.added[8:]
        model.geom_friction[model.geom_contype != 0, 0] = FRICTION * friction
        gain, damping = self._drives
        model.actuator_gainprm[:6, 0], model.actuator_biasprm[:6, 1] = stiffness * gain, -stiffness * gain
        model.actuator_biasprm[:6, 2] = math.sqrt(stiffness) * damping  # as far from critical as before
        model.jnt_stiffness[self._springs] = self._spring * (springs[0], *springs)
        model.geom_size[self._tongue, 1] = HALF_THICKNESS + thicker / 2
        model.body_pos[self._latch, 2] = self._nose_height - late
        if self._decoy is not None:
            model.body_pos[self._decoy] = self._decoy_pos
        # The card is off in the gripper by so much at the middle of its edge, and turned about that.
        held, straight = end_effector.rotation(grip[3:]), end_effector.rotation(board[3:])
        edge = np.array([0.0, 0.0, -CARD]) + grip[:3]
        model.body_pos[self._card] = edge + held @ (0.0, 0.0, CARD)
        mujoco.mju_mat2Quat(model.body_quat[self._card], held.ravel())
        for body in self._board:
            model.body_pos[body] = board[:3]
            mujoco.mju_mat2Quat(model.body_quat[body], straight.ravel())
        if self._level.images:
            self._look.draw(model, self._level.episode.look, rng)
        end_effector.place(data, end_effector.pose_over(board[:3] + straight @ start["edge"], start["turn"], -edge))
        self._delay.begin(data.userdata[: self._delay.size], drawn.delay)
        for k, (wanted, reach) in enumerate(((straight, (0.0, 0.0, CARD)), (straight @ held.T, -edge))):
            pose = end_effector.pose_over(board[:3], end_effector.angles(wanted), reach)
            data.userdata[self._delay.size + 6 * k :][:6] = pose

    def drive(self, model: mujoco.MjModel, data: mujoco.MjData, command: np.ndarray) -> None:
        """Let the end effector's target move with the velocity `command` (6,) [m/s, rad/s]."""
        data.ctrl[:] = self._delay.exchange(data.userdata[: self._delay.size], command)

    def underway(self, data: mujoco.MjData) -> np.ndarray:
        """The sum (6,) of the velocities that have been commanded and not yet driven [m/s, rad/s]."""
        return self._delay.underway(data.userdata[: self._delay.size])

    def read(self, model: mujoco.MjModel, data: mujoco.MjData) -> CardReadings:
        """The readings at the end of the last physics step."""
        slot = data.xmat[self._slot].reshape(3, 3)
        over = float((data.geom_xpos[self._nose] - data.geom_xpos[self._tab]) @ slot[:, 2])
        latched = 0.0012 < over < 0.004 and bool(data.qpos[self._latch_qpos] < 0.0005)
        ends = (data.site_xpos[self._ends] - data.xpos[self._slot]) @ slot
        mouth, goal = data.userdata[self._delay.size :].reshape(2, 6).copy()
        return end_effector.read(
            CardReadings, data, ends=ends, latched=latched, seated=_seated(*ends.tolist()), mouth=mouth, goal=goal
        )

    @property
    def probes(self) -> Mapping[str, Callable[[mujoco.MjModel, mujoco.MjData], None]]:
        """ "tug": stop pressing, pull with 10 N, look."""
        return {"tug": self._tug}

    def _tug(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Stop pressing, then pull upwards with 10 N for half a second, however stiff the end effector is in this episode."""
        end_effector.hold(model, data)
        mujoco.mj_step(model, data, 30 * 3)
        data.act[2] = data.qpos[2] + TUG / model.actuator_gainprm[2, 0]
        mujoco.mj_step(model, data, 30 * _TUG_STEPS)


def _add_cameras(spec: mujoco.MjSpec) -> None:
    """The paper's two views: one from the side, of the card's far end, and one at the wrist, of the latch's end."""
    # boxes and springs of few faces, which take most of a picture's time
    quality = spec.visual.quality
    quality.numquads, quality.numslices, quality.numstacks = 1, 12, 6
    _aim(spec.camera("side"), at=(-0.032, -0.004, 0.002), eye=(-0.125, -0.03, 0.07), fovy=28)
    wrist = spec.body("tool").add_camera(name="wrist")
    _aim(wrist, at=(0.036, 0.0, 0.004 - CARD), eye=(0.06, -0.085, 0.055 - CARD), fovy=28)


def _aim(camera: mujoco.MjsCamera, at: Sequence[float], eye: Sequence[float], fovy: float) -> None:
    """Let a camera at `eye` look at a point, upright [m, degrees]."""
    back = np.subtract(eye, at) / np.linalg.norm(np.subtract(eye, at))
    right = np.cross((0.0, 0.0, 1.0), back)
    right /= np.linalg.norm(right)
    mujoco.mju_mat2Quat(quat := np.zeros(4), np.stack([right, np.cross(back, right), back], axis=1).ravel())
    camera.pos, camera.quat, camera.fovy = eye, quat, fovy
    camera.alt.type = mujoco.mjtOrientation.mjORIENTATION_QUAT  # not as the scene file has it


def _seated(a: list[float], b: list[float]) -> float:
    x, y = max(abs(a[0]), abs(b[0])), max(abs(a[1]), abs(b[1]))
    inside = x < HALF_SLOT_LENGTH + _SOFT and y < HALF_SLOT + _SOFT
    return max(0.0, -max(a[2], b[2])) if inside else 0.0
