"""What every job on the robots needs and is held to: the run's record, clock, budgets, starts and bundles, and a lease."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from autoenvbench.errors import BudgetOver, RobotBusy, UserError
from autoenvbench.record.clock import format_duration
from autoenvbench.record.events import Purpose
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.starts import StartStreams
from autoenvbench.record.state import Follower
from autoenvbench.station.allocator import Allocator
from autoenvbench.station.batch import Batch, Start, Stop, draw_starts
from autoenvbench.station.bundles import Bundle, BundleStore
from autoenvbench.station.config import StationConfig
from autoenvbench.station.evaluation import OnEpisode, Tally, evaluate
from autoenvbench.station.remote_cell import RemoteCell

MAX_EPISODES = 1000


class Jobs:
    """Shared by all that runs episodes (`judging`, `trying`).

    Args:
        record: of the ledger; nothing in it is left open.
        cells: those that run the episodes, one batch at a time; the first one is that of the arms, where there are any.

    Attributes:
        current_job: what holds the robot, in words; None where it is free.
        halts: how often everything was halted.
    """

    def __init__(self, config: StationConfig, ledger: Ledger, record: Follower, cells: Sequence[RemoteCell]) -> None:
        assert ledger.clock is not None
        self.config, self.run, self.cells = config, config.config, cells
        self.ledger, self.clock, self.record = ledger, ledger.clock, record
        self.bundles = BundleStore(config.run_dir / "bundles")
        self.streams = StartStreams(bytes.fromhex(config.secret_hex))
        self.allocator = Allocator(record)
        self._lease = threading.Lock()
        self.current_job: str | None = None
        self._halt, self.halts = threading.Event(), 0
        self.not_paused = threading.Event()
        self.not_paused.set()

    @contextmanager
    def leased(self, what: str) -> Iterator[None]:
        """Hold the robot for a job, named for who looks. Raises RobotBusy."""
        if not self._lease.acquire(blocking=False):
            raise RobotBusy(f"the robot is busy ({self.current_job}); wait for it to finish, then try again")
        self.current_job = what
        try:
            yield
        finally:
            self.current_job = None
            self._lease.release()

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

    def run_batch(self, batch: Batch, stop: Stop, on_episode: OnEpisode) -> Tally:
        """Episodes that are charged to the robot budget: none begins when it is used up, and those under way then are finished. So it is
        exceeded by one episode of each cell at most."""
        admit = None if self.run.robot_budget_s is None else self.robot_used_up
        return evaluate(self.cells, batch, self.ledger, stop=stop, on_episode=on_episode, admit=admit)

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
        for cell in self.cells:
            cell.pause(stopped_at) if paused else cell.resume(epoch)
        if not paused:
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
        return bundle

    def has_sent(self, member: str, digest: str) -> bool:
        """Whether a member sent this bundle itself, so that it is known what is in it from others."""
        with self.record.read() as state:
            return (member, digest) in state.book.digests


def check_n(n: int) -> None:
    """Raises UserError for more episodes than one job may ask for, or none."""
    if not 1 <= n <= MAX_EPISODES:
        raise UserError(f"-n {n}: ask for 1 to {MAX_EPISODES} episodes")
