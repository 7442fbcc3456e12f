"""An agent's long jobs: a queue in its workspace that keeps all cores (or GPUs) busy, survives the shell, and ends with its cage.

    jobs/NAME/job.json       what was asked for: command, folder, environment, when
    jobs/NAME/log            what it prints
    jobs/NAME/started.json   its process
    jobs/NAME/ended.json     its exit code
    jobs/NAME/stop           somebody wants it stopped

Whoever asks for a job writes the first of these and sees to it that a runner is alive (`job_runner`), which does the rest. Files appear whole or
not at all. A name is a folder's, and nothing else: letters, digits, dashes, underscores.
"""

from __future__ import annotations

import contextlib
import fcntl
import fnmatch
import itertools
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoenvbench.errors import UserError
from autoenvbench.record.clock import format_duration

JOBS = "jobs"
LOCK = ".runner"  # held by the runner as long as it lives
MARK = "AEB_JOB"  # variable of every process of a job: its folder
SESSION = (
    "AEB_SESSION"  # variable: the first process of an agent's session, which no job outlives (`agents.forward` sets it)
)
MAX_JOBS = 1000
MAX_SWEEP = 256
STOP_S = 5.0  # between asking a job to end and ending it
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_TAIL = 1 << 20  # bytes
_RUNNER_S = 20.0  # that a runner may take to be there


@dataclass(frozen=True)
class Job:
    """One job, by its folder."""

    folder: Path

    @property
    def name(self) -> str:
        """As it was given."""
        return self.folder.name

    @property
    def asked_at(self) -> float:
        """Seconds since the epoch; 0 where it is not known."""
        at = (self.read("job") or {}).get("at")
        return float(at) if isinstance(at, int | float) else 0.0

    def read(self, part: str) -> dict[str, Any] | None:
        """What a file of it holds; None where there is none, or no such thing in it."""
        try:
            found = json.loads((self.folder / f"{part}.json").read_text())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def status(self) -> dict[str, Any]:
        """name, state (queued, running, done, failed, killed, stopped, lost), code (exit code, negative for a signal), seconds, words."""
        about, began, ended = self.read("job"), self.read("started"), self.read("ended")
        stopped = (self.folder / "stop").exists()
        code, seconds = None, None
        if ended is not None:
            code = ended.get("code")
            state = (
                "lost"
                if code is None
                else "done"
                if code == 0
                else "stopped"
                if stopped
                else "killed"
                if code < 0
                else "failed"
            )
            seconds = ended.get("at", 0) - (began or ended).get("at", 0)
        elif began is not None:
            # A process that is gone and whose end is not written down yet: its runner is about to, or dead, too.
            state = "running" if alive(began) or runner_lives(self.folder.parent) else "lost"
            seconds = time.time() - began.get("at", 0)
        else:
            state = "stopped" if stopped else "queued" if about else "lost"
        return {"name": self.name, "state": state, "code": code, "seconds": seconds, "values": (about or {}).get("values") or {},
                "words": _words(state, code, seconds)}  # fmt: skip

    def tail(self, lines: int) -> str:
        """The last lines of its log. Raises UserError where it has none."""
        try:
            with (self.folder / "log").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            raise UserError(f"{self.name} has printed nothing: it is {self.status()['words']}") from None
        return "\n".join(text.splitlines()[-lines:])


# -- asking ----------------------------------------------------------------------------------------------------------
def start(
    workspace: Path, name: str, command: Sequence[str], *, gpu: bool = False, values: Mapping[str, str] | None = None
) -> Job:
    """Queue a command, to run in this process's folder with its environment. Raises UserError."""
    job = _put(workspace, name, command, gpu, values)
    ensure_runner(workspace)
    return job


