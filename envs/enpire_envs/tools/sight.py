"""Tools that look: cameras, perception, and questions to a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from enpire_envs.tools import perception
from enpire_envs.tools.episode import Episode, tool
from enpire_envs.tools.log import ToolError
from enpire_envs.tools.motion import OPENING_M
from enpire_envs.tools.rotations import to_matrix
from enpire_envs.tools.servers import Segmenter


class SightTools:
    """Tools that look: images, depth, camera geometry, detection, segmentation, grasps, questions to a model."""

    def __init__(self, episode: Episode) -> None:
        self._ep = episode
        url = episode.config.segmenter_url
        self._segmenter = Segmenter(url) if url else None

    # -- cameras -----------------------------------------------------------------------------------------------------
    @tool("camera")
    def get_camera_image(self, camera: str = "") -> np.ndarray:
        """(height, width, 3) uint8 RGB of a camera, at the fixed resolution of this study."""
        return self._ep.body.rgb(self.camera(camera), self._ep.config.width, self._ep.config.height)

    @tool("camera")
    def get_camera_depth(self, camera: str = "") -> np.ndarray:
        """(height, width) float32 metres along the optical axis, aligned with the image."""
        return self._ep.body.depth(self.camera(camera), self._ep.config.width, self._ep.config.height)

    @tool("camera")
    def get_camera_intrinsics(self, camera: str = "") -> np.ndarray:
        """(3, 3) pinhole matrix [px] of these images; the first pixel's centre is (0, 0)."""
        return self._ep.body.intrinsics(self.camera(camera), self._ep.config.width, self._ep.config.height)

    @tool("camera")
    def get_camera_extrinsics(self, camera: str = "") -> np.ndarray:
        """(4, 4) pose of the camera (x right, y down, z forward) in the frame of get_robot_state."""
        return self._ep.body.extrinsics(self.camera(camera))

    def camera(self, name: str) -> str:
        """A camera's name; the first one for an empty name. Raises ToolError with the names that there are."""
        if not name:
            return self._ep.body.cameras[0]
        if name not in self._ep.body.cameras:
            raise ToolError("usage", f"there is no camera {name!r}; there are: {', '.join(self._ep.body.cameras)}")
        return name

    # -- perception --------------------------------------------------------------------------------------------------
    @tool("perception")
    def detect_object(self, prompt: str, camera: str = "") -> list[dict[str, Any]]:
        """What a prompt such as "the red cube" may mean, best first: [{"box": (x0, y0, x1, y1) px, "score", "position": (3,) m (median
        of its visible points), "extent": (3,) m}]. Raises where nothing is found."""
        camera = self.camera(camera)
        points = self.points(camera)
        found = []
        for region in self._regions(prompt, camera, points)[:8]:
            item: dict[str, Any] = {"box": list(region.box), "score": region.score}
            if points is not None:
                item |= _place(points[region.mask])
            found.append(item)
        return found

    @tool("perception")
    def segment_object(self, prompt: str, camera: str = "") -> np.ndarray:
        """(height, width) bool: the best region for a prompt. Raises where nothing is found."""
        camera = self.camera(camera)
        return self._regions(prompt, camera, self.points(camera))[0].mask

    @tool("perception")
    def segment_object_all(self, prompt: str, camera: str = "") -> np.ndarray:
        """(n, height, width) bool: every region for a prompt, best first. Raises where nothing is found."""
        camera = self.camera(camera)
        return np.array([region.mask for region in self._regions(prompt, camera, self.points(camera))[:16]])

    @tool("perception")
    def sample_grasp_pose(self, prompt: str = "", camera: str = "", mask: Any = None) -> list[dict[str, Any]]:
        """Grasps of an object by prompt or mask, best first: [{"position": (3,), "quaternion": (4,), "width": m, "score"}]; the hand's z
        axis approaches, its y axis closes. Raises where there is nothing to grasp."""
        camera = self.camera(camera)
        points = self.points(camera)
        assert points is not None
        chosen = np.asarray(mask, bool) if mask is not None else self._regions(prompt, camera, points)[0].mask
        if chosen.shape != points.shape[:2]:
            raise ToolError("usage", f"a mask is {points.shape[:2]}, this one {chosen.shape}")
        found = perception.grasps(points[chosen], OPENING_M, to_matrix(self._ep.body.state()["quaternion"]))
        if not found:
            raise ToolError("perception", "sample_grasp_pose: too few points with depth to grasp anything")
        return found

    @tool("perception")
    def vlm_query(self, question: str, camera: str | None = "") -> str:
        """Ask a vision-language model about a camera's image now (None: without an image). Its tokens are metered apart."""
        assert self._ep.ask is not None
        image = (
            None
            if camera is None
            else self._ep.body.rgb(self.camera(camera), self._ep.config.width, self._ep.config.height)
        )
        return self._ep.ask(str(question)[:4000], image)

    def points(self, camera: str) -> np.ndarray | None:
        """Where each pixel's point lies in the body's frame, (height, width, 3) [m]; None without depth."""
        if not self._ep.body.sees_depth:
            return None
        w, h = self._ep.config.width, self._ep.config.height
        return perception.to_points(
            self._ep.body.depth(camera, w, h), self._ep.body.intrinsics(camera, w, h), self._ep.body.extrinsics(camera)
        )

    def _regions(self, prompt: str, camera: str, points: np.ndarray | None) -> list[perception.Region]:
        w, h = self._ep.config.width, self._ep.config.height
        rgb = self._ep.body.rgb(camera, w, h)
        if self._ep.config.prompts == "rewritten" and self._ep.ask is not None:
            prompt = (
                self._ep.ask(
                    f"Reword for an object detector, at most four words, no punctuation: {prompt}", None
                ).strip()
                or prompt
            )
        if self._segmenter is not None:
            found = self._segmenter.segment(prompt, rgb)
        else:
            found = perception.segment(str(prompt), rgb, points, self._ep.body.robot_pixels(camera, w, h))
        if not found:
            raise ToolError(
                "perception",
                f"nothing like {prompt!r} in {camera}; look at get_camera_image, name a colour, try another camera",
            )
        return found


def _place(points: np.ndarray) -> dict[str, Any]:
    points = points[np.isfinite(points).all(1)]
    if not len(points):
        return {}
    low, high = np.percentile(points, [5, 95], axis=0)
    return {"position": np.median(points, axis=0), "extent": high - low}
