"""A team beside its controls: is it the sharing, the number of agents, or only the robots and the time?

Runs are the unit. The two are compared by held-out success, by the confirmed best at equal robot time and at equal tokens, and by
what they spend until they get somewhere. What cannot be told from chance is said to be just that.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from autoenvbench.record.clock import format_duration
from autoenvbench.record.statistics import RUNS_FOR_AN_INTERVAL, difference_interval
from autoenvbench.record.survival import Sooner, Spent, TimeTo, compare_times, time_to
from autoenvbench.study.outcomes import CLOCKS, RunOutcome, watched_by
from autoenvbench.study.spec import Control

#: What is asked of each control.
_SUBJECTS: dict[Control, str] = {
    "no-sharing": "Sharing ideas, against as many members who work alone,",
    "one-agent": "A team, against one agent with all of its robots,",
    "longer": "A team, against one agent and one robot for as many times longer,",
}
_UNITS = {"time_s": "research time", "robot_s": "robot time", "tokens": "tokens"}


@dataclass(frozen=True, slots=True)
class Difference:
    """A rate of the team minus the control's.

    Attributes:
        what: of what, in words; `amount`: at how much of a clock, None where it is at the end.
        team, control: means over runs, 0 to 1.
        low, high: 95 % bootstrap interval of the difference over runs, None with too few.
    """

    what: str
    amount: float | None
    team: float
    control: float
    low: float | None
    high: float | None

    @property
    def difference(self) -> float:
        """Above zero: the team is better."""
        return self.team - self.control

    def __str__(self) -> str:
        return f"{self.what}: {_points(self.difference, self.low, self.high)}"


@dataclass(frozen=True, slots=True)
class TimeDifference:
    """How long the team and the control take to reach a rate, by one clock."""

    rate: float
    clock: str
    team: TimeTo
    control: TimeTo
    sooner: Sooner

    @property
    def what(self) -> str:
        """Of what, in words."""
        return f"{_UNITS[self.clock]} to {self.rate:.0%}"

    def __str__(self) -> str:
        s = self.sooner
        ends = (
            "" if s.low is None or s.high is None else f" [{signed(self.clock, s.low)}, {signed(self.clock, s.high)}]"
        )
        return f"{self.what}: {signed(self.clock, s.difference)}{ends}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A team and one of its controls."""

    team: str
    control: Control
    runs: tuple[int, int]
    rates: list[Difference]
    times: list[TimeDifference]

    @property
    def verdict(self) -> str:
        """In one or two plain sentences."""
        subject = _SUBJECTS[self.control]
        if min(self.runs) < RUNS_FOR_AN_INTERVAL:
            return (
                f"{subject} cannot be judged: {self.runs[0]} and {self.runs[1]} runs, and an interval over runs needs "
                f"{RUNS_FOR_AN_INTERVAL} of each."
            )
        better = [d for d in self.rates if (d.low or 0) > 0] + [t for t in self.times if (t.sooner.high or 0) < 0]
        worse = [d for d in self.rates if (d.high or 0) < 0] + [t for t in self.times if (t.sooner.low or 0) > 0]
        said = []
        if better:
            said.append(f"{subject} helps: {'; '.join(map(str, better))}.")
        if worse:
            said.append(f"{'But it' if better else subject} costs: {'; '.join(map(str, worse))}.")
        if not said:
            measures = [*self.rates, *self.times]
            said.append(f"{subject} does not help in these runs: no difference that chance does not explain in any of {len(measures)} measures. {self.rates[0]}.")  # fmt: skip
        return " ".join(said)


def compare(
    team: str, control: Control, of_team: Sequence[RunOutcome], of_control: Sequence[RunOutcome], reach: Sequence[float]
) -> Comparison | None:
    """None where one of the two has no finished run yet."""
    if not of_team or not of_control:
        return None
    rates = [_difference("held-out success", None, [r.rate for r in of_team], [r.rate for r in of_control])]
    for clock in ("robot_s", "tokens"):
        # The side that spent less sets the amount; at its median, so that one short run does not decide.
        amount = min(statistics.median(r.spent(clock) for r in side) for side in (of_team, of_control))
        if amount > 0:
            best = [[r.best_at(clock, amount) for r in side] for side in (of_team, of_control)]
            rates.append(_difference(f"confirmed best at equal {_UNITS[clock]}", amount, *best))
    return Comparison(team, control, (len(of_team), len(of_control)), rates, _times(of_team, of_control, reach))


def _difference(what: str, amount: float | None, team: list[float], control: list[float]) -> Difference:
    ends = difference_interval(control, team) or (None, None)
    return Difference(what, amount, statistics.fmean(team), statistics.fmean(control), *ends)


def _times(
    of_team: Sequence[RunOutcome], of_control: Sequence[RunOutcome], reach: Sequence[float]
) -> list[TimeDifference]:
    """By every clock that ran. A rate that nobody reached says nothing of who is sooner."""
    found = []
    for rate in reach:
        for clock in CLOCKS:
            to = [[r.to(rate, clock) for r in side] for side in (of_team, of_control)]
            longest = max(
                r.result.budget_s or 0.0 if clock == "time_s" else r.spent(clock) for r in (*of_team, *of_control)
            )
            if not longest or all(t is None for side in to for t in side):
                continue
            watched = [watched_by(side, clock, longest) for side in (of_team, of_control)]
            sooner = compare_times(Spent.of(to[0], watched[0]), Spent.of(to[1], watched[1]))
            one, two = (time_to(to[k], watched[k], horizon=sooner.horizon) for k in (0, 1))
            assert one is not None
            assert two is not None
            found.append(TimeDifference(rate, clock, one, two, sooner))
    return found


def in_words(clock: str, amount: float) -> str:
    """An amount of a clock, as people read it."""
    return f"{amount:,.0f} tokens" if clock == "tokens" else format_duration(amount)


def signed(clock: str, amount: float) -> str:
    """A difference of two amounts."""
    return ("-" if amount < 0 else "+") + in_words(clock, abs(amount))


def _points(difference: float, low: float | None, high: float | None) -> str:
    ends = "" if low is None or high is None else f" [{100 * low:+.1f}, {100 * high:+.1f}]"
    return f"{100 * difference:+.1f} points{ends}"
