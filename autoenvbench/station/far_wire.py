"""The wire between a run and a cell on another machine: TLS 1.3 under keys per opening of a cell, whole frames, and a beat.

Each end draws a key for this one opening, which is on no disk and leaves its machine in no message, and is told the other's certificate:
whoever else connects is refused in the handshake, and what was recorded of another wire, or the keys of an earlier one, open nothing. A
side that hears nothing for `SILENCE_S` takes the wire for lost.

    frame = kind (1 byte) | length (4 bytes) | content
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from enpire_envs.remote import wire
from enpire_envs.remote.wire import Malformed

from autoenvbench.station.messages import MAX_TO_DOOR, Closed

BEAT_S = 0.5
SILENCE_S = 3.0  # without a beat: the other machine, or the way to it, is gone
SEND_S = 30.0  # that a frame may wait for the other side to read
_PART = 1 << 20  # bytes of a file in one frame
_MOST = MAX_TO_DOOR + (1 << 16)  # bytes of a frame
_HEAD = struct.Struct("<cI")

# What a frame holds. A wire's first frame is CELL or STOP_LINE and says what the wire is for.
CELL, STOP_LINE, HELLO = b"c", b"l", b"h"
MESSAGE = b"m"  # of the seam between door and worker (`messages`)
FILE, PART = b"f", b"p"  # a file's name and size, and then its bytes
STOPS = b"s"  # what became of people's stops on the other machine
ASK, ANSWER = b"a", b"r"  # on a stop's line
LOG = b"o"  # what the worker writes to its standard error
CLOSE, END = b"x", b"e"  # the run is over; the worker has ended, and how
BEAT = b"b"


@dataclass(frozen=True, slots=True)
class Keys:
    """What one end of a wire holds: a certificate that vouches for itself, which the other end is told, and its private key (PEM)."""

    certificate: str
    key: str

    @classmethod
    def draw(cls) -> Keys:
        """New ones. Raises ModuleNotFoundError without the package `cryptography`."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "autoenvbench cell")])
        now = datetime.now(UTC)  # clocks of two machines may differ by days where nobody sets them
        made = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=400)).not_valid_after(now + timedelta(days=400))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )  # fmt: skip
        pem = serialization.Encoding.PEM
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return cls(made.public_bytes(pem).decode(), private.decode())

    def context(self, other: str, *, server: bool) -> ssl.SSLContext:
        """For either end, which takes nobody but who holds the key of the certificate `other` (PEM)."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # the key is what is known of the other side
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=other)
        memory = os.memfd_create("certificate")  # Python reads a key from a file alone; this one is on no disk
        with open(memory, "wb") as file:
            file.write((self.certificate + self.key).encode())
            file.flush()
            context.load_cert_chain(f"/proc/self/fd/{memory}")
        return context


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cell's node listens, its certificate, and our own keys of the wire to it."""

    host: str
    port: int
    certificate: str
    keys: Keys

    def context(self) -> ssl.SSLContext:
        """Of whoever connects."""
        return self.keys.context(self.certificate, server=False)


def frame(kind: bytes, content: bytes = b"") -> bytes:
    """The bytes of one frame."""
    return _HEAD.pack(kind, len(content)) + content


