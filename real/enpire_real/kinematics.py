"""One arm's kinematics and dynamics: forward, inverse (damped least squares with limits), gravity and inertia torques."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
from enpire_envs import inverse_kinematics
from enpire_envs.wrench import Wrench
from scipy.spatial.transform import Rotation

from enpire_real.hand_tools import BARE_HAND, Tool
from enpire_real.yam import add_arm


@dataclass(frozen=True, slots=True)
class Pose:
    """A rigid pose: `rotation` (3, 3) takes vectors of the named frame to its parent, `position` (3,) [m]."""

    position: np.ndarray
    rotation: np.ndarray

    @classmethod
    def identity(cls) -> Pose:
        """No motion at all."""
        return cls(np.zeros(3), np.eye(3))

    @classmethod
    def from_quat(cls, position: object, quat: object) -> Pose:
        """`quat` is (w, x, y, z)."""
        rotation = Rotation.from_quat(np.asarray(quat, dtype=np.float64), scalar_first=True)
        return cls(np.asarray(position, dtype=np.float64), rotation.as_matrix())

    def quat(self) -> np.ndarray:
        """(w, x, y, z), w >= 0."""
        return Rotation.from_matrix(self.rotation).as_quat(canonical=True, scalar_first=True)

    def __matmul__(self, other: Pose) -> Pose:
        return Pose(self.position + self.rotation @ other.position, self.rotation @ other.rotation)

    def inverse(self) -> Pose:
        """The parent's pose in the frame that this is the pose of."""
        return Pose(-self.rotation.T @ self.position, self.rotation.T)

    def apply(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) points of the frame, in its parent."""
        return points @ self.rotation.T + self.position


class _Scratch(threading.local):
    """What MuJoCo works in. One for each thread: the control loop and motion planning call at the same time."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.data = mujoco.MjData(model)
        self.jacobian = np.zeros((6, model.nv))
        self.torque = np.zeros(model.nv)


class ArmModel:
    """An arm on its own, base frame at its foot. Joint vectors are (dof,), 6 for a YAM. Any number of threads may ask.

    Args:
        model: its joints in order from base to tip and nothing else that moves, a site `tool`.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        self.model = model
        self.dof = int(model.nv)
        self.lower, self.upper = model.jnt_range[:, 0].copy(), model.jnt_range[:, 1].copy()
        self._scratch = _Scratch(model)
        self._site = model.site("tool").id

    @classmethod
    def yam(cls, tool: Tool = BARE_HAND, wrist_camera: bool = False) -> ArmModel:
        """A YAM with closed fingers; the tool site is at the tool's tip. `wrist_camera` adds the shape of camera and bracket."""
        spec = mujoco.MjSpec()
        spec.compiler.degree = False
        add_arm(spec, tool=tool, wrist_camera=wrist_camera, fingers=False)
        return cls(spec.compile())

    @classmethod
    def from_mjcf(cls, path: Path, joints: int) -> ArmModel:
        """Any arm. Raises ValueError if the file's joints are not `joints` limited ones, or it has no site `tool`."""
        model = mujoco.MjModel.from_xml_path(str(path))
        if model.nv != joints or model.nq != joints or not model.jnt_limited.all():
            raise ValueError(
                f"{path} has {model.nv} degrees of freedom; expected {joints} joints with one and a range each"
            )
        if "tool" not in [model.site(k).name for k in range(model.nsite)]:
            raise ValueError(f'{path} has no site "tool": add one where the hand works, +x along its approach')
        return cls(model)

    def forward(self, q: np.ndarray, site: str = "tool") -> Pose:
        """Pose of the tool site (or another, by name) in the base frame."""
        data = self._kinematics(q)
        k = self._site if site == "tool" else self.model.site(site).id
        return Pose(data.site_xpos[k].copy(), data.site_xmat[k].reshape(3, 3).copy())

    def flange(self, q: np.ndarray) -> Pose:
        """Pose of the flange, the last body, in the base frame."""
        data = self._kinematics(q)
        k = int(self.model.site_bodyid[self._site])
        return Pose(data.xpos[k].copy(), data.xmat[k].reshape(3, 3).copy())

    def jacobian(self, q: np.ndarray) -> np.ndarray:
        """(6, dof): rows linear then angular velocity of the tool site in the base frame, per joint velocity."""
        data, jacobian = self._kinematics(q), self._scratch.jacobian
        mujoco.mj_comPos(self.model, data)
        mujoco.mj_jacSite(self.model, data, jacobian[:3], jacobian[3:], self._site)
        return jacobian.copy()

    def torque(self, q: np.ndarray, dq: np.ndarray | None = None, ddq: np.ndarray | None = None) -> np.ndarray:
        """Inverse dynamics (dof,) [Nm]: what the joints must give, without friction; gravity alone by default."""
        data, torque = self._kinematics(q), self._scratch.torque
        mujoco.mj_comPos(self.model, data)
        data.qvel[:] = 0.0 if dq is None else dq
        data.qacc[:] = 0.0 if ddq is None else ddq
        mujoco.mj_comVel(self.model, data)
        mujoco.mj_rne(self.model, data, 0 if ddq is None else 1, torque)
        if ddq is not None:
            torque += self.model.dof_armature * ddq  # mj_rne leaves the rotors out
        return torque.copy()

    def external_wrench(self, q: np.ndarray, torque: np.ndarray, *, point_contact: bool) -> Wrench:
        """What the surroundings exert on the tool site, by the joint torques beyond gravity's (damped least squares), base frame.

        Args:
            q: (dof,) [rad].
            torque: (dof,) that the joints give [Nm].
            point_contact: whether the tool is touched at its tip alone, so that there is no torque about it.
        """
        extra = torque - self.torque(q)
        rows = 3 if point_contact else 6
        j = self.jacobian(q)[:rows]
        vector = np.zeros(6)
        vector[:rows] = -np.linalg.solve(j @ j.T + 1e-4 * np.eye(rows), j @ extra)
        return Wrench(vector, "arm base")

    def inverse(
        self, target: Pose, q: np.ndarray, *, iterations: int = 200, tolerance: float = 1e-5
    ) -> tuple[np.ndarray, float]:
        """Joint angles (dof,) that bring the tool to `target`, started from `q`, and the remaining error.

        The error is the larger of position [m] and 0.1 x rotation [rad]; above `tolerance` the target is out of reach or not reached
        yet. See `enpire_envs.inverse_kinematics`.
        """
        return inverse_kinematics.solve(
            self.model, self._scratch.data, self._site, target.position, target.rotation, q, lower=self.lower, upper=self.upper,
            iterations=iterations, tolerance=tolerance,
        )  # fmt: skip

    def _kinematics(self, q: np.ndarray) -> mujoco.MjData:
        """This thread's data, at `q`."""
        data = self._scratch.data
        data.qpos[:] = q
        mujoco.mj_kinematics(self.model, data)
        return data
