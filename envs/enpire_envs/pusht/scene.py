"""The MuJoCo side of Push-T: arena, target, placing, driving and reading."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from enpire_envs.appearance import APPEARANCE, Appearance
from enpire_envs.levels import ActionDelay
from enpire_envs.pusht.geometry import BAR, STEM
from enpire_envs.pusht.levels import LEVELS, PushTLevel, Spread
from enpire_envs.randomise import disc

_XML = Path(__file__).with_name("scene.xml")
_SETTLE_S = 0.3  # a T let go at 50 mm/s comes to rest in 13 ms


@dataclass(frozen=True, slots=True)
class Arena:
    """Where the fingertip may go and where the target lies.

    Attributes:
        half: half extents (x, y) of the fingertip's workspace [m].
        goal: target pose of the T's centroid (x, y, yaw) [m, rad].
        tip_radius: fingertip radius [m].
        walls: whether walls stand at the workspace's edge.
    """

    half: tuple[float, float]
    goal: tuple[float, float, float]
    tip_radius: float
    walls: bool


#: The paper's station workspace: 0.60 m across and 0.47 m away from the robot; target upright in the top image.
STATION = Arena(half=(0.30, 0.235), goal=(0.0, 0.0, 0.0), tip_radius=0.015, walls=False)
#: gym-pusht's 512 x 512 px at 30 px per bar width, target turned by 45 degrees about its bar's outer edge.
_HALF = 256 * 0.040 / 30
_OFFSET = 19 / 14 * 0.040 * math.sqrt(0.5)
GYM_PUSHT = Arena(half=(_HALF, _HALF), goal=(-_OFFSET, _OFFSET, math.pi / 4), tip_radius=0.020, walls=True)
ARENAS = {"station": STATION, "gym-pusht": GYM_PUSHT}


@dataclass(slots=True)
class PushTReadings:
    """What a Push-T cell knows at one instant (table frame).

    Attributes:
        time: seconds since reset.
        tip: (x, y) of the fingertip [m].
        tip_target: (x, y) of the last commanded fingertip position [m].
        block: (x, y, yaw) of the T [m, rad].
        force: magnitude of the drive force on the fingertip [N].
        pushed: (x, y) force of the drives on the fingertip [N].
        tip_offset: (x, y) from where the arm has its fingertip to where that is [m].
        arm: direction from the fingertip to the arm's base [rad].
    """

    time: float
    tip: tuple[float, float]
    tip_target: tuple[float, float]
    block: tuple[float, float, float]
    force: float
    pushed: tuple[float, float] = (0.0, 0.0)
    tip_offset: tuple[float, float] = (0.0, 0.0)
    arm: float = -math.pi / 2


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What was drawn from a `Spread`."""

    friction: float = 1.0
    torsion: float = 1.0
    pressure: np.ndarray = field(default_factory=lambda: np.zeros(2))
    tip_friction: float = 1.0
    stiffness: float = 1.0
    tip_offset: np.ndarray = field(default_factory=lambda: np.zeros(2))

    @classmethod
    def of(cls, spread: Spread, rng: np.random.Generator) -> _Drawn:
        return cls(
            friction=rng.uniform(*spread.friction),
            torsion=rng.uniform(*spread.torsion),
            pressure=disc(rng, spread.pressure),
            tip_friction=rng.uniform(*spread.tip_friction),
            stiffness=rng.uniform(*spread.stiffness),
            tip_offset=disc(rng, spread.tip_offset),
        )


