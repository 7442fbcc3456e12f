"""The research phase of a run: its clock, budgets, goal, pauses and heartbeat, over however many agents are at work.

It ends for all of them at the deadline, when the goal is reached or when a budget is spent, else when none of them is left;
afterwards nothing of them lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from autoenvbench.agents.process import AgentProcess
from autoenvbench.errors import UserError
from autoenvbench.gateway.allowance import Allowance
from autoenvbench.gateway.gateway import Gateway
from autoenvbench.record.compute import ComputeSampler
from autoenvbench.record.events import NoteEvent, RunEvent
from autoenvbench.record.goal import Goal
from autoenvbench.research import joining
from autoenvbench.research.agent_loop import AgentLoop
from autoenvbench.research.observer import Observer
from autoenvbench.research.run_dir import PAUSE_FILE
from autoenvbench.research.slots import AgentSlot, Run, introduce
from autoenvbench.station.client import StationClient
from autoenvbench.station.process import StationProcess

POLL_S = 0.2
HEARTBEAT_S = 2.0  # what a killed run may lose of its clock
DISK_EVERY_S = 10.0
#: What ends a run for all of its agents.
ENDS_RUN = ("deadline", "goal", "token_budget", "cost_budget", "robot_budget")


class Supervisor:
    """One run's research: an `AgentLoop` for each slot, and what they have in common.

    Args:
        admin: the run's own client of the station.
        gateways: by slot, of agents that have a model.
        allowance: what all of them together may spend on their models.
        recruit: makes ready all that a new member needs, from its agent's name. Raises UserError.
    """

    def __init__(
        self, run: Run, station: StationProcess, admin: StationClient, gateways: Mapping[str, Gateway],
        allowance: Allowance, observer: Observer, recruit: Callable[[str], Awaitable[AgentSlot]],
    ) -> None:  # fmt: skip
        self._run, self._station, self._admin, self._observer = run, station, admin, observer
        self._gateways, self._allowance, self._recruit = gateways, allowance, recruit
        self._loops: list[AgentLoop] = []
        self._at_work: dict[asyncio.Task[str], AgentSlot] = {}
        self._joining = asyncio.Lock()  # one newcomer after the other
        self._reason: str | None = None  # what ended the run for all
        self._done = asyncio.Event()  # no agent is left
        self._clock = asyncio.Lock()  # held while the run is paused, and by whatever must not happen then

    async def run(self) -> str:
        """Returns why research ended: one of ENDS_RUN, or the reason of the last agent to end by itself (see `AgentLoop.run`).
        Raises UserError if the station died, and CannotStart."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for duty in (self._keep_time(tasks), self._beat(), self._watch_disks()):
                    tasks.create_task(duty)
                for slot in self._run.slots:
                    self._begin(slot, tasks)
                reason = await self._work()
                self._done.set()
        except BaseExceptionGroup as group:  # one of them failed, and the others were ended for it
            raise group.exceptions[0] from None
        if self._reason is None and reason in ENDS_RUN:  # an agent found it out first
            await self._end_run(reason)
        await self._robot_done()
        return self._reason or reason

    def _begin(self, slot: AgentSlot, tasks: asyncio.TaskGroup) -> None:
        """Let a member work."""
        gateway = self._gateways.get(slot.id)
        loop = AgentLoop(self._run, slot, self._station.socket, gateway, self._launch, self._over, self._observer)
        self._loops.append(loop)
        self._at_work[tasks.create_task(loop.run())] = slot

    async def _work(self) -> str:
        """All agents, side by side; returns the reason of the last to end."""
        reason = ""
        while self._at_work or self._joining.locked():
            if not self._at_work:
                await asyncio.sleep(POLL_S)
                continue
            # Not longer than a moment: somebody may join.
            ended, _ = await asyncio.wait(self._at_work, timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                slot, reason = self._at_work.pop(task), task.result()
                if self._at_work and reason not in ENDS_RUN:
                    others = ", ".join(other.id for other in self._at_work.values())
                    self._run.ledger.append(NoteEvent(text=f"has ended: {reason}"), agent=slot.id)
                    self._observer.log(f"{slot.id} has ended ({reason}); still at work: {others}")
        return reason

    async def _admit(self, request: joining.Request, tasks: asyncio.TaskGroup) -> None:
        """Take in one more member, or say why not."""
        async with self._joining:
            try:
                slot = await self._recruit(request.agent)
            except (UserError, OSError, subprocess.SubprocessError) as error:
                request.refuse(str(error))
                return
            if self._reason is not None or self._done.is_set():
                request.refuse("the run has just ended")
                return
            self._run.ledger.append(RunEvent(phase="joined", members={slot.id: slot.agent}))
            self._run.slots.append(slot)
            await asyncio.to_thread(introduce, self._run)
            self._begin(slot, tasks)
        request.accept(slot.id)
        self._observer.log(f"{slot.id} has joined")

    async def _launch(self, process: AgentProcess) -> None:
        """Start an agent's process with the clock running, at the station too; while the run is paused, wait."""
        async with self._clock:
            await self._start_clock()
            process.start()

    # -- duties, until no agent is left ------------------------------------------------------------------------------
    async def _keep_time(self, tasks: asyncio.TaskGroup) -> None:
        """Pause when a person asks for it, take in who wants to join, and end the run at its deadline or when a budget is spent."""
        while not await self._done_within(POLL_S):
            self._observer.refresh()
            if self._reason is not None:  # the agents are being ended
                continue
            if (self._run.dir / PAUSE_FILE).exists():
                await self._pause()
            for request in joining.requests(self._run.dir):
                tasks.create_task(self._admit(request, tasks))
            if over := self._over():
                await self._end_run(over)
            elif not self._station.alive():
                raise UserError(
                    f"the station ended by itself; see {self._station.log}; then: autoenvbench resume {self._run.dir}"
                )

    async def _beat(self) -> None:
        """Sample the machine, and see whether the goal is reached."""
        goal = Goal.parse(self._run.config.goal) if self._run.config.goal else None
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "heartbeat") as thread:  # one and the same: CPU use is counted since its last sample
            sampler = await loop.run_in_executor(thread, ComputeSampler)

            def beat() -> bool:
                self._run.ledger.append(sampler.sample(self._station_busy()))
                with self._run.state.read() as state:
                    return goal is not None and goal.reached(state)

            while self._reason is None and not self._done.is_set():
                async with self._clock:
                    reached = await loop.run_in_executor(thread, beat)
                if reached and self._reason is None:
                    await self._end_run("goal")
                await self._done_within(HEARTBEAT_S)

    async def _watch_disks(self) -> None:
        """One walk at a time, however many agents there are."""
        while not await self._done_within(DISK_EVERY_S):
            for loop in self._loops:
                await loop.check_disk()

    async def _done_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._done.wait(), seconds)
        return self._done.is_set()

    # -- the clock ---------------------------------------------------------------------------------------------------
    def _over(self) -> str | None:
        if self._run.clock.remaining() <= 0:
            return "deadline"
        return self._allowance.exhausted_budget() or self._exhausted_robot()

    def _exhausted_robot(self) -> str | None:
        """A judged episode that is under way on another cell is not cut for it: no new one is begun."""
        budget = self._run.config.robot_budget_s
        if budget is None:
            return None
        with self._run.state.read() as state:
            return "robot_budget" if state.robot_used_up(budget) and not state.open_starts else None

    async def _end_run(self, reason: str) -> None:
        """The robot stops in the middle of whatever it does, and so does every agent."""
        self._reason = reason
        if reason == "deadline":
            self._run.ledger.append(RunEvent(phase="deadline"))
        with contextlib.suppress(UserError):
            await asyncio.to_thread(self._admin.post, "/halt", {})
        for loop in self._loops:
            loop.end(reason)

    async def _start_clock(self) -> None:
        """From here on time is research time, at the station too. (A clock that runs already runs on.)"""
        self._run.clock.go()
        await asyncio.to_thread(self._admin.post, "/pause", {"paused": False, "epoch": self._run.clock.epoch})

    async def _pause(self) -> None:
        """Everything stands still, and the time does not count."""
        clock, ledger, asked = self._run.clock, self._run.ledger, self._run.dir / PAUSE_FILE
        async with self._clock:
            self._hold_models(True)
            self._freeze(True)
            clock.stop()
            await asyncio.to_thread(self._admin.post, "/pause", {"paused": True, "stopped_at": clock.stopped_at})
            ledger.append(RunEvent(phase="paused"))
            self._observer.log(f"paused; go on with: autoenvbench resume {self._run.dir}")
            while asked.exists() and self._station.alive():
                self._freeze(True)  # whoever was just being born
                await asyncio.sleep(POLL_S)
            await self._start_clock()
            ledger.append(RunEvent(phase="unpaused"))
            self._freeze(False)
            self._hold_models(False)
            self._observer.log("going on")

    def _hold_models(self, held: bool) -> None:
        for gateway in self._gateways.values():
            gateway.hold(held)

    def _freeze(self, frozen: bool) -> None:
        for loop in self._loops:
            loop.freeze(frozen)

    # -- the station -------------------------------------------------------------------------------------------------
    async def _robot_done(self) -> None:
        """Wait for what the station still confirms: that is its own job, and needs no agent."""
        while self._run.clock.remaining() > 0 and self._station.alive() and await asyncio.to_thread(self._station_busy):
            self._observer.refresh()
            await asyncio.sleep(POLL_S)

    def _station_busy(self) -> bool:
        try:
            return bool(self._admin.get("/health")["busy"])
        except UserError:
            return False
