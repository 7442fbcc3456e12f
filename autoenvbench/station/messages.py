"""The seam between door and cell worker: every message that crosses it, and the bytes that it is made of.

    door                                    cell worker
     |-- Open ------------------------------->|   make the environment
     |<------------------------------- Ready --|   (or Failed, and the worker ends)
     |-- Run -------------------------------->|
     |<-------------------------------- Next --|
     |-- Given(start) ----------------------->|   reset, verify
     |<--------------- Report(StartEvent) #1 --|   begun: the policy sees nothing until ...
     |-- Recorded #1 ----------------------->|   ... the ledger has it
     |<------------- Report(EpisodeEvent) #2 --|   judged
     |<-------------------------------- Next --|
     |-- Recorded #2 ----------------------->|
     |-- Given(None) ------------------------>|   there are no more
     |<-------------------------- RunEnded --|

Take, Move and Acknowledge are requests, too: each is answered once, by what its docstring says or by Failed, under its number.
Stop, Pause and Resume are answered by nothing. A worker reports at any time, from any of its threads, and waits until it is
recorded; a verdict alone it does not wait for, because reports are recorded in their order. It ends when the door's end of the socket closes, however that came about: its batch is stopped, the arms fold.

A message is four bytes of length and a msgpack map with its `type`. One that is too long, or is none, ends the link.
"""

from __future__ import annotations

import socket
import struct
import threading
from pathlib import Path
from typing import Annotated, Any, Literal

from enpire_envs.remote import wire
from enpire_envs.remote.wire import Malformed
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from autoenvbench.record.canary import Probe
from autoenvbench.record.events import KINDS, Payload, Purpose, kind_of
from autoenvbench.record.regimes import AnswerKind
from autoenvbench.sandbox.cage import Sandbox, Track
from autoenvbench.station.batch import Batch, CellResult, Film, Insight, Keep, Start
from autoenvbench.station.bundles import Bundle

MAX_TO_CELL = 4 << 20  # bytes of a message
MAX_TO_DOOR = 32 << 20  # a picture is the largest
MAX_LIST = 10_000  # entries of one list in a message
LENGTH = struct.Struct("<I")

Count = Annotated[int, Field(ge=0, le=2**63 - 1)]


