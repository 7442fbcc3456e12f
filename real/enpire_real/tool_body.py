"""A real cell as the tools of script policies see it: the same body as our simulated tasks have, with a station's cameras."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from enpire_envs.tools.bodies import CellBody


class RealBody(CellBody):
    """Colour images at the study's resolution; no depth. Where a camera is, is known once a reset has measured it."""

    sees_depth = False

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.frame = self._cell.scene.frame

    def _find_cameras(self) -> tuple[str, ...]:
        return tuple(self._cell.station.cameras)

    def rgb(self, camera: str, width: int, height: int) -> np.ndarray:
        """A camera's newest image, (height, width, 3) uint8. Raises ValueError for an unknown camera, CellFault."""
        return np.asarray(cv2.resize(self._cell.camera_frame(camera), (width, height), interpolation=cv2.INTER_AREA))

    def intrinsics(self, camera: str, width: int, height: int) -> np.ndarray:
        """Of the resized image; what distortion the lens has is not in it."""
        native = self._cell.camera_frame(camera)
        matrix = self._cell.station.lens(camera).matrix.copy()
        sx, sy = width / native.shape[1], height / native.shape[0]
        # Pixel centres: what was at u is at (u + 1/2) s - 1/2.
        matrix[0] = matrix[0] * sx + np.array([0, 0, 0.5 * sx - 0.5])
        matrix[1] = matrix[1] * sy + np.array([0, 0, 0.5 * sy - 0.5])
        return matrix

    def extrinsics(self, camera: str) -> np.ndarray:
        """(4, 4) pose of a camera's optical frame in the scene's frame. Raises ValueError where nothing has measured it."""
        found = self._cell.scene.camera_pose(camera)
        if found is None:
            raise ValueError(
                f"the place of camera {camera!r} in this frame is not known; a reset measures that of the camera that looks at the work"
            )
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = found.rotation, found.position
        return pose
