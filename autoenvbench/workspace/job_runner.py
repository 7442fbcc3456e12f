"""The queue's runner, one of a workspace: `python -m autoenvbench.workspace.job_runner WORKSPACE`. See `jobs`.

It starts what waits, oldest first, as many at a time as there are cores (of jobs with --gpu: as there are GPUs, each seeing one), at low priority
and with numeric libraries on one thread, so that neither a station in real time nor other jobs wait for them. It ends when nothing is left to do.
Its jobs end with it, whatever ends it; and it ends with the agent's session: in a cage with its namespace, without one because it looks.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from autoenvbench.workspace.jobs import (
    JOBS,
    LOCK,
    MARK,
    SESSION,
    STOP_S,
    Job,
    gpus,
    interrupt,
    kill,
    listed,
    ticks,
    write_part,
)

POLL_S = 0.2
_LOCK_TRIES = 20
_NICE = 10
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_LIBC = ctypes.CDLL(None)


@dataclass
class Running:
    """A job under way.

    Attributes:
        gpu: the number of its GPU; None for one that runs on a core.
        stop_by: when it is killed, once it was asked to end.
    """

    job: Job
    process: subprocess.Popen[bytes]
    gpu: int | None
    stop_by: float | None = None


class Runner:
    """Keeps the slots of one workspace busy.

    Args:
        cores, devices: how many jobs run at a time, on a core and on a GPU.
    """

    def __init__(self, workspace: Path, cores: int, devices: int) -> None:
        self._workspace, self._cores, self._devices = workspace, cores, devices
        self._running: list[Running] = []
        self._unwritten: list[tuple[Job, int | None]] = []  # how they ended, where the disk was full

    def bury(self) -> None:
        """End what is left of jobs whose runner was killed: nobody would see how they end."""
        for job in listed(self._workspace):
            if job.read("started") is not None and job.read("ended") is None:
                kill(job)
                self._ended(job, None)

    def turn(self) -> bool:
        """Look once at everything; whether there is anything left to do."""
        unwritten, self._unwritten = self._unwritten, []
        for job, code in unwritten:
            self._ended(job, code)
        for running in list(self._running):
            self._look_after(running)
        waiting = [job for job in listed(self._workspace) if job.status()["state"] == "queued"]
        for job in waiting:
            self._start(job)
        return bool(self._running or waiting or self._unwritten)

    def end(self) -> None:
        """End all that runs."""
        for running in self._running:
            kill(running.job)
            self._ended(running.job, running.process.wait())
        self._running = []

    def _look_after(self, running: Running) -> None:
        code = running.process.poll()
        if code is not None:
            self._running.remove(running)
            kill(running.job)  # what it left behind holds a core without being a job
            self._ended(running.job, code)
        elif not (running.job.folder / "job.json").exists():  # its folder was removed
            kill(running.job)
        elif running.stop_by is None and (running.job.folder / "stop").exists():
            interrupt(running.job)
            running.stop_by = time.monotonic() + STOP_S
        elif running.stop_by is not None and time.monotonic() > running.stop_by:
            kill(running.job)

    def _start(self, job: Job) -> None:
        about = job.read("job") or {}
        gpu = None
        if about.get("gpu"):
            free = set(range(self._devices)) - {running.gpu for running in self._running}
            if not free:
                return
            gpu = min(free)
        elif sum(running.gpu is None for running in self._running) >= self._cores:
            return
        own = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": str(gpu)}
        with contextlib.suppress(OSError), (job.folder / "log").open("ab") as log:  # no room on the disk: it waits
            process = _spawn(about, {**own, "PYTHONUNBUFFERED": "1", MARK: str(job.folder)}, log)
            if isinstance(process, int):
                self._begun(job, os.getpid())
                self._ended(job, process)
            else:
                self._running.append(Running(job, process, gpu))
                self._begun(job, process.pid)

    def _begun(self, job: Job, pid: int) -> None:
        try:
            write_part(job, "started", pid=pid, ticks=ticks(pid))
        except OSError as error:  # what nobody can see is not run
            kill(job)
            print(f"{job.name}: {error}", file=sys.stderr)

    def _ended(self, job: Job, code: int | None) -> None:
        try:
            write_part(job, "ended", code=code)
        except FileNotFoundError:
            pass  # it was removed
        except OSError:
            self._unwritten.append((job, code))


def _spawn(about: dict[str, Any], own: dict[str, str], log: IO[bytes]) -> subprocess.Popen[bytes] | int:
    """The process, or the exit code that a shell would give where it cannot be started; the log says why then."""
    try:
        return subprocess.Popen(
            about["command"], cwd=about["cwd"], env={**dict.fromkeys(_ONE_THREAD, "1"), **about["env"], **own}, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, start_new_session=True, preexec_fn=_lowly,
        )  # fmt: skip
    except (OSError, ValueError, TypeError, KeyError, subprocess.SubprocessError) as error:
        log.write(f"cannot start {about.get('command')} in {about.get('cwd')}: {error}\n".encode())
        return 126 if isinstance(error, PermissionError) else 127


def _lowly() -> None:
    """In a job's process, before it is what it will be: low priority, and an end with the runner's."""
    _LIBC.prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    os.nice(_NICE)


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[bool]:
    """Whether no other runner is at work here; those who only look hold the lock for a moment."""
    with lock.open("a") as file:
        for _ in range(_LOCK_TRIES):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.05)
            else:
                yield True
                return
        yield False


def main() -> None:
    """Until nothing is left to do, or the agent's session is over."""
    workspace = Path(sys.argv[1])
    pid = os.environ.pop(SESSION, None)
    session = None if pid is None else (int(pid), ticks(int(pid)))
    runner = Runner(workspace, len(os.sched_getaffinity(0)), gpus())
    busy = True
    while busy:
        with _alone(workspace / JOBS / LOCK) as alone:
            if not alone:
                return
            runner.bury()
            while runner.turn():
                if session is not None and ticks(session[0]) != session[1]:
                    runner.end()
                    return
                time.sleep(POLL_S)
        # Whoever asked for a job while the lock was held relies on this runner; it is seen now at the latest.
        busy = any(job.status()["state"] == "queued" for job in listed(workspace))


if __name__ == "__main__":
    main()
