"""Tying's job on a real cell: the same spaces and stages, with what joints and cameras say in place of what a simulator knows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from enpire_envs.cell import Cell
from enpire_envs.task import Start, Verdict
from enpire_envs.tie_zip_tie.levels import LEVELS
from enpire_envs.tie_zip_tie.scene import TUG, StrapReadings
from enpire_envs.tie_zip_tie.task import ENOUGH, SLIP, TieZipTie

from enpire_real.tie_zip_tie.eyes import Strap

GUARD = 0.0002  # by which the cameras must see more beyond the head than has to be [m]
AGREE = 0.0010  # how far the two cameras may be apart on that [m]
START_TIP, START_GRIP = 0.0010, 0.0030  # how far tip and grip may be from the start that was asked for [m]
STEADY = 3  # control periods for which enough must be seen beyond the head
GONE = 10  # control periods for which a strap that nobody holds may be out of sight
MAX_LATE = 10  # actions in a row


@dataclass(slots=True, kw_only=True)
class RealStrapReadings(StrapReadings):
    """StrapReadings as a real cell has them: `nodes` are the fingers and the tip, as the cameras saw it last.

    Attributes:
        late: how many actions in a row came after their control period.
        seen: whether both cameras tell now where the tip is.
        at_head: whether they see a strap at all.
        pasts: length beyond the head by each camera alone [m]; None where it does not see any.
        looks: of the "tug" probe: what was seen before it, and while it pulled.
        pulled: the largest force that the tug felt [N].
        supplied: how many straps were brought so far.
    """

    late: int
    seen: bool
    at_head: bool
    pasts: tuple[float | None, float | None]
    looks: tuple[tuple[Strap, ...], tuple[Strap, ...]]
    pulled: float
    supplied: int


class RealTieZipTie(TieZipTie):
    """Tying where sensing is real, not modelled: estimates are passed on as they are."""

    def __init__(self) -> None:
        super().__init__(LEVELS["intro"], "ideal")

    def ready(self, readings: StrapReadings, start: Start) -> str | None:
        """Why an episode may not begin here, or None: held, seen near its start by both cameras, and neither sees any beyond the head."""
        assert isinstance(readings, RealStrapReadings)
        if not readings.held:
            return "the fingers hold no strap"
        if any(past is not None for past in readings.pasts):
            return "a camera sees a strap beyond the head"
        if not readings.seen:
            return "the two cameras do not agree on where the strap's tip is"
        grip = float(np.linalg.norm(readings.tip - readings.nodes[0]))
        if abs(grip - start["grip"]) > START_GRIP:
            return f"the strap is held {grip * 1000:.1f} mm from its tip, not {start['grip'] * 1000:.1f} mm"
        return super().ready(readings, start)

    def begin(self, start: Start, readings: StrapReadings, rng: np.random.Generator) -> None:
        """As `TieZipTie.begin`."""
        super().begin(start, readings, rng)
        self._enough = self._gone = 0

    def observe(self, readings: StrapReadings) -> np.ndarray:
        """As `TieZipTie.observe`; where the cameras do not tell where the tip is, it is hidden."""
        assert isinstance(readings, RealStrapReadings)
        before = self._seen_tip
        observation = super().observe(readings)
        if not readings.seen:
            self._seen_tip = before
            observation[17:20], observation[20] = before, 0.0
        return observation

    def violation(self, readings: StrapReadings) -> str | None:
        """Outside the workspace, too much force for too long, `strap_dropped` (nobody holds it and no camera sees it), or `late_actions`
        after ten late actions in a row."""
        assert isinstance(readings, RealStrapReadings)
        if readings.late >= MAX_LATE:
            return "late_actions"
        self._gone = 0 if readings.held or readings.at_head else self._gone + 1
        return self._safety.violation(readings, lost="strap_dropped" if self._gone >= GONE else None)

    def extras(self, readings: StrapReadings) -> dict[str, float]:
        assert isinstance(readings, RealStrapReadings)
        return {**super().extras(readings), "late": float(readings.late), "straps_supplied": float(readings.supplied)}

    def candidate(self, readings: StrapReadings) -> bool:
        """Enough strap beyond the head for a while, with a tooth and the cameras' error to spare: worth a tug."""
        self._enough = self._enough + 1 if readings.past >= ENOUGH + SLIP + 2 * GUARD else 0
        return self._enough >= STEADY

    def verify(self, cell: Cell) -> Verdict:
        """Pull the strap back with 10 N for half a second; both cameras must agree, look after look, that enough stays beyond the head."""
        readings = cell.probe("tug")
        assert isinstance(readings, RealStrapReadings)
        before, after = readings.looks
        for looks, reason in ((before, "too_short"), (after, "pulled_out")):
            if not looks:
                return Verdict(False, "not_held" if before else "not_seen")
            for strap in looks:
                one, other = strap.pasts
                if one is None or other is None:
                    gone = looks is after and strap.past == 0.0 and not all(strap.entering)
                    return Verdict(False, reason if gone else "not_seen")
                if not (abs(one - other) <= AGREE and abs((one + other) / 2 - strap.past) <= AGREE):
                    return Verdict(False, "views_disagree")
                if not min(one, other, strap.past) >= ENOUGH + GUARD:
                    return Verdict(False, reason)
        if not readings.pulled >= 0.9 * TUG:  # also for a NaN
            return Verdict(False, "not_tugged")
        return Verdict(True)
