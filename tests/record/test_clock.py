import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoenvbench.errors import UserError
from autoenvbench.record.clock import RunClock, format_duration, parse_duration


@pytest.mark.parametrize(("text", "seconds"), [("8h", 28800), ("90m", 5400), ("1h30m", 5400), ("120s", 120), ("0.5h", 1800),
                                               (" 2 H ", 7200), ("1d", 86400), ("5min", 300)])  # fmt: skip
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["2 parsecs", "", "h", "-1h", "1", "0s", "99999d", "1h foo", "nan"])
def test_bad_durations_are_refused_with_an_example(text):
    with pytest.raises(UserError, match=r"2h|30 days"):
        parse_duration(text)


@given(st.integers(1, 10**6))
def test_whole_seconds_round_trip(seconds):
    assert parse_duration(f"{seconds}s") == seconds
    assert format_duration(seconds)


def test_a_clock_that_stands_counts_nothing_until_it_goes():
    clock = RunClock.stopped(100.0, already=40.0)
    time.sleep(0.05)
    assert (clock.elapsed(), clock.remaining()) == (40.0, 60.0)
    began = time.monotonic()
    clock.go()
    clock.go()  # a running one runs on
    time.sleep(0.05)
    assert 40.05 <= clock.elapsed() <= 40.0 + time.monotonic() - began
    clock.stop()
    stood = clock.elapsed()
    time.sleep(0.05)
    assert clock.elapsed() == stood


def test_a_resumed_clock_goes_on_where_it_was():
    began = time.monotonic()
    clock = RunClock.start(100.0, already=40.0)
    assert 40.0 <= clock.elapsed() <= 40.0 + time.monotonic() - began
    assert 60.0 - (time.monotonic() - began) <= clock.remaining() + 1e-9
    assert clock.remaining() <= 60.0
    assert RunClock.start(1.0, already=5.0).remaining() == 0.0
