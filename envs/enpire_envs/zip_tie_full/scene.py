"""The MuJoCo side of a whole zip tie: tying's strap, head and ratchet, and cutting's cutter, with what blades do to a strap of links."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from enpire_envs import end_effector
from enpire_envs.cut_zip_tie import cutter, parts
from enpire_envs.cut_zip_tie.levels import CutLevel
from enpire_envs.cut_zip_tie.parts import BLADE, KERF, OPEN, PIVOT
from enpire_envs.cut_zip_tie.scene import HANDLE, JAW_STEP, TOOTH, TURNABLE
from enpire_envs.tie_zip_tie.levels import TieLevel
from enpire_envs.tie_zip_tie.scene import (
    FINGER,
    GRIP_RATE,
    LINK,
    LINKS,
    SLOT,
    THICKNESS,
    TUG,
    WIDTH,
    StrapReadings,
    TieScene,
    past_head,
)

CAMERAS = ("top", "right", "overview")
CUTTER = (0.030, 0.072, -0.029)  # where a cutter lies, before a station has moved it [m]
POST = (0.004, 0.006, 0.0135)  # half sizes of the post that it lies on; it gives way to everything [m]
SPREAD = 0.008  # how far either finger goes to open fully [m]
_HELD, _CUT_FORCE, _CUT_AT, _LOOP_CUT = range(1, 5)  # in data.userdata; 0 is the gripper's opening
_EMPTY = 0.01  # share of its mass that a cutter has in a hand that does not hold it
_PARKED = (0.3, 0.3, 0.0)  # where the body waits that a cut-off tail will be [m]


@dataclass(slots=True)
class FullReadings(StrapReadings):
    """Adds to tying's readings. Once the tail is cut, `nodes` end where the strap does, and `past` is the stub.

    Attributes:
        jaw: angle between the blades, 0 closed to 0.6 [rad].
        torque: of the jaw's drive, negative while it closes [Nm].
        has_cutter: whether the gripper holds the cutter.
        pivot: (3,) where the blades meet, in the scene's frame [m].
        blades: (3, 3) orientation of the cutter; its -y axis runs along the lower blade, its z axis towards the upper one.
        loop: length of strap before the head, along the strap [m].
        severed: whether the tail has been cut.
        gap: from the strap's end to the nearest point of the tail that was cut off; 0 before [m].
        loop_cut: whether the strap has been cut anywhere but in a tail that had come through the head.
    """

    jaw: float
    torque: float
    has_cutter: bool
    pivot: np.ndarray
    blades: np.ndarray
    loop: float
    severed: bool
    gap: float
    loop_cut: bool

    def along_blades(self, point: np.ndarray) -> np.ndarray:
        """A point (3,) of the scene as (off the blades' plane, from the hinge along the lower blade, above its edge) [m]."""
        local: np.ndarray = self.blades.T @ (point - self.pivot)
        local[1] = -local[1]
        return local


class ZipTieFullScene(TieScene):
    """Builds and operates the model of the whole job.

    `drive` takes (7,): the velocity of the end effector's target [m/s, rad/s] and the gripper: above 0 closes, below opens. Fingers that
    close take the strap as in tying, or the cutter where that lies between them, and hold the cutter to the end; from then on it is the
    jaw: -1 opens to 1 closes, as a share of JAW_STEP.

    A tree of links cannot come apart, so a cut hides the links beyond it, and a rigid body that waited aside takes their places and shape.

    Args:
        tie: what strap, head, gripper and drives may be in an episode, and at a station.
        cut: what it takes to cut, how the cutter slips in the fingers, and where it lies.
    """

    xml = Path(__file__).with_name("scene.xml")
    memory = 5
    mutable = (
        *TieScene.mutable, "geom_contype", "geom_conaffinity", "geom_rgba", "body_gravcomp", "body_mass", "body_inertia",
    )  # fmt: skip

    def __init__(self, tie: TieLevel, cut: CutLevel) -> None:
        super().__init__(tie)
        assert cut.station is not None
        self._cutting, self._usual = cut, cut.station
        self._slip, self.cutter = np.zeros(6), np.array(CUTTER)

    def install(self, rng: np.random.Generator) -> None:
        """Draw what tying draws of a station, where its cutter usually lies, and how its fingers have it."""
        super().install(rng)
        self.cutter = np.array(CUTTER)
        self.cutter[:2] += rng.uniform(-1, 1, 2) * self._usual.cutter
        self._slip = _six(self._usual.slip) * rng.uniform(-1, 1, 6)

    # -- the model ---------------------------------------------------------------------------------------------------
    def build(self) -> mujoco.MjModel:
        """Compile the model; must come before all else."""
        model = super().build()
        self._strap = np.array([model.geom(f"strap{k}").id for k in range(LINKS)])
        self._offcut = model.body("offcut").id
        self._pieces = np.array([model.body(f"offcut{k}").id for k in range(LINKS)])
        self._shown = np.array([model.geom(f"offcut{k}").id for k in range(LINKS)])
        self._loose = np.isin(np.arange(model.ngeom), [*self._strap, *self._shown])
        self._yielding = np.isin(np.arange(model.ngeom), [model.geom(name).id for name in ("bench", "lower", "upper")])
        self._cutter, self._lying = model.body("cutter").id, model.body("lying").id
        self._heavy = [self._cutter, model.body("upper").id]
        self._fingers = [model.body(f"finger{sign}").id for sign in (-1, 1)]
        self._halves = [model.geom(name).id for name in ("housing", "lower", "upper", "lever")]
        self._lying_halves = [model.geom(f"lying_{name}").id for name in ("housing", "lower", "upper", "lever")]
        self._edges = (model.geom("lower").id, model.geom("upper").id)
        self._jaw = model.joint("jaw").qposadr[0]
        self._fresh = {name: getattr(model, name).copy() for name in self.mutable}
        return model

    def _add_fingers(self, spec: mujoco.MjSpec) -> None:
        """Two that open, the cutter that they may hold, and the one on its post."""
        for axis in "xyz":
            spec.actuator(f"ee_{axis}").actrange = [-0.15, 0.15]
        spec.actuator("ee_rz").actrange = [-TURNABLE, TURNABLE]
        bench = spec.geom("bench")
        bench.contype, bench.solref = 1, [0.008, 1]
        # bodies of their own: MuJoCo looks for contacts of a body's geoms where they were compiled
        for sign in (-1, 1):
            body = spec.body("tool").add_body(name=f"finger{sign}")
            body.add_geom(spec.find_default("finger"), name=f"finger{sign}", size=[FINGER, 0.003, 0.004], mass=0)
        parts.add_cutter(spec, weight=True)
        parts.add_lying_cutter(spec)
        post = spec.body("lying").geoms[0]
        post.size, post.pos = POST, [0, -0.020, -0.004 - POST[2]]

    def _add_strap(self, spec: mujoco.MjSpec) -> None:
        """Tying's, which blades meet as well; and what will be its cut-off tail."""
        strap = spec.find_default("strap")
        strap.geom.conaffinity = 5
        super()._add_strap(spec)
        offcut = spec.worldbody.add_body(
            name="offcut", pos=_PARKED, gravcomp=1, mass=0.004, inertia=[2e-7, 8e-7, 8e-7], ipos=[0, 0, 0], explicitinertial=True
        )  # fmt: skip
        offcut.add_freejoint(name="offcut")
        for k in range(LINKS):
            offcut.add_body(name=f"offcut{k}").add_geom(
                strap, name=f"offcut{k}", size=[LINK / 2, WIDTH / 2, THICKNESS / 2], mass=0,
                material="tip" if k == LINKS - 1 else "strap",
            )  # fmt: skip

    # -- an episode --------------------------------------------------------------------------------------------------
    def place(
        self, model: mujoco.MjModel, data: mujoco.MjData, start: dict[str, Any], rng: np.random.Generator
    ) -> None:
        """As tying does, with the cutter at `cutter` (x, y, yaw) on its post. Draws what both levels leave open."""
        for name, value in self._fresh.items():
            getattr(model, name)[:] = value
        self._touchable(model, np.array([*self._halves, *self._shown]), False)
        super().place(model, data, start, rng)
        data.userdata[_HELD : self.memory] = 0.0
        data.userdata[_CUT_FORCE] = rng.uniform(*self._cutting.cut_force)
        data.qpos[self._jaw] = data.act[6] = OPEN
        # until it is grasped, how a cutter will sit in the fingers less how it lies between them
        slip = self._slip + rng.uniform(-1, 1, 6) * _six(self._cutting.slip)
        model.body_pos[self._cutter] = slip[:3]
        mujoco.mju_mat2Quat(model.body_quat[self._cutter], end_effector.rotation(slip[3:]).ravel())
        model.body_mass[self._heavy] *= _EMPTY
        model.body_inertia[self._heavy] *= _EMPTY
        x, y, yaw = start["cutter"]
        model.body_pos[self._lying] = np.add(self.cutter, (x, y, 0.0))
        model.body_quat[self._lying] = (math.cos(yaw / 2), 0, 0, math.sin(yaw / 2))
        self._spread(model, 0.0)

    def _touchable(self, model: mujoco.MjModel, geoms: np.ndarray, there: bool) -> None:
        """Let geoms be there, to be seen and touched, or not."""
        for name in ("geom_contype", "geom_conaffinity", "geom_rgba"):
            getattr(model, name)[geoms] = self._fresh[name][geoms]
        if not there:
            model.geom_contype[geoms] = model.geom_conaffinity[geoms] = 0
            model.geom_rgba[geoms, 3] = 0.0

    def _spread(self, model: mujoco.MjModel, opening: float) -> None:
        """Let the fingers be as far apart as they are."""
        for sign, body in zip((-1, 1), self._fingers, strict=True):
            model.body_pos[body, 2] = sign * (0.004 + THICKNESS / 2 + SPREAD * opening)

    def drive(self, model: mujoco.MjModel, data: mujoco.MjData, command: np.ndarray) -> None:
        """Cut where the blades press, let the ratchet catch, then hold `command` (7,) for one control period; see the class."""
        memory = data.userdata
        closing = data.actuator_force[6] < -0.02  # without which nothing parts
        if memory[_HELD] and closing and not memory[_CUT_AT]:
            self._cut(model, data)
        self._engage_ratchet(model, data)
        arrived = self._delay.exchange(memory[self.memory :], command)
        data.ctrl[:6] = arrived[:6]
        if memory[_HELD]:
            data.ctrl[6] = -arrived[6] * JAW_STEP * 30.0
            return
        data.ctrl[6] = 0.0
        before = memory[0]
        memory[0] = opening = min(max(before - GRIP_RATE * np.sign(arrived[6]), 0.0), 1.0)
        if opening > 0.3:
            data.eq_active[:] = 0
        if before > HANDLE >= opening and cutter.within_reach(data, self._tool, self._lying):
            memory[0], memory[_HELD] = HANDLE, 1.0
            cutter.take(model, data, self._tool, self._lying, self._cutter)
            self._touchable(model, np.array(self._halves), True)
            model.geom_rgba[self._lying_halves, 3] = 0.0
            for name in ("body_mass", "body_inertia"):
                getattr(model, name)[self._heavy] = self._fresh[name][self._heavy]
        elif before > 0 and opening == 0.0 and not data.eq_active.any():
            self._grasp(model, data)
        self._spread(model, memory[0])

    # -- cutting -----------------------------------------------------------------------------------------------------
    def _cut(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Part the strap where both blades press on it hard enough: its links count as one, for a blade may lie over two of them."""
        if not cutter.pressed(data, self._edges, data.userdata[_CUT_FORCE], as_one=self._strap):
            return
        plane, at = data.xmat[self._cutter].reshape(3, 3)[:, 0], data.xpos[self._cutter]
        nearest: tuple[float, int, float, float] | None = None
        for k in self._between(data):
            axes = data.xmat[self._links[k]].reshape(3, 3)
            normal = axes.T @ plane  # of the plane, in the link's frame
            if abs(normal[0]) < 0.2:
                continue  # blades along the strap pinch it and no more
            along = float((at - data.xpos[self._links[k]]) @ plane / normal[0])
            half = float((KERF + np.abs(normal[1:]) @ (WIDTH, THICKNESS)) / 2 / abs(normal[0]))
            off = max(-along, along - LINK, 0.0)
            if nearest is None or off < nearest[0]:
                nearest = off, k, min(max(along, 0.0), LINK), half
        if nearest is None:
            return
        _, k, along, half = nearest
        end = k * LINK + max(along - half, 0.0)
        if end > LINKS * LINK - past_head(self._seen_from_head(data)):
            self._part(model, data, k, along - half, along + half)
            data.userdata[_CUT_AT] = end
        else:
            self._touchable(model, self._strap[k : k + 1], False)
            data.userdata[_LOOP_CUT] = 1.0

    def _between(self, data: mujoco.MjData) -> list[int]:
        """The links that a blade touches."""
        pairs = data.contact.geom
        touched = pairs[np.isin(pairs, self._edges).any(axis=1)]
        return np.flatnonzero(np.isin(self._strap, touched)).tolist()

    def _part(self, model: mujoco.MjModel, data: mujoco.MjData, k: int, end: float, begin: float) -> None:
        """Leave link k up to `end`, and give what there is from `begin` on, both along it [m], to the body that was parked."""
        places, axes = data.xpos[self._links], data.xmat[self._links].reshape(-1, 3, 3)
        middle = places[k:].mean(axis=0)
        at = model.jnt_qposadr[model.body_jntadr[self._offcut]]
        data.qpos[at : at + 7] = (*middle, 1, 0, 0, 0)
        model.body_gravcomp[self._offcut] = 0.0  # what is loose falls
        first, begin = (k, begin) if begin < LINK - 1e-4 else (k + 1, max(begin - LINK, 0.0))
        for j in range(first, LINKS):
            low = begin if j == first else 0.0
            model.body_pos[self._pieces[j]] = places[j] + axes[j, :, 0] * (low + LINK) / 2 - middle
            mujoco.mju_mat2Quat(model.body_quat[self._pieces[j]], axes[j].ravel())
            model.geom_size[self._shown[j], 0] = (LINK - low) / 2
        self._touchable(model, self._shown[first:], True)
        self._touchable(model, self._strap[k + 1 :], False)
        end = max(end, 1e-5)
        model.geom_size[self._strap[k], 0] = model.geom_pos[self._strap[k], 0] = end / 2

    def _engage_ratchet(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """As in tying; a stub that is shorter than a tooth is held by none."""
        if data.userdata[_CUT_AT] and self._ends(data)[0] < TOOTH:
            model.tendon_range[:, 1] = 3.0
            model.tendon_frictionloss[:] = 0.0
        else:
            super()._engage_ratchet(model, data)

    # -- reading -----------------------------------------------------------------------------------------------------
    def _seen_from_head(self, data: mujoco.MjData) -> np.ndarray:
        """(LINKS + 1, 3) joints of the whole strap, also of what is hidden, in the head's frame [m]."""
        nodes: np.ndarray = (self._nodes(data) - self._head[:3]) @ self._axes
        return nodes

    def _ends(self, data: mujoco.MjData) -> tuple[float, float, np.ndarray]:
        """Strap beyond the head, strap before it [m], and its joints as far as it goes, in the head's frame."""
        nodes, whole = self._seen_from_head(data), LINKS * LINK
        past, end = float(past_head(nodes)), float(data.userdata[_CUT_AT])
        if end:
            past -= whole - end
            k = min(int(end / LINK), LINKS - 1)
            last = nodes[k] + (end / LINK - k) * (nodes[k + 1] - nodes[k])
            nodes = np.concatenate([nodes[: k + 1], last[None]])
        return past, (end or whole) - past - SLOT, nodes

    def read(self, model: mujoco.MjModel, data: mujoco.MjData) -> FullReadings:
        """The readings at the end of the last physics step."""
        past, loop, nodes = self._ends(data)
        severed, has_cutter = bool(data.userdata[_CUT_AT]), bool(data.userdata[_HELD])
        gap = self._gap(model, data, self._axes @ nodes[-1] + self._head[:3]) if severed else 0.0
        body = self._cutter if has_cutter else self._lying
        blades = data.xmat[body].reshape(3, 3).copy()
        return end_effector.read(
            FullReadings, data, depth=self._depth(data),
            nodes=nodes, past=past, opening=float(data.userdata[0]), held=bool(data.eq_active.any()), head=self._head, axes=self._axes,
            jaw=float(data.qpos[self._jaw]), torque=float(data.actuator_force[6]), has_cutter=has_cutter,
            pivot=data.xpos[body] - PIVOT * blades[:, 1], blades=blades, loop=loop, severed=severed, gap=gap,
            loop_cut=bool(data.userdata[_LOOP_CUT]),
        )  # fmt: skip

    def _gap(self, model: mujoco.MjModel, data: mujoco.MjData, end: np.ndarray) -> float:
        """From a point (3,) of the scene to the nearest one along the middle of the cut-off tail [m]."""
        there = np.flatnonzero(model.geom_contype[self._shown])
        bodies = self._pieces[there]
        along, half = data.xmat[bodies][:, ::3], model.geom_size[self._shown[there], 0]
        off = end - data.xpos[bodies]
        share = np.clip((off * along).sum(axis=1), -half, half)
        return float(np.linalg.norm(off - share[:, None] * along, axis=1).min(initial=math.inf))

    def _depth(self, data: mujoco.MjData) -> float:
        """Deepest penetration, but for the strap's with the bench, to which it falls, and with the blades, which are to go into it."""
        if not data.ncon:
            return 0.0
        pairs = data.contact.geom
        harmless = self._yielding[pairs].any(axis=1) & self._loose[pairs].any(axis=1)
        return max(-float(np.minimum.reduce(data.contact.dist[~harmless], initial=0.0)), 0.0)

    @property
    def probes(self) -> Mapping[str, Callable[[mujoco.MjModel, mujoco.MjData], None]]:
        """ "tug": hold still, let what is loose fall, pull the strap back with 10 N where it goes into the head, look."""
        return {"tug": self._tug}

    def _tug(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        end_effector.hold(model, data)
        data.ctrl[6] = 0.0
        data.eq_active[:] = 0
        self._run(model, data, 10)
        places = (data.xpos[self._links] - self._head[:3]) @ self._axes
        behind = np.flatnonzero(places[:, 0] + LINK / 2 < 0)
        self.pull_back(model, data, self._links[behind[-1] if len(behind) else 0], TUG, steps=15)
        self._run(model, data, 3)


def _six(each: tuple[float, float]) -> np.ndarray:
    """(along an axis [m], about an axis [degrees]) as (6,) [m, rad]."""
    return np.repeat([each[0], math.radians(each[1])], 3)


#: The middle of the lower blade's edge from the hinge [m].
MIDDLE = BLADE / 2
