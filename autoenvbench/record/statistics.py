"""Intervals and tests whose unit is stated. SciPy's where SciPy has them.

Episodes test a policy; only runs test an agent. So an agent's interval resamples runs, several attempts at one start count
as one cluster, and a run that never reached a threshold is censored, not left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RUNS_FOR_AN_INTERVAL = 5  # fewer runs than this cannot carry a 95 % bootstrap interval: it comes out too narrow
_RESAMPLES = 9_999


def run_interval(rates: Sequence[float], seed: int = 0) -> tuple[float, float] | None:
    """95 % interval of an agent's mean rate over runs, by resampling runs (the cluster bootstrap of Davison and Hinkley,
    1997, section 3.8, with a run and all its episodes as one cluster; percentile limits).

    Args:
        rates: each run's held-out success rate, 0 to 1.

    Returns:
        (low, high), or None with fewer than `RUNS_FOR_AN_INTERVAL` runs.
    """
    if len(rates) < RUNS_FOR_AN_INTERVAL:
        return None
    if min(rates) == max(rates):
        return float(rates[0]), float(rates[0])
    found = stats.bootstrap(
        (np.asarray(rates, float),), np.mean, n_resamples=_RESAMPLES, method="percentile", rng=np.random.default_rng(seed)
    )  # fmt: skip
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


@dataclass(frozen=True, slots=True)
class TimeTo:
    """How long runs took to reach something, of which some never did within their budget.

    Attributes:
        median: Kaplan and Meier's (1958) median [s]; None where half of the runs did not get there.
        mean: restricted mean up to `horizon` [s]: what a run spends until then, at most the horizon.
        low, high: 95 % bootstrap interval of the restricted mean over runs, None with too few runs.
    """

    runs: int
    reached: int
    horizon: float
    median: float | None
    mean: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        return f"{self.reached} of {self.runs} runs"


def time_to(times: Sequence[float | None], budgets: Sequence[float], seed: int = 0) -> TimeTo | None:
    """Survival of "not there yet" over runs.

    Args:
        times: research time at which each run got there [s]; None where it never did.
        budgets: how long each run was watched [s]; where a run that never got there is censored.

    Returns:
        None without runs. The horizon of the restricted mean is the shortest budget, up to which every run was watched.
    """
    if not times:
        return None
    horizon = float(min(budgets))
    reached = np.array([t for t in times if t is not None], float)
    watched = np.array([b for t, b in zip(times, budgets, strict=True) if t is None], float)
    survival = stats.ecdf(stats.CensoredData(uncensored=reached, right=watched)).sf
    below = np.nonzero(survival.probabilities <= 0.5)[0]
    spent = np.minimum([b if t is None else t for t, b in zip(times, budgets, strict=True)], horizon)
    # All runs are watched up to the horizon, so the area under the Kaplan-Meier curve is the mean of what they spent.
    ends = run_interval(spent.tolist(), seed)
    return TimeTo(
        runs=len(times), reached=len(reached), horizon=horizon,
        median=float(survival.quantiles[below[0]]) if len(below) and len(reached) else None,
        mean=float(spent.mean()), low=ends[0] if ends else None, high=ends[1] if ends else None,
    )  # fmt: skip


def mcnemar(one: Sequence[bool], two: Sequence[bool]) -> float:
    """Two-sided exact McNemar test of two methods on the same scenes: the p-value. Scenes on which they agree say nothing.

    McNemar (1947), in its exact binomial form.
    """
    wins = sum(a and not b for a, b in zip(one, two, strict=True))
    losses = sum(b and not a for a, b in zip(one, two, strict=True))
    return float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def paired_difference(one: Sequence[bool], two: Sequence[bool], seed: int = 0) -> tuple[float, float, float]:
    """Success rate of `two` minus that of `one` over the same scenes, with a 95 % bootstrap interval over scenes."""
    difference = np.asarray(two, float) - np.asarray(one, float)
    if not len(difference):
        return 0.0, -1.0, 1.0
    if np.ptp(difference) == 0:
        return float(difference[0]), float(difference[0]), float(difference[0])
    found = stats.bootstrap(
        (difference,), np.mean, n_resamples=_RESAMPLES, method="percentile", rng=np.random.default_rng(seed)
    )
    return float(difference.mean()), float(found.confidence_interval.low), float(found.confidence_interval.high)


def percent(rate: float, interval: tuple[float, float] | None = None) -> str:
    """ "87.0 %" or "87.0 % [81.6, 91.0]" (95 % Wilson interval)."""
    text = f"{100 * rate:.1f} %"
    return text if interval is None else f"{text} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
