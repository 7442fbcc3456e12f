"""A robosuite arm as tools see it: where it is, what its cameras show, and the action that moves it towards a pose.

Everything is in the frame of the robot's base as it stood at the start of the episode (x forward, y left, z up; metres): nothing
here tells where the simulator's own origin is.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from enpire_envs.simulators.planner import ArmPlanner, arm_joints
from enpire_envs.tools.perception import to_points
from enpire_envs.tools.rotations import from_matrix, rotation_vector, to_matrix
from enpire_envs.tools.views import extrinsics, intrinsics

_FIXTURES = (
    "drawer",
    "fxtr",
    "cab",
    "sink",
    "stove",
    "coffee_machine",
    "stand_mixer",
)  # as RoboCasa's tasks call what they are about
_STEP_M, _STEP_RAD = 0.05, 0.5  # of an action of 1, per control period (robosuite's OSC_POSE)
#: robosuite's grip site closes its fingers along x; for tools a hand's y axis closes and its z axis approaches.
_SITE_TO_HAND = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


class RobotBody:
    """The first arm of a robosuite environment. `task` is a `RobosuiteTask`."""

    def __init__(self, task: Any) -> None:
        self._task = task
        self._frame = np.eye(4)
        self._planner: ArmPlanner | None = None
        self._grip = -1.0

    def begin(self) -> None:
        """A new episode: here is the origin."""
        self._frame = self._base()
        self._planner = None
        self._grip = -1.0  # open: what the last episode's hand was told is nothing to this one

    # -- what is so --------------------------------------------------------------------------------------------------
    def describe(self) -> dict[str, Any] | None:
        """What `RemoteBody` takes from here, or None where there is not one single arm."""
        if len(self._task.env.robots) != 1 or self._robot.arms != ["right"]:
            return None  # tools move one arm
        return {
            "cameras": [camera.removeprefix("robot0_") for camera in self._task.cameras.values()],
            "mobile": self._mobile,
            "grips": self._grips,
            "step_m": _STEP_M,
        }

    def instruction(self) -> str:
        """The task in words, of this episode."""
        return str(self._task.instruction())

    def state(self) -> dict[str, Any]:
        """As `Body.state`, in the frame of the base at the start."""
        pose = self._in_frame(self._hand())
        base = self._in_frame(self._base())
        return {
            "position": pose[:3, 3],
            "quaternion": from_matrix(pose[:3, :3]),
            "joint_positions": self.joints(),
            "gripper_opening": self._opening(),
            "base": np.array([base[0, 3], base[1, 3], np.arctan2(base[1, 0], base[0, 0])]),
        }

    def joints(self) -> np.ndarray:
        """(n,) angles of the arm's joints [rad]."""
        return np.array(self._task.env.sim.data.qpos[arm_joints(self._robot)])

    def targets(self) -> dict[str, Any]:
        """Where the things of the task really are: for studies with an oracle only."""
        env, found = self._task.env, {}
        for name, body in getattr(env, "obj_body_id", {}).items():
            pose = np.eye(4)
            pose[:3, :3], pose[:3, 3] = env.sim.data.body_xmat[body].reshape(3, 3), env.sim.data.body_xpos[body]
            found[name] = self._in_frame(pose)[:3, 3]
        for attribute in ("cube_body_id", "handle_site_id", "door_handle_site_id"):
            if hasattr(env, attribute):
                where = env.sim.data.body_xpos if "body" in attribute else env.sim.data.site_xpos
                pose = np.eye(4)
                pose[:3, 3] = where[getattr(env, attribute)]
                found[attribute.split("_")[0]] = self._in_frame(pose)[:3, 3]
        for name in _FIXTURES:  # of RoboCasa's tasks
            if (position := getattr(getattr(env, name, None), "pos", None)) is not None:
                pose = np.eye(4)
                pose[:3, 3] = position
                found[name] = self._in_frame(pose)[:3, 3]
        return {name: position.tolist() for name, position in found.items()}

    # -- cameras -----------------------------------------------------------------------------------------------------
    def rgb(self, camera: str, width: int, height: int) -> np.ndarray:
        """As `Body.rgb`."""
        return self._task.views.rgb(self._task.model, self._task.data, self._camera(camera), width, height)

    def depth(self, camera: str, width: int, height: int) -> np.ndarray:
        """As `Body.depth`."""
        return self._task.views.depth(self._task.model, self._task.data, self._camera(camera), width, height)

    def intrinsics(self, camera: str, width: int, height: int) -> np.ndarray:
        """As `Body.intrinsics`."""
        return intrinsics(self._task.model, self._camera(camera), width, height)

    def extrinsics(self, camera: str) -> np.ndarray:
        """As `Body.extrinsics`."""
        return self._in_frame(extrinsics(self._task.data, self._camera(camera)))

    def robot_pixels(self, camera: str, width: int, height: int) -> np.ndarray:
        """Which pixels show the robot's own links, by its kinematic model and the depth image: (height, width) bool."""
        centres, radii = self._arm().spheres_at(self.joints())
        k, pose = self.intrinsics(camera, width, height), extrinsics(self._task.data, self._camera(camera))
        points = to_points(self.depth(camera, width, height), k, pose)
        mask = np.zeros((height, width), bool)
        for centre, radius in zip(centres, radii, strict=True):
            mask |= ((points - centre) ** 2).sum(-1) < (radius + 0.02) ** 2
        return mask

    # -- motion ------------------------------------------------------------------------------------------------------
    def action(
        self, position: np.ndarray | None, quaternion: np.ndarray | None, grip: float | None,
        base: np.ndarray | None = None,
    ) -> np.ndarray:  # fmt: skip
        """The action of one control period that takes the hand towards a pose, and the gripper and base with it.

        Args:
            position, quaternion: of the grip site (m; w, x, y, z), or None to stay.
            grip: 1 closes, -1 opens, None keeps what it does.
            base: (x, y, yaw) error of a mobile base, to drive by.
        """
        action = np.zeros(len(self._task.low))
        if grip is not None:
            self._grip = float(grip)
        turn = self._base()[:3, :3].T @ self._frame[:3, :3]  # actions are in the base's frame as it stands now
        hand = self._in_frame(self._hand())
        if position is not None:
            action[:3] = turn @ (np.asarray(position) - hand[:3, 3]) / _STEP_M
        if quaternion is not None:
            error = turn @ rotation_vector(to_matrix(quaternion) @ hand[:3, :3].T)
            action[3:6] = error / _STEP_RAD
        if (largest := np.abs(action[:3]).max()) > 1:
            action[:3] /= largest  # a straight line
        if self._grips:
            action[6] = self._grip
        if self._mobile:
            action[11] = -1.0
            if base is not None:
                action[:6] = 0
                error = turn @ np.array([base[0], base[1], 0.0])
                action[7:10] = [_drive(e) for e in (error[0], error[1], float(base[2]))]
                action[11] = 1.0
        return np.clip(action, -1, 1)

    def set_posture(self, joints: np.ndarray | None) -> None:
        """Which of the arm's postures the controller's null space prefers, (n,) rad."""
        controller = self._controller
        controller.initial_joint = np.ravel(self._robot.init_qpos if joints is None else joints)

    # -- planning ----------------------------------------------------------------------------------------------------
    def set_obstacles(self, points: np.ndarray) -> int:
        """Obstacles as points (n, 3); those of the robot itself are left out. Returns how many remain."""
        inside = points @ self._frame[:3, :3].T + self._frame[:3, 3]
        return self._arm().set_obstacles(inside, self.joints())

    def plan(self, position: np.ndarray, quaternion: np.ndarray, seed: int, avoid: bool) -> dict[str, Any]:
        """A path of the hand to a pose, collision-free if `avoid`. {"ok", "why", "joints" (k, n), "positions", "quaternions"}."""
        goal = np.eye(4)
        goal[:3, :3], goal[:3, 3] = to_matrix(quaternion), position
        path, why = self._arm().plan(self.joints(), self._frame @ goal @ _SITE_TO_HAND.T, seed, avoid)
        if path is None:
            return {"ok": False, "why": why}
        poses = [self._in_frame(self._arm().hand_at(q) @ _SITE_TO_HAND) for q in path]
        return {
            "ok": True, "why": why, "joints": np.array(path), "positions": np.array([p[:3, 3] for p in poses]),
            "quaternions": np.array([from_matrix(p[:3, :3]) for p in poses]),
        }  # fmt: skip

    def _arm(self) -> ArmPlanner:
        if self._planner is None:
            self._planner = ArmPlanner(self._task.model, self._task.data, self._robot, self._site)
        self._planner.look(self._task.data)
        return self._planner

    # -- parts -------------------------------------------------------------------------------------------------------
    @property
    def _robot(self) -> Any:
        return self._task.env.robots[0]

    @property
    def _controller(self) -> Any:
        return self._robot.composite_controller.part_controllers["right"]

    @property
    def _mobile(self) -> bool:
        return len(self._task.low) == 12

    @property
    def _grips(self) -> bool:
        return len(self._robot.gripper["right"].joints) > 0

    @property
    def _site(self) -> int:
        return int(self._robot.eef_site_id["right"])

    def _camera(self, name: str) -> str:
        model = self._task.model
        for camera in (name, f"robot0_{name}"):
            if camera in self._task.cameras.values():
                assert mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, camera) >= 0
                return camera
        raise ValueError(f"there is no camera {name!r}; there are: {', '.join(self.describe()['cameras'])}")  # type: ignore[index]

    def _hand(self) -> np.ndarray:
        data, pose = self._task.data, np.eye(4)
        pose[:3, :3], pose[:3, 3] = data.site_xmat[self._site].reshape(3, 3), data.site_xpos[self._site]
        return pose @ _SITE_TO_HAND

    def _base(self) -> np.ndarray:
        position, rotation = self._robot.composite_controller.get_controller_base_pose("right")
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation, position
        return pose

    def _in_frame(self, pose: np.ndarray) -> np.ndarray:
        return np.linalg.inv(self._frame) @ pose

    def _opening(self) -> float:
        """0 closed to 1 open; 0 for a tool that does not grip."""
        if not self._grips:
            return 0.0
        model, data = self._task.model, self._task.data
        joints = [model.joint(name) for name in self._robot.gripper["right"].joints]
        share = [abs(float(data.qpos[j.qposadr[0]])) / max(abs(j.range[0]), abs(j.range[1])) for j in joints]
        return float(np.clip(np.mean(share), 0, 1))


def _drive(error: float) -> float:
    """Velocity command of the base for an error [m or rad]: below 0.28 its wheels hardly turn."""
    return 0.0 if abs(error) < 0.005 else float(np.sign(error) * min(0.28 + 0.8 * abs(error), 0.55))
