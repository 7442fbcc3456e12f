"""What strangers may send: mutated and random messages into every decoder that the station has. None may raise but Malformed.

``python benchmarks/fuzz_wires.py [N] [SEED]`` sends N messages (1,000,000) and prints what became of them, and the peak of memory.
"""

from __future__ import annotations

import collections
import json
import os
import random
import resource
import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import numpy as np
from enpire_envs.remote import wire

from autoenvbench.record.events import NoteEvent
from autoenvbench.station import codec
from autoenvbench.station import messages as seam

_TYPES = ["(,)f8", "O", "|O", "<U5", "V8", "f8,(2)i4", "<f8", "<f4", "|b1", "<i8", ">f8", "M8[s]", "<c16", "S3", "f" * 300, "((((", "1" * 40 + "f8",
          "{", "\x00", "datetime64", "<f9", "f8" + "," * 900, ""]  # fmt: skip
_NUMBERS = [0, 1, -1, 2, 7, 255, 2**31, 2**32 - 1, 2**62, 2**63, -(2**63), 1.5e308, float("nan"), float("inf"), True]


def values(rng: random.Random, depth: int = 0) -> Any:
    """Anything that msgpack can write, most of it wrong in one place."""
    kind = rng.randrange(11 if depth < 4 else 6)
    if kind == 0:
        return rng.choice([None, True, False, *_NUMBERS])
    if kind == 1:
        return rng.choice(["tool", "args", "kwargs", "move_eef", "", "x" * 200, *_TYPES])
    if kind == 2:
        return rng.randbytes(rng.choice([0, 1, 8, 24, 64]))
    if kind == 3:
        return msgpack.ExtType(rng.randrange(128), rng.randbytes(rng.choice([0, 1, 4, 8, 12])))
    if kind == 4:
        return rng.choice(_NUMBERS)
    if kind == 5:
        return msgpack.Timestamp(rng.randrange(2**40), rng.randrange(10**9))
    if kind in (6, 7):
        return [values(rng, depth + 1) for _ in range(rng.randrange(5))]
    if kind == 8:
        return {
            rng.choice(["a", "tool", "shape", "data", 3, b"k"]): values(rng, depth + 1) for _ in range(rng.randrange(4))
        }
    return array(rng, depth)


def array(rng: random.Random, depth: int) -> dict[str, Any]:
    """What says that it is an array, and often is none."""
    good = np.ones((2, 3)).tobytes()
    return {
        "__ndarray__": rng.choice(_TYPES) if rng.random() < 0.8 else values(rng, depth + 1),
        "shape": rng.choice([[2, 3], [6], [], [-1], [2**62, 4], [0] * 40, [2**31] * 8, "ab", None, [1.0, 6], [True, 6], [[6]]]),
        "data": rng.choice([good, good[:-1], b"", "text", None, good * 50]),
    }  # fmt: skip


_SEAM = [
    seam.Given(index=3, attempt=1, seed=2**47, named={"block": [0.1, 0.2, 0.3]}), seam.Recorded(number=7),
    seam.Stop(number=1, why="halted"), seam.Pause(stopped_at=1.5), seam.Resume(epoch=None),
    seam.Take(number=2, camera="top"), seam.Move(number=3, where="home"), seam.Acknowledge(number=4, client="admin"),
    seam.Ready(kind="sim", arms=False), seam.Next(), seam.Report.of(1, NoteEvent(text="x"), None),
    seam.RunEnded(number=1, through=True, shown={"success": "a.mp4"}, full=None), seam.Picture(number=2, png=b"x"),
    seam.Moved(number=3), seam.Acknowledged(number=4, ended=["x"]), seam.Failed(number=5, error="x", exit_code=2),
]  # fmt: skip


def across_the_seam(rng: random.Random) -> bytes:
    """A message between door and cell worker, often with a field too many, too few or of the wrong kind."""
    fields = rng.choice(_SEAM).model_dump()
    if rng.random() < 0.7:
        fields[rng.choice([*fields, "type", "number", "extra"])] = values(rng)
    if rng.random() < 0.2:
        fields.pop(rng.choice(list(fields)), None)
    return bytes(msgpack.packb(fields, default=str))


