"""A cell on another machine, as the run's door holds it: this process stands where the worker would, and the worker is beyond a wire.

Run by a door as ``python -m autoenvbench.station.far_cell FD RAY_ADDRESS STATION PATIENCE_S``. It has the node's worker started there
(`far_place`), and from then on gives the door what that worker says, and the worker what the door says, with paths and times as they are on
the other machine: bundles and weights are sent ahead of the message that names them, episodes and films come home ahead of the message
that follows them. When the wire is lost it ends, and the door has lost a cell.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import select
import shutil
import signal
import socket
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from enpire_envs.remote import wire
from enpire_envs.remote.wire import Malformed
from enpire_real.person_stop import PersonStops, Record

from autoenvbench.errors import UserError
from autoenvbench.make_env import is_real
from autoenvbench.station import far_wire, messages
from autoenvbench.station.config import ADMIN
from autoenvbench.station.far_node import BUNDLES, FILES, FOLD_S, KEPT, STOP_SOCKET
from autoenvbench.station.far_place import Places
from autoenvbench.station.far_stop import StopLine
from autoenvbench.station.far_wire import Incoming, Place, Wire, files_below, inside
from autoenvbench.station.stop_door import StopDoor
from autoenvbench.station.stop_mirror import LOOK_S, STOPS, Stops, change_of, share_record
from autoenvbench.station.trajectories import MIN_FREE, Trajectories

WRITE_S = 2.0  # that a disk may take to have a stop


class FarCell:
    """Both directions of one cell's traffic, until either side is gone.

    Args:
        station: its name, for words.
        seam: this process's end of the seam, which nobody else reads.
        opened: the door's first message.
        place: where the node listens.
    """

    def __init__(self, station: str, seam: socket.socket, opened: messages.Open, place: Place) -> None:
        self._station, self._socket, self._opened, self._place = station, seam, opened, place
        self._run = Path(opened.run_dir)
        self._stops = Stops(self._run / STOPS)
        self._folders: dict[Path, str] = {}  # of this machine, where episodes and films go -> their names on the wire
        self._sent: dict[
            Path, str
        ] = {}  # bundles, weights and scripts that are there already -> their names on the wire
        self._kept: dict[
            Path, tuple[Trajectories, str | None]
        ] = {}  # folders of this machine -> what the batch under way may keep there, and whose it is
        self._pressed: list[threading.Event] = []  # people's stops, which are set when this machine's disk has them
        self._ready, self._arms = False, is_real(opened.env)
        self._incoming = Incoming(self._home_of)
        self._lost = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()

    async def serve(self) -> None:
        """Raises Closed, Malformed, OSError where the node, or what is on it, is lost. Returns when the door is gone and the worker has ended."""
        cell = await Wire.to(self._place, far_wire.CELL)
        asked = time.monotonic()
        kind, content = await cell.receive()
        told = wire.unpack(content, longest=8)
        if kind != far_wire.HELLO or not isinstance(told, dict):
            raise Malformed("the node says nothing of itself")
        self._there, self._host = Path(told["folder"]), str(told["host"])
        self._ahead = (
            float(told["monotonic"]) - (asked + time.monotonic()) / 2
        )  # the other machine's clock, to half a round trip
        reader, self._seam = await asyncio.open_unix_connection(sock=self._socket, limit=1 << 20)
        for change in self._stops.changes():  # before anything moves there
            await cell.send(far_wire.STOPS, wire.pack(asdict(change)))
        opened = await self._opened_there(cell)
        door = await asyncio.to_thread(self._open_stop_door, opened)
        await cell.send(far_wire.MESSAGE, messages.encode(opened))
        try:
            await self._together(cell, reader)
        finally:
            if door is not None:
                door.close()
            await asyncio.to_thread(self._write_stops)

    async def _together(self, cell: Wire, reader: asyncio.StreamReader) -> None:
        from_node = asyncio.create_task(self._from_node(cell))
        from_door = asyncio.create_task(self._from_door(cell, reader))
        others = [asyncio.create_task(each) for each in (cell.beat(), self._carry_stops(cell), self._lost.wait())]
        try:
            await asyncio.wait([from_node, from_door, *others], return_when=asyncio.FIRST_COMPLETED)
            for task in (from_node, from_door, *others):
                if task.done() and task is not from_door and task.exception() is not None:
                    raise task.exception() or AssertionError
            if self._lost.is_set():
                raise messages.Closed("a stop did not get there, so the connection was cut: the arms stop for that")
            if from_door.done():
                if (error := from_door.exception()) is not None and not isinstance(error, asyncio.IncompleteReadError):
                    raise error
                await cell.send(far_wire.CLOSE)  # the door is gone, so the worker folds its arms and ends
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(from_node), FOLD_S)
        finally:
            for task in (from_node, from_door, *others):
                task.cancel()
            cell.close()

    # -- door -> node ------------------------------------------------------------------------------------------------
    async def _from_door(self, cell: Wire, reader: asyncio.StreamReader) -> None:
        while True:
            (length,) = messages.LENGTH.unpack(await reader.readexactly(messages.LENGTH.size))
            message = messages.decode_to_cell(await reader.readexactly(length))
            await cell.send(far_wire.MESSAGE, messages.encode(await self._there_is(cell, message)))

    async def _there_is(self, cell: Wire, message: messages.ToCell) -> messages.ToCell:
        """A message as it is true on the other machine, which then has what it names."""
        match message:
            case messages.Run():
                tree = await self._send_folder(cell, Path(message.checkout))
                keep, film = message.keep, message.film
                if keep is not None:
                    folder, apart = self._there_for(keep.folder), keep.apart and self._there_for(keep.apart)
                    most = await asyncio.to_thread(self._room, message)
                    keep = keep.model_copy(update={"folder": folder, "apart": apart, "most": most})
                if film is not None:
                    film = film.model_copy(update={"folder": self._there_for(film.folder)})
                return message.model_copy(update={"checkout": str(tree), "keep": keep, "film": film})
            case messages.Given() if message.weights is not None:
                return message.model_copy(update={"weights": str(await self._send_file(cell, Path(message.weights)))})
            case messages.Resume() if message.epoch is not None:
                return message.model_copy(update={"epoch": message.epoch + self._ahead})
            case _:
                return message

    async def _opened_there(self, cell: Wire) -> messages.Open:
        opened, script = self._opened, self._opened.tools_replay
        return opened.model_copy(
            update={
                "run_dir": str(self._there), "shared_stops": True, "stop_socket": str(self._there / STOP_SOCKET),
                "tokens": {secrets.token_urlsafe(16): client for client in sorted(set(opened.tokens.values()))},
                "tools_replay": None if script is None else str(await self._send_file(cell, Path(script))),
                "clock_epoch": opened.clock_epoch + self._ahead,
            }
        )  # fmt: skip

    async def _send_folder(self, cell: Wire, folder: Path) -> Path:
        """A bundle's files. What a station keeps of bundles holds no links."""
        if folder not in self._sent:
            name = f"{BUNDLES}/{len(self._sent)}"
            for path in files_below(folder):
                await cell.send_file(f"{name}/{path.relative_to(folder)}", path)
            self._sent[folder] = name
        return self._there / self._sent[folder]

    async def _send_file(self, cell: Wire, path: Path) -> Path:
        if path not in self._sent:
            name = f"{FILES}/{len(self._sent)}/{path.name}"  # weights are known by their names
            await cell.send_file(name, path)
            self._sent[path] = name
        return self._there / self._sent[path]

    def _room(self, message: messages.Run) -> int:
        """What the other machine may keep of a batch [bytes]; as it comes home, a member's oldest files make room for it."""
        keep = message.batch(()).keep
        assert keep is not None
        kept = Trajectories(keep)
        kept.make_room(message.agent)
        self._kept = {folder: (kept, message.agent) for folder in (keep.folder, keep.apart) if folder is not None}
        return max(0, min(kept.room(), shutil.disk_usage(self._run).free - MIN_FREE))

    async def _begin_file(self, content: bytes) -> None:
        path, size = self._incoming.begin(content)
        if path.parent in self._kept:
            kept, agent = self._kept[path.parent]
            kept.add(path, size)
            if (said := await asyncio.to_thread(kept.make_room, agent)) is not None:
                print(said, file=sys.stderr, flush=True)

    # -- node -> door ------------------------------------------------------------------------------------------------
    async def _from_node(self, cell: Wire) -> None:
        while True:
            kind, content = await cell.receive()
            match kind:
                case far_wire.MESSAGE:
                    self._learn(content)
                    with contextlib.suppress(ConnectionError):  # the door is gone, which another task notices
                        self._seam.write(messages.LENGTH.pack(len(content)) + content)
                        await self._seam.drain()
                case far_wire.FILE:
                    await self._begin_file(content)
                case far_wire.PART:
                    self._incoming.take(content)
                case far_wire.STOPS:
                    await asyncio.to_thread(self._stops.apply, change_of(content))
                case far_wire.LOG:
                    sys.stderr.write(content.decode(errors="replace"))
                    sys.stderr.flush()
                case far_wire.END:
                    code = wire.unpack(content, longest=8).get("code")
                    raise WorkerEnded(code if isinstance(code, int) else 1)
                case _:
                    raise Malformed(f"a frame of kind {kind!r}")

    def _learn(self, content: bytes) -> None:
        """Where there are arms, they can be stopped from here as those of this machine are."""
        if self._ready:
            return
        message = messages.decode_to_door(content)
        self._ready = isinstance(message, messages.Ready)
        if isinstance(message, messages.Ready) and message.arms:
            self._arms = True
            share_record(self._run, Record(f"{self._station} on {self._host}", "", os.getpid()))

    def _there_for(self, folder: str) -> str:
        """The folder on the other machine whose files come home to this one."""
        path = Path(folder)
        return str(self._there / self._folders.setdefault(path, f"{KEPT}/{len(self._folders)}/{path.name}"))

    def _home_of(self, name: str) -> Path:
        """Where a file of the other machine goes: into a folder that was named to it, and nowhere else. Raises Malformed."""
        where = name.rpartition("/")
        for folder, known in self._folders.items():
            if where[0] == known:
                return inside(folder, where[2])
        raise Malformed(f"a file that was not asked for: {name[:100]!r}")

    # -- stops -------------------------------------------------------------------------------------------------------
    async def _carry_stops(self, cell: Wire) -> None:
        while True:
            for change in self._stops.changes():
                await cell.send(far_wire.STOPS, wire.pack(asdict(change)))
            await asyncio.sleep(LOOK_S)

    def _write_stops(self) -> None:
        """Let the disk have what people have stopped, before this process ends."""
        deadline = time.monotonic() + WRITE_S
        for written in self._pressed:
            written.wait(max(0.0, deadline - time.monotonic()))

    def _lose(self) -> None:
        """From any thread."""
        self._loop.call_soon_threadsafe(self._lost.set)

    def _open_stop_door(self, there: messages.Open) -> StopDoor | None:
        """The cell's stop door is here, where those are who may stop; their tokens do not leave this machine."""
        opened = self._opened
        if opened.stop_socket is None:
            return None
        line = StopLine(self._place, self._lose)
        tokens = {client: token for token, client in there.tokens.items()}
        people = PersonStops(self._run / STOPS)

        def stop(client: str) -> dict[str, Any]:
            if client != ADMIN or not self._arms:
                return line.stop(tokens[client])
            # It holds whatever becomes of the wire: no station of this run begins anything until it is acknowledged.
            written = people.press(client, "stopped by hand")
            self._pressed.append(written)
            stopped = line.stop(tokens[client])
            return {**stopped, "durable": written.wait(WRITE_S) and stopped.get("durable", False)}

        return StopDoor(Path(opened.stop_socket), opened.tokens, stop, urgent=is_real(opened.env))


