"""What an agent is told of pin insertion's controller, senses and geometry at the level in force (see `enpire_envs.brief`)."""

from __future__ import annotations

import mujoco

from enpire_envs.brief import (
    MILLIMETRES,
    Brief,
    Row,
    commanded_pose,
    degrees,
    delay,
    drawn,
    drives,
    encoders,
    looks,
    mm,
    motion,
    number,
    periods,
    pictures,
    safety,
    seen,
    span,
    torques,
    wander,
)
from enpire_envs.brief_cameras import views
from enpire_envs.contact import WRENCH_SENSING
from enpire_envs.pin_insertion.levels import PinLevel
from enpire_envs.pin_insertion.scene import HOLE_DEPTH, HOLE_RADIUS, PIN_LENGTH, PITCH
from enpire_envs.pin_insertion.task import (
    DEEP_ENOUGH,
    GUARDED,
    HEIGHT,
    HOLD_FORCE,
    HOVER,
    LIMITS,
    STEP,
    TURN,
    PinInsertion,
)
from enpire_envs.pin_insertion.view import CAMERA, FOVY


def describe(task: PinInsertion, model: mujoco.MjModel, obs_type: str) -> str:
    """The brief, as Markdown."""
    level, hz, turns = task._level, task.control_hz, task._turns
    linear, angular = level.encoders or (None, None)
    nominal, least, most = level.friction
    diameter = 2 * HOLE_RADIUS
    tight, loose = level.clearance
    controller = [
        *drives(model, turns, times(level.stiffness, level.station.stiffness if level.station else (1.0, 1.0))),
        motion("x, y", STEP[0], hz),
        motion("z", STEP[2], hz),
        *([motion("rotations", TURN, hz, turn=True)] if turns else []),
        delay(*further(level), hz),
        ("time limit (without `max_episode_steps`)", periods(level.max_steps, hz)),
        *safety(LIMITS),
        ("friction of pin and plate", drawn(nominal * least, nominal * most, "")),
        *([('starts of the wider range ("ood")', f"{number(100 * level.wild)} % of all")] if level.wild else []),
        *guard_row(level),
        *station_rows(level),
        (
            "success",
            f"pin's axis in the hole and {mm(DEEP_ENOUGH)} deep, then held with less than {number(HOLD_FORCE)} N after the verifier "
            "has stopped pressing",
        ),
    ]
    controller.insert(0, ("`tilt`", _tilted(task)))
    moved = [("end effector's position", encoders(linear))]
    if turns or level.view:
        moved.append(("end effector's rotation", encoders(angular, angles=True)))
    if level.view:
        return _by_image(task, model, controller, moved)
    if level.hole:
        hole = wander(level.hole, hz, [MILLIMETRES] * len(level.hole.radius))
    elif task._sensing == "noisy":
        hole = f"one look at the start, off by an error drawn in a disc of {mm(HOVER)}; then it is the same number in every step, and ages"
    else:
        hole = "exact"
    others = [
        ("wrench", torques(level.torques, WRENCH_SENSING[task._sensing])),
        ("hole estimate", hole),
        ("gripper opening, age, `valid`", "exact"),
        ("heights and wrenches of the last steps", "what was observed then, errors included"),
    ]
    notes = [
        commanded_pose(late=bool(level.delay[1])),
        f"Errors add: the start is off the hole by a draw in a disc of {mm(HOVER)}, the estimate by another error"
        + (
            f", and the pin {sits(level)}, which the estimate does not know"
            if level.grip_offset or level.grip_tilt
            else ""
        )
        + f". The pin may be off its estimate by more than {number(HOVER / loose)} times the whole clearance.",
    ]
    return Brief(
        controller=controller, sensed=seen(obs_type, moved, others, task.cameras, pictures(level.camera, hz)), notes=notes, sketch=_sketch(task, diameter, tight, loose),
        cameras=views(model, obs_type, {task.camera: ("the target hole's mouth, the scene's origin,", (0.0, 0.0, 0.0))}, ()),
    ).markdown()  # fmt: skip


def _by_image(task: PinInsertion, model: mujoco.MjModel, controller: list[Row], moved: list[Row]) -> str:
    level, view = task._level, task._level.view
    assert view is not None
    (position, how), *rest = moved
    sensed = [
        (
            "`pixels`",
            f"the wrist camera, {number(FOVY)} deg wide; it moves with the gripper and looks at the pin's tip; "
            + pictures(level.camera, task.control_hz),
        ),
        (f"`agent_pos`: height alone of {position}", how),
        *((f"`agent_pos`: {name}", well) for name, well in rest),
        ("`agent_pos`: wrench", torques(level.torques, WRENCH_SENSING[task._sensing])),
        ("`agent_pos`: gripper opening", "exact"),
        ("how an episode looks", looks(view.look)),
        *([("stains and screw heads on the plate", number(view.marks))] if view.marks else []),
    ]
    notes = [
        commanded_pose(late=bool(level.delay[1])) + " Neither x nor y is observed.",
        f"The pin {sits(level)}; the picture shows both. The start is off the hole by a draw in a disc of {mm(HOVER)}.",
        "The target is the hole nearest to the pin's tip at the start. The tip is above the plate, so what the picture shows side by side "
        "is not one above the other until the pin touches.",
    ]
    tight, loose = level.clearance
    return Brief(
        controller=controller, sensed=sensed, notes=notes, sketch=_sketch(task, 2 * HOLE_RADIUS, tight, loose),
        cameras=wrist(model, level),
    ).markdown()  # fmt: skip


