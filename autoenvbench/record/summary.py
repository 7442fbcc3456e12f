"""One policy's episodes in numbers: rate and interval, streak, pass@k, reasons. Pure functions, each over what it is given."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from autoenvbench.record.events import EpisodeEvent

_Z = 1.959963984540054  # of a two-sided 95 % interval


def wilson(successes: float, n: float) -> tuple[float, float]:
    """95 % Wilson score interval of a rate. (0, 1) when there is no episode. An effective number of episodes may be a fraction."""
    if n == 0:
        return 0.0, 1.0
    p, z2 = successes / n, _Z * _Z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # At 0 and n of n the bound is the rate itself; rounding must not push it past.
    return min(max(0.0, centre - half), p), max(min(1.0, centre + half), p)


def clustered_wilson(by_start: Sequence[Sequence[bool]]) -> tuple[float, float]:
    """95 % Wilson interval of a rate where the attempts at one start are one cluster, (low, high).

    The episodes count for as many independent ones as their spread over starts says: n / design effect, after Rao and Scott
    (1992), "A simple method for the analysis of clustered binary data". Where all succeed or all fail there is no spread to
    tell, and a start counts once. With one attempt a start it is `wilson`.
    """
    starts, n = len(by_start), sum(map(len, by_start))
    if starts == n:
        return wilson(sum(map(sum, by_start)), n)
    rate = sum(map(sum, by_start)) / n
    effective = float(starts)
    if 0 < rate < 1 and starts > 1:
        spread = starts / (starts - 1) * sum((sum(a) - rate * len(a)) ** 2 for a in by_start)
        effective = n * min(1.0, n * rate * (1 - rate) / spread) if spread else float(n)
    return wilson(rate * effective, effective)


def pass_at_k(outcomes: Sequence[Sequence[bool]], k: int = 8) -> float | None:
    """Mean over starts of 1 - C(n-c, k) / C(n, k), for n attempts and c successes at each start.

    The unbiased estimator of Chen et al. (2021), "Evaluating Large Language Models Trained on Code". None if some start
    has fewer than k attempts.
    """
    if not outcomes or any(len(attempts) < k for attempts in outcomes):
        return None
    return float(np.mean([1 - math.comb(len(a) - sum(a), k) / math.comb(len(a), k) for a in outcomes]))


def streak(successes: Iterable[bool]) -> int:
    """Longest run of consecutive successes, in the order given."""
    return max((sum(1 for _ in run) for ok, run in groupby(successes) if ok), default=0)


@dataclass(frozen=True, slots=True)
class Summary:
    """A set of episodes of one policy in numbers. `void` ones (the machine failed twice) are in none of the others.

    Attributes:
        success_rate, score: 0 to 1; `wilson95`: the rate's interval.
        streak: longest run of successes over first attempts, in the order of the starts.
        pass_at_8: None with fewer than 8 attempts at some start.
        failures: episodes by reason, most frequent first; `stages`: by the last stage reached.
    """

    episodes: int
    successes: int
    success_rate: float
    wilson95: tuple[float, float]
    score: float
    streak: int
    pass_at_8: float | None
    failures: dict[str, int]
    stages: dict[str, int]
    void: int = 0
    interrupted: int = 0  # ended from outside, and counted as failures
    reruns: int = 0  # because the machine was proven to be at fault


def summarise(episodes: Sequence[EpisodeEvent]) -> Summary:
    """Rates, intervals and failure reasons. With several attempts at a start, `streak` is over first attempts."""
    void, reruns = sum(e.infrastructure for e in episodes), sum(e.reruns for e in episodes)
    episodes = [e for e in episodes if not e.infrastructure]
    n = len(episodes)
    wins = sum(e.success for e in episodes)
    ordered = sorted(episodes, key=lambda e: (e.index, e.attempt))
    by_start = [[e.success for e in group] for _, group in groupby(ordered, key=lambda e: e.index)]
    return Summary(
        episodes=n,
        successes=wins,
        success_rate=wins / n if n else 0.0,
        wilson95=clustered_wilson(by_start),
        score=sum(e.score for e in episodes) / n if n else 0.0,
        streak=streak(attempts[0] for attempts in by_start),
        pass_at_8=pass_at_k(by_start),
        failures=dict(Counter(e.reason or "unknown" for e in episodes if not e.success).most_common()),
        stages=dict(Counter(e.stage for e in episodes)),
        void=void,
        interrupted=sum(e.reason == "interrupted" for e in episodes),
        reruns=reruns,
    )
