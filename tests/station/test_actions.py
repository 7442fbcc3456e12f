"""The door for actions: what passes is finite, of the right shape, and fits the environment's own numbers."""

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autoenvbench.station.actions import check_action
from autoenvbench.station.policy_process import PolicyFault

SPACE = spaces.Box(-1, 1, (2,), np.float32)


@given(hnp.arrays(np.float64, st.sampled_from([(2,), (), (3,), (2, 1)]), elements=st.floats()))
def test_what_passes_can_be_held_and_everything_that_can_be_held_passes(action):
    with np.errstate(over="ignore"):
        good = action.shape == (2,) and np.isfinite(action.astype(np.float32)).all()
    if good and (np.abs(action) <= np.finfo(np.float32).max).all():
        assert (check_action(action, SPACE) == action).all()
    elif not good:
        with pytest.raises(PolicyFault, match="bad_action"):
            check_action(action, SPACE)


@pytest.mark.parametrize("action", [None, 0.0, "left", [0.0, 0.0], np.array(["a", "b"]), np.array([None, 1]), np.zeros(2, "c16"),
                                    np.zeros(2, "M8[s]"), np.zeros(2, [("x", "f8")])])  # fmt: skip
def test_what_is_no_array_of_numbers_is_refused(action):
    with pytest.raises(PolicyFault, match="bad_action"):
        check_action(action, SPACE)


@pytest.mark.parametrize(("action", "dtype"), [(np.array([1, 0], np.int8), np.float32), (np.array([True, False]), np.float32),
                                               (np.ones(2, np.float16), np.float64), (np.ones(2), np.int64)])  # fmt: skip
def test_other_types_of_numbers_pass_as_float64(action, dtype):
    assert check_action(action, spaces.Box(-5, 5, (2,), dtype)).dtype == np.float64
