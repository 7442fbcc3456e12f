"""How far each run had come by when: best success rate and normalised score over research time, from its ledger alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from autoenvbench.errors import UserError
from autoenvbench.publish.ranking import agent_words
from autoenvbench.record.ledger import Event, digest, read_events
from autoenvbench.record.metrics import BestCurves
from autoenvbench.record.results import Result, started

Steps = list[tuple[float, float]]  # (research time [s], value from then on, 0 to 1)


@dataclass(frozen=True, slots=True)
class RunCurve:
    """A finished run.

    Attributes:
        agent: in words, as on a leaderboard, with the size of its team.
        success: the confirmed best: success rate of the candidates that lead, on fresh episodes. It is no maximum and may fall.
        score: mean score of the confirmations of the same candidates; what is missing of one that was cut counts as 0.
        budget_s: research time granted; `watched_s`: until when the run is known: to its budget, or to where its goal ended it.
    """

    run_id: str
    agent: str
    env: str
    budget_s: float
    watched_s: float
    success: Steps
    score: Steps

    @classmethod
    def of(cls, events: Sequence[Event]) -> RunCurve:
        """Raises UserError for a ledger that makes no result."""
        _, config = started(events)
        result = Result.from_events(list(events))
        curves, score = BestCurves(config.min_episodes), Steps()
        for event in events:
            before = len(curves.confirmed)
            curves.add(event)
            if len(curves.confirmed) > before:
                group = curves.candidates.group
                behind = sum(max(c.n, curves.candidates.confirm_episodes) for c in group)
                score.append((event.t_run, sum(c.score for c in group) / behind))
        budget = float(result.budget_s or config.budget_s)
        watched = float(result.research_s or 0.0) if result.stopped_by == "goal" else budget
        success = [(point.t_run, point.value) for point in curves.confirmed]
        if success:  # what was under way at the deadline is finished a little after it
            watched = max(watched, success[-1][0])
        team = f", a team of {result.team_size}" if result.team_size > 1 else ""
        return cls(result.run_id, agent_words(result) + team, result.env.id, budget, watched, success, score)

    def reached(self, rate: float) -> float | None:
        """Research time [s] at which the confirmed best first was at `rate`; None if it never was."""
        return next((t for t, value in self.success if value >= rate), None)


def read_curves(runs: Sequence[Path]) -> dict[str, list[RunCurve]]:
    """The curves of these run folders by agent, the agents by name.

    Raises:
        UserError: no ledger, a run that is not finished, or runs of several environments.
    """
    by_agent: defaultdict[str, list[RunCurve]] = defaultdict(list)
    seen: dict[str, Path] = {}  # by the ledger's digest
    named: Counter[str] = Counter()
    for run in runs:
        events = read_events(run / "ledger.sqlite")
        if not any(e.kind == "run" and e.payload.phase == "finished" for e in events):
            raise UserError(f"{run} is not finished; leave it out, or finish it first: autoenvbench resume {run}")
        curve = RunCurve.of(events)
        ledger = digest(events)
        if ledger in seen:
            raise UserError(f"{run} and {seen[ledger]} are the same run, {curve.run_id}; give each run once")
        seen[ledger] = run
        # Runs of a study that began in the same second may have one name: the second is told from the first.
        named[curve.run_id] += 1
        if named[curve.run_id] > 1:
            curve = replace(curve, run_id=f"{curve.run_id} ({named[curve.run_id]})")
        by_agent[curve.agent].append(curve)
    envs = sorted({curve.env for curves in by_agent.values() for curve in curves})
    if len(envs) > 1:
        raise UserError(f"these runs are of {len(envs)} environments ({', '.join(envs)}); give runs of one")
    return dict(sorted(by_agent.items()))


def values_at(steps: Steps, at: np.ndarray) -> np.ndarray:
    """The curve's value at these research times [s], of shape (T,); 0 before its first step."""
    values = np.array([0.0, *(value for _, value in steps)])
    return values[np.searchsorted(np.array([t for t, _ in steps]), at, side="right")]


def quartiles(curves: Sequence[RunCurve], what: str, points: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Quartiles over runs of their `what`, "success" or "score", up to the time until which all of them are known.

    A run that its goal ended stays where it was: that it might have come further is not known, and it is shown as such.

    Returns:
        Research times [s], of shape (T,), and lower quartile, median and upper quartile at them, of shape (3, T).
    """
    at = np.linspace(0.0, min(curve.budget_s for curve in curves), points)
    values = np.array([values_at(getattr(curve, what), at) for curve in curves])
    return at, np.quantile(values, (0.25, 0.5, 0.75), axis=0)


def spread(by_agent: Mapping[str, Sequence[RunCurve]]) -> float:
    """The longest research time for which anything is known of these runs [s]: until a run's end, or of an agent's runs together."""
    known = [curve.watched_s for curves in by_agent.values() for curve in curves]
    return max([*known, *(min(curve.budget_s for curve in curves) for curves in by_agent.values())])
