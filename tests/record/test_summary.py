"""Rates, intervals, streaks and pass@k of episodes, against brute force and published values."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoenvbench.record.summary import pass_at_k, streak, wilson


def test_wilson_against_published_values():
    # Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    for wins, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(wins, n) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 500), st.data())
def test_wilson_contains_the_rate_and_mirrors(n, data):
    wins = data.draw(st.integers(0, n))
    low, high = wilson(wins, n)
    assert 0 <= low <= wins / n <= high <= 1
    assert wilson(n - wins, n) == pytest.approx((1 - high, 1 - low))


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=6), min_size=1, max_size=4), st.integers(1, 3))
def test_pass_at_k_is_the_chance_that_k_of_the_attempts_hold_a_success(outcomes, k):
    brute = 0.0
    for attempts in outcomes:
        picks = list(combinations(attempts, k))
        brute += sum(any(p) for p in picks) / len(picks)
    assert pass_at_k(outcomes, k) == pytest.approx(brute / len(outcomes))


def test_pass_at_8_needs_eight_attempts():
    assert pass_at_k([[True] * 7]) is None
    assert pass_at_k([]) is None
    assert pass_at_k([[False] * 7 + [True]]) == 1.0


@given(st.lists(st.booleans(), max_size=60))
def test_streak(outcomes):
    text = "".join("x" if ok else " " for ok in outcomes)
    assert streak(outcomes) == max(map(len, text.split()), default=0)
