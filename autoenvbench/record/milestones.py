"""When a run's policies first got so far: by stage of its task, from the ledger alone.

A stage counts as reached with the first *counted* episode that ended in it or in a later one: of an evaluation, confirmation or comparison,
whose starts nobody chose. Practice may begin a step before the goal, and what a learner tries out proves nothing, so neither counts;
held-out scoring comes after research. One lucky episode is enough: how often a policy gets there, confirmed rates say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from autoenvbench.record.events import NOT_AGENTS, Purpose
from autoenvbench.record.ledger import Event
from autoenvbench.record.metrics import headline_tokens, robot_seconds

COUNTED: tuple[Purpose, ...] = ("evaluate", "confirm", "compare")
SUCCESS = "success"  # of every task, whatever its last stage is called


@dataclass(frozen=True, slots=True)
class Reached:
    """The first counted episode that ended in a stage.

    Attributes:
        time_s: research time at its end [s]; `robot_s`, `tokens`: spent by then, headline tokens of all members.
        score: mean over all counted episodes that ended there, 0 to 1; it puts stages in order.
    """

    time_s: float
    robot_s: float
    tokens: int
    score: float

    @property
    def spent(self) -> dict[str, float]:
        """As results hold it."""
        return {"time_s": self.time_s, "robot_s": self.robot_s, "tokens": self.tokens}


def first_reached(events: Iterable[Event]) -> dict[str, Reached]:
    """By stage in which counted episodes ended, and for success. What a policy's failure ended before its first stage reached none."""
    first: dict[str, tuple[float, float, int]] = {}
    scores: dict[str, list[float]] = {}
    robot_s, tokens = 0.0, 0
    for e in events:
        p = e.payload
        if e.kind == "tokens" and e.agent not in NOT_AGENTS and not p.in_flight:
            tokens += headline_tokens(p)
        robot_s += robot_seconds(e)
        if e.kind != "episode" or p.purpose not in COUNTED or p.infrastructure:
            continue
        for stage in dict.fromkeys([p.stage, SUCCESS] if p.success else [p.stage]):
            if stage and (stage != SUCCESS or p.success):
                first.setdefault(stage, (e.t_run, robot_s, tokens))
                scores.setdefault(stage, []).append(p.score)
    return {stage: Reached(*spent, sum(scores[stage]) / len(scores[stage])) for stage, spent in first.items()}


def in_order(scores: Mapping[str, float]) -> list[str]:
    """Stages from the first to the last, by their mean scores, success behind all others."""
    return sorted(scores, key=lambda stage: (stage == SUCCESS, scores[stage], stage))


def milestones(events: Iterable[Event]) -> dict[str, dict[str, float]]:
    """By stage from the first to the last, what was spent when a counted episode had first got so far: to it, or beyond."""
    first = first_reached(events)
    order = in_order({stage: reached.score for stage, reached in first.items()})
    return {stage: min((first[s] for s in order[k:]), key=lambda r: r.time_s).spent for k, stage in enumerate(order)}
