"""The gateway's server: a Unix socket that speaks three model protocols, live or from a script, and meters every call.

One call, top to bottom: admit the request -> reserve its budget -> write `call` into the ledger -> ask the provider, as often as it takes
-> relay the answer -> write `tokens`
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import secrets
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from aiohttp import web

from autoenvbench.gateway.admission import Admission, Refused
from autoenvbench.gateway.allowance import Allowance, BudgetSpent
from autoenvbench.gateway.chat import Chat
from autoenvbench.gateway.dialect import Dialect, Meter
from autoenvbench.gateway.messages import Messages
from autoenvbench.gateway.pipe import Pipe
from autoenvbench.gateway.recorder import Recorder
from autoenvbench.gateway.reply import KEEP_ALIVE_S, Reply
from autoenvbench.gateway.responses import Responses
from autoenvbench.gateway.retries import Backoff, Failure, ProviderLost
from autoenvbench.gateway.transcript import MAX_TEXT_BYTES, Conversations, Transcript
from autoenvbench.gateway.upstream import Call, Head, Upstream
from autoenvbench.record.events import CallEvent, NoteEvent, RefusalEvent, TokensEvent, WaitEvent
from autoenvbench.record.ledger import EventSink

MAX_REQUEST_BYTES = 32 << 20  # bytes; the largest that a provider takes
MAX_CALLS = 64  # at once; more wait unread, because their bodies would be in our memory
DRAIN_S = 60.0
MAX_DROPPED_NAMES = 200  # names of dropped headers and fields that are recorded in one run
DIALECTS: tuple[Dialect, ...] = (Responses(), Chat(), Messages())


class Gateway:
    """Serves one agent on a Unix socket.

    Every call begins as a `call` event in the ledger and ends as a `tokens` event. Transient failures of the provider are
    waited out here, as `wait` events; the agent sees a slow answer. The event loop does no fsync and no compression: those
    are the `Recorder`'s threads'.

    Args:
        socket: where to listen; a file that is there is replaced.
        ledger: opened with a clock, so that it can append.
        upstream: where answers come from.
        agent: the name that the events carry.
        transcript: file for requests and answers (see `transcript.Transcript`), or None.
        admission: what of a request is forwarded; by default any model, and none of the provider's own tools.
        allowance: the run's budgets; by default none.
        should_retry: whether to wait and ask again after a failure; by default after every transient one.
        on_wait: called in the gateway's loop with the reason and the seconds of each wait, and with ("", 0) at its end.
        drain_s: how long an answer is read on after its agent has hung up, to learn what it has cost [s].
        keep_alive_s: silence after which a streaming agent is sent a keep-alive event [s].
        seed: of the jitter in waits.
    """

    def __init__(
        self, socket: Path, ledger: EventSink, upstream: Upstream, agent: str, *, transcript: Path | None = None,
        admission: Admission | None = None, allowance: Allowance | None = None,
        should_retry: Callable[[Failure], bool] = lambda failure: failure.transient,
        on_wait: Callable[[str, float], None] = lambda reason, seconds: None, keep_alive_s: float = KEEP_ALIVE_S,
        drain_s: float = DRAIN_S, seed: int = 0,
    ) -> None:  # fmt: skip
        self.socket, self._upstream, self._recorder = socket, upstream, Recorder(ledger, agent)
        self._admission, self._allowance = admission or Admission(), allowance or Allowance({})
        self._should_retry, self._on_wait, self._keep_alive_s = should_retry, on_wait, keep_alive_s
        self._drain_s, self._in_progress = drain_s, set[asyncio.Task[None]]()
        self._transcript, self._conversations, self._backoff = Transcript(transcript), Conversations(), Backoff(seed)
        self._free_calls = asyncio.Semaphore(MAX_CALLS)
        self._refusals, self._dropped_names = 0, set[str]()
        self._runner: web.AppRunner | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._not_paused = asyncio.Event()
        self._not_paused.set()

    async def start(self) -> None:
        """Listen on the socket, in the event loop that is running."""
        self._loop = asyncio.get_running_loop()
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        for dialect in DIALECTS:
            app.router.add_post(dialect.path, functools.partial(self._serve_request, dialect))
        app.router.add_head("/", _answer_head)  # Claude Code asks for it before its first call
        app.router.add_route("*", "/{path:.*}", self._not_served)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        await self._runner.setup()
        self.socket.unlink(missing_ok=True)
        await web.UnixSite(self._runner, str(self.socket)).start()

    async def close(self) -> None:
        """Cancel the calls in progress; returns when all of them are recorded."""
        self._not_paused.set()
        if self._runner is not None:
            await self._runner.cleanup()
        for task in list(self._in_progress):
            task.cancel()
        await asyncio.gather(*self._in_progress, return_exceptions=True)
        await self._upstream.close()
        await self._recorder.close()

    def hold(self, held: bool) -> None:
        """Keep new calls waiting while a run is paused. May be called from any thread."""
        assert self._loop is not None, "start() comes first"
        self._loop.call_soon_threadsafe(self._not_paused.clear if held else self._not_paused.set)

    # -- one call ----------------------------------------------------------------------------------------------------
    async def _serve_request(self, dialect: Dialect, request: web.Request) -> web.StreamResponse:
        await self._free_calls.acquire()
        task: asyncio.Task[None] | None = None
        try:
            raw = await request.read()
            try:
                body = json.loads(raw)
                if not isinstance(body, dict):
                    raise ValueError
            except (ValueError, RecursionError):
                return _error_response(400, "the request's body is not a JSON object")
            try:
                admitted = self._admission.admit(dialect, body, dict(request.headers), request.query_string)
            except Refused as refused:
                await self._record_refusal(dialect, raw, str(refused))
                return _error_response(
                    400, f"the gateway forwards no {refused} (autoenvbench eval --allow-hosted-tools opens tools)"
                )
            await self._record_dropped(admitted.dropped)
            call, pipe = Call(dialect, admitted.body, admitted.headers, admitted.query), Pipe()
            task = asyncio.create_task(self._run_call(call, raw, pipe))
            self._in_progress.add(task)
            return await self._relay(Reply(dialect, request, call.streams, self._keep_alive_s), pipe, task)
        finally:
            if task is None:
                self._free_calls.release()
            else:
                task.add_done_callback(self._call_ended)

    async def _relay(self, reply: Reply, pipe: Pipe, task: asyncio.Task[None]) -> web.StreamResponse:
        try:
            async with aclosing(pipe.read()) as answer:
                return await reply.relay(answer)
        except ProviderLost as error:
            await reply.fail(f"the provider's answer was cut: {error}")
            return reply.cut()
        finally:  # also when the agent has hung up or was killed
            pipe.leave()
            asyncio.get_running_loop().call_later(self._drain_s, task.cancel)

    def _call_ended(self, task: asyncio.Task[None]) -> None:
        self._in_progress.discard(task)
        self._free_calls.release()

    async def _run_call(self, call: Call, raw: bytes, pipe: Pipe) -> None:
        """One call from its budget to its `tokens` event, whatever becomes of the agent meanwhile."""
        try:
            model, max_output = str(call.body.get("model", "unknown")), call.dialect.max_output(call.body)
            async with self._allowance.reserve(model, len(raw), max_output):
                if not pipe.left.is_set():
                    await self._forward_metered(call, model, pipe)
        except BudgetSpent as spent:
            reason = str(spent).replace("_", " ")
            await self._record_refusal(call.dialect, raw, reason)
            await pipe.put(Head(403, "application/json"))
            message = f"this run's {reason} is spent; no further calls are answered"
            await pipe.put(json.dumps(_error_object(message)).encode())
        except ProviderLost as error:
            await pipe.put(error)
        except Exception as error:
            with contextlib.suppress(sqlite3.Error):  # a full disk, perhaps: what cannot be recorded is not asked
                await self._recorder.append(NoteEvent(text=f"the gateway failed at a call: {error!r}"[:500]))
        finally:
            await pipe.put(None)

    async def _forward_metered(self, call: Call, model: str, pipe: Pipe) -> None:
        """Ask the provider between the call's two events: `call` is durable before the request is forwarded, `tokens`
        before the end of the answer is passed on."""
        known, estimate = self._conversations.known_items(call.dialect, call.body)
        call_id, lost = secrets.token_hex(8), None
        meter, began, answered, status = Meter(call.dialect, call.body, estimate), time.monotonic(), bytearray(), 0
        call_event = CallEvent(id=call_id, model=model, input=estimate.input, cached_input=estimate.cached_input)
        try:
            await self._recorder.append(call_event)
        except asyncio.CancelledError:  # it is in the ledger, so its end must be, too
            await self._record_end(meter.result(200, 0.0, call_id))
            raise
        try:
            async with aclosing(self._ask_with_retries(call, call_id, pipe.left)) as answer:
                async for part in answer:
                    if isinstance(part, Head):
                        status = part.status
                    else:
                        meter.feed(part)
                        answered.extend(part[: max(0, MAX_TEXT_BYTES - len(answered))])
                    await pipe.put(part)
        except ProviderLost as error:
            lost = f"the provider's answer was cut: {error}"
            raise
        finally:
            try:
                await self._record_end(meter.result(status or 200, time.monotonic() - began, call_id, lost))
            finally:
                await self._recorder.keep(
                    self._transcript.write_call, call.dialect, call.body, call.headers, known, status, bytes(answered)
                )

    async def _ask_with_retries(
        self, call: Call, call_id: str, left: asyncio.Event
    ) -> AsyncGenerator[Head | bytes, None]:
        """The first answer that is no transient failure; nothing where the agent has left before. Raises ProviderLost if it
        ends in its middle, after its beginning was yielded."""
        waiting = False
        attempt = 0
        try:
            while True:
                await self._not_paused.wait()
                async with aclosing(self._ask_once(call)) as answer:
                    first = await anext(answer)
                    if not isinstance(first, Failure):
                        if waiting:
                            waiting = False
                            await self._end_wait(call_id)
                        yield first
                        async for part in answer:
                            assert not isinstance(part, Failure)
                            yield part
                        return
                if not self._should_retry(first):
                    status = first.status if first.status >= 400 else 502
                    yield Head(status, "application/json")
                    yield first.body if first.status else json.dumps(_error_object(first.message)).encode()
                    return
                delay = self._backoff.delay(attempt, first)
                attempt, waiting = attempt + 1, True
                await self._recorder.append(
                    WaitEvent(phase="started", call=call_id, reason=first.message, status=first.status, planned_s=delay)
                )
                self._on_wait(first.message, delay)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(left.wait(), delay)
                    return
        finally:
            if waiting:
                await self._end_wait(call_id)

    async def _ask_once(self, call: Call) -> AsyncGenerator[Head | bytes | Failure, None]:
        """One request to the provider: a Failure alone, or the answer. An answer is yielded from its end on if it is not
        streamed, and from its first event on if it is: until then the request can be made again."""
        received = bytearray()
        head: Head | None = None
        begun = False
        try:
            async with aclosing(self._upstream.answer(call)) as answer:
                async for part in answer:
                    if isinstance(part, Head):
                        head = part
                        continue
                    assert head is not None
                    if begun:
                        yield part
                        continue
                    received += part
                    if head.status != 200 or not call.streams or b"\n\n" not in received.replace(b"\r\n", b"\n"):
                        continue
                    if (failure := _early_error(bytes(received))) is not None:
                        yield failure
                        return
                    begun = True
                    yield head
                    yield bytes(received)
        except ProviderLost as error:
            if begun:
                raise
            message = f"the gateway cannot reach the provider: {error}"
            if head is not None:
                message = f"the provider ended its answer before it had begun: {error}"
            yield Failure(0, json.dumps(_error_object(message)).encode())
            return
        if begun:
            return
        if head is None or not received:
            yield Failure(
                0 if head is None or head.status == 200 else head.status, b"", dict(head.headers) if head else {}
            )
        elif head.status != 200:
            yield Failure(head.status, bytes(received), head.headers)
        else:
            yield head
            yield bytes(received)

    # -- the record ----------------------------------------------------------------------------------------------------
    async def _record_end(self, event: TokensEvent) -> None:
        """Write a call's last event and count it; a call that cannot be written is spent all the same."""
        try:
            await self._recorder.append(event)
        finally:
            self._allowance.count(event)

    async def _end_wait(self, call_id: str) -> None:
        await self._recorder.append(WaitEvent(phase="ended", call=call_id))
        self._on_wait("", 0.0)

    async def _record_refusal(self, dialect: Dialect, raw: bytes, why: str) -> None:
        """Write the first twenty, then the 32nd, the 64th, ...: an agent that asks a million times fills no disk."""
        self._refusals += 1
        if self._refusals <= 20 or self._refusals & (self._refusals - 1) == 0:
            try:
                await self._recorder.append(RefusalEvent(phase="refused", names=[why], count=self._refusals))
            finally:
                await self._recorder.keep(self._transcript.write_refused, dialect, raw, why)

    async def _record_dropped(self, names: list[str]) -> None:
        new = sorted(set(names) - self._dropped_names)[: MAX_DROPPED_NAMES - len(self._dropped_names)]
        if new:
            self._dropped_names.update(new)
            await self._recorder.append(RefusalEvent(phase="dropped", names=new, count=0))

    async def _not_served(self, request: web.Request) -> web.Response:
        served = ", ".join(f"POST {dialect.path}" for dialect in DIALECTS)
        return _error_response(404, f"the gateway serves {served}, not {request.method} {request.path}")


def _early_error(received: bytes) -> Failure | None:
    """The transient error that a stream begins with, if it does: the request can be made again."""
    for line in received.splitlines():
        if not line.startswith(b"data:"):
            continue
        with contextlib.suppress(ValueError, RecursionError):
            event: Any = json.loads(line[5:])
            if isinstance(event, dict) and isinstance(event.get("response"), dict):
                event = event["response"]
            if isinstance(event, dict) and isinstance(event.get("error"), dict):
                failure = Failure(200, json.dumps({"error": event["error"]}).encode())
                return failure if failure.transient else None
    return None


def _error_object(message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": "gateway", "message": message}}


def _error_response(status: int, message: str) -> web.Response:
    return web.json_response(_error_object(message), status=status)


async def _answer_head(request: web.Request) -> web.Response:
    return web.Response()
