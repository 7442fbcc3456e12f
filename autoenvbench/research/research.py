"""The research phase of a run: launch the agent, watch it, pause it, send it back to work, stop it.

It ends at the deadline, when the goal or a budget is reached, when the agent has nothing more to do, or when it gave up;
afterwards nothing of the agent lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoenvbench.agents import forward
from autoenvbench.agents.base import Agent
from autoenvbench.agents.process import GRACE_S, AgentProcess
from autoenvbench.errors import UserError
from autoenvbench.gateway.allowance import Allowance
from autoenvbench.gateway.gateway import Gateway
from autoenvbench.record import metrics
from autoenvbench.record.clock import RunClock, format_duration
from autoenvbench.record.compute import ComputeSampler
from autoenvbench.record.events import NOT_AGENTS, AgentEvent, NoteEvent, RunEvent, TokensEvent
from autoenvbench.record.goal import Goal
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.run_config import RunConfig
from autoenvbench.record.state import RunState
from autoenvbench.research.observer import Observer
from autoenvbench.sandbox.cage import Sandbox
from autoenvbench.sandbox.limits import Limits
from autoenvbench.station.client import StationClient
from autoenvbench.station.process import StationProcess

NOT_STARTED = 127  # exit code of the cage's first process, as a shell's
HEARTBEAT_S = 2.0  # what a killed run may lose of its clock
DISK_EVERY_S = 10.0
_FINAL = ("deadline", "goal", "token_budget", "cost_budget")
PAUSE_FILE = "paused"
PROMPT = """\
You are an autonomous robot-learning researcher. Read AGENTS.md and TASK.md in this directory, then improve policy.py with \
the `aeb` command until the budget is over. Nobody will answer questions. Keep working: form a hypothesis, change, commit, \
practise, evaluate, keep or revert, and submit your best commit. Do not stop while `aeb status` shows budget left, unless \
the confirmed success rate is 100 %."""
RESUME_PROMPT = (
    "The run was interrupted and goes on now. Check `aeb status` and `aeb episodes`, then continue your work."
)
NUDGE = """\
You stopped{why}, but the run goes on: {left} of the budget is left, and the best confirmed success rate is {best}. What still \
fails is in `aeb episodes`. Continue: the next hypothesis, change, commit, evaluate, submit."""


class CannotStart(UserError):
    """The agent's program cannot be run in its cage."""


@dataclass
class Run:
    """A run as its parts know it. `session` is the agent's, once it is known."""

    dir: Path
    config: RunConfig
    agent: Agent
    sandbox: Sandbox
    clock: RunClock
    ledger: Ledger
    session: str | None = None
    notice: str | None = None
    research_over: bool = False

    @property
    def agent_dir(self) -> Path:
        return self.dir / "agents" / self.agent.name


