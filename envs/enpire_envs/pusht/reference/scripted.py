"""A script for Push-T that sees what policies see: it plans each push from the estimated pose with a quasi-static model, and looks again.

Every step it works out where the T is by now, from the last estimate and what the fingertip has done since (`Sight`). On the way to a
push it keeps to the contact that it chose; while it pushes it chooses the direction anew in every step, by where the T would come to lie.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from gymnasium import spaces

from enpire_envs.pusht.geometry import OUTLINE, wrap
from enpire_envs.pusht.reference.sliding import clearance, corners, nearest, swept, way_around
from enpire_envs.pusht.scene import ARENAS, Arena

_STEP = 0.030  # of the fingertip's target in a control period, at most, per axis [m]
_HZ = 10.0
_SPACING = 0.016  # between contact points [m]
_STANDOFF = 0.005  # between fingertip and T before a push [m]
_ROOM = 0.004  # between them on the way there [m]
_HORIZON = 8  # steps of a push that are looked ahead
_PARTS = 4  # of a step, in the model
_SLANTS = np.radians([-30.0, 0.0, 30.0])  # of a push that is to be begun, off the normal
_TURNS = np.radians([-45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0])  # of one that is under way
_REACH = 0.03  # fingertip further than that from the T: a push is over [m]
_ELSEWHERE = 0.02  # a T that has moved by so much asks for another push [m]
_SLOW, _FINE = 0.0015, 0.35  # the T is moved by this share of its error in a step, and at least by so much [m]


class Scripted:
    """Push-T from observations alone: the state, or a Dict of `agent_pos` and `environment_state`.

    Args:
        observation_space, action_space: of a Push-T environment.

    Raises ValueError for other spaces.
    """

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        assert isinstance(action_space, spaces.Box)
        high = _state_space(observation_space).high
        self._arena = _arena_of(np.asarray(high[:2]))
        self._half = np.array(self._arena.half)
        self._absolute = bool(action_space.high[0] != 1.0)
        self._goal = corners(np.array([self._arena.goal]))[0]
        self._contacts, self._normals = _contacts()

    def reset(self, observation: Any) -> None:
        """Begin from where the fingertip is."""
        state = _flat(observation)
        self._sight = Sight(state, self._arena.tip_radius)
        self._target = self._before = state[:2].copy()
        self._push: tuple[np.ndarray, np.ndarray] | None = None  # contact and normal in the T's frame, of the next push
        self._chosen_at = np.zeros(3)  # where the T was then
        self._pushing = False
        self._looking = 0  # for how many steps it has gone to look where the T is

    def act(self, observation: Any) -> np.ndarray:
        """The displacement of the fingertip for a control period, or its position where control is absolute."""
        pose = self._sight.update(_flat(observation), self._target)
        move = self._move(pose)
        largest = np.abs(move).max()
        if largest > _STEP:
            move = move * (_STEP / largest)
        self._before, self._target = self._target, np.clip(self._target + move, -self._half, self._half)
        return self._target.copy() if self._absolute else move / _STEP

    def did(self, action: np.ndarray) -> None:
        """After `act`: this was executed in its place, by a learner that it teaches."""
        wanted = np.asarray(action, np.float64) if self._absolute else self._before + _STEP * np.asarray(action)
        move = np.clip(wanted - self._before, -_STEP, _STEP)
        self._target = np.clip(self._before + move, -self._half, self._half)

    # -- what to do --------------------------------------------------------------------------------------------------
    def _move(self, pose: np.ndarray) -> np.ndarray:
        error = self._errors(pose[None])[0]
        stride = min(max(_FINE * error, _SLOW), _STEP)
        self._looking = self._looking + 1 if self._sight.lost(error) else 0
        if self._looking:
            self._pushing, self._push = False, None
            spot = self._lookout(pose)
            if self._looking > 20:  # it is not where it is believed to be: the front corners hide the least
                spot = self._half * (1 if self._looking // 20 % 2 else -1, -1)
            return self._along(way_around(pose, self._target, spot, self._arena.tip_radius + _ROOM, self._half))
        if self._pushing:
            move = self._push_on(pose, error, stride)
            if move is not None:
                return move
            self._pushing, self._push = False, None
        if self._push is not None and self._errors(pose[None] - self._chosen_at + self._arena.goal)[0] > _ELSEWHERE:
            self._push = None
        if self._push is None:
            self._push, self._chosen_at = self._choose(pose, error, stride), pose
        contact, normal = (_turned(v, pose[2]) for v in self._push)
        begin = pose[:2] + contact + normal * (self._arena.tip_radius + _STANDOFF)
        if np.hypot(*(begin - self._target)) < 0.004:
            self._pushing = True
            move = self._push_on(pose, error, stride)
            return -normal * stride if move is None else move
        way = way_around(pose, self._target, begin, self._arena.tip_radius + _ROOM, self._half)
        return self._along(way)

    def _lookout(self, pose: np.ndarray) -> np.ndarray:
        """The nearest place from where the arm, which comes from -y, does not hide the T."""
        angles = np.linspace(0, 2 * math.pi, 32, endpoint=False)
        ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        spots = np.concatenate([pose[:2] + r * ring for r in (0.13, 0.17, 0.22)])
        seen = (np.abs(spots) <= self._half).all(axis=1)
        for slant in np.radians([-30.0, 0.0, 30.0]):
            ahead = np.array([math.sin(slant), -math.cos(slant)])  # towards the arm's base
            off = pose[:2] - spots
            along, across = off @ ahead, off @ np.array([-ahead[1], ahead[0]])
            seen &= (along < -0.09) | (np.abs(across) > 0.11)
        if not seen.any():
            return np.array([math.copysign(self._half[0], -pose[0]), -self._half[1]])
        spots = spots[seen]
        nearest_spot: np.ndarray = spots[np.hypot(*(spots - self._target).T).argmin()]
        return nearest_spot

    def _along(self, way: list[np.ndarray]) -> np.ndarray:
        """As far along a way as the fingertip gets in a step."""
        left, at = _STEP, self._target
        for point in way:
            gap = float(np.abs(point - at).max())
            if gap >= left:
                at = at + (point - at) * (left / gap)
                break
            left, at = left - gap, point
        return at - self._target

    def _push_on(self, pose: np.ndarray, error: float, stride: float) -> np.ndarray | None:
        """The best direction to go on pushing in; None where there is nothing to be gained here."""
        gap = max(float(clearance(pose[None], self._target[None])[0]) - self._arena.tip_radius, 0.0)
        if gap > _REACH:
            return None
        assert self._push is not None
        inward = math.atan2(*-_turned(self._push[1], pose[2])[::-1])
        angles = inward + _TURNS
        directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        n = len(directions)
        start = swept(np.tile(pose, (n, 1)), np.tile(self._target, (n, 1)), directions * gap, self._arena.tip_radius, 2)
        cost = self._ahead(start, self._target + directions * gap, directions * stride)
        best = int(cost.argmin())
        if error - cost[best] < max(0.04 * error, 0.0003):
            return None
        return directions[best] * (gap + stride)

    def _choose(self, pose: np.ndarray, error: float, stride: float) -> tuple[np.ndarray, np.ndarray]:
        """Contact and normal of the push that is best begun next, in the T's frame."""
        contacts, normals = _turned(self._contacts, pose[2]), _turned(self._normals, pose[2])
        begins = pose[:2] + contacts + normals * (self._arena.tip_radius + _STANDOFF)
        usable = (np.abs(begins) <= self._half).all(axis=1)
        usable &= clearance(np.tile(pose, (len(begins), 1)), begins) > self._arena.tip_radius + 0.002
        if not usable.any():
            usable[:] = True
        begins = np.repeat(begins[usable], len(_SLANTS), axis=0)
        angles = (np.arctan2(-normals[usable, 1], -normals[usable, 0])[:, None] + _SLANTS).ravel()
        directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        poses = np.tile(pose, (len(begins), 1))
        poses = swept(poses, begins, directions * _STANDOFF, self._arena.tip_radius, 1)
        cost = self._ahead(poses, begins + directions * _STANDOFF, directions * stride)
        travel = np.hypot(*(begins - self._target).T)
        cost += 0.08 * error * travel / (_STEP * _HZ)
        best = int(np.flatnonzero(usable)[int(cost.argmin()) // len(_SLANTS)])
        return self._contacts[best], self._normals[best]

    def _ahead(self, poses: np.ndarray, tips: np.ndarray, moves: np.ndarray) -> np.ndarray:
        """Smallest error (n,) of the T in the steps of a push that keeps it and the fingertip inside of the workspace [m]."""
        least = np.full(len(poses), 1.0)
        for _ in range(_HORIZON):
            poses, tips = swept(poses, tips, moves, self._arena.tip_radius, _PARTS), tips + moves
            inside = (np.abs(poses[:, :2]) < self._half - 0.05).all(axis=1) & (np.abs(tips) < self._half).all(axis=1)
            least = np.minimum(least, np.where(inside, self._errors(poses), 1.0))
        return least

    def _errors(self, poses: np.ndarray) -> np.ndarray:
        """Mean distance (n,) between the corners of Ts and those of the target [m]."""
        off = corners(poses) - self._goal
        return np.hypot(off[..., 0], off[..., 1]).mean(axis=1)


class Sight:
    """Where the T is by now: the last estimate, and how far the fingertip has pushed it since then.

    Args:
        state: (8,) the first observation.
        radius: of the fingertip [m].
    """

    def __init__(self, state: np.ndarray, radius: float) -> None:
        self._radius = radius
        self._past = [_pose(state)]  # as it was believed to be in each control period, the latest last
        self._tip = state[:2].copy()
        self._offset = np.zeros(2)  # from where the fingertip seems to be to where it is
        self._variance = _LOOK.copy()
        self._doubts = 0  # estimates in a row that were not believed
        self._moved = 0.0  # how far the T must have been pushed since it was last seen [m]

    def lost(self, error: float) -> bool:
        """Whether the T has been pushed unseen for so long that one must look, with so much left to do [m]."""
        return self._moved > min(max(0.4 * error, _BLINDLY[0]), _BLINDLY[1])

    def update(self, state: np.ndarray, target: np.ndarray) -> np.ndarray:
        """The pose (3,) once the fingertip is at `target` (2,), by a new observation."""
        tip, before = state[:2] + self._offset, self._past[-1]
        now = swept(before[None], self._tip[None], (tip - self._tip)[None], self._radius, 6)[0]
        contact, away = nearest(now[None], tip[None])
        gap = float(np.hypot(*away[0])) - self._radius
        self._moved += float(np.hypot(*(now - before)[:2])) + 0.05 * abs(now[2] - before[2])
        self._moved += 0.001 * (gap < 0.006)
        self._variance = self._variance + (0.3 * (now - before)) ** 2 + (_TOUCHED if gap < 0.006 else _STILL)
        self._tip = tip.copy()
        age, valid = round(float(state[6]) * _HZ), state[7] > 0.5
        if valid and age <= len(self._past):
            off = _pose(state) - (now if age == 0 else self._past[-age])
            off[2] = wrap(off[2])
            if self._doubts >= 2:  # seen again and again: it was wrong to doubt it
                self._variance = self._variance + off**2
            expected = self._variance + _LOOK
            if (off**2 < 12 * expected + _WILD).all():
                gain = self._variance / expected
                if gap < 0.004:  # a T that was pushed less far than it should have been: the fingertip is further back
                    inward, arm = _turned(-away[0] / max(np.hypot(*away[0]), 1e-9), now[2]), _turned(contact[0], now[2])
                    lag = (off[:2] + off[2] * np.array([-arm[1], arm[0]])) @ inward
                    self._offset = np.clip(self._offset + _LEARNING * lag * inward, -0.005, 0.005)
                now = now + gain * off
                self._variance = (1 - gain) * self._variance
                self._past = [p + gain * off for p in self._past]
                self._doubts, self._moved = 0, 0.0
            else:
                self._doubts += 1
        self._past = [*self._past[-4:], now]
        return swept(now[None], tip[None], (target + self._offset - tip)[None], self._radius, 6)[0]


_LOOK = np.array([0.001, 0.001, math.radians(0.4)]) ** 2  # variance of an estimate
_STILL = np.array([0.0001, 0.0001, math.radians(0.05)]) ** 2  # what it gains in a period
_TOUCHED = np.array([0.0007, 0.0007, math.radians(0.4)]) ** 2  # where the fingertip is at the T
_WILD = np.array([0.008, 0.008, math.radians(5)]) ** 2  # more than that is not believed at once
_BLINDLY = (0.006, 0.04)  # how far a T may be pushed unseen [m]
_LEARNING = 0.15


def _turned(vectors: np.ndarray, yaw: float) -> np.ndarray:
    c, s = math.cos(yaw), math.sin(yaw)
    turned: np.ndarray = vectors @ np.array([[c, s], [-s, c]])
    return turned


def _pose(state: np.ndarray) -> np.ndarray:
    return np.array([state[2], state[3], math.atan2(state[5], state[4])])


def _flat(observation: Any) -> np.ndarray:
    if isinstance(observation, dict):
        observation = np.concatenate([observation["agent_pos"], observation["environment_state"]])
    return np.asarray(observation, np.float64)


def _state_space(space: spaces.Space[Any]) -> spaces.Box:
    if isinstance(space, spaces.Box) and space.shape == (8,):
        return space
    if isinstance(space, spaces.Dict) and "environment_state" in space.spaces:
        own = space["agent_pos"]
        assert isinstance(own, spaces.Box)
        return own
    raise ValueError(f"observations {space} show no pose of the T; expected Push-T's state")


def _arena_of(high: np.ndarray) -> Arena:
    return min(ARENAS.values(), key=lambda arena: float(np.abs(np.array(arena.half) + 0.25 - high).max()))


def _contacts() -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 2) on the T's outline and outward normals (n, 2), in its frame."""
    points, normals = [], []
    for a, b in pairwise([*OUTLINE, OUTLINE[0]]):
        along = b - a
        length = float(np.linalg.norm(along))
        count = max(2, round(length / _SPACING))
        points += [a + along * (k + 0.5) / count for k in range(count)]
        normals += [np.array([along[1], -along[0]]) / length] * count
    return np.array(points), np.array(normals)
