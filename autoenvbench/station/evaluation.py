"""One evaluation, start to finish: a batch is shared out to cells, every episode goes into the ledger, and the tally comes out.

Each episode is in the ledger when it begins and when it ends, so that one which is interrupted, however, is on record and counts
as it stands: as a failure, never run again.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from autoenvbench.record.events import TRIED, EpisodeEvent, EvaluationEvent, Payload, StartEvent
from autoenvbench.record.ledger import EventSink
from autoenvbench.record.state import Follower
from autoenvbench.station.batch import Batch, Cell, CellLost, CellResult, Crew, Film, Start, Stop

OnEpisode = Callable[[EpisodeEvent], None]
C = TypeVar("C", bound=Cell)


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


class Fixed(Generic[C]):
    """A crew of cells that nobody else wants."""

    def __init__(self, cells: Sequence[C]) -> None:
        self._all, self._idle = list(cells), deque(cells)
        self.most = len(cells)

    def take(self, until: Callable[[], bool]) -> C | None:
        """The next that is idle; None where none is."""
        return self._idle.popleft() if self._idle and not until() else None

    def keeps(self, cell: C) -> bool:
        """Always."""
        return True

    def give_back(self, cell: C) -> None:
        """It is idle again, if it is not lost."""
        if cell in self._all:
            self._idle.append(cell)

    def lose(self, cell: C) -> bool:
        """Go on with the others, if there are any."""
        self._all.remove(cell)
        return bool(self._all)


def evaluate(
    cells: Sequence[Cell],
    batch: Batch,
    ledger: EventSink,
    *,
    stop: Stop = lambda: None,
    on_episode: OnEpisode = lambda event: None,
    admit: Stop | None = None,
) -> Tally:
    """Run a batch on these cells, all of which are free (see `evaluate_with`)."""
    crew = Fixed(cells)
    return evaluate_with(crew, batch, ledger, cells[0].name, stop=stop, on_episode=on_episode, admit=admit)


def evaluate_with(
    crew: Crew[C],
    batch: Batch,
    ledger: EventSink,
    station: str,
    *,
    stop: Stop = lambda: None,
    on_episode: OnEpisode = lambda event: None,
    admit: Stop | None = None,
) -> Tally:
    """Run a batch on the cells of a crew. The same starts give the same episodes however many cells there are, and whoever has them in
    between, where all cells are the same station.

    Args:
        station: the evaluation's in the ledger; each episode has its cell's.
        stop: asked before each step of each cell; an answer ends the batch. Its unfinished episodes are judged as they stand.
        admit: asked before each start is given out, when the ledger has what its cell ran before; an answer ends the batch once the
            episodes under way are over.
        on_episode: called with each episode after the ledger has it.

    Raises:
        UserError: a cell could not go on (see `Cell.run`); the evaluation is on record as aborted, with what ran. One that was lost is
            missed only where no other is left: the episode that it was in is judged as it stands.
    """
    books = _Books(batch, ledger, on_episode, admit)
    tally = Tally(batch.evaluation, aborted=True)  # until it is through
    _log(ledger, "started", batch, tally, station)
    try:
        results = _run_on(crew, batch, books, stop)
        tally.aborted = books.short or not books.through or not all(result.through for result in results)
        tally.full = next((result.full for result in results if result.full is not None), None)
        tally.shown = books.shown
    finally:
        books.settle()
        tally.episodes = sorted(books.episodes, key=lambda e: (e.attempt, e.index))
        _log(ledger, "aborted" if tally.aborted else "finished", batch, tally, station)
    return tally


def _run_on(crew: Crew[C], batch: Batch, books: _Books, stop: Stop) -> list[CellResult]:
    """Every cell takes starts until there are none or others want it; where one cannot go on, all end with the episode they are in."""

    def done() -> bool:
        return books.finished or stop() is not None

    def share(cell: C) -> CellResult:
        film, sheets = books.pictures()
        starts = books.starts(cell.name, functools.partial(crew.keeps, cell))
        try:
            result = cell.run(
                dataclasses.replace(batch, starts=starts, film=film, sheets=sheets), books.sink(cell.name), stop
            )
            if not result.through:
                books.close()
        except CellLost as lost:
            if not crew.lose(cell):
                books.close()
                raise
            books.lose(cell.name, str(lost))
            result = CellResult(through=True, sheets=sheets)
        except BaseException:
            books.close()
            raise
        finally:
            crew.give_back(cell)
        books.pictured(film, result)
        return result

    results: list[CellResult] = []
    if crew.most == 1:  # on this thread, to which rendering contexts may belong
        while (cell := crew.take(done)) is not None:
            results.append(share(cell))
        return results
    with ThreadPoolExecutor(crew.most, thread_name_prefix="cell") as pool:
        while not done():  # again where a cell was lost that had a start it had not begun, when the others were through
            shares = []
            while (cell := crew.take(done)) is not None:
                shares.append(pool.submit(share, cell))
            if not shares:
                break
            wait(shares)
            results += [each.result() for each in shares]
    return results


class _Books:
    """One batch's starts on their way to the cells, and its events on their way to the ledger. Safe from any thread.

    A cell begins what it was given and nothing else, once, and judges it once: what does not fit is a ValueError.
    """

    def __init__(self, batch: Batch, ledger: EventSink, on_episode: OnEpisode, admit: Stop | None) -> None:
        self._batch, self._ledger, self._on_episode, self._admit = batch, ledger, on_episode, admit
        self._starts, self._back = iter(batch.starts), deque[Start]()  # with what a lost cell had not begun
        self._open, self._drawn = True, False
        self.short = False  # a start is neither judged nor left
        self._sheets, self._filming = batch.sheets, False
        self.shown: dict[str, str] = {}
        # Nobody waits for the disk to be given a start, but where `admit` must know what came of the one before.
        self._giving, self._lock = threading.Lock(), threading.Lock()
        self._settled = threading.Condition(self._lock)
        self._at_work: set[str] = set()  # cells whose last start is not judged
        self._given: dict[tuple[int, int], tuple[Start, str]] = {}  # (index, attempt) -> start, the cell's name
        self._begun: dict[tuple[int, int], StartEvent] = {}
        self.episodes: list[EpisodeEvent] = []

    @property
    def finished(self) -> bool:
        """Whether no start will be given out, or none is left for now. (A cell that is lost may bring one back.)"""
        return not self._open or self.through

    @property
    def through(self) -> bool:
        """Whether every start was given out, and begun where its cell was lost."""
        return self._drawn and not self._back

    def starts(self, cell: str, keeps: Callable[[], bool]) -> Iterator[Start]:
        """What is left, one at a time, shared with all other cells, while this one is kept."""
        while True:
            if self._admit is not None:
                with self._settled:
                    self._settled.wait_for(lambda: cell not in self._at_work or not self._open)
            if not keeps():
                return
            with self._giving:
                if (start := self._next()) is None:
                    return
                self._given[start.index, start.attempt] = start, cell
                self._at_work.add(cell)
            yield start

    def _next(self) -> Start | None:
        if not self._open:
            return None
        start = self._back.popleft() if self._back else next(self._starts, None)
        if start is None:
            self._drawn = True
        elif self._admit is not None and self._admit() is not None:
            self._open, self._drawn, start = False, False, None
        return start

    def close(self) -> None:
        """Give out no more starts."""
        with self._giving:
            self._open = False
        with self._settled:
            self._settled.notify_all()

    def lose(self, cell: str, why: str) -> None:
        """Judge what this cell had begun as it stands, and let another begin what it had not."""
        with self._giving, self._settled:
            for key, (start, given_to) in list(self._given.items()):
                if given_to != cell:
                    continue
                if key in self._begun:
                    self._interrupt(key, f"the station failed: {why}")
                    continue
                del self._given[key]
                if self._batch.purpose in TRIED:  # of which nobody knows whether they had begun
                    self.short = True
                else:
                    self._back.append(start)
            self._at_work.discard(cell)
            self._settled.notify_all()

    def pictures(self) -> tuple[Film | None, int]:
        """What one cell may make of the batch's pictures: the film, if no other cell has it now, and so many sheets."""
        with self._lock:
            if self._batch.film is None or self._filming:
                return None, self._sheets
            self._filming = True
            return dataclasses.replace(self._batch.film, done=tuple(self.shown)), self._sheets

    def pictured(self, film: Film | None, result: CellResult) -> None:
        """What it made of them."""
        with self._lock:
            self._filming = self._filming and film is None
            self._sheets = min(self._sheets, result.sheets)
            self.shown |= result.shown

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
            for key in list(self._begun):
                self._interrupt(key, "the station failed")
            self._given.clear()

    def _interrupt(self, key: tuple[int, int], why: str) -> None:
        _, cell = self._given.pop(key)
        event = _interrupted(self._begun.pop(key), why)
        self._ledger.append(event, agent=self._batch.agent, station=cell)
        self.episodes.append(event)


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
