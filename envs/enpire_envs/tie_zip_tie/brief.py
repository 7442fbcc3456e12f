"""What an agent is told of tying's controller, senses and geometry at the level in force (see `enpire_envs.brief`)."""

from __future__ import annotations

import mujoco

from enpire_envs.brief import (
    DEGREES,
    MILLIMETRES,
    Brief,
    Row,
    commanded_pose,
    delay,
    drawn,
    drives,
    dropouts,
    encoders,
    looks,
    mm,
    motion,
    number,
    periods,
    pictures,
    safety,
    seen,
    sensor,
    span,
    torques,
    wander,
)
from enpire_envs.brief_cameras import views
from enpire_envs.contact import WRENCH_SENSING
from enpire_envs.levels import HidingSpec
from enpire_envs.tie_zip_tie.levels import TieLevel
from enpire_envs.tie_zip_tie.scene import (
    FACES,
    FINGER,
    GRASP_REACH,
    GRIP_RATE,
    LINK,
    LINKS,
    SLOT,
    THICKNESS,
    TOOTH,
    TUG,
    WIDTH,
)
from enpire_envs.tie_zip_tie.task import BIAS, ENOUGH, GAP, LIMITS, NOISE, SLIP, STEP, TURN, TieZipTie

#: What the cameras look at.
SLOT_AT = ("the slot's entrance where no head is off, the scene's origin,", (0.0, 0.0, 0.0))


def describe(task: TieZipTie, model: mujoco.MjModel, obs_type: str) -> str:
    """The brief, as Markdown."""
    level, hz, station = task._level, task.control_hz, task._level.station
    nominal, least, most = level.friction
    low, high = level.flex
    bend, sway = (float(model.joint(name).stiffness[0]) for name in ("bend1", "sway1"))
    controller = [
        *drives(model, turns=True, factors=times(level.stiffness, station.stiffness if station else (1.0, 1.0))),
        motion("x, y", STEP[0], hz),
        motion("z", STEP[2], hz),
        motion("rotations", TURN, hz, turn=True),
        ("gripper", f"opens or closes by {number(GRIP_RATE)} of its stroke per step, whatever the action's size; closing it fully over the strap, within "
                    f"{mm(GRASP_REACH)} of the fingers' centre, welds strap and fingers until they open"),
        delay(*level.delay, hz),
        ("time limit (without `max_episode_steps`)", periods(level.max_steps, hz)),
        *safety(LIMITS),
        ("violation `strap_dropped`", f"the strap fell (its mean height is {mm(-level.fallen)} below the slot), or flew off"),
        ("friction of strap, fingers and head", drawn(nominal * least, nominal * most, "")),
        ("strap's hinges", f"{drawn(low * bend, high * bend, 'Nm/rad')} up and down, {drawn(low * sway, high * sway, 'Nm/rad')} "
                           "sideways, each: pushed, it buckles up or down first"),
        *strap_rows(level),
        *start_rows(level),
        *station_rows(level),
        ("success", f"{mm(ENOUGH + SLIP)} of strap beyond the head end your turn; the verifier then lets go and pulls it back with {number(TUG)} N: "
                    f"{mm(ENOUGH)} must be left"),
    ]  # fmt: skip
    sensed, errors = _images(task) if level.images else _estimates(task, obs_type)
    notes = [
        commanded_pose(late=bool(level.delay[1])),
        *errors,
        f"Fingers are {mm(2 * FINGER)} long and cannot pass the head: without another grasp, no more strap comes through than the grip is long, less "
        f"{mm(SLOT + FINGER)} of slot and half a finger.",
    ]
    cameras = views(
        model, obs_type, dict.fromkeys(task.cameras, SLOT_AT), (level.look, station.look if station else None)
    )
    return Brief(controller=controller, sensed=sensed, notes=notes, sketch=_sketch(level), cameras=cameras).markdown()


def times(one: tuple[float, float], two: tuple[float, float]) -> tuple[float, float]:
    """The range of a product."""
    return one[0] * two[0], one[1] * two[1]


def strap_rows(level: TieLevel) -> list[Row]:
    """How the strap is bent, how it lies in the fingers, and what holds it back."""
    rows = []
    if any(level.curl) or level.kink:
        bend, sway, each = (f"{number(part)} deg" for part in level.curl)
        kink = f"; one joint near the tip by up to {number(level.kink)} deg more" if level.kink else ""
        rows.append(("how the strap is bent at rest", f"evenly by up to {bend} per {mm(LINK)} up or down and {sway} sideways, and each joint by up to {each} "
                                                       f"as it comes{kink}; drawn per episode"))  # fmt: skip
    if level.yields is not None:
        rows.append(
            ("what bends too far", f"a joint that is bent by more than {number(level.yields)} rad keeps the rest")
        )
    if level.grasp:
        rows.append(
            (
                "how the strap lies in the fingers",
                f"turned by up to {number(level.grasp)} deg up or down and sideways, drawn per episode",
            )
        )
    if any(level.drag):
        rows.append(("ratchet", f"its pawl holds the strap back with {drawn(*level.drag, 'N')} while it goes in"))
    return rows


def start_rows(level: TieLevel) -> list[Row]:
    """Where strap and head may be at the start."""
    (aside, turned), (far, further) = level.off, level.far
    rows = [("starts", f"tip up to {mm(aside)} aside of the slot and as far up or down, fingers turned by up to {number(turned)} deg about y and z; in the "
                       f'wider range ("ood") {mm(far)} and {number(further)} deg')]  # fmt: skip
    if level.ood:
        rows.append(("starts of the wider range", f"{number(100 * level.ood)} % of all"))
    if level.distractor:
        rows.append(("another zip tie", "lies on the bench, anywhere; nothing meets it"))
    metres, degrees = level.head
    if metres or degrees:
        rows.append(("head", f"displaced by up to {mm(metres)} along x, y and z and turned by up to {number(degrees)} deg about y and z, drawn per episode: "
                             "push along its slot, not along x"))  # fmt: skip
    return rows


