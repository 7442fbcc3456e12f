"""A robot and its cameras as the tools need them: one small Protocol, for simulators, for our own tasks, for real cells."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from enpire_envs.tools.rotations import about, from_matrix, rotation_vector, to_matrix


class Body(Protocol):
    """Everything in one frame that stands still for an episode [m, rad]; quaternions are (w, x, y, z).

    Attributes:
        cameras: their names.
        turns, grips, drives: whether it can turn its hand, close a gripper, move its base.
        sees_depth, plans: whether its cameras have depth, and whether it has a motion planner.
        step_m: how far the hand may go in one control period, at most.
        frame: what the frame is, in words.
    """

    cameras: tuple[str, ...]
    turns: bool
    grips: bool
    drives: bool
    sees_depth: bool
    plans: bool
    step_m: float
    frame: str

    def begin(self) -> None:
        """A new episode."""

    def close(self) -> None:
        """Let go of renderers. Safe to call twice."""

    def instruction(self) -> str:
        """The task in words."""

    def state(self) -> dict[str, Any]:
        """position (3,), quaternion (4,), joint_positions (n,), gripper_opening [0, 1], base (x, y, yaw)."""

    def action(
        self, position: np.ndarray | None, quaternion: np.ndarray | None, grip: float | None, base: np.ndarray | None
    ) -> np.ndarray:
        """The environment's action that takes the hand towards a pose for one control period."""

    def rgb(self, camera: str, width: int, height: int) -> np.ndarray:
        """What a camera sees, (height, width, 3) uint8."""

    def depth(self, camera: str, width: int, height: int) -> np.ndarray:
        """Distance along the optical axis, (height, width) float32 [m], pixel by pixel with `rgb`."""

    def intrinsics(self, camera: str, width: int, height: int) -> np.ndarray:
        """(3, 3) pinhole matrix of images of this size [px]; the first pixel's centre is (0, 0)."""

    def extrinsics(self, camera: str) -> np.ndarray:
        """(4, 4) pose of the camera (x right, y down, z forward) in the body's frame [m]."""

    def robot_pixels(self, camera: str, width: int, height: int) -> np.ndarray:
        """Which pixels show the robot itself, (height, width) bool: they are no obstacle."""

    def targets(self) -> dict[str, Any]:
        """Where things really are: for studies with an oracle only."""


