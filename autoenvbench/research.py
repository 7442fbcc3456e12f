"""The research phase of a run: launch the agent, watch it, pause it, send it back to work, stop it.

It ends at the deadline, when the goal or a budget is reached, when the agent has nothing more to do, or when it gave up;
afterwards nothing of the agent lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoenvbench.agents.base import Agent
from autoenvbench.agents.process import GRACE_S, AgentProcess
from autoenvbench.clock import RunClock, format_duration
from autoenvbench.compute import ComputeSampler
from autoenvbench.config import RunConfig
from autoenvbench.errors import UserError
from autoenvbench.events import POLICY, AgentEvent, NoteEvent, RunEvent
from autoenvbench.gateway import prices
from autoenvbench.gateway.gateway import Allowance, Gateway
from autoenvbench.gateway.upstream import Live, Replay, Upstream
from autoenvbench.goal import Goal
from autoenvbench.ledger import Ledger
from autoenvbench.progress import RunProgress
from autoenvbench.station.client import StationClient
from autoenvbench.station.process import StationProcess
from autoenvbench.workspace.cage import Sandbox
from autoenvbench.workspace.limits import Limits

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
    progress: RunProgress

    async def conduct(self) -> str:
        """Returns why it ended: deadline, goal, token_budget, cost_budget, agent_ended, gave_up, or a limit that an agent
        which cannot be sent back to work went over (memory_limit, process_limit, disk_limit)."""
        prompt = RESUME_PROMPT if self.run.session else PROMPT
        fruitless = 0
        while True:
            before = self._achievements()
            reason = await self._one_shift(prompt)
            kind = reason.partition(":")[0]
            if kind not in ("agent_ended", "memory_limit", "process_limit", "disk_limit"):
                return kind
            if over := self._over():  # it ended because its model no longer answered, perhaps
                return over
            if not self.run.agent.resumes:
                return kind
            fruitless = 0 if self._achievements() > before else fruitless + 1
            if fruitless >= self.run.config.nudges:
                return "gave_up" if self.run.config.nudges else kind
            prompt = self._nudge(reason)
            await asyncio.sleep(min(2.0**fruitless, self.run.clock.remaining()))

    # -- one launch --------------------------------------------------------------------------------------------------
    async def _one_shift(self, prompt: str) -> str:
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
                self._heard(event)
            if self.run.session is None:
                self.run.session = self.run.agent.stored_session(self.run.agent_dir / "home")
            if reason == "agent_ended" and code:
                self.progress.say(f"{self.run.agent.name} ended with exit code {code}: {process.last_words()}")
            self._log("exited", exit_code=code, reason=reason, session=self.run.session)
        return reason

    async def _watch(self, process: AgentProcess) -> str:
        """Until something ends this shift; returns what."""
        sampler, beat, walk = ComputeSampler(), 0.0, time.monotonic() + DISK_EVERY_S
        goal = Goal.parse(self.run.config.goal) if self.run.config.goal else None
        while process.poll() is None:
            for event in process.new_events():
                self._heard(event)
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
                if goal and goal.reached(self.run.ledger.events("evaluation", "episode")):
                    return "goal"
            self.progress.refresh()
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
        self.progress.say(f"paused; go on with: autoenvbench resume {self.run.dir}")
        while (self.run.dir / PAUSE_FILE).exists() and self.station.alive():
            process.freeze(True)  # whoever was just being born
            await asyncio.sleep(0.2)
        await self._start_clock()
        self.run.ledger.append(RunEvent(phase="unpaused"))
        process.freeze(False)
        if self.gateway:
            self.gateway.hold(False)
        self.progress.say("going on")

    async def _start_clock(self) -> None:
        """From here on time is research time, at the station too. (A clock that runs already runs on.)"""
        self.run.clock.go()
        await asyncio.to_thread(self.admin.post, "/pause", {"paused": False, "epoch": self.run.clock.epoch})

    def _over(self) -> str | None:
        return "deadline" if self.run.clock.remaining() <= 0 else self.allowance.over()

    # -- parts -------------------------------------------------------------------------------------------------------
    @functools.cached_property
    def _version(self) -> str:
        return self.run.agent.version()

    def _heard(self, event: dict[str, Any]) -> None:
        if self.run.session is None and (found := self.run.agent.session(event)):
            self.run.session = found
            self._log("started", session=found)
        self.progress.heard(event)

    def _achievements(self) -> int:
        return sum(1 for e in self.run.ledger.events("idea", "commit", "evaluation") if e.agent == self.run.agent.name)

    def _nudge(self, reason: str) -> str:
        confirmed = [e.payload for e in self.run.ledger.events("evaluation") if e.payload.purpose == "confirm"]
        best = max((p.successes / p.episodes for p in confirmed if p.episodes), default=None)
        kind, _, detail = reason.partition(": ")
        why = f" (your processes were ended: {kind.replace('_', ' ')}, {detail})" if detail else ""
        self.run.ledger.append(NoteEvent(text=f"nudged{why}"), agent=self.run.agent.name)
        return NUDGE.format(
            why=why,
            left=format_duration(self.run.clock.remaining()),
            best="none yet" if best is None else f"{best:.0%}",
        )

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


def allowance(run: Run) -> Allowance:
    """The run's budgets, with what its ledger says is spent already."""
    config = run.config
    table = prices.load(config.prices)
    made = Allowance(table, config.token_budget, config.cost_budget)
    for event in run.ledger.events("tokens"):
        made.count(event.payload)
    return made


@contextlib.asynccontextmanager
async def open_gateway(run: Run, allowed: Allowance, socket: Path) -> AsyncIterator[Gateway | None]:
    """The model's door while the agent lives, for agents that need one."""
    config, agent = run.config, run.agent
    if not agent.needs_model and not config.replay:
        yield None
        return
    upstream: Upstream
    if config.replay:
        upstream = Replay(Path(config.replay))
    else:
        base = config.base_url or os.environ.get("OPENAI_BASE_URL" if agent.api_key == "OPENAI_API_KEY" else "", "")
        upstream = Live(base or agent.provider or "", os.environ.get(agent.api_key or "", "none"))
    transcript = run.agent_dir / "transcript.jsonl.gz"
    gateway = Gateway(socket, run.ledger, upstream, agent.name, transcript, allowed.over, allowed.count)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.close()


def cross_check(run: Run) -> str | None:
    """What the agent's own books say against the gateway, where they disagree. Calls cut off or refused are in no
    agent's books."""
    try:
        theirs = run.agent.journal(run.agent_dir / "home")
    except (LookupError, TypeError, ValueError, AttributeError, OSError, RecursionError) as error:
        return f"{run.agent.name}'s own count of tokens cannot be read ({error!r}); the gateway's counts"
    if theirs is None:
        return None
    calls = [
        e.payload
        for e in run.ledger.events("tokens")
        if e.agent != POLICY and not e.payload.in_flight and e.payload.error is None
    ]
    ours = {name: sum(getattr(c, name) for c in calls) for name in theirs}
    if ours == theirs:
        return None
    said = ", ".join(f"{name} {theirs[name]} (gateway {ours[name]})" for name in theirs)
    return f"{run.agent.name}'s own count of tokens differs: {said}; the gateway's counts"
