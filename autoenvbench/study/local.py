"""Carries out the research runs of a study in processes of this machine, a few at a time."""

from __future__ import annotations

import subprocess
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from autoenvbench.record.compute import compute_class
from autoenvbench.record.standing import crowded
from autoenvbench.sandbox.cage import python_path
from autoenvbench.study.runs import PlannedRun

_LOOK_EVERY_S = 0.1


class StudyObserver:
    """Told of a study as it goes; every method does nothing here."""

    def log(self, text: str) -> None:
        """Something that a person should know."""

    def on_begin(self, runs: Sequence[PlannedRun]) -> None:
        """These runs are to be carried out."""

    def on_run(self, run: PlannedRun, where: str) -> None:
        """A run begins, or goes on; `where` is nothing on this machine, else the node's name."""

    def on_end(self, run: PlannedRun, problem: str | None) -> None:
        """A run has ended, well where there is no problem."""

    def refresh(self, active: Sequence[PlannedRun]) -> None:
        """Called several times a second."""


class Runner(Protocol):
    """Carries out runs."""

    @property
    def at_a_time(self) -> int:
        """How many runs are under way together."""

    def crowding(self, runs: Sequence[PlannedRun]) -> str | None:
        """Why these runs will measure also how they wait for one another, if they will: each member and each cell wants a core."""

    def carry_out(self, runs: Sequence[PlannedRun], observer: StudyObserver) -> dict[str, str]:
        """Returns what went wrong, by the keys of the runs that have no result."""


@dataclass(slots=True)
class WorkerProcess:
    """A run in a process of its own, which ends when this object's end of its pipe is closed."""

    run: PlannedRun
    _process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.run.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [python_path(), "-m", "autoenvbench.study.worker"], stdin=subprocess.PIPE, stdout=log, stderr=log,
                start_new_session=True,  # Ctrl-C is the study's to handle
            )  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(self.run.model_dump_json().encode() + b"\n")
        self._process.stdin.flush()

    @property
    def log(self) -> Path:
        """What the run says."""
        return self.run.folder / "log.txt"

    def over(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def problem(self) -> str | None:
        """Why it has no result; None where it has one. Once it is over."""
        code = self._process.wait()
        if code == 0:
            return None
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if code == 2 and lines else f"its process ended with {code}: {lines[-1] if lines else 'nothing was said'} (more in {self.log})"  # fmt: skip

    def stop(self) -> None:
        """End it at once; its ledger keeps what was acknowledged."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@dataclass(frozen=True, slots=True)
class LocalRunner:
    """Carries out runs in processes of this machine, `at_a_time` together."""

    at_a_time: int

    def crowding(self, runs: Sequence[PlannedRun]) -> str | None:
        """As of `Runner`: of the largest that may be under way together; one agent by itself takes turns with its cell."""
        sizes = sorted(((run.config.team + run.config.cells, run.config.team) for run in runs), reverse=True)
        together = sizes[: self.at_a_time]
        if len(together) < 2 and all(members == 1 for _, members in together):
            return None
        members, wanted = sum(m for _, m in together), sum(size for size, _ in together)
        what = f"{len(together)} runs at a time, with {members} members and {wanted - members} cells in all,"
        return crowded(what, wanted, compute_class())

    def carry_out(self, runs: Sequence[PlannedRun], observer: StudyObserver) -> dict[str, str]:
        """As of `Runner`."""
        waiting, active, problems = deque(runs), list[WorkerProcess](), dict[str, str]()
        try:
            while waiting or active:
                while waiting and len(active) < self.at_a_time:
                    run = waiting.popleft()
                    active.append(WorkerProcess(run))
                    observer.on_run(run, "")
                for worker in [worker for worker in active if worker.over()]:
                    active.remove(worker)
                    if problem := worker.problem():
                        problems[worker.run.key] = problem
                    observer.on_end(worker.run, problem)
                observer.refresh([worker.run for worker in active])
                time.sleep(_LOOK_EVERY_S)
        finally:
            for worker in active:
                worker.stop()
        return problems
