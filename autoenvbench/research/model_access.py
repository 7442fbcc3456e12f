"""A run's way to its language models: the call that tests them before the run, budgets, the gateways with their rules, and their
counts of tokens after."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import aiohttp
import numpy as np

from autoenvbench.agents.base import Agent
from autoenvbench.agents.registry import make_agent
from autoenvbench.errors import UserError
from autoenvbench.gateway.admission import Admission
from autoenvbench.gateway.allowance import Allowance
from autoenvbench.gateway.gateway import DIALECTS, Gateway
from autoenvbench.gateway.loop_thread import LoopThread
from autoenvbench.gateway.retries import Failure
from autoenvbench.gateway.upstream import Live, Replay, Upstream
from autoenvbench.gateway.vision_model import KEY, NoAnswer, VisionModel
from autoenvbench.record import prices
from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import NOT_AGENTS, PREFLIGHT, TokensEvent
from autoenvbench.record.ledger import Event, Ledger
from autoenvbench.record.run_config import RunConfig
from autoenvbench.research.slots import AgentSlot, Run
from autoenvbench.station.film import png

CHECK_S = 60.0  # how long a busy provider is retried before a run is refused


def check_models(config: RunConfig, agents: Sequence[str]) -> list[TokensEvent]:
    """`check_model` for each agent of a run, as `--agent` names them; for those that are named twice, once. And the same for the model that
    answers their questions about pictures, if they have one."""
    calls = [check_model(config, make_agent(name)) for name in dict.fromkeys(agents)]
    return [call for call in [*calls, check_vision_model(config)] if call is not None]


def check_vision_model(config: RunConfig) -> TokensEvent | None:
    """Show the model behind `--vision tool` a picture once; returns the call's tokens, None for a run without. Raises UserError."""
    if config.vision_model is None:
        return None
    with tempfile.TemporaryDirectory(prefix="aeb-") as folder:
        ledger = Ledger(Path(folder) / "ledger.sqlite", RunClock.start(CHECK_S))
        try:
            with VisionModel(config.vision_model, config.vision_url) as model:
                model.ask(
                    ledger,
                    PREFLIGHT,
                    "Which colour is it? One word.",
                    [("A picture:", png(np.full((64, 64, 3), (200, 30, 30), np.uint8)))],
                )
        except NoAnswer as error:
            raise UserError(
                f"the first call of {config.vision_model!r}, which shall answer questions about pictures, failed: {error} (asked at "
                f"{config.vision_url or 'OpenAI'}; is {KEY} right, does the model see pictures, and is this its name and address?)"
            ) from None
        finally:
            calls: list[TokensEvent] = [e.payload for e in ledger.events("tokens")]
            ledger.close()
    return calls[-1].model_copy(update={"call": None, "member": None})


def check_model(config: RunConfig, agent: Agent, within_s: float = CHECK_S) -> TokensEvent | None:
    """Call the run's model once, through a gateway as the agent's calls will go; None for a run without a live model.

    Args:
        within_s: how long a provider that is busy is retried [s].

    Returns:
        The call's tokens, for the run's ledger.

    Raises:
        UserError: with the provider's explanation, for a wrong key, model or address, or a provider that stays busy.
    """
    if not agent.needs_model or config.replay:
        return None
    with tempfile.TemporaryDirectory(prefix="aeb-") as folder:
        return asyncio.run(_check_model(config, agent, within_s, Path(folder)))


async def _check_model(config: RunConfig, agent: Agent, within_s: float, folder: Path) -> TokensEvent:
    config = config.of_agent(agent.name)
    last_failure = "the provider did not answer"

    def remember(reason: str, seconds: float) -> None:
        nonlocal last_failure
        last_failure = reason or last_failure

    def busy(failure: Failure) -> bool:
        return failure.transient and not failure.unreachable

    dialect = next(d for d in DIALECTS if d.name == agent.dialect(config))
    model = agent.models(config)[0]
    ledger = Ledger(folder / "ledger.sqlite", RunClock.start(within_s))
    gateway = Gateway(
        folder / "model.sock", ledger, _upstream(config, agent), PREFLIGHT, admission=_admission(config, agent),
        should_retry=busy, on_wait=remember,
    )  # fmt: skip
    await gateway.start()
    try:
        headers = {"anthropic-version": "2023-06-01"} if dialect.name == "messages" else {}
        async with (
            asyncio.timeout(within_s),
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(gateway.socket))) as session,
            session.post(f"http://gateway{dialect.path}", json=dialect.probe(model), headers=headers) as response,
        ):
            failed = None if response.status == 200 else Failure(response.status, await response.read()).message
    except TimeoutError:
        failed = f"no answer within {within_s:.0f} s; {last_failure}"
    finally:
        await gateway.close()
    calls = [e.payload for e in ledger.events("tokens")]
    ledger.close()
    if failed is None and calls and calls[-1].error:
        failed = calls[-1].error
    if failed is not None or not calls:
        raise UserError(
            f"the first call of {model!r} failed: {failed} "
            f"(asked at {config.base_url or agent.provider}; is {agent.api_key} right, and is this the model's name and address?)"
        )
    return calls[-1].model_copy(update={"call": None})


