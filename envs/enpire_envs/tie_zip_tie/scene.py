"""The MuJoCo side of tying a zip tie: head, strap, grasp and ratchet."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from enpire_envs import end_effector
from enpire_envs.appearance import APPEARANCE, Appearance, AppearanceSpec
from enpire_envs.end_effector import EndEffectorReadings
from enpire_envs.levels import ActionDelay
from enpire_envs.tie_zip_tie.levels import TieLevel

LINKS, LINK = 16, 0.010  # number and length of the strap's links [m]
WIDTH, THICKNESS = 0.0036, 0.0014  # of the strap [m]
SLOT_CLEARANCE = 0.0008  # slot less strap, both ways: the widest of all levels [m]
SLOT = 0.005  # length of the slot [m]
HALF_Y, HALF_Z = (WIDTH + SLOT_CLEARANCE) / 2, (THICKNESS + SLOT_CLEARANCE) / 2
TOOTH = 0.001  # of the ratchet [m]
FINGER = 0.004  # half length of the fingers along the strap [m]
GRIP_RATE = 0.25  # of the gripper's stroke per control step
GRASP_REACH = 0.004  # how near the fingers' centre the strap must be to be grasped [m]
WALL = 0.002  # thickness of the head's walls [m]
FACES = ("entrance", "exit", "left", "right", "top", "bottom")  # of the head
TUG = 10.0  # [N]
CAMERAS = ("top", "right")  # of the levels with images
MATERIALS = ("head", "strap", "tip", "finger", "bench")
_FREE = 3.0  # tendon range of a link that is not in the slot
_BENCH = -0.06  # its height [m]


@dataclass(frozen=True, slots=True)
class Station:
    """What `StationSpec` has drawn: the vise's pose (6,) [m, rad], and factors."""

    head: np.ndarray = field(default_factory=lambda: np.zeros(6))
    friction: float = 1.0
    drag: float = 1.0
    stiffness: float = 1.0


@dataclass(slots=True)
class StrapReadings(EndEffectorReadings):
    """Adds to the end effector's readings (pose and target are in the scene's frame; at `intro` the head's is the same):

    Attributes:
        nodes: (LINKS + 1, 3) the strap's joints from the far end to the tip, in the head's frame [m].
        past: length of strap beyond the head's far side, along the strap, if it runs through the slot [m].
        opening: of the gripper, 0 closed to 1 open.
        held: whether the fingers hold the strap.
        head: (6,) of the head's frame in the scene's: position [m] and angles [rad], as the end effector's hinges turn.
        axes: (3, 3) the same as a rotation matrix.
    """

    nodes: np.ndarray
    past: float
    opening: float
    held: bool
    head: np.ndarray
    axes: np.ndarray

    @property
    def tip(self) -> np.ndarray:
        """(3,) in the head's frame [m]."""
        return self.nodes[-1]

    def in_scene(self, point: np.ndarray) -> np.ndarray:
        """A point (3,) of the head's frame in the scene's [m]."""
        return self.axes @ point + self.head[:3]


