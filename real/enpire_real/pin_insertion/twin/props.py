"""The fixture with its holes, and a pin, in the twin's model."""

from __future__ import annotations

import math
from typing import Any

import mujoco
import numpy as np
from enpire_envs.pin_insertion.levels import INTRO
from enpire_envs.pin_insertion.scene import HOLE_DEPTH, HOLE_RADIUS, PIN_LENGTH, PITCH, add_hole
from scipy.spatial.transform import Rotation

from enpire_real.kinematics import Pose
from enpire_real.pin_insertion.equipment import (
    COLLAR,
    COLLAR_HALF,
    GREEN,
    HANDLE,
    HANDLE_HALF,
    NEST,
    NEST_BORE,
    NEST_FUNNEL,
    NEST_HALF,
    NEST_MOUTH,
    ORANGE,
    PIN_MASS,
    PLATE_HALF,
    PLATE_HEIGHT,
    hole,
)
from enpire_real.pin_insertion.eyes import MARKED
from enpire_real.pin_insertion.section import PinSection
from enpire_real.twin.grasp import PAINT, add_markers, firm_fingers

_SHIFT, _TURN = 0.004, math.radians(2)  # how far a station's fixture is off its nominal place, uniform +- [m, rad]
_LOOSE = math.radians(15)  # how far a dispensed pin is turned
_HIDDEN = 4  # MuJoCo's renderer leaves this group of geoms out
_BOX, _CYLINDER = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER


