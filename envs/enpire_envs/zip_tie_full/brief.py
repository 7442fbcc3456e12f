"""What an agent is told of the whole zip tie's controller, senses and geometry (see `enpire_envs.brief`)."""

from __future__ import annotations

import mujoco

from enpire_envs.brief import (
    DEGREES,
    MILLIMETRES,
    Brief,
    Row,
    commanded_pose,
    degrees,
    delay,
    drawn,
    drives,
    dropouts,
    looks,
    mm,
    motion,
    number,
    periods,
    pictures,
    safety,
    seen,
    sensor,
    wander,
)
from enpire_envs.brief_cameras import views
from enpire_envs.cut_zip_tie.brief import joint_rows, off
from enpire_envs.cut_zip_tie.cutter import GRASP_REACH as CUTTER_REACH
from enpire_envs.cut_zip_tie.cutter import GRASP_TURN
from enpire_envs.cut_zip_tie.parts import BLADE, KERF, OPEN, PIVOT
from enpire_envs.cut_zip_tie.scene import HANDLE, JAW_STEP, TOOTH
from enpire_envs.cut_zip_tie.task import APART, OPENED, STEP, TURN
from enpire_envs.tie_zip_tie.brief import SLOT_AT, lost, start_rows, station_rows, strap_rows, times
from enpire_envs.tie_zip_tie.scene import (
    FINGER,
    GRASP_REACH,
    GRIP_RATE,
    LINK,
    LINKS,
    SLOT,
    THICKNESS,
    TUG,
    WIDTH,
)
from enpire_envs.tie_zip_tie.scene import TOOTH as CLICK
from enpire_envs.tie_zip_tie.task import ENOUGH, GAP
from enpire_envs.zip_tie_full.scene import CUTTER
from enpire_envs.zip_tie_full.senses import joints
from enpire_envs.zip_tie_full.task import ACROSS, FALLEN, LIMITS, TAIL, TIGHT, ZipTieFull


def describe(task: ZipTieFull, model: mujoco.MjModel, obs_type: str) -> str:
    """The brief, as Markdown."""
    tie, cut, hz = task._tie, task._cut, task.control_hz
    assert tie.station is not None
    jaw, (nominal, least, most), (low, high) = model.actuator("jaw"), tie.friction, tie.flex
    bend, sway = (float(model.joint(name).stiffness[0]) for name in ("bend1", "sway1"))
    controller = [
        *drives(model, turns=True, factors=times(tie.stiffness, tie.station.stiffness)),
        motion("x, y, z", STEP, hz),
        motion("rotations", TURN, hz, turn=True),
        ("gripper", f"opens or closes by {number(GRIP_RATE)} of its stroke per step, whatever the action's size; closing it fully over the strap, within "
                    f"{mm(GRASP_REACH)} of the fingers' centre, welds strap and fingers until they open"),
        ("cutter", f"fingers that close on it, from more to less than {number(HANDLE)} of their stroke, within {mm(CUTTER_REACH)} and {degrees(GRASP_TURN)} "
                   "of its handle, hold it to the end"),
        ("jaw, once the cutter is held", f"a full action moves its commanded angle by {number(JAW_STEP)} rad per step; {number(jaw.gainprm[0])} Nm/rad, at most "
                                         f"{number(jaw.forcerange[1])} Nm; {number(OPEN)} rad open at the start"),
        delay(*tie.delay, hz),
        ("time limit (without `max_episode_steps`)", periods(task.max_steps, hz)),
        *safety(LIMITS),
        ("violation `strap_dropped`", f"the strap's mean height is {mm(-FALLEN)} below the frame's origin, or it flew off"),
        ("friction of strap, fingers and head", drawn(nominal * least, nominal * most, "")),
        ("friction of blades", number(float(model.geom("lower").friction[0]))),
        ("strap's hinges", f"{drawn(low * bend, high * bend, 'Nm/rad')} up and down, {drawn(low * sway, high * sway, 'Nm/rad')} "
                           "sideways, each: pushed, it buckles up or down first"),
        *strap_rows(tie),
        *start_rows(tie),
        *station_rows(tie),
        *_cutter(task),
        ("a strap parts", f"where both blades press on it with {drawn(*cut.cut_force, 'N')} at once, across it, wherever that is"),
        ("sub-goals", f"tip in the slot; {mm(ENOUGH)} beyond the head (`locked`); {mm(TAIL)} beyond it, so that at most {mm(TIGHT)} are before it (`tight`); cutter "
                      "held (`fetched`); its blades about the tail where it may be cut (`at_tail`); cut there (`severed`)"),
        ("success", f"of a tight strap a stub of {mm(TOOTH, cut.longest)} beyond the head, jaw opened to {number(OPENED)} rad again, tail and stub {mm(APART)} "
                    f"apart; the verifier then pulls the strap back with {number(TUG)} N: all of that must still hold"),
        ("lost for good", f"a cut before the head, or of a strap that is not tight, or a stub shorter than {mm(TOOTH)} or longer than {mm(cut.longest)}: the "
                          "first cut decides"),
    ]  # fmt: skip
    own = joint_rows(joints(tie, cut) if task._noisy else None, "end effector's position")
    moved = [*own, ("whether the fingers hold the strap, and the cutter", "exact")]
    rows = [*seen(obs_type, moved, _estimates(task), task.cameras, pictures(tie.camera if task._noisy else None, hz))]
    if obs_type == "pixels_agent_pos" and tie.look is not None:
        rows.append(("how an episode looks", looks(tie.look)))
    notes = [
        commanded_pose(late=bool(tie.delay[1])),
        f"Fingers are {mm(2 * FINGER)} long and cannot pass the head: with one grasp no more strap comes through than the grip is long, less "
        f"{mm(SLOT + FINGER)} of slot and half a finger.",
        "Whoever has taken the cutter cannot grasp the strap again.",
        f"Errors of head and cutter are drawn apart, and add: {mm(cut.longest - TOOTH)} of stub are allowed. Touching the head tells more than either.",
    ]  # fmt: skip
    cameras = views(model, obs_type, dict.fromkeys(task.cameras, SLOT_AT), (tie.look, tie.station.look))
    return Brief(controller=controller, sensed=rows, notes=notes, sketch=_sketch(task), cameras=cameras).markdown()


