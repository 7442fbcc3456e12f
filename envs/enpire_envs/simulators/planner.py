"""Collision-checked paths of an arm among what its depth cameras saw: RRT-Connect of OMPL on a sphere model of the arm.

The arm's own kinematics come from its model; the world is a point cloud in a voxel grid with a distance transform. Nothing is
known of the world but those points.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import mujoco
import numpy as np
from ompl import base as ob
from ompl import geometric as og
from ompl import util
from scipy import ndimage
from scipy.spatial.transform import Rotation

from enpire_envs import inverse_kinematics

VOXEL = 0.02  # [m]
REACH = 1.1  # half side of the grid around the arm's base [m]
MARGIN = 0.01  # kept between a sphere and an occupied voxel [m]
_REACHED = 5e-4  # error of a posture that counts as at the goal: 0.5 mm, 5 mrad
_MAX_STATES = 20_000  # checked before a plan is given up


class ArmPlanner:
    """Plans for one arm of a compiled model. `look` brings it up to date with where the base stands."""

    def __init__(self, model: Any, data: Any, robot: Any, site: int) -> None:
        self._model, self._site = model, site
        self._data = mujoco.MjData(model)
        self._qpos = arm_joints(robot)
        joints = [int(np.flatnonzero(model.jnt_qposadr == q)[0]) for q in self._qpos]
        self._dofs = model.jnt_dofadr[joints]
        self._low, self._high = model.jnt_range[joints].T
        self._bodies, self._centres, self._radii = _spheres(model, joints[0])
        self._distance: np.ndarray | None = None
        self._corner = np.zeros(3)

    def look(self, data: Any) -> None:
        """Take over where everything stands in `data`."""
        self._data.qpos[:] = data.qpos

    # -- kinematics --------------------------------------------------------------------------------------------------
    def _forward(self, q: np.ndarray) -> None:
        self._data.qpos[self._qpos] = q
        mujoco.mj_kinematics(self._model, self._data)

    def hand_at(self, q: np.ndarray) -> np.ndarray:
        """Pose (4, 4) of the grip site in the simulator's world."""
        self._forward(q)
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = self._data.site_xmat[self._site].reshape(3, 3), self._data.site_xpos[self._site]
        return pose

    def spheres_at(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Centres (n, 3) and radii (n,) that cover the arm."""
        self._forward(q)
        rotations = self._data.xmat[self._bodies].reshape(-1, 3, 3)
        return np.einsum("nij,nj->ni", rotations, self._centres) + self._data.xpos[self._bodies], self._radii

    def solve(self, goal: np.ndarray, start: np.ndarray, rng: np.random.Generator, tries: int = 12) -> list[np.ndarray]:
        """Postures that bring the hand to a pose, nearest to `start` first."""
        found = []
        for k in range(tries):
            q = (
                start.copy()
                if k == 0
                else np.clip(start + rng.normal(0, 0.3 + 0.1 * k, len(start)), self._low, self._high)
            )
            q, error = inverse_kinematics.solve(
                self._model, self._data, self._site, goal[:3, 3], goal[:3, :3], q, qpos=self._qpos, dofs=self._dofs,
                lower=self._low, upper=self._high, iterations=120, tolerance=_REACHED,
            )  # fmt: skip
            if error < _REACHED:
                found.append(q)
        return sorted(found, key=lambda q: float(np.linalg.norm(q - start)))

    # -- the world ---------------------------------------------------------------------------------------------------
    def set_obstacles(self, points: np.ndarray, q: np.ndarray) -> int:
        """Take the points (n, 3; the simulator's world) that are not on the arm itself."""
        centres, radii = self.spheres_at(q)
        keep = np.ones(len(points), bool)
        for centre, radius in zip(centres, radii, strict=True):
            keep &= ((points - centre) ** 2).sum(1) > (radius + 0.03) ** 2
        points = points[keep]
        self._corner = centres[0] - REACH
        cells = np.floor((points - self._corner) / VOXEL).astype(int)
        size = round(2 * REACH / VOXEL)
        inside = ((cells >= 0) & (cells < size)).all(1)
        free = np.ones((size, size, size), bool)
        free[tuple(cells[inside].T)] = False
        self._distance = ndimage.distance_transform_edt(free).astype(np.float32) * VOXEL
        return int(inside.sum())

    def clear(self, q: np.ndarray) -> bool:
        """Whether the arm in this posture keeps clear of every obstacle."""
        if self._distance is None:
            return True
        centres, radii = self.spheres_at(q)
        cells = np.floor((centres - self._corner) / VOXEL).astype(int)
        size = len(self._distance)
        inside = ((cells >= 0) & (cells < size)).all(1)
        distance = self._distance[tuple(cells[inside].T)]
        return bool((distance > radii[inside] + MARGIN).all())

    # -- planning ----------------------------------------------------------------------------------------------------
    def plan(self, start: np.ndarray, goal: np.ndarray, seed: int, avoid: bool) -> tuple[list[np.ndarray] | None, str]:
        """Postures from `start` to one that brings the hand to `goal`, or None and why not."""
        rng = np.random.default_rng(seed)
        postures = self.solve(goal, start, rng)
        if not postures:
            return None, "the pose is out of reach"
        if not avoid or self._distance is None:
            return _line(start, postures[0]), "straight in joint space"
        free = [q for q in postures if self.clear(q)]
        if not free:
            return None, "every posture at the goal touches an obstacle"
        if not self.clear(start):
            return _line(start, free[0]), "straight: the arm touches an obstacle already where it stands"
        for q in free:
            line = _line(start, q)
            if all(map(self.clear, line)):
                return line, "straight in joint space"
        path = self._rrt(start, free[0], seed)
        return (path, "around obstacles") if path else (None, "found no way around the obstacles")

    def _rrt(self, start: np.ndarray, goal: np.ndarray, seed: int) -> list[np.ndarray] | None:
        util.RNG.setSeed(seed % (1 << 31) + 1)
        n = len(start)
        space = ob.RealVectorStateSpace(n)
        bounds = ob.RealVectorBounds(n)
        for k in range(n):
            bounds.setLow(k, float(self._low[k]))
            bounds.setHigh(k, float(self._high[k]))
        space.setBounds(bounds)
        setup = og.SimpleSetup(space)
        checked = 0

        def valid(state: Any) -> bool:
            nonlocal checked
            checked += 1
            return self.clear(np.array([state[k] for k in range(n)]))

        setup.setStateValidityChecker(valid)
        setup.getSpaceInformation().setStateValidityCheckingResolution(0.01)
        setup.setPlanner(og.RRTConnect(setup.getSpaceInformation()))
        ends = []
        for q in (start, goal):
            state = space.allocState()
            for k in range(n):
                state[k] = float(q[k])
            ends.append(state)
        setup.setStartAndGoalStates(*ends)
        # By count and not by time: a busy machine must not change a plan.
        setup.solve(ob.PlannerTerminationCondition(lambda: checked > _MAX_STATES))
        if not setup.haveExactSolutionPath():
            return None
        corners = [np.array([s[k] for k in range(n)]) for s in setup.getSolutionPath().getStates()]
        return [q for a, b in pairwise(self._shorten(corners, seed)) for q in _line(a, b)]

    def _shorten(self, corners: list[np.ndarray], seed: int) -> list[np.ndarray]:
        """Leave out corners where the straight way is clear."""
        rng = np.random.default_rng(seed)
        for _ in range(60):
            if len(corners) < 3:
                break
            i, j = sorted(rng.choice(len(corners), 2, replace=False))
            if j - i > 1 and all(map(self.clear, _line(corners[i], corners[j]))):
                corners = corners[: i + 1] + corners[j:]
        return corners


def arm_joints(robot: Any) -> np.ndarray:
    """Where the arm's joints stand in the simulator's positions; a mobile base's come before them."""
    return np.array(robot._ref_joint_pos_indexes[-len(np.ravel(robot.init_qpos)) :])


def _line(a: np.ndarray, b: np.ndarray, step: float = 0.05) -> list[np.ndarray]:
    n = max(1, int(np.ceil(np.abs(b - a).max() / step)))
    return [a + (b - a) * k / n for k in range(1, n + 1)]


def _spheres(model: Any, first_joint: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spheres along the longest side of each collision geom of the arm and its gripper: body ids, centres, radii.

    The base is left out: it stands still, and stands on something.
    """
    root = int(model.jnt_bodyid[first_joint])
    arm = {root}
    for body in range(root + 1, model.nbody):
        if int(model.body_parentid[body]) in arm:
            arm.add(body)
    bodies, centres, radii = [], [], []
    for geom in range(model.ngeom):
        body = int(model.geom_bodyid[geom])
        if body not in arm or not (model.geom_contype[geom] or model.geom_conaffinity[geom]):
            continue
        middle, half = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
        rotation = Rotation.from_quat(model.geom_quat[geom], scalar_first=True)
        longest = int(np.argmax(half))
        across = np.delete(half, longest)
        radius = float(np.max(across))
        count = max(1, int(np.ceil(half[longest] / max(radius, 1e-3))))
        for k in range(count):
            local = middle.copy()
            local[longest] += (2 * (k + 0.5) / count - 1) * max(half[longest] - radius * 0.5, 0)
            bodies.append(body)
            centres.append(model.geom_pos[geom] + rotation.apply(local))
            radii.append(radius)
    return np.array(bodies), np.array(centres), np.array(radii)
