"""What an agent is told of the pin board's controller, senses and geometry (see `enpire_envs.brief`)."""

from __future__ import annotations

import mujoco

from enpire_envs.brief import (
    Brief,
    commanded_pose,
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
    torques,
)
from enpire_envs.contact import WRENCH_SENSING
from enpire_envs.pin_board.scene import (
    BOARD,
    DEEP_ENOUGH,
    GRIP_HEIGHT,
    GRIP_REACH,
    HELD_WIDTH,
    LET_GO_WIDTH,
    MOVED,
    PINS,
    STANDS_OFF,
    TRAY,
    TRAY_DEPTH,
    TRAY_PITCH,
)
from enpire_envs.pin_board.task import AROUND, CLEAR, CLOSING, GUARDED, HOME, LIMITS, STEP, PinBoard
from enpire_envs.pin_insertion.brief import further, guard_row, sits, station_rows, times, wrist
from enpire_envs.pin_insertion.scene import HOLE_DEPTH, HOLE_RADIUS, PIN_LENGTH
from enpire_envs.pin_insertion.view import FOVY


def describe(task: PinBoard, model: mujoco.MjModel, obs_type: str) -> str:
    """The brief, as Markdown."""
    level, hz = task._level, task.control_hz
    station, view = level.station, level.view
    assert station is not None
    assert view is not None
    linear, angular = level.encoders or (None, None)
    nominal, least, most = level.friction
    x, y, z = (mm(reach) for reach in GRIP_REACH)
    controller = [
        *drives(model, False, times(level.stiffness, station.stiffness)),
        motion("x, y, z", STEP, hz),
        (
            "gripper",
            f"an action of one closes it by {number(CLOSING)} of its opening per step; it holds a pin at {number(HELD_WIDTH)} and lets go of it at "
            f"{number(LET_GO_WIDTH)}",
        ),
        (
            "what it takes",
            f"a pin of the tray that the tool is within {x} (x), {y} (y) and {z} (z) of, {mm(GRIP_HEIGHT)} above the plate; it centres the pin "
            "along x alone",
        ),
        delay(*further(level), hz),
        ("time limit (without `max_episode_steps`)", periods(task.max_steps, hz)),
        *safety(LIMITS),
        ("friction of pin and plate", drawn(nominal * least, nominal * most, "")),
        *guard_row(level, GUARDED, CLEAR),
        *station_rows(level),
        ("board and tray at a station", f"each off by up to {mm(MOVED)} along x and y"),
        (
            "placed",
            f"let go of at least {mm(DEEP_ENOUGH)} deep, with its axis in the hole; let go of elsewhere a pin is lost",
        ),
        ("success", f"all {number(PINS)} pins placed"),
    ]
    sensed = [
        (
            "`pixels`",
            f"the wrist camera, {number(FOVY)} deg wide; it moves with the gripper; " + pictures(level.camera, hz),
        ),
        ("`agent_pos`: height alone of end effector's position", encoders(linear)),
        ("`agent_pos`: end effector's rotation", encoders(angular, angles=True)),
        (
            "`agent_pos`: wrench",
            torques(level.torques, WRENCH_SENSING[task._sensing])
            + f"; tared at every grasp, and at every rise to less than {mm(CLEAR)} below the start",
        ),
        ("`agent_pos`: gripper opening", "exact"),
        ("how an episode looks", looks(view.look)),
    ]
    notes = [
        commanded_pose(late=bool(level.delay[1])) + " Neither x nor y is observed.",
        f"The start is off by up to {mm(AROUND[0])} along x and y, board and tray by up to {mm(MOVED)}, and a pin stands off its pocket's middle by "
        f"up to {mm(STANDS_OFF)}: these add.",
        f"A pin that is held {sits(level)}.",
    ]
    return Brief(
        controller=controller, sensed=sensed, notes=notes, sketch=_sketch(level.clearance), cameras=wrist(model, level)
    ).markdown()


def _sketch(clearance: tuple[float, float]) -> str:
    def at(place: object) -> str:
        return ", ".join(number(1000 * value) for value in place)  # type: ignore[attr-defined]

    return f"""
 from above, not to scale; x to the right, y up; plate's top is z = zero

     tray                          board
   o   o   o                     O   O   O
   o   o   o     + tool          O   O   O       tool at the start: ({at(HOME)}) mm
   o   o   o                     O   O   O

   tray:  centre ({at(TRAY)}) mm, pockets {mm(TRAY_PITCH)} apart and {mm(TRAY_DEPTH)} deep
   board: centre ({at(BOARD)}) mm, holes {mm(2 * HOLE_RADIUS)} wide and {mm(HOLE_DEPTH)} deep, without a chamfer
   pin:   {mm(2 * HOLE_RADIUS - clearance[1], 2 * HOLE_RADIUS - clearance[0])} wide, {mm(PIN_LENGTH)} below the fingers where it is held as it should be
"""
