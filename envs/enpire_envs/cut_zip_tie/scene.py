"""The MuJoCo side of cutting a zip tie: how its parts are placed and driven, and what blades do to a strap."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from enpire_envs import end_effector
from enpire_envs.appearance import APPEARANCE, Appearance
from enpire_envs.cut_zip_tie import cutter, parts
from enpire_envs.cut_zip_tie.levels import CutLevel
from enpire_envs.cut_zip_tie.parts import BENCH, KERF, LYING, OPEN, PIVOT, THICKNESS, WIDTH
from enpire_envs.end_effector import EndEffectorReadings
from enpire_envs.levels import ActionDelay

_XML = Path(__file__).with_name("scene.xml")

PIECES = (
    0.020,
    0.020,
)  # lengths of the tail's rigid pieces from the head; the last piece is what is left to the tip [m]
TOOTH = 0.002  # the shortest stub that the head's tooth still holds [m]
JAW_STEP = 0.04  # how far the jaw's target moves per control step [rad]
GRIP_RATE, HANDLE = 0.25, 0.5  # gripper's stroke per control step, and its opening when it meets the cutter
TUG = 10.0  # [N]
TURNABLE = 0.6  # how far the end effector turns about z where ties may be turned [rad]
WRIST = (
    (0.0, 0.035, 0.06),
    (0.0, -0.04, -0.005),
    55.0,
)  # the wrist camera: where it is, what it looks at [m], its field [degrees]
_PAINTED = ("head", "strap", "tip", "steel", "grip", "finger", "cable", "bench", "stand")
_DECOY_COLOURS = ((0.25, 0.55, 0.32), (0.80, 0.80, 0.84), (0.52, 0.28, 0.60), (0.22, 0.22, 0.25))
_LOOP_CUT, _OTHER_CUT, _OPENING, _HELD, _CUT_FORCE, _FLAGS = range(6)  # in data.userdata; what is under way follows
_X = np.array([1.0, 0.0, 0.0])
_ASIDE = (0.012, 0.018)  # how far along the bundle another tie may be [m]
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
        other_cut: whether another strap has.
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
    other_cut: bool

    @property
    def tip(self) -> np.ndarray:
        """(3,) end of the tail [m]."""
        return self.pieces[-1, 1]

    def along_blades(self, point: np.ndarray) -> np.ndarray:
        """A point (3,) as (off the blades' plane, from the hinge along the lower blade, above its edge) [m]."""
        local: np.ndarray = self.blades.T @ (point - self.pivot)
        local[1] = -local[1]
        return local


@dataclass(frozen=True, slots=True)
class _Usual:
    """What a station adds to the draws of every episode. `slip` (6,): where its fingers have a cutter [m, rad]."""

    friction: float = 1.0
    stiffness: float = 1.0
    slip: np.ndarray = field(default_factory=lambda: np.zeros(6))
    delay: int = 0


class CutScene:
    """Builds and operates the cutting model.

    `drive` takes (7,): the velocity of the end effector's target [m/s, rad/s] and the jaw: -1 opens to 1 closes, as a
    share of JAW_STEP. Where both blades press on the strap with the episode's cut force, it parts: the geometry of the pieces changes so
    that the cut is where the blades are, to a fraction of a millimetre.

    A cutter that lies on its stand and the one in the gripper are two bodies, of which one is there at a time: a free one would cost every
    step an eighth of its time.

    Args:
        level: what tie, cutter and drives may be in an episode.
        lying: the cutter lies on a stand and must be grasped first; otherwise the gripper holds it from the start.
    """

    mutable = ("geom_friction", "geom_size", "geom_pos", "geom_quat", "geom_contype", "geom_conaffinity", "geom_rgba", "qpos_spring",
               "jnt_range", "body_gravcomp", "body_pos", "body_quat", "eq_data", "actuator_gainprm", "actuator_biasprm", *APPEARANCE)  # fmt: skip

    def __init__(self, level: CutLevel, lying: bool) -> None:
        self.lying, self._level = lying, level
        station = level.station
        self._delay = ActionDelay(level.delay[1] + (station.delay if station else 0), 7)
        self._usual = _Usual()

    # -- the model ---------------------------------------------------------------------------------------------------
    def build(self) -> mujoco.MjModel:
        """Compile the model; must come before all else."""
        spec, level = end_effector.load(_XML), self._level
        for axis in "xyz":
            spec.actuator(f"ee_{axis}").actrange = [-0.15, 0.15]
        if level.station:
            spec.actuator("ee_rz").actrange = [-TURNABLE, TURNABLE]
        body = spec.worldbody.add_body(name="tie") if level.station else spec.worldbody
        parts.add_tie(spec, body)
        for k in range(level.decoys):
            parts.add_decoy(spec, body, k)
        parts.add_tail(spec, body, (*PIECES, level.tip[1]))
        parts.add_fingers(spec)
        parts.add_cutter(spec, weight=self.lying)
        if self.lying:
            parts.add_lying_cutter(spec)
        for k in range(level.clutter):
            parts.add_scrap(spec, k)
        if level.images:
            parts.add_wrist_camera(spec, *WRIST)
            spec.visual.quality.numquads = 1  # faces of boxes drawn in one piece: half of a picture's time
        spec.nuserdata = _FLAGS + self._delay.size
        model = spec.compile()
        self._find(model)
        self._fresh = {name: getattr(model, name).copy() for name in self.mutable}
        return model

    def _find(self, model: mujoco.MjModel) -> None:
        """Note where in the compiled model everything is."""
        level, pieces = self._level, range(len(PIECES) + 1)
        self._tie = model.body("tie").id if level.station else 0
        self._tool, self._cutter = model.body("tool").id, model.body("cutter").id
        self._lying = model.body("lying").id if self.lying else -1
        self._jaw = model.joint("jaw").qposadr[0]
        self._pieces = np.array([model.body(f"piece{k}").id for k in pieces])
        self._mains = np.array([model.geom(f"main{k}").id for k in pieces])
        self._offcuts = np.array([-1, *(model.geom(f"offcut{k}").id for k in pieces[1:])])
        self._joins = np.array([model.equality(f"join{k}").id for k in pieces[1:]])
        names = [model.geom(g).name for g in range(model.ngeom)]
        self._loop = {g for g, name in enumerate(names) if name.startswith("loop")}
        self._other = {g for g, name in enumerate(names) if name.startswith("decoy") and not name.endswith("head")}
        self._scrap = [g for g, name in enumerate(names) if name.startswith("scrap")]
        self._halves = [model.geom(name).id for name in ("housing", "lower", "upper", "lever")]
        self._lying_halves = [g for g, name in enumerate(names) if name.startswith("lying_")]
        self._decoys = [model.body(f"decoy{k}").id for k in range(level.decoys)]
        self._edges = (model.geom("lower").id, model.geom("upper").id)
        self._through = model.joint("through").id
        self._bend, self._sway = model.joint("bend").qposadr[0], model.joint("sway").qposadr[0]
        self._look = Appearance(model, _PAINTED, ("side", "wrist") if level.images else ("side",))
        if level.bend:  # else MuJoCo takes an offcut to lie along the piece that it is fixed to
            model.geom_sameframe[self._offcuts[1:]] = mujoco.mjtSameFrame.mjSAMEFRAME_NONE

    def install(self, rng: np.random.Generator) -> None:
        """Draw what this station's gripper, drives, friction and cameras are like."""
        station = self._level.station
        assert station is not None
        self._usual = _Usual(
            friction=float(rng.uniform(*station.friction)),
            stiffness=float(rng.uniform(*station.stiffness)),
            slip=rng.uniform(-1, 1, 6) * _six(station.slip),
            delay=int(rng.integers(station.delay + 1)),
        )
        self._look.install(station.look, rng)

    # -- an episode --------------------------------------------------------------------------------------------------
    def place(
        self, model: mujoco.MjModel, data: mujoco.MjData, start: dict[str, Any], rng: np.random.Generator
    ) -> None:
        """The gripper at `pose`, the tail leaving its head turned by `tail` (up, aside); jaw open; tie and cutter where the start has them.

        Draws what the level leaves open.
        """
        for name, value in self._fresh.items():
            getattr(model, name)[:] = value
        level, usual = self._level, self._usual
        model.geom_friction[:, 0] *= rng.uniform(*level.friction) * usual.friction
        stiffness = rng.uniform(*level.stiffness) * usual.stiffness
        model.actuator_gainprm[:6, 0] *= stiffness
        model.actuator_biasprm[:6, 1] *= stiffness
        model.actuator_biasprm[:6, 2] *= math.sqrt(stiffness)  # as far from critical as before
        end_effector.place(data, np.array(start["pose"]))
        data.qpos[self._jaw] = data.act[6] = OPEN
        data.userdata[_LOOP_CUT] = data.userdata[_OTHER_CUT] = 0.0
        data.userdata[_OPENING], data.userdata[_HELD] = (1.0, 0.0) if self.lying else (HANDLE, 1.0)
        data.userdata[_CUT_FORCE] = rng.uniform(*level.cut_force)
        delay = int(rng.integers(level.delay[0], level.delay[1] + 1)) + usual.delay
        self._delay.begin(data.userdata[_FLAGS:], delay)
        data.eq_active[:] = 0
        # Until it is grasped, how a cutter will sit in the fingers less how it lies between them.
        slip = usual.slip + rng.uniform(-1, 1, 6) * _six(level.slip)
        model.body_pos[self._cutter], model.body_quat[self._cutter] = slip[:3], _quaternion(slip[3:])
        if self.lying:
            x, y, yaw = start["cutter"]
            model.body_pos[self._lying], model.body_quat[self._lying] = (x, y, LYING), _quaternion((0, 0, yaw))
            model.geom_contype[self._halves] = model.geom_conaffinity[self._halves] = 0
            model.geom_rgba[self._halves, 3] = 0.0
        if self._tie:
            model.body_pos[self._tie], model.body_quat[self._tie] = start["tie"][:3], _quaternion(start["tie"][3:])
        for k in range(1, len(self._pieces)):
            self._shrink(model, self._offcuts[k], 0.0, 0.0)
        self._shrink(model, self._mains[-1], 0.0, rng.uniform(*level.tip))
        up, aside = start["tail"]
        for at, angle in ((self._bend, -up), (self._sway, aside)):
            data.qpos[at] = model.qpos_spring[at] = angle
        bend = math.radians(level.bend)
        self._lay_out(model, data, rng.uniform(-bend, bend, (len(PIECES), 2)))
        self._look_about(model, rng)

    def _lay_out(self, model: mujoco.MjModel, data: mujoco.MjData, bends: np.ndarray) -> None:
        """Line the free pieces up with the first one, each turned by (up, aside) [rad] from the one before, and join them."""
        mujoco.mj_kinematics(model, data)
        root = self._pieces[0]
        quat, along = data.xquat[root].copy(), np.zeros(3)
        for k, (up, aside) in enumerate(bends, start=1):
            axes, bend = np.zeros(9), _quaternion((0.0, -up, aside))
            mujoco.mju_quat2Mat(axes, quat)
            along = along + axes[::3] * PIECES[k - 1]
            mujoco.mju_mulQuat(quat, quat.copy(), bend)
            mujoco.mju_negQuat(model.geom_quat[self._offcuts[k]], bend)
            at = model.joint(f"piece{k}").qposadr[0]
            data.qpos[at : at + 3] = data.xpos[root] + along
            data.qpos[at + 3 : at + 7] = quat
        mujoco.mj_kinematics(model, data)
        for join in self._joins:
            end_effector.weld_as_it_lies(model, data, join)

    def _look_about(self, model: mujoco.MjModel, rng: np.random.Generator) -> None:
        """Draw light and colours, and put other ties and cut-off tails somewhere."""
        level = self._level
        if level.look:
            self._look.draw(model, level.look, rng)
        first = rng.integers(2)
        for k, body in enumerate(self._decoys):
            # On either side in turn; those on the cutter's stand up, out of its way.
            side = 1 if (first + k) % 2 else -1
            up = math.radians(rng.uniform(50, 110) if side > 0 else rng.uniform(-100, 100))
            model.body_pos[body] = parts.AXIS + np.array([0, side * rng.uniform(*_ASIDE), 0])
            model.body_quat[body] = _quaternion((0, -up, 0))
        if self._decoys:
            model.mat_rgba[model.material("decoy").id, :3] = _DECOY_COLOURS[rng.integers(len(_DECOY_COLOURS))]
        for geom in self._scrap:
            model.geom_pos[geom] = (rng.uniform(-0.04, 0.08), rng.uniform(-0.06, 0.06), BENCH + THICKNESS)
            model.geom_quat[geom] = _quaternion((0, 0, rng.uniform(-math.pi, math.pi)))

    def drive(self, model: mujoco.MjModel, data: mujoco.MjData, command: np.ndarray) -> None:
        """Cut where the blades press, then hold `command` (7,) for one control period; see the class."""
        if data.actuator_force[6] < -0.02:  # nothing parts without a closing jaw
            self._cut(model, data)
        arrived = self._delay.exchange(data.userdata[_FLAGS:], command)
        data.ctrl[:6] = arrived[:6]
        if data.userdata[_HELD]:
            data.ctrl[6] = -arrived[6] * JAW_STEP * 30.0
        else:
            data.ctrl[6] = 0.0
            self._reach_for_cutter(model, data, arrived[6])

    def underway(self, data: mujoco.MjData) -> np.ndarray:
        """The sum (7,) of what has been commanded and not yet driven."""
        return self._delay.underway(data.userdata[_FLAGS:])

    def _reach_for_cutter(self, model: mujoco.MjModel, data: mujoco.MjData, closing: float) -> None:
        """Fingers that close on the cutter hold it, as it lies between them and slips, to the end of the episode."""
        before = data.userdata[_OPENING]
        opening = min(max(before - GRIP_RATE * np.sign(closing), 0.0), 1.0)
        data.userdata[_OPENING] = opening
        if not before > HANDLE >= opening or not cutter.within_reach(data, self._tool, self._lying):
            return
        data.userdata[_OPENING], data.userdata[_HELD] = HANDLE, 1.0
        cutter.take(model, data, self._tool, self._lying, self._cutter)
        for name in ("geom_contype", "geom_conaffinity", "geom_rgba"):
            getattr(model, name)[self._halves] = self._fresh[name][self._halves]
        model.geom_rgba[self._lying_halves, 3] = 0.0

    # -- cutting -----------------------------------------------------------------------------------------------------
    def _cut(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Part the strap where both blades press on the same piece hard enough.

        The finest division of a rigid piece: the side towards the head keeps [0, s], the next piece takes over [s, length]
        as its offcut, and the weld between the two is off. A trimming of an already loose end is dropped.
        """
        for geom in cutter.pressed(data, self._edges, data.userdata[_CUT_FORCE]):
            if geom in self._loop:
                model.geom_rgba[geom, 3] = 0.0
                model.geom_conaffinity[geom] = 0
                data.userdata[_LOOP_CUT] = 1.0
            elif geom in self._other:
                model.geom_rgba[geom, 3] = 0.0
                model.geom_conaffinity[geom] = 0
                data.userdata[_OTHER_CUT] = 1.0
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
        """Let a piece's box run from `low` to `high` along itself; one without length meets nothing."""
        model.geom_size[geom, 0] = max((high - low) / 2, 1e-5)
        axis = np.zeros(3)
        mujoco.mju_rotVecQuat(axis, _X, model.geom_quat[geom])
        model.geom_pos[geom] = (high + low) / 2 * axis
        exists = high - low > 2e-5
        model.geom_contype[geom] = 2 if exists else 0
        model.geom_conaffinity[geom] = 5 if exists else 0
        model.geom_rgba[geom, 3] = 1.0 if exists else 0.0

    # -- reading -----------------------------------------------------------------------------------------------------
    def read(self, model: mujoco.MjModel, data: mujoco.MjData) -> CutReadings:
        """The readings at the end of the last physics step."""
        axes, origins = data.xmat[self._pieces][:, ::3], data.xpos[self._pieces]
        pieces = np.empty((len(self._pieces), 2, 3))
        pieces[:, 0] = origins
        pieces[:, 1] = origins + axes * (2 * model.geom_size[self._mains, :1])
        joined = data.eq_active[self._joins].tolist()
        severed = not all(joined)
        last = joined.index(0) if severed else len(pieces) - 1
        for k in range(1, len(pieces)):
            if not joined[k - 1]:  # then a piece begins with what the cut has left of the one before
                offcut = self._offcuts[k]
                pieces[k, 0] -= data.geom_xmat[offcut, ::3] * (2 * model.geom_size[offcut, 0])
        end = pieces[last, 1]
        out = float((origins[0] - data.xpos[self._tie]) @ data.xmat[self._tie, ::3])
        stub = end_effector.length(end - pieces[0, 0]) + min(out, 0.0)
        gap = min(_to_segment(end, *piece) for piece in pieces[last + 1 :]) if severed else 0.0
        held = data.userdata[_HELD] > 0
        cutter = self._cutter if held else self._lying
        blades = data.xmat[cutter].reshape(3, 3).copy()
        return end_effector.read(
            CutReadings, data, depth=self._depth(model, data),
            jaw=float(data.qpos[self._jaw]), torque=float(data.actuator_force[6]), opening=float(data.userdata[_OPENING]),
            held=held, pivot=data.xpos[cutter] - PIVOT * blades[:, 1], blades=blades, pieces=pieces,
            stub=stub, severed=severed, gap=gap, loop_cut=bool(data.userdata[_LOOP_CUT]), other_cut=bool(data.userdata[_OTHER_CUT]),
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
        data.xfrc_applied[stub, :3] = -TUG * data.xmat[self._tie, ::3]
        mujoco.mj_step(model, data, 180)
        data.xfrc_applied[stub, :3] = 0.0
        mujoco.mj_step(model, data, 20)


def _to_segment(point: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """Distance of a point from the line between a and b [m]."""
    along = b - a
    share = float(np.clip((point - a) @ along / max(float(along @ along), 1e-12), 0, 1))
    return end_effector.length(point - a - share * along)


def _six(each: tuple[float, float]) -> np.ndarray:
    """(along an axis [m], about an axis [degrees]) as (6,) [m, rad]."""
    return np.repeat([each[0], math.radians(each[1])], 3)


def _quaternion(angles: Sequence[float] | np.ndarray) -> np.ndarray:
    """Of turns (3,) about x, y and z in this order [rad], each about the axis as the one before has turned it."""
    quat = np.array([1.0, 0.0, 0.0, 0.0])
    for axis, angle in zip(np.eye(3), angles, strict=True):
        turn = np.zeros(4)
        mujoco.mju_axisAngle2Quat(turn, axis, angle)
        mujoco.mju_mulQuat(quat, quat.copy(), turn)
    return quat
