"""Metrics of a run: best curves, tokens, waiting, utilisation. Each function is pure, over the events that it is given.

What is asked for again and again while a run goes on (`BestCurves`, `TokenCount`) grows event by event; the functions of the
same name are that over a whole ledger.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields

from autoenvbench.record.candidates import STRICT_EPISODES, STRICT_FROM, Candidates
from autoenvbench.record.events import NOT_AGENTS, POLICY, TRIED, EpisodeEvent, TokensEvent
from autoenvbench.record.ledger import Event
from autoenvbench.record.summary import wilson
from autoenvbench.record.utilisation import utilisation

THRESHOLDS = (0.5, 0.8, 0.95)
STRICT_THRESHOLDS = (0.99, 1.0)  # only from confirmations of at least STRICT_EPISODES of one candidate
_WRONG_REQUEST = {400, 404, 405, 411, 413, 414, 415, 422, 431}  # HTTP statuses: the fault of who wrote the request
_NO_CREDIT = "Your credit balance is too low"  # how Anthropic begins a 400 that is about its user's account


@dataclass(frozen=True, slots=True)
class Disturbances:
    """What did not go as planned in a run, for a reader who wonders whether somebody helped."""

    resumes: int  # of the run, after a crash, a kill or a power cut
    aborted: int  # evaluations, confirmations and held-out scorings that were ended before their end
    interrupted: int  # judged episodes that were ended from outside: failures
    reruns: int  # of judged episodes, because the machine was proven to be at fault
    void: int  # judged episodes whose rerun failed by the machine's fault as well


def disturbances(events: Iterable[Event]) -> Disturbances:
    """What did not go as planned, over the whole run; practice and learning aside."""
    events = [e for e in events if e.kind == "run" or getattr(e.payload, "purpose", "practice") not in TRIED]
    episodes = [e.payload for e in events if e.kind == "episode"]
    return Disturbances(
        resumes=sum(e.kind == "run" and e.payload.phase == "resumed" for e in events),
        aborted=sum(e.kind == "evaluation" and e.payload.phase == "aborted" for e in events),
        interrupted=sum(e.reason == "interrupted" for e in episodes),
        reruns=sum(e.reruns for e in episodes),
        void=sum(e.infrastructure for e in episodes),
    )


@dataclass(frozen=True, slots=True)
class Point:
    """One step of a best-so-far curve, with the resources spent until then (all agents of the run).

    Attributes:
        t_run: research time [s].
        value: success rate, 0 to 1; `low`, `high`: its 95 % Wilson interval.
        episodes_behind: how many episodes the value rests on.
        commit, digest: of the bundle that leads.
        tokens: headline tokens; `episodes`: judged, but held-out ones; `robot_s`: robot time, but of held-out scoring [s].
        strict: (success rate, mean score, episodes) that 98 % and more are claimed on (`Candidates.strict`).
    """

    t_run: float
    value: float
    low: float
    high: float
    episodes_behind: int
    commit: str
    digest: str
    tokens: int
    episodes: int
    robot_s: float
    strict: tuple[float, float, int] = (0.0, 0.0, 0)

    def shows(self, threshold: float) -> bool:
        """Whether this is evidence for a success rate of `threshold`."""
        if threshold < STRICT_FROM:
            return self.value >= threshold
        rate, _, n = self.strict
        return n >= STRICT_EPISODES and rate >= threshold


@dataclass(slots=True)
class BestCurves:
    """The two best-so-far curves of a run, grown event by event.

    Raw: highest success rate over evaluations of at least `min_episodes`. Confirmed: the pooled estimate of the candidates that
    lead, from episodes that they were not chosen by (`Candidates`); it is no maximum and may fall.

    Attributes:
        tokens: headline tokens of all agents so far; calls that were cut are left out.
        episodes: judged so far, held-out ones left out.
        robot_s: robot time so far, that of held-out scoring left out [s].
    """

    min_episodes: int = 20
    raw: list[Point] = field(default_factory=list)
    confirmed: list[Point] = field(default_factory=list)
    candidates: Candidates = field(default_factory=Candidates)
    tokens: int = 0
    episodes: int = 0
    robot_s: float = 0.0

    def add(self, event: Event) -> None:
        """Take in the ledger's next event, of any kind."""
        p = event.payload
        if event.kind == "tokens" and event.agent not in NOT_AGENTS and not p.in_flight:
            self.tokens += headline_tokens(p)
        elif event.kind == "episode" and p.purpose != "heldout":
            self.episodes += 1
            self.robot_s += robot_seconds(event)
        elif event.kind == "reset":
            self.robot_s += robot_seconds(event)
        elif event.kind == "run" and p.config:
            self.candidates.configure(p.config)
        elif event.kind == "evaluation":
            changed = self.candidates.add(p, event.agent)
            if p.purpose == "evaluate" and p.phase == "finished" and p.episodes >= self.min_episodes:
                rate = p.successes / p.episodes
                if not self.raw or rate > self.raw[-1].value:
                    self.raw.append(self._point(event.t_run, p.successes, p.episodes, p.commit, p.digest))
            if changed:
                self._confirm(event.t_run)
        elif event.kind == "comparison" and self.candidates.compared(p):
            self._confirm(event.t_run)

    def _confirm(self, t_run: float) -> None:
        leader = self.candidates.leader
        if leader is not None:
            wins, n = self.candidates.estimate()
            strict = self.candidates.strict()
            self.confirmed.append(self._point(t_run, wins, n, leader.commit, leader.digest, strict))

    def _point(
        self,
        t_run: float,
        wins: int,
        n: int,
        commit: str,
        digest: str,
        strict: tuple[float, float, int] = (0.0, 0.0, 0),
    ) -> Point:
        low, high = wilson(wins, n)
        return Point(t_run, wins / n, low, high, n, commit, digest, self.tokens, self.episodes, self.robot_s, strict)


