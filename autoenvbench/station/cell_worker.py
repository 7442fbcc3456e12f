"""The cell worker: a process with one environment, its policy beside it, and its arms' stop. What it is asked is in `messages`.

Run by a door as ``python -m autoenvbench.station.cell_worker FD``, where FD is its end of the seam. It holds no secret and writes
no ledger. It ends when the door does, however that came about: it halts, folds the arms of a real station, and exits.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from enpire_envs.cell import CellFault
from enpire_envs.contract import contract_of
from enpire_envs.fingerprint import fingerprint
from enpire_envs.remote.wire import Malformed
from enpire_real.person_stop import write_record
from gymnasium.error import ResetNeeded

from autoenvbench.errors import StationFault, UserError
from autoenvbench.make_env import is_real, make_env
from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import EpisodeEvent, NoteEvent, Payload
from autoenvbench.station import messages
from autoenvbench.station.batch import Start
from autoenvbench.station.canary import Canary
from autoenvbench.station.cell import LocalCell
from autoenvbench.station.config import ADMIN
from autoenvbench.station.control import Control
from autoenvbench.station.film import png
from autoenvbench.station.script_rollout import script_settings
from autoenvbench.station.stop_door import StopDoor
from autoenvbench.station.stop_mirror import STOPS, mirror, share_record
from autoenvbench.station.window import Window

if TYPE_CHECKING:
    from enpire_real.cell import RealCell

PARK_S = 30.0  # that the arms of a real station may take to fold
END_S = 3.0  # that a halted batch may take to end before its arms are taken from it
MOST_STOPS = 10_000  # of an agent, that are noted


class DoorLost(Exception):
    """The door is gone: nothing can be recorded any more."""


class Reports:
    """The worker's way into the ledger: an `EventSink` whose events the door writes."""

    def __init__(self, link: messages.Link) -> None:
        self._link, self._numbers = link, itertools.count(1)
        self._waiting: dict[int, threading.Event] = {}
        self._lost = False

    def append(self, payload: Payload, *, agent: str | None = None, station: str | None = None) -> None:
        """Returns when the door has it on the disk. (A verdict is not waited for: no start is recorded before it.) Raises DoorLost."""
        number, recorded = next(self._numbers), threading.Event()
        waits = not isinstance(payload, EpisodeEvent)
        if waits:
            self._waiting[number] = recorded
        try:
            self._link.send(messages.Report.of(number, payload, agent))
        except messages.Closed:
            raise DoorLost from None
        if self._lost:  # since before it was waited for
            raise DoorLost
        if not waits:
            return
        recorded.wait()
        if self._waiting.pop(number, None) is not None:
            raise DoorLost

    def recorded(self, number: int) -> None:
        """What the door says."""
        if (waiting := self._waiting.pop(number, None)) is not None:
            waiting.set()

    def lose(self) -> None:
        """Nobody writes any more: whoever waits is told."""
        self._lost = True
        for waiting in list(self._waiting.values()):
            waiting.set()


