"""The MuJoCo side of filling a pin board: a gripper that opens and closes, nine pins in a tray, nine holes in a board.

Only one pin is ever held, so there is one body for it, and one bore that lies under whichever hole is nearest: elsewhere the plate is
the same. What is where is written in MuJoCo's user data, so that it is part of the state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from enpire_envs import end_effector, pin_insertion
from enpire_envs.appearance import APPEARANCE, Appearance
from enpire_envs.end_effector import EndEffectorReadings
from enpire_envs.levels import ActionDelay
from enpire_envs.pin_insertion.levels import PinLevel
from enpire_envs.pin_insertion.scene import (
    HOLE_DEPTH,
    HOLE_RADIUS,
    PIN_LENGTH,
    add_hole,
    add_pin,
    drives_of,
    grasp,
    set_stiffness,
)
from enpire_envs.pin_insertion.view import CAMERA, add_camera
from enpire_envs.randomise import disc

_XML = Path(pin_insertion.__file__).with_name("scene.xml")

PINS = 9
BOARD, TRAY = np.array([0.028, 0.0]), np.array([-0.040, 0.0])  # their centres, before a station has moved them [m]
TRAY_PITCH = 0.015
TRAY_DEPTH = 0.010  # of a tray's pocket: a pin's tip is so far below the plate's top [m]
GRIP_HEIGHT = PIN_LENGTH - TRAY_DEPTH  # of the tool over the plate where it has a tray's pin as it should [m]
GRIP_REACH = np.array([0.003, 0.0025, 0.003])  # how far off the tool may be and still get hold of a pin [m]
HELD_WIDTH, LET_GO_WIDTH = 0.3, 0.6  # gripper openings (1: open) at which a pin is held, and let go
DEEP_ENOUGH = 0.018
_HEAD = 0.012  # of a pin between the fingers [m]
MOVED = 0.002  # how far board and tray may be off at a station [m]
STANDS_OFF = 0.0004  # how far a pin stands off its place in the tray [m]
_EDGE = 0.020  # of the plate around the bore [m]
_GONE = -1.0  # the height at which a tray's pin is drawn that is not there [m]
_TRAY, _HELD, _LOST = -1, -2, -3  # where a pin can be, beside the holes 0 to 8
_OFFSET, _TILT, _RADIUS, _STAND, _DRAWS = slice(0, 2), slice(2, 4), 4, slice(5, 7), 7  # what an episode draws of a pin


@dataclass(slots=True)
class BoardReadings(EndEffectorReadings):
    """Adds to the end effector's readings (origin between tray and board at the plate's top, z up):

    Attributes:
        tip: (3,) the held pin's tip centre, or where it would be [m].
        axis: (3,) unit vector along it, upwards.
        opening: of the gripper: 0 closed, 1 open.
        holding: which pin is held, or None.
        where: (9,) of each pin: the hole that it is in, or -1 in the tray, -2 held, -3 lost.
        hole: the one nearest to the tip.
        insertion: how far the held pin's tip is below the plate's top inside that hole [m].
    """

    tip: np.ndarray
    axis: np.ndarray
    opening: float
    holding: int | None
    where: np.ndarray
    hole: int
    insertion: float

    @property
    def placed(self) -> int:
        """How many pins are in holes."""
        return int((self.where >= 0).sum())


class BoardScene:
    """Builds and operates the pin board.

    Args:
        level: of pin insertion, whose pins, drives and looks this has.

    `drive` takes the velocity (6,) of the end effector's target [m/s, rad/s] and the share of its opening that the gripper closes by.
    """

    mutable = (
        *APPEARANCE, "geom_friction", "geom_size", "geom_rgba", "geom_pos", "geom_contype", "geom_conaffinity", "body_pos", "body_quat",
        "actuator_gainprm", "actuator_biasprm",
    )  # fmt: skip

    def __init__(self, level: PinLevel) -> None:
        assert level.station is not None
        assert level.view is not None
        self._level, self._station, self._view = level, level.station, level.view
        self._delay = ActionDelay(level.delay[1] + level.station.delay, 7)
        self._slippery = self._stiff = 1.0
        self._usual_offset, self._usual_delay = np.zeros(2), 0
        self.holes, self.pockets = np.zeros((PINS, 2)), np.zeros((PINS, 2))

    # -- building ----------------------------------------------------------------------------------------------------
    def build(self) -> mujoco.MjModel:
        """Compile the model; must come before all else."""
        spec = end_effector.load(_XML)
        world, cylinder, box = spec.worldbody, mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_BOX
        bore = world.add_body(name="bore")
        add_hole(spec, bore, _EDGE)
        for geom in bore.geoms:
            geom.group = 4  # not drawn
        add_pin(spec, HOLE_RADIUS - self._level.clearance[0] / 2, self._level.chamfer)
        add_camera(spec, np.array([0, 0, -PIN_LENGTH]))
        world.add_camera(name="overview", pos=[0.0, -0.20, 0.17], xyaxes=[1, 0, 0, 0, 0.648, 0.762], fovy=30)
        away = [0.001, 0, 0]  # MuJoCo never looks at the place of a geom that is compiled at its body's origin
        for name, material in (("board", "plate"), ("tray", "bench")):
            world.add_geom(
                name=name, type=box, size=[0.027, 0.027, HOLE_DEPTH / 2], pos=[0.001, 0, -HOLE_DEPTH / 2], material=material
            )  # fmt: skip
        fit = spec.find_default("fit")
        for k in range(PINS):
            for name in ("hole", "pocket"):
                world.add_geom(name=f"{name}{k}", type=cylinder, size=[HOLE_RADIUS, 1e-4, 0], pos=away, material="bore")
            # A pin that stands in a hole is in the way of others, so it has a body of its own: MuJoCo looks for contacts of a body's
            # geoms where they were compiled. One in the tray is only seen.
            height = (PIN_LENGTH - HOLE_DEPTH + _HEAD) / 2
            world.add_body(name=f"placed{k}").add_geom(
                fit, name=f"placed{k}", type=cylinder, size=[HOLE_RADIUS, height, 0], pos=[0, 0, height], material="pin"
            )
            height = (PIN_LENGTH - TRAY_DEPTH + _HEAD) / 2
            world.add_geom(
                name=f"waiting{k}", type=cylinder, size=[HOLE_RADIUS, height, 0], pos=[0, 0, height], material="pin"
            )
        spec.nuserdata = self._delay.size + 2 + PINS + PINS * _DRAWS
        model = spec.compile()
        self._tip, self._pin, self._held = model.site("tip").id, model.geom("pin").id, model.body("held").id
        self._bore, self._tool = model.body("bore").id, model.body("tool").id
        self._fingers = [model.geom(f"finger{sign}").id for sign in (-1, 1)]
        self._geoms = {
            name: [model.geom(f"{name}{k}").id for k in range(PINS)] for name in ("hole", "pocket", "placed", "waiting")
        }
        self._drives = drives_of(model)
        self._appearance = Appearance(model, ("plate", "bore", "pin", "finger", "bench"), (CAMERA,))
        return model

    def install(self, rng: np.random.Generator) -> None:
        """Draw a station: friction, stiffness, delay, how the gripper holds pins, where board and tray are, and how it all looks."""
        station, view = self._station, self._station.view
        assert view is not None
        self._slippery, self._stiff = rng.uniform(*station.friction), rng.uniform(*station.stiffness)
        self._usual_offset = disc(rng, station.grip_offset)
        self._usual_delay = int(rng.integers(station.delay + 1))
        pitch, turn = rng.uniform(*view.pitch), math.radians(rng.uniform(-view.turn, view.turn))
        self.holes = BOARD + rng.uniform(-MOVED, MOVED, 2) + _grid(pitch, turn)
        self.pockets = TRAY + rng.uniform(-MOVED, MOVED, 2) + _grid(TRAY_PITCH, 0.0)
        self._appearance.install(view.look, rng)

    # -- an episode --------------------------------------------------------------------------------------------------
    def place(
        self, model: mujoco.MjModel, data: mujoco.MjData, start: dict[str, Any], rng: np.random.Generator
    ) -> None:
        """All pins in the tray, the open gripper at `tool` (3,) [m] with nothing in it. Draws what the level leaves open."""
        level = self._level
        self._appearance.draw(model, self._view.look, rng)
        friction, low, high = level.friction
        model.geom_friction[:, 0] = self._slippery * friction * rng.uniform(low, high)
        set_stiffness(model, self._drives, self._stiff * rng.uniform(*level.stiffness))
        delay = self._usual_delay + int(rng.integers(level.delay[0], level.delay[1] + 1))
        delayed, gripper, where, draws = self._memory(data)
        self._delay.begin(delayed, delay)
        gripper[:], where[:] = (1.0, 0.0), _TRAY
        for k, drawn in enumerate(draws):
            drawn[_OFFSET] = self._usual_offset + disc(rng, level.grip_offset)
            drawn[_TILT] = disc(rng, math.radians(level.grip_tilt))
            drawn[_RADIUS] = HOLE_RADIUS - rng.uniform(*level.clearance) / 2
            drawn[_STAND] = self.pockets[k] + disc(rng, STANDS_OFF)
        for name, places in (("hole", self.holes), ("pocket", self.pockets)):
            model.geom_pos[self._geoms[name], :2] = places
        for name, places in (("board", self.holes), ("tray", self.pockets)):
            model.geom(name).pos[:2] = places[PINS // 2]
        model.geom_pos[self._geoms["waiting"], :2] = draws[:, _STAND]
        model.body_pos[[model.body(f"placed{k}").id for k in range(PINS)], :2] = self.holes
        end_effector.place(data, np.array([*start["tool"], 0.0, 0.0, 0.0]))
        self._show(model, data)
        self._move_bore(model, np.asarray(start["tool"]))

    def _memory(self, data: mujoco.MjData) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Views of the user data: commands under way; the gripper's opening and what closes it; where pins are (9,); their draws (9, 7)."""
        n = self._delay.size
        memory = data.userdata
        return memory[:n], memory[n : n + 2], memory[n + 2 : n + 2 + PINS], memory[n + 2 + PINS :].reshape(PINS, _DRAWS)

    def drive(self, model: mujoco.MjModel, data: mujoco.MjData, command: np.ndarray) -> None:
        """Move the end effector's target with the velocity `command[:6]`, and the fingers by `command[6]`."""
        arrived = self._delay.exchange(self._memory(data)[0], command)
        data.ctrl[:] = arrived[:6]
        tip = data.site_xpos[self._tip]
        if tip[2] > 0.001:
            self._move_bore(model, tip)
        if arrived[6]:
            self._grip(model, data, float(arrived[6]))

    def _move_bore(self, model: mujoco.MjModel, tip: np.ndarray) -> None:
        model.body_pos[self._bore, :2] = self.holes[self._nearest(tip)]

    def _nearest(self, tip: np.ndarray) -> int:
        return int(np.argmin(((self.holes - tip[:2]) ** 2).sum(axis=1)))

    def _grip(self, model: mujoco.MjModel, data: mujoco.MjData, closing: float) -> None:
        """Close (or open) by a share of the opening; take what is between the fingers, or let go of it."""
        _, gripper, where, draws = self._memory(data)
        before = gripper[0]
        held = np.flatnonzero(where == _HELD)
        gripper[0] = min(1.0, max(HELD_WIDTH if len(held) else 0.0, before - closing))
        if len(held) and gripper[0] >= LET_GO_WIDTH:
            where[held[0]] = self._left_at(data, draws[held[0]])
        elif not len(held) and gripper[0] <= HELD_WIDTH < before:
            tool = data.xpos[self._tool]
            for k in np.flatnonzero(where == _TRAY):
                off = tool - (*draws[k, _STAND], GRIP_HEIGHT)
                if (np.abs(off) <= GRIP_REACH).all():
                    # the fingers close along x and centre the pin between them; along y and z it stays as it is
                    x, y = draws[k, _OFFSET]
                    grasp(model, self._held, (x, y - off[1], -PIN_LENGTH - off[2]), draws[k, _TILT])
                    model.geom_size[self._pin, 0] = draws[k, _RADIUS]
                    where[k], gripper[0] = _HELD, HELD_WIDTH
                    break
        self._show(model, data)

    def _left_at(self, data: mujoco.MjData, drawn: np.ndarray) -> int:
        """Where a pin is that the fingers let go of: in a hole or its pocket where it stands there, else lost."""
        tip, axis = data.site_xpos[self._tip], data.site_xmat[self._tip][2::3]
        hole = self._nearest(tip)
        if tip[2] <= -DEEP_ENOUGH and in_bore(tip, axis, self.holes[hole]):
            return hole
        in_pocket = np.hypot(*(tip[:2] - drawn[_STAND])) < HOLE_RADIUS and tip[2] < -TRAY_DEPTH / 2
        return _TRAY if in_pocket else _LOST

    def _show(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Let pins be where they are, and fingers as far apart as they are."""
        _, gripper, where, _ = self._memory(data)
        held = bool((where == _HELD).any())
        model.geom_rgba[self._pin, 3] = float(held)
        model.geom_contype[self._pin] = model.geom_conaffinity[self._pin] = int(held)
        taken, placed = np.isin(np.arange(PINS), where), self._geoms["placed"]
        model.geom_rgba[placed, 3] = model.geom_contype[placed] = model.geom_conaffinity[placed] = taken
        bottom = model.geom_size[self._geoms["waiting"], 1]
        model.geom_pos[self._geoms["waiting"], 2] = np.where(where == _TRAY, bottom, _GONE)
        for sign, finger in zip((-1, 1), self._fingers, strict=True):
            model.geom_pos[finger, 0] = sign * (0.006 + 0.003 * (gripper[0] - HELD_WIDTH))

    def stand(self, data: mujoco.MjData, pin: int) -> np.ndarray:
        """Where a pin of the tray stands, (2,) [m]."""
        place: np.ndarray = self._memory(data)[3][pin, _STAND]
        return place

    def underway(self, data: mujoco.MjData) -> np.ndarray:
        """The sum (7,) of what has been commanded and has not arrived."""
        return self._delay.underway(self._memory(data)[0])

    def read(self, model: mujoco.MjModel, data: mujoco.MjData) -> BoardReadings:
        """The readings at the end of the last physics step."""
        _, gripper, where, _ = self._memory(data)
        tip, axis = data.site_xpos[self._tip].copy(), data.site_xmat[self._tip][2::3].copy()
        held, hole = np.flatnonzero(where == _HELD), self._nearest(tip)
        inside = len(held) > 0 and math.hypot(*(tip[:2] - self.holes[hole])) < HOLE_RADIUS
        return end_effector.read(
            BoardReadings, data, tip=tip, axis=axis, opening=float(gripper[0]), holding=int(held[0]) if len(held) else None,
            where=where.astype(int), hole=hole, insertion=max(0.0, float(-tip[2])) if inside else 0.0,
        )  # fmt: skip

    @property
    def probes(self) -> Mapping[str, Callable[[mujoco.MjModel, mujoco.MjData], None]]:
        """None: what stands in the board is all there is to see."""
        return {}


def in_bore(tip: np.ndarray, axis: np.ndarray, hole: np.ndarray) -> bool:
    """Whether the inserted part of a pin's axis lies inside a hole's cylinder: at the tip and where it enters."""
    entry = tip - axis * (tip[2] / axis[2])
    return bool(np.hypot(*(tip[:2] - hole)) < HOLE_RADIUS and np.hypot(*(entry[:2] - hole)) < HOLE_RADIUS)


def _grid(pitch: float, turn: float) -> np.ndarray:
    """Places (9, 2) of a square grid around the origin [m]."""
    cos, sin = math.cos(turn), math.sin(turn)
    places = pitch * np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    return places @ np.array([[cos, sin], [-sin, cos]])