def best_curves(events: Iterable[Event], min_episodes: int = 20) -> tuple[list[Point], list[Point]]:
    """The (raw, confirmed) best so far of a whole ledger; see `BestCurves`."""
    curves = BestCurves(min_episodes)
    for event in events:
        curves.add(event)
    return curves.raw, curves.confirmed


def robot_seconds(event: Event) -> float:
    """Robot time [s] that this event tells of: of episodes and of resets without one, those of held-out scoring left out."""
    counts = event.kind in ("episode", "reset") and event.payload.purpose != "heldout"
    return float(event.payload.robot_s) if counts else 0.0


def resources_to(curve: Sequence[Point], threshold: float) -> dict[str, float] | None:
    """What was spent when the confirmed best first reached `threshold`; None if it never did (censored).

    Keys: time_s and robot_s [s], tokens (headline), episodes.
    """
    for point in curve:
        if point.shows(threshold):
            return {"time_s": point.t_run, "tokens": point.tokens, "episodes": point.episodes, "robot_s": point.robot_s}
    return None


def headline_tokens(tokens: TokensEvent) -> int:
    """Fresh input + output of one call (reasoning is inside output). "All tokens" would add cache reads."""
    return tokens.input - tokens.cached_input + tokens.output


def failed_by_provider(call: TokensEvent) -> bool:
    """Whether a call failed by its provider's doing, or its account's: key, limits, an outage, an answer that was cut. A wrong
    request is its agent's doing: else an agent whose run goes badly could void it by asking for nonsense."""
    return call.error is not None and (call.status not in _WRONG_REQUEST or call.error.startswith(_NO_CREDIT))


@dataclass(frozen=True, slots=True)
class TokenTotals:
    """Tokens of a run by category. All counts are the provider's own; what is estimated, of calls that were cut, is in `cut_*`.

    Attributes:
        headline: fresh input + output; `all`: input + output.
        in_flight_calls: calls that were cut; `errors`: that failed.
        wait_s: time of all calls together [s].
        per_minute: headline tokens per minute of research wall-clock (MTU).
        by_model: headline tokens.
    """

    calls: int
    input: int
    cached_input: int
    cache_write: int
    output: int
    reasoning: int
    headline: int
    all: int
    in_flight_calls: int
    errors: int
    wait_s: float
    per_minute: float
    by_model: dict[str, int]
    cut_input: int = 0
    cut_cached_input: int = 0
    cut_output: int = 0
    cut_headline: int = 0


