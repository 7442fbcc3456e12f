"""How a scene may look: light, colours, and cameras that are not quite where they should be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

#: Arrays of the model that `Appearance` changes: part of what a scene calls `mutable`.
APPEARANCE = (
    "light_diffuse", "light_ambient", "light_dir", "mat_rgba", "cam_pos", "cam_quat",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AppearanceSpec:
    """Ranges of what a camera may see differently, drawn uniformly.

    Attributes:
        light: factors on the brightness of every light: lowest and highest.
        tint: how far a channel of a light's colour may be from white, as a share.
        direction: how far a light may be turned [degrees].
        colour: how far a channel of a material's colour may be off, as a share.
        camera: how far a camera may be moved along each axis [m], and turned [degrees].
    """

    light: tuple[float, float] = (1.0, 1.0)
    tint: float = 0.0
    direction: float = 0.0
    colour: float = 0.0
    camera: tuple[float, float] = (0.0, 0.0)


class Appearance:
    """Changes how a model looks, always from how it was compiled or from how a station looks.

    Args:
        model: as compiled.
        materials: whose colours may change; every colour that tells things apart should stay recognisable.
        cameras: that may be off.
    """

    def __init__(self, model: mujoco.MjModel, materials: Sequence[str], cameras: Sequence[str]) -> None:
        self._materials = [model.material(name).id for name in materials]
        self._cameras = [model.camera(name).id for name in cameras]
        self._compiled = {name: getattr(model, name).copy() for name in APPEARANCE}
        self._usual = self._compiled

    def install(self, spec: AppearanceSpec, rng: np.random.Generator) -> None:
        """Draw how everything usually looks at a station; what is drawn from now on starts from there."""
        self._usual = self._drawn(self._compiled, spec, rng)

    def draw(self, model: mujoco.MjModel, spec: AppearanceSpec, rng: np.random.Generator) -> None:
        """Let the model look another way; holds from the next `mj_forward` on."""
        for name, values in self._drawn(self._usual, spec, rng).items():
            getattr(model, name)[:] = values

    def _drawn(
        self, was: dict[str, np.ndarray], spec: AppearanceSpec, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        now = {name: values.copy() for name, values in was.items()}
        shade = rng.uniform(*spec.light) * (1 + rng.uniform(-spec.tint, spec.tint, 3))
        now["light_diffuse"] *= shade
        now["light_ambient"] *= shade
        for k, towards in enumerate(was["light_dir"]):
            now["light_dir"][k] = _matrix(_turn(rng, spec.direction)) @ towards
        for k in self._materials:
            paint = was["mat_rgba"][k, :3] * (1 + rng.uniform(-spec.colour, spec.colour, 3))
            now["mat_rgba"][k, :3] = np.clip(paint, 0.0, 1.0)
        metres, degrees = spec.camera
        for k in self._cameras:
            now["cam_pos"][k] += rng.uniform(-metres, metres, 3)
            mujoco.mju_mulQuat(now["cam_quat"][k], _turn(rng, degrees), was["cam_quat"][k])
        return now


def _turn(rng: np.random.Generator, degrees: float) -> np.ndarray:
    """A turn (4,) by up to so much about any axis."""
    axis, quat = rng.standard_normal(3), np.zeros(4)
    mujoco.mju_axisAngle2Quat(quat, axis / np.linalg.norm(axis), math.radians(rng.uniform(0, degrees)))
    return quat


def _matrix(quat: np.ndarray) -> np.ndarray:
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, quat)
    return matrix.reshape(3, 3)
