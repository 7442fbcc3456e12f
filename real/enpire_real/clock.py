"""Two clocks: the wall's, and a virtual one that runs as fast as the machine allows.

Everything above the devices (control loop, cameras, environment) sleeps and ticks through one of them, so a station of
simulated parts behaves the same at any speed: what is due in virtual time happens in its order, in one thread.
"""

from __future__ import annotations

import heapq
import itertools
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol


class Ticker(Protocol):
    """Something that happens periodically, until it is cancelled."""

    lateness: deque[float]  # of the last ticks [s]

    def cancel(self) -> None:
        """Never call back again. Waits for a call that is under way, unless it comes from that call."""


class Clock(Protocol):
    """Time, as a station's parts see it [s]."""

    virtual: bool

    def now(self) -> float:
        """The time [s]; only differences mean anything."""

    def sleep(self, seconds: float) -> None:
        """Let time pass; whatever is due meanwhile happens."""

    def every(self, period: float, callback: Callable[[], None], name: str, *, urgent: bool = False) -> Ticker:
        """Call back once a period, until cancelled or the callback raises; `urgent` ones before all others."""

    def poll(self) -> None:
        """Let simulated devices answer what was sent to them (nothing on a wall clock: they have their own thread)."""


class WallClock:
    """Real time; each ticker is a thread."""

    virtual = False

    def now(self) -> float:
        """The machine's monotonic time [s]."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Let this thread wait."""
        if seconds > 0:
            time.sleep(seconds)

    def every(self, period: float, callback: Callable[[], None], name: str, *, urgent: bool = False) -> Ticker:
        """A thread of its own; a tick that is missed is left out."""
        return _Thread(period, callback, name, urgent)

    def poll(self) -> None:
        """Nothing to do: devices have their own threads."""


class _Thread:
    def __init__(self, period: float, callback: Callable[[], None], name: str, urgent: bool) -> None:
        self.lateness: deque[float] = deque(maxlen=20_000)
        self._urgent = urgent
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(period, callback), name=name, daemon=True)
        self._thread.start()

    def _run(self, period: float, callback: Callable[[], None]) -> None:
        if self._urgent:
            request_real_time_priority()
        due = time.monotonic()
        while not self._stop.is_set():
            callback()
            due += period
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
                self.lateness.append(time.monotonic() - due)
            else:
                self.lateness.append(-wait)
                due = time.monotonic()  # a missed tick is gone: two in a burst would be worse

    def cancel(self) -> None:
        self._stop.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(2.0)


def request_real_time_priority() -> None:
    """First-in-first-out scheduling for this thread, where the machine allows it (limits.conf: rtprio)."""
    sys.setswitchinterval(0.0005)  # another thread of this process may keep the interpreter no longer than this
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(20))
    except (OSError, AttributeError):
        pass  # it keeps time without it, but not on a busy machine: `autoenvbench station doctor` measures


class Simulated(Protocol):
    """A device that lives in virtual time."""

    def advance(self, to: float) -> None:
        """Live until the time `to` [s]."""

    def answer(self) -> None:
        """Answer what has arrived."""


class VirtualClock:
    """Discrete-event time. Not for use by several threads."""

    virtual = True

    def __init__(self) -> None:
        self._now = 0.0
        self._devices: list[Simulated] = []
        self._due: list[tuple[float, int, _Event]] = []
        self._order = itertools.count()

    def attach(self, device: Simulated) -> None:
        """Let a device live in this clock's time."""
        self._devices.append(device)

    def now(self) -> float:
        """The virtual time [s], from 0."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Let virtual time pass: whatever is due meanwhile runs now, in its order, in this thread."""
        end = self._now + max(seconds, 0.0)
        while self._due and self._due[0][0] <= end + 1e-9:
            due, _, event = heapq.heappop(self._due)
            if event.cancelled:
                continue
            self._pass(due)
            event.run()
            if not event.cancelled:
                # One that slept past its next turn (it waited for a device) goes on from there, as a thread would.
                heapq.heappush(self._due, (max(due + event.period, self._now), next(self._order), event))
        self._pass(end)

    def every(self, period: float, callback: Callable[[], None], name: str, *, urgent: bool = False) -> Ticker:
        """The callback runs inside `sleep`."""
        event = _Event(period, callback)
        heapq.heappush(self._due, (self._now, next(self._order), event))
        return event

    def poll(self) -> None:
        """Let all devices answer what was sent to them."""
        for device in self._devices:
            device.answer()

    def _pass(self, to: float) -> None:
        if to > self._now:
            self._now = to
            for device in self._devices:
                device.advance(to)


class _Event:
    def __init__(self, period: float, callback: Callable[[], None]) -> None:
        self.period, self.run, self.cancelled = period, callback, False
        self.lateness: deque[float] = deque(maxlen=1)

    def cancel(self) -> None:
        self.cancelled = True
