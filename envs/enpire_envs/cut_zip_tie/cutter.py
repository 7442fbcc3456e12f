"""What a cutter does, whatever it cuts: it is taken by fingers that close on it, and presses with both blades."""

from __future__ import annotations

import math

import mujoco
import numpy as np

from enpire_envs import end_effector

GRASP_REACH, GRASP_TURN = 0.004, math.radians(12)  # how far off a grasp may be [m, rad]


def within_reach(data: mujoco.MjData, tool: int, lying: int) -> bool:
    """Whether fingers of the body `tool` that close now have the cutter, body `lying`, between them."""
    hand, there = (data.xmat[body].reshape(3, 3) for body in (tool, lying))
    off = end_effector.length(hand.T @ (data.xpos[lying] - data.xpos[tool]))
    return off < GRASP_REACH and bool((np.trace(hand.T @ there) - 1) / 2 > math.cos(GRASP_TURN))


def take(model: mujoco.MjModel, data: mujoco.MjData, tool: int, lying: int, held: int) -> None:
    """Let the body `held`, a child of `tool` that is there while a cutter is held, be where the lying one is, and slip as it was placed to."""
    model.body_pos[held] += data.xmat[tool].reshape(3, 3).T @ (data.xpos[lying] - data.xpos[tool])
    quat = np.zeros(4)
    mujoco.mju_negQuat(quat, data.xquat[tool])
    mujoco.mju_mulQuat(quat, quat.copy(), data.xquat[lying])
    mujoco.mju_mulQuat(quat, quat.copy(), model.body_quat[held])
    model.body_quat[held] = quat


def pressed(data: mujoco.MjData, edges: tuple[int, int], least: float, as_one: np.ndarray | None = None) -> list[int]:
    """The geoms that both blades, of which the geoms `edges` are the edges, press with at least so much at once [N].

    Args:
        as_one: geoms that are parts of one thing; the first stands for all of them.
    """
    if not data.ncon:
        return []
    pairs, force = data.contact.geom, data.efc_force[data.contact.efc_address]
    lower, upper = ((pairs == edge).any(axis=1) for edge in edges)
    touched = np.where(lower | upper, pairs.sum(axis=1) - np.where(lower, *edges), -1)
    if as_one is not None:
        touched[np.isin(touched, as_one)] = as_one[0]
    between = set(touched[lower].tolist()) & set(touched[upper].tolist())
    return [g for g in between if min(force[(touched == g) & side].sum() for side in (lower, upper)) >= least]