def allowance(run: Run) -> Allowance:
    """The run's budgets, less what its ledger says is spent already."""
    config = run.config
    made = Allowance(prices.load(config.prices), config.token_budget, config.cost_budget)
    for event in run.ledger.events("tokens"):
        if event.agent not in NOT_AGENTS:
            made.count(event.payload)
    return made


class Gateways:
    """The gateways of a run's members, which all draw on one allowance. Used as an async context manager, around their work.

    They are served in an event loop of their own: nothing that the rest of the run does (the ledger's fsync, looks into /proc,
    reading what agents print) stands between a model and its agent.

    Args:
        folder: where their sockets lie.
        on_wait: called in the caller's loop with a slot's id, and the reason and seconds of a wait (see `Gateway`).

    Attributes:
        of: by slot's id, of those whose agent asks a model.
    """

    def __init__(self, run: Run, allowed: Allowance, folder: Path, on_wait: Callable[[str, str, float], None]) -> None:
        self._run, self._allowed, self._folder, self._on_wait = run, allowed, folder, on_wait
        self.of: dict[str, Gateway] = {}
        self._stack, self._thread = contextlib.AsyncExitStack(), LoopThread("model-gateways")

    async def __aenter__(self) -> Gateways:
        self._here = asyncio.get_running_loop()
        self._stack.enter_context(self._thread)
        for slot in self._run.slots:
            await self.open(slot)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def open(self, slot: AgentSlot) -> None:
        """Open a member's, if its agent asks a model."""
        config = self._run.config
        if not slot.kind.needs_model and not config.replay:
            return
        gateway = Gateway(
            self._folder / f"model-{len(self.of) + 1}.sock", self._run.ledger, _upstream(config, slot.kind), slot.id,
            transcript=slot.folder / "transcript.jsonl.gz", admission=_admission(config, slot.kind),
            allowance=self._allowed, on_wait=functools.partial(self._tell, slot.id), seed=config.seed,
        )  # fmt: skip
        self.of[slot.id] = gateway
        self._stack.push_async_callback(self._close, gateway)
        await asyncio.wrap_future(self._thread.submit(gateway.start()))

    async def _close(self, gateway: Gateway) -> None:
        await asyncio.wrap_future(self._thread.submit(gateway.close()))

    def _tell(self, slot: str, reason: str, seconds: float) -> None:
        self._here.call_soon_threadsafe(self._on_wait, slot, reason, seconds)


def _upstream(config: RunConfig, agent: Agent) -> Upstream:
    """Who answers this agent's calls: its provider, or the run's script."""
    if config.replay:
        return Replay(Path(config.replay))
    base = config.base_url or os.environ.get("OPENAI_BASE_URL" if agent.api_key == "OPENAI_API_KEY" else "", "")
    return Live(base or agent.provider or "", os.environ.get(agent.api_key or "", "none"))


def _admission(config: RunConfig, agent: Agent) -> Admission:
    """What of this agent's requests is forwarded."""
    return Admission(frozenset(agent.models(config.of_agent(agent.name))) or None, config.allow_hosted_tools)


def count_killed_calls(ledger: Ledger) -> int:
    """Write the missing `tokens` events of calls during which the run was killed; returns how many there were."""
    killed = unfinished_calls(list(ledger.events("call", "tokens")))
    for event in killed:
        call = event.payload
        ledger.append(
            TokensEvent(model=call.model, status=0, input=call.input, cached_input=call.cached_input, in_flight=True,
                        call=call.id, member=call.member, error="the run was killed during this call"), agent=event.agent,
        )  # fmt: skip
    return len(killed)


def unfinished_calls(events: Sequence[Event]) -> list[Event]:
    """`call` events that no `tokens` event belongs to."""
    ended = {e.payload.call for e in events if e.kind == "tokens"}
    return [e for e in events if e.kind == "call" and e.payload.id not in ended]


def cross_check(slot: AgentSlot, ledger: Ledger) -> str | None:
    """The agent's own count of tokens against the gateway's, in words if they differ. Calls that were cut off or refused are
    left out: no agent counts them."""
    try:
        reported = slot.kind.reported_usage(slot.home)
    except (LookupError, TypeError, ValueError, AttributeError, OSError, RecursionError) as error:
        return f"{slot.id}'s own count of tokens cannot be read ({error!r}); the gateway's counts"
    if reported is None:
        return None
    calls = [
        e.payload
        for e in ledger.events("tokens")
        if e.agent == slot.id and not e.payload.in_flight and e.payload.error is None
    ]
    metered = {name: sum(getattr(c, name) for c in calls) for name in reported}
    if metered == reported:
        return None
    both = ", ".join(f"{name} {reported[name]} (gateway {metered[name]})" for name in reported)
    return f"{slot.id}'s own count of tokens differs: {both}; the gateway's counts"
