"""A station's cells as processes: opened together, held and ended together; one that is lost is started again, and the others go on."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from autoenvbench.errors import UserError
from autoenvbench.record.events import NoteEvent
from autoenvbench.record.ledger import Ledger
from autoenvbench.station.config import StationConfig
from autoenvbench.station.leases import Pool
from autoenvbench.station.remote_cell import FOLD_S, OPEN_S, RemoteCell, cell_name, open_cell

_AGAIN_S = 5.0  # until it is tried again
RESTARTS = 3  # of one cell in a run's life: what is lost again and again is not started for ever


class Fleet:
    """The cells of one station.

    Args:
        ledger: where they report what belongs to no batch.
        on_end: called, from any thread, with the reason when the last cell is lost.

    Attributes:
        pool: who has which of them.
        arms: whether they move arms; there is one cell then.
    """

    def __init__(self, config: StationConfig, ledger: Ledger, on_end: Callable[[str], None]) -> None:
        self._config, self._ledger, self._on_end = config, ledger, on_end
        members = config.members
        own = {member: frozenset(range(k, config.cells, len(members))) for k, member in enumerate(members)}
        self.pool: Pool[RemoteCell] = Pool(config.cells, own if config.config.own_stations else None)
        self.arms = False
        self._lock = threading.Lock()
        self._restarts = Counter[int]()  # by place
        self._opening: list[RemoteCell] = []

    def open(self) -> None:
        """Start the workers, and return when their environments are made. Raises UserError."""
        config = self._config
        self._opening = [
            open_cell(config, self._ledger, k, functools.partial(self._lost, k)) for k in range(config.cells)
        ]
        try:
            for cell in self._opening:
                cell.wait_ready(OPEN_S)
                if cell.arms and config.cells > 1:
                    raise UserError(f"{config.config.env} moves arms: it has one cell, not {config.cells}")
                self.arms = cell.arms
        except BaseException:
            for cell in self._opening:
                cell.close(FOLD_S)
            raise
        for place, cell in enumerate(self._opening):
            self.pool.put(place, cell)
        self._opening = []

    @property
    def names(self) -> list[str]:
        """Of all its cells, by place."""
        return [cell_name(self._config, place) for place in range(self._config.cells)]

    @property
    def first(self) -> RemoteCell:
        """The one that has the arms, where there are any. Raises UserError where it is lost."""
        if (cell := self.pool.cells.get(0)) is None:
            raise UserError(f"{self._config.name} is lost; see `aeb status`")
        return cell

    def pause(self, stopped_at: float | None) -> None:
        """Hold every batch between two steps (see `Control`)."""
        with self._lock:
            for cell in list(self.pool.cells.values()):
                cell.pause(stopped_at)

    def resume(self, epoch: float | None) -> None:
        """Let them go on."""
        with self._lock:
            for cell in list(self.pool.cells.values()):
                cell.resume(epoch)

    def close(self) -> None:
        """End them, with their arms folded."""
        cells = list(self.pool.cells.values())
        with ThreadPoolExecutor(max(len(cells), 1)) as together:
            list(together.map(lambda cell: cell.close(FOLD_S), cells))

    # -- what is lost ------------------------------------------------------------------------------------------------
    def _lost(self, place: int, why: str) -> None:
        """A worker is gone. What it had begun is judged by whoever ran it."""
        with self._lock:
            cells = self.pool.cells
            if not self._opening and place not in cells:
                return  # a new one that was not ready: who starts it knows
            others = bool(cells.keys() - {place})
            again = others and self._restarts[place] < RESTARTS
            self.pool.lose(place, returns=again)
        if not others:
            self._on_end(why)
            return
        self._note(f"{why}; the other cells go on" + (", and it is started again" if again else " without it"))
        if again:
            threading.Thread(target=self._replace, args=(place,), daemon=True, name=f"cell {place} again").start()

    def _replace(self, place: int) -> None:
        why = ""
        while self._restarts[place] < RESTARTS:
            self._restarts[place] += 1
            try:
                cell = open_cell(self._config, self._ledger, place, functools.partial(self._lost, place))
            except OSError as error:  # no process, memory or descriptor is left, for now
                why = str(error)
                time.sleep(_AGAIN_S)
                continue
            try:
                cell.wait_ready(OPEN_S)
            except UserError as error:
                why = str(error)
                cell.close(FOLD_S)
                continue
            with self._lock:  # it was told the run's clock as it was when the station began
                clock = self._ledger.clock
                assert clock is not None
                cell.resume(clock.epoch)
                if clock.stopped_at is not None:
                    cell.pause(clock.stopped_at)
                self.pool.put(place, cell)
            if cell.lost is not None:
                self._lost(place, cell.lost)
            return
        self.pool.lose(place, returns=False)
        self._note(f"{cell_name(self._config, place)} is not started again: {why}")

    def _note(self, words: str) -> None:
        print(words, file=sys.stderr, flush=True)
        with contextlib.suppress(Exception):  # what fails may be the ledger's disk
            self._ledger.append(NoteEvent(text=words), station=self._config.name)
