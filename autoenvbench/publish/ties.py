"""Which rows of a table can be told apart, and letters that say so: rows that share one are tied.

The unit is the run. Two rows are compared by Welch's t-test over their runs' rates, all pairs of a table together by Holm's method, so
that a table of equal rows has a false difference in at most 5 % of cases. Runs that happen to agree are no proof that they always do: the
variance of a rate is taken to be at least what its episodes alone bring about (binomial, of a rate shrunk by Agresti and Coull's four
observations).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Rates:
    """A row's runs: the success rate of each, and how many episodes are behind each one."""

    rates: Sequence[float]
    episodes: int

    @property
    def mean(self) -> float:
        """Over runs."""
        return statistics.fmean(self.rates)

    @property
    def deviation(self) -> float:
        """Standard deviation of a run's rate, by the runs and at least by its episodes."""
        shrunk = (self.mean * self.episodes + 2) / (self.episodes + 4)
        of_episodes = shrunk * (1 - shrunk) / (self.episodes + 4)
        return math.sqrt(max(statistics.variance(self.rates) if len(self.rates) > 1 else 0.0, of_episodes))


def different(rows: Sequence[Rates]) -> set[tuple[int, int]]:
    """Pairs (i, j), i < j, of rows that differ. Each has at least two runs."""
    pairs = list(combinations(range(len(rows)), 2))
    p_values = [_p_value(rows[i], rows[j]) for i, j in pairs]
    found: set[tuple[int, int]] = set()
    for done, k in enumerate(sorted(range(len(pairs)), key=p_values.__getitem__)):
        if p_values[k] > ALPHA / (len(pairs) - done):
            break
        found.add(pairs[k])
    return found


def _p_value(one: Rates, two: Rates) -> float:
    from scipy import stats

    test = stats.ttest_ind_from_stats(
        one.mean, one.deviation, len(one.rates), two.mean, two.deviation, len(two.rates), equal_var=False
    )
    return float(test.pvalue)


def letters(n: int, differing: set[tuple[int, int]]) -> list[str]:
    """A compact letter display of n rows in their order: two rows share a letter exactly where they are not among `differing`.

    Insert and absorb, of Piepho (2004), "An algorithm for a letter-based representation of all-pairwise comparisons", Journal of
    Computational and Graphical Statistics 13(2). No maintained Python package has it.
    """
    columns = [frozenset(range(n))] if n else []
    for i, j in sorted(differing):
        split = [
            part for column in columns for part in ((column - {i}, column - {j}) if {i, j} <= column else (column,))
        ]
        columns = [c for k, c in enumerate(split) if not any(c < d or (c == d and m < k) for m, d in enumerate(split))]
    columns.sort(key=sorted)
    return ["".join(_letter(k) for k, column in enumerate(columns) if row in column) for row in range(n)]


def _letter(k: int) -> str:
    return chr(ord("a") + k % 26) + (str(k // 26) if k >= 26 else "")
