"""A cell in a process of its own, as the door holds it: it starts the worker, asks it, and records what it reports."""

from __future__ import annotations

import contextlib
import itertools
import queue
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from enpire_envs.remote.wire import Malformed

from autoenvbench.errors import UserError, error_of
from autoenvbench.record.canary import watches_of
from autoenvbench.record.ledger import EventSink, Ledger
from autoenvbench.record.regimes import answer_of
from autoenvbench.record.stations import ARGUMENT
from autoenvbench.sandbox.cage import python_path
from autoenvbench.station import messages
from autoenvbench.station.batch import Batch, CellLost, CellResult, Start, Stop
from autoenvbench.station.config import StationConfig, stop_sockets
from autoenvbench.station.robots import PATIENCE_S, PREFIX, robot_name

OPEN_S = 300.0  # that an environment may take to be made: other simulators take a while, most of all the first time
FOLD_S = 33.0  # that a cell may take to end its batch and to fold its arms
_LOOK_S = 0.02  # between two looks at whether a batch must end
_Answer = TypeVar("_Answer", messages.RunEnded, messages.Picture, messages.Moved, messages.Acknowledged)


@dataclass(slots=True)
class _UnderWay:
    """The batch that the worker runs now."""

    starts: Iterator[Start]
    sink: EventSink


