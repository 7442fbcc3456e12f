"""Checks a ledger that somebody hands in, before anything is computed from it.

Caught is a true ledger that was edited, thinned out or cut off, and one that contradicts itself. Who owns the machine can forge
a ledger that passes: only a re-run verifies.
"""

from __future__ import annotations

import hashlib
import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import get_args

from autoenvbench.errors import UserError
from autoenvbench.record.answer import choose_answer
from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import EpisodeEvent, EvaluationEvent
from autoenvbench.record.ledger import Event, Ledger, read_events
from autoenvbench.record.results import Kind, started
from autoenvbench.record.sequential import COMPARED_STARTS, PairedTest, alpha_of
from autoenvbench.record.starts import StartStreams
from autoenvbench.record.summary import summarise

CLOCK_SLACK_S = 1.0  # by which a station's clock may still run when the run's stands in a pause


def audited_events(path: Path) -> list[Event]:
    """All events of a consistent ledger. Raises UserError with the first inconsistency."""
    if fault := _database_fault(path):
        raise UserError(f"{path} is not as a run leaves it: {fault}")
    events = read_events(path)
    if fault := next(faults(events), None):
        raise UserError(f"{path} contradicts itself: {fault}")
    return events


def _database_fault(path: Path) -> str | None:
    """The first of: other tables, triggers or views than a ledger's; rows cut off at the end; values of a wrong type."""
    if not path.is_file():
        raise UserError(f"no ledger at {path}; give the folder of a run, such as runs/<id>")
    empty = Ledger(Path(":memory:"), RunClock.start(1.0))
    expected = _schema(empty._db)
    empty.close()
    try:
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30.0)
        try:
            db.execute("PRAGMA trusted_schema=OFF")
            if differing := sorted(name for _, name, _ in _schema(db) ^ expected):
                return (
                    f"its table, index or triggers are not a ledger's: {', '.join(map(repr, dict.fromkeys(differing)))}"
                )
            (last,) = db.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()
            (given,) = db.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'event'").fetchone()
            if last != given:
                return f"{given} events were written, and the last one here is {last}"
            odd = db.execute(
                "SELECT seq FROM event WHERE typeof(t_wall) != 'real' OR typeof(t_run) != 'real' OR typeof(kind) != 'text'"
                " OR typeof(payload) != 'text' OR typeof(agent) NOT IN ('text', 'null')"
                " OR typeof(station) NOT IN ('text', 'null') LIMIT 1"
            ).fetchone()
            return f"event {odd[0]} has a value of another type" if odd else None
        finally:
            db.close()
    except sqlite3.Error as error:
        raise UserError(f"{path} is not a ledger: {error}") from None