class WorkerEnded(Exception):
    """The worker on the other machine has ended, with this exit code; below 0, by that signal."""

    def __init__(self, code: int) -> None:
        super().__init__(f"its worker ended with {code}")
        self.code = code


def first_message(seam: socket.socket) -> messages.Open:
    """Read to the byte: what follows is the loop's."""

    def exactly(size: int) -> bytes:
        data = b""
        while len(data) < size:
            if not (came := seam.recv(size - len(data))):
                raise SystemExit("the door is gone")
            data += came
        return data

    (length,) = messages.LENGTH.unpack(exactly(messages.LENGTH.size))
    opened = messages.decode_to_cell(exactly(length))
    if not isinstance(opened, messages.Open):
        raise SystemExit(f"a cell is opened first, not sent {opened.type}")
    return opened


def _refuse(seam: socket.socket, error: UserError) -> NoReturn:
    words = messages.encode(messages.Failed(number=0, error=str(error), exit_code=error.exit_code))
    seam.sendall(messages.LENGTH.pack(len(words)) + words)
    raise SystemExit(1)


def _end_with_door(seam: socket.socket, placed: threading.Event) -> None:
    """While no place is found yet, nobody else notices that the door is gone."""
    poll = select.poll()
    poll.register(seam, select.POLLRDHUP)
    while not placed.is_set():
        if poll.poll(200):
            os._exit(0)


async def carry(station: str, seam: socket.socket, opened: messages.Open, place: Place) -> None:
    """One cell's life on the node at a place; ends this process as its worker ended."""
    code = 0
    try:
        await FarCell(station, seam, opened, place).serve()
    except WorkerEnded as ended:
        code = ended.code
    except (messages.Closed, Malformed, OSError) as error:
        print(f"{station} is lost: {error}", file=sys.stderr, flush=True)
        code = 1
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    os._exit(abs(code))


def main() -> None:
    """Serve the door at the other end of the first argument's descriptor with the station that the others name."""
    descriptor, address, station, patience = sys.argv[1:]
    seam = socket.socket(fileno=int(descriptor))
    opened, placed = first_message(seam), threading.Event()
    threading.Thread(target=_end_with_door, args=(seam, placed), daemon=True).start()
    try:
        places = Places(address)
        place = places.begin(station, opened, float(patience))
    except UserError as error:
        _refuse(seam, error)
    placed.set()
    asyncio.run(carry(station, seam, opened, place))
    del places  # what was begun there lives as long as this


if __name__ == "__main__":
    main()