class RemoteBody:
    """The body of an environment in another interpreter (`enpire_envs.remote`)."""

    turns = sees_depth = plans = True
    frame = "the robot's base at the start of the episode: x forward, y left, z up"

    def __init__(self, env: Any) -> None:
        about = env.about["body"]
        self._call = env.call
        self.cameras = tuple(about["cameras"])
        self.grips, self.drives = bool(about["grips"]), bool(about["mobile"])
        self.step_m = float(about["step_m"])

    def begin(self) -> None:
        """The other side begins at its own reset."""

    def close(self) -> None:
        """What there is to close lives on the other side, with the environment."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self._call(name, *args, **kwargs)


class CellBody:
    """The body of our own tasks: whatever `Task.agent_pos` says is the pose, whatever `Task.command` scales is the step.

    In the insertion and zip-tie tasks the frame is the end effector's start; in Push-T the table's.
    """

    drives = plans = False
    sees_depth = True

    def __init__(self, env: Any) -> None:
        self._env, self._task, self._cell = env, env.task, env.cell
        n = len(self._task.action_space.low)
        ones = np.eye(n) * self._task.action_space.high
        self._unit = np.array([abs(self._task.command(one)[k]) for k, one in enumerate(ones)]) / self._task.control_hz
        self.step_m = float(self._unit[:3].max())
        self.turns, self.grips = n >= 6, n == 7
        self._views: Any = None
        self.cameras: tuple[str, ...] = self._find_cameras()
        self.frame = "the end effector's pose at the start" if n > 2 else "the table's, as in the observation"
        self._origin = np.zeros(3)
        self._grip = 0.0

    def begin(self) -> None:
        """Here is the origin now; what the gripper was told is forgotten."""
        readings = self._cell.read()
        pose = getattr(readings, "pose", None)
        self._origin = np.zeros(3) if pose is None else np.asarray(pose[:3]) - self._pose(readings)[:3]
        self._grip = 0.0  # what it holds it goes on holding: grippers here are told how to change

    def instruction(self) -> str:
        """The first line of the environment's reference page."""
        return (type(self._env).__doc__ or "").strip().split("\n")[0]

    def _pose(self, readings: Any) -> np.ndarray:
        return np.asarray(self._task.agent_pos(readings), float)

    def state(self) -> dict[str, Any]:
        """As `Body.state`; `joint_positions` is the task's own `agent_pos`, and the base stands at zero."""
        pose = self._pose(self._cell.read())
        position = np.zeros(3)
        position[: min(3, len(pose))] = pose[:3]
        angles = pose[3:6] if self.turns else np.zeros(3)
        return {
            "position": position,
            "quaternion": from_matrix(_hinges(angles)),
            "joint_positions": pose,
            "gripper_opening": float(np.clip(pose[6], 0, 1)) if len(pose) > 6 else 0.0,
            "base": np.zeros(3),
        }

    def action(
        self, position: np.ndarray | None, quaternion: np.ndarray | None, grip: float | None, base: np.ndarray | None
    ) -> np.ndarray:
        """The action that goes straight towards a pose, at most one control period far.

        Args:
            position: (3,) goal of the hand, or None to stay [m]; Push-T takes the first two.
            quaternion: (4,) goal as (w, x, y, z), or None to stay.
            grip: above 0 closes, below 0 opens; None for what it was told last.
            base: is not looked at: nothing here drives.

        Raises:
            ValueError: a goal is not finite.
        """
        for what, given in (("position", position), ("quaternion", quaternion), ("gripper", grip)):
            if given is not None and not np.isfinite(np.asarray(given, float)).all():
                raise ValueError(f"{what} must be finite, got {given}; nothing was moved")
        pose = self._pose(self._cell.read())
        action = np.zeros(len(self._unit))
        n = min(3, len(self._unit))
        if position is not None:
            action[:n] = (np.asarray(position)[:n] - pose[:n]) / self._unit[:n]
            if (largest := np.abs(action[:n]).max()) > 1:
                action[:n] /= largest
        if quaternion is not None and self.turns:
            error = rotation_vector(to_matrix(quaternion) @ _hinges(pose[3:6]).T)
            action[3:6] = np.clip(error / self._unit[3:6], -1, 1)
        if self.grips:
            self._grip = self._grip if grip is None else grip
            action[6] = self._grip
        limits = self._task.action_space
        return np.clip(action * limits.high, limits.low, limits.high)

    def _find_cameras(self) -> tuple[str, ...]:
        model = self._cell.model
        return tuple(model.camera(k).name for k in range(model.ncam))

    def rgb(self, camera: str, width: int, height: int) -> np.ndarray:
        """As `Body.rgb`, of the task's own model."""
        return self._eyes().rgb(self._cell.model, self._cell.data, camera, width, height)

    def depth(self, camera: str, width: int, height: int) -> np.ndarray:
        """As `Body.depth`."""
        return self._eyes().depth(self._cell.model, self._cell.data, camera, width, height)

    def intrinsics(self, camera: str, width: int, height: int) -> np.ndarray:
        """As `Body.intrinsics`."""
        from enpire_envs.tools.views import intrinsics

        return intrinsics(self._cell.model, camera, width, height)

    def extrinsics(self, camera: str) -> np.ndarray:
        """As `Body.extrinsics`."""
        from enpire_envs.tools.views import extrinsics

        pose = extrinsics(self._cell.data, camera)
        pose[:3, 3] -= self._origin
        return pose

    def robot_pixels(self, camera: str, width: int, height: int) -> np.ndarray:
        """None at all: an end effector is small, and part of what there is to see."""
        return np.zeros((height, width), bool)  # an end effector is small, and part of what there is to see

    def targets(self) -> dict[str, Any]:
        """{"readings": of `block`, `tip` and `insertion` those that the task has} in the scene's frame [m, rad]."""
        readings = self._cell.read()
        return {"readings": {name: np.asarray(getattr(readings, name)).tolist() for name in ("block", "tip", "insertion")
                             if hasattr(readings, name)}}  # fmt: skip

    def close(self) -> None:
        """Let go of renderers. Safe to call twice."""
        if self._views is not None:
            self._views.close()
            self._views = None

    def _eyes(self) -> Any:
        if self._views is None:
            from enpire_envs.tools.views import Views

            self._views = Views(groups=(0, 1, 2))
        return self._views


def _hinges(angles: np.ndarray) -> np.ndarray:
    return about("x", angles[0]) @ about("y", angles[1]) @ about("z", angles[2])
