"""Times to a milestone, some of them censored: against published numbers, brute force and known truths."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoenvbench.record.survival import Spent, compare_times, time_to

# Freireich et al. (1963): weeks of remission on 6-mercaptopurine (of some only a lower limit) and on placebo.
REACHED = [6, 6, 6, 7, 10, 13, 16, 22, 23]
CENSORED = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
MP = ([*REACHED, *([None] * len(CENSORED))], [*([35.0] * len(REACHED)), *CENSORED])
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def test_times_against_kaplan_and_meier_by_hand():
    # median 23 weeks (Kalbfleisch and Prentice, 2002, section 1.1)
    found = time_to(*MP)
    assert found is not None
    assert (found.runs, found.reached, found.median) == (21, 9, 23.0)


def test_runs_that_never_got_there_are_neither_dropped_nor_taken_for_slow():
    found = time_to([100.0, None, None, 200.0, None], [1000.0] * 5)
    assert found is not None
    assert found.median is None  # the median of those that got there would have been 150
    assert found.mean == pytest.approx((100 + 200 + 3000) / 5)
    assert found.low < found.mean < found.high
    assert time_to([], []) is None


def test_the_band_and_the_log_rank_test_are_the_published_ones():
    found = time_to(*MP)
    assert found is not None
    # Klein and Moeschberger (2003), tables 4.1 and 4.3: the estimate, and its log-log limits.
    assert found.curve[0] == pytest.approx((6, 0.857, 0.620, 0.952), abs=6e-4)
    assert found.curve[-1] == pytest.approx((23, 0.448, 0.188, 0.680), abs=6e-4)
    assert (found.median_low, found.median_high) == (13.0, None)
    placebo = Spent.of(PLACEBO, [25.0] * 21)
    sooner = compare_times(Spent.of(*MP), placebo)
    assert sooner.p == pytest.approx(4.17e-5, rel=0.01)  # chi-squared 16.79 with one degree of freedom
    assert sooner.horizon == 35  # on placebo nobody is left, so the others' watch decides
    assert sooner.low > 0  # remissions on placebo end sooner
    assert time_to(PLACEBO, [25.0] * 21).curve[-1][1:3] == (0.0, 0.0)  # nobody is left


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=12), st.integers(1, 12))
def test_the_restricted_mean_is_the_area_under_the_curve(runs, horizon):
    to, watched = [t if got else None for t, got in runs], [float(t) for t, _ in runs]
    found = time_to(to, watched, horizon=float(horizon))
    area, share, at = 0.0, 1.0, 0.0
    for amount, after, _, _ in found.curve:
        area, share, at = area + share * (min(amount, horizon) - min(at, horizon)), after, amount
    assert found.mean == pytest.approx(area + share * max(0.0, horizon - at))


def test_sooner_is_found_and_no_difference_is_none():
    rng = np.random.default_rng(0)
    alarms, found = 0, 0
    for trial in range(20):
        slow, same, fast = (Spent.of([t if t < 60 else None for t in rng.exponential(mean, 12)], [60.0] * 12) for mean in (40, 40, 4))  # fmt: skip
        null, real = compare_times(slow, same, seed=trial), compare_times(fast, slow, seed=trial)
        alarms += null.low > 0 or null.high < 0
        found += real.high < 0 and real.p < 0.05
    assert alarms <= 4  # 5 % of 20 is 1; twelve runs a side are a little narrow
    assert found >= 18
    nobody = Spent.of([None] * 5, [10.0] * 5)
    assert compare_times(nobody, nobody).p is None
    assert compare_times(nobody, nobody).difference == 0
    assert compare_times(Spent.of([5.0] * 4, [10.0] * 4), nobody).low is None  # too few runs to say
