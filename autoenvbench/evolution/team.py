"""Which ideas raised a team, and when: the jumps of its average (`record.team`), each with what caused it.

A member's own best rests on its own confirmations: no score is copied, so an idea that others adopt raises the team only once they
have confirmed it themselves. Estimates are no maxima, so a jump may go down.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from autoenvbench.record.ledger import Event
from autoenvbench.record.metrics import BestCurves
from autoenvbench.record.team import TeamCurves

Why = Literal["confirmation", "re-evaluation", "comparison", "a member joined"]
Verdict = Literal["raised", "did not raise", "not confirmed"]
_NOTHING = 1e-9  # a smaller change of an average is rounding


@dataclass(frozen=True, slots=True)
class Jump:
    """One change of the team average.

    Attributes:
        t_run: [s]; `before`, `after`: the average, 0 to 1.
        agent: whose own best changed, or who joined.
        idea: that the evaluation tests, if it names one.
        evaluation: by which it changed; of a comparison its id; None where a member joined.
        why: a confirmation, more evidence about what was confirmed before, a comparison, or one more member to average over.
    """

    t_run: float
    before: float
    after: float
    agent: str | None
    idea: str | None
    evaluation: str | None
    why: Why

    @property
    def gain(self) -> float:
        """Change of the average, -1 to 1."""
        return self.after - self.before


@dataclass(slots=True)
class TeamClimb:
    """The team average with its jumps, grown by a ledger's events in their order.

    Args:
        min_episodes: as `BestCurves`.

    Attributes:
        run: the whole run's curves; `team`: the members' own, and their average.
        jumps: every change of the average.
    """

    min_episodes: int = 20
    run: BestCurves = field(init=False)
    team: TeamCurves = field(init=False)
    jumps: list[Jump] = field(default_factory=list)
    _gains: dict[str, float] = field(default_factory=dict)  # of ideas that were confirmed

    def __post_init__(self) -> None:
        self.run, self.team = BestCurves(self.min_episodes), TeamCurves(self.min_episodes)

    @classmethod
    def of(cls, events: Iterable[Event], min_episodes: int = 20) -> TeamClimb:
        """The climb after these events."""
        climb = cls(min_episodes)
        for event in events:
            climb.add(event)
        return climb

    def add(self, event: Event) -> None:
        """Take in the ledger's next event, of any kind."""
        p, points, before = event.payload, len(self.team.average), self.value
        self.run.add(event)
        self.team.add(event, self.run)
        if event.kind == "evaluation" and p.purpose == "confirm" and p.episodes and p.idea is not None:
            self._gains.setdefault(p.idea, 0.0)
        if len(self.team.average) > points and abs(self.value - before) > _NOTHING:
            self._jump(event, before)

    @property
    def value(self) -> float:
        """The team average now, 0 to 1."""
        return self.team.average[-1].value if self.team.average else 0.0

    def verdict(self, idea: str) -> Verdict:
        """Whether this idea's confirmations, its author's or another's, raised the team average, all of them taken together."""
        if idea not in self._gains:
            return "not confirmed"
        return "raised" if self._gains[idea] > _NOTHING else "did not raise"

    def gain(self, idea: str) -> float:
        """By how much they changed it, -1 to 1."""
        return self._gains.get(idea, 0.0)

    def _jump(self, event: Event, before: float) -> None:
        p, idea, why = event.payload, None, _why(event)
        if event.kind == "evaluation":
            idea = p.idea
        if why == "confirmation" and idea is not None:
            self._gains[idea] += self.value - before
        evaluation = None if why == "a member joined" else p.id
        self.jumps.append(Jump(event.t_run, before, self.value, event.agent, idea, evaluation, why))


def _why(event: Event) -> Why:
    if event.kind == "comparison":
        return "comparison"
    if event.kind == "evaluation":
        return "confirmation" if event.payload.purpose == "confirm" else "re-evaluation"
    return "a member joined"
