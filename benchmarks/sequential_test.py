"""How often the paired sequential test names a better policy where there is none, and how many episodes it saves.

Simulated comparisons of two policies with known success rates; no environment is run. Against each true difference stands
the smallest fixed-size exact McNemar test of at least the same power. One episode is one policy from one start.

    python benchmarks/sequential_test.py [--comparisons 10000] [--most 200] [--seed 0]
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy import stats

from autoenvbench.record.sequential import PairedTest

#: (success rate of the first, of the second, correlation of their outcomes at one start)
NULLS = ((0.5, 0.5, 0.0), (0.8, 0.8, 0.0), (0.8, 0.8, 0.7), (0.97, 0.97, 0.0), (0.02, 0.02, 0.0))
DIFFERENCES = ((0.5, 0.7, 0.0), (0.6, 0.9, 0.0), (0.8, 0.9, 0.0), (0.8, 0.9, 0.5), (0.3, 0.9, 0.0))


def cells(first: float, second: float, correlation: float) -> np.ndarray:
    """Chances that both solve a start, only the first does, only the second does, neither does."""
    both = first * second + correlation * np.sqrt(first * (1 - first) * second * (1 - second))
    both = min(both, first, second)
    return np.array([both, first - both, second - both, 1 - first - second + both])


def simulate(chances: np.ndarray, most: int, n: int, rng: np.random.Generator) -> tuple[float, float]:
    """Share of comparisons that were decided, and the mean number of starts they took."""
    decided, starts = 0, 0
    for _ in range(n):
        test = PairedTest(most)
        for cell in rng.choice(4, size=most, p=chances):
            if test.add(cell in (0, 1), cell in (0, 2)):
                break
        decided += test.verdict in ("first", "second")
        starts += test.starts
    return decided / n, starts / n


def fixed_power(chances: np.ndarray, n: int, alpha: float = 0.05) -> float:
    """Power of the exact two-sided McNemar test on `n` starts."""
    differ = float(chances[1] + chances[2])
    power = 0.0
    for d in range(1, n + 1):
        weight = stats.binom.pmf(d, n, differ)
        if weight > 1e-12:
            k = int(stats.binom.ppf(alpha / 2, d, 0.5))
            k -= stats.binom.cdf(k, d, 0.5) > alpha / 2
            wins = chances[1] / differ
            power += weight * (stats.binom.cdf(k, d, wins) + stats.binom.sf(d - k - 1, d, wins))
    return float(power)


def fixed_size(chances: np.ndarray, power: float) -> int:
    """The fewest starts at which the fixed-size test has this power (to two starts)."""
    low, high = 2, 4
    while fixed_power(chances, high) < power:
        low, high = high, 2 * high
    while high - low > 2:
        middle = (low + high) // 2
        low, high = (low, middle) if fixed_power(chances, middle) >= power else (middle, high)
    return high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=10_000)
    parser.add_argument("--most", type=int, default=200, help="starts at most")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    print(f"{args.comparisons} comparisons each, at most {args.most} starts, alpha 0.05")
    for first, second, correlation in NULLS:
        rate, starts = simulate(cells(first, second, correlation), args.most, args.comparisons, rng)
        print(f"no difference  {first:.2f} {second:.2f} corr {correlation:.1f}   named one {100 * rate:5.2f} %   "
              f"mean episodes {2 * starts:5.0f}", flush=True)  # fmt: skip
    for first, second, correlation in DIFFERENCES:
        chances = cells(first, second, correlation)
        power, starts = simulate(chances, args.most, args.comparisons // 5, rng)
        fixed = fixed_size(chances, min(power, 0.999))
        print(f"difference     {first:.2f} {second:.2f} corr {correlation:.1f}   power     {100 * power:5.1f} %   "
              f"mean episodes {2 * starts:5.0f}   fixed-size McNemar of that power {2 * fixed:5d}   "
              f"ratio {starts / fixed:.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
