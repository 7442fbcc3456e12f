"""Whether the batch under way may go on: asked by the cell before each step, told by the door from another thread."""

from __future__ import annotations

import threading

from autoenvbench.record.clock import RunClock

_LOOK_S = 0.1  # between two looks, in a pause, at whether the batch was stopped


class Control:
    """A `Stop` for one batch after the other: `begin` each, then call it before each step.

    Args:
        clock: the run's; a pause and the end of its budget matter to batches that it rules.
    """

    def __init__(self, clock: RunClock) -> None:
        self.clock = clock
        self._not_paused = threading.Event()
        self._not_paused.set()
        self._number, self._by_clock = -1, False
        self._why: str | None = None  # this batch must end
        self._end: str | None = None  # every batch must end

    def begin(self, number: int, *, by_clock: bool) -> None:
        """The batch of this number is next."""
        self._number, self._by_clock, self._why = number, by_clock, None

    def stop(self, number: int, why: str) -> None:
        """End the batch of this number, if it is still the one under way."""
        if number == self._number:
            self._why = self._why or why

    def end(self, why: str) -> None:
        """End the batch under way and all that may follow."""
        self._end = self._end or why

    def pause(self, stopped_at: float | None) -> None:
        """Hold the batch under way between two steps, while the clock stands at `stopped_at` [s]."""
        self.clock.stopped_at = stopped_at
        self._not_paused.clear()

    def resume(self, epoch: float | None) -> None:
        """Let it go on by the clock with this epoch [s, monotonic]; None: by the one it had."""
        if epoch is not None:
            self.clock.epoch = epoch
        self.clock.stopped_at = None
        self._not_paused.set()

    def __call__(self) -> str | None:
        """Why the batch must end now, or None. Returns after the pause, if there is one."""
        while True:
            if (why := self._end or self._why) is not None:
                return why
            if not self._by_clock:
                return None
            if self._not_paused.wait(_LOOK_S):
                return None if self.clock.remaining() > 0 else "the budget is over"
