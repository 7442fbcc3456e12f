"""What an agent is told of Push-T's controller, senses and geometry (see `enpire_envs.brief`)."""

from __future__ import annotations

import math

import mujoco

from enpire_envs.brief import Brief, degrees, dropouts, mm, motion, number, periods, seen, sensor, span
from enpire_envs.pusht.geometry import BAR, STEM, U
from enpire_envs.pusht.scene import FRICTION_SPREAD
from enpire_envs.pusht.task import (
    ANGLE_OK,
    COVERAGE_SUCCESS,
    GOAL_BOX_MARGIN,
    MAX_FORCE,
    REST_ANGLE,
    REST_DISTANCE,
    SIMPLE_DISTANCE,
    SPEED,
    PushT,
)


def describe(task: PushT, model: mujoco.MjModel, obs_type: str) -> str:
    """The brief, as Markdown."""
    hz, arena, sensing = task.control_hz, task.arena, task._sensing
    drive, block, foot = model.actuator("drive_x"), model.body("block"), model.geom("foot")
    stiffness, damping, force = drive.gainprm[0], -drive.biasprm[2], drive.forcerange[1]
    weight = float(block.mass[0]) * -float(model.opt.gravity[2])
    slide, turn = (
        span(round(weight * share * (1 - FRICTION_SPREAD), 4), round(weight * share * (1 + FRICTION_SPREAD), 4), unit)
        for share, unit in ((float(foot.friction[0]), "N"), (float(foot.friction[1]), "Nm"))
    )
    half_x, half_y = arena.half
    goal = f"({mm(arena.goal[0])}, {mm(arena.goal[1])}), yaw {degrees(arena.goal[2])}"
    solved = {
        "coverage": f"{number(100 * COVERAGE_SUCCESS)} % of the target covered",
        "pose": f"T's bounding box inside the target's grown by {mm(GOAL_BOX_MARGIN)}, and within {degrees(ANGLE_OK)}",
        "simple": f"T's centroid within {mm(SIMPLE_DISTANCE)} of the target's, and within {degrees(ANGLE_OK)}",
    }[task._criterion]
    commanded = (
        motion("x or y", SPEED / hz, hz)
        if task._control == "delta"
        else ("action", f"the fingertip's target [m], approached at {mm(SPEED)}/s along each axis at most")
    )
    controller = [
        ("fingertip", f"{number(stiffness)} N/m, at most {number(force)} N along each axis; in free motion {number(1000 * damping / stiffness)} ms behind its target"),
        commanded,
        ("commanded position", f"inside the workspace: x {mm(-half_x, half_x)}, y {mm(-half_y, half_y)}; what goes beyond is cut"),
        ("delay of actions", "none"),
        ("time limit (without `max_episode_steps`)", periods(task.max_steps, hz)),
        ("T", f"{number(1000 * float(block.mass[0]))} g; slides from {slide} on and turns from {turn} on, drawn per episode, as an ellipsoid of both; quasi-static: "
              "it stops when nothing pushes it"),
        ("friction of fingertip and T", number(float(model.geom("tip").friction[0]))),
        ("violations", f"T's centroid or the fingertip outside the workspace; more than {number(MAX_FORCE)} N"),
        ("success", f"{solved}, at rest: moved less than {mm(REST_DISTANCE)} and {degrees(REST_ANGLE)} in the last step, and still after the fingertip is lifted"),
    ]  # fmt: skip
    moved = [("fingertip", "exact")]
    if any(sensing.noise_std):
        late = f"{span(min(sensing.latency_steps), max(sensing.latency_steps), 'steps')} late (drawn per episode); "
        pose = [
            ("T's centroid", sensor(sensing, "mm", 1000, of=slice(0, 2))),
            ("T's yaw", sensor(sensing, "deg", math.degrees(1), of=slice(2, 3))),
            ("T's whole pose", late + dropouts(sensing.dropout)),
        ]
    else:
        pose = [("T's pose", "exact")]
    notes = [
        f"The target stands still at {goal}; its pose is not observed.",
        "The fingertip's commanded position is known exactly, though it is not observed: add up your own actions from the first observed position, "
        "cut at the workspace.",
    ]
    return Brief(
        controller=controller, sensed=seen(obs_type, moved, pose, task.cameras), notes=notes, sketch=_sketch(task, model)
    ).markdown()  # fmt: skip


def _sketch(task: PushT, model: mujoco.MjModel) -> str:
    return f"""
 from above, T at yaw nought; x to the right, y up, yaw counter-clockwise

            +-----+
            |stem |   {mm(STEM[1] - STEM[0])} wide, {mm(STEM[3] - STEM[2])} long
            |     |
            |  o  |                o: centroid, the T's origin, {mm(round(-BAR[2], 5))} above the crossbar's lower side
  +---------+-----+---------+
  |        crossbar         |   {mm(BAR[1] - BAR[0])} long, {mm(U)} wide
  +-------------------------+

 fingertip: an upright cylinder of {mm(task.arena.tip_radius)} radius; T: {mm(2 * float(model.geom("bar").size[2]))} high
"""
