"""A search in a simulator of one's own, beside the robot: where the track is open, what the robot tries was tried there before."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np

from autoenvbench.agents.parametric import rehearse, start_worker
from autoenvbench.learning.cem import Search, Settings
from autoenvbench.learning.evolve import SCORE_COUNTS, Evidence

_NICE = 15  # a station that keeps real time comes first
_BETTER = 0.05  # by how much a mean must be above the last one that was offered
_REPEATS = 4  # generations after which an equally good one is offered as well


class Rehearsal:
    """Generations of the cross-entropy method on processes beside this one. `close` it.

    Args:
        env: arguments of `start_worker`.
        known: values to begin at; the parameters' initial ones where they are missing.
    """

    def __init__(
        self, env: tuple[str, str, dict[str, Any]], parameters: Mapping[str, tuple[float, float, float]], known: Mapping[str, float],
        seed: Sequence[int], workers: int,
    ) -> None:  # fmt: skip
        self._settings = Settings()
        self._search = Search.over(parameters, known, self._settings)
        self._rng = np.random.default_rng(seed)
        self._lock, self._over = threading.Lock(), threading.Event()
        self._offer: tuple[dict[str, float], Evidence] | None = None
        self._offered, self._since = 0.0, 0
        self._pool = ProcessPoolExecutor(workers, get_context("spawn"), start_worker, (*env, _NICE))
        self._thread = threading.Thread(target=self._generations, daemon=True)
        self._thread.start()

    def offer(self) -> tuple[dict[str, float], Evidence] | None:
        """The newest mean of the search that is better than all before, with its simulated episodes; once."""
        with self._lock:
            offer, self._offer = self._offer, None
        return offer

    def close(self) -> None:
        """End the search. Its processes end after the episode they are in."""
        self._over.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _generations(self) -> None:
        n = self._settings.episodes
        while not self._over.is_set():
            points = self._search.sample(self._rng)
            first = int(self._rng.integers(1_000_000, 2_000_000))
            jobs = [(self._search.values(point), first + k) for point in points for k in range(n)]
            try:
                tried = np.array(list(self._pool.map(rehearse, *zip(*jobs, strict=True), chunksize=4)))
            except (
                RuntimeError,
                CancelledError,
            ):  # closed in the meantime, or a process was killed: research goes on without
                return
            success, score = tried.reshape(len(points), n, 2).sum(axis=1).T
            fitness = success + SCORE_COUNTS * score
            # The first point is the mean, so these episodes are none that it was chosen by.
            self._judge(self._search.values(points[0]), Evidence(success[0], score[0], n), fitness[0] / n)
            self._search.refit(points[np.argsort(fitness)[::-1][: self._settings.elites]])

    def _judge(self, values: dict[str, float], evidence: Evidence, fitness: float) -> None:
        self._since += 1
        better = fitness >= self._offered + _BETTER or (self._since >= _REPEATS and fitness >= self._offered > 0)
        if better and evidence.wins:
            self._offered, self._since = fitness, 0
            with self._lock:
                self._offer = (values, evidence)
