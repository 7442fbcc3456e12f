"""How long runs take to reach something, where some never do: Kaplan and Meier's curve, its band, and comparisons of two.

A run that did not get there while it was watched is censored, neither left out nor taken for slow. What a run spends may be
time [s], robot time [s] or tokens: the arithmetic is the same. Bands and the log-rank test are SciPy's; intervals of restricted
means resample runs.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autoenvbench.record.statistics import RUNS_FOR_AN_INTERVAL

if TYPE_CHECKING:
    from scipy import stats

_RESAMPLES = 1_999


@dataclass(frozen=True, slots=True)
class Spent:
    """What each run of a group had spent when it got there, or until when it was watched, in the order of the runs."""

    amounts: np.ndarray
    reached: np.ndarray

    @classmethod
    def of(cls, to: Sequence[float | None], watched: Sequence[float]) -> Spent:
        """From what each run spent to get there (None where it never did), and how far each was watched."""
        amounts = [w if t is None else t for t, w in zip(to, watched, strict=True)]
        return cls(np.asarray(amounts, float), np.array([t is not None for t in to], bool))

    def known_to(self) -> float:
        """Up to which amount the curve is known: where its last run was watched to, or for ever if nobody is left."""
        longest = self.amounts.max()
        return float("inf") if self.reached[self.amounts == longest].all() else float(longest)


@dataclass(frozen=True, slots=True)
class TimeTo:
    """How long runs took to reach something, of which some never did within their budget.

    Attributes:
        median: Kaplan and Meier's (1958) median; None where half of the runs did not get there.
        median_low, median_high: where the 95 % band crosses one half (Brookmeyer and Crowley, 1982); None where it does not.
        mean: restricted mean up to `horizon`: what a run spends until then, at most the horizon.
        low, high: 95 % bootstrap interval of the restricted mean over runs, None with too few runs.
        curve: (amount, share not there yet, its 95 % band: low, high), at each amount where the share changes; the band is
            log-log Greenwood's, pointwise.
    """

    runs: int
    reached: int
    horizon: float
    median: float | None
    median_low: float | None
    median_high: float | None
    mean: float
    low: float | None
    high: float | None
    curve: list[tuple[float, float, float, float]]

    def __str__(self) -> str:
        return f"{self.reached} of {self.runs} runs"


def time_to(
    times: Sequence[float | None], budgets: Sequence[float], seed: int = 0, *, horizon: float | None = None
) -> TimeTo | None:
    """Survival of "not there yet" over runs.

    Args:
        times: what each run had spent when it got there; None where it never did.
        budgets: how far each run was watched; where a run that never got there is censored.
        horizon: of the restricted mean; by default the shortest budget, up to which every run was watched.

    Returns:
        None without runs.
    """
    if not times:
        return None
    spent = Spent.of(times, budgets)
    horizon = float(min(budgets)) if horizon is None else horizon
    curve = _curve(spent)
    ends = _interval(_resampled_means(spent, horizon, np.random.default_rng(seed)), [spent])
    return TimeTo(
        runs=len(times), reached=int(spent.reached.sum()), horizon=horizon,
        median=_crosses_half(curve, 1), median_low=_crosses_half(curve, 2), median_high=_crosses_half(curve, 3),
        mean=float(_restricted_means(spent, horizon, np.ones((1, len(times))))[0]),
        low=ends[0] if ends else None, high=ends[1] if ends else None, curve=curve,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sooner:
    """Two groups of runs that try to reach the same thing.

    Attributes:
        horizon: up to which both are known: the shorter of the two groups' longest watches. A group of which everybody got
            there is known for ever.
        difference: restricted mean of the first group minus the second's; below zero, the first is sooner.
        low, high: its 95 % bootstrap interval over runs, None with too few runs in either group.
        p: of the log-rank test, two-sided; None where nobody got there.
    """

    horizon: float
    difference: float
    low: float | None
    high: float | None
    p: float | None


def compare_times(one: Spent, two: Spent, seed: int = 0) -> Sooner:
    """Who gets there sooner. Both groups need a run at least."""
    horizon = min(one.known_to(), two.known_to())
    if np.isinf(horizon):
        horizon = float(max(one.amounts.max(), two.amounts.max()))
    from scipy import stats

    rng = np.random.default_rng(seed)
    first, second = (_restricted_means(s, horizon, np.ones((1, len(s.amounts))))[0] for s in (one, two))
    ends = _interval(_resampled_means(one, horizon, rng) - _resampled_means(two, horizon, rng), [one, two])
    p = None
    if one.reached.any() or two.reached.any():
        with warnings.catch_warnings():  # groups that are all the same have a statistic of 0/0, and no evidence
            warnings.simplefilter("ignore", RuntimeWarning)
            p = float(stats.logrank(_censored(one), _censored(two)).pvalue)
        p = 1.0 if np.isnan(p) else p
    return Sooner(horizon, float(first - second), ends[0] if ends else None, ends[1] if ends else None, p)


def _censored(spent: Spent) -> stats.CensoredData:
    from scipy import stats

    return stats.CensoredData(uncensored=spent.amounts[spent.reached], right=spent.amounts[~spent.reached])


def _curve(spent: Spent) -> list[tuple[float, float, float, float]]:
    if not spent.reached.any():
        return []
    from scipy import stats

    survival = stats.ecdf(_censored(spent)).sf
    with warnings.catch_warnings():  # log(log(1)) and log(0): the band is not defined where the share is 1 or 0
        warnings.simplefilter("ignore", RuntimeWarning)
        band = survival.confidence_interval(0.95, method="log-log")
    rows, before = [], 1.0
    low, high = 1.0, 1.0
    for at, share, below, above in zip(
        survival.quantiles, survival.probabilities, band.low.probabilities, band.high.probabilities, strict=True
    ):
        if share == before:
            continue
        before = share
        # Where nobody is left, Greenwood's formula is 0/0; the band stays as it was at its upper end.
        low, high = (0.0, high) if np.isnan(below) or np.isnan(above) else (float(below), float(above))
        rows.append((float(at), float(share), low, high))
    return rows


def _crosses_half(curve: list[tuple[float, float, float, float]], column: int) -> float | None:
    """The first amount at which a column of the curve is at most one half."""
    return next((row[0] for row in curve if row[column] <= 0.5 + 1e-12), None)


def _restricted_means(spent: Spent, horizon: float, weights: np.ndarray) -> np.ndarray:
    """Area under the Kaplan-Meier curve from 0 to the horizon.

    Args:
        weights: how often each run counts, of shape (resamples, runs).

    Returns:
        One area per resample.
    """
    order = np.lexsort((~spent.reached, spent.amounts))  # of equal amounts, those that got there come first
    amounts, reached, weights = np.minimum(spent.amounts[order], horizon), spent.reached[order], weights[:, order]
    at_risk = np.cumsum(weights[:, ::-1], axis=1)[:, ::-1]
    stays = 1.0 - np.where(reached, weights, 0.0) / np.maximum(at_risk, 1.0)
    share = np.concatenate([np.ones((len(weights), 1)), np.cumprod(stays, axis=1)], axis=1)
    widths = np.diff(amounts, prepend=0.0, append=max(horizon, amounts[-1]))
    return np.asarray((share * widths).sum(axis=1))


def _resampled_means(spent: Spent, horizon: float, rng: np.random.Generator) -> np.ndarray:
    n = len(spent.amounts)
    return _restricted_means(spent, horizon, rng.multinomial(n, np.full(n, 1 / n), size=_RESAMPLES).astype(float))


def _interval(resampled: np.ndarray, groups: Sequence[Spent]) -> tuple[float, float] | None:
    """Percentile limits; None where a group has too few runs to carry any."""
    if min(len(group.amounts) for group in groups) < RUNS_FOR_AN_INTERVAL:
        return None
    low, high = np.quantile(resampled, (0.025, 0.975))
    return float(low), float(high)
