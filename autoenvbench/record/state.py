"""The state of a run: what its ledger comes to so far, kept up to date event by event.

Whoever asks often (a station for its status, a run for its goal, the live panel) keeps a `RunState` and takes in what is new,
so that an answer costs the same whether a run has ten episodes or a hundred thousand.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from autoenvbench.record.candidates import STRICT_EPISODES, Candidates
from autoenvbench.record.events import (
    NOT_AGENTS,
    POLICY,
    VISION,
    AgentEvent,
    CommitEvent,
    ComputeEvent,
    EpisodeEvent,
    EvaluationEvent,
    IdeaEvent,
    Purpose,
    RunEvent,
    StartEvent,
    TokensEvent,
)
from autoenvbench.record.first_use import FirstUses
from autoenvbench.record.idea_book import IdeaBook
from autoenvbench.record.ledger import Event, Ledger
from autoenvbench.record.metrics import BestCurves, TokenCount
from autoenvbench.record.starts import stream_of
from autoenvbench.record.team import TeamCurves

RECENT_EPISODES = 5000  # that can be listed without naming their evaluation

Attempt = tuple[int, int]  # (index of a start, attempt at it)


@dataclass(slots=True)
class Streak:
    """Successes in a row within the first `STRICT_EPISODES` confirmation episodes of one content.

    Attributes:
        episodes: of these, judged so far; those of a failing machine are left out.
        longest: run of successes.
    """

    episodes: int = 0
    longest: int = 0
    _running: int = 0

    def add(self, success: bool) -> None:
        """Take in the next episode; does nothing after the first `STRICT_EPISODES`."""
        if self.episodes < STRICT_EPISODES:
            self.episodes += 1
            self._running = self._running + 1 if success else 0
            self.longest = max(self.longest, self._running)


@dataclass(slots=True)
class Member:
    """What one agent of the run has done so far, by its name in the ledger.

    Attributes:
        achievements: ideas, commits and evaluations: what shows that it works.
        calls: to its model that have ended, however they did.
        last_call: the newest of them.
        exits: of its process; `at_work`: whether one is under way.
        session: the newest one that it can be sent back to.
        submitted: its newest answer.
    """

    achievements: int = 0
    calls: int = 0
    last_call: TokensEvent | None = None
    exits: int = 0
    at_work: bool = False
    session: str | None = None
    submitted: CommitEvent | None = None


@dataclass(slots=True)
class RunState:
    """What a run has come to so far: a fold over its ledger's events in their order.

    Args:
        min_episodes: of an evaluation that has a place on the raw curve.

    Attributes:
        seq: of the last event taken in; 0 before the first.
        t_run: its research time [s].
        phases: how often each milestone of the run was passed.
        curves: best so far, raw and confirmed, and the candidates behind it.
        team: the members' own curves, and the team's average.
        agent_tokens, policy_tokens: calls of the agents, and of the policies themselves.
        questions: to the vision-language model, begun, by member.
        members: who did something, by name; see `member`. (Who works in the run: `team.members`.)
        ideas: by id, in the order in which they were registered.
        first_uses: when the files that test them were first run.
        book: whose ideas they are, what became of them, and the commits that members sent.
        submitted: the newest answer.
        episodes: judged, of every purpose.
        held_out: whether an attempt at a held-out start succeeded: the first outcome of each.
        held_out_successes: how many of these did.
        evaluation_number: the highest of evaluations' ids E1, E2, ...
        evaluations_started: of every purpose; a confirmation and the scoring count as well.
        batches_finished: how many of each purpose: evaluate, confirm, practice, heldout.
        open_evaluations: begun and not ended, by id.
        open_starts: episodes that began and were not judged, in their order, by (evaluation, index, attempt).
        streaks: of confirmation episodes, by content.
        last_compute: the newest sample of the machine.
        joined: members that came late, and when [s].
    """

    min_episodes: int = 20
    seq: int = 0
    t_run: float = 0.0
    phases: Counter[str] = field(default_factory=Counter)
    curves: BestCurves = field(init=False)
    team: TeamCurves = field(init=False)
    agent_tokens: TokenCount = field(default_factory=TokenCount)
    policy_tokens: TokenCount = field(default_factory=TokenCount)
    questions: Counter[str] = field(default_factory=Counter)
    members: dict[str, Member] = field(default_factory=dict)
    ideas: dict[str, IdeaEvent] = field(default_factory=dict)
    first_uses: FirstUses = field(default_factory=FirstUses)
    book: IdeaBook = field(default_factory=IdeaBook)
    submitted: CommitEvent | None = None
    episodes: int = 0
    held_out: dict[Attempt, bool] = field(default_factory=dict)
    held_out_successes: int = 0
    evaluation_number: int = 0
    evaluations_started: int = 0
    batches_finished: Counter[Purpose] = field(default_factory=Counter)
    open_evaluations: dict[str, Event] = field(default_factory=dict)
    open_starts: dict[tuple[str, int, int], Event] = field(default_factory=dict)
    streaks: defaultdict[str, Streak] = field(default_factory=lambda: defaultdict(Streak))
    last_compute: ComputeEvent | None = None
    joined: dict[str, float] = field(default_factory=dict)
    _research_ended: float | None = None
    _next_index: dict[str, int] = field(default_factory=dict)  # by stream
    _scored: defaultdict[str, set[Attempt]] = field(default_factory=lambda: defaultdict(set))  # by digest
    _spans: dict[str, tuple[int, int]] = field(default_factory=dict)  # by evaluation: seq of its first and last episode
    _recent: deque[int] = field(default_factory=lambda: deque(maxlen=RECENT_EPISODES))  # seq of episodes

    def __post_init__(self) -> None:
        self.curves = BestCurves(self.min_episodes)
        self.team = TeamCurves(self.min_episodes)

    @classmethod
    def of(cls, events: Iterable[Event], min_episodes: int = 20) -> RunState:
        """The state after these events."""
        state = cls(min_episodes)
        for event in events:
            state.apply(event)
        return state

    def catch_up(self, ledger: Ledger) -> None:
        """Take in what was written since `seq`, by whichever process. Raises UserError for an event that cannot be read."""
        for event in ledger.events(after=self.seq):
            self.apply(event)

    def apply(self, event: Event) -> None:
        """Take in the ledger's next event."""
        self.seq, self.t_run = event.seq, event.t_run
        self.curves.add(event)
        self.team.add(event, self.curves)
        self.first_uses.add(event)
        self.book.add(event)
        payload = event.payload
        match event.kind:
            case "episode":
                self._apply_episode(event, payload)
            case "start":
                self.open_starts[payload.evaluation, payload.index, payload.attempt] = event
                self._use(payload)
            case "evaluation":
                self._apply_evaluation(event, payload)
            case "tokens":
                self._apply_call(event, payload)
            case "call" if event.agent == VISION:
                self.questions[payload.member] += 1
            case "compute":
                self.last_compute = payload
            case "run":
                self._apply_milestone(event, payload)
            case "agent":
                self._apply_agent(event, payload)
            case "idea":
                self.ideas[payload.id] = payload
            case "commit" if payload.phase == "submitted":
                self.submitted = payload
                if event.agent is not None:
                    self._member(event.agent).submitted = payload
        if event.agent is not None and event.kind in ("idea", "commit", "evaluation"):
            self._member(event.agent).achievements += 1

    # -- questions ---------------------------------------------------------------------------------------------------
    @property
    def candidates(self) -> Candidates:
        """What is known of every content that was evaluated."""
        return self.curves.candidates

    @property
    def research_s(self) -> float:
        """Research time [s]: until the agents stopped, or until the last event while they have not."""
        return self.t_run if self._research_ended is None else self._research_ended

    @property
    def robot_s(self) -> float:
        """Robot time of practice, evaluation and confirmation so far [s]."""
        return self.curves.robot_s

    def robot_used_up(self, budget: float | None) -> bool:
        """Whether a budget of robot time [s] leaves no more episodes; never without one."""
        return budget is not None and self.robot_s >= budget

    def member(self, agent: str) -> Member:
        """What this agent has done so far; nothing, for one that the ledger does not know."""
        return self.members.get(agent, Member())

    def of_member(self, agent: str) -> BestCurves:
        """A member's own curves and candidates, from its own events alone: what an adopted commit is worth is measured anew."""
        return self.team.member(agent)

    def next_index(self, purpose: Purpose) -> int:
        """The first start of a purpose's stream that no episode of this run has used."""
        return self._next_index.get(stream_of(purpose), 0)

    def scored(self, digest: str) -> frozenset[Attempt]:
        """The (start, attempt)s at which this bundle has a held-out outcome."""
        return frozenset(self._scored.get(digest, ()))

    def episode_span(self, evaluation: str | None, limit: int) -> tuple[int, int]:
        """(first, last) `seq` of the stretch of the ledger with the episodes of one evaluation, or with the newest `limit` of the
        last `RECENT_EPISODES`; held-out ones are not looked for. (1, 0) where there is none."""
        if evaluation is not None:
            return self._spans.get(evaluation, (1, 0))
        newest = list(self._recent)[-limit:]
        return (newest[0], newest[-1]) if newest else (1, 0)

    # -- one kind of event each --------------------------------------------------------------------------------------
    def _apply_episode(self, event: Event, p: EpisodeEvent) -> None:
        self.episodes += 1
        self.open_starts.pop((p.evaluation, p.index, p.attempt), None)
        self._use(p)
        if p.purpose == "heldout":
            attempt = (p.index, p.attempt)
            if attempt not in self.held_out:
                self.held_out[attempt] = p.success
                self.held_out_successes += p.success
            self._scored[p.digest].add(attempt)
            return
        first, _ = self._spans.get(p.evaluation, (event.seq, 0))
        self._spans[p.evaluation] = first, event.seq
        self._recent.append(event.seq)
        if p.purpose == "confirm" and not p.infrastructure:
            self.streaks[p.content or p.digest].add(p.success)

    def _use(self, p: EpisodeEvent | StartEvent) -> None:
        stream = stream_of(p.purpose)
        self._next_index[stream] = max(self._next_index.get(stream, 0), p.index + 1)

    def _apply_evaluation(self, event: Event, p: EvaluationEvent) -> None:
        if p.phase == "started":
            self.evaluations_started += 1
            if p.id[:1] == "E" and p.id[1:].isdecimal():
                self.evaluation_number = max(self.evaluation_number, int(p.id[1:]))
            self.open_evaluations[p.id] = event
        else:
            self.batches_finished[p.purpose] += p.phase == "finished"
            self.open_evaluations.pop(p.id, None)

    def _apply_call(self, event: Event, p: TokensEvent) -> None:
        if event.agent == POLICY:
            self.policy_tokens.add(p)
        elif event.agent not in NOT_AGENTS:
            self.agent_tokens.add(p)
            if event.agent is not None:
                member = self._member(event.agent)
                member.calls, member.last_call = member.calls + 1, p

    def _apply_milestone(self, event: Event, p: RunEvent) -> None:
        self.phases[p.phase] += 1
        if p.phase == "joined":
            self.joined |= dict.fromkeys(p.members, event.t_run)
        if p.phase in ("deadline", "agents_stopped") and self._research_ended is None:
            self._research_ended = event.t_run

    def _apply_agent(self, event: Event, p: AgentEvent) -> None:
        member = self._member(event.agent or p.name)
        member.exits += p.phase == "exited"
        member.at_work = p.phase == "started"
        member.session = p.session or member.session

    def _member(self, agent: str) -> Member:
        return self.members.setdefault(agent, Member())


class Follower:
    """The state of a run whose ledger several processes write, up to date whenever it is read. Any thread may read.

    Args:
        min_episodes: see `RunState`.
    """

    def __init__(self, ledger: Ledger, min_episodes: int = 20) -> None:
        self.ledger, self._state = ledger, RunState(min_episodes)
        self._turn = threading.RLock()

    @contextmanager
    def read(self) -> Iterator[RunState]:
        """The state as of now; it changes no more while it is held, so hold it briefly. Raises UserError as `catch_up` does."""
        with self._turn:
            self._state.catch_up(self.ledger)
            yield self._state

    def newest_episodes(self, evaluation: str | None, limit: int) -> list[Event]:
        """The newest `limit` episodes but held-out ones, in their order: of one evaluation, or of the last `RECENT_EPISODES`.

        Reads no more of the ledger than the stretch in which they stand.
        """
        with self.read() as state:
            first, last = state.episode_span(evaluation, limit)
        found = [
            e for e in self.ledger.events("episode", after=first - 1, upto=last)
            if e.payload.purpose != "heldout" and evaluation in (None, e.payload.evaluation)
        ]  # fmt: skip
        return found[-limit:]