def sweep(workspace: Path, name: str, command: Sequence[str], over: Sequence[str], *, gpu: bool = False) -> list[Job]:
    """Queue a command once for each combination of values.

    Args:
        name: of the sweep; its jobs are NAME-1, NAME-2, ...
        command: with {KEY} where a value belongs, and {name} for the job's own name.
        over: such as "lr=1e-3,3e-4".

    Raises:
        UserError: for what cannot be done, before anything is queued.
    """
    axes: dict[str, list[str]] = {}
    for text in over:
        key, equals, values = text.partition("=")
        if not (key.isidentifier() and equals and values) or key in {"name", *axes}:
            raise UserError(f"cannot sweep over {text!r}; write each key once, like --over lr=1e-3,3e-4")
        if not any(f"{{{key}}}" in part for part in command):
            raise UserError(
                f"{{{key}}} is nowhere in the command, so all its jobs would be the same; put it where the value belongs"
            )
        axes[key] = values.split(",")
    grid = [dict(zip(axes, row, strict=True)) for row in itertools.product(*axes.values())]
    if not axes or len(grid) > MAX_SWEEP:
        raise UserError(
            f"a sweep of {len(grid) if axes else 0} jobs: 1 to {MAX_SWEEP}, over at least one key (--over lr=1e-3,3e-4)"
        )
    names = [f"{name}-{k}" for k in range(1, len(grid) + 1)]
    for job in names:
        _check(workspace, job)
    jobs = [
        _put(workspace, job, [_filled(part, {**values, "name": job}) for part in command], gpu, values)
        for job, values in zip(names, grid, strict=True)
    ]
    ensure_runner(workspace)
    return jobs


def listed(workspace: Path, patterns: Sequence[str] = ()) -> list[Job]:
    """All jobs, or those that a name or a pattern such as lr-* fits, in the order in which they were asked for. Raises UserError for one that
    fits none."""
    folder = workspace / JOBS
    found = [Job(path) for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
    found.sort(key=lambda job: (job.asked_at, job.name))
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(job.name, pattern) for job in found):
            known = ", ".join(job.name for job in found[-10:]) or "none yet: aeb job start NAME -- COMMAND"
            raise UserError(f"there is no job {pattern!r}; there are: {known}")
    return [job for job in found if not patterns or any(fnmatch.fnmatchcase(job.name, p) for p in patterns)]


def stop(workspace: Path, patterns: Sequence[str]) -> list[Job]:
    """End jobs that run, and let none of those that wait begin: asked first, killed after a while, with all that they started. Raises UserError."""
    jobs = [job for job in listed(workspace, patterns) if job.status()["state"] in ("queued", "running", "lost")]
    for job in jobs:
        _write(job.folder / "stop", "")
    for job in jobs:
        interrupt(job)
    until = time.monotonic() + STOP_S
    while any(processes(job) for job in jobs) and time.monotonic() < until:
        time.sleep(0.05)
    for job in jobs:
        kill(job)
    return jobs


def wait(workspace: Path, patterns: Sequence[str], most_s: float) -> list[Job]:
    """Until none of these jobs waits or runs, or the time is up."""
    jobs, until = listed(workspace, patterns), time.monotonic() + most_s
    while time.monotonic() < until and any(job.status()["state"] in ("queued", "running") for job in jobs):
        ensure_runner(workspace)
        time.sleep(0.2)
    return jobs


def ensure_runner(workspace: Path) -> None:
    """Start the runner unless there is one, or nothing to do. Raises UserError where none comes up."""
    folder, until = workspace / JOBS, time.monotonic() + _RUNNER_S
    env = {
        key: value for key, value in os.environ.items() if key != MARK
    }  # it is no part of a job that asks for another
    started: subprocess.Popen[bytes] | None = None
    while not runner_lives(folder) and any(job.status()["state"] == "queued" for job in listed(workspace)):
        if started is None or started.poll() == 0:  # one that found another at work ends with 0
            with _disk(), (folder / ".runner.log").open("wb") as log:
                started = subprocess.Popen(
                    [sys.executable, "-s", "-P", "-m", "autoenvbench.workspace.job_runner", str(workspace)],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/", env=env,
                )  # fmt: skip
        elif started.poll() is not None:
            raise UserError(
                f"the queue's runner ended with code {started.returncode}; why is in {folder / '.runner.log'}"
            )
        if time.monotonic() > until:
            raise UserError(
                f"the queue's runner is not up after {_RUNNER_S:g} s: is the machine overloaded? The job waits: aeb job list"
            )
        time.sleep(0.05)


