"""Finds a station's machine in a Ray cluster, and has its cell begun there. Ray does no more: the cell's traffic is on a wire of its own.

A machine offers its robot as a custom resource, `ray start --resources='{"station:left": 1}'`. Whoever works with a station is an
actor of the station's name, of which a cluster has one at a time: a second run is refused and told by whom.
"""

from __future__ import annotations

import getpass
import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autoenvbench import __version__
from autoenvbench.errors import UserError
from autoenvbench.sandbox.cage import Sandbox, choose_sandbox, python_path
from autoenvbench.station import messages
from autoenvbench.station.far_wire import Keys, Place
from autoenvbench.station.robots import PATIENCE_S, PREFIX

_NAMESPACE = "autoenvbench"
_LOOK_S = 0.5
_BEGIN_S = 120.0  # that a node may take to begin a cell: the run before may still fold its arms there


@dataclass(frozen=True, slots=True)
class Request:
    """What a node is asked: to begin a cell of this station, for whoever has the key of this certificate."""

    station: str
    certificate: str
    sandbox: Sandbox
    version: str


class CellHost:
    """The actor on a station's machine. What it starts ends with it, in its own time: arms are folded first.

    Args:
        owner: the run that has the station, in words.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._node: subprocess.Popen[str] | None = None

    def owner(self) -> str:
        """The run that has the station."""
        return self._owner

    def begin(self, request: Request) -> dict[str, Any]:
        """Start the node's process; returns where it listens, and its certificate. Raises UserError where this machine cannot be one."""
        import ray

        here, host = socket.gethostname(), ray.util.get_node_ip_address()
        if request.version != __version__:
            raise UserError(
                f"{here} has autoenvbench {__version__} and {request.version} is asked for; install that one there"
            )
        try:
            choose_sandbox(request.sandbox, fallback=False)
        except UserError as error:
            raise UserError(f"on {here}, {error}") from None
        self._node = subprocess.Popen(
            [python_path(), "-m", "autoenvbench.station.far_node"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )  # fmt: skip
        assert self._node.stdin is not None
        assert self._node.stdout is not None
        name = request.station.removeprefix(PREFIX)
        asked = {"station": name, "certificate": request.certificate, "host": host}
        self._node.stdin.write(json.dumps(asked) + "\n")
        self._node.stdin.flush()
        told = json.loads(self._node.stdout.readline() or '{"error": "no cell could be begun"}')
        if "error" in told:
            raise UserError(f"{here}: {told['error']}")
        return {"host": host, **told}


class Places:
    """The stations of a cluster. One connection a process.

    Args:
        address: "auto" for the cluster that this machine is a node of, else as `ray.init` takes it.

    Raises:
        UserError: Ray is not installed, or there is no cluster.
    """

    def __init__(self, address: str) -> None:
        try:
            import ray
        except ModuleNotFoundError:
            raise UserError(
                "--stations station:NAME needs Ray, which is not installed; type: pip install 'autoenvbench[ray]'"
            ) from None
        try:
            require_listener(address)  # Ray itself tries for minutes
            ray.init(address=address, namespace=_NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"there is no Ray cluster at {address} ({str(error).splitlines()[0]}); start one with `ray start --head`, and "
                "`ray start --address=... --resources='{\"station:NAME\": 1}'` on each robot's machine"
            ) from None
        self._ray: Any = ray
        self._address = address
        self._actor: Any = None  # it lives as long as this is here

    def begin(self, station: str, opened: messages.Open, patience_s: float) -> Place:
        """Have a cell of this station begun on its machine, which ends when this process does. Raises UserError."""
        deadline = time.monotonic() + patience_s
        owner = f"{opened.run_dir} of {getpass.getuser()} on {socket.gethostname()}"
        while True:
            try:
                self._require(station)
                return self._begin(station, opened.sandbox, owner)
            except _NotNow as error:
                if time.monotonic() > deadline:
                    raise UserError(str(error)) from None
            time.sleep(_LOOK_S)

    def check(self, stations: Sequence[str], patience_s: float = PATIENCE_S) -> None:
        """Raises UserError where one of them is not there, or at work for another run."""
        deadline = time.monotonic() + patience_s
        for station in stations:
            while True:
                try:
                    self._require(station)
                    break
                except _NotNow as error:
                    if time.monotonic() > deadline:
                        raise UserError(str(error)) from None
                time.sleep(_LOOK_S)

    def _require(self, station: str) -> None:
        """Raises _NotNow."""
        offered = sorted(name for name in self._ray.cluster_resources() if name.startswith(PREFIX))
        if station not in offered:
            others = f"; it has {', '.join(offered)}" if offered else ""
            raise _NotNow(
                f"no machine of the Ray cluster at {self._address} offers {station}{others}. On its robot's machine type: "
                f"ray start --address=... --resources='{{\"{station}\": 1}}'"
            )
        try:
            actor = self._ray.get_actor(station, _NAMESPACE)
        except ValueError:
            return
        raise _NotNow(self._taken(station, actor))

    def _taken(self, station: str, actor: Any) -> str:
        try:
            who = self._ray.get(actor.owner.remote(), timeout=5.0)
        except self._ray.exceptions.RayError:
            who = "another run"
        return f"{station} is at work for {who}: a station is one run's at a time. Wait for that run to end, or name another with --stations"

    def _begin(self, station: str, sandbox: Sandbox, owner: str) -> Place:
        exceptions = self._ray.exceptions
        remote = self._ray.remote(CellHost).options(
            name=station, num_cpus=0, resources={station: 1}, max_restarts=0, max_task_retries=0
        )
        try:
            self._actor = actor = remote.remote(owner)
        except ValueError:  # somebody was quicker
            raise _NotNow(self._taken(station, self._ray.get_actor(station, _NAMESPACE))) from None
        keys = Keys.draw()  # no other machine is told the private one: what Ray carries, others may read
        request = Request(station, keys.certificate, sandbox, __version__)
        try:
            return Place(**self._ray.get(actor.begin.remote(request), timeout=_BEGIN_S), keys=keys)
        except exceptions.RayTaskError as error:
            raise UserError(str(error.cause)) from None
        except exceptions.GetTimeoutError:
            self._ray.kill(actor)
            raise _NotNow(f"the machine of {station} has begun no cell in {_BEGIN_S:.0f} s") from None
        except exceptions.RayError as error:
            raise _NotNow(
                f"the machine of {station} was lost while it began a cell ({str(error).splitlines()[0]})"
            ) from None


def require_listener(address: str) -> None:
    """Raises OSError where nobody listens at HOST:PORT, ValueError for what is neither that nor "auto"."""
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if not (colon and port.isdecimal()):
        raise ValueError("an address is auto or HOST:PORT")
    socket.create_connection((host, int(port)), 5.0).close()


class _NotNow(Exception):
    """It may be otherwise in a moment."""


def check(address: str, stations: Sequence[str]) -> None:
    """`Places.check` in a process of its own, so that Ray is not in the one that runs the run. Raises UserError."""
    line = [python_path(), "-m", "autoenvbench.station.far_place", address, *stations]
    done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        said = (
            done.stdout.strip()
            or done.stderr.strip()
            or f"looking for {', '.join(stations)} ended with {done.returncode}"
        )
        raise UserError(said.splitlines()[-1])


def main() -> None:
    """Print what is wrong with these stations of a cluster, if anything is, and exit with 2 then."""
    address, *stations = sys.argv[1:]
    try:
        Places(address).check(stations)
    except UserError as error:
        print(error, flush=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
