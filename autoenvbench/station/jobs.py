"""What every job on the robots needs and is held to: its place in line, and the run's record, clock, budgets, starts and bundles."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from autoenvbench.errors import BudgetOver, UserError
from autoenvbench.record.clock import format_duration
from autoenvbench.record.events import JobEvent, Purpose
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.starts import StartStreams
from autoenvbench.record.state import Follower
from autoenvbench.station.allocator import Allocator
from autoenvbench.station.batch import Batch, Start, Stop, draw_starts
from autoenvbench.station.bundles import Bundle, BundleStore
from autoenvbench.station.config import ADMIN, StationConfig
from autoenvbench.station.evaluation import OnEpisode, Tally, evaluate_with
from autoenvbench.station.fleet import Fleet
from autoenvbench.station.leases import Asked, Lease
from autoenvbench.station.remote_cell import RemoteCell
from autoenvbench.station.scripts import is_script

MAX_EPISODES = 1000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for a job.

    Attributes:
        gone: whether it hung up: its job ends then, or leaves the line.
        on_episode: called with each episode after the ledger has it.
        on_wait: called with the jobs that it waits for, where it waits for a cell.
    """

    member: str
    gone: Callable[[], bool] = lambda: False
    on_episode: OnEpisode = lambda event: None
    on_wait: Callable[[list[str]], None] = lambda jobs: None


class Job:
    """A client's job from its place in line to its last cell: a `Crew`, for one batch after the other. It is entered when it has a cell.

    Args:
        stop: why it must not go on waiting, or None.
        ledger: where its waiting and its work are on record; None: nowhere.
        shown: what its caller may be told of another's job.
    """

    def __init__(
        self, lease: Lease[RemoteCell], caller: Caller, stop: Stop, ledger: Ledger | None, shown: Callable[[Asked], str]
    ) -> None:
        self.caller, self._shown = caller, shown
        self._lease, self._stop, self._ledger = lease, stop, ledger
        self._phase = ""
        self.most = lease.most

    def __enter__(self) -> Job:
        try:
            self._lease.untake(self.cell())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *failed: object) -> None:
        self._lease.close()
        if self._phase:
            self._note("ended")

    def cell(self) -> RemoteCell:
        """A cell for as long as it goes on. Raises BudgetOver where it was stopped before there was one, CellLost."""
        if (cell := self.take(lambda: self._stop() is not None)) is None:
            raise BudgetOver(f"no robot was free before it ended ({self._stop()}); nothing was run")
        return cell

    def rename(self, what: str) -> None:
        """It does something else now, in words."""
        self._lease.what = what

    # -- as a crew ---------------------------------------------------------------------------------------------------
    def take(self, until: Callable[[], bool]) -> RemoteCell | None:
        """See `Crew`. Whoever asked is told where it waits."""
        if until():
            self._lease.enough()
            return None
        cell = self._lease.poll()
        if cell is None:
            if not self._lease.held:
                self._note("asked")
                self.caller.on_wait([self._shown(job) for job in self._lease.waits_for()])
            cell = self._lease.take(until)
        if cell is not None and self._phase != "began":
            self._note("began")
        return cell

    def keeps(self, cell: RemoteCell) -> bool:
        """See `Crew`."""
        return self._lease.keeps(cell)

    def give_back(self, cell: RemoteCell) -> None:
        """See `Crew`."""
        self._lease.give_back(cell)

    def lose(self, cell: RemoteCell) -> bool:
        """See `Crew`."""
        return self._lease.lose(cell)

    def _note(self, phase: Literal["asked", "began", "ended"]) -> None:
        self._phase = phase
        if self._ledger is not None:
            self._ledger.append(JobEvent(phase=phase, what=self._lease.what), agent=self.caller.member)