def station_rows(level: TieLevel) -> list[Row]:
    """The ranges that a station draws from; what it has drawn stays untold."""
    station = level.station
    if station is None:
        return []
    factors = ", ".join(
        f"{what} {span(*pair, 'times')}"
        for what, pair in (
            ("friction", station.friction),
            ("pawl", station.drag),
            ("stiffness of the end effector", station.stiffness),
            ("backlash", station.backlash),
        )
    )
    metres, degrees = station.head
    eye = f"; estimates off by up to {mm(station.hand_eye)} along each axis"
    return [
        ("what stays the same at one station, on top of what episodes draw",
         f"{factors}; head displaced by up to {mm(metres)} and turned by up to {number(degrees)} deg{eye}"),
        ("how a station looks", looks(station.look)),
    ]  # fmt: skip


def _moved(task: TieZipTie) -> tuple[str, str]:
    """How well the end effector's position and rotation are known."""
    linear, angular = task._level.encoders if task._level.encoders and task._noisy else (None, None)
    return encoders(linear), encoders(angular, angles=True)


def _wrench(task: TieZipTie) -> str:
    return torques(task._level.torques if task._noisy else None, WRENCH_SENSING[task._sensing])


def _images(task: TieZipTie) -> tuple[list[Row], list[str]]:
    level, (position, rotation) = task._level, _moved(task)
    rows = [
        ("`pixels`", f"{' and '.join(f'`{camera}`' for camera in task.cameras)}: from above (right is x, up is y) and level from the side (right is x, up is "
                     f"z), fixed to the station; {pictures(level.camera if task._noisy else None, task.control_hz)}"),
        ("`agent_pos`: height alone of end effector's position", position),
        ("`agent_pos`: end effector's rotation", rotation),
        ("`agent_pos`: gripper's opening, and whether the fingers hold the strap", "exact"),
        ("`agent_pos`: wrench", _wrench(task)),
    ]  # fmt: skip
    if level.look is not None:
        rows.append(("how an episode looks", looks(level.look)))
    play = f"{mm(level.clearance[0] / 2, level.clearance[1] / 2)} of play to each side"
    return rows, [
        f"Neither x nor y is observed, and where the head and the strap are is in the pictures alone. The strap has {play}."
    ]


def _estimates(task: TieZipTie, obs_type: str) -> tuple[list[Row], list[str]]:
    level, hz, noisy, (position, rotation) = task._level, task.control_hz, task._noisy, _moved(task)
    moved = [
        ("end effector's position", position),
        ("end effector's rotation", rotation),
        ("gripper's opening", "exact"),
    ]
    others = [("whether the fingers hold the strap, `valid`", "exact"), ("wrench", _wrench(task))]
    play = f"{mm(level.clearance[0] / 2, level.clearance[1] / 2)} of play to each side"
    if level.seen is None or level.past is None:
        bias = f"off by up to {mm(BIAS)} in each of x, y, z, uniform, drawn per episode"
        noise = f"{mm(NOISE)} noise (std) per reading"
        others += [
            ("slot's entrance", f"one look at the start, {bias}" if noisy else "exact"),
            ("strap's tip", f"{bias}; {noise}; not seen inside the head" if noisy else "exact; not seen inside the head"),
            ("strap beyond the head", f"exact but for {mm(2 * NOISE)} noise (std) per reading" if noisy else "exact"),
        ]  # fmt: skip
        worst = 2 * BIAS
    else:
        units = [MILLIMETRES] * 3 + [DEGREES] * 2
        head, tip = (wander(spec, hz, units) if noisy else "exact" for spec in level.seen)
        length = f"{sensor(level.past, *MILLIMETRES)}, {periods(level.past.latency_steps[0], hz)} old; {dropouts(level.past.dropout)}"
        others += [
            ("head: slot's entrance, and its turn about y and z", head),
            ("strap's tip, and the turn of its last link", f"{tip}; {lost(level.hiding if noisy else None)}"),
            ("strap beyond the head", length if noisy else "exact"),
        ]
        worst = level.seen[0].radius[1] + level.seen[1].radius[1]
    errors = f"Errors add: the estimates of slot and tip are drawn apart, so that tip minus slot may be off by {mm(worst)} along an axis, where the strap has {play}."
    return seen(obs_type, moved, others, task.cameras, pictures(level.camera if noisy else None, hz)), [
        errors
    ] if noisy else []


def lost(hiding: HidingSpec | None) -> str:
    """When a look at the tip finds none."""
    if hiding is None:
        return "not seen inside the head"
    edges = ", ".join(f"{mm(*edge)} ({face})" for face, edge in zip(FACES, hiding.edges, strict=True))
    return f"a look finds no tip that is behind all faces of the head by more than {edges}, drawn per episode, and {mm(hiding.blur)} (std) from look to look"


def _sketch(level: TieLevel) -> str:
    tight, loose = level.clearance
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
 grip at the start: {mm(*level.grip)} from the tip; gap: {mm(*GAP)}; fingers: {mm(2 * FINGER)} long (x)
 slot: {mm(WIDTH + tight, WIDTH + loose)} wide, {mm(THICKNESS + tight, THICKNESS + loose)} high ({mm(tight, loose)} of play in all, both ways), {mm(SLOT)} long; square rim
 ratchet: teeth of {mm(TOOTH)}; what went in does not come out
"""
