"""A cell on another machine, as the run's door holds it: this process stands where the worker would, and the worker is beyond a wire.

Run by a door as ``python -m autoenvbench.station.far_cell FD RAY_ADDRESS STATION PATIENCE_S``. It has the node's worker started there
(`far_place`), and from then on gives the door what that worker says, and the worker what the door says, with paths and times as they are on
the other machine: bundles and weights are sent ahead of the message that names them, episodes and films come home ahead of the message
that follows them. When the wire is lost it ends, and the door has lost a cell.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from enpire_envs.remote import wire
from enpire_envs.remote.wire import Malformed
from enpire_real.person_stop import PersonStops, Record

from autoenvbench.errors import StationFault, UserError, error_of
from autoenvbench.make_env import is_real
from autoenvbench.station import far_wire, messages
from autoenvbench.station.config import ADMIN
from autoenvbench.station.far_node import BUNDLES, FILES, FOLD_S, KEPT, STOP_SOCKET
from autoenvbench.station.far_place import Places
from autoenvbench.station.far_wire import Incoming, Place, Wire, files_below, inside
from autoenvbench.station.stop_door import StopDoor
from autoenvbench.station.stop_mirror import LOOK_S, STOPS, Stops, change_of, share_record
from autoenvbench.station.trajectories import MIN_FREE

STOP_S = 2.0  # that a stop may take to the other machine and back, until the wire is taken for lost


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
        self._ready = False
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
                    most, folder = self._room(keep), self._name_of(Path(keep.folder))
                    keep = keep.model_copy(update={"folder": str(self._there / folder), "most": most})
                if film is not None:
                    film = film.model_copy(update={"folder": str(self._there / self._name_of(Path(film.folder)))})
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

    def _room(self, keep: messages.KeepIn) -> int:
        """What may still be kept [bytes]: the folder is here, and is empty there."""
        folder = Path(keep.folder)
        used = sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file()) if folder.is_dir() else 0
        free = shutil.disk_usage(self._run).free - MIN_FREE
        return max(0, min(keep.most - used, free))

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
                    self._incoming.begin(content)
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
            share_record(self._run, Record(f"{self._station} on {self._host}", "", os.getpid()))

    def _name_of(self, folder: Path) -> str:
        return self._folders.setdefault(folder, f"{KEPT}/{len(self._folders)}")

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
            try:
                return line.stop(tokens[client])
            except StationFault:
                if (
                    client == ADMIN
                ):  # it holds all the same: no station of this run begins anything until it is acknowledged
                    people.press(client, "stopped by hand")
                raise

        return StopDoor(Path(opened.stop_socket), opened.tokens, stop, urgent=is_real(opened.env))


class WorkerEnded(Exception):
    """The worker on the other machine has ended, with this exit code; below 0, by that signal."""

    def __init__(self, code: int) -> None:
        super().__init__(f"its worker ended with {code}")
        self.code = code


class StopLine:
    """A wire for stops alone, of one thread: no bundle, no film and no loop is in their way. Raises OSError.

    Args:
        on_lost: called where a stop did not get there in `STOP_S`: the cell's wire is cut then, which stops the arms.
    """

    def __init__(self, place: Place, on_lost: Callable[[], None]) -> None:
        raw = socket.create_connection((place.host, place.port), far_wire.SEND_S)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._line: ssl.SSLSocket | None = place.keys.context(server=False).wrap_socket(raw)
        self._on_lost, self._turn = on_lost, threading.Lock()
        self._line.sendall(far_wire.frame(far_wire.STOP_LINE))
        threading.Thread(target=self._beat, daemon=True, name="stop line").start()

    def stop(self, token: str) -> dict[str, Any]:
        """Ask the worker to stop its arms; what it answers. Raises UserError, StationFault where it does not answer."""
        request = f"POST /stop HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        try:
            with self._turn:
                answer = self._ask(request)
            head, _, body = answer.partition(b"\r\n\r\n")
            told = json.loads(body)
            if b" 200 " in head.split(b"\r\n")[0]:
                return told
        except (OSError, ValueError, messages.Closed) as error:
            self._on_lost()
            raise StationFault(
                f"the stop did not get to the arms' machine in {STOP_S:.0f} s ({error}), so the connection to it is cut: its arms stop when "
                "they notice, in a few seconds. In danger press the emergency stop"
            ) from None
        raise error_of(int(told.get("exit_code", 2)), str(told.get("error", "the station refused")))

    def _ask(self, request: bytes) -> bytes:
        if self._line is None:
            raise messages.Closed("the line is cut")
        deadline = time.monotonic() + STOP_S
        try:
            self._line.settimeout(STOP_S)
            self._line.sendall(far_wire.frame(far_wire.ASK, request))
            arrived = b""
            while True:
                self._line.settimeout(max(0.001, deadline - time.monotonic()))
                came = self._line.recv(1 << 16)
                if not came:
                    raise messages.Closed("the other machine hung up")
                arrived += came
                while (found := far_wire.split(arrived)) is not None:
                    kind, content, arrived = found
                    if kind == far_wire.ANSWER:
                        if not content:
                            raise messages.Closed("the worker does not answer")
                        return content
        except (OSError, messages.Closed):
            self._line = None
            raise

    def _beat(self) -> None:
        """The node hears that this line lives, and what it beats is taken from it."""
        while True:
            time.sleep(far_wire.BEAT_S)
            with self._turn:
                if self._line is None:
                    return
                try:
                    self._line.settimeout(STOP_S)
                    self._line.sendall(far_wire.frame(far_wire.BEAT))
                    self._line.settimeout(0.0)
                    with contextlib.suppress(ssl.SSLWantReadError, BlockingIOError):
                        while self._line.recv(1 << 16):
                            pass
                except OSError:
                    self._line = None
                    self._on_lost()
                    return


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
