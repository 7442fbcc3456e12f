"""Intervals and tests whose unit is stated. SciPy's where SciPy has them.

Episodes test a policy; only runs test an agent. So an agent's interval resamples runs, several attempts at one start count
as one cluster. What runs spend until they reach something is in `survival`. SciPy's takes a second to import: where it is used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
    from scipy import stats

    found = stats.bootstrap(
        (np.asarray(rates, float),), np.mean, n_resamples=_RESAMPLES, method="percentile", rng=np.random.default_rng(seed)
    )  # fmt: skip
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def difference_interval(one: Sequence[float], two: Sequence[float], seed: int = 0) -> tuple[float, float] | None:
    """95 % interval of the mean of `two` minus that of `one` over runs that have nothing to do with one another, by resampling
    the runs of each.

    Returns:
        (low, high), or None with fewer than `RUNS_FOR_AN_INTERVAL` runs in either.
    """
    if min(len(one), len(two)) < RUNS_FOR_AN_INTERVAL:
        return None
    rng = np.random.default_rng(seed)
    means = [rng.choice(np.asarray(rates, float), (_RESAMPLES, len(rates))).mean(axis=1) for rates in (one, two)]
    low, high = np.quantile(means[1] - means[0], (0.025, 0.975))
    return float(low), float(high)


def mcnemar(one: Sequence[bool], two: Sequence[bool]) -> float:
    """Two-sided exact McNemar test of two methods on the same scenes: the p-value. Scenes on which they agree say nothing.

    McNemar (1947), in its exact binomial form.
    """
    from scipy import stats

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
    from scipy import stats

    found = stats.bootstrap(
        (difference,), np.mean, n_resamples=_RESAMPLES, method="percentile", rng=np.random.default_rng(seed)
    )
    return float(difference.mean()), float(found.confidence_interval.low), float(found.confidence_interval.high)


def percent(rate: float, interval: tuple[float, float] | None = None) -> str:
    """ "87.0 %" or "87.0 % [81.6, 91.0]" (95 % Wilson interval)."""
    text = f"{100 * rate:.1f} %"
    return text if interval is None else f"{text} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def predictive_interval(successes: int, n: int, fresh: int, level: float = 0.99) -> tuple[int, int]:
    """Successes among `fresh` episodes that `successes` of `n` by the same policy predict, (fewest, most), both included: the central
    part of the beta-binomial distribution under Jeffreys' prior, Beta(1/2, 1/2)."""
    from scipy import stats

    tail = (1 - level) / 2
    low, high = stats.betabinom.ppf((tail, 1 - tail), fresh, successes + 0.5, n - successes + 0.5)
    return max(int(low), 0), int(high)


def false_rejection(n: int, fresh: int, level: float = 0.99) -> float:
    """The chance that an honest policy falls out of its own predictive interval, at whatever rate it is greatest: computed, not bounded."""
    from scipy import stats

    rates, seen = np.linspace(0, 1, 401)[:, None], np.arange(n + 1)
    tail = (1 - level) / 2
    low, high = (stats.betabinom.ppf(q, fresh, seen + 0.5, n - seen + 0.5) for q in (tail, 1 - tail))
    inside = stats.binom.cdf(high, fresh, rates) - stats.binom.cdf(low - 1, fresh, rates)
    return float((stats.binom.pmf(seen, n, rates) * (1 - inside)).sum(axis=1).max())


def lower_bound(successes: int, n: int, level: float = 0.95) -> float:
    """One-sided exact lower confidence bound of a rate (Clopper and Pearson, 1934); 0 for no trial."""
    from scipy import stats

    return float(stats.beta.ppf(1 - level, successes, n - successes + 1)) if successes else 0.0


def rogan_gladen(
    seen: tuple[int, int], positives: tuple[int, int], negatives: tuple[int, int]
) -> tuple[float, float, float] | None:
    """A success rate that an imperfect judge saw, corrected for what the judge was found to miss and to make up, with its 95 % interval.

    Rogan and Gladen (1978); the interval is that of Lang and Reiczigel (2014), which carries the doubt about the judge.

    Args:
        seen: (successes that the judge saw, episodes).
        positives: (true successes that it called so, true successes) of its audit.
        negatives: (true failures that it called so, true failures) of its audit.

    Returns:
        (rate, low, high), each in [0, 1]; None where the audit shows no better than a coin, or there is nothing to correct.
    """
    n = seen[1]
    if not n or not positives[1] or not negatives[1]:
        return None
    sensitivity, specificity = positives[0] / positives[1], negatives[0] / negatives[1]
    if sensitivity + specificity <= 1:
        return None
    rate = (seen[0] / n + specificity - 1) / (sensitivity + specificity - 1)
    z2 = 1.959963984540054**2
    many = n + z2
    p = (seen[0] + z2 / 2) / many
    (se, of_se), (sp, of_sp) = (((hits + 1) / (of + 2), of + 2) for hits, of in (positives, negatives))
    youden = se + sp - 1
    middle = (p + sp - 1) / youden
    by_se, by_sp = se * (1 - se) / of_se, sp * (1 - sp) / of_sp
    shift = 2 * z2 * (middle * by_se - (1 - middle) * by_sp)
    spread = float(np.sqrt(z2 * (p * (1 - p) / many + (1 - middle) ** 2 * by_sp + middle**2 * by_se))) / youden

    def share(value: float) -> float:
        return float(min(max(value, 0.0), 1.0))

    rate = share(rate)
    return rate, min(share(middle + shift - spread), rate), max(share(middle + shift + spread), rate)
