"""Messages between two interpreters: length-prefixed msgpack with NumPy arrays, nothing that can execute."""

from __future__ import annotations

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


def pack(message: Any) -> bytes:
    """Bytes of None, numbers, strings, lists, dicts and arrays."""
    return msgpack.packb(message, default=_encode)


def unpack(data: bytes) -> Any:
    """Raises ValueError on anything that `pack` does not write."""
    try:
        return msgpack.unpackb(data, object_hook=_decode, strict_map_key=False)
    except (msgpack.UnpackException, msgpack.ExtraData, TypeError, KeyError) as error:
        raise ValueError(f"malformed message: {error!r}") from None


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError("an array of Python objects cannot be sent")
        return {_ARRAY: value.dtype.str, "shape": list(value.shape), "data": np.ascontiguousarray(value).tobytes()}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} cannot be sent")


def _decode(value: dict[Any, Any]) -> Any:
    if _ARRAY not in value:
        return value
    dtype = np.dtype(value[_ARRAY])
    if dtype.hasobject:
        raise ValueError("an array of Python objects is refused")
    return np.frombuffer(value["data"], dtype).reshape(value["shape"]).copy()


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
        data = pack(message)
        view = memoryview(LENGTH.pack(len(data)) + data)
        try:
            while view:
                view = view[os.write(self._out, view) :]
        except BrokenPipeError:
            raise Closed from None

    def receive(self, timeout: float | None = None) -> Any:
        """The next message. Raises Closed, TimeoutError, ValueError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        awake = time.monotonic() + self._spin_s
        while not self._arrived and time.monotonic() < awake and not self._poll.poll(0):
            pass
        (length,) = LENGTH.unpack(self._read(LENGTH.size, deadline))
        if length > MAX_MESSAGE:
            raise ValueError(f"a message of {length} bytes")
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
        os.close(self._in)
        os.close(self._out)
