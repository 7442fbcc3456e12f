"""When a station's canary raises its alarm: the same rule while a run goes on and for whoever reads its ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, get_args

from autoenvbench.record.events import TRIED, CanaryEvent
from autoenvbench.record.ledger import Event

Probe = Literal["known_bad", "reference"]
PROBES: tuple[Probe, ...] = get_args(Probe)  # of a round, in order
EXPECTED = 0.8  # of a reference policy on a real cell, at least
ALARM = 0.01  # chance of a false alarm, of the newest `MEMORY` tries of a reference that succeeds as often as expected
MEMORY = 10
MOST_UNFINISHED = 3  # in a row: whoever could stop every try could hide what they would show
_MOST_LATE = 2  # times `every`: what was judged longer after a try is vouched for by none


@dataclass(slots=True)
class CanaryWatch:
    """What one station's canary has shown so far.

    Attributes:
        alarm: what is wrong, in words, from the first time on; None while nothing is.
        tries: of either probe, that came to a verdict.
        judged: episodes; since: of these, after the last try of each probe that came to a verdict.
    """

    alarm: str | None = None
    tries: int = 0
    judged: int = 0
    since: dict[Probe, int] = field(default_factory=lambda: dict.fromkeys(PROBES, 0))
    _reference: list[bool] = field(default_factory=list)
    _unfinished: int = 0

    def add(self, probe: Probe, success: bool | None) -> str | None:
        """Take in the next try; returns the alarm."""
        if success is None:
            self._unfinished += 1
        else:
            self._unfinished = 0
            self.tries += 1
            self.since[probe] = 0
            if probe == "reference":
                self._reference = [*self._reference, success][-MEMORY:]
        if self.alarm is None:
            self.alarm = self._problem(probe, success)
        return self.alarm

    def add_judged(self) -> None:
        """An episode was judged that is not practice."""
        self.judged += 1
        self.since = {probe: n + 1 for probe, n in self.since.items()}

    def lateness(self, every: int) -> str | None:
        """Which try is long overdue, in words."""
        probe, n = max(self.since.items(), key=lambda item: item[1])
        if every and n > _MOST_LATE * every:
            return f"{n} episodes were judged without a verdict of its {probe} tries, which were to come after each {every}"
        return None

    def _problem(self, probe: Probe, success: bool | None) -> str | None:
        from scipy import stats

        if probe == "known_bad" and success:
            return "a scene that was just reset was called a success"
        if self._unfinished >= MOST_UNFINISHED:
            return f"{self._unfinished} tries in a row came to no verdict"
        n, failures = len(self._reference), self._reference.count(False)
        if failures and stats.binom.sf(failures - 1, n, 1 - EXPECTED) < ALARM:
            return f"the reference policy failed {failures} of its last {n} tries"
        return None


def watches_of(events: Iterable[Event]) -> dict[str, CanaryWatch]:
    """What the canary of each station of a run has shown so far; a station that judged nothing is left out."""
    watches = defaultdict[str, CanaryWatch](CanaryWatch)
    for event in events:
        _take_in(watches, event)
    return watches


def canary_problems(events: Iterable[Event], every: int) -> list[str]:
    """Why a run's canaries keep it from being ranked, in words; empty where they do not.

    A try may be late while agents are at work, who can cut it short. It is made up for before held-out episodes.

    Args:
        every: judged episodes of a station between two rounds, as it was asked for; 0: none was.
    """
    watches, told = defaultdict[str, CanaryWatch](CanaryWatch), dict[str, str]()
    late: dict[str, str | None] = {}
    for event in events:
        _take_in(watches, event)
        station = event.station or ""
        if event.kind == "canary" and event.payload.alarm is not None:
            told.setdefault(station, event.payload.alarm)
        elif event.kind == "episode" and event.payload.purpose == "heldout" and station in watches:
            late[station] = late.get(station) or watches[station].lateness(every)
    found = []
    for station, watch in sorted(watches.items()):
        if (alarm := watch.alarm or told.get(station)) is not None:
            found.append(f"the canary of {station} raised an alarm: {alarm}")
        elif every and watch.judged >= every and not watch.tries:
            found.append(f"the canary of {station} never came to a verdict in {watch.judged} judged episodes")
        elif (why := late.get(station) or watch.lateness(every)) is not None:
            found.append(f"the canary of {station} was silent for too long: {why}")
    return found


def _take_in(watches: defaultdict[str, CanaryWatch], event: Event) -> None:
    if event.kind == "canary":
        tried: CanaryEvent = event.payload
        watches[event.station or ""].add(tried.probe, tried.success)
    elif event.kind == "episode" and event.station and event.payload.purpose not in TRIED:
        watches[event.station].add_judged()
