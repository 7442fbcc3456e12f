"""The MuJoCo side of pin insertion."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from enpire_envs import end_effector
from enpire_envs.end_effector import EndEffectorReadings
from enpire_envs.levels import ActionDelay
from enpire_envs.pin_insertion.levels import PinLevel
from enpire_envs.pin_insertion.view import PinView
from enpire_envs.randomise import disc

_XML = Path(__file__).with_name("scene.xml")

HOLE_RADIUS = 0.0020  # [m]
HOLE_DEPTH = 0.020
PITCH = 0.015  # between the holes of the 3 x 3 grid
PIN_LENGTH = 0.030  # below the fingers
_SIDES = 12
_RING = 0.004  # thickness of the ring's boxes, radially
_HOLD_STEPS = 15  # control periods of 1/30 s
_MUTABLE = (
    "geom_friction", "body_pos", "geom_rgba", "geom_size", "body_quat", "actuator_gainprm", "actuator_biasprm",
)  # fmt: skip


@dataclass(slots=True)
class PinReadings(EndEffectorReadings):
    """Adds to the end effector's readings (origin: target hole at the plate's top, z up):

    Attributes:
        tip: (3,) the pin's tip centre [m].
        axis: (3,) unit vector along the pin, upwards.
        insertion: how far the tip is below the plate's top [m], 0 unless it is inside the hole's bore.
        grip_offset: (2,) how far the tip is, across the gripper, from where a gripper that holds it well has it [m].
        held: smallest insertion depth and largest force over the last "hold" probe, or None.
    """

    tip: np.ndarray
    axis: np.ndarray
    insertion: float
    grip_offset: np.ndarray
    held: tuple[float, float] | None = None


class PinScene:
    """Builds and operates the pin insertion model.

    Args:
        level: what the pin, the gripper and the drives may be in an episode.

    `drive` takes the velocity (6,) of the end effector's target [m/s, rad/s].
    """

    def __init__(self, level: PinLevel) -> None:
        self._level, station = level, level.station
        self._delay = ActionDelay(level.delay[1] + (station.delay if station else 0), 6)
        self.view = PinView(level.view) if level.view else None
        self.mutable = _MUTABLE + (self.view.mutable if self.view else ())
        self._held: tuple[float, float] | None = None
        self._tip = self._grid = self._pin = self._grip = -1
        self._drives = np.zeros((2, 6))
        self._grip_offset = np.zeros(2)
        # what this station's episodes have in common
        self._slippery = self._stiff = 1.0
        self._usual_offset, self._usual_delay = np.zeros(2), 0

    def build(self) -> mujoco.MjModel:
        """Compile the model; must come before all else."""
        spec = end_effector.load(_XML)
        add_hole(spec, spec.worldbody, edge=0.045)
        # The widest pin of the level: a thinner one stays inside the bounds that MuJoCo derives from this size.
        add_pin(spec, HOLE_RADIUS - self._level.clearance[0] / 2, self._level.chamfer)
        if self.view:
            self.view.add(spec, np.array([0, 0, -PIN_LENGTH]), HOLE_DEPTH, HOLE_RADIUS)
        else:
            _paint_holes(spec)
        spec.nuserdata = self._delay.size  # commands under way, so that they are part of the state
        model = spec.compile()
        self._tip = model.site("tip").id
        if self.view:
            self.view.compiled(model)
        else:
            self._grid = model.body("grid").id
        self._pin, self._grip = model.geom("pin").id, model.body("held").id
        self._drives = drives_of(model)
        return model

    def install(self, rng: np.random.Generator) -> None:
        """Draw what the level's `station` leaves open."""
        station = self._level.station
        assert station is not None
        self._slippery, self._stiff = rng.uniform(*station.friction), rng.uniform(*station.stiffness)
        self._usual_offset = disc(rng, station.grip_offset)
        self._usual_delay = int(rng.integers(station.delay + 1))
        if self.view:
            assert station.view is not None
            self.view.install(station.view, rng)

    def place(
        self, model: mujoco.MjModel, data: mujoco.MjData, start: dict[str, Any], rng: np.random.Generator
    ) -> None:
        """The pin's tip at `tip` [m] from the target hole, the gripper tilted by `tilt` [rad]; `hole` (column, row) is the target.

        Draws what the level leaves open: friction, clearance, stiffness, how the pin sits in the gripper, the delay, and how all looks.
        """
        column, row = start["hole"]
        level = self._level
        friction, low, high = level.friction
        model.geom_friction[model.geom_contype != 0, 0] = self._slippery * friction * rng.uniform(low, high)
        model.geom_size[self._pin, 0] = HOLE_RADIUS - rng.uniform(*level.clearance) / 2
        set_stiffness(model, self._drives, self._stiff * rng.uniform(*level.stiffness))
        self._grip_offset = offset = self._usual_offset + disc(rng, level.grip_offset)
        grasp(model, self._grip, (*offset, -PIN_LENGTH), disc(rng, math.radians(level.grip_tilt)))
        end_effector.place(data, end_effector.pose_over(start["tip"], start["tilt"], (*-offset, PIN_LENGTH)))
        delay = self._usual_delay + int(rng.integers(level.delay[0], level.delay[1] + 1))
        self._delay.begin(data.userdata, delay)
        self._held = None
        if self.view:
            self.view.draw(model, column, row, rng.spawn(1)[0])
        else:
            model.body_pos[self._grid] = ((1 - column) * PITCH, (1 - row) * PITCH, 0)
            _show_holes(model, column, row)

    def drive(self, model: mujoco.MjModel, data: mujoco.MjData, command: np.ndarray) -> None:
        """Let the end effector's target move with the velocity `command` (6,) [m/s, rad/s]."""
        data.ctrl[:] = self._delay.exchange(data.userdata, command)

    def underway(self, data: mujoco.MjData) -> np.ndarray:
        """The sum (6,) of the velocities that have been commanded and not yet driven [m/s, rad/s]."""
        return self._delay.underway(data.userdata)

    def read(self, model: mujoco.MjModel, data: mujoco.MjData) -> PinReadings:
        """The readings at the end of the last physics step."""
        tip = data.site_xpos[self._tip].copy()
        axis = data.site_xmat[self._tip][2::3].copy()
        return end_effector.read(
            PinReadings, data, tip=tip, axis=axis, insertion=_insertion(*tip.tolist()), grip_offset=self._grip_offset,
            held=self._held,
        )  # fmt: skip

    @property
    def probes(self) -> Mapping[str, Callable[[mujoco.MjModel, mujoco.MjData], None]]:
        """ "hold": stop pressing, hold still for 0.5 s, look."""
        return {"hold": self._hold}

    def _hold(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Stop pressing, hold the pose for 0.5 s, and keep the worst of what is seen (force after it has settled)."""
        end_effector.hold(model, data)
        least, most = math.inf, 0.0
        for k in range(_HOLD_STEPS):
            mujoco.mj_step(model, data, 20)
            now = self.read(model, data)
            least = min(least, now.insertion)
            if k >= 3:
                most = max(most, now.force)
        self._held = (least, most)


def _insertion(x: float, y: float, z: float) -> float:
    return max(0.0, -z) if math.hypot(x, y) < HOLE_RADIUS else 0.0


def _paint_holes(spec: mujoco.MjSpec) -> None:
    """What the other eight holes look like to the fixed camera; the body is moved so that the target is any of the nine."""
    grid = spec.worldbody.add_body(name="grid")
    for i in (-2, -1, 0, 1, 2):
        for j in (-2, -1, 0, 1, 2):
            grid.add_geom(type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=[HOLE_RADIUS, 0.0001, 0],
                          pos=[i * PITCH, j * PITCH, 0.00005], material="bore", name=f"hole{i + 2}{j + 2}")  # fmt: skip


def _show_holes(model: mujoco.MjModel, column: int, row: int) -> None:
    """Nine of the painted holes belong to the box; the target's own bore is real."""
    for i in range(5):
        for j in range(5):
            inside = 1 <= i <= 3 and 1 <= j <= 3 and (i - 1, j - 1) != (column, row)
            model.geom(f"hole{i}{j}").rgba[3] = float(inside)


# -- parts that other scenes with such pins and holes are made of --------------------------------------------------------------
def add_hole(spec: mujoco.MjSpec, body: Any, edge: float) -> None:
    """Add a hole to a body, and plate around it up to `edge` [m] from its axis; the body's origin is the hole's at the plate's top."""
    wall = spec.find_default("wall")
    half = HOLE_DEPTH / 2
    centre = HOLE_RADIUS + _RING / 2
    outer = HOLE_RADIUS + _RING
    width = outer * math.tan(math.pi / _SIDES)  # so that neighbours meet at the ring's outside
    for k in range(_SIDES):
        angle = 2 * math.pi * k / _SIDES
        body.add_geom(
            wall, name=f"ring{k}", size=[_RING / 2, width, half], pos=[centre * math.cos(angle), centre * math.sin(angle), -half],
            quat=[math.cos(angle / 2), 0, 0, math.sin(angle / 2)],
        )  # fmt: skip
    # The plate around the ring, and the floor. Its inner edge lies under the ring's boxes, so there is no gap.
    inner = HOLE_RADIUS + 0.6 * _RING
    reach = (edge - inner) / 2
    for k, (x, y) in enumerate(((1, 0), (-1, 0), (0, 1), (0, -1))):
        size = [reach, edge, half] if x else [inner, reach, half]
        body.add_geom(wall, name=f"plate{k}", size=size, pos=[x * (inner + reach), y * (inner + reach), -half])
    body.add_geom(
        wall, name="floor", size=[2 * outer, 2 * outer, 0.002], pos=[0, 0, -HOLE_DEPTH - 0.002], material="bore"
    )


def add_pin(spec: mujoco.MjSpec, radius: float, chamfer: float) -> None:
    """Add fingers to the tool, and a pin to the fingers: body "held", geom "pin", site "tip"."""
    tool, fit = spec.body("tool"), spec.find_default("fit")
    held = tool.add_body(name="held")
    shaft = (PIN_LENGTH - chamfer) / 2
    cylinder = mujoco.mjtGeom.mjGEOM_CYLINDER
    held.add_geom(fit, name="pin", type=cylinder, size=[radius, shaft, 0], pos=[0, 0, -shaft], material="pin", mass=0)
    if chamfer:
        held.add_geom(fit, name="pin_tip", type=cylinder, size=[radius - chamfer, chamfer / 2, 0],
                      pos=[0, 0, -PIN_LENGTH + chamfer / 2], material="pin", mass=0)  # fmt: skip
    held.add_site(name="tip", pos=[0, 0, -PIN_LENGTH], size=[0.0001] * 3, rgba=[0, 0, 0, 0])
    for sign in (-1, 1):
        tool.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.004, 0.006, 0.012], pos=[sign * (radius + 0.004), 0, 0.006],
                      material="finger", mass=0, name=f"finger{sign}")  # fmt: skip


