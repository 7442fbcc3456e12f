"""What an agent is told of tying's controller, senses and geometry (see `enpire_envs.brief`)."""

from __future__ import annotations

import mujoco

from enpire_envs.brief import (
    Brief,
    commanded_pose,
    drives,
    friction,
    mm,
    motion,
    number,
    periods,
    safety,
    seen,
    torques,
)
from enpire_envs.contact import WRENCH_SENSING
from enpire_envs.tie_zip_tie.scene import (
    FINGER,
    FRICTION,
    GRASP_REACH,
    GRIP_RATE,
    HALF_Y,
    HALF_Z,
    LINK,
    LINKS,
    SLOT,
    SLOT_CLEARANCE,
    THICKNESS,
    TOOTH,
    TUG,
    WIDTH,
)
from enpire_envs.tie_zip_tie.task import BIAS, ENOUGH, GAP, GRIP, LIMITS, NOISE, SLIP, STEP, TURN, TieZipTie


def describe(task: TieZipTie, model: mujoco.MjModel, obs_type: str) -> str:
    """The brief, as Markdown."""
    hz, noisy = task.control_hz, task._sensing == "noisy"
    controller = [
        *drives(model, turns=True),
        motion("x, y", STEP[0], hz),
        motion("z", STEP[2], hz),
        motion("rotations", TURN, hz, turn=True),
        ("gripper", f"opens or closes by {number(GRIP_RATE)} of its stroke per step, whatever the action's size; closing it fully over the strap, within "
                    f"{mm(GRASP_REACH)} of the fingers' centre, welds strap and fingers until they open"),
        ("delay of actions", "none"),
        ("time limit (without `max_episode_steps`)", periods(task.max_steps, hz)),
        *safety(LIMITS),
        ("violation `strap_dropped`", "the strap fell, or flew off"),
        friction("strap, fingers and head", FRICTION),
        ("strap's hinges", f"{number(float(model.joint('bend1').stiffness[0]))} Nm/rad up and down, {number(float(model.joint('sway1').stiffness[0]))} Nm/rad "
                           "sideways, each: pushed, it buckles up or down first"),
        ("success", f"{mm(ENOUGH + SLIP)} of strap beyond the head end your turn; the verifier then lets go and pulls it back with {number(TUG)} N: "
                    f"{mm(ENOUGH)} must be left"),
    ]  # fmt: skip
    bias = f"off by up to {mm(BIAS)} in each of x, y, z, uniform, drawn per episode"
    noise = f"{mm(NOISE)} noise (std) per reading"
    moved = [("end effector's pose, gripper's opening", "exact")]
    others = [
        ("whether the fingers hold the strap, `valid`", "exact"),
        ("wrench", torques(None, WRENCH_SENSING[task._sensing])),
        ("slot's entrance", f"one look at the start, {bias}" if noisy else "exact"),
        ("strap's tip", f"{bias}; {noise}; not seen inside the head" if noisy else "exact; not seen inside the head"),
        ("strap beyond the head", f"exact but for {mm(2 * NOISE)} noise (std) per reading" if noisy else "exact"),
    ]  # fmt: skip
    notes = [
        commanded_pose(),
        f"Errors add: the estimates of slot and tip are drawn apart, so that tip minus slot may be off by {mm(2 * BIAS)} along an axis, where the strap "
        f"has {mm(SLOT_CLEARANCE / 2)} of play to each side.",
        f"Fingers are {mm(2 * FINGER)} long and cannot pass the head: without another grasp, no more strap comes through than the grip is long, less "
        f"{mm(SLOT + FINGER)} of slot and half a finger.",
    ]
    return Brief(
        controller=controller, sensed=seen(obs_type, moved, others, task.cameras), notes=notes, sketch=_sketch()
    ).markdown()  # fmt: skip


def _sketch() -> str:
    return f"""
 side view, not to scale; x along the slot, z up

                        fingers              head
                         ____              +------+
                        |____|             |______|
   ====================================>    ______     slot
                         ____   tip        |      |
                        |____|             +------+
                           |<- grip ->|<-->|
                                       gap
 strap: {number(LINKS)} rigid links of {mm(LINK)}, {mm(WIDTH)} wide (y), {mm(THICKNESS)} thick (z)
 grip at the start: {mm(*GRIP)} from the tip; gap: {mm(*GAP)}; fingers: {mm(2 * FINGER)} long (x)
 slot: {mm(2 * HALF_Y)} wide, {mm(2 * HALF_Z)} high ({mm(SLOT_CLEARANCE)} of play in all, both ways), {mm(SLOT)} long; square rim
 ratchet: teeth of {mm(TOOTH)}; what went in does not come out
"""
