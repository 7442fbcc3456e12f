"""Pin insertion's reset: whatever the last policy left, a pin hovers over the hole that the next episode asks for.

Read it from the top: `prepare` is the program, and each step says what it leaves behind. What cannot be put right raises CellFault; the
environment tries again, and parks the arms after the third time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from enpire_envs.cell import CellFault
from enpire_envs.pin_insertion.scene import PIN_LENGTH

from enpire_real.handling.hand import OPEN, PULL, SLOW, WIDE
from enpire_real.handling.survey import know_fixture
from enpire_real.pin_insertion.equipment import BARE, NEST, hole
from enpire_real.pin_insertion.eyes import PLACES
from enpire_real.yam import HOME

if TYPE_CHECKING:
    from enpire_real.pin_insertion.scene import PinRealScene

CLEAR = 0.040  # height of the tip over the plate at which a held pin is clear of all that stands there [m]
_FETCHES = 3  # tries at taking a pin up, each from another look
_BADLY_HELD = 0.0025  # the tip from where a pin that is held well has it [m]
_LOW = 0.001  # how low a pin may sit in the hand: pressed in later, it would be that much less deep than joints have it [m]
_TOUCH, _TOUCH_FROM = 3.0, 0.010  # force that tells of the plate [N], and from how high it is felt for [m]
_SEAT, _SEAT_WAY = 10.0, 0.018  # the pin is pressed up to its collar with so much [N], by going down so far [m]


def prepare(scene: PinRealScene, start: dict[str, Sequence[float]]) -> None:
    """The program. Raises Stopped, CellFault."""
    clear(scene)
    know_fixture(scene)
    for _ in range(2):
        if not scene.hand.holds():
            fetch(scene)
        if feel_plate(scene):
            break
        stow(scene)  # it sits badly in the hand: let go of it where it stands upright by itself
    else:
        raise CellFault("the pin sits badly between the fingers, twice in a row")
    hover(scene, start)


def clear(scene: PinRealScene) -> None:
    """The hand is above everything, with the pin if it held one, whatever hole that was in."""
    hand = scene.hand
    lifted = hand.lift(scene.height(CLEAR))
    if lifted is not None and not lifted.arrived:  # jammed: let go, and take it anew by its handle
        hand.rest()
        hand.open()
        hand.lift(scene.height(CLEAR))
    if hand.servo is None:
        hand.joints(dict.fromkeys(scene.station.control.arms, HOME))
        hand.fold_out(scene.at(scene.look_from), scene.yaw)
    if not hand.holds():
        hand.open(WIDE)


def fetch(scene: PinRealScene) -> None:
    """The hand holds a pin: one that stands in a hole or in the nest, else a new one."""
    for _ in range(_FETCHES):
        scene.hand.line(scene.at(scene.look_from))
        scene.station.clock.sleep(0.2)
        found = scene.eyes.standing()
        scene.keep("pin")
        if found is None:
            scene.supplied += 1
            scene.supply.bring()
            scene.station.clock.sleep(0.5)
            continue
        if pick(scene, PLACES[found.place], found.height):
            return
    raise CellFault(f"no pin could be taken up in {_FETCHES} tries")


def pick(scene: PinRealScene, at: tuple[float, float], height: float) -> bool:
    """Take up a pin that stands at `at` with its collar at `height` over the plate: straddle the handle, stand on the collar, close, pull."""
    hand = scene.hand
    over = height - PIN_LENGTH + 0.008  # of the tip that the hand would have
    hand.line(scene.at([*at, max(over, 0.0) + 0.025]))
    hand.open(OPEN)
    hand.line(scene.at([*at, over]), speed=0.05, settle=True)
    met = hand.descend(0.014, force=_TOUCH)
    held = not met.arrived and hand.grip()
    hand.rest()
    if not held:
        hand.open(OPEN)
    lifted = hand.lift(scene.height(CLEAR))
    if lifted is not None and not lifted.arrived:  # it does not come out
        hand.rest()
        hand.open(OPEN)
        hand.lift(scene.height(CLEAR))
        return False
    return hand.holds()


def stow(scene: PinRealScene) -> None:
    """The pin stands in the nest and the hand is open above it; where it would not go in it is let go of all the same."""
    hand = scene.hand
    hand.line(scene.at([*(np.array(NEST) - scene.offset[:2]), 0.012]))
    hand.tare()
    hand.line(scene.at([*(np.array(NEST) - scene.offset[:2]), 0.001 - PIN_LENGTH]), speed=2 * SLOW, most=0.5 * PULL)
    hand.rest()
    hand.open()
    hand.lift(scene.height(CLEAR))
    scene.offset = np.zeros(3)


def feel_plate(scene: PinRealScene) -> bool:
    """Touch the bare plate with the pin: how high the plate is and where the tip is in the hand. Returns whether the pin sits well.

    A pin that has slid down between the fingers is pressed back first: if a policy did that later, joints would have it deeper than it is. One that stays low sits badly.
    """
    hand = scene.hand
    scene.offset = np.zeros(3)
    hand.line(scene.at([*BARE, _TOUCH_FROM]), settle=True)
    hand.descend(_SEAT_WAY, force=_SEAT)
    hand.rest()
    hand.lift(scene.height(_TOUCH_FROM / 2))
    met = hand.descend(2 * _TOUCH_FROM, force=_TOUCH)
    scene.station.clock.sleep(0.2)
    scene.keep("touch")
    seen = scene.eyes.tip(0.0)
    here = scene.in_fixture(hand.tip())
    hand.rest()
    hand.lift(scene.height(0.02))
    if met.arrived or seen is None:
        return False
    offset = np.array([*(seen - here[:2]), -here[2]])
    if np.abs(offset).max() > _BADLY_HELD or offset[2] < -_LOW or not hand.holds():
        return False
    scene.offset = offset
    return True


def hover(scene: PinRealScene, start: dict[str, Sequence[float]]) -> None:
    """The tip is at its start over the target hole, and seen there."""
    column, row = (int(v) for v in start["hole"])
    scene.target = np.array([*hole(column, row), 0.0])
    to = scene.target + np.array(start["tip"]) - scene.offset
    scene.hand.line(scene.at(to + np.array([0, 0, 0.008])))
    scene.hand.line(scene.at(to), speed=SLOW, settle=True)
    scene.station.clock.sleep(0.3)
    scene.hand.tare()
    scene.keep("start")
    scene.seen_tip = scene.eyes.tip(float(start["tip"][2]))