class RemoteCell:
    """One worker (see `Cell`). It runs one batch at a time; the other methods are safe from any thread.

    Args:
        ledger: where it reports what belongs to no batch.
        on_lost: called once, with the reason, if the worker is lost.
        program: module and arguments of what stands at the other end of the seam: the worker, or what carries the seam to one.
    """

    def __init__(
        self, opened: messages.Open, ledger: EventSink, on_lost: Callable[[str], None],
        program: Sequence[str] = ("autoenvbench.station.cell_worker",),
    ) -> None:  # fmt: skip
        self.name = opened.name
        self.arms, self.kind, self.fingerprint = False, "sim", ""  # see `messages.Ready`; known once it is ready
        self._ledger, self._on_lost = ledger, on_lost
        self._numbers = itertools.count(1)
        self._answers: dict[int, Future[messages.Answer]] = {}
        self._lock = threading.Lock()
        self._batch: _UnderWay | None = None
        self._ready: Future[messages.Ready] = Future()
        self._lost: str | None = None
        self._closing = False
        self._broken = ""  # what of the seam's rules the worker broke
        ours, theirs = socket.socketpair()
        with theirs:  # nobody but the worker inherits its end, and nobody at all this one
            self._process = subprocess.Popen(
                [python_path(), "-m", program[0], str(theirs.fileno()), *program[1:]],
                stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),),
            )  # fmt: skip
        self._link = messages.Link(ours, messages.MAX_TO_DOOR)
        self._inbox: queue.SimpleQueue[messages.ToDoor | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True, name=f"{self.name} seam").start()
        threading.Thread(target=self._work_off, daemon=True, name=f"{self.name} record").start()
        with contextlib.suppress(messages.Closed):  # it has ended already: `wait_ready` says so
            self._link.send(opened)

    @property
    def lost(self) -> str | None:
        """How its worker was lost, in words; None while it was not."""
        return self._lost

    def wait_ready(self, seconds: float) -> None:
        """Until the environment is made. Raises UserError with what the worker says, CellLost."""
        try:
            ready = self._ready.result(seconds)
        except TimeoutError:
            raise UserError(f"{self.name} made no environment in {seconds:.0f} s") from None
        self.arms, self.kind, self.fingerprint = ready.arms, ready.kind, ready.fingerprint

    # -- requests ----------------------------------------------------------------------------------------------------
    def run(self, batch: Batch, sink: EventSink, stop: Stop) -> CellResult:
        """See `Cell.run`. `stop` is asked every 20 ms here; a pause and the budget's end are the worker's own to heed.

        Raises UserError, CellLost; RuntimeError for a mistake in the worker.
        """
        if stop() is not None:
            return CellResult(through=False)
        number = next(self._numbers)
        self._batch = _UnderWay(iter(batch.starts), sink)
        try:
            answer = self._request(messages.Run.of(number, batch))
            stop_sent = False
            while True:
                try:
                    return self._take(answer, messages.RunEnded, _LOOK_S).result()
                except TimeoutError:
                    pass
                if not stop_sent and (why := stop()) is not None:
                    stop_sent = True
                    self._send(messages.Stop(number=number, why=why))
        finally:
            self._batch = None

    def picture(self, camera: str) -> bytes:
        """A PNG of what a camera sees now. Raises UserError."""
        return self._ask(messages.Take(number=next(self._numbers), camera=camera), messages.Picture).png

    def move(self, where: str) -> None:
        """Bring the arms "home", out of the camera's view ("avoid") or back ("resume"). Raises UserError."""
        self._ask(messages.Move(number=next(self._numbers), where=where), messages.Moved)  # type: ignore[arg-type]

    def acknowledge(self, client: str) -> list[str]:
        """A person's word that the arms may move again; returns the stops that it ended. Raises UserError."""
        request = messages.Acknowledge(number=next(self._numbers), client=client)
        return self._ask(request, messages.Acknowledged).ended

    def pause(self, stopped_at: float | None) -> None:
        """Hold its batch between two steps (see `Control`)."""
        self._send(messages.Pause(stopped_at=stopped_at))

    def resume(self, epoch: float | None) -> None:
        """Let its batch go on."""
        self._send(messages.Resume(epoch=epoch))

    def close(self, seconds: float) -> None:
        """End the worker, its arms folded; one that has not ended after `seconds` is killed."""
        self._closing = True
        self._link.shut()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    # -- the seam ----------------------------------------------------------------------------------------------------
    def _ask(self, request: messages.Request, kind: type[_Answer]) -> _Answer:
        return self._take(self._request(request), kind)

    def _request(self, request: messages.Request) -> Future[messages.Answer]:
        answer: Future[messages.Answer] = Future()
        with self._lock:
            if self._lost is not None:
                raise CellLost(self._lost)
            self._answers[request.number] = answer
        self._send(request)
        return answer

    def _send(self, message: messages.Message) -> None:
        with contextlib.suppress(messages.Closed):  # who listens notices, and everybody who waits is told why
            self._link.send(message)

    def _take(self, future: Future[messages.Answer], kind: type[_Answer], seconds: float | None = None) -> _Answer:
        """Raises TimeoutError, UserError, CellLost."""
        answer = future.result(seconds)
        if isinstance(answer, messages.Failed):
            raise error_of(answer.exit_code, answer.error)
        if not isinstance(answer, kind):
            raise RuntimeError(f"{self.name} answered {answer.type}")
        return answer

    def _listen(self) -> None:
        """Give out starts at once, while the verdict before is being recorded; everything else is worked off in its order."""
        try:
            while True:
                message = messages.decode_to_door(self._link.receive())
                if isinstance(message, messages.Next):
                    if self._batch is None:
                        raise Malformed("a start is asked for, and no batch is under way")
                    self._send(messages.Given.of(next(self._batch.starts, None)))
                else:
                    self._inbox.put(message)
        except messages.Closed:
            pass
        except Malformed as error:
            self._broken = f"it sent what is no message: {error}"
        except Exception as error:
            self._broken = f"no start could be given out: {error!r}"
        self._inbox.put(None)  # what came before is recorded still

    def _work_off(self) -> None:
        why = ""
        try:
            while (message := self._inbox.get()) is not None:
                self._handle(message)
            why = self._broken
        except Malformed as error:
            why = f"it sent what is no message: {error}"
        except Exception as error:  # of the ledger, or of a report that is not its to make
            why = f"what it reported could not be recorded: {error!r}"
        self._lose(why)

    def _handle(self, message: messages.ToDoor) -> None:
        assert not isinstance(message, messages.Next)
        match message:
            case messages.Report():
                sink = self._batch.sink if self._batch is not None else self._ledger
                sink.append(message.event(), agent=message.agent, station=self.name)
                self._send(messages.Recorded(number=message.number))
            case messages.Ready():
                self._ready.set_result(message)
            case messages.Failed(number=0):
                self._ready.set_exception(error_of(message.exit_code, message.error))
            case _:
                with self._lock:
                    answer = self._answers.pop(message.number, None)
                if answer is None:
                    raise Malformed(f"an answer to request {message.number}, which waits for none")
                answer.set_result(message)

    def _lose(self, why: str) -> None:
        """Tell everybody who waits that the worker is gone."""
        self._link.shut()
        if why:
            code = None  # it folds its arms now
        else:
            try:
                code = self._process.wait(5.0)
            except subprocess.TimeoutExpired:
                code = None
        ended = (
            f"ended by signal {signal.Signals(-code).name}"
            if code is not None and code < 0
            else f"ended with exit code {code}"
        )
        words = f"{self.name}'s worker {ended if not why else 'is ended: ' + why}"
        with self._lock:
            self._lost = words
            waiting = [*self._answers.values()]
            self._answers.clear()
        try:
            if not self._closing:
                self._on_lost(words)
        finally:  # who goes on with other cells finds this one gone
            for answer in waiting:
                answer.set_exception(CellLost(words))
            if not self._ready.done():
                self._ready.set_exception(CellLost(words))


