"""What the contact tasks share: exact starts, stages, safety limits, memory of the wrench."""

from collections import deque

import numpy as np
import pytest
from enpire_envs.contact import CONTROL_HZ, HISTORY, ContactSafety, SafetyLimits, remember
from enpire_envs.end_effector import EndEffectorReadings
from enpire_envs.task import Progress, box, climb, is_finite, read_start
from hypothesis import given
from hypothesis import strategies as st

LIMITS = SafetyLimits(low=(-0.01, -0.02, -0.03), high=(0.01, 0.02, 0.03), force=40.0)
numbers = st.floats(-1e3, 1e3)


def readings(position=(0, 0, 0), force=0.0, depth=0.0) -> EndEffectorReadings:
    return EndEffectorReadings(0.0, np.array([*position, 0, 0, 0], float), np.zeros(6), np.zeros(6), force, depth)


@given(st.lists(numbers, min_size=3, max_size=3), numbers)
def test_a_start_is_read_as_floats(tip, grip):
    assert read_start({"tip": tuple(tip), "grip": grip, "more": 1}, tip="x y z", grip="d") == {"tip": tip, "grip": grip}


@pytest.mark.parametrize(
    "start",
    [
        {}, {"tip": [1, 2, 3]}, {"tip": [1, 2], "grip": 1}, {"tip": [1, 2, 3, 4], "grip": 1}, {"tip": 5, "grip": 1},
        {"tip": [1, 2, "far"], "grip": 1}, {"tip": [1, 2, np.nan], "grip": 1}, {"tip": [1, 2, 3], "grip": np.inf},
        {"tip": [1, 2, 3], "grip": [1, 2]}, {"tip": None, "grip": None}, [1, 2], "tip",
    ],
)  # fmt: skip
def test_what_is_no_start_is_told_what_one_looks_like(start):
    with pytest.raises(ValueError, match="bad start") as refused:
        read_start(start, tip="x y z", grip="d")
    assert 'expected options={"start": {"tip": [x, y, z], "grip": d}} in metres and radians' in str(refused.value)


@given(st.integers(0, 3), st.lists(st.booleans(), min_size=3, max_size=3))
def test_stages_are_climbed_in_order_and_never_down(stage, reached):
    now = climb(stage, reached)
    assert now >= stage
    assert all(reached[stage:now])
    assert now == 3 or not reached[now]
    assert Progress.of(("start", "one", "two", "three", "success"), now).score == now / 4


def test_each_rule_by_its_name_and_the_workspace_first():
    safety = ContactSafety(LIMITS, np.array([1.0, 1.0, 1.0, 0, 0, 0]))
    assert safety.violation(readings((1.009, 0.981, 1.029))) is None
    for outside in ((1.011, 1, 1), (1, 0.979, 1), (1, 1, 1.031), (np.nan, 1, 1)):
        assert safety.violation(readings(outside, depth=1.0), lost="strap_dropped") == "out_of_workspace"
    assert safety.violation(readings((1, 1, 1), depth=1.0), lost="strap_dropped") == "strap_dropped"
    assert safety.violation(readings((1, 1, 1), depth=0.0006)) == "penetration"
    assert safety.violation(readings((1, 1, 1), depth=np.nan)) == "penetration"


@given(st.lists(st.sampled_from([0.0, 40.0, 40.1, np.nan]), max_size=20))
def test_force_is_forbidden_only_for_long(forces):
    safety, allowed = ContactSafety(LIMITS, np.zeros(6)), round(LIMITS.seconds * CONTROL_HZ)
    for k, force in enumerate(forces):
        last = forces[max(0, k - allowed + 1) : k + 1]
        too_long = len(last) == allowed and all(not f <= 40.0 for f in last)
        assert safety.violation(readings(force=force)) == ("force_limit" if too_long else None)


@given(st.lists(st.lists(numbers, min_size=3, max_size=3), max_size=20), st.booleans())
def test_memory_keeps_the_last_rows(rows, split):
    memory = np.zeros(3 * HISTORY)
    expected = deque([np.zeros(3)] * HISTORY, HISTORY)
    for row in np.array(rows):
        remember(memory, *((row[:2], row[2]) if split else (row,)))
        expected.append(row)
    assert np.array_equal(memory, np.concatenate(expected))


@given(st.lists(st.floats(width=64), min_size=1, max_size=5))
@pytest.mark.filterwarnings("ignore:.*encountered in reduce")
def test_finite_is_what_numpy_says(values):
    assert is_finite(np.array(values)) == np.isfinite(values).all()


def test_a_box_is_symmetric():
    made = box([1.0, 0.5])
    assert made.contains(np.array([-1.0, 0.5], np.float32))
    assert not made.contains(np.array([0.0, -0.6], np.float32))