class PushTScene:
    """Builds and operates the Push-T model in one arena.

    Args:
        arena: where the fingertip may go.
        level: what table, T, arm and light may be at a station and in an episode.

    `drive` takes the velocity (2,) of the fingertip's target [m/s].
    """

    mutable = (
        "geom_friction", "geom_pos", "body_pos", "body_quat", "actuator_gainprm", "actuator_biasprm", *APPEARANCE,
    )  # fmt: skip
    # qpos and qvel layout of scene.xml
    _BLOCK = slice(0, 4)  # x, y, z, yaw
    _TIP = slice(4, 6)

    def __init__(self, arena: Arena, level: PushTLevel = LEVELS["intro"]) -> None:
        self.arena, self._level = arena, level
        self._delay = ActionDelay(level.delay[1], 2)
        self._station = _Drawn()
        self._tip_offset, self._arm_direction = np.zeros(2), -math.pi / 2
        self._foot = self._tip = self._arm = -1
        self._prints: list[int] = []
        self._compiled: dict[str, np.ndarray] = {}
        self._appearance: Appearance | None = None

    def build(self) -> mujoco.MjModel:
        """Compile the model; must come before all else."""
        spec = mujoco.MjSpec.from_file(str(_XML))
        arena = self.arena
        for name, (x0, x1, y0, y1) in {"bar": BAR, "stem": STEM}.items():
            pos = [(x0 + x1) / 2, (y0 + y1) / 2, 0.0]
            size = [(x1 - x0) / 2, (y1 - y0) / 2, 0.015]
            geom = spec.geom(name)
            geom.pos, geom.size = pos, size
            c, s = math.cos(arena.goal[2]), math.sin(arena.goal[2])
            spec.worldbody.add_geom(
                spec.find_default("paint"), name=f"target_{name}", material="target", size=[size[0], size[1], 0.0004],
                pos=[arena.goal[0] + c * pos[0] - s * pos[1], arena.goal[1] + s * pos[0] + c * pos[1], 0.0004],
                quat=[math.cos(arena.goal[2] / 2), 0, 0, math.sin(arena.goal[2] / 2)],
            )  # fmt: skip
        if self._level.arm:
            _add_arm(spec, arena.tip_radius)
        prints = [_add_t_print(spec, k) for k in range(self._level.decoys)]
        prints += [_add_sheet(spec, k) for k in range(self._level.clutter)]
        for k, half in enumerate(arena.half):
            spec.actuator(f"drive_{'xy'[k]}").actrange = [-half, half]
        spec.geom("tip").size[0] = arena.tip_radius
        for k in (0, 1):
            for sign in (-1, 1):
                self._add_border(spec, axis=k, sign=sign)
        height = 2.0  # far and narrow: little parallax
        reach = max(arena.half) + 0.03
        camera = spec.camera("top")
        camera.pos, camera.fovy = [0, 0, height], math.degrees(2 * math.atan(reach / height))
        spec.nuserdata = self._delay.size  # commands under way, so that they are part of the state
        model = spec.compile()
        self._foot, self._tip = model.geom("foot").id, model.geom("tip").id
        self._arm = model.body("arm").id if self._level.arm else -1
        self._prints = [model.body(name).id for name in prints]
        self._compiled = {
            name: getattr(model, name).copy()
            for name in ("geom_friction", "geom_pos", "actuator_gainprm", "actuator_biasprm")
        }
        self._appearance = Appearance(model, ("table", "block", "target", "tip", "line", "arm", "gripper"), ("top",))
        return model

    def _add_border(self, spec: mujoco.MjSpec, axis: int, sign: int) -> None:
        """A painted line at the edge of the workspace, or a wall."""
        half, r = self.arena.half, self.arena.tip_radius
        pos, size = [0.0, 0.0, 0.0002], [half[0] + 0.002, half[1] + 0.002, 0.0002]
        pos[axis], size[axis] = sign * (half[axis] + 0.002), 0.002
        look = {"name": f"border_{'xy'[axis]}{'-+'[sign > 0]}", "material": "line"}
        if self.arena.walls:
            size = [half[0] + r, half[1] + r, 0.015]
            pos[axis], size[axis], pos[2] = sign * (half[axis] + r + 0.01), 0.01, 0.015
            spec.worldbody.add_geom(
                name=look["name"], material="wall", type=mujoco.mjtGeom.mjGEOM_BOX, pos=pos, size=size
            )
        else:
            spec.worldbody.add_geom(spec.find_default("paint"), pos=pos, size=size, **look)

    def place(
        self, model: mujoco.MjModel, data: mujoco.MjData, start: dict[str, Any], rng: np.random.Generator
    ) -> None:
        """The T at `block` (x, y, yaw) and the fingertip at `tip` (x, y) [m, rad]; draws what the level leaves open."""
        x, y, yaw = start["block"]
        data.qpos[self._BLOCK] = (x, y, 0.0, yaw)
        data.qpos[self._TIP] = start["tip"]
        data.act[:] = start["tip"]
        episode, station, was = _Drawn.of(self._level.episode, rng), self._station, self._compiled
        # Tables differ: sliding and torsional friction of the foot scale together where the pressure pattern is the same.
        friction = was["geom_friction"][self._foot] * (station.friction * episode.friction)
        friction[1] *= station.torsion * episode.torsion
        model.geom_friction[self._foot] = friction
        model.geom_friction[self._tip, 0] = (
            was["geom_friction"][self._tip, 0] * station.tip_friction * episode.tip_friction
        )
        model.geom_pos[self._foot, :2] = was["geom_pos"][self._foot, :2] + station.pressure + episode.pressure
        stiffness = station.stiffness * episode.stiffness
        model.actuator_gainprm[:, 0] = was["actuator_gainprm"][:, 0] * stiffness
        model.actuator_biasprm[:, 1] = was["actuator_biasprm"][:, 1] * stiffness
        model.actuator_biasprm[:, 2] = was["actuator_biasprm"][:, 2] * math.sqrt(stiffness)  # damped as before
        self._tip_offset = station.tip_offset + episode.tip_offset
        self._delay.begin(data.userdata, int(rng.integers(self._level.delay[0], self._level.delay[1] + 1)))
        if self._arm >= 0:
            # the arm is drawn towards -y
            turn = (self._arm_direction + math.pi / 2) / 2
            model.body_quat[self._arm] = (math.cos(turn), 0, 0, math.sin(turn))
        self._lay_prints(model, rng)
        assert self._appearance is not None
        self._appearance.draw(model, self._level.episode.look, rng)

    def _lay_prints(self, model: mujoco.MjModel, rng: np.random.Generator) -> None:
        """What is printed on the table lies anywhere, turned anyhow; the target's print is on top."""
        for k in self._prints:
            model.body_pos[k, :2] = rng.uniform(-1, 1, 2) * self.arena.half
            yaw = rng.uniform(-math.pi, math.pi)
            model.body_quat[k] = (math.cos(yaw / 2), 0, 0, math.sin(yaw / 2))

    def install(self, rng: np.random.Generator) -> None:
        """Draw what stays with a station: table, fingertip, drives, the arm's place, and how things look."""
        self._station = _Drawn.of(self._level.station, rng)
        if arm := self._level.arm:
            self._arm_direction = -math.pi / 2 + math.radians(rng.uniform(-arm.direction, arm.direction))
        assert self._appearance is not None
        self._appearance.install(self._level.station.look, rng)

    def drive(self, model: mujoco.MjModel, data: mujoco.MjData, command: np.ndarray) -> None:
        """Let the fingertip's target move with the velocity `command` (2,) [m/s], after the delay."""
        data.ctrl[:] = self._delay.exchange(data.userdata, command)

    def underway(self, data: mujoco.MjData) -> np.ndarray:
        """The sum (2,) of the velocities that have been commanded and not yet driven [m/s]."""
        return self._delay.underway(data.userdata)

    def read(self, model: mujoco.MjModel, data: mujoco.MjData) -> PushTReadings:
        """The readings at the end of the last physics step."""
        x, y, _, yaw, tip_x, tip_y = data.qpos.tolist()
        fx, fy = data.actuator_force.tolist()
        target_x, target_y = data.act.tolist()
        dx, dy = self._tip_offset
        return PushTReadings(
            data.time,
            (tip_x, tip_y),
            (target_x, target_y),
            (x, y, yaw),
            math.hypot(fx, fy),
            (fx, fy),
            (dx, dy),
            self._arm_direction,
        )

    @property
    def probes(self) -> Mapping[str, Callable[[mujoco.MjModel, mujoco.MjData], None]]:
        """ "clear_view": lift the fingertip away, let the T come to rest, look."""
        return {"clear_view": self._clear_view}

    def _clear_view(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Lift the fingertip off the table, out of the camera's view, and let the T come to rest.

        In this planar model a vertical lift is the fingertip ceasing to be there: it is put outside the arena.
        """
        data.qpos[self._TIP] = (self.arena.half[0] + 0.4, 0.0)
        data.qvel[self._TIP] = 0.0
        flags = model.opt.disableflags
        model.opt.disableflags = flags | mujoco.mjtDisableBit.mjDSBL_ACTUATION  # motors do not pull while lifted
        try:
            mujoco.mj_step(model, data, round(_SETTLE_S / model.opt.timestep))
        finally:
            model.opt.disableflags = flags


def _add_arm(spec: mujoco.MjSpec, tip_radius: float) -> None:
    """What a top camera sees of the arm that holds the fingertip: a gripper, and a forearm towards its base at -y."""
    arm = spec.body("tip").add_body(name="arm")
    look = spec.find_default("paint")
    arm.add_geom(look, name="gripper", material="gripper", size=[0.045, 0.025, 0.045], pos=[0, 0, 0.105], mass=0)
    arm.add_geom(
        look, name="arm", material="arm", type=mujoco.mjtGeom.mjGEOM_CAPSULE, size=[0.038, 0, 0], mass=0,
        fromto=[0, -0.02, 0.17, 0, -0.75, 0.38],
    )  # fmt: skip


def _add_t_print(spec: mujoco.MjSpec, k: int) -> str:
    """A flat T of another colour, anywhere on the table."""
    body = spec.worldbody.add_body(name=f"decoy{k}")
    for name, (x0, x1, y0, y1) in {"bar": BAR, "stem": STEM}.items():
        body.add_geom(
            spec.find_default("paint"), name=f"decoy{k}_{name}", material="decoy",
            size=[(x1 - x0) / 2, (y1 - y0) / 2, 0.0002], pos=[(x0 + x1) / 2, (y0 + y1) / 2, 0.0002],
        )  # fmt: skip
    return body.name


def _add_sheet(spec: mujoco.MjSpec, k: int) -> str:
    """A sheet of paper, a strip of tape and the like."""
    body = spec.worldbody.add_body(name=f"sheet{k}")
    size = [[0.03, 0.02], [0.06, 0.006], [0.015, 0.015], [0.05, 0.012]][k % 4]
    body.add_geom(
        spec.find_default("paint"), name=f"sheet{k}", material=f"sheet{k % 4}", size=[*size, 0.0001], pos=[0, 0, 0.0001]
    )
    return body.name
