"""Starts and stops the door's process, and so the cells'. It ends when the pipe to it closes, however its parent died."""

from __future__ import annotations

import subprocess
import time

from autoenvbench.errors import UserError
from autoenvbench.sandbox.cage import python_path
from autoenvbench.station.client import StationClient
from autoenvbench.station.config import StationConfig

START_S = 330.0  # other simulators take a while to start, most of all the first time


class StationProcess:
    """A running station, as a context manager."""

    def __init__(self, config: StationConfig) -> None:
        self._config = config
        self.socket = config.socket
        self.log = config.run_dir / f"{config.name}.log"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> StationProcess:
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [python_path(), "-m", "autoenvbench.station.door"], stdin=subprocess.PIPE, stdout=log, stderr=log,
                text=True, start_new_session=True,
            )  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(self._config.model_dump_json() + "\n")
        self._process.stdin.flush()
        client = StationClient(str(self.socket), "")
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.alive():
            try:
                client.get("/health")
                return self
            except UserError:
                time.sleep(0.05)
        self.__exit__()
        *_, last = ["", *self.log.read_text(errors="replace").splitlines()]
        raise UserError(f"the station did not start ({last.strip()[-500:] or 'it said nothing'}); see {self.log}")

    def __exit__(self, *exc: object) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(40)  # a real station parks its arms first
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def alive(self) -> bool:
        """Whether the door runs. It ends by itself where a cell is lost."""
        return self._process is not None and self._process.poll() is None
