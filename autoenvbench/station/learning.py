"""Learning while the robot works: the newest weights that a learner has sent act, episode by episode.

    learner, in its agent's cage                  station
     |-- POST /learn/weights ------------------->|   hashed and put down; of several, the newest counts
     |-- POST /learn {"digest", "n", "minutes"} ->|   leases the robot; then, for each episode:
     |                                           |     the newest weights are given out with its start, and act to its end
     |<------------------- {"episode": ...} -----|     its file is in data/learn, and its record, which names the weights, in the ledger
     |-- POST /learn/end {"why"} --------------->|   no further episode begins; the one under way is finished

The station waits for no gradient step: while nothing new comes, the same weights act on. It trusts nothing of what it is sent: weights are
a declared network (`networks`), loaded in the policy's cage alone; their hash is the station's own; they are few and small; and a session
ends by itself, after so many episodes or minutes, with the run's budget, or when three sets of weights in a row are none.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from autoenvbench.errors import UserError
from autoenvbench.record.events import EpisodeEvent
from autoenvbench.record.regimes import LEARNING
from autoenvbench.station.batch import Start
from autoenvbench.station.practice import whole

MAX_WEIGHTS = 32 << 20  # bytes of one network
EVERY_S = 0.5  # that lie between two sets of weights of one client
KEPT = 32  # files that acted and stay on the disk: a cell may still have to read one
MAX_EPISODES, MAX_MINUTES = 10_000, 240
STRIKES = 3  # episodes in a row whose weights did not act for a single step


def require_learning(regime: str | None) -> None:
    """Raises UserError where nothing may learn at the robot, or the station cannot run what is learned."""
    if regime not in LEARNING:
        raise UserError(
            f"this run's regime is {regime}: it has data, and nothing learns at the robot in it; use aeb practice"
        )
    if missing := [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]:
        raise UserError(
            f"the station runs what is learned as a network, for which {' and '.join(missing)} is missing where it is installed: "
            "pip install 'autoenvbench[train]'"
        )


class Inbox:
    """The newest weights of each client, as files that are named by their SHA-256. Safe from any thread.

    Args:
        folder: the station's own; emptied.
        now: the machine's clock [s].
    """

    def __init__(self, folder: Path, now: Callable[[], float] = time.monotonic) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._folder, self._now, self._lock = folder, now, threading.Lock()
        self._newest: dict[str, Path] = {}
        self._due: dict[str, float] = {}
        self._given: deque[Path] = deque(maxlen=KEPT)

    def admit(self, client: str, size: int | None) -> None:
        """Let a client send weights of so many bytes now. Raises UserError: they are too large, or come too soon after the last ones."""
        if size is not None and size > MAX_WEIGHTS:
            raise UserError(
                f"these weights have {size >> 20} MB; at most {MAX_WEIGHTS >> 20} MB are taken: make the network smaller"
            )
        with self._lock:
            now = self._now()
            if now < self._due.get(client, now):
                raise UserError(
                    f"weights are taken every {EVERY_S:g} s at most, and the newest count; send them less often"
                )
            self._due[client] = now + EVERY_S

    def receive(self, client: str, file: Path) -> str:
        """Put down what a client sent, which acts from the next episode on. Returns its SHA-256."""
        with file.open("rb") as data:
            digest = hashlib.file_digest(data, "sha256").hexdigest()
        with self._lock:
            self._folder.mkdir(parents=True, exist_ok=True)
            path, before = self._folder / f"{digest}.onnx", self._newest.get(client)
            if not path.exists():
                part = path.with_suffix(".part")
                shutil.copyfile(file, part)
                part.replace(path)
            self._newest[client] = path
            if before is not None:
                self._drop(before)
        return digest

    def has(self, client: str) -> bool:
        """Whether this client has sent any."""
        return client in self._newest

    def give(self, client: str) -> Path:
        """The newest weights of a client, for an episode that begins now."""
        with self._lock:
            path = self._newest[client]
            if path not in self._given:
                oldest = self._given[0] if len(self._given) == KEPT else None
                self._given.append(path)
                if oldest is not None:
                    self._drop(oldest)
            return path

    def _drop(self, path: Path) -> None:
        if path not in self._newest.values() and path not in self._given:
            path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Learning:
    """What is asked of a session: `n` episodes, `minutes`, whichever ends first."""

    n: int = 1000
    minutes: float = 30.0

    @classmethod
    def of(cls, body: dict[str, Any]) -> Learning:
        """What a client's request asks for. Raises UserError."""
        usual = cls()
        n, minutes = whole(body, "n", usual.n), body.get("minutes", usual.minutes)
        if not 1 <= n <= MAX_EPISODES:
            raise UserError(f"-n {n}: ask for 1 to {MAX_EPISODES} episodes")
        if isinstance(minutes, bool) or not isinstance(minutes, int | float) or not 0 < minutes <= MAX_MINUTES:
            raise UserError(f"minutes {minutes!r}: ask for more than 0 and at most {MAX_MINUTES}")
        return cls(n, float(minutes))


class Session:
    """One lease of the robot by a learner.

    Args:
        now: research time [s], which stands still in a pause.

    Attributes:
        why: it ended, in words; empty while it has not.
        weights: digests of those that acted.
    """

    def __init__(self, agent: str, asked: Learning, inbox: Inbox, now: Callable[[], float]) -> None:
        if not inbox.has(agent):
            raise UserError(
                "there are no weights to act by; the learner sends some first (`aeb learn` does so by itself)"
            )
        self.agent, self.why = agent, ""
        self._inbox, self._now, self._until, self._asked = inbox, now, now() + 60 * asked.minutes, asked
        self._strikes = 0
        self.weights: set[str] = set()

    def starts(self, drawn: Iterable[Start]) -> Iterator[Start]:
        """Each start with the newest weights of the moment in which it is given out, until the session is over."""
        for start in drawn:
            if self._now() >= self._until:
                self.end(f"its {self._asked.minutes:g} minutes are over")
            if self.why:
                return
            yield replace(start, weights=self._inbox.give(self.agent))
        self.end(f"its {self._asked.n} episodes are run")

    def judged(self, event: EpisodeEvent) -> None:
        """Take in an episode: weights that do not act are no weights."""
        if event.steps and event.weights is not None:
            self.weights.add(event.weights)
        self._strikes = 0 if event.steps else self._strikes + 1
        if self._strikes == STRIKES:
            self.end(
                f"{STRIKES} episodes in a row could not be run by the weights that were sent: {event.reason}: {event.detail}"
            )

    def end(self, why: str) -> None:
        """Begin no further episode. The first reason stays."""
        self.why = self.why or why