class Jobs:
    """Shared by all that runs episodes (`judging`, `trying`).

    Args:
        record: of the ledger; nothing in it is left open.
        fleet: the cells.

    Attributes:
        halts: how often everything was halted.
    """

    def __init__(self, config: StationConfig, ledger: Ledger, record: Follower, fleet: Fleet) -> None:
        assert ledger.clock is not None
        self.config, self.run, self._fleet = config, config.config, fleet
        self.ledger, self.clock, self.record = ledger, ledger.clock, record
        self.arms = fleet.arms
        self.bundles = BundleStore(config.run_dir / "bundles")
        self.streams = StartStreams(bytes.fromhex(config.secret_hex))
        self.allocator = Allocator(record)
        self._halt, self.halts = threading.Event(), 0
        self.not_paused = threading.Event()
        self.not_paused.set()

    def open(
        self, caller: Caller, what: str, most: int | None = None, *, stop: Stop | None = None, noted: bool = False
    ) -> Job:
        """A job's place in line.

        Args:
            what: the job in words, for who looks.
            most: cells at once; None: all that are free.
            stop: why it must not go on waiting; by default, that its caller hung up or the run was halted.
            noted: it is on record when it waits, begins and ends.

        Raises RobotBusy where this caller has a job already.
        """
        lease = self._fleet.pool.open(caller.member, what, most)
        ledger = self.ledger if noted and caller.member != ADMIN else None
        shown = functools.partial(self._shown, caller.member)
        return Job(lease, caller, stop or self.stop_when(caller.gone), ledger, shown)

    @property
    def busy(self) -> bool:
        """Whether any job is under way or waits."""
        return bool(self._fleet.pool.jobs())

    def standing(self, client: str) -> dict[str, Any]:
        """What `status` tells a client of the robots: of all in a line, each cell's job, and the jobs that wait for one."""
        pool = self._fleet.pool
        at_work, lost = pool.at_work(), "lost"
        cells = [
            {
                "cell": name,
                "job": lost if place not in at_work else (job := at_work[place]) and self._shown(client, job),
            }
            for place, name in enumerate(self._fleet.names)
        ]
        return {
            "robot": "; ".join(self._shown(client, job) for job in pool.jobs()) or "free",
            "cells": cells,
            "waiting": [self._shown(client, job) for job in pool.waiting()],
        }

    def _shown(self, client: str, job: Asked) -> str:
        """A job in words: members who work alone are told nothing of one another's."""
        return job.what if self.run.sharing or client in (job.member, ADMIN) else "a job of another member"

    def stop_when(self, client_gone: Callable[[], bool]) -> Stop:
        """For batches that the run's clock rules; what pauses and ends them by the clock, the cells know."""

        def stop() -> str | None:
            if client_gone():
                return "whoever asked for it hung up"
            return "the run was halted" if self._halt.is_set() else None

        return stop

    def draw(self, purpose: Purpose, first: int, n: int) -> Iterator[Start]:
        """`n` starts of a purpose's stream from index `first` on."""
        return draw_starts(self.streams, purpose, first, n)

    def run_batch(self, job: Job, batch: Batch, stop: Stop, on_episode: OnEpisode, *, in_turn: bool = False) -> Tally:
        """Episodes that are charged to the robot budget: none begins when it is used up, and those under way then are finished. So it is
        exceeded by one episode of each cell at most.

        Args:
            in_turn: each start is given out after the verdict before is on record, whether there is a budget or not.
        """
        admit = self.robot_used_up if in_turn or self.run.robot_budget_s is not None else None
        return evaluate_with(job, batch, self.ledger, self.config.name, stop=stop, on_episode=on_episode, admit=admit)

    def halt(self) -> None:
        """The deadline: end the job under way after the step it is in."""
        self.halts += 1
        self._halt.set()
        self.not_paused.set()

    def pause(self, paused: bool, *, epoch: float | None = None, stopped_at: float | None = None) -> None:
        """Hold jobs between two control steps, with the clock standing at `stopped_at`, or let them go on by the run's clock."""
        if epoch is not None:
            self.clock.epoch = epoch
        self.clock.stopped_at = stopped_at
        if paused:
            self.not_paused.clear()
            self._fleet.pause(stopped_at)
        else:
            self._fleet.resume(epoch)
            self.not_paused.set()

    def require_budget(self) -> None:
        """Wait for the end of a pause. Raises BudgetOver."""
        self.not_paused.wait()
        if self._halt.is_set() or self.clock.remaining() <= 0:
            raise BudgetOver(f"the budget of {format_duration(self.run.budget_s)} is over; nothing more is counted")

    def robot_used_up(self) -> str | None:
        """Why no episode may begin, if the run has no robot time left."""
        with self.record.read() as state:
            if not state.robot_used_up(self.run.robot_budget_s):
                return None
        return f"the robot budget of {format_duration(self.run.robot_budget_s or 0)} is used up"

    def require_robot(self) -> None:
        """As `require_budget`, with what is left of the robots' own. Raises BudgetOver."""
        self.require_budget()
        if (why := self.robot_used_up()) is not None:
            raise BudgetOver(f"{why}; the robot does nothing more in this run")

    def bundle(self, digest: str, member: str | None = None) -> Bundle:
        """What was sent under this digest: by this member itself, where one is named. Raises UserError."""
        bundle = self.bundles.get(digest)
        if bundle is None or (member is not None and not self.has_sent(member, digest)):
            raise UserError("the station does not have this commit from you; send it first (aeb does so by itself)")
        if member is not None and is_script(bundle.path / "policy.py"):
            self.require_vision("scripts, whose tools have cameras,")
        return bundle

    def require_vision(self, what: str) -> None:
        """Raises UserError where this run's agents may see no pictures."""
        if self.run.vision != "native":
            ask = "`aeb ask` asks a model that sees them; " if self.run.vision == "tool" else ""
            raise UserError(
                f"{what} are withheld: this run's agents see numbers and no pictures (--vision {self.run.vision}); {ask}`aeb episodes` has "
                "each episode's stage, reason and error, and its file has what the policy saw and did"
            )

    def has_sent(self, member: str, digest: str) -> bool:
        """Whether a member sent this bundle itself, so that it is known what is in it from others."""
        with self.record.read() as state:
            return (member, digest) in state.book.digests


def check_n(n: int) -> None:
    """Raises UserError for more episodes than one job may ask for, or none."""
    if not 1 <= n <= MAX_EPISODES:
        raise UserError(f"-n {n}: ask for 1 to {MAX_EPISODES} episodes")
