"""One evaluation, start to finish: a batch is shared out to cells, every episode goes into the ledger, and the tally comes out.

Each episode is in the ledger when it begins and when it ends, so that one which is interrupted, however, is on record and counts
as it stands: as a failure, never run again.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from autoenvbench.record.events import TRIED, EpisodeEvent, EvaluationEvent, Payload, StartEvent
from autoenvbench.record.ledger import EventSink
from autoenvbench.record.state import Follower
from autoenvbench.station.batch import Batch, Cell, CellResult, Start, Stop

OnEpisode = Callable[[EpisodeEvent], None]


@dataclass(slots=True)
class Tally:
    """What a batch came to. `episodes` are in the order of its starts, whichever cells ran them."""

    id: str
    episodes: list[EpisodeEvent] = field(default_factory=list)
    aborted: bool = False
    shown: dict[str, str] = field(default_factory=dict)  # "success"/"failure" -> file name of the film
    full: str | None = None  # why no more episodes are kept

    @property
    def counted(self) -> list[EpisodeEvent]:
        """Those that are evidence about the policy."""
        return [e for e in self.episodes if not e.infrastructure]

    @property
    def successes(self) -> int:
        """Of those that count."""
        return sum(e.success for e in self.counted)

    @property
    def rate(self) -> float:
        """Successes per counted episode, in [0, 1]; 0 for none."""
        return self.successes / len(self.counted) if self.counted else 0.0

    @property
    def score(self) -> float:
        """Mean score of the counted episodes, in [0, 1]; 0 for none."""
        return sum(e.score for e in self.counted) / len(self.counted) if self.counted else 0.0


def evaluate(
    cells: Sequence[Cell],
    batch: Batch,
    ledger: EventSink,
    *,
    stop: Stop = lambda: None,
    on_episode: OnEpisode = lambda event: None,
    admit: Stop | None = None,
) -> Tally:
    """Run a batch on these cells, all of which are free. The same starts give the same episodes however many cells there are,
    where all cells are the same station.

    Args:
        stop: asked before each step of each cell; an answer ends the batch. Its unfinished episodes are judged as they stand.
        admit: asked before each start is given out, when the ledger has what its cell ran before; an answer ends the batch once the
            episodes under way are over.
        on_episode: called with each episode after the ledger has it.

    Raises:
        UserError: a cell could not go on (see `Cell.run`); the evaluation is on record as aborted, with what ran.
    """
    books = _Books(batch, ledger, on_episode, admit)
    tally = Tally(batch.evaluation, aborted=True)  # until it is through
    _log(ledger, "started", batch, tally, cells[0].name)
    try:
        results = _run_on(cells, batch, books, stop)
        tally.aborted = books.cut or not all(result.through for result in results)
        tally.full = next((result.full for result in results if result.full is not None), None)
        tally.shown = {kind: name for result in results for kind, name in result.shown.items()}
    finally:
        books.settle()
        tally.episodes = sorted(books.episodes, key=lambda e: (e.attempt, e.index))
        _log(ledger, "aborted" if tally.aborted else "finished", batch, tally, cells[0].name)
    return tally


def _run_on(cells: Sequence[Cell], batch: Batch, books: _Books, stop: Stop) -> list[CellResult]:
    """Every cell takes starts until there are none; where one cannot go on, the others end with the episode they are in."""

    def share(cell: Cell) -> CellResult:
        film = batch.film if cell is cells[0] else None
        mine = dataclasses.replace(batch, starts=books.starts(cell.name), film=film)
        try:
            result = cell.run(mine, books.sink(cell.name), stop)
        except BaseException:
            books.close()
            raise
        if not result.through:
            books.close()
        return result

    if len(cells) == 1:
        return [share(cells[0])]
    with ThreadPoolExecutor(len(cells), thread_name_prefix="cell") as pool:
        shares = [pool.submit(share, cell) for cell in cells]
        wait(shares)
    return [each.result() for each in shares]


class _Books:
    """One batch's starts on their way to the cells, and its events on their way to the ledger. Safe from any thread.

    A cell begins what it was given and nothing else, once, and judges it once: what does not fit is a ValueError.
    """

    def __init__(self, batch: Batch, ledger: EventSink, on_episode: OnEpisode, admit: Stop | None) -> None:
        self._batch, self._ledger, self._on_episode, self._admit = batch, ledger, on_episode, admit
        self._starts = iter(batch.starts)
        self._open = True
        self.cut = False  # a start that was asked for was not admitted
        # Nobody waits for the disk to be given a start, but where `admit` must know what came of the one before.
        self._giving, self._lock = threading.Lock(), threading.Lock()
        self._settled = threading.Condition(self._lock)
        self._at_work: set[str] = set()  # cells whose last start is not judged
        self._given: dict[tuple[int, int], tuple[Start, str]] = {}  # (index, attempt) -> start, the cell's name
        self._begun: dict[tuple[int, int], StartEvent] = {}
        self.episodes: list[EpisodeEvent] = []

    def starts(self, cell: str) -> Iterator[Start]:
        """What is left, one at a time, shared with all other cells."""
        while True:
            if self._admit is not None:
                with self._settled:
                    self._settled.wait_for(lambda: cell not in self._at_work or not self._open)
            with self._giving:
                start = next(self._starts, None) if self._open else None
                if start is not None and self._admit is not None and self._admit() is not None:
                    self.cut, self._open, start = True, False, None
                if start is None:
                    return
                self._given[start.index, start.attempt] = start, cell
                self._at_work.add(cell)
            yield start

    def close(self) -> None:
        """Give out no more starts."""
        with self._giving:
            self._open = False
        with self._settled:
            self._settled.notify_all()

    def sink(self, cell: str) -> EventSink:
        """Where a cell reports to."""
        return _CellSink(self, cell)

    def append(self, payload: Payload, agent: str | None, cell: str) -> None:
        """Write a cell's event durably. Raises ValueError for one that is not the cell's to write."""
        if isinstance(payload, StartEvent | EpisodeEvent):
            with self._lock:
                self._append_own(payload, cell)
        else:
            self._ledger.append(payload, agent=agent, station=cell)

    def _append_own(self, payload: StartEvent | EpisodeEvent, cell: str) -> None:
        key = (payload.index, payload.attempt)
        start, given_to = self._given.get(key, (None, ""))
        if start is None or given_to != cell or not self._fits(payload, start):
            raise ValueError(f"{cell} reports on a start that it was not given: {key} of {payload.evaluation}")
        if isinstance(payload, StartEvent):
            if key in self._begun:
                raise ValueError(f"{cell} begins start {key} for the second time")
            self._begun[key] = payload
            self._ledger.append(payload, agent=self._batch.agent, station=cell)
            return
        if self._batch.purpose not in TRIED and key not in self._begun and payload.reason != "policy_unresponsive":
            raise ValueError(f"{cell} judges start {key}, which has not begun")
        self._ledger.append(payload, agent=self._batch.agent, station=cell)
        del self._given[key]  # judged, once
        self._begun.pop(key, None)
        self._at_work.discard(cell)
        self._settled.notify_all()
        self.episodes.append(payload)
        self._on_episode(payload)

    def _fits(self, payload: StartEvent | EpisodeEvent, start: Start) -> bool:
        """Whether an event names the evaluation, bundle, seed and weights that were given out with its start."""
        batch, bundle = self._batch, self._batch.bundle
        weights = None if start.weights is None else start.weights.stem
        if isinstance(payload, EpisodeEvent) and payload.weights != weights:
            return False
        return (payload.evaluation, payload.purpose, payload.seed) == (
            batch.evaluation,
            batch.purpose,
            start.seed,
        ) and ((payload.commit, payload.digest, payload.content) == (bundle.commit, bundle.digest, bundle.content))

    def settle(self) -> None:
        """Judge what began and never ended, as it stands."""
        self.close()
        with self._lock:
            for key, start in self._begun.items():
                event = _interrupted(start, "the station failed")
                self._ledger.append(event, agent=self._batch.agent, station=self._given[key][1])
                self.episodes.append(event)
            self._begun.clear()
            self._given.clear()


@dataclass(frozen=True, slots=True)
class _CellSink:
    books: _Books
    cell: str

    def append(self, payload: Payload, *, agent: str | None = None, station: str | None = None) -> None:
        self.books.append(payload, agent, self.cell)


def _log(ledger: EventSink, phase: Any, batch: Batch, tally: Tally, station: str) -> None:
    bundle = batch.bundle
    ledger.append(
        EvaluationEvent(
            phase=phase, id=batch.evaluation, purpose=batch.purpose, commit=bundle.commit, digest=bundle.digest,
            content=bundle.content, planned=batch.planned, idea=batch.idea, episodes=len(tally.counted),
            void=len(tally.episodes) - len(tally.counted), successes=tally.successes, score=tally.score,
            robot_s=sum(e.robot_s for e in tally.episodes), beats=batch.beats,
        ),
        agent=batch.agent, station=station,
    )  # fmt: skip


# -- what a station that was killed has left open -----------------------------------------------------------------------
def settle(record: Follower, why: str) -> list[EpisodeEvent]:
    """Judge the episodes that began and never ended as they stand, and return them.

    They are failures, and their starts are spent: whoever ends a job when it goes badly, by whatever means, gains nothing.
    """
    with record.read() as state:
        begun = list(state.open_starts.values())
    settled = []
    for e in begun:
        event = _interrupted(e.payload, why)
        record.ledger.append(event, agent=e.agent, station=e.station)
        settled.append(event)
    return settled


def close_evaluations(record: Follower) -> None:
    """End the evaluations that a killed station left open, with what they came to."""
    with record.read() as state:
        left_open = list(state.open_evaluations.values())
    for e in left_open:
        own = [p.payload for p in record.ledger.events("episode", after=e.seq) if p.payload.evaluation == e.payload.id]
        tally = Tally(e.payload.id, own)
        ended = e.payload.model_copy(
            update={
                "phase": "aborted", "episodes": len(tally.counted), "void": len(own) - len(tally.counted),
                "successes": tally.successes, "score": tally.score, "robot_s": sum(p.robot_s for p in own),
            }
        )  # fmt: skip
        record.ledger.append(ended, agent=e.agent, station=e.station)


def _interrupted(start: StartEvent, why: str) -> EpisodeEvent:
    return EpisodeEvent(
        **start.model_dump(), success=False, score=0.0, stage="", reason="interrupted", detail=why, steps=0, sim_s=0.0,
        robot_s=0.0,
    )  # fmt: skip
