"""One member at work: launch its agent, watch it, and send it back to work when it stops too early, or was killed.

A session is one launch of the agent's program, from its start until nothing of it lives. The loop ends with the run, when the
agent has nothing more to do, when it gave up, or when its model's provider refuses.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from autoenvbench.agents import forward
from autoenvbench.agents.process import GRACE_S, AgentProcess
from autoenvbench.errors import UserError
from autoenvbench.gateway.gateway import Gateway
from autoenvbench.record import metrics
from autoenvbench.record.clock import format_duration
from autoenvbench.record.events import AgentEvent, NoteEvent, TokensEvent
from autoenvbench.research.observer import Observer
from autoenvbench.research.slots import AgentSlot, Run
from autoenvbench.sandbox.limits import Limits
from autoenvbench.station.config import data_folder, places_of, stop_sockets

NOT_STARTED = 127  # exit code of the cage's first process, as a shell's
_SIGNALS = range(129, 129 + 64)  # exit codes of a process that a signal killed, as a shell's
POLL_S = 0.2
#: What ends a session and not the run: the agent may be sent back to work.
ENDS_SESSION = ("agent_ended", "memory_limit", "process_limit", "disk_limit")
PROMPT = """\
You are an autonomous robot-learning researcher. Read AGENTS.md and TASK.md in this directory, then improve policy.py with \
the `aeb` command until the budget is over. Nobody will answer questions. Keep working: form a hypothesis, change, commit, \
practise, evaluate, keep or revert, and submit your best commit. Do not stop while `aeb status` shows budget left, unless \
the confirmed success rate is 100 %."""
RESUME_PROMPT = (
    "The run was interrupted and goes on now. Check `aeb status` and `aeb episodes`, then continue your work."
)
NUDGE = """\
You stopped{why}, but the run goes on: {left} of the budget is left, and your best confirmed success rate is {best}. What still \
fails is in `aeb episodes`. Continue: the next hypothesis, change, commit, evaluate, submit."""


class CannotStart(UserError):
    """The agent's program cannot be run in its cage."""