class Message(BaseModel):
    """Base of all messages: no field that is unknown, missing or of another type passes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


# -- door -> cell -------------------------------------------------------------------------------------------------------
class Open(Message):
    """The first message: which environment, and how it is run. Answered by Ready or Failed.

    Attributes:
        run_dir: the run's folder (absolute).
        stop_socket: path of the stop's own socket, which the worker listens on (`stop_door`); None: no socket.
        tokens: bearer token -> client, of those who may stop.
        clock_epoch, clock_budget, clock_stopped_at: the run's clock (`RunClock`) [s].
        shared_stops: the run has several stations of arms, or this one is on another machine: people's stops are kept in the run's folder,
            too, and one that is pressed in either place holds in both (`stop_mirror`).
        fingerprint: that the environment must have, of robots without the station file; None: any.
        canary_every: judged episodes between two rounds of the station's canary; 0: none.
        canary_since: judged episodes since the last try of each of its probes, of a run that goes on; empty for none.
    """

    type: Literal["open"] = "open"
    name: str
    env: str
    env_kwargs: dict[str, Any]
    run_dir: str
    sandbox: Sandbox
    track: Track
    pace: float
    answer: AnswerKind
    tools: dict[str, Any]
    tools_replay: str | None
    base_url: str | None
    stop_socket: str | None
    tokens: dict[str, str]
    clock_epoch: float
    clock_budget: float
    clock_stopped_at: float | None
    shared_stops: bool = False
    fingerprint: str | None = None
    canary_every: Count = 0
    canary_since: dict[Probe, Count] = {}


class KeepIn(Message):
    """See `batch.Keep`."""

    folder: str
    secret: bool
    starts: bool
    insight: Insight
    source: Count
    policy: str | None
    most: Count
    required: bool
    pictures: bool
    own: list[str] | None
    apart: str | None


class FilmAs(Message):
    """See `batch.Film`."""

    folder: str
    stem: str
    strip: bool
    done: list[str] = []


class Run(Message):
    """Run a batch (see `Batch`), asking for its starts one by one. Answered by RunEnded."""

    type: Literal["run"] = "run"
    number: Count
    evaluation: str
    purpose: Purpose
    commit: str
    digest: str
    content: str
    checkout: str
    planned: Count
    attempts: Count
    agent: str | None
    interactive: bool
    keep: KeepIn | None
    film: FilmAs | None
    sheets: Count
    by_clock: bool

    @classmethod
    def of(cls, number: int, batch: Batch) -> Run:
        """The batch without its starts."""
        bundle, keep, film = batch.bundle, batch.keep, batch.film
        return cls(
            number=number, evaluation=batch.evaluation, purpose=batch.purpose, commit=bundle.commit, digest=bundle.digest,
            content=bundle.content, checkout=str(bundle.path.absolute()), planned=batch.planned, attempts=batch.attempts,
            agent=batch.agent, interactive=batch.interactive, sheets=batch.sheets, by_clock=batch.by_clock,
            keep=None if keep is None else KeepIn(
                folder=str(keep.folder.absolute()), secret=keep.secret, starts=keep.starts, insight=keep.insight,
                source=int(keep.source), policy=keep.policy, most=keep.most, required=keep.required,
                pictures=keep.pictures, own=None if keep.own is None else list(keep.own[-MAX_LIST:]),
                apart=None if keep.apart is None else str(keep.apart.absolute()),
            ),
            film=None if film is None else FilmAs(
                folder=str(film.folder.absolute()), stem=film.stem, strip=film.strip, done=list(film.done),
            ),
        )  # fmt: skip

    def batch(self, starts: Any) -> Batch:
        """The batch with the starts that come in over the seam."""
        keep, film = self.keep, self.film
        return Batch(
            self.evaluation, self.purpose, Bundle(self.commit, self.digest, "", Path(self.checkout), self.content),
            self.planned, starts, attempts=self.attempts, agent=self.agent, interactive=self.interactive,
            keep=None if keep is None else Keep(
                Path(keep.folder), keep.secret, keep.starts, keep.insight, keep.source, keep.policy, keep.most,
                keep.required, keep.pictures, None if keep.own is None else tuple(keep.own),
                None if keep.apart is None else Path(keep.apart),
            ),
            film=None if film is None else Film(Path(film.folder), film.stem, film.strip, tuple(film.done)),
            sheets=self.sheets,
            by_clock=self.by_clock,
        )  # fmt: skip


class Given(Message):
    """The start that Next asked for; None: there are no more. A cell knows one seed at a time, and never the secret."""

    type: Literal["given"] = "given"
    index: Count | None
    attempt: Count = 0
    seed: Count = 0
    named: dict[str, Any] | None = None
    station: Count | None = None
    policy_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    weights: str | None = None

    @classmethod
    def of(cls, start: Start | None) -> Given:
        """The message that gives out a start, or says that there are no more."""
        if start is None:
            return cls(index=None)
        return cls(
            index=start.index, attempt=start.attempt, seed=start.seed, named=start.named, station=start.station,
            policy_seed=start.policy_seed, weights=None if start.weights is None else str(start.weights.absolute()),
        )  # fmt: skip

    def start(self) -> Start | None:
        """None: there are no more."""
        if self.index is None:
            return None
        weights = None if self.weights is None else Path(self.weights)
        return Start(self.index, self.attempt, self.seed, self.named, self.station, self.policy_seed, weights)


class Recorded(Message):
    """The report of this number is durable."""

    type: Literal["recorded"] = "recorded"
    number: Count


class Stop(Message):
    """End the batch of this Run after the step that it is in: its episode counts as it stands."""

    type: Literal["stop"] = "stop"
    number: Count
    why: str


class Pause(Message):
    """Hold a batch that the run's clock rules between two steps; the clock stands at `stopped_at` [s of research time]."""

    type: Literal["pause"] = "pause"
    stopped_at: float | None


class Resume(Message):
    """Let it go on, by the clock with this epoch [s, monotonic]; None: the one it had."""

    type: Literal["resume"] = "resume"
    epoch: float | None


class Take(Message):
    """Take a picture. Answered by Picture."""

    type: Literal["take"] = "take"
    number: Count
    camera: str


class Move(Message):
    """Bring the arms home, out of the camera's view, or back over the work. Answered by Moved."""

    type: Literal["move"] = "move"
    number: Count
    where: Literal["home", "avoid", "resume"]


class Acknowledge(Message):
    """A person says that the arms may move again. Answered by Acknowledged."""

    type: Literal["acknowledge"] = "acknowledge"
    number: Count
    client: str


# -- cell -> door -------------------------------------------------------------------------------------------------------
class Ready(Message):
    """The environment is made.

    Attributes:
        kind: where episodes happen: sim, twin, real or stand-in.
        arms: whether there are arms to move, to stop and to fold.
        fingerprint: of the environment of a cell that has arms, whose station file is its own (`Open.shared_stops`); else empty.
    """

    type: Literal["ready"] = "ready"
    kind: str
    arms: bool
    fingerprint: str = ""


class Next(Message):
    """The cell is free for the next start of its batch. Answered by Given."""

    type: Literal["next"] = "next"


class Report(Message):
    """An event for the ledger. Answered by Recorded once it is durable; the worker waits for that, but for a verdict.

    Evaluations, ideas, commits, leases and the run itself are no kinds of it: they are the door's.
    """

    type: Literal["report"] = "report"
    number: Count
    kind: Literal[
        "start", "episode", "reset", "intervention", "note", "call", "wait", "refusal", "tokens", "verifier", "canary"
    ]
    payload: dict[str, Any]
    agent: str | None = None

    @classmethod
    def of(cls, number: int, event: Payload, agent: str | None) -> Report:
        """Raises ValueError for an event that is not a cell's to report."""
        return cls(number=number, kind=kind_of(event), payload=event.model_dump(), agent=agent)  # type: ignore[arg-type]

    def event(self) -> Payload:
        """Raises Malformed."""
        try:
            return KINDS[self.kind].model_validate(self.payload, strict=True)
        except ValidationError as error:
            raise Malformed(f"no {self.kind} event: {_words(error)}") from None