def _tilted(task: PinInsertion) -> str:
    """Whether the gripper can be turned, and how far a start is, as the page's `tilt` has it."""
    level, turns = task._level, task._turns
    near, far = (degrees(task._tilt[starts]) for starts in ("id", "ood"))
    wide = f", up to {far} in those of the wider range" if level.wild else ""
    acts = (
        "an action is (x, y, z, rx, ry, rz): the gripper can be turned"
        if turns
        else "an action is (x, y, z): the gripper is not turned"
    )
    return f'"{"hard" if turns else "easy"}" in every episode: {acts}. A start is tilted by up to {near}{wide}'


# -- parts that the pin board's brief has too ----------------------------------------------------------------------------------
def times(one: tuple[float, float], two: tuple[float, float]) -> tuple[float, float]:
    """The range of what is a factor of one range times a factor of another."""
    return one[0] * two[0], one[1] * two[1]


def wrist(model: mujoco.MjModel, level: PinLevel) -> list[Row]:
    """Where the wrist camera is."""
    looks_of = (level.station.view if level.station else None, level.view)
    tip = ("a pin's tip, where it should be in the gripper,", (0.0, 0.0, -PIN_LENGTH))
    return views(model, "pixels", {CAMERA: tip}, [part.look for part in looks_of if part])


def further(level: PinLevel) -> tuple[int, int]:
    """Shortest and longest delay with what a station may add [control periods]."""
    return level.delay[0], level.delay[1] + (level.station.delay if level.station else 0)


def sits(level: PinLevel) -> str:
    """How a pin sits in the gripper."""
    return f"sits off in the gripper by up to {mm(level.grip_offset)} and is tilted in it by up to {number(level.grip_tilt)} deg"


def guard_row(level: PinLevel, until: float = -GUARDED, since: float = 0.0) -> list[Row]:
    """What the force guard does while the end effector is less than `until` below its start, and at least `since` [m]."""
    if level.guard is None:
        return []
    return [
        (
            "force guard",
            f"while the end effector is {f'at least {mm(since)} and ' if since else ''}less than {mm(until)} below its start and the last observed force along z is above "
            f"{number(level.guard)} N, nothing goes further down: an action keeps its x and y and loses its z. Height and force are those of the newest "
            "observation, with their errors, lag and drift; it is asked when an action is given, so what is under way already still arrives. Files of episodes "
            "keep the action as the policy sent it",
        )
    ]


def station_rows(level: PinLevel) -> list[Row]:
    """The ranges that a station draws from; what it has drawn stays untold."""
    station = level.station
    if station is None:
        return []
    factors = ", ".join(
        f"{what} {span(*pair, 'times')}"
        for what, pair in (
            ("friction", station.friction),
            ("stiffness", station.stiffness),
            ("backlash", station.backlash),
        )
    )
    rows = [
        (
            "what stays the same at one station, on top of what episodes draw",
            f"{factors}; the pin's tip in the gripper off by up to {mm(station.grip_offset)}; up to {number(station.delay)} control periods more of delay",
        )
    ]
    if station.view:
        rows.append(
            (
                "how a station looks",
                f"holes {mm(*station.view.pitch)} apart, their grid turned by up to {number(station.view.turn)} deg; {looks(station.view.look)}",
            )
        )
    return rows


def _sketch(task: PinInsertion, diameter: float, tight: float, loose: float) -> str:
    level = task._level
    if level.chamfer:
        end, tip = "\\_ _/", f"a step {mm(level.chamfer)} high and wide at its tip"
    else:
        end, tip = "|___|", "square edge: no step at its tip"
    apart = "" if level.view else f", {mm(PITCH)} apart"
    return f"""
 side view, not to scale; z is up

            |  | fingers |  |
            +--+--+---+--+--+
                  |   |             pin: {mm(diameter - loose, diameter - tight)} wide, {mm(PIN_LENGTH)} below the fingers
                  |   |
                  {end}             {tip}; at the start {mm(*HEIGHT)} above the plate

 ================+     +=============   top of the plate
       plate     |     |            hole: {mm(diameter)} wide, so the clearance is {mm(tight, loose)} in all;
                 |     |                  {mm(HOLE_DEPTH)} deep, solved from {mm(DEEP_ENOUGH)} on; square rim, no chamfer
                 +-----+

 from above: three rows of three holes{apart}; any of them may be the target
"""
