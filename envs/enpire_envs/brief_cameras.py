"""Where the cameras of a task are, as rows of a brief (see `enpire_envs.brief`): in the numbers of the compiled model, with how far off they may be."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from enpire_envs.brief import Row, mm, number
from enpire_envs.env import CellEnv

if TYPE_CHECKING:
    from enpire_envs.appearance import AppearanceSpec

#: Width of the pictures that policies get unless somebody asks for others [px].
PICTURE: int = inspect.signature(CellEnv).parameters["observation_width"].default

Target = tuple[
    str, Sequence[float]
]  # what a camera looks at, and where it should be, in the camera's frame of reference [m]


def views(
    model: mujoco.MjModel, obs_type: str, targets: Mapping[str, Target], looks: Sequence[AppearanceSpec | None]
) -> list[Row]:
    """A row for each camera of `targets`; none where policies are given no pictures.

    Args:
        model: as compiled, with the end effector at the scene's origin.
        looks: of station and episode, whose displacements of cameras add.
    """
    if "pixels" not in obs_type:
        return []
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)
    metres, degrees = (sum(spec.camera[k] for spec in looks if spec) for k in (0, 1))
    off = (
        f"off by up to {mm(metres)} along each axis and {number(degrees)} deg in all"
        if metres or degrees
        else "nothing of it is off"
    )
    return [
        (f"`{name}`", f"{_view(model, data, model.camera(name).id, *target)}; {off}")
        for name, target in targets.items()
    ]


def _view(model: mujoco.MjModel, data: mujoco.MjData, camera: int, what: str, point: Sequence[float]) -> str:
    at, axes, field = data.cam_xpos[camera], data.cam_xmat[camera].reshape(3, 3), float(model.cam_fovy[camera])
    where = (
        "moves with the gripper; in the end effector's frame"
        if model.cam_bodyid[camera]
        else "stands still; in the scene's frame"
    )
    right, up, back = axes.T
    reach = np.asarray(point, float) - at
    depth = float(-reach @ back)
    pixel = 2 * depth * math.tan(math.radians(field) / 2) / PICTURE
    column, row = (PICTURE - 1) / 2 + np.array([reach @ right, -reach @ up]) / pixel
    return (
        f"{where} at ({_list(1000 * at, 1)}) mm, looking along ({_list(-back, 3)}), with ({_list(right, 3)}) to the right and ({_list(up, 3)}) up in the "
        f"picture; a pinhole's field is {number(field)} deg, both ways; {what} is {mm(round(depth, 4))} away along its axis, in column {number(round(column, 1))} and "
        f"row {number(round(row, 1))} (from nought, left and top) of {PICTURE} x {PICTURE} pixels, of {mm(round(pixel, 5))} each there"
    )


def _list(values: np.ndarray, digits: int) -> str:
    return ", ".join(number(round(float(value), digits) + 0.0) for value in values)