class TieScene:
    """Builds and operates the tying model.

    Head's frame: origin at the slot's entrance, x along the slot, z up.

    `drive` takes (7,): the velocity of the end effector's target [m/s, rad/s] and the gripper: above 0 closes, below
    opens. Fingers that close on the strap take hold of it by a weld, which opening releases: friction grasps of a
    one-gram strap would creep.

    Args:
        level: what strap, head, gripper and drives may be in an episode, and at a station.
    """

    mutable: tuple[str, ...] = (
        "geom_friction", "tendon_range", "eq_data", "body_pos", "body_quat", "geom_size", "geom_pos", "qpos_spring", "jnt_stiffness",
        "tendon_frictionloss", "actuator_gainprm", "actuator_biasprm", *APPEARANCE,
    )  # fmt: skip

    xml = Path(__file__).with_name("scene.xml")
    memory = 1  # of the user data, before commands under way: the gripper's opening

    def __init__(self, level: TieLevel) -> None:
        self._level = level
        self._delay = ActionDelay(level.delay[1], 7)
        self._station = Station()
        self._tool = self._strap_qpos = self._first_site = -1
        self._head = np.zeros(6)
        self._axes = np.eye(3)
        self._drag = 0.0

    def install(self, rng: np.random.Generator) -> None:
        """Draw the vise, the wear and the looks of a station."""
        spec = self._level.station
        assert spec is not None
        metres, degrees = spec.head
        self._station = Station(
            head=np.array([*rng.uniform(-metres, metres, 3), 0.0, *np.radians(rng.uniform(-degrees, degrees, 2))]),
            friction=rng.uniform(*spec.friction),
            drag=rng.uniform(*spec.drag),
            stiffness=rng.uniform(*spec.stiffness),
        )
        self._look.install(spec.look, rng)

    def build(self) -> mujoco.MjModel:
        """Compile the model; must come before all else."""
        spec = end_effector.load(self.xml)
        self._add_head(spec)
        self._add_fingers(spec)
        self._add_strap(spec)
        if self._level.distractor:
            self._add_distractor(spec)
        if self._level.images:
            spec.visual.quality.numquads = 1  # faces of boxes drawn in one piece: a third of a picture's time
        # the gripper's opening and commands under way: part of the state, so that snapshots hold them
        spec.nuserdata = self.memory + self._delay.size
        model = spec.compile()
        self._first_site = model.site("link0").id
        self._links = np.array([model.body(f"link{k}").id for k in range(LINKS)])
        self._tool, self._head_body = model.body("tool").id, model.body("head").id
        self._strap_qpos = model.joint("strap").qposadr[0]
        self._walls = [model.geom(f"{name}{sign}").id for name in ("side", "lid") for sign in (-1, 1)]
        # bend1, sway1, bend2, ...: they follow one another
        self._bends = model.joint("bend1").id + np.arange(2 * (LINKS - 1))
        self._rest = model.joint("bend1").qposadr[0] + np.arange(2 * (LINKS - 1))
        self._stiffness = model.jnt_stiffness[self._bends].copy()
        self._drives = np.stack([model.actuator_gainprm[:6, 0], model.actuator_biasprm[:6, 2]])
        self._look = Appearance(model, MATERIALS, CAMERAS)
        return model

    def _add_head(self, spec: mujoco.MjSpec) -> None:
        # The tightest slot of the level: thinner walls stay inside the bounds that MuJoCo derives from these sizes.
        half, tight = SLOT / 2, (SLOT_CLEARANCE - self._level.clearance[0]) / 2
        body, head = spec.body("head"), spec.find_default("head")
        for sign in (-1, 1):
            y, z = sign * (HALF_Y + (WALL - tight) / 2), sign * (HALF_Z + (WALL - tight) / 2)
            body.add_geom(head, name=f"side{sign}", size=[half, (WALL + tight) / 2, HALF_Z + WALL], pos=[half, y, 0])
            body.add_geom(head, name=f"lid{sign}", size=[half, HALF_Y, (WALL + tight) / 2], pos=[half, 0, z])
        # the ratchet's far end: 1 m along the slot
        body.add_site(name="anchor", pos=[1, 0, 0], size=[0.001] * 3, rgba=[0, 0, 0, 0])

    def _add_fingers(self, spec: mujoco.MjSpec) -> None:
        tool, finger = spec.body("tool"), spec.find_default("finger")
        for sign in (-1, 1):
            tool.add_geom(finger, name=f"finger{sign}", size=[FINGER, 0.003, 0.004], mass=0,
                          pos=[0, 0, sign * (0.004 + THICKNESS / 2)])  # fmt: skip

    def _add_strap(self, spec: mujoco.MjSpec) -> None:
        strap, ratchet = spec.find_default("strap"), spec.find_default("ratchet")
        body = spec.worldbody
        for k in range(LINKS):
            body = body.add_body(name=f"link{k}", pos=[LINK if k else 0, 0, 0], gravcomp=0.95)
            if k == 0:
                body.add_freejoint(name="strap")
            else:
                body.add_joint(spec.find_default("bend"), name=f"bend{k}")
                body.add_joint(spec.find_default("sway"), name=f"sway{k}")
            body.add_geom(strap, name=f"strap{k}", size=[LINK / 2, WIDTH / 2, THICKNESS / 2], pos=[LINK / 2, 0, 0], mass=0.001,
                          material="tip" if k == LINKS - 1 else "strap")  # fmt: skip
            body.add_site(name=f"link{k}", pos=[LINK / 2, 0, 0], size=[0.0005] * 3, rgba=[0, 0, 0, 0])
            # in a group that is not drawn: even invisible, the tendons would be 448 of a picture's 471 shapes
            tendon = spec.add_tendon(ratchet, name=f"ratchet{k}", group=3)
            tendon.wrap_site("anchor")
            tendon.wrap_site(f"link{k}")
            spec.add_equality(
                spec.find_default("grasp"), name=f"grasp{k}", type=mujoco.mjtEq.mjEQ_WELD, name1="tool", name2=f"link{k}",
                objtype=mujoco.mjtObj.mjOBJ_BODY, active=False,
            )  # fmt: skip

    def _add_distractor(self, spec: mujoco.MjSpec) -> None:
        """Another zip tie, which is seen and never met."""
        other = spec.worldbody.add_body(name="distractor")
        box = mujoco.mjtGeom.mjGEOM_BOX
        for k in range(8):
            other.add_geom(type=box, size=[LINK / 2, WIDTH / 2, THICKNESS / 2], pos=[(k - 4) * LINK, 0.0004 * k**2, 0], mass=0,
                           euler=[0, 0, 0.08 * k], material="tip" if k == 7 else "strap")  # fmt: skip
        other.add_geom(
            type=box, size=[SLOT / 2, HALF_Y + WALL, HALF_Z + WALL], pos=[-0.05, 0, 0], material="head", mass=0
        )

    # -- an episode --------------------------------------------------------------------------------------------------
    def place(
        self, model: mujoco.MjModel, data: mujoco.MjData, start: dict[str, Any], rng: np.random.Generator
    ) -> None:
        """The strap through the fingers, `grip` from its tip; its tip at `tip` in the head's frame, the gripper turned by `turn`.

        Draws what the level leaves open: friction, slot, strap, grasp, drives, delay and looks.
        """
        level, station = self._level, self._station
        self._head = station.head + np.array(start.get("head", [0.0] * 6))
        self._axes = end_effector.rotation(self._head[3:])
        model.body_pos[self._head_body] = self._head[:3]
        mujoco.mju_mat2Quat(model.body_quat[self._head_body], self._axes.ravel())
        nominal, low, high = level.friction
        model.geom_friction[model.geom_contype != 0, 0] = nominal * station.friction * rng.uniform(low, high)
        model.tendon_range[:, 1] = _FREE
        model.tendon_frictionloss[:] = 0.0
        data.eq_active[:] = 0
        data.userdata[0] = 0.0
        self._delay.begin(data.userdata[self.memory :], int(rng.integers(level.delay[0], level.delay[1] + 1)))
        self._drag = station.drag * rng.uniform(*level.drag)
        self._draw_slot(model, rng)
        self._draw_drives(model, rng)
        self._draw_strap(model, rng)
        grasp = np.radians(rng.uniform(-level.grasp, level.grasp, 2))
        self._lay(model, data, start, end_effector.rotation(np.array([0.0, *grasp])))
        if level.look is not None:
            self._draw_looks(model, level.look, rng)
        mujoco.mj_kinematics(model, data)
        self._grasp(model, data)

    def _draw_slot(self, model: mujoco.MjModel, rng: np.random.Generator) -> None:
        """How far the walls reach into the widest slot, across it and up."""
        for walls, axis, half in ((self._walls[:2], 1, HALF_Y), (self._walls[2:], 2, HALF_Z)):
            further = (SLOT_CLEARANCE - rng.uniform(*self._level.clearance)) / 2
            model.geom_size[walls, axis] = (WALL + further) / 2
            model.geom_pos[walls, axis] = np.array([-1, 1]) * (half + (WALL - further) / 2)

    def _draw_drives(self, model: mujoco.MjModel, rng: np.random.Generator) -> None:
        stiffness = self._station.stiffness * rng.uniform(*self._level.stiffness)
        gain, damping = self._drives
        model.actuator_gainprm[:6, 0], model.actuator_biasprm[:6, 1] = stiffness * gain, -stiffness * gain
        model.actuator_biasprm[:6, 2] = math.sqrt(stiffness) * damping  # as far from critical as before

    def _draw_strap(self, model: mujoco.MjModel, rng: np.random.Generator) -> None:
        """How stiff it is, and how it is bent when nothing acts on it."""
        level = self._level
        model.jnt_stiffness[self._bends] = self._stiffness * rng.uniform(*level.flex)
        bend, sway, each = level.curl
        rest = rng.uniform(-each, each, (LINKS - 1, 2)) + rng.uniform((-bend, -sway), (bend, sway))
        rest[int(rng.integers(LINKS - 6, LINKS - 1)), 0] += rng.uniform(-level.kink, level.kink)
        model.qpos_spring[self._rest] = np.radians(rest).ravel()

    def _lay(self, model: mujoco.MjModel, data: mujoco.MjData, start: dict[str, Any], grasp: np.ndarray) -> None:
        """Place strap and gripper; `grasp` (3, 3) is how the strap is turned in the fingers."""
        at = self._strap_qpos
        turn, tip = end_effector.rotation(np.array(start["turn"])), self._axes @ start["tip"] + self._head[:3]
        rest = model.qpos_spring[self._rest]
        if not rest.any():
            end_effector.place(data, end_effector.pose_over(tip, start["turn"], (-start["grip"], 0, 0)))
            root = turn
            data.qpos[at : at + 3] = tip - root @ (LINKS * LINK, 0, 0)
        else:
            # first somewhere, to see where the tip is from the link that is held
            data.qpos[self._rest] = rest
            data.qpos[at : at + 7] = (0, 0, 0, 1, 0, 0, 0)
            mujoco.mj_kinematics(model, data)
            along = LINKS * LINK - start["grip"]
            held = self._links[int(along / LINK)]
            axes = data.xmat[held].reshape(3, 3)
            root = turn @ grasp @ axes.T
            point = data.xpos[held] + along % LINK * axes[:, 0] - self._nodes(data)[-1]
            end_effector.place(data, np.array([*(tip + root @ point), *start["turn"]]))
            data.qpos[at : at + 3] = tip - root @ self._nodes(data)[-1]
        mujoco.mju_mat2Quat(data.qpos[at + 3 : at + 7], root.ravel())

    def _draw_looks(self, model: mujoco.MjModel, look: AppearanceSpec, rng: np.random.Generator) -> None:
        self._look.draw(model, look, rng)
        if self._level.distractor:
            body = model.body("distractor").id
            model.body_pos[body] = (*rng.uniform((-0.05, -0.02), (0.04, 0.05)), _BENCH + 0.002)
            yaw = rng.uniform(0, 2 * math.pi)
            model.body_quat[body] = (math.cos(yaw / 2), 0, 0, math.sin(yaw / 2))

    def drive(self, model: mujoco.MjModel, data: mujoco.MjData, command: np.ndarray) -> None:
        """Let the ratchet catch, then hold `command` (7,) for one control period; see the class."""
        self._engage_ratchet(model, data)
        if self._level.yields is not None:
            # What is bent too far stays bent: the rest shape follows, so that nothing is off by more than the strap can bear.
            angles, rest = data.qpos[self._rest], model.qpos_spring[self._rest]
            most = self._level.yields
            model.qpos_spring[self._rest] = np.minimum(np.maximum(rest, angles - most), angles + most)
        command = self._delay.exchange(data.userdata[self.memory :], command)
        data.ctrl[:] = command[:6]
        before = data.userdata[0]
        opening = min(max(before - GRIP_RATE * np.sign(command[6]), 0.0), 1.0)
        data.userdata[0] = opening
        if opening > 0.3:
            data.eq_active[:] = 0
        elif before > 0 and opening == 0.0 and not data.eq_active.any():
            self._grasp(model, data)

    def underway(self, data: mujoco.MjData) -> np.ndarray:
        """The sum (7,) of what has been commanded and not yet driven [m/s, rad/s]."""
        return self._delay.underway(data.userdata[self.memory :])

    def rest(self, model: mujoco.MjModel) -> np.ndarray:
        """(LINKS - 1, 2): how far each joint is bent about y, and about z, when nothing acts on the strap [rad]."""
        return model.qpos_spring[self._rest].reshape(-1, 2)

    def _engage_ratchet(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """A link inside the slot may go on, against the pawl's drag, but not come back by more than a tooth; others are free."""
        sites = data.site_xpos[self._first_site : self._first_site + LINKS]
        centres = (sites - self._head[:3]) @ self._axes
        inside = (
            (np.abs(centres[:, 0] - SLOT / 2) < 0.55 * LINK)
            & (np.abs(centres[:, 1]) < 2 * HALF_Y)
            & (np.abs(centres[:, 2]) < 2 * HALF_Z)
        )
        teeth = np.ceil(data.ten_length / TOOTH) * TOOTH
        model.tendon_range[:, 1] = np.where(inside, np.minimum(model.tendon_range[:, 1], teeth), _FREE)
        if self._drag:
            model.tendon_frictionloss[:] = inside * (self._drag / max(int(np.count_nonzero(inside)), 1))

    def _grasp(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Weld the link that lies between the fingers as it lies there, if one does."""
        centre = data.xpos[self._tool]
        best: int | None = None
        nearest = GRASP_REACH
        for k, body in enumerate(self._links):
            axis = data.xmat[body].reshape(3, 3)[:, 0]
            along = float(np.clip(axis @ (centre - data.xpos[body]), 0, LINK))
            distance = float(np.linalg.norm(data.xpos[body] + along * axis - centre))
            if distance < nearest:
                best, nearest = k, distance
        if best is not None:
            end_effector.weld_as_it_lies(model, data, best)  # equality k welds link k

    def _nodes(self, data: mujoco.MjData) -> np.ndarray:
        """(LINKS + 1, 3) in the scene's frame [m]."""
        nodes = np.empty((LINKS + 1, 3))
        nodes[:-1] = data.xpos[self._links]
        nodes[-1] = nodes[-2] + data.xmat[self._links[-1], ::3] * LINK
        return nodes

    def read(self, model: mujoco.MjModel, data: mujoco.MjData) -> StrapReadings:
        """The readings at the end of the last physics step."""
        nodes = (self._nodes(data) - self._head[:3]) @ self._axes
        return end_effector.read(
            StrapReadings, data,
            nodes=nodes, past=past_head(nodes), opening=float(data.userdata[0]), held=bool(data.eq_active.any()), head=self._head,
            axes=self._axes,
        )  # fmt: skip

    @property
    def probes(self) -> Mapping[str, Callable[[mujoco.MjModel, mujoco.MjData], None]]:
        """ "tug": let go, pull the strap back with 10 N, look."""
        return {"tug": self._tug}

    def _tug(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Let go, then pull the strap back with 10 N where it comes out of the head's near side."""
        end_effector.hold(model, data)
        data.eq_active[:] = 0
        data.userdata[0] = 1.0
        self._run(model, data, 6)
        starts = (data.xpos[self._links] - self._head[:3]) @ self._axes
        behind = [k for k in range(LINKS) if starts[k][0] + LINK / 2 < 0]
        self.pull_back(model, data, self._links[behind[-1]] if behind else self._links[0], TUG, steps=15)
        self._run(model, data, 3)

    def pull_back(self, model: mujoco.MjModel, data: mujoco.MjData, body: int, force: float, steps: int) -> None:
        """Pull a link out of the slot with up to `force`, like a hand: weaker the faster the strap gives way (0.1 m/s at most)."""
        dof, out = model.body_dofadr[self._links[0]], -self._axes[:, 0]
        for k in range(steps * 20):
            if k % 20 == 0:
                self._engage_ratchet(model, data)
            speed = float(out @ data.qvel[dof : dof + 3])
            data.xfrc_applied[body, :3] = force * min(max(1.0 - speed / 0.1, 0.0), 1.0) * min(k / 100, 1.0) * out
            mujoco.mj_step(model, data)
        data.xfrc_applied[body] = 0.0

    def _run(self, model: mujoco.MjModel, data: mujoco.MjData, steps: int) -> None:
        for _ in range(steps):
            self._engage_ratchet(model, data)
            mujoco.mj_step(model, data, 20)


def behind_faces(point: np.ndarray) -> tuple[float, ...]:
    """How far a point (3,) of the head's frame is behind each of `FACES` [m]."""
    x, y, z = point.tolist()
    side, lid = HALF_Y + WALL, HALF_Z + WALL
    return x, SLOT - x, side - y, side + y, lid - z, lid + z


def past_head(nodes: np.ndarray) -> float:
    """Length of strap beyond x = SLOT, for a strap that crosses both faces of the head inside the slot [m]."""
    x = nodes[:, 0]
    for plane in (0.0, SLOT):
        crossing = np.flatnonzero((x[:-1] < plane) & (x[1:] >= plane))
        if not len(crossing):
            return 0.0
        k = int(crossing[-1])
        share = (plane - x[k]) / (x[k + 1] - x[k])
        at = nodes[k] + share * (nodes[k + 1] - nodes[k])
        if abs(at[1]) > HALF_Y or abs(at[2]) > HALF_Z:
            return 0.0  # beside the head, not through it
    return (1 - share) * LINK + (len(nodes) - 2 - k) * LINK