def _schema(db: sqlite3.Connection) -> set[tuple[str, str, str]]:
    return set(db.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master"))


def faults(events: Sequence[Event]) -> Iterator[str]:
    """Contradictions between these events, in words; the most basic first."""
    yield from _order_faults(events)
    first, config = started(events)
    secret = next((e.payload.secret for e in events if e.kind == "run" and e.payload.phase == "finished"), None)
    if secret is not None:
        yield from _start_faults(events, secret, first.payload.secret_sha256)
    yield from _held_out_faults(events, set(product(range(config.held_out), range(config.attempts))))
    answer = choose_answer(events, config.min_episodes).digest
    for event in events:
        if event.kind == "episode" and event.payload.purpose == "heldout" and event.payload.digest != answer:
            yield f"event {event.seq}: a held-out episode of {event.payload.digest[:12]}, and the answer is {answer[:12]}"
            break
    contents = [e for e in events if e.kind == "contents" and e.payload.digest == answer]
    if len({e.payload.contents.model_dump_json() for e in contents}) > 1:
        yield f"event {contents[-1].seq}: the answer's bundle holds something else than it did before"
    yield from _evaluation_faults(events)
    yield from _comparison_faults(events)
    judged = {(e.payload.evaluation, e.payload.index, e.payload.attempt) for e in events if e.kind == "episode"}
    for event in events:
        if (
            event.kind == "start"
            and (event.payload.evaluation, event.payload.index, event.payload.attempt) not in judged
        ):
            yield f"event {event.seq}: an episode began, and has no outcome"


def _order_faults(events: Sequence[Event]) -> Iterator[str]:
    latest = 0.0
    for place, event in enumerate(events, 1):
        if event.seq != place:
            yield f"event {place} is missing"
            return
        if not (math.isfinite(event.t_run) and math.isfinite(event.t_wall)):
            yield f"event {place} has no time"
        if event.t_run < latest - CLOCK_SLACK_S:
            yield f"research time goes back at event {place}, from {latest:.1f} to {event.t_run:.1f} s"
        latest = max(latest, event.t_run)
    phases = [e.payload.phase for e in events if e.kind == "run"]
    for phase in ("started", "finished"):
        if phases.count(phase) > 1:
            yield f"it has {phases.count(phase)} events `{phase}`"
    if not events or events[0].kind != "run" or events[0].payload.phase != "started":
        yield "its first event is not that of a run which starts"


def _start_faults(events: Sequence[Event], secret: str, commitment: str | None) -> Iterator[str]:
    """The secret is the one that was committed to, and every start is the one it gives."""
    key = StartStreams.parse_secret(secret)
    if hashlib.sha256(key).hexdigest() != commitment:
        yield "the secret revealed at the end is not the one whose hash stands in the first event"
        return
    streams = StartStreams(key)
    for event in events:
        if event.kind == "episode":
            episode: EpisodeEvent = event.payload
            expected = streams.seed(episode.purpose, episode.index)
            if episode.seed != expected:
                yield (f"event {event.seq}: start {episode.index} of {episode.purpose} has seed {expected} by the secret, "
                       f"not {episode.seed}")  # fmt: skip


def _held_out_faults(events: Sequence[Event], planned: set[tuple[int, int]]) -> Iterator[str]:
    """Each planned start has one outcome, after the agents had stopped."""
    over = next((e.seq for e in events if e.kind == "run" and e.payload.phase == "agents_stopped"), math.inf)
    seen: set[tuple[int, int]] = set()
    for event in events:
        if event.kind != "episode":
            continue
        episode: EpisodeEvent = event.payload
        if episode.cell not in get_args(Kind) or episode.cell == "reported":
            yield f"event {event.seq}: no cell calls itself {episode.cell!r}"
        if episode.purpose != "heldout":
            continue
        key = (episode.index, episode.attempt)
        if key in seen:
            yield f"event {event.seq}: held-out start {key[0]}, attempt {key[1]}, has two outcomes"
        if key not in planned:
            yield f"event {event.seq}: held-out start {key[0]}, attempt {key[1]}, was not planned"
        if event.seq < over:
            yield f"event {event.seq}: a held-out episode while the agent was still at work"
        seen.add(key)


def _comparison_faults(events: Sequence[Event]) -> Iterator[str]:
    """Comparisons whose end their episodes do not give, or that spend more than is theirs."""
    batches = {
        e.payload.id: e.payload.beats for e in events if e.kind == "evaluation" and e.payload.purpose == "compare"
    }
    outcomes: defaultdict[tuple[str | None, str], dict[int, bool]] = defaultdict(dict)
    begun: list[str] = []  # several members' may be under way at once
    for event in events:
        p = event.payload
        if event.kind == "episode" and p.purpose == "compare" and not p.infrastructure:
            outcomes[batches.get(p.evaluation), p.content or p.digest][p.index] = p.success
        elif event.kind == "comparison" and p.phase == "started":
            begun.append(p.id)
            number = len(begun)
            if (p.id, p.most, p.alpha) != (f"C{number}", COMPARED_STARTS, alpha_of(number)):
                yield f"event {event.seq}: comparison {number} is {p.id}, of {p.most} starts at {p.alpha:g}"
        elif event.kind == "comparison" and p.id not in begun:
            yield f"event {event.seq}: {p.id} ends, and never began"
        elif event.kind == "comparison" and p.verdict != "undecided":
            challenger, incumbent = outcomes[p.id, p.challenger], outcomes[p.id, p.incumbent]
            test = PairedTest(COMPARED_STARTS, alpha_of(1 + begun.index(p.id)))
            for index in sorted(challenger.keys() & incumbent.keys()):
                if test.verdict is None:
                    test.add(challenger[index], incumbent[index])
            given = {"first": "challenger", "second": "incumbent"}.get(test.verdict or "", "undecided")
            if (p.verdict, p.starts, p.wins, p.losses) != (given, test.starts, test.wins, test.losses):
                yield f"event {event.seq}: {p.id} names the {p.verdict}, and its episodes give {given}"


def _evaluation_faults(events: Sequence[Event]) -> Iterator[str]:
    """Counts and score in an evaluation's last event that its episodes do not give."""
    episodes: dict[str, list[EpisodeEvent]] = {}
    for event in events:
        if event.kind == "episode":
            episodes.setdefault(event.payload.evaluation, []).append(event.payload)
        elif event.kind == "evaluation" and event.payload.phase != "started" and event.payload.purpose != "heldout":
            recorded: EvaluationEvent = event.payload
            own = [e for e in episodes.get(recorded.id, []) if e.digest == recorded.digest and not e.infrastructure]
            for name, value in (("episodes", len(own)), ("successes", sum(e.success for e in own))):
                if getattr(recorded, name) != value:
                    yield f"event {event.seq}: {recorded.id} says {name} {getattr(recorded, name)}, and has {value}"
            short = (
                recorded.episodes + recorded.void != recorded.planned and recorded.purpose != "learn"
            )  # which ends when it is told to
            if recorded.phase == "finished" and short:
                yield f"event {event.seq}: {recorded.id} is finished with {recorded.episodes + recorded.void} of {recorded.planned} episodes"
            if own and not math.isclose(recorded.score, summarise(own).score, abs_tol=1e-9):
                yield f"event {event.seq}: {recorded.id} says score {recorded.score}, and its episodes {summarise(own).score}"
