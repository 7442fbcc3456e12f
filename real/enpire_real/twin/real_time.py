"""Runs a twin in real time: one thread for physics, one per bus that answers frames as they come."""

from __future__ import annotations

import threading
import time

import can

from enpire_real.clock import WallClock, request_real_time_priority
from enpire_real.twin.station import Twin

_PHYSICS_S = 0.004


class RealTime:
    """From construction to `close`. The twin's time is the wall clock's, shifted to its own beginning."""

    def __init__(self, twin: Twin, buses: dict[str, can.BusABC]) -> None:
        self._twin, self._origin = twin, time.monotonic() - twin.data.time
        self._stop = threading.Event()
        self._physics = WallClock().every(_PHYSICS_S, self._advance, "twin physics", urgent=True)
        self._threads = [
            threading.Thread(target=self._serve, args=(side, bus), name=f"twin {side}", daemon=True)
            for side, bus in buses.items()
        ]
        for thread in self._threads:
            thread.start()

    def _advance(self) -> None:
        self._twin.advance(time.monotonic() - self._origin)

    def _serve(self, side: str, bus: can.BusABC) -> None:
        request_real_time_priority()
        while not self._stop.is_set():
            try:
                message = bus.recv(0.05)
                if message is not None:
                    self._twin.reply(side, bus, message)
            except (can.CanError, OSError):
                return  # the other end is gone: the watchdogs do the rest

    def close(self) -> None:
        """Stop physics and answering."""
        self._stop.set()
        for thread in self._threads:
            thread.join(1.0)
        self._physics.cancel()
