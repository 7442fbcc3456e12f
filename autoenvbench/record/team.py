"""The members of a run side by side: each one's own best, and the team's average, grown by a ledger's events.

A member's best is what its own evaluations and confirmations found: a commit that it adopted is measured anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from autoenvbench.record.ledger import Event
from autoenvbench.record.metrics import BestCurves


@dataclass(frozen=True, slots=True)
class AveragePoint:
    """One step of the team's average, with what all members together had spent until then.

    Attributes:
        t_run: research time [s].
        value: mean over all members of each one's own confirmed best, 0 to 1; 0 for one that has none.
        members: over how many.
        agent: whose best changed; None where a member joined.
        commit: of that best.
        tokens, episodes, robot_s: as in `metrics.Point`.
    """

    t_run: float
    value: float
    members: int
    agent: str | None
    commit: str | None
    tokens: int
    episodes: int
    robot_s: float

    def spent(self) -> dict[str, float]:
        """The same keys as `metrics.resources_to`."""
        return {"time_s": self.t_run, "tokens": self.tokens, "episodes": self.episodes, "robot_s": self.robot_s}


@dataclass(slots=True)
class TeamCurves:
    """Grown event by event, beside the whole run's curves.

    Attributes:
        of: the curves of each member, by its name, from its own events alone.
        average: the team's, from its first confirmed best on.
    """

    min_episodes: int = 20
    of: dict[str, BestCurves] = field(default_factory=dict)
    average: list[AveragePoint] = field(default_factory=list)
    _members: dict[str, None] = field(default_factory=dict)  # in the order in which they came
    _config: Event | None = None  # the first event, by which every member is judged

    @property
    def members(self) -> list[str]:
        """The run's members, in order; those that only acted are not among them."""
        return list(self._members)

    def add(self, event: Event, run: BestCurves) -> None:
        """Take in the ledger's next event, of any kind, which the whole `run` has taken in already."""
        if event.kind == "run":
            if event.payload.config:
                self._config = event
                for curves in self.of.values():
                    curves.add(event)
            self._enter(event, run, event.payload.members)
        elif event.agent is not None:
            if event.kind == "agent":
                self._enter(event, run, (event.agent,))
            own = self.of.setdefault(event.agent, self.member(event.agent))
            before = len(own.confirmed)
            own.add(event)
            if len(own.confirmed) > before and event.agent in self._members:
                self._mark(event, run, event.agent, own.confirmed[-1].commit)

    def member(self, agent: str) -> BestCurves:
        """The curves of a member's own events: to be read, and empty for one that did nothing yet."""
        if (known := self.of.get(agent)) is not None:
            return known
        made = BestCurves(self.min_episodes)
        if self._config is not None:
            made.add(self._config)
        return made

    def _enter(self, event: Event, run: BestCurves, agents: Iterable[str]) -> None:
        """New members count from here on, in the average too."""
        new = [agent for agent in agents if agent not in self._members]
        self._members.update(dict.fromkeys(new))
        if new and self.average:
            self._mark(event, run, None, None)

    def _mark(self, event: Event, run: BestCurves, agent: str | None, commit: str | None) -> None:
        own = [self.of[name].confirmed if name in self.of else [] for name in self._members]
        value = sum(curve[-1].value for curve in own if curve) / len(own)
        self.average.append(
            AveragePoint(event.t_run, value, len(own), agent, commit, run.tokens, run.episodes, run.robot_s)
        )


def team_curves(events: Iterable[Event], min_episodes: int = 20) -> TeamCurves:
    """Those of a whole ledger."""
    run, team = BestCurves(min_episodes), TeamCurves(min_episodes)
    for event in events:
        run.add(event)
        team.add(event, run)
    return team


def spent_to(average: Iterable[AveragePoint], threshold: float) -> dict[str, float] | None:
    """What was spent when the team's average first reached `threshold`; None if it never did (censored). Keys as `metrics.resources_to`."""
    return next((point.spent() for point in average if point.value >= threshold), None)
