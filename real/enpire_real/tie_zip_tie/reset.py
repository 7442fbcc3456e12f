"""Tying's reset: whatever the last policy left, a new strap hovers before the slot as the next episode asks for.

Read it from the top: `prepare` is the program, and each step says what it leaves behind. Positions are in the slot's frame [m]. What cannot
be put right raises CellFault; the environment tries again, and parks the arms after the third time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from enpire_envs.cell import CellFault
from enpire_envs.end_effector import rotation
from enpire_envs.tie_zip_tie.scene import SLOT

from enpire_real.handling.hand import SLOW
from enpire_real.tie_zip_tie.equipment import FEED, OPEN, TRAY
from enpire_real.tie_zip_tie.eyes import Strap
from enpire_real.yam import HOME

if TYPE_CHECKING:
    from enpire_real.tie_zip_tie.scene import TieRealScene

CLEAR = 0.045  # height over the slot at which hand and strap are clear of all that stands there
_OVER = np.array([-0.030, CLEAR, 0.0])  # where the hand waits
_ASIDE = np.array([-0.030, CLEAR, 0.090])  # where it drops a strap that is not in the head: beside the plate
#: Where the closed fingertips are shown to both cameras, over the head and a strap in it.
_SHOWN = np.array([[-0.032, 0.017, -0.007], [-0.014, 0.022, 0.007], [0.020, 0.022, -0.007], [0.024, 0.017, 0.007]])
_MOVED = 0.0015  # of a camera, before the fingertips are shown anew
_FETCHES, _FEEDS, _HOVERS = (
    3,
    8,
    4,
)  # tries at taking a strap, at pushing one on, and looks until a tip is where it should be
_BEHIND, _FRONT = -0.019, -0.0100  # where to grip a strap that is pushed on, and how far to push
_GRIPPABLE = 0.011  # length beyond the head by which a strap can be pulled
_AHEAD = SLOT + 0.006  # where to grip it there
_PUSH, _DRAW = 20.0, 20.0  # most force when pushing on and drawing out [N]
_NEAR = 0.0003  # the tip from its start


def prepare(scene: TieRealScene, start: dict[str, Sequence[float]]) -> None:
    """The program. Raises Stopped, CellFault."""
    clear(scene)
    know_fixture(scene)
    draw_out(scene)
    fetch(scene, float(start["grip"]))  # type: ignore[arg-type]
    hover(scene, start)


def clear(scene: TieRealScene) -> None:
    """The hand is above everything and open; a strap that it held lies on the table, or in the head if that holds it."""
    hand = scene.hand
    loose = hand.holds() and scene.eyes.surveyed and not in_head(scene.look())
    if loose and hand.lift(scene.height(CLEAR)) is not None:
        scene.turn_to(np.zeros(3))
        hand.line(scene.at(_ASIDE))
    hand.open(OPEN)
    scene.turn_to(np.zeros(3))
    hand.lift(scene.height(CLEAR))
    if hand.servo is None:
        hand.joints(dict.fromkeys(scene.station.control.arms, HOME))
        hand.fold_out(scene.at(_OVER), scene.yaw)
    hand.line(scene.at(_OVER))


def know_fixture(scene: TieRealScene) -> None:
    """Where cameras, head and arm are to each other is known: by markers, and by fingertips that both cameras see if that is new."""
    hand, eyes = scene.hand, scene.eyes
    try:
        moved = eyes.locate()
    except CellFault:  # a strap may lie on the markers
        scene.bring()
        moved = eyes.locate()
    scene.keep("fixture")
    if eyes.surveyed and moved < _MOVED:
        return
    hand.open(0.0)
    seen, felt = [], []
    for place in _SHOWN:
        hand.line(scene.at(place), settle=True)
        scene.station.clock.sleep(0.1)
        found = eyes.fingers(place)
        if found is not None:
            seen.append(found)
            felt.append(hand.tip())
    scene.keep("fingertips")
    if len(seen) < 3:
        raise CellFault(f"the two cameras agree on the fingertips in {len(seen)} of {len(_SHOWN)} places only")
    eyes.survey(np.array(seen), np.array(felt))
    hand.line(scene.at([*_SHOWN[-1][:1], CLEAR, 0.0]))
    hand.line(scene.at(_OVER))
    hand.open(OPEN)


def in_head(strap: Strap) -> bool:
    """Whether a strap may be in the slot: one camera's word is enough, unless both agree that what is beyond the head passes beside it."""
    beside = strap.tip is not None and strap.tip[0] > SLOT and strap.past == 0.0
    return strap.past > 0.0 or any(strap.entering) or (not beside and any(past is not None for past in strap.pasts))