class AgentLoop:
    """One slot of a run from its first launch to its last.

    Args:
        station_socket: where the station listens.
        gateway: its way to its model, for agents that have one.
        launch: starts a process once the run's clock runs; waits while the run is paused.
        over: the deadline or the budget that is spent, or None while the run goes on.
    """

    def __init__(
        self, run: Run, slot: AgentSlot, station_socket: Path, gateway: Gateway | None,
        launch: Callable[[AgentProcess], Awaitable[None]], over: Callable[[], str | None], observer: Observer,
    ) -> None:  # fmt: skip
        self.slot, self._run, self._observer = slot, run, observer
        self._station_socket, self._gateway = station_socket, gateway
        self._launch, self._over = launch, over
        self._process: AgentProcess | None = None  # of the session under way
        self._disk_limit: str | None = None  # that the session is over
        self._killed = False  # the last session ended by a signal that was none of ours
        self._run_end: str | None = None
        self._ended = asyncio.Event()
        self._version: str | None = None
        self._last_error: str | None = None

    async def run(self) -> str:
        """Returns why this member works no longer: a reason of the run's (see `Supervisor`), agent_ended, gave_up,
        provider_error (its model's provider refuses), or the limit that an agent which cannot be sent back to work went over
        (memory_limit, process_limit, disk_limit). Raises CannotStart."""
        agent, most = self.slot.kind, self._run.config.nudges
        self._version = await asyncio.to_thread(agent.version)
        prompt = RESUME_PROMPT if self.slot.session else PROMPT
        fruitless = cut_off = 0  # sessions in a row
        while True:
            before = self._progress()
            reason = await self._run_session(prompt)
            kind = reason.partition(":")[0]
            if kind not in ENDS_SESSION:
                return kind
            if over := self._run_end or self._over():  # it ended because its model no longer answered, perhaps
                return over

            achieved, failed = self._since(before)
            if failed is not None and failed.in_flight and agent.resumes:
                # its provider's answer was cut off and it gave up: not its fault, so no nudge is counted
                cut_off += 1
                prompt = RESUME_PROMPT if self.slot.session else PROMPT
                self._note(f"sent back to work, because {failed.error}")
                await self._back_off(2.0 ** min(cut_off, 6))
            else:
                if failed is not None:
                    self._observer.log(f"{self.slot.id}'s model: HTTP {failed.status}: {failed.error}")
                if not agent.resumes and not self._killed:
                    return kind if failed is None else "provider_error"
                cut_off = 0
                fruitless = 0 if achieved else fruitless + 1
                if fruitless >= most:
                    return "provider_error" if failed is not None else "gave_up" if most else kind
                prompt = self._nudge("killed: by a signal, not by the run" if self._killed else reason)
                await self._back_off(2.0**fruitless)
            if self._run_end:
                return self._run_end

    def end(self, reason: str) -> None:
        """The run is over: end the session under way, and launch no other."""
        self._run_end = reason
        self._ended.set()

    def freeze(self, frozen: bool) -> None:
        """Stop every process of the agent where it stands, or let them go on."""
        if self._process is not None:
            self._process.freeze(frozen)

    async def check_disk(self) -> None:
        """End the session under way if its folders hold too much. Walks them in a thread: slow."""
        process = self._process
        if process is not None and (full := await asyncio.to_thread(process.overfull)) and process is self._process:
            self._disk_limit = full

    # -- one session -------------------------------------------------------------------------------------------------
    async def _run_session(self, prompt: str) -> str:
        """Returns what ended it: one of ENDS_SESSION (a limit with its figures), or what ends the run."""
        process = await asyncio.to_thread(self._prepare, prompt)
        self._log("started", session=self.slot.session)
        reason = "interrupted"
        try:
            await self._launch(process)
            self._process = process
            reason = await self._watch(process)
        finally:
            code = await asyncio.to_thread(process.stop, 0.0 if "_limit" in reason else GRACE_S)
            self._process = self._disk_limit = None
            for event in process.new_events():
                self._on_agent_event(event)
            if self.slot.session is None:
                self.slot.session = self.slot.kind.stored_session(self.slot.home)
            self._killed = reason == "agent_ended" and code is not None and (code < 0 or code in _SIGNALS)
            if reason == "agent_ended" and code:
                self._observer.log(
                    f"{self.slot.id} ended with exit code {code}: {process.last_words(self._last_error)}"
                )
                self._check_that_it_started(code, process)
            self._log("exited", exit_code=code, reason=reason, session=self.slot.session)
        return reason

    def _prepare(self, prompt: str) -> AgentProcess:
        config, slot = self._run.config, self.slot
        limits = Limits.default()
        if config.agent_memory_gb:
            limits = replace(limits, memory=int(config.agent_memory_gb * 2**30))
        data = data_folder(self._run.dir, slot.id, sharing=config.sharing)
        data.mkdir(exist_ok=True)
        demos = self._run.dir / "data" / "demos"
        if demos.exists() and not (data / "demos").exists():
            shutil.copytree(demos, data / "demos", copy_function=os.link)
        members = [each.id for each in self._run.slots]
        places = places_of(slot.id, members, config.cells, own=config.own_stations)
        stops = list(stop_sockets(self._station_socket, config, places).values())
        return AgentProcess(
            slot.kind.launch(config.of_agent(slot.kind.name), prompt, slot.session), slot.folder, data, self._run.sandbox,
            config.track, self._station_socket, slot.token, self._gateway.socket if self._gateway else None, limits,
            stops,
        )  # fmt: skip

    async def _watch(self, process: AgentProcess) -> str:
        """Until something ends this session; returns what."""
        while process.poll() is None:
            for event in process.new_events():
                self._on_agent_event(event)
            if end := self._run_end or self._disk_limit or process.broken_limit():
                return end
            await self._sleep(POLL_S)
        return "agent_ended"

    def _on_agent_event(self, event: dict[str, Any]) -> None:
        if self.slot.session is None and (found := self.slot.kind.session(event)):
            self.slot.session = found
            self._log("started", session=found)
        self._last_error = self.slot.kind.error(event) or self._last_error
        self._observer.on_agent_event(self.slot.id, event)

    def _check_that_it_started(self, code: int, process: AgentProcess) -> None:
        """Raises CannotStart if the cage never came to run it, and nobody of this run has done anything before either."""
        words = process.last_line()
        if code != NOT_STARTED or not words.startswith(forward.CANNOT_START):
            return
        with self._run.state.read() as state:
            members = [state.member(slot.id) for slot in self._run.slots]
            untouched = not state.phases["joined"] and not any(
                member.exits or member.achievements or member.calls for member in members
            )
        if untouched:
            raise CannotStart(words)

    # -- between two sessions ----------------------------------------------------------------------------------------
    def _progress(self) -> tuple[int, int]:
        """How many ideas, commits and evaluations, and how many model calls, it has behind it."""
        with self._run.state.read() as state:
            member = state.member(self.slot.id)
            return member.achievements, member.calls

    def _since(self, before: tuple[int, int]) -> tuple[bool, TokensEvent | None]:
        """Whether it has achieved something since `before`, and its last model call since then if the provider failed it."""
        with self._run.state.read() as state:
            member = state.member(self.slot.id)
            called = member.last_call if member.calls > before[1] else None
            achieved = member.achievements > before[0]
        return achieved, called if called is not None and metrics.failed_by_provider(called) else None

    def _nudge(self, reason: str) -> str:
        with self._run.state.read() as state:
            confirmed = state.of_member(self.slot.id).confirmed
            best = confirmed[-1].value if confirmed else None
        kind, _, detail = reason.partition(": ")
        why = f" (your processes were ended: {kind.replace('_', ' ')}, {detail})" if detail else ""
        self._note(f"nudged{why}")
        return NUDGE.format(
            why=why,
            left=format_duration(self._run.clock.remaining()),
            best="none yet" if best is None else f"{best:.0%}",
        )

    async def _back_off(self, seconds: float) -> None:
        await self._sleep(min(seconds, self._run.clock.remaining()))

    async def _sleep(self, seconds: float) -> None:
        """Less if the run ends before."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), seconds)

    def _note(self, text: str) -> None:
        self._run.ledger.append(NoteEvent(text=text), agent=self.slot.id)

    def _log(self, phase: Literal["started", "exited"], **more: Any) -> None:
        event = AgentEvent(
            phase=phase,
            name=self.slot.kind.name,
            agent_version=self._version,
            model=self._run.config.of_agent(self.slot.kind.name).model,
            **more,
        )
        self._run.ledger.append(event, agent=self.slot.id)
