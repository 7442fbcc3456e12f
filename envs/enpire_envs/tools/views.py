"""Pictures of a MuJoCo scene: colour, depth and where the camera is, without shadows (they cost 45 ms a frame on a CPU)."""

from __future__ import annotations

import math
from typing import Any

import mujoco
import numpy as np

#: MuJoCo's cameras look along -z with y up; everybody else's along +z with y down.
_TO_OPENCV = np.diag([1.0, -1.0, -1.0])


class Views:
    """Renders one model at any size. Give it the model anew whenever it was compiled anew.

    Args:
        groups: which geom groups are drawn (robosuite: 1 is what one sees, 0 what collides).
    """

    def __init__(self, groups: tuple[int, ...] = (1,)) -> None:
        self._renderers: dict[tuple[int, int], mujoco.Renderer] = {}
        self._model: mujoco.MjModel | None = None
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = [group in groups for group in range(6)]

    def rgb(self, model: Any, data: Any, camera: str, width: int, height: int) -> np.ndarray:
        """(height, width, 3) uint8."""
        return self._draw(model, data, camera, width, height).render().copy()

    def depth(self, model: Any, data: Any, camera: str, width: int, height: int) -> np.ndarray:
        """(height, width) float32, metres along the optical axis."""
        renderer = self._draw(model, data, camera, width, height)
        renderer.enable_depth_rendering()
        try:
            return renderer.render().copy()
        finally:
            renderer.disable_depth_rendering()

    def close(self) -> None:
        """Close the renderers. Safe to call twice."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()
        self._model = None

    def _draw(self, model: Any, data: Any, camera: str, width: int, height: int) -> mujoco.Renderer:
        if model is not self._model:
            self.close()
            self._model = model
            model.vis.global_.offwidth = max(model.vis.global_.offwidth, 1024)
            model.vis.global_.offheight = max(model.vis.global_.offheight, 1024)
        renderer = self._renderers.get((width, height))
        if renderer is None:
            renderer = self._renderers[width, height] = mujoco.Renderer(model, height, width)
            renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
            renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        renderer.update_scene(data, camera, self._option)
        return renderer


def intrinsics(model: Any, camera: str, width: int, height: int) -> np.ndarray:
    """Pinhole matrix (3, 3) [px]; the first pixel's centre is (0, 0), so the principal point is at (size - 1) / 2."""
    focal = height / 2 / math.tan(math.radians(model.cam(camera).fovy[0]) / 2)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def extrinsics(data: Any, camera: str) -> np.ndarray:
    """Pose (4, 4) of the camera (x right, y down, z forward) in the simulator's world."""
    pose = np.eye(4)
    pose[:3, :3] = data.cam(camera).xmat.reshape(3, 3) @ _TO_OPENCV
    pose[:3, 3] = data.cam(camera).xpos
    return pose
