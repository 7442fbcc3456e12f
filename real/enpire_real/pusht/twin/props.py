"""The printed mat and the T, in the twin's model."""

from __future__ import annotations

import math
from typing import Any

import mujoco
import numpy as np
from enpire_envs.pusht.geometry import BAR, STEM

from enpire_real.perception.markers import marker_image
from enpire_real.pusht.equipment import MAT
from enpire_real.pusht.section import PushTSection
from enpire_real.twin.scene import add_print, yaw_quat

_RESTING_HEIGHT = 0.0151  # of the T's frame over the table [m]


class PushTProps:
    """Mat and T. A placement is the T's pose (x, y, yaw) in the arena's frame [m, rad].

    Args:
        section: where the mat lies.
    """

    def __init__(self, section: PushTSection) -> None:
        self._origin, self._yaw = section.origin_m, math.radians(section.yaw_deg)
        self._block = 0  # where the T's pose begins in qpos

    def build(self, spec: mujoco.MjSpec, friction: float) -> None:
        """Add the mat and the T."""
        _add_mat(spec, self._origin, self._yaw)
        _add_block(spec, friction)

    def place(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator, placement: Any) -> None:
        """Lay the T down at `placement`, or somewhere on the mat."""
        if placement is None:
            placement = (rng.uniform(-0.15, 0.15), rng.uniform(-0.1, 0.1), rng.uniform(-3.1, 3.1))
        x, y, yaw = placement
        ox, oy = self._origin
        c, s = math.cos(self._yaw), math.sin(self._yaw)
        self._block = int(model.joint("block").qposadr[0])
        data.qpos[self._block : self._block + 7] = (
            ox + c * x - s * y, oy + s * x + c * y, _RESTING_HEIGHT, *yaw_quat(yaw + self._yaw)
        )  # fmt: skip

    def truth(self, data: mujoco.MjData) -> dict[str, Any]:
        """`block`: the T's pose (x, y, yaw) in the arena's frame [m, rad]; `block_height`: its frame's over the table [m]."""
        x, y, z, w, _, _, qz = data.qpos[self._block : self._block + 7]  # it lies flat: a turn about z alone
        ox, oy = self._origin
        c, s, yaw = math.cos(self._yaw), math.sin(self._yaw), 2 * math.atan2(qz, w) - self._yaw
        dx, dy = x - ox, y - oy
        return {
            "block": (c * dx + s * dy, c * dy - s * dx, math.pi - (math.pi - yaw) % (2 * math.pi)),
            "block_height": float(z),
        }


def _add_mat(spec: mujoco.MjSpec, origin: list[float], yaw: float) -> None:
    """The printed mat: target and border, in the arena's frame."""
    frame = spec.worldbody.add_body(name="arena", pos=(*origin, 0), quat=yaw_quat(yaw))
    paint = {"type": mujoco.mjtGeom.mjGEOM_BOX, "contype": 0, "conaffinity": 0}
    for name, (x0, x1, y0, y1) in {"bar": BAR, "stem": STEM}.items():
        frame.add_geom(name=f"target_{name}", pos=((x0 + x1) / 2, (y0 + y1) / 2, 0.0004),
                       size=((x1 - x0) / 2, (y1 - y0) / 2, 0.0004), rgba=(0.45, 0.72, 0.50, 1), **paint)  # fmt: skip
    for k, half in enumerate((0.30, 0.235)):
        for sign in (-1, 1):
            pos, size = [0.0, 0.0, 0.0002], [0.302, 0.237, 0.0002]
            pos[k], size[k] = sign * (half + 0.002), 0.002
            frame.add_geom(
                name=f"border_{'xy'[k]}{'-+'[sign > 0]}", pos=pos, size=size, rgba=(0.62, 0.61, 0.58, 1), **paint
            )
    _add_markers(spec, frame)


def _add_markers(spec: mujoco.MjSpec, frame: mujoco.MjsBody) -> None:
    half = MAT.side_m / 2
    paint = {"type": mujoco.mjtGeom.mjGEOM_BOX, "contype": 0, "conaffinity": 0}
    for marker, (x, y) in MAT.centres.items():
        add_print(spec, f"marker{marker}", marker_image(marker, 240))
        frame.add_geom(
            name=f"marker{marker}_paper",
            pos=(x, y, 0.0003),
            size=(half + 0.012, half + 0.012, 0.0002),
            rgba=(1, 1, 1, 1),
            **paint,
        )
        frame.add_geom(
            name=f"marker{marker}", pos=(x, y, 0.0006), size=(half, half, 0.0002), material=f"marker{marker}", **paint
        )


def _add_block(spec: mujoco.MjSpec, friction: float) -> None:
    """The printed T: a black body with a red top, 160 x 160 x 30 mm, 0.2 kg. It slides on four small feet: a box on
    a plane has its corners for feet anyway, and these are where the weight is."""
    block = spec.worldbody.add_body(name="block")
    block.add_freejoint(name="block")
    block.mass, block.ipos, block.fullinertia = 0.20, (0, 0, 0), (4.5e-4, 2.7e-4, 6.9e-4, 0, 0, 0)
    block.explicitinertial = True
    for name, (x0, x1, y0, y1) in {"bar": BAR, "stem": STEM}.items():
        pos, size = ((x0 + x1) / 2, (y0 + y1) / 2), ((x1 - x0) / 2, (y1 - y0) / 2)
        block.add_geom(name=f"block_{name}", type=mujoco.mjtGeom.mjGEOM_BOX, pos=(*pos, 0.001), size=(*size, 0.012), mass=0,
                       rgba=(0.12, 0.12, 0.13, 1), friction=(0.5, 0.005, 0.0001), condim=3)  # fmt: skip
        block.add_geom(name=f"block_{name}_top", type=mujoco.mjtGeom.mjGEOM_BOX, pos=(*pos, 0.014), size=(*size, 0.001),
                       mass=0, rgba=(0.85, 0.10, 0.08, 1), contype=0, conaffinity=0)  # fmt: skip
    for k, (x, y) in enumerate(((-0.06, -0.035), (0.06, -0.035), (0.0, 0.08), (0.0, 0.0))):
        block.add_geom(name=f"foot{k}", type=mujoco.mjtGeom.mjGEOM_SPHERE, pos=(x, y, -0.011), size=[0.004, 0, 0], mass=0,
                       rgba=(0, 0, 0, 0), friction=(0.4 * friction, 0.005, 0.0001), condim=4)  # fmt: skip
