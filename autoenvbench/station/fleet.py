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
from autoenvbench.station.config import StationConfig, stop_sockets
from autoenvbench.station.leases import Pool
from autoenvbench.station.remote_cell import FOLD_S, OPEN_S, RemoteCell, cell_name, open_cell

_AGAIN_S = 5.0  # until it is tried again
RETURNS_S = 240.0  # that a robot's machine may take to come back, each time
RESTARTS = 3  # of one cell in a run's life: what is lost again and again is not started for ever


class Fleet:
    """The cells of one station.

    Args:
        ledger: where they report what belongs to no batch.
        on_end: called, from any thread, with the reason when the last cell is lost.

    Attributes:
        pool: who has which of them.
        arms: whether they move arms; there is one cell then, unless the run names its robots.
    """

    def __init__(self, config: StationConfig, ledger: Ledger, on_end: Callable[[str], None]) -> None:
        self._config, self._ledger, self._on_end = config, ledger, on_end
        own = {member: config.places_of(member) for member in config.members}
        self.pool: Pool[RemoteCell] = Pool(config.cells, own)
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
                if cell.arms and config.cells > 1 and not config.config.robots:
                    raise UserError(f"{config.config.env} moves arms: it has one cell, not {config.cells}")
                if cell.kind != self._opening[0].kind:
                    raise UserError(
                        f"{cell.name} is {cell.kind} and {self._opening[0].name} is {self._opening[0].kind}: the robots of a run are all of "
                        "one kind, so that its result is of one; name others with --stations"
                    )
                self.arms = cell.arms
        except BaseException:
            for cell in self._opening:
                cell.close(FOLD_S)
            raise
        for place, cell in enumerate(self._opening):
            self._introduce(place, cell)
            self.pool.put(place, cell)
        self._opening = []

    @property
    def names(self) -> list[str]:
        """Of all its cells, by place."""
        return [cell_name(self._config, place) for place in range(self._config.cells)]

    def acknowledge(self, client: str) -> list[str]:
        """A person's word that all arms may move again; returns the stops that it ended. Raises UserError."""
        cells = [cell for _, cell in sorted(self.pool.cells.items())]
        return list(dict.fromkeys(stop for cell in cells for stop in cell.acknowledge(client)))

    def stop_sockets(self, client: str) -> list[str]:
        """Where the arms are stopped on which a client works. Those of a cell that is lost stop by themselves."""
        config = self._config
        found = stop_sockets(config.socket, config.config, config.places_of(client))
        return [str(path) for place, path in found.items() if place in self.pool.cells]

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
                lost = functools.partial(self._lost, place)
                cell = open_cell(self._config, self._ledger, place, lost, patience_s=RETURNS_S)
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
                self._introduce(place, cell)
                cell.resume(clock.epoch)
                if clock.stopped_at is not None:
                    cell.pause(clock.stopped_at)
                self.pool.put(place, cell)
            if cell.lost is not None:
                self._lost(place, cell.lost)
            return
        self.pool.lose(place, returns=False)
        self._note(f"{cell_name(self._config, place)} is not started again: {why}")

    def _introduce(self, place: int, cell: RemoteCell) -> None:
        """Put on record which robot a cell is, where robots have names: each has a station file of its own."""
        if cell.fingerprint:
            robot = self._config.config.robots[place]
            self._note(f"{cell.name} is {robot}: {cell.kind}, fingerprint {cell.fingerprint}")

    def _note(self, words: str) -> None:
        print(words, file=sys.stderr, flush=True)
        with contextlib.suppress(Exception):  # what fails may be the ledger's disk
            self._ledger.append(NoteEvent(text=words), station=self._config.name)
