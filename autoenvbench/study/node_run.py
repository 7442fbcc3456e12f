"""A research run on a node of a cluster: on the node's own disk, in a process of its own, with copies for whoever asks."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from autoenvbench import __version__
from autoenvbench.errors import UserError
from autoenvbench.study.copies import Copy, pack, unpack
from autoenvbench.study.local import WorkerProcess
from autoenvbench.study.runs import FILES, PlannedRun, script_of, standing_of


@dataclass(frozen=True, slots=True)
class Shipment:
    """A run with everything that a node needs for it.

    Attributes:
        files: names and contents of the user's files, by the fields of the configuration that name them.
        scripts: the same by the members, counted from 0, that are a script.
        copy: where the run goes on; None for a new one.
        version: of the autoenvbench that wants it.
    """

    run: PlannedRun
    files: dict[str, tuple[str, bytes]]
    scripts: dict[int, tuple[str, bytes]]
    copy: Copy | None
    version: str


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """How a run on a node is doing; `node` is the machine's name, `t_run` research time so far [s]."""

    node: str
    t_run: float
    over: bool
    problem: str | None


def ship(run: PlannedRun) -> Shipment:
    """Read what a run needs from this machine's disk; it goes on from the copy that is here. Raises OSError, UserError."""
    files = {name: _content(Path(path)) for name in FILES if (path := getattr(run.config, name))}
    scripts = {k: _content(path) for k, agent in enumerate(run.agents) if (path := script_of(agent)) is not None}
    standing = standing_of(run)
    copy = pack(standing.run_dir) if standing.state == "interrupted" and standing.run_dir is not None else None
    return Shipment(run, files, scripts, copy, __version__)


def _content(path: Path) -> tuple[str, bytes]:
    return path.name, path.read_bytes()


class NodeRun:
    """It ends with the process that holds this object.

    Attributes:
        folder: on this node's disk, once it is begun.
    """

    folder: Path

    def begin(self, shipment: Shipment) -> NodeStatus:
        """Begin or take up a run. Raises UserError where this node has another version, or the copy is not what was sent."""
        if shipment.version != __version__:
            raise UserError(
                f"{socket.gethostname()} has autoenvbench {__version__} and {shipment.version} is asked for; install that one there"
            )
        self.folder, self._lock = _own_folder()
        where = {name: self._put(name, *file) for name, file in shipment.files.items()}
        agents = list(shipment.run.agents)
        for k, file in shipment.scripts.items():
            agents[k] = f"replay:{self._put(f'agent-{k}', *file)}"
        self._run = shipment.run.model_copy(
            update={
                "folder": self.folder / shipment.run.key,
                "agents": agents,
                "config": shipment.run.config.model_copy(update=where),
            }
        )
        if shipment.copy is not None:
            unpack(shipment.copy, self._run.folder)
        self._worker = WorkerProcess(self._run)
        return self.status()

    def _put(self, place: str, name: str, content: bytes) -> str:
        path = self.folder / "files" / place / name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        return str(path)

    def status(self) -> NodeStatus:
        """How it is doing."""
        over = self._worker.over()
        return NodeStatus(
            socket.gethostname(), standing_of(self._run).t_run, over, self._worker.problem() if over else None
        )

    def copy(self) -> Copy | None:
        """The run's folder as it is; None before there is one. Raises UserError, OSError."""
        run_dir = standing_of(self._run).run_dir
        return None if run_dir is None else pack(run_dir)

    def close(self) -> None:
        """End what is under way, and leave nothing on the node."""
        self._worker.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()


def _own_folder() -> tuple[Path, TextIO]:
    """A new folder on this node's disk, and the open file that holds it for as long as this process lives; those of dead ones
    are removed."""
    place = Path(tempfile.gettempdir()) / f"autoenvbench-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    if place.stat().st_uid != os.getuid():
        raise PermissionError(f"{place} is somebody else's")
    with (place / "lock").open("w") as turn:  # two that begin at once must not sweep one another
        fcntl.flock(turn, fcntl.LOCK_EX)
        for left in place.glob("run-*"):
            with (left / "held").open("a") as held:
                try:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    continue
            shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=place))
        lock = (folder / "held").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return folder, lock