def draw_out(scene: TieRealScene) -> None:
    """The head is empty: a strap in it, which its ratchet lets go only forward, was pushed on until it could be drawn out."""
    strap = scene.look()
    if in_head(strap) and strap.past == 0.0 and not all(strap.entering):
        scene.bring()  # what one camera alone sees may lie on the table behind the head: there it is swept up
        strap = scene.look()
    if not in_head(strap):
        return
    scene.keep("used")
    for _ in range(_FEEDS):
        if strap.past > _GRIPPABLE:
            break
        if not grip(scene, np.array([_BEHIND, 0.0, 0.0])):
            raise CellFault("the strap in the head is not where it should be gripped")
        scene.hand.line(scene.at([_FRONT, 0.0, 0.0]), speed=2 * SLOW, most=_PUSH)
        scene.hand.rest()
        release(scene)
        strap = scene.look()
        if not in_head(strap):
            return  # it was not in the slot, and fell
    if strap.past <= _GRIPPABLE or strap.tip is None:
        raise CellFault(f"the strap in the head goes no further: {1000 * strap.past:.0f} mm of it are beyond")
    out = np.array([SLOT, 0.0, 0.0])
    at = out + (strap.tip - out) * (_AHEAD - SLOT) / (strap.tip[0] - SLOT)
    if not grip(scene, at):
        raise CellFault("the strap beyond the head is not where it should be gripped")
    drawn = scene.hand.line(scene.at([TRAY[0], *at[1:]]), speed=0.06, most=_DRAW)
    scene.hand.rest()
    release(scene)
    scene.hand.line(scene.at(_OVER))
    if not drawn.arrived or in_head(scene.look()):
        raise CellFault("the strap could not be drawn out of the head")


def fetch(scene: TieRealScene, length: float) -> None:
    """The hand holds a strap from the feeder, `length` from its tip."""
    for _ in range(_FETCHES):
        if not scene.loaded:
            scene.bring()
        scene.loaded = False
        held = grip(scene, FEED - [length, 0.0, 0.0])
        scene.keep("feeder")
        scene.hand.lift(scene.height(CLEAR))
        if held and scene.hand.holds():
            return
        scene.hand.open(OPEN)
    raise CellFault(f"no strap could be taken from the feeder in {_FETCHES} tries")


def grip(scene: TieRealScene, at: np.ndarray) -> bool:
    """Close the fingers at a point, from above. Returns whether they hold a strap."""
    hand = scene.hand
    hand.line(scene.at([at[0], CLEAR, at[2]]))
    hand.line(scene.at(at), speed=0.05, settle=True)
    return hand.grip()


def release(scene: TieRealScene) -> None:
    """Open, and straight up."""
    scene.hand.open(OPEN)
    scene.hand.lift(scene.height(CLEAR))


def hover(scene: TieRealScene, start: dict[str, Sequence[float]]) -> None:
    """The tip is at its start before the slot, and both cameras see it there."""
    hand, tip = scene.hand, np.array(start["tip"])
    to = tip - rotation(np.array(start["turn"])) @ np.array([float(start["grip"]), 0.0, 0.0])  # type: ignore[arg-type]
    back = np.array([-0.004, 0.0, 0.0])  # further from the head while it is not known where the strap's tip is
    hand.line(scene.at([to[0] - 0.010, CLEAR, to[2]]))
    scene.turn_to(np.array(start["turn"]))
    hand.line(scene.at(to + back), speed=0.05, settle=True)
    for _ in range(_HOVERS):
        scene.station.clock.sleep(0.1)
        seen = scene.look()
        if seen.tip is None:
            scene.keep("start")
            raise CellFault("the two cameras do not agree on where the strap's tip is")
        off = tip + back - seen.tip
        if np.abs(off).max() < _NEAR and not back.any():
            break
        to, back = to + off, np.zeros(3)
        hand.line(scene.at(to), speed=SLOW, settle=True)
    hand.tare()
    scene.keep("start")