def typed(rng: random.Random) -> bytes:
    """A message of the right kind, with wrong parts."""
    kind = rng.randrange(5)
    if kind == 4:
        return across_the_seam(rng)
    if kind == 0:
        call = {
            "tool": values(rng) if rng.random() < 0.3 else "move_eef",
            "args": [values(rng) for _ in range(rng.randrange(4))],
            "kwargs": {},
        }
        if rng.random() < 0.3:
            call[rng.choice(["tool", "args", "kwargs"])] = values(rng)
        return bytes(msgpack.packb(call))
    if kind == 1:
        return bytes(
            msgpack.packb({"summary": rng.choice(["x", values(rng)]), "traceback": rng.choice(["y", values(rng)])})
        )
    if kind == 2:
        ndim = rng.choice([0, 1, 1, 2, 8, 9, 32, 255])
        shape = [rng.choice([0, 1, 2, 2**16, 2**31, 2**32 - 1]) for _ in range(ndim)]
        return struct.pack(f"<B{ndim}I", ndim, *shape) + rng.randbytes(8 * rng.randrange(5) + rng.choice([0, 0, 0, 1]))
    return bytes(msgpack.packb(values(rng)))


def bomb(rng: random.Random) -> bytes:
    """Few bytes that claim much: lists, maps, strings and extensions of 2^32 entries, thousands deep."""
    head = rng.choice([b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x01",
                       b"\xdd\x00\x00\x27\x00", b"\xdc\x01\x00", b"\x91", b"\x81", b"\x81\xa1a"])  # fmt: skip
    return head * rng.choice([1, 2, 100, 1100, 3000])


def messages(n: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """`n` messages with their kinds, the same for the same seed."""
    rng = random.Random(seed)
    for _ in range(n):
        draw = rng.random()
        if draw < 0.35:
            yield "typed", typed(rng)
        elif draw < 0.70:
            data = bytearray(typed(rng))
            for _ in range(rng.randrange(1, 4)):
                if data:
                    data[rng.randrange(len(data))] = rng.randrange(256)
            cut = rng.random() < 0.2
            yield "mutated", bytes(data[: rng.randrange(len(data) + 1)] if cut else data)
        elif draw < 0.995:
            yield "random", rng.randbytes(rng.randrange(120))
        else:
            yield "bomb", bomb(rng)


def through_pipe(data: bytes) -> Any:
    """The same bytes as a whole message on a channel."""
    ours, theirs = os.pipe()
    _, unused = back = os.pipe()
    os.write(theirs, wire.LENGTH.pack(len(data)) + data)
    os.close(theirs)
    channel = wire.Channel(ours, unused)
    try:
        return channel.receive(1.0)
    finally:
        channel.close()
        os.close(back[0])


DECODERS: dict[str, Callable[[bytes], Any]] = {
    "tool call": codec.decode_tool_call, "action": codec.decode_action, "error report": codec.decode_error, "wire": wire.unpack,
    "to cell": seam.decode_to_cell, "to door": seam.decode_to_door,
}  # fmt: skip


def fuzz(n: int, seed: int) -> tuple[dict[str, dict[str, int]], list[str]]:
    """How many of `n` messages each decoder took and refused, and what should not have happened."""
    counts: dict[str, dict[str, int]] = {name: collections.Counter() for name in [*DECODERS, "channel"]}
    wrong = []
    names = list(DECODERS)
    for i, (kind, data) in enumerate(messages(n, seed)):
        asked = names if i % 10 == 0 else [names[i % len(names)]]
        for name in [*asked, *(["channel"] if i % 50 == 0 and len(data) < 60_000 else [])]:
            try:
                (DECODERS.get(name) or through_pipe)(data)
                counts[name]["taken"] += 1
            except wire.Malformed:
                counts[name]["refused"] += 1
            except BaseException as error:
                wrong.append(f"{name}, {kind}, {data[:60]!r}: {error!r}"[:300])
    return counts, wrong


def main() -> None:
    n, seed = (int(word) for word in (sys.argv[1:] + ["1000000", "0"][len(sys.argv) - 1 :])[:2])
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    counts, wrong = fuzz(n, seed)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"messages": n, "seed": seed, "seconds": round(time.monotonic() - began, 1), "memory grown by [MB]": grown >> 10,
                      "decoded": counts, "neither decoded nor Malformed (target 0)": len(wrong), "examples": wrong[:10]}, indent=1))  # fmt: skip
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
