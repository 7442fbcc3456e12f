"""What an agent is told of cutting's controller, senses and geometry (see `enpire_envs.brief`)."""

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
from enpire_envs.contact import CONTROL_HZ, WRENCH_SENSING
from enpire_envs.cut_zip_tie.cutter import GRASP_REACH, GRASP_TURN
from enpire_envs.cut_zip_tie.levels import CutLevel, CutSenses, CutStation, Starts
from enpire_envs.cut_zip_tie.parts import BLADE, CABLES, HEAD, KERF, OPEN, PIVOT, RING, THICKNESS, WALL, WIDTH
from enpire_envs.cut_zip_tie.scene import (
    GRIP_RATE,
    JAW_STEP,
    PIECES,
    TOOTH,
    TUG,
)
from enpire_envs.cut_zip_tie.task import APART, BIAS, LIMITS, NOISE, OPENED, STEP, TURN, CutZipTie

_EPISODE = ", drawn per episode"
_LOOKED_AT = {
    "side": ("where the tail leaves the head where no tie is off, the scene's origin,", (0.0, 0.0, 0.0)),
    "wrist": ("the blades' middle, where it should be in the fingers,", (0.0, -PIVOT - BLADE / 2, 0.0)),
}


def describe(task: CutZipTie, model: mujoco.MjModel, obs_type: str) -> str:
    """The brief, as Markdown."""
    level, hz, lying = task._level, task.control_hz, task._lying
    jaw, station = model.actuator("jaw"), level.station
    grasp = (
        f"first it moves the gripper, by {number(GRIP_RATE)} of its stroke per step, whatever the action's size; closing it on the cutter, within "
        f"{mm(GRASP_REACH)} and {degrees(GRASP_TURN)} of its handle, holds it to the end; from then on "
    )
    lost = f"the loop cut{', or another strap' if level.decoys else ''}, or a stub shorter than {mm(TOOTH)}"
    controller = [
        *drives(model, turns=True, factors=level.stiffness),
        motion("x, y, z", STEP, hz),
        motion("rotations", TURN, hz, turn=True),
        ("jaw", (grasp if lying else "") + f"a full action moves its commanded angle by {number(JAW_STEP)} rad per step; "
                f"{number(jaw.gainprm[0])} Nm/rad, at most {number(jaw.forcerange[1])} Nm; {number(OPEN)} rad open at the start"),
        delay(*level.delay, hz),
        ("time limit (without `max_episode_steps`)", periods(level.max_steps, hz)),
        *safety(LIMITS),
        _friction("blades on the tail", _between(model, "lower", "main0"), level),
        _friction("cutter on head, loop and cables", _between(model, "lower", "head"), level),
        ("a strap parts", f"where both blades press on it with {drawn(*level.cut_force, 'N')} at once, across it; the tail or the loop, whichever is "
                          "between them"),
        ("success", f"a stub of {mm(TOOTH, level.longest)}, jaw opened to {number(OPENED)} rad again, pieces {mm(APART)} apart; the verifier then pulls the "
                    f"stub with {number(TUG)} N"),
        ("lost for good", lost + (f", or one longer than {mm(level.longest)}: the first cut decides" if level.once else "")),
        *_starts(level),
        *([(f"stations ({'each cell' if station.delay else 'a run'} has one)", _station(station))] if station else []),
    ]  # fmt: skip
    moved, others = _robot(task) if station else _exact(task)
    notes = [commanded_pose(late=bool(level.delay[1])), *_notes(task)]
    return Brief(
        controller=controller, sensed=seen(obs_type, moved, others, task.cameras, pictures(level.camera, hz)), notes=notes, sketch=_sketch(level),
        cameras=views(model, obs_type, {name: _LOOKED_AT[name] for name in task.cameras}, (level.look, station.look if station else None)),
    ).markdown()  # fmt: skip


def _starts(level: CutLevel) -> list[Row]:
    """Where an episode may begin, and how its parts differ."""
    rows = [("starts (`id`)", _spread(level.usual)), ("starts (`ood`)", _spread(level.wide))]
    if level.wild:
        rows.append(("of the usual starts", f"{number(100 * level.wild)} % are drawn from `ood`"))
    if any(level.slip):
        rows.append(
            (
                "cutter in the fingers",
                f"as it lies when they close on it, then off by up to {off(level.slip)}" + _EPISODE,
            )
        )
    if level.bend:
        rows.append(
            (
                "tail",
                f"bent by up to {number(level.bend)} deg, up and aside, {mm(PIECES[0])} and {mm(sum(PIECES))} from the head{_EPISODE}",
            )
        )
    if level.look:
        rows.append(("what cameras see", looks(level.look) + _EPISODE))
    if level.decoys:
        rows.append(
            (
                "other straps",
                f"{level.decoys} of another colour about the same bundle, with heads of the same colour, stiff; their tails must stay",
            )
        )
    if level.clutter:
        rows.append(("on the bench", f"{level.clutter} cut-off tails of the same colour, to be seen and not touched"))
    return rows  # fmt: skip


def _spread(starts: Starts) -> str:
    up, aside = starts.tail
    x, y, z = (mm(v) for v in starts.tie)
    rx, ry, rz = (number(v) for v in starts.tie_turn)
    tie = (
        f"; the whole tie off by {x}, {y}, {z} along x, y, z and turned by {rx}, {ry}, {rz} deg about them"
        if any((*starts.tie, *starts.tie_turn))
        else ""
    )
    return (
        f"each way: {mm(starts.along)} along the tail (or the stand), {mm(starts.up)} up (or across the lying cutter), turned by "
        f"{number(starts.turned)} deg; the tail {number(up)} deg up, {number(aside)} deg aside{tie}"
    )  # fmt: skip


