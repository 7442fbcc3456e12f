"""Camera frames from one process to another through a mapped file: the newest one, whole or not at all."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from time import monotonic

import numpy as np

# Sequence (odd while writing), time of capture, time of delivery, width, height.
_HEADER = struct.Struct("<QddII")


class FrameWriter:
    """The writing end: makes a file at `path` for images (height, width, 3) uint8."""

    def __init__(self, path: Path, width: int, height: int) -> None:
        size = _HEADER.size + width * height * 3
        path.write_bytes(b"\0" * size)
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), size)
        self._sequence, self._width, self._height = 0, width, height

    def write(self, image: np.ndarray, time: float) -> None:
        """`image` (height, width, 3) uint8; `time` on the machine's monotonic clock."""
        for _ in range(2):
            self._sequence += 1
            _HEADER.pack_into(self._map, 0, self._sequence, time, monotonic(), self._width, self._height)
            if self._sequence % 2:
                self._map[_HEADER.size :] = np.ascontiguousarray(image).tobytes()


class FrameReader:
    """Raises FileNotFoundError if there is no writer's file."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._stamp = -np.inf

    def stamp(self) -> float:
        """When the newest frame was delivered; -inf before the first."""
        header = _HEADER.unpack_from(self._map)
        if header[0] % 2 == 0 and header == _HEADER.unpack_from(self._map):
            self._stamp = header[2] if header[0] else -np.inf
        return self._stamp  # being written just now: what it was

    def read(self) -> tuple[np.ndarray, float] | None:
        """The newest whole frame and its time."""
        for _ in range(100):
            before, time, _, width, height = _HEADER.unpack_from(self._map)
            image = (
                np.frombuffer(self._map, np.uint8, width * height * 3, _HEADER.size).reshape(height, width, 3).copy()
            )
            if before % 2 == 0 and before > 0 and _HEADER.unpack_from(self._map)[0] == before:
                return image, time
        return None
