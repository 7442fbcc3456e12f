"""Fresh starts that a verification has begun: on the disk before any of them is run, with what came of each, until its record is written.

Whoever can have a verification fail at will, by an answer that fills the machine or by ending the process, would else have other starts drawn,
or other outcomes, until they please. So the next try goes on with the same secret, what failed in one try has failed, an episode that began and
never ended as well, and there are no more than `MOST_TRIES`, one at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import math
import os
import secrets
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import IO

from autoenvbench.errors import UserError
from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import EpisodeEvent
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.starts import StartStreams
from autoenvbench.record.state import Follower
from autoenvbench.station.evaluation import settle

FOLDER = "begun"  # in that of the board's verifications
MOST_TRIES = 5


class Begun:
    """One verification's folder. Close it after use.

    Attributes:
        secret: that the fresh starts follow from.
        ledger: in which every try of them is.
        tries: so far.
        failed: starts that failed in any of them, by index.

    Raises:
        UserError: a folder that cannot be read or written or that another process holds, or too many tries.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with contextlib.ExitStack() as stack:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(hold(folder))
                self.secret = _secret(folder)
                self.ledger = Ledger(folder / "ledger.sqlite", RunClock.start(math.inf))
            except OSError as error:
                raise UserError(f"cannot write into {folder}: {error.strerror}") from None
            self._held = stack.pop_all()
        settle(Follower(self.ledger), "the verification ended")
        before = [event.payload for event in self.ledger.events("episode")]
        self.failed = frozenset(e.index for e in before if not e.success and not e.infrastructure)
        self.tries = sum(event.payload.phase == "started" for event in self.ledger.events("evaluation"))
        if self.tries >= MOST_TRIES:
            self.close()
            raise UserError(
                f"its fresh starts were begun {self.tries} times and never came to an end, and there is no other try; find out why, and take away "
                f"{folder} in a commit that says so"
            )

    def close(self) -> None:
        """Let go of the folder; the next try finds it."""
        self.ledger.close()
        self._held.close()

    def end(self) -> None:
        """The record is written: what it says holds, and the folder goes."""
        self.ledger.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # others are in it
            self._folder.parent.rmdir()
        self._held.close()


def folder_of(verifications: Path, run_id: str, fingerprint: str, row: str) -> Path:
    """Of the verification of a row, by its hash, in one version of its environment."""
    key = hashlib.sha256(f"{fingerprint} {row}".encode()).hexdigest()
    return verifications / FOLDER / f"{run_id}-{key[:16]}"


def worst(episode: EpisodeEvent, failed: Collection[int]) -> EpisodeEvent:
    """An episode, or a failure in its place where its start failed in an earlier try.

    That failure follows from the start's index alone: a record holds no more of earlier tries, and who runs it again must come to the same.
    """
    if not episode.success or episode.index not in failed:
        return episode
    how = {"success": False, "score": 0.0, "stage": "", "reason": "failed_in_an_earlier_try", "detail": None}
    return episode.model_copy(update=how)


def hold(folder: Path) -> IO[bytes]:
    """Lock a folder until what this returns is closed or the process ends. Raises UserError where another process has it; OSError."""
    lock = (folder / "lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Who had it may have ended since this opened it, and taken the folder away.
        here = os.path.samestat(os.fstat(lock.fileno()), os.stat(folder / "lock"))
    except OSError:
        here = False
    if not here:
        lock.close()
        raise UserError("it is being verified by another process; wait until that has ended, then verify again")
    return lock


def _secret(folder: Path) -> bytes:
    """The one that is there, or else one that is drawn now and is there, whatever happens next."""
    file = folder / "secret"
    if not file.exists():
        scratch = folder / ".secret"
        with scratch.open("w") as drawn:
            drawn.write(secrets.token_hex(32) + "\n")
            drawn.flush()
            os.fsync(drawn.fileno())
        os.replace(scratch, file)
        for place in (folder, folder.parent, folder.parent.parent):
            handle = os.open(place, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)
    return StartStreams.parse_secret(file.read_text().strip())
