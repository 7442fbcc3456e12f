import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autoenvbench.station import codec

SPACES = [
    spaces.Box(-np.inf, np.inf, (5,), np.float32),
    spaces.Box(0, 255, (4, 6, 3), np.uint8),
    spaces.Dict({"z": spaces.Box(-1, 1, (2, 2), np.float64), "a": spaces.Box(0, 9, (3,), np.int64)}),
    spaces.Dict({
        "pixels": spaces.Dict({name: spaces.Box(0, 255, (2, 3, 3), np.uint8) for name in ("wrist", "side")}),
        "agent_pos": spaces.Box(-1, 1, (4,), np.float32),
    }),
]  # fmt: skip


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_spaces_and_observations_survive_the_trip(space):
    assert codec.rebuild(codec.describe(space)) == space
    sent = space.sample()
    got = codec.ObservationCodec(space).decode(codec.ObservationCodec(space).encode(sent))
    np.testing.assert_equal(got, sent)


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=0, max_dims=3, max_side=4)))
def test_actions_survive_the_trip_with_their_shape(action):
    np.testing.assert_equal(codec.decode_action(codec.encode_action(action)), action)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_action_or_a_value_error(data):
    try:
        assert codec.decode_action(data).dtype == np.float64
    except ValueError:
        pass


def test_other_spaces_are_refused():
    with pytest.raises(TypeError, match="Box and Dict"):
        codec.describe(spaces.Discrete(3))