@dataclass
class Research:
    """One agent at work. `gateway` is None for an agent without a model."""

    run: Run
    station: StationProcess
    admin: StationClient
    token: str
    gateway: Gateway | None
    allowance: Allowance
    observer: Observer
    _last_error: str | None = None

    async def supervise(self) -> str:
        """Returns why it ended: deadline, goal, token_budget, cost_budget, agent_ended, gave_up, provider_error (its model's
        provider refuses), or a limit that an agent which cannot be sent back to work went over (memory_limit,
        process_limit, disk_limit)."""
        reason = await self._work()
        await self._robot_done()
        return reason

    async def _work(self) -> str:
        prompt = RESUME_PROMPT if self.run.session else PROMPT
        fruitless = interrupted = 0
        while True:
            before, called = self._achievements(), len(self._calls())
            reason = await self._run_session(prompt)
            kind = reason.partition(":")[0]
            if kind not in ("agent_ended", "memory_limit", "process_limit", "disk_limit"):
                return kind
            if over := self._over():  # it ended because its model no longer answered, perhaps
                return over
            failed = next(filter(metrics.failed_by_provider, self._calls()[called:][-1:]), None)
            if failed is not None and failed.in_flight and self.run.agent.resumes:
                # its provider's answer was cut off and it gave up: not its fault, so no nudge is counted
                interrupted += 1
                prompt = RESUME_PROMPT if self.run.session else PROMPT
                self._note(f"sent back to work, because {failed.error}")
                await asyncio.sleep(min(2.0 ** min(interrupted, 6), self.run.clock.remaining()))
                continue
            if failed is not None:
                self.observer.log(f"{self.run.agent.name}'s model: HTTP {failed.status}: {failed.error}")
            if not self.run.agent.resumes:
                return kind if failed is None else "provider_error"
            interrupted = 0
            fruitless = 0 if self._achievements() > before else fruitless + 1
            if fruitless >= self.run.config.nudges:
                return "provider_error" if failed is not None else "gave_up" if self.run.config.nudges else kind
            prompt = self._nudge(reason)
            await asyncio.sleep(min(2.0**fruitless, self.run.clock.remaining()))

    # -- one launch --------------------------------------------------------------------------------------------------
    async def _run_session(self, prompt: str) -> str:
        launch = self.run.agent.launch(self.run.config, prompt, self.run.session)
        limits = Limits.default()
        if self.run.config.agent_memory_gb:
            limits = replace(limits, memory=int(self.run.config.agent_memory_gb * 2**30))
        process = AgentProcess(
            launch, self.run.agent_dir, self.run.dir / "data", self.run.sandbox, self.run.config.track, self.station.socket, self.token,
            self.gateway.socket if self.gateway else None, limits,
        )  # fmt: skip
        self._log("started", session=self.run.session)
        reason = "interrupted"
        try:
            await self._start_clock()
            process.start()
            reason = await self._watch(process)
        finally:
            if reason == "deadline":
                self.run.ledger.append(RunEvent(phase="deadline"))
            if reason in _FINAL:  # the robot stops in the middle of whatever it does
                with contextlib.suppress(UserError):
                    await asyncio.to_thread(self.admin.post, "/halt", {})
            code = await asyncio.to_thread(process.stop, 0.0 if "_limit" in reason else GRACE_S)
            for event in process.new_events():
                self._on_agent_event(event)
            if self.run.session is None:
                self.run.session = self.run.agent.stored_session(self.run.agent_dir / "home")
            if reason == "agent_ended" and code:
                self.observer.log(
                    f"{self.run.agent.name} ended with exit code {code}: {process.last_words(self._last_error)}"
                )
                self._check_that_it_started(code, process)
            self._log("exited", exit_code=code, reason=reason, session=self.run.session)
        return reason

    async def _watch(self, process: AgentProcess) -> str:
        """Until something ends this session; returns what."""
        sampler, beat, walk = ComputeSampler(), 0.0, time.monotonic() + DISK_EVERY_S
        goal = Goal.parse(self.run.config.goal) if self.run.config.goal else None
        state = RunState()
        while process.poll() is None:
            for event in process.new_events():
                self._on_agent_event(event)
            if (self.run.dir / PAUSE_FILE).exists():
                await self._pause(process)
            if over := self._over():
                return over
            if broken := process.broken_limit():
                return broken
            if not self.station.alive():
                raise UserError(
                    f"the station ended by itself; see {self.station.log}; then: autoenvbench resume {self.run.dir}"
                )
            now = time.monotonic()
            if now >= walk:
                walk = now + DISK_EVERY_S
                if full := await asyncio.to_thread(process.overfull):
                    return full
            if now >= beat:
                beat = now + HEARTBEAT_S
                self.run.ledger.append(sampler.sample(await asyncio.to_thread(self._busy)))
                if goal:
                    state.catch_up(self.run.ledger)
                    if goal.reached(state):
                        return "goal"
            self.observer.refresh()
            await asyncio.sleep(0.2)
        return "agent_ended"

    async def _pause(self, process: AgentProcess) -> None:
        """Everything stands still, and the time does not count."""
        if self.gateway:
            self.gateway.hold(True)
        process.freeze(True)
        self.run.clock.stop()
        await asyncio.to_thread(self.admin.post, "/pause", {"paused": True, "stopped_at": self.run.clock.stopped_at})
        self.run.ledger.append(RunEvent(phase="paused"))
        self.observer.log(f"paused; go on with: autoenvbench resume {self.run.dir}")
        while (self.run.dir / PAUSE_FILE).exists() and self.station.alive():
            process.freeze(True)  # whoever was just being born
            await asyncio.sleep(0.2)
        await self._start_clock()
        self.run.ledger.append(RunEvent(phase="unpaused"))
        process.freeze(False)
        if self.gateway:
            self.gateway.hold(False)
        self.observer.log("going on")

    async def _robot_done(self) -> None:
        """Wait for what the station still confirms: that is its own job, and needs no agent."""
        while self.run.clock.remaining() > 0 and self.station.alive() and await asyncio.to_thread(self._busy):
            self.observer.refresh()
            await asyncio.sleep(0.2)

    async def _start_clock(self) -> None:
        """From here on time is research time, at the station too. (A clock that runs already runs on.)"""
        self.run.clock.go()
        await asyncio.to_thread(self.admin.post, "/pause", {"paused": False, "epoch": self.run.clock.epoch})

    def _over(self) -> str | None:
        return "deadline" if self.run.clock.remaining() <= 0 else self.allowance.exhausted_budget()

    # -- parts -------------------------------------------------------------------------------------------------------
    @functools.cached_property
    def _version(self) -> str:
        return self.run.agent.version()

    def _on_agent_event(self, event: dict[str, Any]) -> None:
        if self.run.session is None and (found := self.run.agent.session(event)):
            self.run.session = found
            self._log("started", session=found)
        self._last_error = self.run.agent.error(event) or self._last_error
        self.observer.on_agent_event(event)

    def _calls(self) -> list[TokensEvent]:
        """Of the agent to its model, so far."""
        return [e.payload for e in self.run.ledger.events("tokens") if e.agent not in NOT_AGENTS]

    def _check_that_it_started(self, code: int, process: AgentProcess) -> None:
        """Raises CannotStart if the cage never came to run it, and it has done nothing before either."""
        launches = sum(1 for e in self.run.ledger.events("agent") if e.payload.phase == "exited")
        words = process.last_line()
        if code == NOT_STARTED and words.startswith(forward.CANNOT_START) and not launches:
            raise CannotStart(words)

    def _achievements(self) -> int:
        return sum(1 for e in self.run.ledger.events("idea", "commit", "evaluation") if e.agent == self.run.agent.name)

    def _nudge(self, reason: str) -> str:
        _, confirmed = metrics.best_curves(list(self.run.ledger.events("run", "evaluation")))
        best = confirmed[-1].value if confirmed else None
        kind, _, detail = reason.partition(": ")
        why = f" (your processes were ended: {kind.replace('_', ' ')}, {detail})" if detail else ""
        self._note(f"nudged{why}")
        return NUDGE.format(
            why=why,
            left=format_duration(self.run.clock.remaining()),
            best="none yet" if best is None else f"{best:.0%}",
        )

    def _note(self, text: str) -> None:
        self.run.ledger.append(NoteEvent(text=text), agent=self.run.agent.name)

    def _log(self, phase: Any, **more: Any) -> None:
        self.run.ledger.append(
            AgentEvent(phase=phase, name=self.run.agent.name, agent_version=self._version, model=self.run.config.model, **more),
            agent=self.run.agent.name,
        )  # fmt: skip

    def _busy(self) -> bool:
        try:
            return bool(self.admin.get("/health")["busy"])
        except UserError:
            return False
