"""What one finished research run came to, as a study compares it: a function of its ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autoenvbench.record import metrics
from autoenvbench.record.events import EpisodeEvent
from autoenvbench.record.ledger import read_events
from autoenvbench.record.metrics import Point
from autoenvbench.record.milestones import first_reached
from autoenvbench.record.results import Result
from autoenvbench.study.runs import PlannedRun, standing_of

#: What a run spends: research time [s], robot time [s] of all robots together, headline tokens of all members together.
CLOCKS = ("time_s", "robot_s", "tokens")
#: Why a run ended that would have gone on with more of the budget that was over; any other had done what it wanted.
_BUDGETS = ("deadline", "token_budget", "cost_budget", "robot_budget")


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """A finished run.

    Attributes:
        curve: the confirmed best of the whole run.
        held_out: episodes on held-out starts, in their order.
        first_at: (research time [s], mean score) by stage: when a counted episode first ended in it (`record.milestones`).
    """

    name: str
    run_dir: Path
    result: Result
    curve: list[Point]
    held_out: list[EpisodeEvent]
    first_at: dict[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, run: PlannedRun) -> RunOutcome | None:
        """None where the run has no result. Raises UserError for a ledger that cannot be read."""
        standing = standing_of(run)
        if standing.state != "finished" or standing.run_dir is None:
            return None
        events = read_events(standing.run_dir / "ledger.sqlite")
        _, curve = metrics.best_curves(events, run.config.min_episodes)
        first_at = {stage: (reached.time_s, reached.score) for stage, reached in first_reached(events).items()}
        return cls(
            run.name, standing.run_dir, Result.from_events(events), curve, metrics.heldout_episodes(events), first_at
        )

    @property
    def rate(self) -> float:
        """Held-out success rate, 0 to 1."""
        return self.result.held_out.success_rate

    def spent(self, clock: str) -> float:
        """All that the run spent, in the unit of the clock."""
        r = self.result
        headline = r.tokens.headline if r.tokens else 0
        return float({"time_s": r.research_s or 0.0, "robot_s": r.robot_s, "tokens": headline}[clock])

    def best_at(self, clock: str, amount: float) -> float:
        """The confirmed best when so much was spent, 0 before there was one. It stays where the run spent no more."""
        known = [point for point in self.curve if _at(point, clock) <= amount]
        return known[-1].value if known else 0.0

    def to(self, rate: float, clock: str) -> float | None:
        """What was spent when the confirmed best first reached this rate; None if it never did."""
        found = metrics.resources_to(self.curve, rate)
        return None if found is None else float(found[clock])

    def watched(self, clock: str) -> float:
        """How far it is known that a run which never got there did not: to the end of what it spent where a budget or a goal ended
        it, and for ever where it ended by itself. Its wall-clock budget it had in any case, unless a goal ended it."""
        if clock == "time_s" and self.result.stopped_by != "goal":
            return float(self.result.budget_s or 0.0)
        by_itself = self.result.stopped_by not in (*_BUDGETS, "goal")
        return float("inf") if by_itself else self.spent(clock)


def _at(point: Point, clock: str) -> float:
    return float({"time_s": point.t_run, "robot_s": point.robot_s, "tokens": point.tokens}[clock])


def watched_by(runs: Sequence[RunOutcome], clock: str, longest: float) -> list[float]:
    """How far each run was watched; for ever is `longest`, beyond which nothing is asked."""
    return [min(run.watched(clock), longest) for run in runs]
