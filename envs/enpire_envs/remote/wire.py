"""Messages between two interpreters: length-prefixed msgpack with NumPy arrays, nothing that can execute."""

from __future__ import annotations

import math
import os
import select
import struct
import time
from typing import Any

import msgpack
import numpy as np

LENGTH = struct.Struct("<I")
MAX_MESSAGE = 256 << 20  # bytes
_ARRAY = "__ndarray__"
_MAX_DIMENSIONS = 8
#: What an array may be made of, by its name on the wire: numbers and truth values of the machine, nothing that NumPy would parse.
_DTYPES = {np.dtype(code).str: np.dtype(code) for code in "?bBhHiIlLqQefd"}


class Malformed(ValueError):
    """Bytes that are no message: all that decoding ever raises, whatever was sent."""


def pack(message: Any) -> bytes:
    """Bytes of None, numbers, strings, lists, dicts and arrays of numbers. Raises TypeError on anything else."""
    return msgpack.packb(message, default=_encode)


def unpack(data: bytes, *, longest: int = MAX_MESSAGE) -> Any:
    """The message. Raises Malformed, and nothing else, on anything that `pack` does not write.

    Args:
        longest: of its lists [entries]. The decoder makes room for as many as a list says it has, before it has seen one, and
            once more for each list within: so who listens to strangers keeps this small.
    """
    try:
        return msgpack.unpackb(
            data, object_hook=_decode, ext_hook=_no_extension, timestamp=1, strict_map_key=False,
            max_array_len=min(longest, len(data)),
        )  # fmt: skip
    except Malformed:
        raise
    except Exception as error:
        raise Malformed(f"malformed message: {str(error)[:200] or type(error).__name__}") from None


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value, value.dtype.newbyteorder("=")).reshape(value.shape)
        if array.dtype.str not in _DTYPES:
            raise TypeError(f"an array of {value.dtype} cannot be sent, only one of numbers")
        return {_ARRAY: array.dtype.str, "shape": list(array.shape), "data": array.tobytes()}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} cannot be sent")


def _decode(value: dict[Any, Any]) -> Any:
    if _ARRAY not in value:
        return value
    name, shape, data = value[_ARRAY], value.get("shape"), value.get("data")
    if not (isinstance(name, str) and name in _DTYPES):
        raise Malformed(f"an array of {str(name)[:40]!r}; known are {', '.join(_DTYPES)}")
    if not (
        isinstance(shape, list) and len(shape) <= _MAX_DIMENSIONS and all(type(n) is int and n >= 0 for n in shape)
    ):
        raise Malformed("the shape of an array is a list of at most eight whole numbers")
    if not isinstance(data, bytes) or math.prod(shape) * _DTYPES[name].itemsize != len(data):
        raise Malformed("the shape and the data of an array disagree")
    return np.frombuffer(data, _DTYPES[name]).reshape(shape).copy()


def _no_extension(code: int, data: bytes) -> Any:
    raise Malformed(f"an extension of type {code}")


class Closed(EOFError):
    """The other side is gone."""


class Channel:
    """A pair of pipes that carries whole messages.

    Args:
        spin_s: how long `receive` looks for a message before it sleeps. A processor that sleeps takes long to wake, on virtual
            machines above all: 5 % of a control step of robosuite's (`benchmarks/robosuite_adapter.py`).
    """

    def __init__(self, read_fd: int, write_fd: int, spin_s: float = 0.0) -> None:
        self._in, self._out, self._spin_s = read_fd, write_fd, spin_s
        self._poll = select.poll()
        self._poll.register(read_fd, select.POLLIN)
        self._arrived = bytearray()

    def send(self, message: Any) -> None:
        """Write a message. Raises Closed where nobody reads, TypeError for what `pack` refuses."""
        data = pack(message)
        view = memoryview(LENGTH.pack(len(data)) + data)
        try:
            while view:
                view = view[os.write(self._out, view) :]
        except BrokenPipeError:
            raise Closed from None

    def receive(self, timeout: float | None = None) -> Any:
        """The next message. Raises Closed, TimeoutError, Malformed."""
        deadline = None if timeout is None else time.monotonic() + timeout
        awake = time.monotonic() + self._spin_s
        while not self._arrived and time.monotonic() < awake and not self._poll.poll(0):
            pass
        (length,) = LENGTH.unpack(self._read(LENGTH.size, deadline))
        if length > MAX_MESSAGE:
            raise Malformed(f"a message of {length} bytes")
        return unpack(self._read(length, deadline))

    def _read(self, size: int, deadline: float | None) -> bytes:
        while len(self._arrived) < size:
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0 or not self._poll.poll(left * 1000):
                    raise TimeoutError
            chunk = os.read(self._in, 1 << 20)
            if not chunk:
                raise Closed
            self._arrived += chunk
        data = bytes(memoryview(self._arrived)[:size])
        del self._arrived[:size]
        return data

    def close(self) -> None:
        """Close both pipes."""
        os.close(self._in)
        os.close(self._out)
