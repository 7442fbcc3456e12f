"""The wall-clock budget of a run: how much research time has passed and how much is left.

Research time begins when the agent is launched, stands still in a pause, and goes on where the ledger ended when a run that was
killed is resumed.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from autoenvbench.errors import UserError

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(d|h|min|m|s)")


def parse_duration(text: str) -> float:
    """Seconds in a duration such as "8h", "90m", "1h30m" or "120s". Raises UserError."""
    compact = text.strip().lower()
    parts = _PART.findall(compact)
    if not parts or _PART.sub("", compact).strip():
        raise UserError(f"cannot read the duration {text!r}; write it like 2h, 90m, 1h30m or 120s")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not 0 < seconds <= 30 * 86400:
        raise UserError(f"the duration {text!r} must be above zero and at most 30 days")
    return seconds


def format_duration(seconds: float) -> str:
    """A duration as people read it: "1h 05m", "2m 10s", "8.4s"."""
    if seconds < 60:
        return f"{seconds:.1f}s" if seconds < 10 else f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}h {minutes % 60:02d}m" if minutes >= 60 else f"{minutes}m {rest:02d}s"


@dataclass(slots=True)
class RunClock:
    """Research time, shared by every process of a run on this machine (CLOCK_MONOTONIC is system-wide).

    Attributes:
        epoch: the monotonic instant at which this run's research time was zero [s].
        budget: research time granted [s].
        stopped_at: the research time at which the clock stands [s]; None while it runs.
    """

    epoch: float
    budget: float
    stopped_at: float | None = None

    @classmethod
    def start(cls, budget: float, already: float = 0.0) -> RunClock:
        """A clock that runs, with `already` of the budget spent [s]."""
        return cls(time.monotonic() - already, budget)

    @classmethod
    def stopped(cls, budget: float, already: float = 0.0) -> RunClock:
        """A clock that waits for `go`, with `already` of the budget spent [s]."""
        return cls(time.monotonic() - already, budget, already)

    def elapsed(self) -> float:
        """Research time until now [s]; beyond the budget it counts on."""
        return time.monotonic() - self.epoch if self.stopped_at is None else self.stopped_at

    def stop(self) -> None:
        """Stand still: what passes from now on is not research time."""
        self.stopped_at = self.elapsed()

    def go(self) -> None:
        """Run on from where the clock stands."""
        if self.stopped_at is not None:
            self.epoch, self.stopped_at = time.monotonic() - self.stopped_at, None

    def remaining(self) -> float:
        """Research time that is left of the budget [s], never below 0."""
        return max(0.0, self.budget - self.elapsed())
