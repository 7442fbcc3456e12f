"""People's stops in two places at once: one that is pressed in either folder holds in both, and ends in both where it is acknowledged.

A run of several robots keeps its stops in its own folder, so that one press stops all of them; each station has a folder besides, which
outlives the run (`enpire_real.person_stop`). A stop goes one way: it is not there, it holds, it is acknowledged. Where an acknowledged
name stands again, as after a second `touch stop`, that is a new stop, which goes on in both folders under a name of its own.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from enpire_envs.remote import wire
from enpire_real.person_stop import RECORD, Record, write_record

STOPS = "stops"  # the folder in a run's
LOOK_S = 0.05  # between two looks at a folder
_DONE = "acknowledged-"


@dataclass(frozen=True, slots=True)
class Change:
    """A stop that holds now, or (`done`) is acknowledged; `text` is what its file says."""

    name: str
    done: bool
    text: str


class Stops:
    """One folder of stops, as the other side needs to know of it. Safe from any thread.

    Args:
        folder: made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._known: dict[str, bool] = {}  # name -> whether it is acknowledged
        self._untold: list[Change] = []  # what `apply` has done beside what it was told
        self._lock = threading.Lock()

    def changes(self) -> list[Change]:
        """What has happened here since it was last asked. Raises OSError, which is as good as a stop."""
        with self._lock:
            return self._changes(set(os.listdir(self._folder)))

    def _changes(self, names: set[str]) -> list[Change]:
        found, self._untold = self._untold, []
        for name in sorted(names):
            if not name.startswith("stop"):
                continue
            if self._known.get(name) or (name not in self._known and self._stands_again(name)):
                found.append(self._anew(self._text(name)))  # this one is on the disk before the other is gone
                self._known[name] = True
                (self._folder / name).unlink(missing_ok=True)
            elif name not in self._known:
                self._known[name] = False
                found.append(Change(name, False, self._text(name)))
        for name, done in self._known.items():
            if not done and name not in names and _DONE + name in names:
                self._known[name] = True
                found.append(Change(name, True, self._text(_DONE + name)))
        return found

    def apply(self, change: Change) -> None:
        """Let it be so here, too; a name that is acknowledged here stays so. Raises OSError, Malformed for what is no stop's name."""
        if not change.name.startswith("stop") or "/" in change.name or "\0" in change.name:
            raise wire.Malformed(f"{change.name[:100]!r} is no stop")
        with self._lock:
            self._apply(change)

    def _apply(self, change: Change) -> None:
        path, acknowledged = self._folder / change.name, self._folder / (_DONE + change.name)
        ended = self._known.get(change.name) or acknowledged.exists()
        self._known[change.name] = ended or change.done
        if (
            not change.done and ended
        ):  # there it is new: here it gets a name that is new in both, and its old one ends there
            self._untold += [self._anew(change.text), Change(change.name, True, self._text(_DONE + change.name))]
        elif not change.done:
            self._write(change.name, change.text)
        elif not ended:
            self._write(_DONE + change.name, change.text)
            path.unlink(missing_ok=True)
        elif acknowledged.exists() and not self._stands_again(
            change.name
        ):  # whoever acknowledges it here is about to remove it
            path.unlink(missing_ok=True)

    def _stands_again(self, name: str) -> bool:
        """Whether a stop was made after one of its name was acknowledged."""
        try:
            made, acknowledged = (os.stat(self._folder / each).st_ctime_ns for each in (name, _DONE + name))
        except FileNotFoundError:
            return False
        return made >= acknowledged

    def _anew(self, text: str) -> Change:
        """The same stop, by a name that no other has."""
        change = Change(f"stop-{time.time_ns()}-{secrets.token_hex(4)}", False, text)
        self._known[change.name] = False
        self._write(change.name, text)
        return change

    def _text(self, name: str) -> str:
        try:
            return (self._folder / name).read_text(errors="replace")[:10_000]
        except OSError:
            return ""  # a file is a stop, whatever is in it

    def _write(self, name: str, text: str) -> None:
        part = self._folder / f".{name}.{os.getpid()}.part"  # other cells' processes may write the same
        with part.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.rename(self._folder / name)


def change_of(content: bytes) -> Change:
    """What another machine tells of a stop. Raises Malformed."""
    match wire.unpack(content, longest=8):
        case {"name": str(name), "done": bool(done), "text": str(text), **rest} if not rest:
            return Change(name, done, text)
    raise wire.Malformed("no word of a stop")


def share_record(run: Path, record: Record) -> None:
    """Say in a run's folder how its arms are stopped: all by one folder, so each cell of several says the same. Raises OSError."""
    with tempfile.TemporaryDirectory(prefix=".station-", dir=run) as part:
        shared = dataclasses.replace(record, stops=str(run / STOPS), run=str(run), emergency_stop=None)
        write_record(Path(part), shared)
        os.replace(Path(part) / RECORD, run / RECORD)


def mirror(one: Path, other: Path, on_failure: Callable[[str], None]) -> None:
    """Keep two folders of this machine alike, on a thread of its own, for as long as this process lives. Returns when they are.

    Args:
        on_failure: called once, where a folder cannot be looked at or written any more: people could not stop the arms by it.
    """
    sides = (Stops(one), Stops(other))

    def once() -> None:
        for here, there in (sides, sides[::-1]):
            for change in here.changes():
                there.apply(change)

    def run() -> None:
        try:
            while True:
                once()
                threading.Event().wait(LOOK_S)
        except OSError as error:
            on_failure(f"people's stops cannot be kept alike in {one} and {other}: {error}")

    once()
    threading.Thread(target=run, daemon=True, name="stops").start()
