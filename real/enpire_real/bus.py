"""CAN buses by configuration: a real adapter, or the twin, behind the same python-can object.

`virtual` reaches a twin in this process, `slcan` a serial adapter or a twin in another process over a pseudo-terminal,
`socketcan` a kernel interface. All traffic of simulated stations stays in this machine; multicast is refused.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import time
from pathlib import Path
from typing import IO

import can
from can.exceptions import error_check
from can.interfaces.slcan import slcanBus

BITRATE = 1_000_000  # the YAM's, classic CAN
_LINE_ENDS = b"\r\a"
INTERFACES = ("socketcan", "slcan", "virtual")


class BusDown(RuntimeError):
    """The bus cannot be opened or has stopped working (bus-off, adapter unplugged)."""


class BusTaken(RuntimeError):
    """Another program holds this bus."""


def open_bus(interface: str, channel: str) -> can.BusABC:
    """Open a CAN bus. Raises BusDown with what to check."""
    if interface not in INTERFACES:
        raise ValueError(f"unknown CAN interface {interface!r}; choose one of: {', '.join(INTERFACES)}")
    try:
        # The station file says it all: a can.conf somewhere must not say otherwise (and takes long to look for).
        if interface == "slcan":
            # A pseudo-terminal is ready at once; a USB adapter that was just opened buffers what comes too early.
            return Slcan(channel, bitrate=BITRATE, sleep_after_open=0.05, timeout=0.001)
        if interface == "socketcan":
            return can.Bus(interface="socketcan", channel=channel, ignore_config=True)
        return can.Bus(interface="virtual", channel=channel, preserve_timestamps=True, ignore_config=True)
    except (can.CanError, OSError, ValueError) as error:
        hint = {
            "socketcan": f"is it up? sudo ip link set {channel} up type can bitrate {BITRATE}",
            "slcan": "is the adapter plugged in, and may you read and write it (group dialout)?",
        }.get(interface, "")
        raise BusDown(f"cannot open the CAN bus {interface}:{channel}: {error}; {hint}") from None


class Frame(can.Message):
    """A classic CAN data frame. Nobody changes one after it was made, so that the in-process bus, which copies what it
    carries, may carry the frame itself."""

    __slots__ = ()

    def __init__(self, arbitration_id: int, data: bytes) -> None:
        super().__init__(arbitration_id=arbitration_id, data=data, is_extended_id=False)

    def __deepcopy__(self, memo: object) -> Frame:
        return self


class Slcan(slcanBus):
    """python-can's slcan, in whole reads and without waiting for each write to leave: a cycle of seven motors takes a quarter
    of the time."""

    def _write(self, string: str) -> None:
        with error_check("Could not write to serial device"):
            self.serialPortOrig.write(string.encode() + self.LINE_TERMINATOR)

    def _read(self, timeout: float | None) -> str | None:
        end = None if timeout is None else time.monotonic() + timeout
        with error_check("Could not read from serial device"):
            while True:
                for k, byte in enumerate(self._buffer):
                    if byte in _LINE_ENDS:
                        line = bytes(self._buffer[: k + 1])
                        del self._buffer[: k + 1]
                        return line.decode("ascii", "replace")
                waiting = self.serialPortOrig.in_waiting
                if not waiting and end is not None and time.monotonic() >= end:
                    return None
                self._buffer.extend(self.serialPortOrig.read(max(waiting, 1)))


class BusLock:
    """One program per bus, by a lock that dies with its holder."""

    def __init__(self, interface: str, channel: str) -> None:
        self._what = f"{interface}:{channel}"
        name = hashlib.sha256(f"{self._what} {os.getpid() if interface == 'virtual' else ''}".encode()).hexdigest()[:16]
        self._path = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"autoenvbench-can-{name}.lock"
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Raises BusTaken naming the holder."""
        file = self._path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "another program"
            file.close()
            raise BusTaken(
                f"the CAN bus {self._what} is in use by process {holder}; two programs on one arm would fight: stop that "
                "one first"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file

    def release(self) -> None:
        """Let others have the bus. Safe to call twice."""
        if self._file is not None:
            self._file.close()
            self._file = None
