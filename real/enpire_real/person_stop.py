"""A stop by a person: it holds across resets, runs and processes until a person acknowledges it.

Each stop is a file `stop*` in a folder that the control loop lists on every tick; whoever may write there may stop, from any
terminal, by any means (`touch FOLDER/stop` is enough). Acknowledging leaves `acknowledged-stop*` in its place: a file
that merely disappeared acknowledges nothing, and a folder that cannot be listed counts as a stop.
"""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import itertools
import json
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

PRESSED = "the emergency stop is pressed"
RECORD = "station.json"  # in a run's folder
HOW_TO_GO_ON = "nothing moves until a person says so: autoenvbench station acknowledge"


class PersonStops:
    """The stops of one station, as this process and all others see them. Safe from any thread.

    Args:
        folder: made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[str, str] = {}  # file name -> who and why, of the stops that this process knows of
        self._lock = threading.Lock()

    def make_folder(self) -> None:
        """Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def watch(self, now: float = 0.0) -> str | None:
        """Who stopped and why, while a stop holds; None if none does."""
        try:
            names = set(os.listdir(self.folder))
        except OSError as error:
            return f"cannot look for stops in {self.folder}: {error.strerror}"
        standing = {name for name in names if name.startswith("stop")}
        with self._lock:
            for name in list(self._open):
                if name not in standing and f"acknowledged-{name}" in names:
                    del self._open[name]
            for name in standing - self._open.keys():
                self._open[name] = self._describe(name)
            return f"{next(iter(self._open.values()))}; {HOW_TO_GO_ON}" if self._open else None

    def press(self, by: str, why: str) -> threading.Event:
        """Stop, at once for this process. Never blocks; the event is set when the disk has it, too."""
        with self._lock:
            return self._press(by, why)

    def latch(self, by: str, why: str) -> None:
        """A stop that something else shows, the emergency button, goes on after it is released. Never blocks."""
        with self._lock:
            if not self._open:
                self._press(by, why)

    def _press(self, by: str, why: str) -> threading.Event:
        name = f"stop-{time.time_ns()}-{secrets.token_hex(4)}"
        self._open[name] = f"{by}: {why}"
        # A disk that hangs must not keep anybody: not the control loop, nor who waits for an answer.
        written = threading.Event()
        threading.Thread(target=self._write, args=(name, by, why, written), daemon=True).start()
        return written

    def acknowledge(self, by: str) -> list[str]:
        """End all stops that hold now; returns who had stopped and why. Raises OSError, and they hold on then."""
        self.watch()
        os.listdir(self.folder)
        with self._lock:
            standing = dict(self._open)
        for name, description in standing.items():
            record = json.dumps({"by": by, "at": _now(), "stop": description})
            _write_file(self.folder / f"acknowledged-{name}", record)
            (self.folder / name).unlink(missing_ok=True)
        self.watch()
        return list(standing.values())

    def _write(self, name: str, by: str, why: str, written: threading.Event) -> None:
        try:
            self.make_folder()
            _write_file(self.folder / name, json.dumps({"by": by, "why": why, "at": _now()}))
            written.set()
        except OSError:
            pass  # this process keeps the stop in memory all the same

    def _describe(self, name: str) -> str:
        try:
            data = json.loads((self.folder / name).read_text())
            return f"{data['by']}: {data['why']}"
        except (OSError, ValueError, KeyError, TypeError):
            return f"somebody: {name}"  # a file is a stop, whatever is in it


def _write_file(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}")
    with part.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z")


def who() -> str:
    """The person at this terminal, for records."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


# -- which stations there are ---------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Record:
    """A station that is up, or was: what a stop from another process needs."""

    name: str
    stops: str  # the folder of its stops
    pid: int
    run: str | None = None  # the run's folder
    emergency_stop: str | None = None  # the file of its emergency stop

    def pressed(self) -> str | None:
        """What is wrong with its emergency stop, as far as a file shows it."""
        if self.emergency_stop is None:
            return None
        return emergency_file(Path(self.emergency_stop))


def emergency_file(path: Path) -> str | None:
    """None if the emergency stop that `path` shows is released."""
    try:
        os.stat(path)
    except FileNotFoundError:
        # Its folder must be there: a button that was never connected must not look released.
        return None if path.parent.is_dir() else f"cannot look for the emergency stop at {path}"
    except OSError as error:
        return f"cannot look for the emergency stop at {path}: {error.strerror}"
    return PRESSED


def state_home() -> Path:
    """Where stops of physical stations and the list of stations that are up are kept: it outlives a reboot."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "autoenvbench"


def shared_folder(name: str, buses: list[str]) -> Path:
    """The folder of stops of arms on these buses, whichever program moves them."""
    key = hashlib.sha256(" ".join(sorted(buses)).encode()).hexdigest()[:12]
    return state_home() / "stations" / f"{name}-{key}"


def private_folder() -> Path:
    """A folder for the stops of a twin that lives in this process, and ends with it. It does not exist yet."""
    try:
        base = state_home() / "twins"
        base.mkdir(parents=True, exist_ok=True)
    except OSError:
        base = Path(tempfile.mkdtemp(prefix="autoenvbench-"))
    return base / f"{os.getpid()}-{next(_serial)}"


def write_record(run: Path, record: Record) -> None:
    """Into a run's folder, so that the run's name is enough to stop or acknowledge. Raises OSError."""
    _write_file(run / RECORD, json.dumps(asdict(record)))


def read_record(run: Path) -> Record | None:
    """None if `run` is no run on arms."""
    try:
        return Record(**json.loads((run / RECORD).read_text()))
    except (OSError, ValueError, TypeError):
        return None


class Registration:
    """This station in the list of those that are up, as long as its process lives."""

    def __init__(self, record: Record) -> None:
        folder = state_home() / "live"
        self._path = folder / f"{record.pid}-{next(_serial)}.json"
        self._file: IO[str] | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("w")
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._file.write(json.dumps(asdict(record)))
            self._file.flush()
        except OSError:
            self.close()  # it can be stopped by its folder all the same

    def close(self) -> None:
        """Take the station off the list. Safe to call twice."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None


def live_stations() -> Iterator[Record]:
    """Those that are up; what dead ones left is cleared away."""
    for path in sorted((state_home() / "live").glob("*.json")):
        try:
            with path.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except OSError:
                    yield Record(**json.loads(file.read()))
                else:
                    path.unlink(missing_ok=True)
        except (OSError, ValueError, TypeError):
            continue  # being written, or just gone


def stopped_stations() -> Iterator[Record]:
    """Physical stations with a stop that holds, also where nothing is up."""
    for path in sorted((state_home() / "stations").glob(f"*/{RECORD}")):
        record = read_record(path.parent)
        if record is not None and PersonStops(Path(record.stops)).watch() is not None:
            yield record


_serial = itertools.count()
