"""What figures over several runs need of each: a few numbers and curves, from its ledger alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from autoenvbench.evolution.activity import MemberTime, team_time, time_by_activity
from autoenvbench.record import metrics
from autoenvbench.record.ledger import Event
from autoenvbench.record.milestones import first_reached
from autoenvbench.record.results import research_seconds, started

FirstAt = Mapping[str, tuple[float, float]]  # (research time [s], mean score) by stage


@dataclass(slots=True)
class TeamRun:
    """One run.

    Attributes:
        env: of the run; `condition`: how its team works, in words: runs that share it are repetitions.
        team_size: members.
        ended_early: by a goal or by itself, not by its budget of time.
        confirmed: the team's best over time.
        mru_of_cells: of cells that worked, 0 to 1; empty where robot time is free.
        cpu, gpu: mean utilisation, none or one number, 0 to 1.
        mtu: headline tokens a minute.
        first_at: (research time [s], mean score) by stage: when a counted episode first ended in it (`record.milestones`).
    """

    env: str
    condition: str
    team_size: int
    research_s: float
    budget_s: float
    ended_early: bool
    confirmed: list[metrics.Point]
    mru_of_cells: list[float]
    cpu: list[float]
    gpu: list[float]
    mtu: float
    time: MemberTime
    first_at: FirstAt = field(default_factory=dict)

    @classmethod
    def of(cls, events: Sequence[Event]) -> TeamRun:
        """Raises UserError for a ledger that holds no started run."""
        first, config = started(events)
        research_s = research_seconds(events)
        size = max(1, len(first.payload.members))
        use = metrics.robot_use(events, research_s, config.cells, config.pace)
        samples = [e.payload for e in events if e.kind == "compute" and e.t_run <= research_s]
        stopped = next(
            (e.payload.detail for e in events if e.kind == "run" and e.payload.phase == "agents_stopped"), None
        )
        agents = "+".join(dict.fromkeys(agent.partition(":")[0] for agent in first.payload.members.values()))
        alone = " alone" if size > 1 and not config.sharing else ""
        return cls(
            env=config.env,
            condition=f"{size} {agents or config.agent.partition(':')[0]}{alone}, {config.cells} robot{'s' if config.cells > 1 else ''}",
            team_size=size, research_s=research_s, budget_s=config.budget_s, ended_early=stopped not in (None, "deadline"),
            confirmed=metrics.best_curves(events, config.min_episodes)[1],
            mru_of_cells=list(use.of_cells.values()) if use else [],
            cpu=_mean([s.cpu for s in samples]), gpu=_mean([s.gpu for s in samples if s.gpu is not None]),
            mtu=metrics.token_totals(events, research_s).per_minute, time=team_time(time_by_activity(events, research_s)),
            first_at={stage: (reached.time_s, reached.score) for stage, reached in first_reached(events).items()},
        )  # fmt: skip

    def spent_to(self, threshold: float, what: Literal["time_s", "tokens"]) -> float:
        """What was spent when the confirmed best first reached `threshold`; infinite where it never did."""
        spent = metrics.resources_to(self.confirmed, threshold)
        return math.inf if spent is None else spent[what]

    def reached(self, stages: Sequence[str]) -> float:
        """When an episode first reached one of these stages [s]; infinite where none did."""
        return reached(self.first_at, stages)


def reached(first_at: FirstAt, stages: Sequence[str]) -> float:
    """When a run first reached one of these stages [s]; infinite where it never did."""
    return min((first_at[stage][0] for stage in stages if stage in first_at), default=math.inf)


def _mean(values: Sequence[float]) -> list[float]:
    return [sum(values) / len(values)] if values else []
