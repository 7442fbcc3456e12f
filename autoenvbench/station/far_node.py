"""A cell on its robot's machine: the process that starts its worker there, and carries the seam, files and stops over the wire to the run.

Run as ``python -m autoenvbench.station.far_node`` with a line of JSON on standard input; it answers with a line that says where it
listens. The policy's process and its cage are the worker's, as in any cell. It has one rule for every end, whether the run closes, the wire
is silent, or whoever started it dies: the worker's door is gone then, so it halts and folds its arms. Only when the worker has ended is
the station free for another run.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from enpire_envs.remote import wire
from enpire_envs.remote.wire import Malformed

from autoenvbench.errors import UserError
from autoenvbench.sandbox.cage import python_path
from autoenvbench.station import far_wire, messages
from autoenvbench.station.far_wire import Incoming, Keys, Wire, files_below, inside
from autoenvbench.station.stop_mirror import LOOK_S, STOPS, Stops, change_of

ALONE_S = 30.0  # until the run has connected
FOLD_S = 45.0  # that a worker may take to end with its arms folded, as it sees to itself
BEFORE_S = 50.0  # that the run before may take to let go of the station
KEPT, BUNDLES, FILES = "kept", "bundles", "files"  # folders in the cell's own
STOP_SOCKET = "stop.sock"
_ENDS_AN_EPISODE = ("next", "run_ended")  # messages before which all files are whole


def hold_station(name: str) -> TextIO:
    """Have the station of this name to ourselves on this machine, once the run before has let go of it. Raises UserError.

    The lock is on an open file, which the worker inherits: it is held until both have ended, however that comes about.
    """
    lock = (_own_place() / f"station-{name}.lock").open("w")
    deadline = time.monotonic() + BEFORE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except OSError:
            if time.monotonic() > deadline:
                lock.close()
                raise UserError(
                    f"station {name} is at work for another run on {socket.gethostname()}; wait for that run to end, then try again"
                ) from None
            time.sleep(0.1)


def _own_place() -> Path:
    place = Path(tempfile.gettempdir()) / f"autoenvbench-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    if place.stat().st_uid != os.getuid():
        raise UserError(f"{place} is somebody else's")
    return place


def own_folder(name: str) -> Path:
    """A new folder for the cell of a station that we hold; what one that was killed has left is removed."""
    folder = _own_place() / f"cell-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return folder


class Node:
    """One cell's worker and the wire to its run.

    Args:
        folder: the cell's own on this machine; removed at the end.
        lock: the station's, which the worker inherits.
    """

    def __init__(self, folder: Path, lock: TextIO) -> None:
        self.folder, self._lock = folder, lock
        self._cell: Wire | None = None
        self._worker: asyncio.subprocess.Process | None = None
        self._seam: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()
        self._over = asyncio.Event()
        self._stops = Stops(folder / STOPS)
        self._duties: list[asyncio.Task[None]] = []  # of the worker
        self._incoming = Incoming(lambda name: inside(folder, name))

    async def serve(self, host: str, certificate: str, started_by: TextIO) -> None:
        """Listen to whoever has this certificate, say where and with which, and do what the run says until it is over. Returns when the
        worker has ended."""
        keys = Keys.draw()
        server = await asyncio.start_server(
            self._accept, host, 0, ssl=keys.context(certificate, server=True), ssl_handshake_timeout=far_wire.SILENCE_S
        )
        port = server.sockets[0].getsockname()[1]
        print(json.dumps({"port": port, "certificate": keys.certificate}), flush=True)
        sys.stdout.close()
        duties = [asyncio.create_task(each) for each in (self._outlives(started_by), self._not_alone())]
        await self._over.wait()
        server.close()
        code = await self._end_worker()
        if self._cell is not None:
            with contextlib.suppress(messages.Closed):
                await self._cell.send(far_wire.END, wire.pack({"code": code}))
                await self._cell.finish()
        for duty in duties:
            duty.cancel()

    # -- what ends it ------------------------------------------------------------------------------------------------
    async def _outlives(self, started_by: TextIO) -> None:
        """Until whoever started this is gone."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), started_by)
        await reader.read()
        self._over.set()

    async def _not_alone(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._connected.wait(), ALONE_S)
            return
        self._over.set()

    async def _end_worker(self) -> int | None:
        """Let the worker end as if its door were gone; returns its exit code, or None where there was none."""
        if self._worker is None or self._seam is None:
            return None
        self._seam.close()
        try:
            return await asyncio.wait_for(self._worker.wait(), FOLD_S)
        except TimeoutError:
            self._worker.kill()
            return await self._worker.wait()

    # -- who connects ------------------------------------------------------------------------------------------------
    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Who is here has the run's key. The first is the cell's wire, and there is one of it in this process's life."""
        connection = Wire(reader, writer)
        try:
            what, _ = await connection.receive()
            if what == far_wire.CELL and self._cell is None:
                self._cell = connection
                self._connected.set()
                await self._together(self._from_run(connection), connection.beat(), self._carry_stops(connection))
                self._over.set()
            elif what == far_wire.STOP_LINE:
                await self._together(self._stop_line(connection), connection.beat())
        except (messages.Closed, Malformed) as error:
            print(f"a wire ended: {error}", file=sys.stderr, flush=True)
        finally:
            if connection is not self._cell:
                connection.close()

    async def _together(self, *duties: Awaitable[Any]) -> None:
        """Until one of them ends, however it does."""
        tasks = [asyncio.ensure_future(duty) for duty in duties]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if (error := task.exception()) is not None:
                    print(f"the cell is ended: {error}", file=sys.stderr, flush=True)
        finally:
            for task in tasks:
                task.cancel()

    # -- the cell's wire ---------------------------------------------------------------------------------------------
    async def _from_run(self, connection: Wire) -> None:
        await connection.send(
            far_wire.HELLO, wire.pack({"folder": str(self.folder), "monotonic": time.monotonic(), "host": socket.gethostname()})
        )  # fmt: skip
        while True:
            kind, content = await connection.receive()
            match kind:
                case far_wire.MESSAGE:
                    await self._to_worker(content)
                case far_wire.FILE:
                    self._incoming.begin(content)
                case far_wire.PART:
                    self._incoming.take(content)
                case far_wire.STOPS:
                    change = change_of(content)
                    await asyncio.to_thread(self._stops.apply, change)  # a disk may take its time
                case far_wire.CLOSE:
                    return
                case _:
                    raise Malformed(f"a frame of kind {kind!r}")

    async def _to_worker(self, content: bytes) -> None:
        if self._worker is None:
            await self._start_worker()
        assert self._seam is not None
        try:
            self._seam.write(messages.LENGTH.pack(len(content)) + content)
            await self._seam.drain()
        except OSError:
            raise messages.Closed("the worker has ended") from None

    async def _start_worker(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._worker = await asyncio.create_subprocess_exec(
                python_path(), "-m", "autoenvbench.station.cell_worker", str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
                pass_fds=(theirs.fileno(), self._lock.fileno()),
            )  # fmt: skip
        reader, self._seam = await asyncio.open_unix_connection(sock=ours, limit=1 << 20)
        for duty in (self._from_worker(reader), self._log()):
            task = asyncio.create_task(duty)
            task.add_done_callback(self._worker_done)
            self._duties.append(task)

    def _worker_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            print(f"the cell is ended: {error!r}", file=sys.stderr, flush=True)
        self._over.set()

    async def _from_worker(self, reader: asyncio.StreamReader) -> None:
        """What the worker says, in its order, with the files that it has written before it."""
        assert self._cell is not None
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (length,) = messages.LENGTH.unpack(await reader.readexactly(messages.LENGTH.size))
                if length > messages.MAX_TO_DOOR:
                    raise Malformed(f"a message of {length} bytes from the worker")
                content = await reader.readexactly(length)
                if _files_are_whole(content):
                    await self._send_kept()
                await self._cell.send(far_wire.MESSAGE, content)

    async def _send_kept(self) -> None:
        """Send episodes and films home. Here they are not needed any more."""
        assert self._cell is not None
        for path in files_below(self.folder / KEPT):
            await self._cell.send_file(str(path.relative_to(self.folder)), path)
            path.unlink()

    async def _log(self) -> None:
        assert self._worker is not None
        assert self._worker.stdout is not None
        assert self._cell is not None
        while said := await self._worker.stdout.read(1 << 16):
            await self._cell.send(far_wire.LOG, said)

    # -- stops -------------------------------------------------------------------------------------------------------
    async def _carry_stops(self, connection: Wire) -> None:
        """Tell the run of people's stops on this machine."""
        while True:
            for change in self._stops.changes():
                await connection.send(far_wire.STOPS, wire.pack(asdict(change)))
            await asyncio.sleep(LOOK_S)

    async def _stop_line(self, connection: Wire) -> None:
        """Requests for the worker's own stop door, one after the other: nothing else is on this wire."""
        while True:
            kind, request = await connection.receive()
            if kind != far_wire.ASK:
                raise Malformed(f"a frame of kind {kind!r} on a stop's line")
            answer = b""
            try:
                reader, writer = await asyncio.open_unix_connection(str(self.folder / STOP_SOCKET))
                writer.write(request)
                answer = await asyncio.wait_for(reader.read(), far_wire.SILENCE_S)
                writer.close()
            except (OSError, TimeoutError) as error:
                print(f"the worker takes no stop: {error}", file=sys.stderr, flush=True)
            await connection.send(far_wire.ANSWER, answer)


def _files_are_whole(content: bytes) -> bool:
    """Whether a message is one that the worker's own thread sends between two things that it writes."""
    fields = wire.unpack(content, longest=messages.MAX_LIST)
    kind = fields.get("type") if isinstance(fields, dict) else None
    return kind in _ENDS_AN_EPISODE or (kind == "report" and fields.get("kind") == "episode")


def main() -> None:
    """Listen as standard input's first line says; see the module."""
    asked = json.loads(sys.stdin.readline())
    if (
        os.fork()
    ):  # not a child of who started it, nor of its process group: it is still here to fold the arms when that is killed
        os._exit(0)
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        lock = hold_station(asked["station"])
        folder = own_folder(asked["station"])
        asyncio.run(Node(folder, lock).serve(asked["host"], asked["certificate"], sys.stdin))
        shutil.rmtree(folder, ignore_errors=True)
    except ModuleNotFoundError as error:  # of the package that draws keys
        print(json.dumps({"error": f"{error}; type there: pip install 'autoenvbench[ray]'"}), flush=True)
    except UserError as error:
        print(json.dumps({"error": str(error)}), flush=True)
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
