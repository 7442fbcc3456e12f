"""Which candidate leads a run, and on what evidence: a pure function of the evaluations in the ledger.

A candidate is its content (tree and checkpoints), whatever its commits are called: equal content pools and is confirmed once.

The best of many noisy looks flatters itself, so no estimate here is a maximum over them. Candidates whose confirmations cannot be
told apart (one-sided, 1 %) form a group with ONE estimate, pooled over all of its members, lucky and unlucky. A challenger that
is significantly better replaces the group, one that is significantly worse stays outside, any other joins it.
Two of a group may be compared on shared starts, which tells finer differences apart: the one that loses leaves the group, and the
one that wins leads it. Episodes of comparisons are in no estimate, because the test chose when to stop.
`benchmarks/selection_bias.py` prints what bias is left.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from autoenvbench.errors import UserError
from autoenvbench.record.events import ComparisonEvent, EvaluationEvent
from autoenvbench.record.ledger import Event

CONFIRM_EPISODES = 50
STRICT_FROM = (
    0.98  # rates from here on are claimed on STRICT_EPISODES confirmation episodes of one candidate, or not at all
)
STRICT_EPISODES = 200
STREAK_FROM = 0.9  # a run whose goal is a streak confirms from here on on STRICT_EPISODES
_Z = 2.326  # of the one-sided test at 1 %


@dataclass(slots=True)
class Candidate:
    """What is known of one content.

    Attributes:
        content: digest of tree and checkpoints.
        commit, digest: of the bundle that is or was confirmed.
        agent, idea, beats: of the evaluation that asked for the confirmation, and its id.
        n, wins: episodes and successes of confirmations alone: one for each member that asked for it.
        more_n, more_wins: of the evaluations after it by the same `agent`.
    """

    content: str
    commit: str
    digest: str
    agent: str | None = None
    idea: str | None = None
    beats: str | None = None
    begun: bool = False  # whether a confirmation was
    n: int = 0
    wins: int = 0
    score: float = 0.0  # sum over the n
    more_n: int = 0
    more_wins: int = 0

    @property
    def rate(self) -> float:
        """Success rate of all fresh episodes, 0 to 1; 0 without any."""
        return self.counted_wins / self.counted if self.counted else 0.0

    @property
    def counted(self) -> int:
        """Fresh episodes: of the confirmation and of the evaluations after it."""
        return self.n + self.more_n

    @property
    def counted_wins(self) -> int:
        """Successes among `counted`."""
        return self.wins + self.more_wins


@dataclass(slots=True)
class Candidates:
    """The candidates of a run. `add` takes the ledger's evaluation events in order.

    Args:
        confirm_episodes: that a confirmation has. What is missing of one that was cut counts as not succeeded.
        strict_episodes: that it has where the rate is about STRICT_FROM or more.
        goal_metric: what the run's goal is about: success, score or streak.
    """

    confirm_episodes: int = CONFIRM_EPISODES
    strict_episodes: int = STRICT_EPISODES
    goal_metric: str = "success"
    comparisons: int = 0  # begun
    champion: str | None = None  # content that has won the last one that was decided
    known: dict[str, Candidate] = field(default_factory=dict)
    group: list[Candidate] = field(default_factory=list)  # the best, indistinguishable from one another
    _leader: Candidate | None = field(default=None, init=False, repr=False, compare=False)  # None: to be looked up

    @classmethod
    def of(cls, events: Iterable[Event]) -> Candidates:
        """Those of a whole ledger, by the configuration in its first event."""
        made = cls()
        for event in events:
            if event.kind == "run" and event.payload.config:
                made.configure(event.payload.config)
            elif event.kind == "evaluation":
                made.add(event.payload, event.agent)
            elif event.kind == "comparison":
                made.compared(event.payload)
        return made

    def configure(self, config: dict[str, object]) -> None:
        """As the run's first event says."""
        self.confirm_episodes = int(str(config.get("confirm_episodes", self.confirm_episodes)))
        self.strict_episodes = int(str(config.get("strict_episodes", self.strict_episodes)))
        self.goal_metric = str(config.get("goal") or "success").strip().partition(">")[0].strip()

    def add(self, e: EvaluationEvent, agent: str | None = None) -> bool:
        """Take in one event. Returns whether it changed what the best is, or its estimate."""
        if e.purpose not in ("evaluate", "confirm"):
            return False
        self._leader = None
        content = e.content or e.digest
        c = self.known.setdefault(content, Candidate(content, e.commit, e.digest))
        if e.purpose == "confirm" and not c.begun:
            c.begun, c.commit, c.digest, c.agent, c.idea, c.beats = True, e.commit, e.digest, agent, e.idea, e.beats
        if e.phase == "started" or not e.episodes:
            return False
        if e.purpose == "confirm":
            c.n, c.wins, c.score = c.n + e.episodes, c.wins + e.successes, c.score + e.score * e.episodes
            return self._place(c)
        if not self.confirmed(c) or agent not in (None, c.agent):
            # By these episodes it was chosen: they say too much. What others make of it pools once they have it confirmed, which is
            # the station's job; their evaluations, which they may cut, do not, or a member could spoil its peer's best.
            return False
        c.more_n, c.more_wins = c.more_n + e.episodes, c.more_wins + e.successes
        return any(c is member for member in self.group)

    def compared(self, e: ComparisonEvent) -> bool:
        """Take in a comparison. Returns whether it changed who leads; a tie changes nothing."""
        self._leader = None
        self.comparisons += e.phase == "started"
        if e.phase != "ended" or e.verdict == "undecided":
            return False
        winner, loser = (e.challenger, e.incumbent) if e.verdict == "challenger" else (e.incumbent, e.challenger)
        if not {winner, loser} <= {c.content for c in self.group}:
            return False
        self.group = [c for c in self.group if c.content != loser]
        self.champion = winner
        return True

    def to_compare(self, content: str) -> tuple[Candidate, Candidate]:
        """The challenger with this content, and the incumbent that it cannot be told apart from. Raises UserError where there is nothing to
        compare."""
        leader, challenger = self.leader, self.known.get(content)
        if leader is None:
            raise UserError("there is no confirmed best yet to compare with; type: aeb evaluate")
        if challenger is leader:
            raise UserError("this is the confirmed best; commit a change, and compare that")
        if challenger is None or not self.confirmed(challenger):
            raise UserError("only what is confirmed can lead, and be compared; type: aeb evaluate --confirm")
        if not any(challenger is member for member in self.group):
            raise UserError(
                "there is nothing to decide: its confirmation is worse than the best, or it has lost to it before"
            )
        return challenger, leader

    # -- what the station asks ---------------------------------------------------------------------------------------
    def confirmed(self, c: Candidate) -> bool:
        """Whether its confirmation is complete, so that more episodes of it pool."""
        return c.n >= self.confirm_episodes

    def missing(self, c: Candidate) -> int:
        """Confirmation episodes that are still to be run, of a candidate whose confirmation has begun."""
        if not c.begun:
            return 0
        if not self.confirmed(c):
            return self.confirm_episodes - c.n
        rate = max(c.rate, c.score / c.n) if self.goal_metric == "score" else c.rate
        wanted = rate >= (STREAK_FROM if self.goal_metric == "streak" else STRICT_FROM)
        return max(0, self.strict_episodes - c.n) if wanted else 0

    def pending(self) -> list[Candidate]:
        """Confirmations that were cut."""
        return [c for c in self.known.values() if self.missing(c)]

    # -- the best ----------------------------------------------------------------------------------------------------
    @property
    def leader(self) -> Candidate | None:
        """Of the group, the one that has won a comparison, or else the one with the highest rate of its own."""
        if self._leader is None:
            champion = next((c for c in self.group if c.content == self.champion), None)
            self._leader = champion or max(
                self.group, key=lambda c: (c.counted_wins / self._behind(c), c.counted), default=None
            )
        return self._leader

    def own(self, most: int | None = None) -> list[Candidate]:
        """The group, the leader first; `most` of them."""
        leader = self.leader
        others = (c for c in self.group if c is not leader)
        return [] if leader is None else list(itertools.islice(itertools.chain([leader], others), most))

    def estimate(self) -> tuple[int, int]:
        """(successes, episodes) that the best rests on."""
        return sum(c.counted_wins for c in self.group), sum(self._behind(c) for c in self.group)

    def strict(self) -> tuple[float, float, int]:
        """(success rate, mean score, episodes) of the leader's confirmation alone, for claims of STRICT_FROM and more. The rate is
        at most one episode in STRICT_EPISODES above what all of the group's strict confirmations have together: a candidate cut
        into thirty copies does not choose the luckiest."""
        leader = self.leader
        if leader is None or not leader.n:
            return 0.0, 0.0, 0
        rate, same = leader.wins / leader.n, [c for c in self.group if c.n >= self.strict_episodes]
        if same:
            rate = min(rate, sum(c.wins for c in same) / sum(c.n for c in same) + 1 / self.strict_episodes)
        return rate, leader.score / leader.n, leader.n

    @property
    def value(self) -> float:
        """The confirmed best: success rate of the group, 0 to 1; 0 before there is one."""
        wins, n = self.estimate()
        return wins / n if n else 0.0

    def _behind(self, c: Candidate) -> int:
        return max(c.n, self.confirm_episodes) + c.more_n

    def _place(self, c: Candidate) -> bool:
        if any(c is member for member in self.group):
            return True
        if not self.group:
            self.group = [c]
            return True
        wins, n = self.estimate()
        z = _two_proportions(c.counted_wins, self._behind(c), wins, n)
        if z < -_Z:
            return False
        self.group = [c] if z > _Z else [*self.group, c]
        return True


def _two_proportions(wins: int, n: int, other_wins: int, other_n: int) -> float:
    """The pooled two-proportion z statistic: positive where the first rate is higher."""
    pooled = (wins + other_wins) / (n + other_n)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / other_n))
    return (wins / n - other_wins / other_n) / spread if spread else 0.0
