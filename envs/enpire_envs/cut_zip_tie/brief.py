"""What an agent is told of cutting's controller, senses and geometry (see `enpire_envs.brief`)."""

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
from enpire_envs.cut_zip_tie.scene import (
    BLADE,
    CABLES,
    CUT_FORCE,
    GRASP_REACH,
    GRASP_TURN,
    GRIP_RATE,
    HEAD,
    JAW_STEP,
    KERF,
    OPEN,
    PIVOT,
    RING,
    TAIL,
    THICKNESS,
    TOOTH,
    TUG,
    WALL,
    WIDTH,
)
from enpire_envs.cut_zip_tie.task import APART, BIAS, LIMITS, LONGEST, NOISE, OPENED, STEP, TURN, CutZipTie


def describe(task: CutZipTie, model: mujoco.MjModel, obs_type: str) -> str:
    """The brief, as Markdown."""
    hz, noisy, lying = task.control_hz, task._sensing == "noisy", task._lying
    jaw = model.actuator("jaw")
    grasp = (
        f"first it moves the gripper, by {number(GRIP_RATE)} of its stroke per step, whatever the action's size; closing it on the cutter, within "
        f"{mm(GRASP_REACH)} and {degrees(GRASP_TURN)} of its handle, holds it to the end; from then on "
    )
    controller = [
        *drives(model, turns=True),
        motion("x, y, z", STEP, hz),
        motion("rotations", TURN, hz, turn=True),
        ("jaw", (grasp if lying else "") + f"a full action moves its commanded angle by {number(JAW_STEP)} rad per step; "
                f"{number(jaw.gainprm[0])} Nm/rad, at most {number(jaw.forcerange[1])} Nm; {number(OPEN)} rad open at the start"),
        ("delay of actions", "none"),
        ("time limit (without `max_episode_steps`)", periods(task.max_steps, hz)),
        *safety(LIMITS),
        friction("blades on the tail", _between(model, "lower", "main0")),
        friction("cutter on head, loop and cables", _between(model, "lower", "head")),
        ("a strap parts", f"where both blades press on it with {number(CUT_FORCE)} N at once, across it; the tail or the loop, whichever is between them"),
        ("success", f"a stub of {mm(TOOTH, LONGEST)}, jaw opened to {number(OPENED)} rad again, pieces {mm(APART)} apart; the verifier then pulls the stub "
                    f"with {number(TUG)} N"),
        ("lost for good", f"the loop cut, or a stub shorter than {mm(TOOTH)}"),
    ]  # fmt: skip
    bias = f"off by up to {mm(BIAS)} in each of x, y, z, uniform, drawn per episode"
    again = f"{mm(NOISE)} noise (std) per reading"
    moved = [("end effector's pose, jaw's angle", "exact")]
    others = [
        ("jaw's torque, yaw, whether the cutter is held, `valid`", "exact"),
        ("wrench", torques(None, WRENCH_SENSING[task._sensing])),
        ("lower blade", f"{bias}; {again}" if lying and noisy else "exact"),
        ("where the tail leaves the head", f"one look at the start, {bias}" if noisy else "exact"),
        ("tail's tip", f"{bias}; {again}; not followed once it has fallen" if noisy else "exact; not followed once it has fallen"),
    ]  # fmt: skip
    notes = [
        commanded_pose(),
        f"Errors add: head and tip are drawn apart{', and the blades a third time' if lying else ''}. Where the tail runs is known by its two ends; the "
        f"stub that you aim for may be off by {mm((2 if lying else 1) * BIAS)} along it, of the {mm(LONGEST - TOOTH)} that are allowed.",
    ]
    return Brief(
        controller=controller, sensed=seen(obs_type, moved, others, task.cameras), notes=notes, sketch=_sketch()
    ).markdown()  # fmt: skip


def _between(model: mujoco.MjModel, one: str, other: str) -> float:
    """The friction of two bodies: MuJoCo takes the larger."""
    return max(float(model.geom(name).friction[0]) for name in (one, other))


def _sketch() -> str:
    return f"""
 side view, not to scale; x along the tail, z up             the cutter from above; its blades point along -y

     .-----.                                                     [ gripper ]
    /       \\+----+   stub   tail                                     |
   |  cables | head|=========|===========                         handle     {mm(PIVOT)} from the grip
    \\       /+----+          ^                                        |      to the blades' hinge
     '-----'               cut here                                   o
      loop                                                            |      blades: {mm(BLADE)} long,
                                                                      |              {mm(KERF)} thick
 tail: {mm(TAIL)} long, {mm(WIDTH)} wide (y), {mm(THICKNESS)} thick (z); the tail may be turned up and aside
 head: {mm(HEAD)} long, walls of {mm(WALL)} about the strap; loop of {mm(RING)} radius about cables of {mm(CABLES)} radius
 stub: {mm(TOOTH, LONGEST)} from the head
"""