def runner_lives(folder: Path) -> bool:
    """Whether somebody holds the lock of a jobs/ folder. Raises UserError for one that cannot be written."""
    with _disk(), (folder / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # those who only look do not stop one another
        except BlockingIOError:
            return True
    return False


# -- processes -------------------------------------------------------------------------------------------------------
def ticks(pid: int) -> int | None:
    """When a process began, in the kernel's ticks: with its number, which is given anew, it names a process. None: it is gone, or a corpse."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def alive(process: Mapping[str, Any]) -> bool:
    """Whether the process of a started.json lives."""
    pid = process.get("pid")
    return isinstance(pid, int) and ticks(pid) is not None and ticks(pid) == process.get("ticks")


def processes(job: Job) -> list[int]:
    """Everything alive that a job started, whatever group or session it went to."""
    mark, found = f"{MARK}={job.folder}".encode(), []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):
                if mark in (path / "environ").read_bytes().split(b"\0") and ticks(int(path.name)) is not None:
                    found.append(int(path.name))
    return found


def interrupt(job: Job) -> None:
    """Ask all of it to end, as Ctrl-C does."""
    _signal(job, signal.SIGINT)


def kill(job: Job) -> None:
    """End all of it, also what is started meanwhile."""
    until = time.monotonic() + STOP_S  # one that hangs in the kernel is left to it
    while processes(job) and time.monotonic() < until:
        _signal(job, signal.SIGKILL)
        time.sleep(0.02)


def _signal(job: Job, number: signal.Signals) -> None:
    for pid in processes(job):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


# -- parts -----------------------------------------------------------------------------------------------------------
def _check(workspace: Path, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise UserError(f"{name!r} is no job's name: up to 40 letters, digits, dashes and underscores, such as lr-3e-4")
    folder = workspace / JOBS / name
    if folder.exists() or folder.is_symlink():
        raise UserError(
            f"there is a job {name} already; choose another name, or once it has ended: rm -r {JOBS}/{name}"
        )
    return folder


def _put(workspace: Path, name: str, command: Sequence[str], gpu: bool, values: Mapping[str, str] | None) -> Job:
    folder = _check(workspace, name)
    if not command:
        raise UserError(f"say what to run: aeb job start {name} -- python recipes/bc.py")
    if gpu and not gpus():
        raise UserError("there is no GPU here (no /dev/nvidia0); leave --gpu out")
    with _disk():
        folder.parent.mkdir(exist_ok=True)
        if len(listed(workspace)) >= MAX_JOBS:
            raise UserError(f"there are {MAX_JOBS} jobs already; remove some that have ended: rm -r {JOBS}/NAME")
        about = {
            "command": list(command), "cwd": os.getcwd(), "env": dict(os.environ), "gpu": gpu, "values": dict(values or {}), "at": time.time(),
        }  # fmt: skip
        part = folder.with_name(f".{name}.{secrets.token_hex(4)}.part")
        part.mkdir()
        try:
            (part / "job.json").write_text(json.dumps(about))
            part.rename(folder)  # whoever comes second finds a folder with something in it
        except OSError as error:
            shutil.rmtree(part, ignore_errors=True)
            if folder.exists():
                _check(workspace, name)
            raise error
    return Job(folder)


def gpus() -> int:
    """How many there are to be seen."""
    return sum(path.name.removeprefix("nvidia").isdigit() for path in Path("/dev").glob("nvidia*"))


def write_part(job: Job, part: str, **fields: Any) -> None:
    """One of a job's files, with the time. Raises OSError."""
    _write(job.folder / f"{part}.json", json.dumps({**fields, "at": time.time()}))


def _write(file: Path, text: str) -> None:
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    part.write_text(text)
    part.replace(file)


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write into {JOBS}/: {error.strerror or error}; make room first, such as by removing jobs that have ended: rm -r {JOBS}/NAME"
        ) from None


def _filled(part: str, values: Mapping[str, str]) -> str:
    for key, value in values.items():
        part = part.replace(f"{{{key}}}", value)
    return part


def _words(state: str, code: int | None, seconds: float | None) -> str:
    took = "" if seconds is None else f" {format_duration(max(seconds, 0.0))}"
    if state == "killed":
        assert code is not None
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"killed by {name} after{took}"
    if state == "failed":
        return f"failed with exit code {code} after{took}"
    if state == "lost":
        return "lost: it and the queue's runner were killed, so nobody saw how it ended"
    return {"done": f"done in{took}", "running": f"running for{took}", "stopped": "stopped"}.get(state, state)