class Worker:
    """Carries out a door's requests one at a time, on the thread that calls `serve`: rendering contexts belong to it.

    Another thread listens to the door, so that a stop or a pause is heard in the middle of a batch.
    """

    def __init__(self, link: messages.Link, opened: messages.Open) -> None:
        self._link, self._opened = link, opened
        clock = RunClock(opened.clock_epoch, opened.clock_budget, opened.clock_stopped_at)
        self._control, self._reports = Control(clock), Reports(link)
        self._requests: queue.SimpleQueue[messages.Request | None] = queue.SimpleQueue()
        self._given: queue.SimpleQueue[messages.Given | None] = queue.SimpleQueue()
        self._cell: LocalCell | None = None
        self._canary: Canary | None = None
        self._arms: RealCell | None = None
        self._stop_door: StopDoor | None = None
        self._models = contextlib.ExitStack()  # that scripts may ask
        self._stops = 0  # asked for so far
        self._ending = False
        self._at_rest = threading.Event()  # no request is under way, and none will be
        self._closed = threading.Event()
        self._closer = threading.Lock()  # taken once, by who closes the environment
        threading.Thread(target=self._listen, daemon=True, name="seam").start()

    def serve(self) -> None:
        """Make the environment, then carry out requests until the door is gone."""
        with contextlib.suppress(messages.Closed, DoorLost):
            self._work()
        self._at_rest.set()
        if self._closer.acquire(blocking=False):
            self._close()
        threading.Event().wait()  # the thread that listens ends this process

    def _work(self) -> None:
        try:
            self._open()
        except Exception as error:
            self._link.send(_failed(0, error))
            raise SystemExit(1) from None
        assert self._cell is not None
        own = fingerprint(self._cell.env) if self._arms is not None and self._opened.shared_stops else ""
        self._link.send(messages.Ready(kind=self._cell.kind, arms=self._arms is not None, fingerprint=own))
        while (request := self._requests.get()) is not None and not self._ending:
            self._link.send(self._carry_out(request))

    def _open(self) -> None:
        opened = self._opened
        scripts = self._models.enter_context(
            script_settings(opened.tools, opened.tools_replay, opened.base_url, self._reports)
        )
        env = make_env(opened.env, opened.env_kwargs)
        own = is_real(opened.env)  # a station file is its machine's
        if opened.fingerprint is not None and (here := fingerprint(env, scene=not own)) != opened.fingerprint:
            raise UserError(
                f"{socket.gethostname()} has another {opened.env} than the run ({here}{', without its station file,' if own else ''} is not "
                f"{opened.fingerprint}): install autoenvbench there from the same checkout"
            )
        self._contract = contract_of(env)
        cell: RealCell | None = self._contract.real_cell
        if cell is not None:  # the twin's arms are arms, too
            run = Path(opened.run_dir)
            cell.station.run = run
            if cell.kind == "twin" and cell.station.twin is not None:  # it lives as long as the run does
                cell.station.stops.folder = run / STOPS
            cell.station.stops.make_folder()
            if not opened.shared_stops:
                write_record(run, cell.station.record())
            else:
                if cell.station.stops.folder != run / STOPS:
                    mirror(cell.station.stops.folder, run / STOPS, self._end)
                share_record(run, cell.station.record())
            self._arms = cell
        if opened.canary_every:
            self._canary = Canary(env, opened.canary_every, opened.pace, station=opened.name, since=opened.canary_since)
        self._cell = LocalCell(
            env,
            sandbox=opened.sandbox,
            track=opened.track,
            pace=opened.pace,
            scripts=scripts,
            answer=opened.answer,
            name=opened.name,
            window=Window(env, Path(opened.run_dir), opened.name),
            canary=self._canary,
        )
        if opened.stop_socket is not None:
            self._stop_door = StopDoor(
                Path(opened.stop_socket), opened.tokens, self._stop, urgent=self._arms is not None
            )

    # -- requests, one at a time -------------------------------------------------------------------------------------
    def _carry_out(self, request: messages.Request) -> messages.Answer:
        try:
            match request:
                case messages.Run():
                    return self._run(request)
                case messages.Take():
                    return messages.Picture(number=request.number, png=self._picture(request.camera))
                case messages.Move():
                    try:
                        self._require_arms(request.where).move(request.where)
                    except CellFault as fault:
                        raise UserError(f"the arms did not get there: {fault}") from None
                    return messages.Moved(number=request.number)
                case messages.Acknowledge():
                    try:
                        ended = self._require_arms("acknowledge").acknowledge(request.client)
                    except (CellFault, OSError) as error:
                        raise UserError(f"not acknowledged: {error}") from None
                    return messages.Acknowledged(number=request.number, ended=ended)
                case _:
                    assert_never(request)
        except DoorLost:
            raise
        except Exception as error:
            return _failed(request.number, error)

    def _run(self, request: messages.Run) -> messages.RunEnded:
        assert self._cell is not None
        result = self._cell.run(request.batch(self._starts()), self._reports, self._control)
        return messages.RunEnded(
            number=request.number, through=result.through, shown=result.shown, full=result.full, sheets=result.sheets
        )

    def _starts(self) -> Iterator[Start]:
        """The batch's starts, as the door gives them out. Raises DoorLost."""
        while True:
            self._link.send(messages.Next())
            if (given := self._given.get()) is None:
                raise DoorLost
            if (start := given.start()) is None:
                return
            yield start

    def _picture(self, camera: str) -> bytes:
        """What people see of the cell now, or one of a real station's cameras by name."""
        assert self._cell is not None
        if self._arms is not None:
            try:
                return png(self._arms.camera_frame(camera))
            except (ValueError, CellFault) as error:
                raise UserError(str(error)) from None
        if camera != "top":
            raise UserError(f"this station is simulated and has one camera, top; not {camera!r}")
        try:
            frame: Any = self._cell.env.render()
        except ResetNeeded:
            raise UserError("there is nothing to see yet: nothing was run here; type: aeb practice -n 1") from None
        return png(frame)

    # -- what other threads do ---------------------------------------------------------------------------------------
    def _stop(self, client: str) -> dict[str, Any]:
        """Stop the arms at once, whatever is under way. Waits for nothing that a batch, the door or the disk may hold.

        A person's stop holds until a person acknowledges it. An agent's ends its episode, and the next reset goes on.
        """
        person = client == ADMIN
        durable = self._require_arms("stop").stop(f"by {client}", person=person)
        if self._canary is not None and not person:
            self._canary.stopped_by_agent()
        self._stops += 1
        if person or self._stops <= MOST_STOPS:  # of an agent that says nothing else, not every one is noted
            threading.Thread(target=self._note, args=(NoteEvent(text="stopped the arms"), client), daemon=True).start()
        return {"stopped": True, **({"durable": durable} if person else {})}

    def _note(self, note: NoteEvent, client: str) -> None:
        with contextlib.suppress(DoorLost):
            self._reports.append(note, agent=client)

    def _require_arms(self, what: str) -> RealCell:
        if self._arms is None:
            raise UserError(f"this station is simulated: there is nothing to {what}")
        return self._arms

    def _listen(self) -> None:
        """Hear the door until it is gone, then end this process."""
        why = "the station's door is gone"
        try:
            while True:
                self._handle(messages.decode_to_cell(self._link.receive()))
        except messages.Closed:
            pass
        except Malformed as error:
            why = f"the door sent what is no message: {error}"
            print(why, file=sys.stderr, flush=True)
        except BaseException:
            traceback.print_exc()
        self._end(why)

    def _handle(self, message: messages.ToCell) -> None:
        match message:
            case messages.Recorded():
                self._reports.recorded(message.number)
            case messages.Given():
                self._given.put(message)
            case messages.Stop():
                self._control.stop(message.number, message.why)
            case messages.Pause():
                self._control.pause(message.stopped_at)
            case messages.Resume():
                self._control.resume(message.epoch)
            case messages.Acknowledge():  # also while a batch is under way; it asks the disk, and this thread does not wait
                threading.Thread(target=self._acknowledge, args=(message,), daemon=True).start()
            case messages.Run():
                self._control.begin(message.number, by_clock=message.by_clock)
                self._requests.put(message)
            case messages.Take() | messages.Move():
                self._requests.put(message)
            case messages.Open():
                raise Malformed("a cell is opened once")
            case _:
                assert_never(message)

    def _acknowledge(self, request: messages.Acknowledge) -> None:
        with contextlib.suppress(messages.Closed):
            self._link.send(self._carry_out(request))

    # -- the end -----------------------------------------------------------------------------------------------------
    def _end(self, why: str) -> None:
        """Halt the batch, fold the arms, exit. A batch that does not end is not waited for."""
        # Nobody is left who would end this process if something in it hung: it ends itself, and motors have their watchdogs.
        watchdog = threading.Timer(PARK_S + 4 * END_S, os._exit, (1,))
        watchdog.daemon = True
        watchdog.start()
        self._link.shut()
        self._ending = True
        self._control.end(why)
        self._reports.lose()
        self._given.put(None)
        self._requests.put(None)
        if self._cell is not None:
            in_real_time = self._arms is not None and not self._arms.station.clock.virtual
            if not self._at_rest.wait(END_S) and in_real_time:  # the arms' clock is one that any thread may use
                assert self._arms is not None
                self._arms.end()
                if not self._at_rest.wait(END_S) and self._closer.acquire(blocking=False):
                    threading.Thread(target=self._close, daemon=True).start()  # its own thread may wait for a policy
            self._closed.wait(PARK_S)
        if self._stop_door is not None:
            self._stop_door.close()
        os._exit(0)  # renderers and executors must not delay the end

    def _close(self) -> None:
        """Park the arms of a real station and let go of its devices, or of another interpreter."""
        try:
            if self._cell is not None and not self._contract.in_process:
                self._cell.env.close()
            self._models.close()
        except Exception:
            traceback.print_exc()
        finally:
            self._closed.set()


def _failed(number: int, error: Exception) -> messages.Failed:
    if isinstance(error, UserError):
        return messages.Failed(number=number, error=str(error), exit_code=error.exit_code)
    traceback.print_exception(error)
    told = StationFault.of(error)
    return messages.Failed(number=number, error=str(told), exit_code=told.exit_code)


def main() -> None:
    """Serve the door at the other end of the descriptor that is this program's argument."""
    link = messages.Link(socket.socket(fileno=int(sys.argv[1])), messages.MAX_TO_CELL)
    opened = messages.decode_to_cell(link.receive())
    if not isinstance(opened, messages.Open):
        raise SystemExit(f"a cell worker is opened first, not sent {opened.type}")
    Worker(link, opened).serve()


if __name__ == "__main__":
    main()
