"""Push-T's verifier under audit: Ts laid on and beside the target, judged from the picture alone."""

from __future__ import annotations

import math
import time
from typing import Any

import gymnasium as gym
import numpy as np
from enpire_envs.cell import CellFault
from enpire_envs.pusht.geometry import REACH, bounding_box, wrap
from enpire_envs.pusht.task import ANGLE_OK, GOAL_BOX_MARGIN, SIMPLE_DISTANCE
from enpire_envs.task import Verdict

from enpire_real.cameras import CameraLost
from enpire_real.pusht.mat_camera import MatCamera
from enpire_real.pusht.scene import PushTScene
from enpire_real.pusht.section import PushTSection
from enpire_real.pusht.task import RealPushT
from enpire_real.verifier.clips import Clip, ClipStation, record_frames
from enpire_real.verifier.disturb import Disturbance, TwinView
from enpire_real.verifier.subject import Truth

Pose2 = tuple[float, float, float]
_FAR = (0.16, 0.10)  # half sides of where a T lies that is nowhere near the target [m]
_FRAMES = 8  # of a clip
_MM = 1000.0


def subject(env: gym.Env[Any, Any]) -> PushTSubject:
    """See `enpire_real.verifier.subject`. Raises ValueError for a criterion whose margin is no length."""
    return PushTSubject(env)


class PushTSubject:
    """A `Subject`. The margin is the shorter of two ways: of the T's box to the goal box's edge, and of its ends by turning."""

    tolerance_mm = GOAL_BOX_MARGIN * _MM  # 20; the other criterion's distance is the same
    guard_mm = 0.1 * tolerance_mm
    abstentions: tuple[str, ...] = ()

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        unwrapped: Any = env.unwrapped
        self._env, self._cell = env, unwrapped.real_cell
        self._task: RealPushT = unwrapped.task
        self._scene: PushTScene = self._cell.scene
        self._station = self._cell.station
        self._twin = self._station.twin
        if self._task._criterion == "coverage":
            raise ValueError(
                "Push-T's verifier is audited with the criteria pose and simple: coverage has no margin in mm"
            )
        self._view = None if self._twin is None else TwinView(self._twin, (self._scene.camera.name,))

    def lay(self, rng: np.random.Generator, *, success: bool, near: bool) -> None:
        """Lay the T down at rest, with the arms out of the view, and find the mat as a reset does."""
        assert self._twin is not None
        pose = self._draw(rng, success, near)
        self._cell.move("avoid")
        with self._twin.lock:
            self._twin.props.place(self._twin.model, self._twin.data, rng, pose)
            self._twin.data.joint("block").qvel[:] = 0.0
        self._station.clock.sleep(0.3)
        self._scene.camera.locate_mat()

    def _draw(self, rng: np.random.Generator, success: bool, near: bool) -> Pose2:
        gx, gy, turned = self._task.goal
        low, high = {
            (True, True): (0.0, 0.5),
            (True, False): (0.5, 1.0),
            (False, True): (-1.0, 0.0),
            (False, False): (-math.inf, -1.0),
        }[success, near]  # of the margin, as a share of the tolerance
        for _ in range(10_000):
            if not success and not near:
                x, y = rng.uniform(-1, 1, 2) * _FAR
                yaw = (
                    turned + math.pi if rng.random() < 0.2 else rng.uniform(-math.pi, math.pi)
                )  # one upside down is the nearest lie
                x, y = (gx, gy) if rng.random() < 0.2 else (x, y)
            else:
                x, y = np.array((gx, gy)) + rng.uniform(-1, 1, 2) * 2 * GOAL_BOX_MARGIN
                yaw = turned + rng.uniform(-2, 2) * ANGLE_OK
            pose = (float(x), float(y), wrap(float(yaw)))
            if low <= self.margin_mm(pose) / self.tolerance_mm <= high:
                return pose
        raise AssertionError("unreachable: the ranges are wide")

    def margin_mm(self, pose: Pose2) -> float:
        """How far a T at a pose (x, y, yaw) in the arena's frame is from turning its verdict; positive where it lies right."""
        goal = self._task.goal
        turning = (ANGLE_OK - abs(wrap(pose[2] - goal[2]))) * REACH
        if self._task._criterion == "simple":
            return min(SIMPLE_DISTANCE - math.dist(pose[:2], goal[:2]), turning) * _MM
        x0, x1, y0, y1 = bounding_box(pose)
        left, right, bottom, top = self._task._goal_box
        return min(x0 - left, right - x1, y0 - bottom, top - y1, turning) * _MM

    def disturb(self, what: Disturbance | None) -> None:
        """See `Subject.disturb`."""
        assert self._view is not None
        self._view.disturb(what)

    def judge(self) -> Verdict:
        """As at the end of an episode."""
        return self._task.verify(self._cell)

    def truth(self) -> Truth:
        """By the twin."""
        assert self._twin is not None
        pose = self._twin.truth()["block"]
        return Truth(bool(self._task._solved(pose)), self.margin_mm(pose))

    def look(self) -> list[float]:
        """Without a pose to follow, which takes longest, and with one."""
        camera = self._scene.camera
        image = self._station.cameras[camera.name].latest().image  # drawn before it is timed
        finder = camera._finder
        assert finder is not None
        finder.last = None
        took = []
        for _ in range(2):
            began = time.thread_time()
            finder.find(image)
            took.append((time.thread_time() - began) * 1000)
        return took

    def judge_clip(self, clip: Clip) -> Verdict:
        """As `judge`, with the clip's frames in place of the camera's."""
        file = self._station.file
        section = file.section("pusht", PushTSection)
        station: Any = ClipStation(file, clip, (section.camera,))
        cell: Any = _ClipCell(MatCamera(station, section.camera))
        return self._task.verify(cell)

    def record_clip(self) -> Clip:
        """The arms go out of the view first."""
        self._cell.move("avoid")
        self._station.clock.sleep(0.3)
        name = self._scene.camera.name
        return Clip(record_frames({name: self._station.cameras[name]}, self._station.clock, _FRAMES))

    def close(self) -> None:
        """Fold the arms down."""
        self._env.close()


class _ClipCell:
    """A cell that can be asked for what a clip shows, and nothing else."""

    kind = "clip"

    def __init__(self, camera: MatCamera) -> None:
        self._camera = camera

    def probe(self, name: str) -> Any:
        """What `clear_view` of the station does after the arms have gone."""
        assert name == "clear_view"
        try:
            self._camera.look_afresh()
        except CameraLost as lost:  # as a real cell says it
            raise CellFault(str(lost)) from lost
        return self._camera
