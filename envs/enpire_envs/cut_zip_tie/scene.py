"""The MuJoCo side of cutting a zip tie: head, loop and tail, a cutter, and what its blades do to a strap."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from enpire_envs import end_effector
from enpire_envs.end_effector import EndEffectorReadings

_XML = Path(__file__).with_name("scene.xml")

PIECES = (0.020, 0.020, 0.010)  # lengths of the tail's rigid pieces, from the head to the tip [m]
TAIL = sum(PIECES)
WIDTH, THICKNESS = 0.0036, 0.0014  # of the strap [m]
PIECE_MASS = 0.002  # [kg]; a real one weighs a tenth of that, but welds of lighter bodies are too soft
HEAD = 0.005  # length of the head [m]
WALL = 0.002  # of the head [m]
RING, CABLES = 0.013, 0.006  # radii of the loop and of the bundle in it [m]
CUT_FORCE = 25.0  # on both blades at once [N]
TOOTH = 0.002  # the shortest stub that the head's tooth still holds [m]
BLADE, KERF = 0.018, 0.001  # length and thickness of the blades [m]
PIVOT = 0.030  # from the grip's centre to the blades' hinge, towards -y [m]
OPEN = 0.55  # the jaw's opened angle [rad]
JAW_STEP = 0.04  # how far the jaw's target moves per control step [rad]
STAND, STAND_Y = 0.012, 0.06  # height of the stand that the cutter lies on with `lying=True`, and where it is [m]
BENCH = -0.045
LYING = BENCH + STAND + 0.004  # height of a lying cutter's centre [m]
GRIP_RATE, HANDLE = 0.25, 0.5  # gripper's stroke per control step, and its opening when it meets the cutter
GRASP_REACH, GRASP_TURN = 0.004, math.radians(12)  # how far off a grasp may be [m, rad]
TUG = 10.0  # [N]
_LOOP_CUT, _OPENING = 0, 1  # in data.userdata
_FREE_RANGE = -0.03  # of a stub that no tooth holds: into the head and out of it [m]


@dataclass(slots=True)
class CutReadings(EndEffectorReadings):
    """Adds to the end effector's readings (origin: where the tail leaves the head; x along the tail):

    Attributes:
        jaw: angle between the blades, 0 closed to 0.6 [rad].
        torque: of the jaw's drive, negative while it closes [Nm].
        opening: of the gripper, 0 closed to 1 open; HANDLE while it holds the cutter.
        held: whether the gripper holds the cutter.
        pivot: (3,) where the blades meet [m].
        blades: (3, 3) orientation of the cutter; its -y axis runs along the lower blade, its z axis towards the upper one.
        pieces: (3, 2, 3) both ends of each piece of the tail [m].
        stub: length of strap that is still fixed to the head, beyond it [m].
        severed: whether the tail has been cut.
        gap: from the stub's end to the nearest point of what was cut off; 0 before a cut [m].
        loop_cut: whether the loop has been cut.
    """

    jaw: float
    torque: float
    opening: float
    held: bool
    pivot: np.ndarray
    blades: np.ndarray
    pieces: np.ndarray
    stub: float
    severed: bool
    gap: float
    loop_cut: bool

    @property
    def tip(self) -> np.ndarray:
        """(3,) end of the tail [m]."""
        return self.pieces[-1, 1]

    def along_blades(self, point: np.ndarray) -> np.ndarray:
        """A point (3,) as (off the blades' plane, from the hinge along the lower blade, above its edge) [m]."""
        local: np.ndarray = self.blades.T @ (point - self.pivot)
        local[1] = -local[1]
        return local


class CutScene:
    """Builds and operates the cutting model.

    `drive` takes (7,): the velocity of the end effector's target [m/s, rad/s] and the jaw: -1 opens to 1 closes, as a
    share of JAW_STEP. Where both blades press on the strap with CUT_FORCE, it parts: the geometry of the pieces changes so
    that the cut is where the blades are, to a fraction of a millimetre.

    Args:
        lying: the cutter lies on a stand and must be grasped first; otherwise the gripper holds it from the start.
    """

    mutable = ("geom_friction", "geom_size", "geom_pos", "geom_contype", "geom_conaffinity", "geom_rgba", "qpos_spring",
               "jnt_range", "body_gravcomp", "eq_data")  # fmt: skip

    def __init__(self, lying: bool = False) -> None:
        self.lying = lying

    # -- the model ---------------------------------------------------------------------------------------------------
    def build(self) -> mujoco.MjModel:
        """Compile the model; must come before all else."""
        spec = end_effector.load(_XML)
        for axis in "xyz":
            spec.actuator(f"ee_{axis}").actrange = [-0.15, 0.15]
        self._add_head_and_loop(spec)
        self._add_tail(spec)
        self._add_cutter(spec)
        spec.nuserdata = 2
        model = spec.compile()
        self._tool, self._cutter = model.body("tool").id, model.body("cutter").id
        self._jaw = model.joint("jaw").qposadr[0]
        self._pieces = np.array([model.body(f"piece{k}").id for k in range(len(PIECES))])
        self._mains = np.array([model.geom(f"main{k}").id for k in range(len(PIECES))])
        self._offcuts = np.array([-1, *(model.geom(f"offcut{k}").id for k in range(1, len(PIECES)))])
        self._joins = np.array([model.equality(f"join{k}").id for k in range(1, len(PIECES))])
        self._loop = {g for g in range(model.ngeom) if model.geom(g).name.startswith("loop")}
        self._edges = (model.geom("lower").id, model.geom("upper").id)
        self._through = model.joint("through").id
        self._bend, self._sway = model.joint("bend").qposadr[0], model.joint("sway").qposadr[0]
        self._grasp = model.equality("grasp").id if self.lying else -1
        self._fresh = {name: getattr(model, name).copy() for name in self.mutable}
        return model

    def _add_head_and_loop(self, spec: mujoco.MjSpec) -> None:
        world, fixed, loop = spec.worldbody, spec.find_default("fixed"), spec.find_default("loop")
        half = np.array([HEAD / 2, WIDTH / 2 + WALL, THICKNESS / 2 + WALL])
        box, cylinder = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER
        world.add_geom(fixed, name="head", type=box, size=half, pos=[-HEAD / 2, 0, 0], material="head")
        centre = np.array([-HEAD - RING, 0, 0])  # the tail leaves outwards
        world.add_geom(fixed, name="cables", type=cylinder, size=[CABLES, 0.04, 0], pos=centre, material="cable",
                       quat=[math.sqrt(0.5), math.sqrt(0.5), 0, 0])  # fmt: skip
        count = 24
        for k in range(1, count):
            angle = 2 * math.pi * k / count  # from the head, downwards
            at = centre + RING * np.array([math.cos(angle), 0, -math.sin(angle)])
            world.add_geom(loop, name=f"loop{k}", pos=at, quat=[math.cos(angle / 2), 0, math.sin(angle / 2), 0],
                           size=[THICKNESS / 2, WIDTH / 2, math.pi * RING / count])  # fmt: skip

    def _add_tail(self, spec: mujoco.MjSpec) -> None:
        strap, reach = spec.find_default("strap"), 0.0
        for k, length in enumerate(PIECES):
            body = spec.worldbody.add_body(name=f"piece{k}", pos=[reach, 0, 0], gravcomp=0.95)
            if k == 0:
                for name in ("through", "sway", "bend"):
                    body.add_joint(spec.find_default(name), name=name)
            else:
                body.add_freejoint(name=f"piece{k}")
                # what a cut leaves of the piece before, on this side of the cut: nothing until then
                body.add_geom(strap, name=f"offcut{k}", size=[PIECES[k - 1] / 2, WIDTH / 2, THICKNESS / 2],
                              pos=[-PIECES[k - 1] / 2, 0, 0], mass=0)  # fmt: skip
                spec.add_equality(strap, name=f"join{k}", type=mujoco.mjtEq.mjEQ_WELD, name1=f"piece{k - 1}",
                                  name2=f"piece{k}", objtype=mujoco.mjtObj.mjOBJ_BODY)  # fmt: skip
            body.add_geom(strap, name=f"main{k}", size=[length / 2, WIDTH / 2, THICKNESS / 2], pos=[length / 2, 0, 0],
                          mass=PIECE_MASS, material="tip" if k == len(PIECES) - 1 else "strap")  # fmt: skip
            reach += length
        spec.add_exclude(bodyname1="world", bodyname2="piece0")  # it comes out of the head

    def _add_cutter(self, spec: mujoco.MjSpec) -> None:
        """Fixed lower blade, hinged upper one; in the tool, or free on its stand with a weld for the grasp."""
        tool, cutter = spec.body("tool"), spec.find_default("cutter")
        for sign in (-1, 1):
            tool.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.004, 0.006, 0.007], pos=[sign * 0.0105, 0.006, 0.004],
                          material="finger", mass=0)  # fmt: skip
        if self.lying:
            body = spec.worldbody.add_body(name="cutter")
            body.add_freejoint(name="cutter")
            spec.add_equality(cutter, name="grasp", type=mujoco.mjtEq.mjEQ_WELD, name1="tool", name2="cutter",
                              objtype=mujoco.mjtObj.mjOBJ_BODY, active=False)  # fmt: skip
            spec.worldbody.add_geom(spec.find_default("fixed"), name="stand", type=mujoco.mjtGeom.mjGEOM_BOX,
                                    size=[0.03, 0.016, STAND / 2], pos=[0.0, STAND_Y, BENCH + STAND / 2], material="head")  # fmt: skip
        else:
            body = tool.add_body(name="cutter", gravcomp=1)
        body.add_geom(
            cutter, name="housing", size=[0.006, 0.016, 0.004], pos=[0, -0.012, 0], mass=0.06, material="grip"
        )
        body.add_geom(
            cutter, name="lower", size=[KERF / 2, BLADE / 2, 0.001], pos=[0, -PIVOT - BLADE / 2, -0.001], mass=0.004
        )
        upper = body.add_body(name="upper", pos=[0, -PIVOT, 0], gravcomp=0 if self.lying else 1)
        upper.add_joint(cutter, name="jaw")
        upper.add_geom(cutter, name="upper", size=[KERF / 2, BLADE / 2, 0.001], pos=[0, -BLADE / 2, 0.001], mass=0.004)
        upper.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.003, 0.016, 0.0015], pos=[0, 0.02, -0.004], mass=0.004,
                       material="grip")  # fmt: skip
        spec.add_actuator(cutter, name="jaw", target="jaw", trntype=mujoco.mjtTrn.mjTRN_JOINT)

    # -- an episode --------------------------------------------------------------------------------------------------
    def place(
        self, model: mujoco.MjModel, data: mujoco.MjData, start: dict[str, Any], rng: np.random.Generator
    ) -> None:
        """The gripper at `pose`, the tail leaving its head turned by `tail` (up, aside); jaw open."""
        for name, value in self._fresh.items():
            getattr(model, name)[:] = value
        scale = rng.uniform(*end_effector.FRICTION_FACTORS)
        model.geom_friction[:, 0] *= scale
        end_effector.place(data, np.array(start["pose"]))
        data.qpos[self._jaw] = data.act[6] = OPEN
        data.userdata[:] = 0.0, 1.0 if self.lying else HANDLE
        data.eq_active[:] = 0
        if self.lying:
            x, y, yaw = start["cutter"]
            at = model.joint("cutter").qposadr[0]
            data.qpos[at : at + 7] = x, y, LYING, math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)
        for k in range(1, len(PIECES)):
            self._shrink(model, self._offcuts[k], 0.0, 0.0)
        up, aside = start["tail"]
        for at, angle in ((self._bend, -up), (self._sway, aside)):
            data.qpos[at] = model.qpos_spring[at] = angle
        self._straighten(model, data)

    def _straighten(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Line the free pieces up with the first one and join them."""
        mujoco.mj_kinematics(model, data)
        root = self._pieces[0]
        axis, reach = data.xmat[root].reshape(3, 3)[:, 0], 0.0
        for k in range(1, len(PIECES)):
            reach += PIECES[k - 1]
            at = model.joint(f"piece{k}").qposadr[0]
            data.qpos[at : at + 3] = data.xpos[root] + axis * reach
            data.qpos[at + 3 : at + 7] = data.xquat[root]
        mujoco.mj_kinematics(model, data)
        for join in self._joins:
            end_effector.weld_as_it_lies(model, data, join)

    def drive(self, model: mujoco.MjModel, data: mujoco.MjData, command: np.ndarray) -> None:
        """Cut where the blades press, then hold `command` (7,) for one control period; see the class."""
        if data.actuator_force[6] < -0.02:  # nothing parts without a closing jaw
            self._cut(model, data)
        data.ctrl[:6] = command[:6]
        if self._held(data):
            data.ctrl[6] = -command[6] * JAW_STEP * 30.0
        else:
            data.ctrl[6] = 0.0
            self._reach_for_cutter(model, data, command[6])

    def _held(self, data: mujoco.MjData) -> bool:
        return not self.lying or bool(data.eq_active[self._grasp])

    def _reach_for_cutter(self, model: mujoco.MjModel, data: mujoco.MjData, closing: float) -> None:
        """Fingers that close on the cutter hold it, as it lies between them, to the end of the episode."""
        before = data.userdata[_OPENING]
        opening = min(max(before - GRIP_RATE * np.sign(closing), 0.0), 1.0)
        data.userdata[_OPENING] = opening
        if before > HANDLE >= opening and self._graspable(data):
            data.userdata[_OPENING] = HANDLE
            end_effector.weld_as_it_lies(model, data, self._grasp)

    def _graspable(self, data: mujoco.MjData) -> bool:
        off = float(np.linalg.norm(data.xpos[self._cutter] - data.xpos[self._tool]))
        tool, cutter = (data.xmat[b].reshape(3, 3) for b in (self._tool, self._cutter))
        cosine = (float(np.trace(tool.T @ cutter)) - 1) / 2
        return off < GRASP_REACH and cosine > math.cos(GRASP_TURN)

    # -- cutting -----------------------------------------------------------------------------------------------------
    def _cut(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Part the strap where both blades press on the same piece hard enough.

        The finest division of a rigid piece: the side towards the head keeps [0, s], the next piece takes over [s, length]
        as its offcut, and the weld between the two is off. A trimming of an already loose end is dropped.
        """
        if not data.ncon:
            return
        pairs, force = data.contact.geom, data.efc_force[data.contact.efc_address]
        lower, upper = ((pairs == edge).any(axis=1) for edge in self._edges)
        touched = np.where(lower | upper, pairs.sum(axis=1) - np.where(lower, *self._edges), -1)
        for geom in set(touched[lower].tolist()) & set(touched[upper].tolist()):
            here = touched == geom
            if min(force[here & lower].sum(), force[here & upper].sum()) < CUT_FORCE:
                continue
            if geom in self._loop:
                model.geom_rgba[geom, 3] = 0.0
                model.geom_conaffinity[geom] = 0
                data.userdata[_LOOP_CUT] = 1.0
            elif geom in self._mains[:-1]:
                self._part(model, data, int(np.flatnonzero(self._mains == geom)[0]))

    def _part(self, model: mujoco.MjModel, data: mujoco.MjData, k: int) -> None:
        """Part piece k where the blades' plane meets it, both faces just clear of the blades."""
        body = self._pieces[k]
        axes, plane = data.xmat[body].reshape(3, 3), data.xmat[self._cutter].reshape(3, 3)[:, 0]
        normal = axes.T @ plane  # of the plane, in the piece's frame
        if abs(normal[0]) < 0.2:
            return  # blades along the strap pinch it and no more
        along = float((data.xpos[self._cutter] - data.xpos[body]) @ plane / normal[0])
        half = float((KERF + np.abs(normal[1:]) @ (WIDTH, THICKNESS)) / 2 / abs(normal[0]))
        joined, join = 2 * model.geom_size[self._mains[k], 0], self._joins[k]
        end = min(max(along - half, 0.0), joined)
        self._shrink(model, self._mains[k], 0.0, end)
        if data.eq_active[join]:
            data.eq_active[join] = 0
            self._shrink(model, self._offcuts[k + 1], min(along + half, joined) - PIECES[k], 0.0)
            model.body_gravcomp[self._pieces[k + 1 :]] = 0.0  # what is loose falls as fast as anything
        if k == 0 and end < TOOTH:
            model.jnt_range[self._through, 0] = _FREE_RANGE

    def _shrink(self, model: mujoco.MjModel, geom: int, low: float, high: float) -> None:
        """Let a piece's box run from `low` to `high` along its body; one without length meets nothing."""
        model.geom_size[geom, 0] = max((high - low) / 2, 1e-5)
        model.geom_pos[geom, 0] = (high + low) / 2
        exists = high - low > 2e-5
        model.geom_contype[geom] = 2 if exists else 0
        model.geom_conaffinity[geom] = 5 if exists else 0
        model.geom_rgba[geom, 3] = 1.0 if exists else 0.0

    # -- reading -----------------------------------------------------------------------------------------------------
    def read(self, model: mujoco.MjModel, data: mujoco.MjData) -> CutReadings:
        """The readings at the end of the last physics step."""
        axes, origins = data.xmat[self._pieces][:, ::3], data.xpos[self._pieces]
        pieces = np.empty((len(PIECES), 2, 3))
        pieces[:, 0] = origins
        pieces[:, 1] = origins + axes * (2 * model.geom_size[self._mains, :1])
        joined = data.eq_active[self._joins].tolist()
        severed = not all(joined)
        last = joined.index(0) if severed else len(PIECES) - 1
        for k in range(1, len(PIECES)):
            if not joined[k - 1]:  # then a piece begins with what the cut has left of the one before
                pieces[k, 0] -= axes[k] * (2 * model.geom_size[self._offcuts[k], 0])
        end = pieces[last, 1]
        stub = end_effector.length(end - pieces[0, 0]) + min(float(pieces[0, 0, 0]), 0.0)
        gap = min(_to_segment(end, *piece) for piece in pieces[last + 1 :]) if severed else 0.0
        blades = data.xmat[self._cutter].reshape(3, 3).copy()
        return end_effector.read(
            CutReadings, data, depth=self._depth(model, data),
            jaw=float(data.qpos[self._jaw]), torque=float(data.actuator_force[6]), opening=float(data.userdata[_OPENING]),
            held=self._held(data), pivot=data.xpos[self._cutter] - PIVOT * blades[:, 1], blades=blades, pieces=pieces,
            stub=stub, severed=severed, gap=gap, loop_cut=bool(data.userdata[_LOOP_CUT]),
        )  # fmt: skip

    @staticmethod
    def _depth(model: mujoco.MjModel, data: mujoco.MjData) -> float:
        """Deepest penetration of the cutter; a tail that drops on the bench at 1 m/s is nobody's doing."""
        if not data.ncon:
            return 0.0
        contact = data.contact
        one, two = (model.geom_contype[contact.geom] == 4).T
        return max(-float(np.minimum.reduce(contact.dist[one | two], initial=0.0)), 0.0)

    @property
    def probes(self) -> Mapping[str, Callable[[mujoco.MjModel, mujoco.MjData], None]]:
        """ "tug": let loose things fall, pull the stub back into the head, look."""
        return {"tug": self._tug}

    def _tug(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Hold still and let what is loose fall; then pull the stub back into the head with 10 N for 0.3 s."""
        end_effector.hold(model, data)
        data.ctrl[6] = 0.0
        mujoco.mj_step(model, data, 200)
        stub = self._pieces[0]
        data.xfrc_applied[stub, 0] = -TUG
        mujoco.mj_step(model, data, 180)
        data.xfrc_applied[stub, 0] = 0.0
        mujoco.mj_step(model, data, 20)


def _to_segment(point: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """Distance of a point from the line between a and b [m]."""
    along = b - a
    share = float(np.clip((point - a) @ along / max(float(along @ along), 1e-12), 0, 1))
    return end_effector.length(point - a - share * along)