def _cutter(task: ZipTieFull) -> list[Row]:
    cut, spread = task._cut, task._cut.usual
    assert cut.station is not None
    along, across = cut.station.cutter
    return [
        ("where the cutter lies", f"({', '.join(number(1000 * v) for v in CUTTER)}) mm, its blades towards -y; off by up to {mm(spread.along)} along x and {mm(ACROSS)} along y, and turned by "
                                  f"{number(2 * spread.turned)} deg about z, drawn per episode; at a station by {mm(along)} (x) and {mm(across)} (y) more"),
        ("cutter in the fingers", f"as it lies when they close on it, then off by up to {off(cut.slip)}, drawn per episode; at a station by {off(cut.station.slip)} more"),
    ]  # fmt: skip


def _estimates(task: ZipTieFull) -> list[Row]:
    tie, hz = task._tie, task.control_hz
    assert tie.seen is not None
    assert tie.past is not None
    if not task._noisy:
        return [("head, strap's tip, strap beyond the head, cutter", "exact; the tip is not seen inside the head")]
    units = [MILLIMETRES] * 3 + [DEGREES] * 2
    head, tip = (wander(spec, hz, units) for spec in tie.seen)
    assert task._cut.cutter is not None
    return [
        ("head: slot's entrance, and its turn about y and z", head),
        ("strap's tip, and the turn of its last link", f"{tip}; {lost(tie.hiding)}, nor one that was cut off and has fallen"),
        ("strap beyond the head", f"{sensor(tie.past, *MILLIMETRES)}, {periods(tie.past.latency_steps[0], hz)} old; {dropouts(tie.past.dropout)}"),
        ("cutter: handle, middle of the lower blade", wander(task._cut.cutter, hz, [MILLIMETRES] * len(task._cut.cutter.radius))),
    ]  # fmt: skip


def _sketch(task: ZipTieFull) -> str:
    tight, loose = task._tie.clearance
    return f"""
 from above, not to scale; x along the slot, y up in the picture

                                             [ handle ]   cutter, on a post
                                                 o         {mm(PIVOT)} from its handle to its hinge
                                                 |         blades: {mm(BLADE)} long, {mm(KERF)} thick
              fingers        head
               ____        +------+    cut here
   ===========|____|=======|======|====:==================
               loop        +------+stub         tail

 strap: {number(LINKS)} rigid links of {mm(LINK)}, {mm(WIDTH)} wide (y), {mm(THICKNESS)} thick (z); its far end is free
 grip at the start: {mm(*task._tie.grip)} from the tip; tip to slot: {mm(*GAP)}; fingers: {mm(2 * FINGER)} long (x), above and below the strap
 slot: {mm(WIDTH + tight, WIDTH + loose)} wide, {mm(THICKNESS + tight, THICKNESS + loose)} high, {mm(SLOT)} long; ratchet with teeth of {mm(CLICK)}
 stub: {mm(TOOTH, task._cut.longest)} from the head
"""