def split(data: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Kind and content of the first frame, and what follows it; None while it is not whole."""
    if len(data) < _HEAD.size:
        return None
    kind, length = _HEAD.unpack_from(data)
    end = _HEAD.size + length
    return (kind, data[_HEAD.size : end], data[end:]) if len(data) >= end else None


class Wire:
    """One end. `send` is safe from any task of the loop, `receive` is for one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._turn = reader, writer, asyncio.Lock()

    @classmethod
    async def to(cls, place: Place, what: bytes) -> Wire:
        """Connect to a node, for CELL or STOP_LINE. Raises OSError (of which the SSL errors are)."""
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection(place.host, place.port, ssl=place.context()), SEND_S
        )
        made = cls(reader, writer)
        await made.send(what)
        return made

    async def send(self, kind: bytes, content: bytes = b"") -> None:
        """Raises Closed, also where the other side does not read for `SEND_S`."""
        async with self._turn:
            try:
                self._writer.write(frame(kind, content))
                await asyncio.wait_for(self._writer.drain(), SEND_S)
            except (OSError, TimeoutError, RuntimeError) as error:
                self.close()  # half a frame may be out
                raise Closed(f"the other side does not take what is sent: {error!r}") from None

    async def receive(self) -> tuple[bytes, bytes]:
        """The next frame's kind and content; beats are passed over. Raises Closed, also after `SILENCE_S` without a byte, Malformed."""
        while True:
            kind, length = _HEAD.unpack(await self._read(_HEAD.size))
            if length > _MOST:
                raise Malformed(f"a frame of {length} bytes; at most {_MOST} are taken")
            content = await self._read(length)
            if kind != BEAT:
                return kind, content

    async def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                came = await asyncio.wait_for(self._reader.read(size - len(data)), SILENCE_S)
            except TimeoutError:
                raise Closed(f"nothing was heard of the other machine for {SILENCE_S:.0f} s") from None
            except OSError as error:
                raise Closed(f"the connection is lost: {error}") from None
            if not came:
                raise Closed("the other machine hung up")
            data += came
        return bytes(data)

    async def beat(self) -> None:
        """Say again and again that this side lives, until it does not get through. Raises Closed."""
        while True:
            await self.send(BEAT)
            await asyncio.sleep(BEAT_S)

    async def send_file(self, name: str, path: Path) -> None:
        """Send a file's content under a name of both sides' choice. Nothing else may send one meanwhile. Raises Closed, OSError."""
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            await self.send(FILE, wire.pack({"name": name, "size": status.st_size, "mode": status.st_mode & 0o777}))
            left = status.st_size
            while left:
                part = file.read(min(_PART, left))
                if not part:
                    raise OSError(f"{path} became shorter while it was sent")
                await self.send(PART, part)
                left -= len(part)

    async def finish(self) -> None:
        """Hang up when the other side has what was sent."""
        with contextlib.suppress(OSError, TimeoutError, RuntimeError):
            self._writer.close()
            await asyncio.wait_for(self._writer.wait_closed(), SILENCE_S)

    def close(self) -> None:
        """Hang up at once."""
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.transport.abort()


class Incoming:
    """Files that come in over a wire, one after the other; each is there when it is whole.

    Args:
        where: the path of a file by its name. Raises Malformed for a name that is not to come.
    """

    def __init__(self, where: Callable[[str], Path]) -> None:
        self._where = where
        self._path: Path | None = None
        self._left = 0

    def begin(self, content: bytes) -> tuple[Path, int]:
        """A FILE frame; returns the file's path and size [bytes]. Raises Malformed, OSError."""
        told = wire.unpack(content, longest=4)
        match told:
            case {"name": str(name), "size": int(size), "mode": int(mode)} if size >= 0 and self._path is None:
                path = self._path = self._where(name)
                self._left = size
            case _:
                raise Malformed("a file is announced that cannot be")
        path.parent.mkdir(parents=True, exist_ok=True)
        part = self._part()
        part.touch(mode=0o600)
        part.chmod(mode & 0o755 | 0o600)
        self._end_if_whole()
        return path, size

    def take(self, content: bytes) -> None:
        """A PART frame. Raises Malformed, OSError."""
        if self._path is None or len(content) > self._left:
            raise Malformed("more of a file came than was announced")
        with self._part().open("ab") as file:
            file.write(content)
        self._left -= len(content)
        self._end_if_whole()

    def _part(self) -> Path:
        assert self._path is not None
        return self._path.with_name(f".{self._path.name}.part")

    def _end_if_whole(self) -> None:
        if self._left == 0 and self._path is not None:
            self._part().rename(self._path)
            self._path = None


def inside(folder: Path, name: str) -> Path:
    """The path of a name of plain parts below a folder. Raises Malformed for any other."""
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise Malformed(f"no name of a file below {folder.name}: {name[:100]!r}")
    return folder.joinpath(*parts)


def files_below(folder: Path) -> Iterator[Path]:
    """Its regular files, in order; links lead nowhere."""
    yield from sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
