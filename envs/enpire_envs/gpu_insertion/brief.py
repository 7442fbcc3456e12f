"""What an agent is told of GPU insertion's controller, senses and geometry (see `enpire_envs.brief`)."""

from __future__ import annotations

import mujoco

from enpire_envs.appearance import AppearanceSpec
from enpire_envs.brief import (
    DEGREES,
    MILLIMETRES,
    Brief,
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
from enpire_envs.brief_cameras import Target, views
from enpire_envs.contact import WRENCH_SENSING
from enpire_envs.gpu_insertion.levels import CardLevel, Range, Six
from enpire_envs.gpu_insertion.scene import (
    CARD,
    DECOY,
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
    CLOSEST,
    ESTIMATE_ERROR,
    ESTIMATE_TURN,
    HEIGHT,
    KEPT,
    LIMITS,
    OFFSET,
    SEATED,
    STEP,
    TURN,
    WIDER,
    GPUInsertion,
)


def describe(task: GPUInsertion, model: mujoco.MjModel, obs_type: str) -> str:
    """The brief, as Markdown. What stations and episodes draw is said as one range, and what of it a station keeps, where it keeps any."""
    hz, level = task.control_hz, task._level
    station, episode = level.station, level.episode
    late = (station.delay[0] + episode.delay[0], station.delay[1] + episode.delay[1])
    controller = [
        *drives(model, turns=True, factors=_product(station.stiffness, episode.stiffness)),
        motion("x, y", STEP[0], hz),
        motion("z", STEP[2], hz),
        motion("rotations", TURN, hz, turn=True),
        delay(*late, hz),
        ("time limit (without `max_episode_steps`)", periods(task.max_steps, hz)),
        *safety(LIMITS),
        ("friction of card, slot and springs", _factor(station.friction, episode.friction, FRICTION)),
        (
            "two rails, one on each side of the card",
            _spring(model, "rail_left", station.rails, episode.rails) + f"; they reach {_in_the_way(model)} into its way",
        ),
        ("latch, beyond the card's +x end", _latch(model, level)),
        *_varying(level),
        (
            "start",
            f"card's edge off by up to {mm(OFFSET)} to either side along x and y, its lowest point at least {mm(CLOSEST)} and, beside what it may hang, "
            f"at most {mm(HEIGHT)} above the mouth; the gripper turned by up to {number(level.turn[1])} deg about each axis"
            + (f", and by at least {number(level.turn[0])} deg in all" if level.turn[0] else "")
            + (f"; in {number(100 * level.ood)} % of episodes {number(WIDER)} times all of it" if level.ood else ""),
        ),
        (
            "success",
            f"both ends {mm(SEATED)} deep and the latch back over the tab; the verifier then stops pressing and pulls with {number(TUG)} N: the latch "
            f"must hold and both ends stay {mm(KEPT)} deep",
        ),
    ]  # fmt: skip
    linear, angular = level.encoders or (None, None)
    moved = [
        (f"end effector's {'height' if level.images else 'position'}", encoders(linear)),
        ("end effector's rotation", encoders(angular, angles=True)),
    ]
    if level.encoders or level.play != (1.0, 1.0):
        moved.append(("encoders of a station", f"{span(*level.play, 'times')} the backlash, flex and error above"))
    wrench = ("wrench", torques(level.torques, WRENCH_SENSING[task._sensing]))
    others = [
        wrench,
        ("slot estimate", _slot(task, level)),
        ("age, `valid`", "exact"),
        ("wrenches of the last steps", "what was observed then, errors included"),
    ]
    return Brief(
        controller=controller,
        sensed=seen(
            obs_type, [*moved, wrench] if level.images else moved, others, task.cameras, pictures(level.camera, hz)
        ),
        notes=_notes(level, bool(late[1])),
        sketch=_sketch(level),
        cameras=views(model, obs_type, _looked_at(level), (station.look, episode.look)),
    ).markdown()


def _looked_at(level: CardLevel) -> dict[str, Target]:
    """What each camera looks at; the scene's origin is the middle of the slot's mouth where no board is off."""
    if not level.images:
        return {"side": ("the middle of the slot's mouth, the scene's origin,", (0.0, 0.0, 0.0))}
    return {
        "side": ("the end without a latch of an edge at the slot's mouth", (-HALF_LENGTH, 0.0, 0.0)),
        "wrist": ("the card's end at the latch, where it should be in the gripper,", (HALF_LENGTH, 0.0, -CARD)),
    }


def _slot(task: GPUInsertion, level: CardLevel) -> str:
    """How the slot's pose is known where an estimate of it is handed over."""
    if level.slot:
        return wander(level.slot, task.control_hz, [MILLIMETRES] * 3 + [DEGREES] * 3)
    if task._sensing == "ideal":
        return "exact"
    return (
        f"one look at the start, each of x, y, z off by up to {mm(ESTIMATE_ERROR)} and each rotation by up to {degrees(ESTIMATE_TURN)}, uniform; then "
        "it is the same in every step, and ages"
    )


def _notes(level: CardLevel, late: bool) -> list[str]:
    play = GAP - level.station.thicker[1] - level.episode.thicker[1]
    notes = [commanded_pose(late=late)]
    if level.images:
        notes.append(
            "x, y and the slot are in the images alone: `side` looks along the slot from the end without a latch, `wrist` moves with the gripper and looks at "
            "the latch's end. Rotation is relative to the start, where neither gripper nor board need be straight."
        )
    else:
        error, turn = (level.slot.radius[1], level.slot.radius[5]) if level.slot else (ESTIMATE_ERROR, ESTIMATE_TURN)
        notes.append(
            f"Errors add: the start is off by a draw of its own, and the estimate by another. {mm(error)} across the slot is "
            f"{number(round(error / (play / 2), 1))} times its play to each side, and {degrees(turn)} about z moves the card's ends by "
            f"{mm(round(turn * HALF_LENGTH, 5))}. The estimate takes for granted that the gripper holds the card as it should."
        )
    return notes


def _product(station: Range, episode: Range) -> Range:
    return station[0] * episode[0], station[1] * episode[1]


def _factor(station: Range, episode: Range, nominal: float, unit: str = "") -> str:
    """A nominal value by the factors of station and episode."""
    low, high = _product(station, episode)
    kept = f" (of these factors a station keeps {span(*station, '')})" if station[0] != station[1] else ""
    return drawn(low * nominal, high * nominal, unit) + kept


def _spring(model: mujoco.MjModel, name: str, station: Range, episode: Range) -> str:
    """What a sprung part presses with where it is not pushed back, and how much more for each millimetre."""
    joint = model.joint(name)
    stiffness = float(joint.stiffness[0])
    rest = float(joint.range[0]) - float(model.qpos_spring[joint.qposadr[0]])
    low, high = _product(station, episode)
    more = drawn(low * stiffness / 1000, high * stiffness / 1000, "N")
    return f"presses with {_factor(station, episode, stiffness * rest, 'N')} at rest and {more} more for each mm"


def _latch(model: mujoco.MjModel, level: CardLevel) -> str:
    station, episode = level.station, level.episode
    late = station.late[0] + episode.late[0], station.late[1] + episode.late[1]
    worn = f"; it snaps {drawn(*late, 'mm', 1000)} deeper than a new one" if any(late) else ""
    return _spring(model, "latch", station.latch, episode.latch) + worn


def _varying(level: CardLevel) -> list[tuple[str, str]]:
    """What is askew, and what looks different; nothing of it at a level where all is as it should be."""
    station, episode = level.station, level.episode
    rows = [
        ("card in the gripper", _off(station.grip, episode.grip)),
        ("board with the slot, in the frame of the end effector", _off(station.board, episode.board)),
    ]
    for where, look in (("at a station", station.look), ("in an episode of it", episode.look)):
        if look != AppearanceSpec():
            rows.append((f"how it looks, {where}", looks(look)))
    if level.decoy:
        rows.append(
            ("a second slot without a latch", f"{mm(*DECOY)} beside the right one; which side, a station keeps")
        )
    return rows


def _off(station: Six, episode: Six) -> str:
    if not any(station + episode):
        return "as it should be"

    def axes(spread: Six) -> str:
        along, about = (", ".join(map(number, part)) for part in ([1000 * value for value in spread[:3]], spread[3:]))
        return f"({along}) mm and ({about}) deg"

    return f"off along and about x, y, z by up to {axes(station)}, which a station keeps, and {axes(episode)} per episode, to either side"


def _in_the_way(model: mujoco.MjModel) -> str:
    rail = model.geom("rail_left")
    at = float(model.body(int(rail.bodyid[0])).pos[1])
    return mm(round(HALF_THICKNESS - (at - float(rail.size[0])), 6))


def _sketch(level: CardLevel) -> str:
    thinner, thicker = (2 * HALF_THICKNESS + level.station.thicker[k] + level.episode.thicker[k] for k in (0, 1))
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

 card's edge: {mm(2 * HALF_LENGTH)} long (x), {mm(thinner, thicker)} thick (y)
 slot: {mm(2 * HALF_SLOT_LENGTH)} long ({mm(END_CLEARANCE)} of play in all), {mm(2 * HALF_SLOT)} wide ({mm(2 * HALF_SLOT - thicker, 2 * HALF_SLOT - thinner)} of play in all), {mm(DEPTH)} deep,
       its mouth cut back all round by {mm(level.chamfer)}, slanted
"""
