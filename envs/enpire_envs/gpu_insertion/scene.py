"""The MuJoCo side of GPU insertion."""

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

HALF_LENGTH, HALF_THICKNESS = 0.042, 0.0008  # of the card's edge connector [m]
GAP = 0.0003  # slot width less connector thickness
END_CLEARANCE = 0.0005  # slot length less connector length
DEPTH = 0.009
CHAMFER = 0.0005
CARD = 0.040  # from the connector's lower edge up to the grasp
HALF_SLOT = HALF_THICKNESS + GAP / 2
HALF_SLOT_LENGTH = HALF_LENGTH + END_CLEARANCE / 2
TAB = np.array([0.046, 0.0, 0.012])  # centre of the tab, from the middle of the connector's lower edge
STIFFNESS = 2500.0  # of the end effector's slides [N/m]
FRICTION = 0.2  # nominal
TUG = 10.0  # [N]
_SOFT = 0.0001  # what soft contacts give way under load [m]
_TUG_STEPS = 15  # control periods of 1/30 s


@dataclass(slots=True)
class CardReadings(EndEffectorReadings):
    """Adds to the end effector's readings (origin: slot's mouth; x along the slot, z up):

    Attributes:
        ends: (2, 3) the two lower corners of the connector's middle plane [m].
        latched: the latch's nose is back over the tab.
        seated: depth of the shallower end below the slot's mouth [m]; 0 unless both ends are inside the slot.
    """

    ends: np.ndarray
    latched: bool
    seated: float


class CardScene:
    """Builds and operates the GPU insertion model. `drive` takes the velocity (6,) of the end effector's target."""

    def __init__(self) -> None:
        self._ends: list[int] = []
        self._tab = self._latch = self._latch_qpos = -1

    mutable = ("geom_friction",)

    def build(self) -> mujoco.MjModel:
        """Compile the model; must come before all else."""
        spec = end_effector.load(_XML)
        end_effector.stiffen(spec, slide=STIFFNESS, hinge=60.0, force_z=90.0, torque=6.0)
        self._add_slot(spec)
        self._add_card(spec)
        model = spec.compile()
        self._ends = [model.site(name).id for name in ("end_a", "end_b")]
        self._tab, self._latch = model.geom("tab").id, model.geom("latch").id
        self._latch_qpos = model.joint("latch").qposadr[0]
        return model

    def _add_slot(self, spec: mujoco.MjSpec) -> None:
        """Walls, ends and floor; each wall is cut back at the mouth and given a 45 degree lead-in."""
        wide, long = 0.004, HALF_SLOT_LENGTH
        thick = 0.0003
        lead = CHAMFER / math.sqrt(2)
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
                    spec.worldbody.add_geom(spec.find_default("wall"), name=f"{label}_{name}", size=size, pos=pos)

                box("wall", inner, inner + CHAMFER, -CHAMFER)
                box("rim", inner + CHAMFER, inner + wide, 0.0)
                # the lead-in's face runs from (inner, -CHAMFER) to (inner + CHAMFER, 0)
                offset = inner + CHAMFER / 2 + thick / math.sqrt(2)
                height = -CHAMFER / 2 - thick / math.sqrt(2)
                size = [reach, lead, thick] if across else [lead, reach, thick]
                pos = [0, sign * offset, height] if across else [sign * offset, 0, height]
                turn = sign * math.pi / 8 * (1 if across else -1)
                quat = [math.cos(turn), math.sin(turn), 0, 0] if across else [math.cos(turn), 0, math.sin(turn), 0]
                spec.worldbody.add_geom(spec.find_default("wall"), name=f"lead_{name}", size=size, pos=pos, quat=quat)
        spec.worldbody.add_geom(spec.find_default("wall"), name="floor", size=[long + wide, HALF_SLOT + wide, 0.001],
                                pos=[0, 0, -DEPTH - 0.001])  # fmt: skip

    def _add_card(self, spec: mujoco.MjSpec) -> None:
        tool, tongue = spec.body("tool"), spec.find_default("tongue")
        half = 0.007
        box = mujoco.mjtGeom.mjGEOM_BOX
        tool.add_geom(tongue, name="tongue", size=[HALF_LENGTH, HALF_THICKNESS, half], pos=[0, 0, half - CARD])
        side = 0.002 / math.sqrt(2)
        turn = math.pi / 8
        tool.add_geom(tongue, name="tab", size=[side, 0.003, side], pos=(TAB - (0, 0, CARD)).tolist(),
                      quat=[math.cos(turn), 0, math.sin(turn), 0])  # fmt: skip
        for name, sign in (("end_a", -1), ("end_b", 1)):
            tool.add_site(name=name, pos=[sign * HALF_LENGTH, 0, -CARD], size=[0.0001] * 3, rgba=[0, 0, 0, 0])
        look = [("pcb", [0.045, 0.0008, 0.013], [0, 0, 0.027 - CARD], "card"),
                ("shroud", [0.043, 0.006, 0.012], [0, 0.006, 0.034 - CARD], "shroud"),
                ("bracket", [0.0012, 0.003, 0.014], [TAB[0] - 0.002, 0, 0.026 - CARD], "latch")]  # fmt: skip
        for name, size, pos, material in look:
            tool.add_geom(name=name, type=box, size=size, pos=pos, material=material, mass=0)

    def place(
        self, model: mujoco.MjModel, data: mujoco.MjData, start: dict[str, Any], rng: np.random.Generator
    ) -> None:
        """The card's edge at `edge` [m] from the slot's mouth, turned by `turn` [rad]; draws the friction."""
        end_effector.place(data, end_effector.pose_over(start["edge"], start["turn"], (0, 0, CARD)))
        end_effector.draw_friction(model, FRICTION, rng)

    def drive(self, model: mujoco.MjModel, data: mujoco.MjData, command: np.ndarray) -> None:
        """Let the end effector's target move with the velocity `command` (6,) [m/s, rad/s]."""
        data.ctrl[:] = command

    def read(self, model: mujoco.MjModel, data: mujoco.MjData) -> CardReadings:
        """The readings at the end of the last physics step."""
        nose = data.geom_xpos[self._latch]
        over = nose[2] - data.geom_xpos[self._tab][2]
        latched = bool(0.0012 < over < 0.004 and data.qpos[self._latch_qpos] < 0.0005)
        ends = data.site_xpos[self._ends]
        return end_effector.read(CardReadings, data, ends=ends, latched=latched, seated=_seated(*ends.tolist()))

    @property
    def probes(self) -> Mapping[str, Callable[[mujoco.MjModel, mujoco.MjData], None]]:
        """ "tug": stop pressing, pull with 10 N, look."""
        return {"tug": self._tug}

    def _tug(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Stop pressing, then pull upwards with 10 N for half a second."""
        end_effector.hold(model, data)
        mujoco.mj_step(model, data, 30 * 3)
        data.act[2] = data.qpos[2] + TUG / STIFFNESS
        mujoco.mj_step(model, data, 30 * _TUG_STEPS)


def _seated(a: list[float], b: list[float]) -> float:
    x, y = max(abs(a[0]), abs(b[0])), max(abs(a[1]), abs(b[1]))
    inside = x < HALF_SLOT_LENGTH + _SOFT and y < HALF_SLOT + _SOFT
    return max(0.0, -max(a[2], b[2])) if inside else 0.0
