"""A learner beside the robot: a program of whoever learns, which writes its newest network to a file while the robot works.

The one rule is that the file is replaced as a whole (written elsewhere, then renamed). What it learns from, and how, is its own affair. It ends
with SIGTERM, or with the process that started it, however that ended.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from autoenvbench.errors import PolicyFailed, UserError

#: Where a learner leaves its networks, in a workspace.
LIVE = Path("live")
NEWEST = "network.onnx"
GRACE_S = 120.0  # that it has to write down what it knows
_LOOK_S = 0.1
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class Learner:
    """A learner's process.

    Args:
        argv: the program.
        cwd: its working directory.
        network: the file that it replaces.
    """

    def __init__(self, argv: Sequence[str], cwd: Path, network: Path) -> None:
        self._network, self._was = network, _mark(network)
        self.argv = list(argv)
        try:
            # What it prints is for people: standard output may be one JSON object.
            self._process = subprocess.Popen(
                argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=2, start_new_session=True, preexec_fn=_with_parent
            )
        except OSError as error:
            raise UserError(
                f"cannot start {argv[0]!r}: {error.strerror}; name the learner behind --, as in: aeb learn -- python learn.py"
            ) from None

    def wait_for_first(self, over: Callable[[], bool] = lambda: False) -> bytes:
        """The first network that it writes. Raises PolicyFailed where it ends before, or `over` comes first."""
        while (data := self.newest()) is None:
            if (why := self.ended()) is not None or over():
                raise PolicyFailed(
                    f"{why or 'there was no time left for the learner'}, and had written no {self._network}; nothing was run"
                )
            time.sleep(_LOOK_S)
        return data

    def newest(self) -> bytes | None:
        """The network, if it wrote one since it was last asked for."""
        mark = _mark(self._network)
        if mark is None or mark == self._was:
            return None
        self._was = mark
        try:
            return self._network.read_bytes()
        except OSError:
            return None

    def ended(self) -> str | None:
        """How it ended, in words, if it did."""
        code = self._process.poll()
        if code is None:
            return None
        how = (
            f"by {signal.Signals(-code).name}"
            if code < 0
            else "as it meant to"
            if code == 0
            else f"with exit code {code}"
        )
        return f"the learner ended {how}"

    @property
    def failed(self) -> bool:
        """Whether it ended by a crash."""
        return bool(self._process.poll())

    def stop(self, grace_s: float = GRACE_S) -> None:
        """Let it write down what it knows and end; kill what is left of it after `grace_s`."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(grace_s)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self._process.pid, signal.SIGKILL)  # and what it started
        except ProcessLookupError:
            pass
        self._process.wait()


def _mark(file: Path) -> tuple[int, int, int] | None:
    """Another one for each file that ever had this name."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _with_parent() -> None:
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGTERM)
