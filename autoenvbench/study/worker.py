"""The process of one research run of a study: reads what to run from its standard input, and dies when that is closed.

So no run outlives its study, however that ended; what its ledger has is kept, and the study goes on with it when it is started again.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from autoenvbench.errors import UserError
from autoenvbench.research.observer import Observer
from autoenvbench.study.runs import PlannedRun, carry_out
from autoenvbench.text import visible


class _Log(Observer):
    def log(self, text: str) -> None:
        print(visible(text, lines=True), flush=True)


def _die_with_study() -> None:
    os.read(0, 1)  # nothing is ever written after the first line: this returns when the other end is closed
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> int:
    """Carry out the run; returns 2, with the reason as the last line of its output, where it cannot be or measured nothing."""
    line = bytearray()
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):  # unbuffered: the thread reads on from here
        line += byte
    run = PlannedRun.model_validate_json(line)
    threading.Thread(target=_die_with_study, daemon=True).start()
    try:
        carry_out(run, _Log())
    except UserError as error:
        print(visible(str(error), lines=True), flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