def drives_of(model: mujoco.MjModel) -> np.ndarray:
    """Stiffness and damping (2, 6) of the end effector's drives as compiled."""
    return np.stack([model.actuator_gainprm[:6, 0], model.actuator_biasprm[:6, 2]])


def set_stiffness(model: mujoco.MjModel, drives: np.ndarray, factor: float) -> None:
    """Make the end effector `factor` times as stiff as compiled, and its damping as far from critical as before."""
    gain, damping = drives
    model.actuator_gainprm[:6, 0], model.actuator_biasprm[:6, 1] = factor * gain, -factor * gain
    model.actuator_biasprm[:6, 2] = math.sqrt(factor) * damping


def grasp(model: mujoco.MjModel, held: int, tip: Sequence[float], tilt: np.ndarray) -> None:
    """Let the fingers hold the pin (body `held`) so that its tip is at `tip` (3,) of the tool's frame [m], tilted by `tilt` (2,) [rad]."""
    angle, matrix = math.hypot(*tilt), np.zeros(9)
    quat = model.body_quat[held]
    mujoco.mju_axisAngle2Quat(quat, np.array([*tilt, 0.0]) / (angle or 1.0), angle)
    mujoco.mju_quat2Mat(matrix, quat)
    model.body_pos[held] = tip + matrix.reshape(3, 3) @ (0, 0, PIN_LENGTH)
