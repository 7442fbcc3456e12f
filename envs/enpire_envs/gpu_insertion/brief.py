"""What an agent is told of GPU insertion's controller, senses and geometry (see `enpire_envs.brief`)."""

from __future__ import annotations

import mujoco

from enpire_envs.brief import (
    Brief,
    commanded_pose,
    degrees,
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
from enpire_envs.gpu_insertion.scene import (
    CARD,
    CHAMFER,
    DEPTH,
    END_CLEARANCE,
    FRICTION,
    GAP,
    HALF_LENGTH,
    HALF_SLOT,
    HALF_SLOT_LENGTH,
    HALF_THICKNESS,
    TUG,
)
from enpire_envs.gpu_insertion.task import (
    ESTIMATE_ERROR,
    ESTIMATE_TURN,
    KEPT,
    LIMITS,
    SEATED,
    STEP,
    TURN,
    GPUInsertion,
)


def describe(task: GPUInsertion, model: mujoco.MjModel, obs_type: str) -> str:
    """The brief, as Markdown."""
    hz = task.control_hz
    controller = [
        *drives(model, turns=True),
        motion("x, y", STEP[0], hz),
        motion("z", STEP[2], hz),
        motion("rotations", TURN, hz, turn=True),
        ("delay of actions", "none"),
        ("time limit (without `max_episode_steps`)", periods(task.max_steps, hz)),
        *safety(LIMITS),
        friction("card, slot and springs", FRICTION),
        ("two rails, one on each side of the card", _spring(model, "rail_left") + f"; they reach {_in_the_way(model)} into its way"),
        ("latch, beyond the card's +x end", _spring(model, "latch")),
        (
            "success",
            f"both ends {mm(SEATED)} deep and the latch back over the tab; the verifier then stops pressing and pulls with {number(TUG)} N: the latch "
            f"must hold and both ends stay {mm(KEPT)} deep",
        ),
    ]  # fmt: skip
    noisy = task._sensing == "noisy"
    slot = (
        f"one look at the start, each of x, y, z off by up to {mm(ESTIMATE_ERROR)} and each rotation by up to {degrees(ESTIMATE_TURN)}, uniform; then "
        "it is the same in every step, and ages"
        if noisy
        else "exact"
    )
    moved = [("end effector's pose", "exact")]
    others = [
        ("wrench", torques(None, WRENCH_SENSING[task._sensing])),
        ("slot estimate", slot),
        ("age, `valid`", "exact"),
        ("wrenches of the last steps", "what was observed then, errors included"),
    ]
    notes = [
        commanded_pose(),
        f"Errors add: the start is off by a draw of its own, and the estimate by another. {mm(ESTIMATE_ERROR)} across the slot is "
        f"{number(round(ESTIMATE_ERROR / (GAP / 2), 1))} times its play to each side, and {degrees(ESTIMATE_TURN)} about z moves the card's ends by "
        f"{mm(round(ESTIMATE_TURN * HALF_LENGTH, 5))}.",
    ]
    return Brief(
        controller=controller, sensed=seen(obs_type, moved, others, task.cameras), notes=notes, sketch=_sketch()
    ).markdown()  # fmt: skip


def _spring(model: mujoco.MjModel, name: str) -> str:
    """What a sprung part presses with where it is not pushed back, and how much more for each millimetre."""
    joint = model.joint(name)
    stiffness = float(joint.stiffness[0])
    rest = float(joint.range[0]) - float(model.qpos_spring[joint.qposadr[0]])
    return f"presses with {number(stiffness * rest)} N at rest and {number(stiffness / 1000)} N more for each mm"


def _in_the_way(model: mujoco.MjModel) -> str:
    rail = model.geom("rail_left")
    at = float(model.body(int(rail.bodyid[0])).pos[1])
    return mm(round(HALF_THICKNESS - (at - float(rail.size[0])), 6))


def _sketch() -> str:
    return f"""
 along y, not to scale; z is up                        along x

      +--------- grasp ---------+                          ||
      |          card           |  tab  +---+              ||
      |                         |==     | latch            ||   {mm(CARD)} from the grasp to the edge
      +-------------------------+       +---+             _||_
 ___                               ____                __ |  | __   rails
    |                             |                      ||  ||
    |            slot             |                      |    |
    +-----------------------------+                      +----+

 card's edge: {mm(2 * HALF_LENGTH)} long (x), {mm(2 * HALF_THICKNESS)} thick (y)
 slot: {mm(2 * HALF_SLOT_LENGTH)} long ({mm(END_CLEARANCE)} of play in all), {mm(2 * HALF_SLOT)} wide ({mm(GAP)} of play in all), {mm(DEPTH)} deep,
       its mouth cut back all round by {mm(CHAMFER)}, slanted
"""
