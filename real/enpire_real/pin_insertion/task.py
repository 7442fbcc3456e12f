"""Pin insertion's job on a real cell: the same spaces and stages, with what joints and cameras say in place of what a simulator knows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from enpire_envs.cell import Cell
from enpire_envs.pin_insertion.levels import INTRO
from enpire_envs.pin_insertion.scene import PinReadings
from enpire_envs.pin_insertion.task import DEEP_ENOUGH, HOLD_FORCE, PinInsertion
from enpire_envs.task import Start, Verdict

from enpire_real.pin_insertion.eyes import Seen

GUARD = 0.0002  # by which the joints must say that it is deeper than it has to be: a tenth of the tolerance [m]
IN_BORE = 0.003  # so far off its axis, as the joints have it, what is below the plate is in the target hole: the next one is 15 mm away [m]
START_ACROSS, START_HEIGHT = 0.0010, 0.0015  # how far from the start that was asked for an episode may begin [m]
SEEN_ACROSS = 0.0015  # how far from there the wrist camera may see the tip [m]
# How far a camera's word may be off the joints' [m]: wrist and side camera in depth, and either across its view. They are coarse, for few
# markers carry far: depth is the joints' word, and the cameras say that it is this pin in this hole.
VIEW_DEPTH, VIEW_BESIDE = (0.0025, 0.0020), 0.0020
STEADY = 5  # control periods for which the joints must have it deep enough
MAX_LATE = 10  # actions in a row


@dataclass(slots=True, kw_only=True)
class RealPinReadings(PinReadings):
    """PinReadings as a real cell has them: `tip`, `insertion` by the joints, from where plate and tip were felt and seen at the reset.

    Attributes:
        late: how many actions in a row came after their control period.
        holds: whether the fingers hold something as wide as a pin's handle.
        seen_tip: (2,) where the wrist camera saw the tip at the start [m]; None where it did not.
        views: of the "hold" probe: what wrist and side camera said, look by look.
        supplied: how many new pins were brought so far.
    """

    late: int
    holds: bool
    seen_tip: np.ndarray | None
    views: tuple[tuple[Seen | None, Seen | None], ...]
    supplied: int


class RealPinInsertion(PinInsertion):
    """Pin insertion where sensing is real, not modelled: estimates are passed on as they are."""

    def __init__(self) -> None:
        super().__init__(INTRO, "ideal", "easy")

    def ready(self, readings: PinReadings, start: Start) -> str | None:
        """Why an episode may not begin here, or None: held, near its start by the joints, and seen there."""
        assert isinstance(readings, RealPinReadings)
        if not readings.holds:
            return "the fingers hold no pin"
        off = readings.tip - np.array(start["tip"])
        if math.hypot(*off[:2]) > START_ACROSS or abs(off[2]) > START_HEIGHT:
            return f"the pin's tip is {np.round(off * 1000, 1).tolist()} mm from its start"
        if readings.seen_tip is None:
            return "the wrist camera does not see the pin's tip"
        if math.dist(readings.seen_tip, readings.tip[:2]) > SEEN_ACROSS:
            return f"joints and wrist camera disagree by {1000 * math.dist(readings.seen_tip, readings.tip[:2]):.1f} mm on where the tip is"
        return None

    def begin(self, start: Start, readings: PinReadings, rng: np.random.Generator) -> None:
        """As `PinInsertion.begin`, from where the tip really is."""
        super().begin({**start, "tip": readings.tip.tolist()}, readings, rng)
        self._deep = 0

    def violation(self, readings: PinReadings) -> str | None:
        """As `PinInsertion.violation`; `late_actions` after ten late actions in a row, `pin_lost` where the fingers have lost the pin."""
        assert isinstance(readings, RealPinReadings)
        if readings.late >= MAX_LATE:
            return "late_actions"
        if not readings.holds:
            return "pin_lost"
        return super().violation(readings)

    def extras(self, readings: PinReadings) -> dict[str, float]:
        assert isinstance(readings, RealPinReadings)
        return {**super().extras(readings), "late": float(readings.late), "pins_supplied": float(readings.supplied)}

    def candidate(self, readings: PinReadings) -> bool:
        """Deep enough in the target hole by the joints, by more than they may be wrong, for `STEADY` control periods in a row."""
        self._deep = self._deep + 1 if readings.insertion >= DEEP_ENOUGH + GUARD else 0
        return self._deep >= STEADY

    def verify(self, cell: Cell) -> Verdict:
        """Let go of the pressure, hold for 0.5 s; joints, wrist camera and side camera must agree, look after look, that the pin is in."""
        readings = cell.probe("hold")
        assert isinstance(readings, RealPinReadings)
        assert readings.held is not None
        least, most = readings.held
        if not readings.holds or not least >= DEEP_ENOUGH:
            return Verdict(False, "not_held")
        if not most < HOLD_FORCE:
            return Verdict(False, "forced")
        for pair in readings.views:
            for view, coarse in zip(pair, VIEW_DEPTH, strict=True):
                if view is None:
                    return Verdict(False, "not_seen")
                if not (abs(view.depth - readings.insertion) <= coarse and view.beside <= VIEW_BESIDE):
                    return Verdict(False, "views_disagree")
        return Verdict(bool(readings.views), None if readings.views else "not_seen")
