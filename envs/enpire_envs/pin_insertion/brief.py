"""What an agent is told of pin insertion's controller, senses and geometry at the level in force (see `enpire_envs.brief`)."""

from __future__ import annotations

import mujoco

from enpire_envs.brief import (
    MILLIMETRES,
    Brief,
    commanded_pose,
    delay,
    drawn,
    drives,
    encoders,
    mm,
    motion,
    number,
    periods,
    safety,
    seen,
    torques,
    wander,
)
from enpire_envs.contact import WRENCH_SENSING
from enpire_envs.pin_insertion.scene import HOLE_DEPTH, HOLE_RADIUS, PIN_LENGTH, PITCH
from enpire_envs.pin_insertion.task import (
    DEEP_ENOUGH,
    HEIGHT,
    HOLD_FORCE,
    HOVER,
    LIMITS,
    STEP,
    TURN,
    PinInsertion,
)


def describe(task: PinInsertion, model: mujoco.MjModel, obs_type: str) -> str:
    """The brief, as Markdown."""
    level, hz, turns = task._level, task.control_hz, task._turns
    linear, angular = level.encoders or (None, None)
    nominal, least, most = level.friction
    diameter = 2 * HOLE_RADIUS
    tight, loose = level.clearance
    controller = [
        *drives(model, turns, level.stiffness),
        motion("x, y", STEP[0], hz),
        motion("z", STEP[2], hz),
        *([motion("rotations", TURN, hz, turn=True)] if turns else []),
        delay(*level.delay, hz),
        ("time limit (without `max_episode_steps`)", periods(level.max_steps, hz)),
        *safety(LIMITS),
        ("friction of pin and plate", drawn(nominal * least, nominal * most, "")),
        (
            "success",
            f"pin's axis in the hole and {mm(DEEP_ENOUGH)} deep, then held with less than {number(HOLD_FORCE)} N after the verifier "
            "has stopped pressing",
        ),
    ]
    moved = [("end effector's position", encoders(linear))]
    if turns:
        moved.append(("end effector's rotation", encoders(angular, angles=True)))
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
            f", and the pin's tip sits off in the gripper by up to {mm(level.grip_offset)} and tilted by up to {number(level.grip_tilt)} deg, "
            "which the estimate does not know"
            if level.grip_offset or level.grip_tilt
            else ""
        )
        + f". The pin may be off its estimate by more than {number(HOVER / loose)} times the whole clearance.",
    ]
    return Brief(
        controller=controller, sensed=seen(obs_type, moved, others, task.cameras), notes=notes, sketch=_sketch(task, diameter, tight, loose)
    ).markdown()  # fmt: skip


def _sketch(task: PinInsertion, diameter: float, tight: float, loose: float) -> str:
    level = task._level
    if level.chamfer:
        end, tip = "\\_ _/", f"a step {mm(level.chamfer)} high and wide at its tip"
    else:
        end, tip = "|___|", "square edge: no step at its tip"
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

 from above: three rows of three holes, {mm(PITCH)} apart; any of them may be the target
"""
