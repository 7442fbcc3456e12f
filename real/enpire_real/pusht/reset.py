"""Push-T's reset skill: bring the T to a start by pushing it there, looking again whenever the arm hides it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from enpire_envs.cell import CellFault
from enpire_envs.pusht.geometry import clearance, in_frame
from enpire_envs.pusht.scene import Arena

from enpire_real.pusht.task import START_ANGLE, START_DISTANCE, TIP_ROOM

if TYPE_CHECKING:
    from enpire_real.pusht.scene import PushTScene

_MAX_STEPS = 600  # control steps that a reset may push for
_OUTSIDE = 0.06  # how far beyond the arena a reset may go after a T that was pushed out [m]
_LOOK_EVERY = 5  # control steps
_MAX_AGE_S = 1.0  # of the T's pose, before the arm steps aside for a new one


def push_to(scene: PushTScene, goal: Sequence[float], tolerance: float) -> None:
    """Push the T to `goal` (x, y, yaw) until it is near or the steps are used up. Raises Stopped, CellFault.

    `tolerance`: share of what an episode's start allows.
    """
    half = (scene.arena.half[0] + _OUTSIDE, scene.arena.half[1] + _OUTSIDE)
    scene.arm.room = np.array(half)
    try:
        _push(scene, goal, tolerance, half)
    finally:
        scene.arm.room = np.array(scene.arena.half)


def _push(scene: PushTScene, goal: Sequence[float], tolerance: float, half: tuple[float, float]) -> None:
    from enpire_envs.skills.push_planner import PushPlanner  # no cage has it: it would solve the task

    x, y, yaw = goal
    arena = Arena(half=half, goal=(x, y, yaw), tip_radius=scene.arena.tip_radius, walls=False)
    planner = PushPlanner(arena, scene.control_hz)
    _begin_push(scene, [0.0, -half[1]])
    for step in range(_MAX_STEPS):
        if step % _LOOK_EVERY == 0:
            readings = scene.read()
            if readings.age > _MAX_AGE_S:
                tip = scene.arm.tip()
                scene.arm.avoid()
                scene.camera.look()
                planner.forget()
                _begin_push(scene, tip)
            assert scene.camera.block is not None
            if near(scene.camera.block, goal, tolerance):
                return
        if planner.needs_plan:
            readings = scene.read()
            planner.plan(readings.block, readings.tip, readings.tip_target)
        scene.drive(planner.next_velocity())


def _begin_push(scene: PushTScene, tip: Sequence[float]) -> None:
    scene.arm.hover(free_place(scene, tip))
    scene.arm.lower()
    scene.restart_pace()


def near(block: Sequence[float], goal: Sequence[float], tolerance: float) -> bool:
    """Whether a T's pose (x, y, yaw) is within `tolerance` times what an episode's start allows."""
    dx, dy, turn = in_frame(block, goal)
    return math.hypot(dx, dy) <= tolerance * START_DISTANCE and abs(turn) <= tolerance * START_ANGLE


def free_place(scene: PushTScene, tip: Sequence[float]) -> tuple[float, float]:
    """`tip`, or where the pusher may come down nearby without touching the T. Raises CellFault if there is no such place."""
    block = scene.camera.block
    assert block is not None, "the T must have been seen"
    room = scene.arena.tip_radius + TIP_ROOM
    wanted = np.array(tip)
    if clearance(wanted, block) > room:
        return float(wanted[0]), float(wanted[1])
    for reach in np.arange(0.01, 0.5, 0.01):
        for angle in np.linspace(-math.pi, math.pi, 24, endpoint=False):
            point = wanted + reach * np.array([math.cos(angle), math.sin(angle)])
            if (scene.arm.within_room(point) == point).all() and clearance(point, block) > room:
                return float(point[0]), float(point[1])
    raise CellFault("there is no free place for the pusher on the mat")