class PinProps:
    """Fixture and pin. A placement is "nest", (column, row) of a hole, or a pose (7,) of the pin in the station's frame.

    Args:
        section: where the fixture stands.
    """

    def __init__(self, section: PinSection) -> None:
        self._nominal, self._arm = section.fixture, section.arm
        self._fixture = self._nominal  # where it stands
        self._pin = self._dof = 0  # where the pin's pose begins in qpos, and its velocity in qvel

    def build(self, spec: mujoco.MjSpec, friction: float) -> None:
        """Add the fixture and the pin."""
        firm_fingers(spec, self._arm)
        fit, wall = _surfaces(spec, friction)
        fixture = spec.worldbody.add_body(name="fixture", pos=self._nominal.position, quat=self._nominal.quat())
        _add_plate(spec, fixture, wall, friction)
        _add_nest(fixture, wall)
        _add_pin(spec, fit, INTRO.clearance[0], INTRO.chamfer)

    def place(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator, placement: Any) -> None:
        """Shift the fixture as this station has it, and stand the pin in its nest, or where `placement` says."""
        shift, turn = rng.uniform(-_SHIFT, _SHIFT, 2), rng.uniform(-_TURN, _TURN)
        self._fixture = self._nominal @ Pose(np.array([*shift, 0.0]), Rotation.from_euler("z", turn).as_matrix())
        body = model.body("fixture")
        body.pos, body.quat = self._fixture.position, self._fixture.quat()
        self._pin = int(model.joint("pin").qposadr[0])
        self._dof = int(model.joint("pin").dofadr[0])
        if placement is None:
            placement = "nest"
        if isinstance(placement, str):
            self.dispense(data, rng)
        elif len(placement) == 2:
            self._stand(data, hole(*placement), PIN_LENGTH - HOLE_DEPTH, 0.0)
        else:
            data.qpos[self._pin : self._pin + 7] = placement

    def dispense(self, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """A pin in the nest, as a magazine of square handles lets it out; the one that lay about is gone."""
        self._stand(data, NEST, 0.0, rng.uniform(-_LOOSE, _LOOSE))

    def _stand(self, data: mujoco.MjData, at: tuple[float, float], height: float, turn: float) -> None:
        """The pin upright, its collar's lower face at `height` over the plate's top."""
        pose = self._fixture @ Pose(np.array([*at, height + 0.0005]), Rotation.from_euler("z", turn).as_matrix())
        data.qpos[self._pin : self._pin + 7] = *pose.position, *pose.quat()
        data.qvel[self._dof : self._dof + 6] = 0.0

    def truth(self, data: mujoco.MjData) -> dict[str, Any]:
        """`fixture`: its pose in the station's frame; `pin_tip` (3,) [m] and `pin_axis` (3,), upwards, in the fixture's."""
        pin = self._fixture.inverse() @ Pose.from_quat(
            data.qpos[self._pin : self._pin + 3], data.qpos[self._pin + 3 : self._pin + 7]
        )
        axis = pin.rotation[:, 2]
        return {"fixture": self._fixture, "pin_tip": pin.position - PIN_LENGTH * axis, "pin_axis": axis}


def _surfaces(spec: mujoco.MjSpec, friction: float) -> tuple[mujoco.MjsDefault, mujoco.MjsDefault]:
    """Contact as in the simulated task: defaults of what fits into each other, and of the fixture's walls, which are not drawn."""
    fit = spec.add_default("fit", spec.default)
    fit.geom.condim, fit.geom.friction = 4, (INTRO.friction[0] * friction, 0.002, 0.0)
    fit.geom.solref[:2], fit.geom.solimp[:3] = (0.004, 1.0), (0.95, 0.99, 0.0002)
    wall = spec.add_default("wall", fit)
    wall.geom.type, wall.geom.group = _BOX, _HIDDEN
    for name, rgba in (("plate", (0.62, 0.66, 0.70, 1)), ("bore", (0.16, 0.17, 0.19, 1))):
        spec.add_material(name=name, rgba=rgba)
    return fit, wall


def _add_plate(spec: mujoco.MjSpec, fixture: mujoco.MjsBody, wall: mujoco.MjsDefault, friction: float) -> None:
    """Nine holes as the simulated task has them, bare metal around, and over it what is seen."""
    half = HOLE_DEPTH / 2
    for column in range(3):
        for row in range(3):
            x, y = hole(column, row)
            part = mujoco.MjSpec()
            _surfaces(part, friction)
            add_hole(part, part.worldbody.add_body(name="hole"), edge=PITCH / 2)
            spec.attach(part, prefix=f"{column}{row}_", frame=fixture.add_frame(pos=(x, y, 0)))
            fixture.add_geom(name=f"seen{column}{row}", type=_CYLINDER, size=[HOLE_RADIUS, 0.0002, 0],
                             pos=(x, y, 0.0), material="bore", **PAINT)  # fmt: skip
    inner = 1.5 * PITCH
    reach = (PLATE_HALF - inner) / 2
    for k, (x, y) in enumerate(((1, 0), (-1, 0), (0, 1), (0, -1))):
        size = [reach, PLATE_HALF, half] if x else [inner, reach, half]
        fixture.add_geom(wall, name=f"rim{k}", size=size, pos=(x * (inner + reach), y * (inner + reach), -half))
    fixture.add_geom(name="plate", type=_BOX, size=(PLATE_HALF, PLATE_HALF, PLATE_HEIGHT / 2),
                     pos=(0, 0, -PLATE_HEIGHT / 2), material="plate", **PAINT)  # fmt: skip
    add_markers(spec, fixture, MARKED.plate, Pose.identity())
    add_markers(spec, fixture, MARKED.face, MARKED.face_pose)


def _add_nest(fixture: mujoco.MjsBody, wall: mujoco.MjsDefault) -> None:
    """A wide bore in which a pin stands on its collar, with a funnel that forgives a few millimetres."""
    nest = fixture.add_body(name="nest", pos=(*NEST, 0))
    deep = PIN_LENGTH + 0.003
    thick = 0.001
    slope = math.hypot(NEST_MOUTH - NEST_BORE, NEST_FUNNEL) / 2
    for k in range(4):
        turn = Rotation.from_euler("z", k * math.pi / 2)

        def put(
            name: str, pos: tuple[float, float, float], size: list[float], tilt: float = 0.0, turn=turn, k=k
        ) -> None:
            quat = (turn * Rotation.from_euler("y", tilt)).as_quat(scalar_first=True)
            nest.add_geom(wall, name=f"nest_{name}{k}", pos=turn.apply(pos), quat=quat, size=size)

        middle = ((NEST_MOUTH + NEST_BORE) / 2 + thick * math.sqrt(0.5), 0, -NEST_FUNNEL / 2 - thick * math.sqrt(0.5))
        put("funnel", middle, [slope, NEST_MOUTH, thick], tilt=-math.pi / 4)
        width = (NEST_HALF - NEST_MOUTH) / 2
        put("rim", (NEST_MOUTH + width, 0, -NEST_FUNNEL / 2), [width, NEST_HALF, NEST_FUNNEL / 2])
        width = (NEST_HALF - NEST_BORE) / 2
        put("bore", (NEST_BORE + width, 0, -(NEST_FUNNEL + deep) / 2), [width, NEST_HALF, (deep - NEST_FUNNEL) / 2])
    nest.add_geom(name="nest", type=_BOX, size=(NEST_HALF, NEST_HALF, PLATE_HEIGHT / 2),
                  pos=(0, 0, -PLATE_HEIGHT / 2), material="plate", **PAINT)  # fmt: skip
    nest.add_geom(name="seen_nest", type=_BOX, size=(NEST_MOUTH, NEST_MOUTH, 0.0002), pos=(0, 0, 0), material="bore",
                  **PAINT)  # fmt: skip


def _add_pin(spec: mujoco.MjSpec, fit: mujoco.MjsDefault, clearance: float, chamfer: float) -> None:
    """Shaft and step as the simulated task has them, under a collar and a handle of plastic. Origin: the collar's lower face."""
    pin = spec.worldbody.add_body(name="pin")
    pin.add_freejoint(name="pin")
    pin.mass, pin.ipos, pin.fullinertia = PIN_MASS, (0, 0, 0.004), (8e-6, 8e-6, 3e-6, 0, 0, 0)
    pin.explicitinertial = True
    radius, shaft = HOLE_RADIUS - clearance / 2, (PIN_LENGTH - chamfer) / 2
    brass = {"rgba": (*ORANGE, 1), "type": _CYLINDER, "mass": 0}
    pin.add_geom(fit, name="pin", size=[radius, shaft, 0], pos=(0, 0, -shaft), **brass)
    pin.add_geom(
        fit, name="pin_tip", size=[radius - chamfer, chamfer / 2, 0], pos=(0, 0, -PIN_LENGTH + chamfer / 2), **brass
    )
    plastic = {"rgba": (*GREEN, 1), "type": _BOX, "mass": 0}
    pin.add_geom(fit, name="collar", size=(COLLAR_HALF, COLLAR_HALF, COLLAR / 2), pos=(0, 0, COLLAR / 2), **plastic)
    pin.add_geom(
        fit, name="handle", size=(HANDLE_HALF, HANDLE_HALF, HANDLE / 2), pos=(0, 0, COLLAR + HANDLE / 2), **plastic
    )
