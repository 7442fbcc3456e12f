"""The MuJoCo side of Push-T: arena, target, placing, driving and reading."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from enpire_envs.pusht.geometry import BAR, STEM

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
FRICTION_SPREAD = 0.1  # of the table's friction, from one episode to another


@dataclass(slots=True)
class PushTReadings:
    """What a Push-T cell knows at one instant (table frame).

    Attributes:
        time: seconds since reset.
        tip: (x, y) of the fingertip [m].
        tip_target: (x, y) of the last commanded fingertip position [m].
        block: (x, y, yaw) of the T [m, rad].
        force: magnitude of the drive force on the fingertip [N].
    """

    time: float
    tip: tuple[float, float]
    tip_target: tuple[float, float]
    block: tuple[float, float, float]
    force: float


class PushTScene:
    """Builds and operates the Push-T model in one arena.

    `drive` takes the velocity (2,) of the fingertip's target [m/s].
    """

    mutable = ("geom_friction",)
    # qpos and qvel layout of scene.xml
    _BLOCK = slice(0, 4)  # x, y, z, yaw
    _TIP = slice(4, 6)

    def __init__(self, arena: Arena, friction_spread: float = FRICTION_SPREAD) -> None:
        self.arena = arena
        self._spread = friction_spread
        self._foot = -1
        self._foot_friction = np.zeros(3)

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
        model = spec.compile()
        self._foot = model.geom("foot").id
        self._foot_friction = model.geom("foot").friction.copy()
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
        """The T at `block` (x, y, yaw) and the fingertip at `tip` (x, y) [m, rad]; draws the table's friction."""
        x, y, yaw = start["block"]
        data.qpos[self._BLOCK] = (x, y, 0.0, yaw)
        data.qpos[self._TIP] = start["tip"]
        data.act[:] = start["tip"]
        # Tables differ: sliding and torsional friction of the foot scale together (same pressure pattern).
        model.geom_friction[self._foot] = self._foot_friction * rng.uniform(1 - self._spread, 1 + self._spread)

    def drive(self, model: mujoco.MjModel, data: mujoco.MjData, command: np.ndarray) -> None:
        """Let the fingertip's target move with the velocity `command` (2,) [m/s]."""
        data.ctrl[:] = command

    def read(self, model: mujoco.MjModel, data: mujoco.MjData) -> PushTReadings:
        """The readings at the end of the last physics step."""
        x, y, _, yaw, tip_x, tip_y = data.qpos.tolist()
        fx, fy = data.actuator_force.tolist()
        target_x, target_y = data.act.tolist()
        return PushTReadings(data.time, (tip_x, tip_y), (target_x, target_y), (x, y, yaw), math.hypot(fx, fy))

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
