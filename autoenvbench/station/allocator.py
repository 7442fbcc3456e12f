"""Hands out evaluation ids and start indices, each once in a run, whoever asks at the same time."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from autoenvbench.record.events import Purpose
from autoenvbench.record.starts import stream_of
from autoenvbench.record.state import Follower


class Allocator:
    """The one source of ids and indices of a run, which goes on where the run's ledger ends. Safe from any thread."""

    def __init__(self, record: Follower) -> None:
        self._record, self._lock = record, threading.Lock()
        self._number = 0  # of the evaluation that was given out last
        self._taken: defaultdict[str, list[range]] = defaultdict(list)  # by stream

    def evaluation(self) -> str:
        """A new evaluation's id: E1, E2, ..."""
        with self._lock, self._record.read() as state:
            self._number = max(self._number, state.evaluation_number) + 1
            return f"E{self._number}"

    @contextmanager
    def starts(self, purpose: Purpose, n: int) -> Iterator[int]:
        """The first of `n` indices of this purpose's stream that no episode of the run has used, and that nobody else is given
        meanwhile. Those that no episode has used in the end are free again."""
        taken = self._taken[stream_of(purpose)]
        with self._lock:
            with self._record.read() as state:
                first = max([state.next_index(purpose), *(other.stop for other in taken)])
            mine = range(first, first + n)
            taken.append(mine)
        try:
            yield first
        finally:
            with self._lock:
                taken.remove(mine)
