"""Messages between two interpreters arrive whole, one by one, or not at all."""

import os
import threading

import numpy as np
import pytest
from enpire_envs.remote.wire import LENGTH, MAX_MESSAGE, Channel, Closed, Malformed, pack, unpack
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
def ends():
    """A channel, and the two ends of its pipes that are not its own."""
    to_read, write = os.pipe()
    read, to_write = os.pipe()
    channel = Channel(to_read, to_write, spin_s=0.001)
    yield channel, write, read
    for fd in (write, read):
        try:
            os.close(fd)
        except OSError:
            continue
    channel.close()


@given(VALUES)
def test_what_is_packed_is_unpacked(value):
    assert unpack(pack(value)) == value


@given(
    arrays(
        st.sampled_from([np.uint8, np.float32, np.float64, np.int64, np.bool_]), array_shapes(min_dims=0, max_side=5)
    )
)
def test_arrays_keep_type_shape_and_content(array):
    back = unpack(pack({"a": array}))["a"]
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()
    assert back.flags.writeable


def test_an_array_of_objects_is_refused_on_both_sides():
    with pytest.raises(TypeError):
        pack(np.array([object()]))
    with pytest.raises(Malformed, match="known are"):
        unpack(pack({"__ndarray__": "|O", "shape": [1], "data": b"12345678"}))


def test_messages_that_come_together_are_told_apart(ends):
    channel, write, _ = ends
    sent = [{"k": k, "picture": np.full((k, 3), k, np.uint8)} for k in range(5)]
    os.write(write, b"".join(LENGTH.pack(len(data)) + data for data in map(pack, sent)))
    for message in sent:
        got = channel.receive(1.0)
        assert got["k"] == message["k"]
        assert np.array_equal(got["picture"], message["picture"])
    with pytest.raises(TimeoutError):
        channel.receive(0.01)


def test_a_message_in_pieces_is_waited_for(ends):
    channel, write, _ = ends
    image = (np.arange(300_000) % 251).astype(np.uint8)  # more than a pipe holds
    data = pack(image)
    data = LENGTH.pack(len(data)) + data

    def trickle():
        for part in (data[:2], data[2:5], data[5:]):
            view = memoryview(part)
            while view:
                view = view[os.write(write, view) :]

    thread = threading.Thread(target=trickle)
    thread.start()
    assert np.array_equal(channel.receive(5.0), image)
    thread.join()


def test_another_side_that_is_gone_is_said(ends):
    channel, write, read = ends
    os.write(write, LENGTH.pack(100) + b"only this")
    os.close(write)
    with pytest.raises(Closed):
        channel.receive(1.0)
    os.close(read)
    with pytest.raises(Closed):
        channel.send("to nobody")


def test_a_message_of_absurd_length_is_refused_before_it_is_read(ends):
    channel, write, _ = ends
    os.write(write, LENGTH.pack(MAX_MESSAGE + 1))
    with pytest.raises(ValueError, match="bytes"):
        channel.receive(1.0)
