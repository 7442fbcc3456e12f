"""When a station's canary raises its alarm: the same rule while a run goes on and for whoever reads its ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from autoenvbench.record.events import TRIED, CanaryEvent
from autoenvbench.record.ledger import Event

EXPECTED = 0.8  # of a reference policy on a real cell, at least
ALARM = 0.01  # chance of a false alarm, of the newest `MEMORY` tries of a reference that succeeds as often as expected
MEMORY = 10
MOST_UNFINISHED = 3  # in a row: whoever could stop every try could hide what they would show


@dataclass(slots=True)
class CanaryWatch:
    """What one station's canary has shown so far.

    Attributes:
        alarm: what is wrong, in words, from the first time on; None while nothing is.
        tries: of either probe, that came to a verdict.
    """

    alarm: str | None = None
    tries: int = 0
    _reference: list[bool] = field(default_factory=list)
    _unfinished: int = 0

    def add(self, probe: str, success: bool | None) -> str | None:
        """Take in the next try; returns the alarm."""
        if success is None:
            self._unfinished += 1
        else:
            self._unfinished = 0
            self.tries += 1
            if probe == "reference":
                self._reference = [*self._reference, success][-MEMORY:]
        if self.alarm is None:
            self.alarm = self._problem(probe, success)
        return self.alarm

    def _problem(self, probe: str, success: bool | None) -> str | None:
        from scipy import stats

        if probe == "known_bad" and success:
            return "a scene that was just reset was called a success"
        if self._unfinished >= MOST_UNFINISHED:
            return f"{self._unfinished} tries in a row came to no verdict"
        n, failures = len(self._reference), self._reference.count(False)
        if failures and stats.binom.sf(failures - 1, n, 1 - EXPECTED) < ALARM:
            return f"the reference policy failed {failures} of its last {n} tries"
        return None


def canary_problems(events: Iterable[Event], every: int) -> list[str]:
    """Why a run's canaries keep it from being ranked, in words; empty where they do not.

    Args:
        every: judged episodes of a station between two rounds, as it was asked for; 0: none was.
    """
    watches, told = defaultdict[str, CanaryWatch](CanaryWatch), dict[str, str]()
    judged = defaultdict[str, int](int)
    for event in events:
        station = event.station or ""
        if event.kind == "canary":
            tried: CanaryEvent = event.payload
            watches[station].add(tried.probe, tried.success)
            if tried.alarm is not None:
                told.setdefault(station, tried.alarm)
        elif event.kind == "episode" and event.station and event.payload.purpose not in TRIED:
            judged[station] += 1
    found = []
    for station in sorted({*watches, *judged}):
        alarm = watches[station].alarm or told.get(station)
        if alarm is not None:
            found.append(f"the canary of {station} raised an alarm: {alarm}")
        elif every and judged[station] >= every and not watches[station].tries:
            found.append(f"the canary of {station} never came to a verdict in {judged[station]} judged episodes")
    return found
