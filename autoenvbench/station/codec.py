"""Bytes between station and policy host: observations out, actions back, nothing that can execute.

Both sides derive the layout from the spaces, so a message is the plain array data behind a one-byte tag. The only
structured messages (start-up, errors) are msgpack. No pickle crosses this boundary in either direction.
"""

from __future__ import annotations

import functools
import math
import operator
import struct
from typing import Any

import numpy as np
from enpire_envs.remote import wire
from enpire_envs.remote.wire import Malformed
from gymnasium import spaces

LENGTH = struct.Struct("<I")
MAX_REPLY = 1 << 20  # what a policy may send back at once [bytes]
MAX_LIST = 10_000  # entries of one list in a tool call
MAX_DIMENSIONS = 8

SEED = struct.Struct("<I")  # before the observation of RESET: what the policy draws by in this episode

# station -> host
INIT, RESET, ACT = b"I", b"R", b"A"
WEIGHTS = b"W"  # of a declared network: from here on it acts
RUN, RESULT, REFUSED, OVER = b"S", b"V", b"X", b"O"  # of scripts: begin, and the three answers to a tool call
# host -> station
READY, ACTION, ERROR = b"r", b"a", b"e"
TOOL, DONE = b"t", b"d"  # of scripts: a tool call, the end


def describe(space: spaces.Space[Any]) -> dict[str, Any]:
    """A JSON-able description from which `rebuild` makes the space again."""
    if isinstance(space, spaces.Box):
        return {
            "low": space.low.ravel().tolist(),
            "high": space.high.ravel().tolist(),
            "shape": list(space.shape),
            "dtype": space.dtype.str,
        }
    if isinstance(space, spaces.Dict):
        return {"dict": {key: describe(value) for key, value in space.spaces.items()}}
    raise TypeError(f"a station carries Box and Dict spaces, not {space}")


def rebuild(described: dict[str, Any]) -> spaces.Space[Any]:
    """The space that `describe` described. Raises KeyError, TypeError, ValueError for what it did not write."""
    if "dict" in described:
        return spaces.Dict({key: rebuild(value) for key, value in described["dict"].items()})
    dtype = np.dtype(described["dtype"])
    shape = tuple(described["shape"])
    low = np.array(described["low"], dtype=dtype).reshape(shape)
    high = np.array(described["high"], dtype=dtype).reshape(shape)
    return spaces.Box(low, high, dtype=dtype.type)


class ObservationCodec:
    """Observations of one space to bytes and back: arrays, or dictionaries of them, of dictionaries too."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        self._fields = []
        at = 0
        for path, box in leaves(space):
            size = int(np.prod(box.shape)) * box.dtype.itemsize
            self._fields.append((path, at, at + size, box.dtype, box.shape))
            at += size

    def encode(self, observation: Any) -> bytes:
        """The plain array data of an observation, keys in their order."""
        return b"".join(
            np.ascontiguousarray(functools.reduce(operator.getitem, path, observation), dtype).tobytes()
            for path, _, _, dtype, _ in self._fields
        )

    def decode(self, data: bytes) -> Any:
        """The observation, in arrays of its own. Raises ValueError where the length does not fit."""
        whole: dict[str, Any] = {}
        for path, a, b, dtype, shape in self._fields:
            array = np.frombuffer(data[a:b], dtype).reshape(shape).copy()
            if not path:
                return array
            functools.reduce(lambda part, key: part.setdefault(key, {}), path[:-1], whole)[path[-1]] = array
        return whole


def leaves(space: spaces.Space[Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], spaces.Box]]:
    """The boxes of a space, each with the keys that lead to it. Raises TypeError for a space that is neither Box nor Dict."""
    if isinstance(space, spaces.Box):
        return [(path, space)]
    if isinstance(space, spaces.Dict):
        return [leaf for key in sorted(space.spaces) for leaf in leaves(space[key], (*path, key))]
    raise TypeError(f"a station carries Box and Dict spaces, not {space}")


def encode_action(action: Any) -> bytes:
    """Any array-like of numbers, with its shape in front. Raises what numpy raises on anything else."""
    array = np.asarray(action, dtype=np.float64)
    if array.ndim > MAX_DIMENSIONS:
        raise ValueError(f"an action with {array.ndim} dimensions")
    return struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape) + array.tobytes()


def decode_action(data: bytes) -> np.ndarray:
    """The action, of whatever shape was sent. Raises Malformed, and nothing else."""
    try:
        ndim = data[0]
        if ndim > MAX_DIMENSIONS:
            raise ValueError(f"{ndim} dimensions")
        shape = struct.unpack_from(f"<{ndim}I", data, 1)
        body = data[1 + 4 * ndim :]
        if len(body) != 8 * math.prod(shape):
            raise ValueError("length and shape disagree")
        return np.frombuffer(body, np.float64).reshape(shape)
    except Exception as error:
        raise Malformed(f"malformed action message: {error}") from None


def decode_tool_call(data: bytes) -> tuple[str, list[Any], dict[str, Any]]:
    """A tool's name and arguments. Raises Malformed, and nothing else, on anything that the host does not write."""
    call = wire.unpack(data, longest=MAX_LIST)
    if not (isinstance(call, dict) and isinstance(call.get("tool"), str) and isinstance(call.get("args"), list)):
        raise Malformed("no tool, or no arguments")
    kwargs = call.get("kwargs")
    if not (isinstance(kwargs, dict) and all(isinstance(key, str) for key in kwargs)):
        raise Malformed("named arguments need names")
    return call["tool"], call["args"], kwargs


def decode_error(data: bytes) -> str:
    """What the host reports of an exception, at most 4,000 characters. Raises Malformed, and nothing else."""
    report = wire.unpack(data, longest=MAX_LIST)
    if not (
        isinstance(report, dict) and isinstance(report.get("summary"), str) and isinstance(report.get("traceback"), str)
    ):
        raise Malformed("no summary, or no traceback")
    return f"{report['summary']}\n{report['traceback']}"[:4000]
