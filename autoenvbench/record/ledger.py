"""The append-only record of a run; the only source of every figure.

SQLite in WAL mode with synchronous=FULL: what `append` returned from survives `kill -9` and a power cut. Any number
of processes may append; triggers refuse changes to what is written.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from autoenvbench.errors import UserError
from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import Payload, kind_of, parse_payload
from autoenvbench.record.frames import events_frame

if TYPE_CHECKING:
    import pandas as pd

_PAGE = 1024  # events that are read at once
_SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    t_wall REAL NOT NULL, t_run REAL NOT NULL,
    kind TEXT NOT NULL, agent TEXT, station TEXT, payload TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS event_kind ON event (kind, seq);
CREATE TRIGGER IF NOT EXISTS event_frozen BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER IF NOT EXISTS event_kept BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'append-only'); END;
"""


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the ledger: `seq` counts from 1, `t_wall` is Unix time [s], `t_run` research time [s].

    Attributes:
        agent: whose doing it is; None for the run's own.
        station: where it happened.
        payload: as today's version of its schema; a bare `Payload` for kinds of later versions.
        text: the payload as it was written.
    """

    seq: int
    t_wall: float
    t_run: float
    kind: str
    agent: str | None
    station: str | None
    payload: Any  # the model that events.KINDS names for `kind`
    text: str


class EventSink(Protocol):
    """Where events are reported to: a ledger, or something that passes them on to one."""

    def append(self, payload: Payload, *, agent: str | None = None, station: str | None = None) -> object:
        """Returns when the event is durable. Safe from any thread."""


def read_events(path: Path, *kinds: str) -> list[Event]:
    """All events of a ledger's file, of the given kinds (all if none), in order. Raises UserError as `Ledger` and its `events` do."""
    ledger = Ledger(path)
    try:
        return list(ledger.events(*kinds))
    finally:
        ledger.close()


def digest(events: Iterable[Event]) -> str:
    """SHA-256 over every event, in order, as it was written; in hexadecimal."""
    sha = hashlib.sha256()
    for e in events:
        sha.update(repr((e.seq, e.t_wall, e.t_run, e.kind, e.agent, e.station, e.text)).encode())
    return sha.hexdigest()


class Ledger:
    """A run's ledger. With a clock it can append; without one it only reads. Any thread may use it.

    Args:
        path: the SQLite file, or ":memory:" for one that ends with the process.

    Raises:
        UserError: no file to read, or one that is no ledger.
    """

    def __init__(self, path: Path, clock: RunClock | None = None) -> None:
        if clock is None and not path.exists():
            raise UserError(f"no ledger at {path}; give the folder of a run, such as runs/<id>")
        self.path, self.clock = path, clock
        self._turn = threading.Lock()  # threads share a connection; one uses it at a time
        self._db = self._connect()
        try:
            if clock is not None:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.executescript(_SCHEMA)
            # Who reads waits for no disk that an event is on its way to. (What is in memory has one connection.)
            shared = clock is None or str(path) == ":memory:"
            self._reading = self._db if shared else self._connect()
            self._look = self._turn if shared else threading.Lock()
            self._reading.execute("SELECT count(*) FROM event WHERE seq < 0")
        except sqlite3.DatabaseError as error:
            raise UserError(f"{path} is not a ledger: {error}") from None

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=30.0, isolation_level=None, check_same_thread=False)

    def append(self, payload: Payload, *, agent: str | None = None, station: str | None = None) -> int:
        """Write one event durably; returns its sequence number.

        Raises sqlite3.Error where the disk fails, and RuntimeError for a ledger that was opened for reading.
        """
        if self.clock is None:
            raise RuntimeError("this ledger was opened for reading")
        row = (kind_of(payload), agent, station, payload.model_dump_json())
        with self._turn:
            # The times are read when the write has its turn among all processes, so that events stand in their order. (Not in
            # SQL functions of ours: they want the interpreter while SQLite is locked, and a reader the other way round.)
            self._db.execute("BEGIN IMMEDIATE")
            try:
                cursor = self._db.execute(
                    "INSERT INTO event (t_wall, t_run, kind, agent, station, payload) VALUES (?, ?, ?, ?, ?, ?)",
                    (time.time(), self.clock.elapsed(), *row),
                )
                self._db.execute("COMMIT")
            except BaseException:
                self._db.rollback()
                raise
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def events(self, *kinds: str, after: int = 0, upto: int | None = None) -> Iterator[Event]:
        """Events in order, of the given kinds (all if none), with `after` < `seq` <= `upto` (the last one written so far).

        All kinds together, or one, are read in pages, so that a long ledger is never in memory whole and others read in between.

        Raises:
            UserError: a payload that is none of its kind's.
        """
        where = f"AND kind IN ({', '.join('?' * len(kinds))})" if kinds else ""
        most = -1 if len(kinds) > 1 else _PAGE  # SQLite reads -1 as no limit: several kinds it would sort for each page
        last = self.last_seq()
        last = last if upto is None else min(upto, last)
        while after < last:
            with self._look:
                rows = self._reading.execute(
                    "SELECT seq, t_wall, t_run, kind, agent, station, payload FROM event "
                    f"WHERE seq > ? AND seq <= ? {where} ORDER BY seq LIMIT ?",
                    (after, last, *kinds, most),
                ).fetchall()
            for seq, t_wall, t_run, kind, agent, station, payload in rows:
                yield Event(seq, t_wall, t_run, kind, agent, station, self._parsed(seq, kind, payload), payload)
            after = rows[-1][0] if len(rows) == most else last

    def _parsed(self, seq: int, kind: str, payload: str) -> Payload:
        try:
            return parse_payload(kind, payload)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise UserError(
                f"{self.path}: event {seq} is no {kind} event ({where}: {error.errors()[0]['msg']})"
            ) from None

    def frame(self, *kinds: str) -> pd.DataFrame:
        """Events of the given kinds (all if none) as a table, a row an event; see `frames.events_frame`."""
        return events_frame(self.events(*kinds), *kinds)

    def last_seq(self) -> int:
        """Sequence number of the last event; 0 in an empty ledger."""
        with self._look:
            (value,) = self._reading.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()
        return int(value)

    def last_t_run(self) -> float:
        """Research time of the last event [s]; where a resumed run's clock goes on."""
        with self._look:
            (value,) = self._reading.execute("SELECT coalesce(max(t_run), 0) FROM event").fetchone()
        return float(value)

    def digest(self) -> str:
        """SHA-256 over every event; in hexadecimal."""
        return digest(self.events())

    def close(self) -> None:
        """Let go of the file; reading or appending afterwards raises sqlite3.ProgrammingError."""
        for connection in {self._db, self._reading}:
            connection.close()
