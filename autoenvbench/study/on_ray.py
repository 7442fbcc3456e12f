"""Carries out the research runs of a study on the nodes of a Ray cluster: whole runs, one actor each. Agents never see Ray.

The contents of the files that a run needs travel with it; its ledger lives on the node's own disk and comes home by copy, every so
often and at its end, checked by digest. A run whose node is lost goes on from its last copy on another.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from autoenvbench.errors import UserError
from autoenvbench.record.clock import format_duration
from autoenvbench.record.standing import crowding
from autoenvbench.station.far_place import require_listener
from autoenvbench.study.copies import Copy, unpack
from autoenvbench.study.local import StudyObserver
from autoenvbench.study.node_run import NodeRun, NodeStatus, ship
from autoenvbench.study.runs import PlannedRun, standing_of

_LOOK_EVERY_S = 0.5
_NODES_LOST = 3  # that a run may lose
_LAST_COPY_S = 60.0  # that is waited for where the study is interrupted


@dataclass(slots=True)
class _Seat:
    """A run on its way or on a node, and the one question that its actor is being asked."""

    run: PlannedRun
    actor: Any
    asked: Any = None  # a reference to the answer
    question: str = ""
    copied_at: float = field(default_factory=time.monotonic)
    status: NodeStatus | None = None

    def ask(self, question: str, *given: Any) -> None:
        self.question, self.asked = question, getattr(self.actor, question).remote(*given)


class RayRunner:
    """Carries out runs on a cluster.

    Args:
        address: "auto" for the cluster that this machine is a node of, else as `ray.init` takes it.
        cores: that a run takes up on its node.
        copy_every_s: how old the copy at home may be [s], which is what the loss of a node costs at most.

    Raises:
        UserError: Ray is not installed, or there is no cluster.
    """

    def __init__(self, address: str, *, cores: float = 1.0, copy_every_s: float = 60.0) -> None:
        try:
            import ray
        except ModuleNotFoundError:
            raise UserError("--ray needs Ray, which is not installed; type: pip install 'autoenvbench[ray]'") from None
        try:
            require_listener(address)  # Ray itself tries for minutes
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"there is no Ray cluster at {address} ({str(error).splitlines()[0]}); start one with `ray start --head` and "
                "`ray start --address=...` on each node, or leave --ray out for processes of this machine (--jobs N)"
            ) from None
        self._ray: Any = ray
        self._cores, self._copy_every_s = cores, copy_every_s
        self._observer = StudyObserver()
        self._waiting: deque[PlannedRun] = deque()
        self._seats: list[_Seat] = []
        self._losses: Counter[str] = Counter()
        self._problems: dict[str, str] = {}

    @property
    def at_a_time(self) -> int:
        """Runs that the nodes have cores for now; one at least, which waits for a node to come."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 0) / self._cores))

    def crowding(self, runs: Sequence[PlannedRun]) -> str | None:
        """As of `Runner`: of the run that wants most, by the cores that each is given."""
        most = max((run.config for run in runs), key=lambda config: config.team + config.cells, default=None)
        return None if most is None else crowding(most, f"{int(self._cores)}c-node")

    def carry_out(self, runs: Sequence[PlannedRun], observer: StudyObserver) -> dict[str, str]:
        """As of `Runner`; the connection to the cluster ends with it."""
        self._observer = observer
        self._waiting.extend(runs)
        try:
            while self._waiting or self._seats:
                while self._waiting and len(self._seats) < self.at_a_time:
                    self._begin(self._waiting.popleft())
                time.sleep(_LOOK_EVERY_S)
                asked = {seat.asked: seat for seat in self._seats}
                answered, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=0)
                for reference in answered:
                    self._hear(asked[reference])
                observer.refresh([seat.run for seat in self._seats])
        finally:
            self._end()
            self._ray.shutdown()
        return self._problems

    def _begin(self, run: PlannedRun) -> None:
        # An actor that is lost takes its run's disk with it: Ray must not start it anew by itself, the copy is here.
        remote = self._ray.remote(NodeRun).options(num_cpus=self._cores, max_restarts=0, max_task_retries=0)
        seat = _Seat(run, remote.remote())
        seat.ask("begin", ship(run))
        self._seats.append(seat)

    def _hear(self, seat: _Seat) -> None:
        """Take in an actor's answer, and ask it the next question."""
        try:
            answer = self._ray.get(seat.asked)
        except self._ray.exceptions.RayTaskError as error:
            self._leave(seat, str(error.cause) if isinstance(error.cause, UserError) else str(error).strip().splitlines()[-1])  # fmt: skip
            return
        except self._ray.exceptions.RayError as error:
            self._lost(seat, error)
            return
        if seat.question == "copy":
            if not self._bring_home(seat, answer):
                return
            seat.copied_at = time.monotonic()
            if seat.status is not None and seat.status.over:
                seat.actor.close.remote()
                self._leave(seat, seat.status.problem)
                return
            seat.ask("status")
            return
        if seat.status is None:
            self._observer.on_run(seat.run, answer.node)
        seat.status = answer
        due = time.monotonic() - seat.copied_at >= self._copy_every_s
        seat.ask("copy" if answer.over or due else "status")

    def _bring_home(self, seat: _Seat, copy: Any) -> bool:
        try:
            if copy is not None:
                unpack(copy, seat.run.folder)
                if seat.status is not None and seat.status.over:
                    self._say_what_stays(seat, copy)
        except (UserError, OSError) as error:
            self._leave(seat, str(error))
            return False
        return True

    def _say_what_stays(self, seat: _Seat, copy: Copy) -> None:
        for left in copy.left:
            self._observer.log(f"{seat.run.name}: not brought home: {left}")

    def _lost(self, seat: _Seat, error: Exception) -> None:
        """The node, or the process on it, is gone."""
        self._losses[seat.run.key] += 1
        self._seats.remove(seat)
        where = seat.status.node if seat.status is not None else "a node"
        standing = standing_of(seat.run)
        have = f"its last copy, {format_duration(standing.t_run)} into its research" if standing.run_dir else "its beginning, as no copy had come home"  # fmt: skip
        if self._losses[seat.run.key] < _NODES_LOST:
            self._observer.log(f"{seat.run.name}: {where} is lost; the run goes on from {have}")
            self._waiting.append(seat.run)
            return
        kept = f"; {standing.run_dir} is the last copy" if standing.run_dir else ""
        self._problems[seat.run.key] = f"it is lost, with {_NODES_LOST} nodes one after another ({str(error).splitlines()[0]}){kept}"  # fmt: skip
        self._observer.on_end(seat.run, self._problems[seat.run.key])

    def _leave(self, seat: _Seat, problem: str | None) -> None:
        self._seats.remove(seat)
        if problem is None and standing_of(seat.run).state != "finished":
            problem = "it ended, and what came home is not finished"
        if problem is not None:
            self._problems[seat.run.key] = problem
        self._observer.on_end(seat.run, problem)

    def _end(self) -> None:
        """Where the study was interrupted: what can be had within a minute comes home, and nothing goes on."""
        copies = {seat.actor.copy.remote(): seat for seat in self._seats if seat.status is not None}
        if copies:
            answered, _ = self._ray.wait(list(copies), num_returns=len(copies), timeout=_LAST_COPY_S)
            for reference in answered:
                try:
                    copy = self._ray.get(reference)
                    if copy is not None:
                        unpack(copy, copies[reference].run.folder)
                        self._say_what_stays(copies[reference], copy)
                except (self._ray.exceptions.RayError, UserError, OSError) as error:
                    self._observer.log(f"{copies[reference].run.name}: its last copy did not come home: {error}")
        for seat in self._seats:
            self._ray.kill(seat.actor)