def cell_name(config: StationConfig, place: int) -> str:
    """What the cell at a place (0, 1, ...) is called: as its robot is, where the run names them; else the first one as its station is."""
    if config.config.robots:
        return robot_name(config.config.robots[place])
    return config.name if place == 0 else f"{config.name}.{place + 1}"


def open_cell(
    config: StationConfig, ledger: Ledger, place: int, on_lost: Callable[[str], None], *, patience_s: float = PATIENCE_S
) -> RemoteCell:  # fmt: skip
    """Start the worker of a cell at its place (0, 1, ...), which makes its environment then (`RemoteCell.wait_ready`).

    Args:
        patience_s: how long a robot's machine is waited for, where it is another one.
    """
    run, stations = config.config, config.stations
    robot = run.robots[place] if run.robots else None
    far = robot is not None and robot.startswith(PREFIX)
    stops = stop_sockets(config.socket, run, frozenset(range(config.cells)))
    tokens = {token: client for token, client in config.tokens.items() if place in config.places_of(client)}
    name = cell_name(config, place)
    watches = watches_of(ledger.events("episode", "canary")) if run.canary_every else {}
    opened = messages.Open(
        name=name, env=run.env, env_kwargs={
            **run.env_kwargs, **({} if stations is None else {ARGUMENT: stations.of_cell(place)}),
            **({} if robot is None or far else {"station": robot}),
        },
        run_dir=str(config.run_dir.absolute()), sandbox=config.sandbox, track=run.track, pace=run.pace, answer=answer_of(run.regime),
        tools=run.tools, tools_replay=run.tools_replay, base_url=run.base_url,
        stop_socket=str(stops[place]) if place in stops else None, tokens=tokens if len(stops) > 1 else config.tokens,
        clock_epoch=config.clock_epoch, clock_budget=run.budget_s, clock_stopped_at=config.clock_stopped_at,
        shared_stops=len(stops) > 1, fingerprint=config.fingerprint if far else None,
        canary_every=run.canary_every, canary_since=watches[name].since if name in watches else {},
    )  # fmt: skip
    if not far:
        return RemoteCell(opened, ledger, on_lost)
    return RemoteCell(
        opened, ledger, on_lost, ["autoenvbench.station.far_cell", run.ray or "auto", str(robot), str(patience_s)]
    )
