"""An agent's process: started in its cage, listened to, and ended so that nothing of it is left."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

from autoenvbench.agents import forward
from autoenvbench.agents.base import Launch
from autoenvbench.sandbox import docker
from autoenvbench.sandbox.cage import Bind, Cage, Caged, Sandbox, Track, members, python_path
from autoenvbench.sandbox.limits import Limits
from autoenvbench.station.client import CREDENTIALS, stop_socket

GRACE_S = 10.0
_LONGEST_LINE = 16 << 20  # bytes of an event
_EVENTS_AT_ONCE = 1000

_ERROR = re.compile(r"(error|[A-Za-z_.]*(Error|Exception)|panic|fatal|cannot start .*):", re.IGNORECASE)
#: Lines that every start of a CLI writes, whatever happens.
_NOISE = ("Reading additional input from stdin",)


class AgentProcess:
    """One agent under way.

    Args:
        folder: the agent's folder of the run; holds workspace/, home/, events.jsonl and stderr.log.
        data: episodes from the station, seen as workspace/data.
        model_socket: the gateway's socket, or None for an agent without a model.
        limits: what it may use; see `broken_limit`.
        stop_sockets: of the cells with arms on which it works; by default the station's one.
    """

    def __init__(
        self, launch: Launch, folder: Path, data: Path, sandbox: Sandbox, track: Track, station_socket: Path,
        token: str, model_socket: Path | None, limits: Limits, stop_sockets: Sequence[Path] = (),
    ) -> None:  # fmt: skip
        self._sandbox, self._limits = sandbox, limits
        folder, data = folder.resolve(), data.resolve()
        caged = sandbox != "none"
        workspace, home = folder / "workspace", folder / "home"
        at_workspace = Path("/workspace") if caged else workspace
        at_home = Path("/home/agent") if caged else home
        at_station = Path("/run/aeb/station.sock") if caged else station_socket
        at_model = None if model_socket is None else Path("/run/aeb/model.sock") if caged else model_socket

        stops = {
            path: stop_socket(at_station, k) if caged else path
            for k, path in enumerate(stop_sockets or [stop_socket(station_socket)])
        }
        at_stops = [str(path) for path in stops.values()]
        known = {"socket": str(at_station), "token": token, "stop": at_stops if len(at_stops) > 1 else at_stops[0]}
        files = {**launch.home_files, CREDENTIALS: json.dumps(known)}
        for name, text in files.items():
            _write_inside(home, name, text)
        if not caged and not (workspace / "data").is_symlink():
            (workspace / "data").rmdir()
            (workspace / "data").symlink_to(data)
        binds = [Bind(p, p) for p in launch.read_only]
        binds += [Bind(workspace, at_workspace, True), Bind(home, at_home, True), Bind(data, at_workspace / "data")]
        binds += [Bind(station_socket, at_station), *(Bind(path, at) for path, at in stops.items() if path.exists())]
        if model_socket is not None and at_model is not None:
            binds.append(Bind(model_socket, at_model))
        env = {
            "PATH": f"{Path(python_path()).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(at_home),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "MUJOCO_GL": "egl",
            "PYTHONDONTWRITEBYTECODE": "1",
            "AEB_LIMITS": f"{limits.disk},{limits.processes}",
            "AEB_GATEWAY_FILES": os.pathsep.join(str(at_home / name) for name in launch.home_files),
            **{key: value.replace("{home}", str(at_home)) for key, value in launch.env.items()},
        }
        self._cage = Cage(sandbox, track, cwd=at_workspace, binds=binds, env=env)
        self._argv = [python_path(), "-I", str(Path(forward.__file__)), str(at_model or "-"), "--"]
        self._argv += [part.replace("{home}", str(at_home)) for part in launch.argv]
        self._folders = (workspace, home)
        self._events_path, self._stderr_path = folder / "events.jsonl", folder / "stderr.log"
        for path in (self._events_path, self._stderr_path):
            path.touch()  # they can be read also if it never comes to a start
        self._read_at = self._events_path.stat().st_size
        self._label = str(folder)
        self._caged: Caged | None = None
        if sandbox == "docker":
            docker.sweep(self._label)

    def start(self) -> None:
        """Run the command in its cage; its output is appended to events.jsonl and stderr.log."""
        with self._events_path.open("ab") as out, self._stderr_path.open("ab") as err:
            self._caged = self._cage.start(
                self._argv, outside=self._folders[0], stdout=out, stderr=err, label=self._label
            )

    def poll(self) -> int | None:
        """Its exit code, or None while it lives."""
        assert self._caged is not None
        return self._caged.process.poll()

    def new_events(self) -> Iterator[dict[str, Any]]:
        """JSON objects the agent has printed since the last call; other lines are left in the file. A thousand lines at a
        time, so that one who prints faster than they are read keeps nobody from the clock."""
        with self._events_path.open("rb") as file:
            file.seek(self._read_at)
            for line in islice(_whole_lines(file), _EVENTS_AT_ONCE):
                self._read_at += len(line)
                try:
                    event = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(event, dict):
                    yield event

    def last_words(self, error: str | None = None) -> str:
        """What it ended with: the last error of its event stream if it told one, else the last line that it wrote to
        standard error or (where that says nothing) to standard output; and where the rest is."""
        line = error or self.last_line()
        return f"{line[:300]} (more in {self._stderr_path})" if line else f"nothing was said ({self._events_path})"

    def last_line(self) -> str:
        """The last error of its output that is meant for people, with what follows it; else the last line."""
        for path in (self._stderr_path, self._events_path):
            lines = [line.strip() for line in _tail(path).splitlines()]
            lines = [line for line in lines if line and not line.startswith(_NOISE) and line[0] not in "{["]
            errors = [at for at, line in enumerate(lines) if _ERROR.match(line)]
            if lines:
                return " ".join(lines[errors[-1] :]) if errors else lines[-1]
        return ""

    def broken_limit(self) -> str | None:
        """The limit on memory or processes that it is over. Without a cage only its first process is known."""
        return self._limits.broken(self._members())

    def overfull(self) -> str | None:
        """The same for the disk; slow."""
        return self._limits.overfull(self._folders)

    def freeze(self, frozen: bool) -> None:
        """Stop every process of the cage where it stands, or let them go on."""
        for pid in self._members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP if frozen else signal.SIGCONT)

    def _members(self) -> list[int]:
        if self._caged is None:
            return []
        if self._caged.namespace is not None:
            return members(self._caged.namespace)
        return [self._caged.init] if self._caged.process.poll() is None else []

    def stop(self, grace: float = GRACE_S) -> int | None:
        """Interrupt, wait, kill, and make sure that nothing lives. Returns the exit code."""
        caged = self._caged
        if caged is None:
            return None
        if caged.process.poll() is None and grace > 0:
            self._interrupt(caged)
            with contextlib.suppress(subprocess.TimeoutExpired):
                caged.process.wait(grace)
        ended = caged.process.poll()
        caged.kill()
        deadline = time.monotonic() + GRACE_S
        while caged.namespace is not None and (left := members(caged.namespace)):
            if time.monotonic() > deadline:
                raise RuntimeError(f"processes of the agent survived the end of its cage: {left}")
            time.sleep(0.02)
        return caged.process.returncode if ended is None else ended

    def _interrupt(self, caged: Caged) -> None:
        """SIGINT to the supervisor, which passes it on; to bubblewrap itself it would be a kill."""
        for pid in _children(caged.init) if self._sandbox == "bwrap" else [caged.init]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)


def _tail(path: Path, most: int = 64 << 10) -> str:
    """The end of a file that may have any size."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - most))
        return file.read().decode(errors="replace")


def _write_inside(home: Path, name: str, text: str) -> None:
    """Write a file below a folder that an agent could write to before: nothing that it left there is followed."""
    path = home
    for part in Path(name).parts[:-1]:
        path /= part
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            path.unlink()
    path.mkdir(parents=True, exist_ok=True)
    file = home / name
    if file.is_dir() and not file.is_symlink():
        shutil.rmtree(file)
    file.unlink(missing_ok=True)  # a link, a pipe, or last time's file
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as new:
        new.write(text)


def _whole_lines(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(_LONGEST_LINE):
        if not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
            return  # still being written
        yield line


def _children(pid: int) -> list[int]:
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
