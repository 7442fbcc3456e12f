"""The live page on the command line: of a run that begins (`eval --live`), and of runs that there are (`watch`)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from autoenvbench.text import visible

_ENDS_S = 5.0  # that the page's server may take to end
_PASSED_ON = ("PATH", "HOME", "LANG", "PYTHONPATH", "LD_LIBRARY_PATH", "TMPDIR")  # of the environment: none of its keys


class LivePage:
    """The page of one run, served by a process of its own: nothing in the run waits for it, and it has none of the run's keys."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[str] | None = None

    def open(self, run_dir: Path, log: Callable[[str], None]) -> None:
        """Start it; its address is logged as soon as it has one."""
        self._server = subprocess.Popen(
            [sys.executable, "-m", "autoenvbench.publish.live_server", str(run_dir.resolve())], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        )  # fmt: skip
        threading.Thread(target=self._listen, args=(self._server, log), daemon=True, name="live page").start()

    def close(self) -> None:
        """End it. Who has the page open keeps what it shows."""
        if self._server is None:
            return
        assert self._server.stdin is not None
        self._server.stdin.close()
        try:
            self._server.wait(_ENDS_S)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()

    @staticmethod
    def _listen(server: subprocess.Popen[str], log: Callable[[str], None]) -> None:
        assert server.stdout is not None
        for k, line in enumerate(server.stdout):
            if k < 20:  # and the rest is read, so that the server never waits
                log(f"live page: {line.strip()}" if line.startswith("http") else line.strip())


def watch(run_dirs: Sequence[Path]) -> None:
    """Serve the page of these runs until the command is interrupted. Raises UserError."""
    from autoenvbench.publish.live_server import serve

    def on_open(url: str) -> None:
        print(visible(f"live page: {url}  (Ctrl-C ends it)"), flush=True)

    async def run() -> None:
        await serve(run_dirs, on_open, asyncio.Event().wait())

    asyncio.run(run())
