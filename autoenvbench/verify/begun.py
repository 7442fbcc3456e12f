"""Fresh starts that a verification has begun: on the disk before any of them is run, with what came of each, until its record is written.

Whoever can have a verification fail at will, by an answer that fills the machine or by ending the process, would else have other starts drawn,
or other outcomes, until they please. So the next try goes on with the same secret, what failed in one try has failed, an episode that began and
never ended as well, and there are no more than `MOST_TRIES`.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import secrets
import shutil
from pathlib import Path

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
        UserError: a folder that cannot be read or written, or too many tries.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            self.secret = _secret(folder)
            self.ledger = Ledger(folder / "ledger.sqlite", RunClock.start(math.inf))
        except OSError as error:
            raise UserError(f"cannot write into {folder}: {error.strerror}") from None
        settle(Follower(self.ledger), "the verification ended")
        self.failed: dict[int, EpisodeEvent] = {}
        for event in self.ledger.events("episode"):
            if not event.payload.success and not event.payload.infrastructure:
                self.failed.setdefault(event.payload.index, event.payload)
        self.tries = sum(event.payload.phase == "started" for event in self.ledger.events("evaluation"))
        if self.tries >= MOST_TRIES:
            self.close()
            raise UserError(
                f"its fresh starts were begun {self.tries} times and never came to an end, and there is no other try; find out why, and take away "
                f"{folder} in a commit that says so"
            )

    def worst(self, episode: EpisodeEvent) -> EpisodeEvent:
        """An episode of this try, or the failure at the same start in an earlier one."""
        return self.failed.get(episode.index, episode) if episode.success else episode

    def close(self) -> None:
        """Let go of the folder; the next try finds it."""
        self.ledger.close()

    def end(self) -> None:
        """The record is written: what it says holds, and the folder goes."""
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # others are in it
            self._folder.parent.rmdir()


def folder_of(verifications: Path, run_id: str, fingerprint: str, row: str) -> Path:
    """Of the verification of a row, by its hash, in one version of its environment."""
    key = hashlib.sha256(f"{fingerprint} {row}".encode()).hexdigest()
    return verifications / FOLDER / f"{run_id}-{key[:16]}"


def _secret(folder: Path) -> bytes:
    """The one that is there, or else one that is drawn now and is there, whatever happens next."""
    file = folder / "secret"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / f".secret.{os.getpid()}"
        with scratch.open("w") as drawn:
            drawn.write(secrets.token_hex(32) + "\n")
            drawn.flush()
            os.fsync(drawn.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first: its secret holds
            os.link(scratch, file)
        scratch.unlink()
        for place in (folder, folder.parent, folder.parent.parent):
            handle = os.open(place, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)
    return StartStreams.parse_secret(file.read_text().strip())
