"""Whether it was the machine, and not the policy, that let an answer wait: measured, never assumed.

The station waits for a policy by sleeping 20 ms at a time. A machine that stalls (a virtual machine that is not scheduled, a laptop
lid, a swarm of other processes) wakes it late, and what it was woken late by is time in which nothing here could run as it
should. A policy that sleeps changes nothing of that, and one that takes the processor for itself, or its children, is seen by its
CPU time; so neither can make the proof. Pressure on memory and disk could be a policy's own doing and is no proof either.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from pathlib import Path

MIN_WAIT_S = 10.0  # a shorter wait proves nothing
LATE_SHARE = 0.5  # of the wait, by which the station must have been woken late
CPU_SHARE = 0.05  # of the wait, that the policy and its children may have used at most
PRESSED_SHARE = 0.1  # of the wait, in which anything stood still for lack of memory or disk


@dataclass(slots=True)
class Wait:
    """One wait for a policy."""

    began: float = field(default_factory=time.monotonic)
    late: float = 0.0
    _pressed: float | None = field(default_factory=lambda: _pressure())

    def slept(self, since: float, asked_s: float) -> None:
        """The station asked at `since` (monotonic) to be woken after `asked_s`, and is awake now."""
        self.late += max(0.0, time.monotonic() - since - asked_s)

    def starved(self, cpu_s: float) -> str | None:
        """The proof, in words, that the machine was at fault, or None. `cpu_s`: used by the policy and its children meanwhile."""
        lasted, pressed = time.monotonic() - self.began, _pressure()
        if lasted < MIN_WAIT_S or self.late < LATE_SHARE * lasted or cpu_s > CPU_SHARE * lasted:
            return None
        if self._pressed is None or pressed is None or pressed - self._pressed > PRESSED_SHARE * lasted:
            return None
        return f"the machine stalled: in {lasted:.1f} s the station was woken {self.late:.1f} s late, and the policy used {cpu_s:.2f} s"


def _pressure() -> float | None:
    """Seconds since the start of the machine in which some process waited for memory or disk; None where the kernel does not say."""
    total = 0
    for what in ("memory", "io"):
        try:
            some = Path(f"/proc/pressure/{what}").read_text().splitlines()[0]
        except (OSError, IndexError):
            return None
        found = re.search(r"total=(\d+)", some)
        total += int(found[1]) if found else 0
    return total / 1e6
