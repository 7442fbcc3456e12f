"""What a camera on the wrist sees at the levels whose policies see by it: nine holes that look alike, stains, light and colours."""

from __future__ import annotations

import math

import mujoco
import numpy as np

from enpire_envs.appearance import APPEARANCE, Appearance
from enpire_envs.pin_insertion.levels import EpisodeView, StationView
from enpire_envs.randomise import disc

CAMERA = "eye_in_hand"
FOVY = 24.0  # [degrees]
_FROM = np.array([0.0, -0.035, 0.030])  # the camera, in the tool's frame [m]; behind and above the fingers
_HIDDEN = 4  # MuJoCo's renderer leaves this group of geoms out
_THIN = 1e-4  # half the thickness of what is painted [m]
_CLEAR = 0.005  # of stains around the target [m]
_FAR = 0.016  # how far from it they may be [m]
_STAINS = ((0.36, 0.25, 0.16), (0.86, 0.86, 0.84))  # oil, and screw heads


class PinView:
    """Draws what the wrist camera sees around the target hole, of which the pictures tell nothing but where it is.

    Args:
        ranges: how an episode may look beside how its station does.
    """

    mutable = (*APPEARANCE, "geom_pos", "geom_size", "geom_rgba")

    def __init__(self, ranges: EpisodeView) -> None:
        self._marks, self._look = ranges.marks, ranges.look
        self._appearance: Appearance | None = None
        self._grid = -1
        self._holes: list[int] = []
        self._stains: list[int] = []
        self._pitch, self._turn = 0.015, 0.0

    def add(self, spec: mujoco.MjSpec, looked_at: np.ndarray, depth: float, hole_radius: float) -> None:
        """Add the camera, aimed at a point (3,) of the tool's frame, and a plate of its own that hides the one that is touched.

        That one lies always the same way around the target, so that its edges would tell where the target is.
        """
        add_camera(spec, looked_at)
        for geom in spec.worldbody.geoms:
            if geom.contype:
                geom.group = _HIDDEN
        box, cylinder = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER
        grid = spec.worldbody.add_body(name="seen_plate")
        grid.add_geom(type=box, size=[0.045, 0.045, depth / 2], pos=[0, 0, -depth / 2], material="plate")
        away = [0.001, 0, 0]  # MuJoCo never looks at the place of a geom that is compiled at its body's origin
        for k in range(9):
            grid.add_geom(name=f"seen_hole{k}", type=cylinder, size=[hole_radius, _THIN, 0], pos=away, material="bore")
        for k in range(self._marks):
            rgba = [*_STAINS[k % len(_STAINS)], 1]
            grid.add_geom(name=f"stain{k}", type=cylinder, size=[0.001, _THIN, 0], pos=away, rgba=rgba)

    def compiled(self, model: mujoco.MjModel) -> None:
        """Note where everything is in the compiled model."""
        self._appearance = Appearance(model, ("plate", "bore", "pin", "finger", "bench"), (CAMERA,))
        self._grid = model.body("seen_plate").id
        self._holes = [model.geom(f"seen_hole{k}").id for k in range(9)]
        self._stains = [model.geom(f"stain{k}").id for k in range(self._marks)]

    def install(self, ranges: StationView, rng: np.random.Generator) -> None:
        """Draw how the holes of a station lie and how it usually looks."""
        assert self._appearance is not None
        self._pitch = float(rng.uniform(*ranges.pitch))
        self._turn = math.radians(rng.uniform(-ranges.turn, ranges.turn))
        self._appearance.install(ranges.look, rng)

    def draw(self, model: mujoco.MjModel, column: int, row: int, rng: np.random.Generator) -> None:
        """A new episode's plate, with the target hole at the origin."""
        assert self._appearance is not None
        self._appearance.draw(model, self._look, rng)
        cos, sin = math.cos(self._turn), math.sin(self._turn)
        turned = self._pitch * np.array([[cos, -sin], [sin, cos]])
        centre = turned @ (1 - column, 1 - row)
        model.body_pos[self._grid] = (*centre, 0)
        for k, hole in enumerate(self._holes):
            model.geom_pos[hole, :2] = turned @ (k // 3 - 1, k % 3 - 1)
        for k, stain in enumerate(self._stains):
            place = disc(rng, 1.0)
            place *= (_CLEAR + (_FAR - _CLEAR) * math.hypot(*place)) / (math.hypot(*place) or 1.0)
            model.geom_pos[stain, :2] = place - centre
            model.geom_size[stain, 0] = rng.uniform(0.0006, 0.0018)
            model.geom_rgba[stain, :3] = _STAINS[k % len(_STAINS)] * rng.uniform(0.8, 1.1, 3)


def add_camera(spec: mujoco.MjSpec, looked_at: np.ndarray) -> None:
    """Put a camera on the gripper that looks at a point (3,) of the tool's frame [m]."""
    spec.body("tool").add_camera(name=CAMERA, pos=_FROM, quat=_towards(looked_at - _FROM), fovy=FOVY)


def _towards(direction: np.ndarray) -> np.ndarray:
    """The orientation (4,) of a camera that looks along a direction (3,), its picture's top towards +y."""
    back = -direction / np.linalg.norm(direction)
    right = np.cross((0.0, 1.0, 0.0), back)
    right /= np.linalg.norm(right)
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.column_stack([right, np.cross(back, right), back]).ravel())
    return quat
