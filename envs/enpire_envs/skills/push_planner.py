"""Pushes a T to a goal: greedy one-push lookahead on a coarse copy of the simulated scene.

Each plan tries every contact point on the T's outline with three push directions, rolls all of them out in one
`mujoco.rollout` call, keeps the push (and its length) after which the T's corners lie closest to the goal's, walks
the fingertip around the T to where that push begins, pushes, and plans again.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from itertools import pairwise

import mujoco
import mujoco.rollout
import numpy as np

from enpire_envs.pusht.geometry import OUTLINE, clearance, outline
from enpire_envs.pusht.scene import Arena, PushTScene
from enpire_envs.pusht.task import SPEED

_HORIZON = 8  # control steps of one push
_SPACING = 0.018  # between contact points [m]
_DIRECTIONS = np.radians([-25.0, 0.0, 25.0])  # off the inward normal
_STANDOFF = 0.006  # gap between fingertip and T before a push [m]
_DT = 0.01


class PushPlanner:
    """Plans velocities of the fingertip's target, one for each control step, until it needs to see the T again.

    Args:
        arena: its `goal` is where the T should go. Positions and poses are in its frame [m, rad].
        control_hz: of the steps.
    """

    def __init__(self, arena: Arena, control_hz: float) -> None:
        self._arena, self._control_hz = arena, control_hz
        self._goal_corners = outline(arena.goal)
        self._model = _coarse_model(PushTScene(arena))
        self._data = mujoco.MjData(self._model)
        self._contacts, self._normals = _contact_points()
        self._plan: list[np.ndarray] = []

    def forget(self) -> None:
        """The T or the tip was moved by something else: what was planned is void."""
        self._plan = []

    @property
    def needs_plan(self) -> bool:
        """Whether `plan` must come before the next `next_velocity`."""
        return not self._plan

    def next_velocity(self) -> np.ndarray:
        """(2,) [m/s] of the fingertip's target for the next control step. `plan` comes first."""
        return self._plan.pop(0)

    def plan(self, block: Sequence[float], tip: Sequence[float], tip_target: Sequence[float]) -> None:
        """Plan the way to the next push, and the push.

        Args:
            block: the T's pose (x, y, yaw).
            tip: where the fingertip is (x, y).
            tip_target: where it was last sent (x, y).
        """
        self._plan = self._next_push(tuple(block), np.array(tip), np.array(tip_target))

    def _next_push(self, block: tuple[float, ...], tip: np.ndarray, tip_target: np.ndarray) -> list[np.ndarray]:
        """Velocities of the fingertip's target, one per control step: the way there, then the push."""
        error = self._error(np.array([block]))[0]
        speed = SPEED if error > 0.06 else max(0.06, SPEED * error / 0.06)

        c, s = math.cos(block[2]), math.sin(block[2])
        turn = np.array([[c, s], [-s, c]])
        contacts = self._contacts @ turn + block[:2]
        normals = self._normals @ turn
        begins = contacts + normals * (self._arena.tip_radius + _STANDOFF)
        usable = (np.abs(begins) <= self._arena.half).all(axis=1)
        usable &= [clearance(p, block) > self._arena.tip_radius + 0.002 for p in begins]
        if not usable.any():
            return [np.zeros(2)]

        begins = np.repeat(begins[usable], len(_DIRECTIONS), axis=0)
        angle = np.arctan2(-normals[usable, 1], -normals[usable, 0])[:, None] + _DIRECTIONS
        pushes = speed * np.stack([np.cos(angle), np.sin(angle)], axis=-1).reshape(-1, 2)
        blocks = self._roll_out(block, begins, pushes)  # (candidates, horizon, 3)

        errors = self._error(blocks.reshape(-1, 3)).reshape(blocks.shape[:2])
        outside = (np.abs(blocks[..., :2]) > np.array(self._arena.half) - 0.05).any(axis=2)
        travel = np.linalg.norm(begins - tip, axis=1)[:, None]
        cost = errors + 0.02 * error * travel / SPEED + np.where(outside, 1.0, 0.0)
        best, length = np.unravel_index(np.argmin(cost), cost.shape)
        way = self._walk(tip, begins[best], block, tip_target)
        return way + [pushes[best]] * (int(length) + 1)

    def _error(self, blocks: np.ndarray) -> np.ndarray:
        """Mean distance between the corners of Ts at `blocks` (n, 3) and the goal's [m], (n,)."""
        c, s = np.cos(blocks[:, 2])[:, None], np.sin(blocks[:, 2])[:, None]
        x = c * OUTLINE[:, 0] - s * OUTLINE[:, 1] + blocks[:, :1]
        y = s * OUTLINE[:, 0] + c * OUTLINE[:, 1] + blocks[:, 1:2]
        return np.hypot(x - self._goal_corners[:, 0], y - self._goal_corners[:, 1]).mean(axis=1)

    def _roll_out(self, block: tuple[float, ...], begins: np.ndarray, pushes: np.ndarray) -> np.ndarray:
        n = len(begins)
        substeps = round(1.0 / (self._control_hz * _DT))
        state = np.zeros((n, 1 + self._model.nq + self._model.nv + self._model.na))
        state[:, 1:5] = (block[0], block[1], 0.0, block[2])
        state[:, 5:7] = begins
        state[:, -2:] = begins
        control = np.repeat(pushes[:, None, :], _HORIZON * substeps, axis=1)
        states, _ = mujoco.rollout.rollout(self._model, self._data, state, control)
        ends = states[:, substeps - 1 :: substeps, 1:5]
        return ends[..., [0, 1, 3]]

    def _walk(self, tip: np.ndarray, to: np.ndarray, block: tuple[float, ...], target: np.ndarray) -> list[np.ndarray]:
        """Velocities that take the fingertip's target from where it is to `to` around the T."""
        steps: list[np.ndarray] = []
        stride = SPEED / self._control_hz
        at = target
        for point in self._path(tip, to, block)[1:]:
            gap = point - at
            count = max(1, math.ceil(np.abs(gap).max() / stride - 1e-9))
            steps += [gap / count * self._control_hz] * count
            at = point
        return steps

    def _path(self, tip: np.ndarray, to: np.ndarray, block: tuple[float, ...]) -> list[np.ndarray]:
        """Shortest way over the corners of the T grown by the fingertip (visibility graph, Dijkstra)."""
        room = self._arena.tip_radius + 0.003
        corners = outline(block)
        centre = np.array(block[:2])
        grown = []
        for k, corner in enumerate(corners):
            before, after = corners[k - 1] - corner, corners[(k + 1) % 8] - corner
            outward = -(before / np.linalg.norm(before) + after / np.linalg.norm(after))
            point = corner + outward * (room + 0.004)
            if clearance(point, block) > room and (np.abs(point) <= self._arena.half).all():
                grown.append(point)
        nodes = [tip, to, *grown]
        if clearance(tip, block) < room:  # touching: back off first
            away = tip - centre
            candidates = [tip + 0.02 * np.array([math.cos(a), math.sin(a)]) for a in np.linspace(0, 2 * math.pi, 24)]
            free = [p for p in candidates if (np.abs(p) <= self._arena.half).all()]
            away = max(free, key=lambda p: clearance(p, block))
            return [tip, *self._path(away, to, block)] if clearance(away, block) >= room else [tip, away, to]

        def clear(a: np.ndarray, b: np.ndarray) -> bool:
            n = max(2, math.ceil(float(np.linalg.norm(b - a)) / 0.006))
            return all(clearance(a + (b - a) * k / n, block) >= room - 0.001 for k in range(n + 1))

        best = {0: 0.0}
        queue: list[tuple[float, int, list[int]]] = [(0.0, 0, [0])]
        while queue:
            length, node, way = heapq.heappop(queue)
            if node == 1:
                return [nodes[k] for k in way]
            for other in range(len(nodes)):
                total = length + float(np.linalg.norm(nodes[other] - nodes[node]))
                if other not in way and total < best.get(other, math.inf) and clear(nodes[node], nodes[other]):
                    best[other] = total
                    heapq.heappush(queue, (total, other, [*way, other]))
        return [tip, to]


def _coarse_model(scene: PushTScene) -> mujoco.MjModel:
    """Twice the time step, and dry joint friction in place of the foot contact: three times as fast."""
    model = scene.build()
    model.opt.timestep = _DT
    model.geom_solref[:, 0] = 2 * _DT
    foot = model.geom("foot").id
    slide, torsion, _ = model.geom_friction[foot]
    weight = -model.opt.gravity[2] * model.body("block").mass[0]
    for joint, limit in {"block_x": slide, "block_y": slide, "block_yaw": torsion}.items():
        model.dof_frictionloss[model.joint(joint).dofadr[0]] = 0.85 * limit * weight
    model.geom_contype[foot] = model.geom_conaffinity[foot] = 0
    model.opt.gravity[:] = 0.0
    return model


def _contact_points() -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 2) on the outline and outward normals (n, 2), in the T frame."""
    points, normals = [], []
    for a, b in pairwise([*OUTLINE, OUTLINE[0]]):
        along = b - a
        length = float(np.linalg.norm(along))
        count = max(2, round(length / _SPACING))
        outward = np.array([along[1], -along[0]]) / length
        for k in range(count):
            points.append(a + along * (k + 0.5) / count)
            normals.append(outward)
    return np.array(points), np.array(normals)