@dataclass(slots=True)
class TokenCount:
    """Token counts of some calls, grown call by call; the fields are those of `TokenTotals`."""

    calls: int = 0
    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    headline: int = 0
    in_flight_calls: int = 0
    errors: int = 0
    wait_s: float = 0.0
    by_model: Counter[str] = field(default_factory=Counter)
    cut_input: int = 0
    cut_cached_input: int = 0
    cut_output: int = 0
    cut_headline: int = 0

    def add(self, call: TokensEvent) -> None:
        """Count one call."""
        self.calls += 1
        self.errors += call.error is not None
        self.wait_s += call.wait_s
        headline = headline_tokens(call)
        if call.in_flight:
            self.in_flight_calls += 1
            self.cut_input += call.input
            self.cut_cached_input += call.cached_input
            self.cut_output += call.output
            self.cut_headline += headline
            return
        self.input += call.input
        self.cached_input += call.cached_input
        self.cache_write += call.cache_write
        self.output += call.output
        self.reasoning += call.reasoning
        self.headline += headline
        self.by_model[call.model] += headline

    def totals(self, research_s: float) -> TokenTotals:
        """The counts so far, and their rate over `research_s` of research time [s]."""
        counts = {f.name: getattr(self, f.name) for f in fields(self)}
        per_minute = utilisation(research_s, tokens=self.headline).mtu
        return TokenTotals(
            **{**counts, "by_model": dict(self.by_model)}, all=self.input + self.output, per_minute=per_minute
        )


def token_totals(events: Iterable[Event], research_s: float, *, of_policies: bool = False) -> TokenTotals:
    """Tokens of the agents' calls, or of the policies' own, over `research_s` of research time [s]."""
    count = TokenCount()
    for e in events:
        if e.kind == "tokens" and (e.agent == POLICY if of_policies else e.agent not in NOT_AGENTS):
            count.add(e.payload)
    return count.totals(research_s)


def stalled_seconds(events: Iterable[Event], research_s: float) -> float:
    """Research time [s] in which the agent could only wait for its model's provider: at least one of its calls was
    between two attempts (rate limit, failure, unreachable) and no other was being answered.

    Working time is research time without it. A call waits from its first `wait` event to the one that ends it.
    """
    waiting: dict[str | None, bool] = {}  # calls under way, and whether they wait
    stalled = since = 0.0
    for event in events:
        now = min(event.t_run, research_s)
        if waiting and all(waiting.values()):
            stalled += max(0.0, now - since)
        since = now
        p = event.payload
        if event.kind == "run" and p.phase == "resumed":
            waiting.clear()  # what was under way then was killed
        elif event.agent in NOT_AGENTS:
            continue
        elif event.kind == "call":
            waiting[p.id] = False
        elif event.kind == "wait" and p.call in waiting:
            waiting[p.call] = p.phase == "started"
        elif event.kind == "tokens":
            waiting.pop(p.call, None)
    return stalled


@dataclass(frozen=True, slots=True)
class RobotUse:
    """How much of a run's wall-clock its cells worked, where robot time is scarce.

    Attributes:
        mru: share of all cells' research time that was robot time, 0 to 1.
        of_cells: the same of each cell that worked, by name.
        real_time: seconds of the environments' own time per second of robot time that episodes took. Well below the pace, the machine could
            not keep up, and what looks like work of robots was waiting for their simulation.
    """

    mru: float
    of_cells: dict[str, float]
    real_time: float | None


def robot_use(events: Sequence[Event], research_s: float, cells: int, pace: float) -> RobotUse | None:
    """MRU, whole and by cell.

    Args:
        research_s: research time [s].
        cells: that the run has.
        pace: of the run; 0: robot time is free.

    Returns:
        None where robot time is free.
    """
    if not pace or not research_s:
        return None
    by_cell = busy_seconds(events)
    simulated, worked = 0.0, 0.0
    for event in events:
        if event.kind == "episode" and (seconds := robot_seconds(event)):
            simulated, worked = simulated + event.payload.sim_s, worked + seconds
    use = utilisation(research_s, robots=cells, busy_s=by_cell)
    assert use.mru is not None, "a run has cells"
    return RobotUse(
        mru=use.mru,
        of_cells={name: share for name, share in use.of_robots.items() if name and share},
        real_time=simulated / worked if worked else None,
    )


def busy_seconds(events: Iterable[Event]) -> dict[str, float]:
    """Robot time of each cell [s], that of held-out scoring left out; of ledgers that do not say which cell it was, under ""."""
    by_cell = defaultdict[str, float](float)
    for event in events:
        if event.kind in ("episode", "reset"):
            by_cell[event.station or ""] += robot_seconds(event)
    return dict(by_cell)


def heldout_episodes(events: Iterable[Event]) -> list[EpisodeEvent]:
    """Held-out episodes, one per (start, attempt): a resumed run may have written none twice, but never trust that."""
    seen: dict[tuple[int, int], EpisodeEvent] = {}
    for e in events:
        if e.kind == "episode" and e.payload.purpose == "heldout":
            seen.setdefault((e.payload.index, e.payload.attempt), e.payload)
    return [seen[key] for key in sorted(seen)]