class RunEnded(Message):
    """The answer to Run (see `CellResult`)."""

    type: Literal["run_ended"] = "run_ended"
    number: Count
    through: bool
    shown: dict[str, str]
    full: str | None
    sheets: Count = 0

    def result(self) -> CellResult:
        """As the cell returned it."""
        return CellResult(self.through, self.shown, self.full, self.sheets)


class Picture(Message):
    """The answer to Take: a PNG."""

    type: Literal["picture"] = "picture"
    number: Count
    png: bytes


class Moved(Message):
    """The answer to Move."""

    type: Literal["moved"] = "moved"
    number: Count


class Acknowledged(Message):
    """The answer to Acknowledge: the stops that it ended, in words."""

    type: Literal["acknowledged"] = "acknowledged"
    number: Count
    ended: list[str]


class Failed(Message):
    """The answer to a request, or to Open (number 0), that could not be carried out; `exit_code` as in `errors`."""

    type: Literal["failed"] = "failed"
    number: Count
    error: str
    exit_code: Count


ToCell = Open | Run | Given | Recorded | Stop | Pause | Resume | Take | Move | Acknowledge
ToDoor = Ready | Next | Report | RunEnded | Picture | Moved | Acknowledged | Failed
Request = Run | Take | Move | Acknowledge
Answer = RunEnded | Picture | Moved | Acknowledged | Failed

_TO_CELL: TypeAdapter[ToCell] = TypeAdapter(Annotated[ToCell, Field(discriminator="type")])
_TO_DOOR: TypeAdapter[ToDoor] = TypeAdapter(Annotated[ToDoor, Field(discriminator="type")])


def encode(message: Message) -> bytes:
    """The bytes of one message, without their length. (Half a character, in words from elsewhere, is written as its escape.)"""
    fields = message.model_dump()
    try:
        return wire.pack(fields)
    except UnicodeEncodeError:
        return wire.pack(_whole_characters(fields))


def _whole_characters(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, list):
        return [_whole_characters(each) for each in value]
    if isinstance(value, dict):
        return {_whole_characters(key): _whole_characters(each) for key, each in value.items()}
    return value


def decode_to_cell(data: bytes) -> ToCell:
    """The message. Raises Malformed, and nothing else, on anything that `encode` does not write."""
    return _decode(_TO_CELL, data)


def decode_to_door(data: bytes) -> ToDoor:
    """The message, with a Report's event checked. Raises Malformed, and nothing else."""
    message = _decode(_TO_DOOR, data)
    if isinstance(message, Report):
        message.event()
    return message


def _decode(adapter: TypeAdapter[Any], data: bytes) -> Any:
    try:
        return adapter.validate_python(wire.unpack(data, longest=MAX_LIST))
    except Malformed:
        raise
    except ValidationError as error:
        raise Malformed(f"no message: {_words(error)}") from None
    except Exception as error:  # what a validator did not foresee is no message either
        raise Malformed(f"no message: {type(error).__name__}") from None


def _words(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(map(str, first['loc']))[:100]}: {first['msg'][:200]}"


class Closed(EOFError):
    """The other side of the seam is gone."""


class Link:
    """One end of the seam. `send` is safe from any thread, `receive` is for one.

    Args:
        connection: a connected stream socket, which the link closes.
        most: bytes of a message that comes in.
        send_s: how long a message may wait for the other side to read [s].
    """

    def __init__(self, connection: socket.socket, most: int, *, send_s: float = 30.0) -> None:
        connection.set_inheritable(False)
        timeout = struct.pack("ll", int(send_s), int(send_s % 1 * 1e6))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        self._socket, self._most, self._turn, self._arrived = connection, most, threading.Lock(), bytearray()

    def send(self, message: Message) -> None:
        """Raises Closed, also where the other side has not read for `send_s`."""
        data = encode(message)
        with self._turn:
            try:
                self._socket.sendall(LENGTH.pack(len(data)) + data)
            except OSError as error:
                self.shut()  # half a message may be out
                raise Closed(f"the other side does not take messages: {error}") from None

    def receive(self) -> bytes:
        """The next message's bytes. Raises Closed, Malformed."""
        (length,) = LENGTH.unpack(self._read(LENGTH.size))
        if not 0 < length <= self._most:
            raise Malformed(f"a message of {length} bytes; at most {self._most} are taken")
        return self._read(length)

    def _read(self, size: int) -> bytes:
        while len(self._arrived) < size:
            try:
                chunk = self._socket.recv(1 << 16)
            except OSError:
                chunk = b""
            if not chunk:
                raise Closed("the other side is gone")
            self._arrived += chunk
        data = bytes(memoryview(self._arrived)[:size])
        del self._arrived[:size]
        return data

    def shut(self) -> None:
        """End the link, from any thread: both sides' `receive` raises Closed."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended already