def _station(station: CutStation) -> str:
    x, y, z = (mm(v) for v in station.tie)
    later = f"; up to {periods(station.delay, CONTROL_HZ)} more delay" if station.delay else ""
    return (
        f"stay the same for all episodes there, and come on top: ties off by {x}, {y}, {z} along x, y, z and turned by {number(station.tie_yaw)} deg about z, "
        f"the lying cutter off by {mm(station.cutter[0])}, {mm(station.cutter[1])} along x, y, each way; in the fingers by {off(station.slip)}; "
        f"friction times {span(*station.friction, '')}, stiffness times {span(*station.stiffness, '')}, backlash times {span(*station.backlash, '')}{later}; "
        f"{looks(station.look)}"
    )  # fmt: skip


def off(slip: tuple[float, float]) -> str:
    """How far a cutter may slip."""
    return f"{mm(slip[0])} along and {number(slip[1])} deg about each axis"


def _exact(task: CutZipTie) -> tuple[list[Row], list[Row]]:
    """What is sensed where a wrist sensor and one look are all that errs: the robot's own part, the rest."""
    noisy = task._sensing == "noisy"
    bias = f"off by up to {mm(BIAS)} in each of x, y, z, uniform, drawn per episode"
    again = f"{mm(NOISE)} noise (std) per reading"
    others = [
        ("jaw's torque, yaw, whether the cutter is held, `valid`", "exact"),
        ("wrench", torques(None, WRENCH_SENSING[task._sensing])),
        ("lower blade", f"{bias}; {again}" if task._lying and noisy else "exact"),
        ("where the tail leaves the head", f"one look at the start, {bias}" if noisy else "exact"),
        ("tail's tip", f"{bias}; {again}; not followed once it has fallen" if noisy else "exact; not followed once it has fallen"),
    ]  # fmt: skip
    return [("end effector's pose, jaw's angle", "exact")], others


def _robot(task: CutZipTie) -> tuple[list[Row], list[Row]]:
    """The same where joints sense, and a perception model or the policy sees."""
    level, hz = task._level, task.control_hz
    moved = joint_rows(level.senses, "end effector's height" if level.images else "end effector's position")
    others = [
        (what, wander(spec, hz, [MILLIMETRES] * len(spec.radius)) if spec else "exact")
        for what, spec in (("cutter: handle, middle of the lower blade", level.cutter), ("tie: where the tail leaves the head, its tip", level.tie))
    ]  # fmt: skip
    return moved, others


def joint_rows(senses: CutSenses | None, position: str) -> list[Row]:
    """How well a robot senses itself; `position`: what of it is sensed. None: exactly."""
    bias, drift, stiction, noise = senses.jaw_torque if senses else (0.0,) * 4
    return [
        (position, encoders(senses.linear if senses else None)),
        ("end effector's rotation", encoders(senses.angular if senses else None, angles=True)),
        ("jaw's angle", encoders(senses.jaw if senses else None, angles=True)),
        ("jaw's torque", f"{number(bias)} Nm bias (std, drawn per episode), which drifts by {number(drift)} Nm per root second; changes below "
                         f"{number(stiction)} Nm are not felt; {number(noise)} Nm noise (std) per reading" if senses else "exact"),
        ("gripper's opening", "exact"),
        ("wrench", torques(senses.torques if senses else None, WRENCH_SENSING["ideal"])),
    ]  # fmt: skip


def _notes(task: CutZipTie) -> list[str]:
    """What follows from how errors add."""
    level = task._level
    allowed = mm(level.longest - TOOTH)
    if not level.station:
        return [
            f"Errors add: head and tip are drawn apart{', and the blades a third time' if task._lying else ''}. Where the tail runs is known by its two "
            f"ends; the stub that you aim for may be off by {mm((2 if task._lying else 1) * BIAS)} along it, of the {allowed} that are allowed."
        ]
    if level.images:
        return [
            f"Neither x nor y of the end effector is observed, and where the blades sit in the fingers is not either: {allowed} of stub are allowed, and what "
            "tells them apart is in the images and in the forces."
        ]
    return [
        f"Errors of cutter and tie are drawn apart, and add: {allowed} of stub are allowed. Touching the head, or the tail, tells more than either."
    ]


def _friction(what: str, nominal: float, level: CutLevel) -> Row:
    low, high = level.friction
    return f"friction of {what}", drawn(nominal * low, nominal * high, "")


def _between(model: mujoco.MjModel, one: str, other: str) -> float:
    """The friction of two bodies: MuJoCo takes the larger."""
    return max(float(model.geom(name).friction[0]) for name in (one, other))


def _sketch(level: CutLevel) -> str:
    shortest, longest = (sum(PIECES) + tip for tip in level.tip)
    return f"""
 side view, not to scale; x along the tail, z up             the cutter from above; its blades point along -y

     .-----.                                                     [ gripper ]
    /       \\+----+   stub   tail                                     |
   |  cables | head|=========|===========                         handle     {mm(PIVOT)} from the grip
    \\       /+----+          ^                                        |      to the blades' hinge
     '-----'               cut here                                   o
      loop                                                            |      blades: {mm(BLADE)} long,
                                                                      |              {mm(KERF)} thick
 tail: {mm(shortest, longest)} long, {mm(WIDTH)} wide (y), {mm(THICKNESS)} thick (z); the tail may be turned up and aside
 head: {mm(HEAD)} long, walls of {mm(WALL)} about the strap; loop of {mm(RING)} radius about cables of {mm(CABLES)} radius
 stub: {mm(TOOTH, level.longest)} from the head
"""
