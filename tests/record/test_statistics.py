"""Intervals and tests against SciPy, published numbers and brute force."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from autoenvbench.record.sequential import PairedTest
from autoenvbench.record.statistics import RUNS_FOR_AN_INTERVAL, difference_interval, run_interval
from autoenvbench.record.summary import clustered_wilson, wilson


@pytest.mark.parametrize(("wins", "n"), [(0, 1), (0, 20), (1, 20), (13, 20), (197, 200), (200, 200)])
def test_wilson_is_scipys(wins, n):
    found = stats.binomtest(wins, n).proportion_ci(method="wilson")
    assert wilson(wins, n) == pytest.approx((found.low, found.high), abs=1e-12)


def test_attempts_at_one_start_are_one_cluster():
    assert clustered_wilson([[True], [False], [True]]) == wilson(2, 3)
    # Eight attempts that always agree are one observation, and say no more than one would.
    starts = [[k % 4 != 0] * 8 for k in range(40)]
    low, high = clustered_wilson(starts)
    assert (low, high) == pytest.approx(wilson(30, 40), abs=0.005)
    assert clustered_wilson([[True] * 8] * 20) == wilson(20, 20)
    covered = 0
    rng = np.random.default_rng(2)
    for _ in range(400):  # a start's own chance decides most of it: Beta(0.5, 0.5), mean 0.5
        chances = rng.beta(0.5, 0.5, size=50)
        low, high = clustered_wilson((rng.random((50, 8)) < chances[:, None]).tolist())
        covered += low <= 0.5 <= high
    assert 0.92 < covered / 400 < 0.98


# -- agents: the unit is the run -----------------------------------------------------------------------------------------
def test_an_agents_interval_covers_its_true_mean_where_pooled_episodes_do_not():
    """Runs differ by more than their episodes do: true rates of 0.3 to 0.9, 200 episodes each."""
    rng = np.random.default_rng(1)
    covered, pooled = 0, 0
    for trial in range(300):
        rates = rng.binomial(200, rng.uniform(0.3, 0.9, size=8)) / 200
        low, high = run_interval(rates.tolist(), seed=trial)
        covered += low <= 0.6 <= high
        low, high = wilson(round(200 * rates.sum()), 1600)
        pooled += low <= 0.6 <= high
    assert covered / 300 > 0.86  # eight runs: the percentile bootstrap is a little narrow
    assert pooled / 300 < 0.4


def test_few_runs_have_no_interval():
    assert run_interval([0.5] * (RUNS_FOR_AN_INTERVAL - 1)) is None
    assert run_interval([0.5] * RUNS_FOR_AN_INTERVAL) == (0.5, 0.5)


def test_the_interval_of_a_difference_covers_it_and_wants_runs_on_both_sides():
    rng = np.random.default_rng(3)
    covered = 0
    for trial in range(200):
        low, high = difference_interval(rng.normal(0.5, 0.2, 8).tolist(), rng.normal(0.6, 0.1, 12).tolist(), seed=trial)
        covered += low <= 0.1 <= high
    assert 0.85 < covered / 200 < 0.99
    assert difference_interval([0.5] * 4, [0.5] * 9) is None
    assert difference_interval([0.5] * 5, [0.75] * 5) == (0.25, 0.25)


# -- two policies --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("most", [8, 10, 13])
@pytest.mark.parametrize("share", [1.0, 0.8])
def test_a_fair_coin_crosses_the_boundary_with_at_most_alpha_by_enumeration(most, share):
    """Every sequence of winners, on a pattern of starts that differ: exactly counted, not sampled."""
    differ = np.random.default_rng(most).random(most) < share
    named = 0
    for signs in product([True, False], repeat=int(differ.sum())):
        test, winners = PairedTest(most, alpha=0.2), iter(signs)
        for one in differ:
            first = next(winners) if one else True
            if test.add(first, not first if one else True):
                break
        assert test.verdict is not None
        if test.verdict != "undecided":
            named += 1
            assert test.p_value <= 0.2
    assert 0 < named / 2 ** differ.sum() <= 0.2


def test_false_alarms_stay_below_alpha_and_real_differences_are_found_early():
    rng = np.random.default_rng(0)

    def compare(one, two):
        test = PairedTest(100)
        for first, second in rng.random((100, 2)) < (one, two):
            if test.add(bool(first), bool(second)):
                break
        return test

    alarms = sum(compare(0.7, 0.7).verdict != "undecided" for _ in range(400))
    assert alarms <= 32  # 5 % of 400 is 20; 32 has a chance of 0.4 %
    found = [compare(0.4, 0.9) for _ in range(60)]
    assert sum(test.verdict == "second" for test in found) >= 58
    assert np.mean([test.starts for test in found]) < 40


def test_equal_policies_end_undecided_without_running_every_start():
    test = PairedTest(60)
    while test.add(True, True) is None:
        pass
    assert test.verdict == "undecided"
    assert test.starts < 60  # the rest could no longer decide it


@pytest.mark.parametrize(("most", "alpha"), [(0, 0.05), (10, 0.0), (10, 1.0), (10, float("nan"))])
def test_a_test_of_nothing_is_refused(most, alpha):
    with pytest.raises(ValueError, match="needs"):
        PairedTest(most, alpha)
