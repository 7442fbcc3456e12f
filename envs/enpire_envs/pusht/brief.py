"""What an agent is told of Push-T's controller, senses and geometry (see `enpire_envs.brief`)."""

from __future__ import annotations

import math

import mujoco

from enpire_envs.appearance import AppearanceSpec
from enpire_envs.brief import (
    Brief,
    Row,
    degrees,
    delay,
    dropouts,
    encoders,
    looks,
    mm,
    motion,
    number,
    periods,
    pictures,
    seen,
    sensor,
    span,
    wander,
)
from enpire_envs.brief_cameras import views
from enpire_envs.pusht.geometry import BAR, STEM, U
from enpire_envs.pusht.levels import PushTLevel, Spread
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
    hz, arena, sensing, level = task.control_hz, task.arena, task._sensing, task._level
    drive, block, foot = model.actuator("drive_x"), model.body("block"), model.geom("foot")
    stiffness, damping, force = drive.gainprm[0], -drive.biasprm[2], drive.forcerange[1]
    weight = float(block.mass[0]) * -float(model.opt.gravity[2])
    slide, turn = weight * float(foot.friction[0]), weight * float(foot.friction[1])
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
        delay(*level.delay, hz),
        ("time limit (without `max_episode_steps`)", periods(task.max_steps, hz)),
        ("T", f"{number(1000 * float(block.mass[0]))} g; nominally slides from {number(slide)} N on and turns from {number(turn)} Nm on, as an ellipsoid "
              "of both; quasi-static: it stops when nothing pushes it"),
        ("friction of fingertip and T", number(float(model.geom("tip").friction[0]))),
        ("violations", f"T's centroid or the fingertip outside the workspace; more than {number(MAX_FORCE)} N"),
        ("success", f"{solved}, at rest: moved less than {mm(REST_DISTANCE)} and {degrees(REST_ANGLE)} in the last step, and still after the fingertip is lifted"),
    ]  # fmt: skip
    differs = [
        *_differs("in each episode", level.episode),
        *_differs("at each station", level.station),
        *_on_the_table(level),
    ]
    controller[-2:-2] = differs  # violations and success come last
    moved = [("fingertip", encoders(level.encoders))]
    if level.block:
        pose = [
            ("T's pose: x, y, yaw", wander(level.block, hz, [("mm", 1000), ("mm", 1000), ("deg", math.degrees(1))]))
        ]
    elif any(sensing.noise_std):
        late = f"{span(min(sensing.latency_steps), max(sensing.latency_steps), 'steps')} late (drawn per episode); "
        pose = [
            ("T's centroid", sensor(sensing, "mm", 1000, of=slice(0, 2))),
            ("T's yaw", sensor(sensing, "deg", math.degrees(1), of=slice(2, 3))),
            ("T's whole pose", late + dropouts(sensing.dropout)),
        ]
    else:
        pose = [("T's pose", "exact")]
    notes = [
        *_of_the_arm(level),
        f"The target stands still at {goal}; its pose is not observed.",
        "The fingertip's commanded position is known exactly, though it is not observed: add up your own actions from the first observed position, "
        "cut at the workspace.",
    ]
    return Brief(
        controller=controller, sensed=seen(obs_type, moved, pose, task.cameras, pictures(level.camera, hz)), notes=notes, sketch=_sketch(task, model),
        cameras=views(model, obs_type, {task.camera: ("the table at the scene's origin", (0.0, 0.0, 0.0))}, (level.station.look, level.episode.look)),
    ).markdown()  # fmt: skip


def _differs(when: str, spread: Spread) -> list[Row]:
    """What is drawn anew, as far as it is."""
    factors = [
        ("T's friction", spread.friction),
        ("share of it that resists turning", spread.torsion),
        ("friction of fingertip and T", spread.tip_friction),
        ("stiffness of the drives", spread.stiffness),
    ]
    rows = [(f"{what}, {when}", f"x {span(*factor, '')}") for what, factor in factors if factor != (1.0, 1.0)]
    if spread.pressure:
        rows.append((f"where the T's weight rests, {when}", f"anywhere within {mm(spread.pressure)} of its centroid"))
    if spread.tip_offset:
        rows.append(
            (f"fingertip in the gripper, {when}", f"off by up to {mm(spread.tip_offset)} from where the arm has it")
        )
    if spread.look != AppearanceSpec():
        rows.append((f"looks, {when}", looks(spread.look)))
    return rows


def _on_the_table(level: PushTLevel) -> list[Row]:
    rows = []
    if level.decoys or level.clutter:
        rows.append(
            ("printed on the table", f"{level.decoys} T of another colour, {level.clutter} other things, anywhere")
        )
    if level.ood:
        rows.append(
            ("starts", f"{number(100 * level.ood)} % with the T nearer to the workspace's edge than the others")
        )
    return rows


def _of_the_arm(level: PushTLevel) -> list[str]:
    if level.arm is None:
        return []
    strip = (
        f"The arm comes from -y (turned by up to {number(level.arm.direction)} deg at a station) and hides a strip of {mm(2 * level.arm.half_width)} "
        "between the fingertip and its base from the camera: to see the T, move the fingertip to where that strip misses it."
    )
    if level.hiding is None:
        return [strip]
    low, high = level.hiding.edges[0]
    return [
        strip,
        f"No pose is told while it hides more of the T than {span(low, high, '%', 100)} (drawn per episode; {number(100 * level.hiding.blur)} % (std) "
        "from look to look); `valid` says so as late as an estimate is.",
    ]


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
