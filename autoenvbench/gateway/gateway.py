"""The gateway's server: a Unix socket that speaks three model protocols, live or from a script, and meters every call.

admit the request -> reserve its budget -> write `call` into the ledger -> ask the provider, as often as it takes
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
from autoenvbench.gateway.patience import Failure, Patience, ProviderLost
from autoenvbench.gateway.pipe import Pipe
from autoenvbench.gateway.recorder import Recorder
from autoenvbench.gateway.reply import QUIET_S, Reply
from autoenvbench.gateway.responses import Responses
from autoenvbench.gateway.transcript import MOST_A_CALL, Conversations, Transcript
from autoenvbench.gateway.upstream import Call, Head, Upstream
from autoenvbench.record.events import CallEvent, NoteEvent, RefusalEvent, TokensEvent, WaitEvent
from autoenvbench.record.ledger import Ledger

MAX_REQUEST = 32 << 20  # bytes; the largest that a provider takes
CALLS_AT_ONCE = 64  # more wait unread: their bodies would be in our memory
DRAIN_S = 60.0
MOST_NAMES = 200  # of dropped headers and fields that are recorded in one run
DIALECTS: tuple[Dialect, ...] = (Responses(), Chat(), Messages())


class Gateway:
    """Serves one run's agents on a Unix socket.

    Every call begins as a `call` event in the ledger and ends as a `tokens` event. A provider's failures that pass are
    waited out here, as `wait` events; the agent sees a slow answer.

    Args:
        transcript: file for what was said and answered (see `transcript.Transcript`), or None.
        waits: whether a failure is waited out; by default every one that can pass.
        on_wait: told the reason and the seconds of each wait, and ("", 0) when waiting has ended; in the gateway's loop.
        drain_s: how long an answer is read on after its agent has hung up, to learn what it has cost [s].
        quiet_s: silence after which a streaming agent is sent a keep-alive [s].
    """

    def __init__(
        self, socket: Path, ledger: Ledger, upstream: Upstream, agent: str, *, transcript: Path | None = None,
        admission: Admission | None = None, allowance: Allowance | None = None,
        waits: Callable[[Failure], bool] = lambda failure: failure.passes,
        on_wait: Callable[[str, float], None] = lambda reason, seconds: None, quiet_s: float = QUIET_S,
        drain_s: float = DRAIN_S, seed: int = 0,
    ) -> None:  # fmt: skip
        self.socket, self._upstream, self._recorder = socket, upstream, Recorder(ledger, agent)
        self._admission, self._allowance = admission or Admission(), allowance or Allowance({})
        self._waits, self._on_wait, self._quiet_s = waits, on_wait, quiet_s
        self._drain_s, self._under_way = drain_s, set[asyncio.Task[None]]()
        self._transcript, self._conversations, self._patience = Transcript(transcript), Conversations(), Patience(seed)
        self._room = asyncio.Semaphore(CALLS_AT_ONCE)
        self._refusals, self._names = 0, set[str]()
        self._runner: web.AppRunner | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._not_paused = asyncio.Event()
        self._not_paused.set()

    async def start(self) -> None:
        """Listen on the socket, in the event loop that is running."""
        self._loop = asyncio.get_running_loop()
        app = web.Application(client_max_size=MAX_REQUEST)
        for dialect in DIALECTS:
            app.router.add_post(dialect.path, functools.partial(self._serve, dialect))
        app.router.add_head("/", _present)  # Claude Code looks whether anybody is there
        app.router.add_route("*", "/{path:.*}", self._unknown)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        await self._runner.setup()
        self.socket.unlink(missing_ok=True)
        await web.UnixSite(self._runner, str(self.socket)).start()

    async def close(self) -> None:
        """End what is under way; returns when all of it is recorded."""
        self._not_paused.set()
        if self._runner is not None:
            await self._runner.cleanup()
        for work in list(self._under_way):
            work.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self._upstream.close()
        await self._recorder.close()

    def hold(self, held: bool) -> None:
        """Keep new calls waiting while a run is paused. From any thread."""
        assert self._loop is not None, "start() comes first"
        self._loop.call_soon_threadsafe(self._not_paused.clear if held else self._not_paused.set)

    # -- one call ----------------------------------------------------------------------------------------------------
    async def _serve(self, dialect: Dialect, request: web.Request) -> web.StreamResponse:
        await self._room.acquire()
        work: asyncio.Task[None] | None = None
        try:
            raw = await request.read()
            try:
                body = json.loads(raw)
                if not isinstance(body, dict):
                    raise ValueError
            except (ValueError, RecursionError):
                return _refuse(400, "the request's body is not a JSON object")
            try:
                admitted = self._admission.admit(dialect, body, dict(request.headers), request.query_string)
            except Refused as refused:
                await self._record_refusal(dialect, raw, str(refused))
                return _refuse(
                    400, f"the gateway passes no {refused} (autoenvbench eval --allow-hosted-tools opens tools)"
                )
            await self._record_dropped(admitted.dropped)
            call, pipe = Call(dialect, admitted.body, admitted.headers, admitted.query), Pipe()
            work = asyncio.create_task(self._work(call, raw, pipe))
            self._under_way.add(work)
            return await self._relay(Reply(dialect, request, call.streams, self._quiet_s), pipe, work)
        finally:
            if work is None:
                self._room.release()
            else:
                work.add_done_callback(self._done)

    async def _relay(self, reply: Reply, pipe: Pipe, work: asyncio.Task[None]) -> web.StreamResponse:
        try:
            async with aclosing(pipe.read()) as answer:
                return await reply.relay(answer)
        except ProviderLost as error:
            await reply.fail(f"the provider's answer was cut: {error}")
            return reply.cut()
        finally:  # also when the agent has hung up or was killed
            pipe.leave()
            asyncio.get_running_loop().call_later(self._drain_s, work.cancel)

    def _done(self, work: asyncio.Task[None]) -> None:
        self._under_way.discard(work)
        self._room.release()

    async def _work(self, call: Call, raw: bytes, pipe: Pipe) -> None:
        """One call from its budget to its `tokens` event, whatever becomes of the agent meanwhile."""
        try:
            model, most = str(call.body.get("model", "unknown")), call.dialect.most_output(call.body)
            async with self._allowance.reserve(model, len(raw), most):
                if not pipe.left.is_set():
                    await self._metered(call, model, pipe)
        except BudgetSpent as spent:
            reason = str(spent).replace("_", " ")
            await self._record_refusal(call.dialect, raw, reason)
            await pipe.put(Head(403, "application/json"))
            message = f"this run's {reason} is spent; no further calls are answered"
            await pipe.put(json.dumps(_error(message)).encode())
        except ProviderLost as error:
            await pipe.put(error)
        except Exception as error:
            with contextlib.suppress(sqlite3.Error):  # a full disk, perhaps: nothing can be recorded, and nothing is asked
                await self._recorder.append(NoteEvent(text=f"the gateway failed at a call: {error!r}"[:500]))
        finally:
            await pipe.put(None)

    async def _metered(self, call: Call, model: str, pipe: Pipe) -> None:
        """Ask the provider between the call's two events: `call` is durable before the request is forwarded, `tokens`
        before the end of the answer is passed on."""
        known, estimate = self._conversations.known_items(call.dialect, call.body)
        number, lost = secrets.token_hex(8), None
        meter, began, kept, status = Meter(call.dialect, call.body, estimate), time.monotonic(), bytearray(), 0
        begin = CallEvent(id=number, model=model, input=estimate.input, cached_input=estimate.cached_input)
        try:
            await self._recorder.append(begin)
        except asyncio.CancelledError:  # it is in the ledger, so its end must be, too
            await self._record_end(meter.result(200, 0.0, number))
            raise
        try:
            async with aclosing(self._ask(call, number, pipe.left)) as answer:
                async for part in answer:
                    if isinstance(part, Head):
                        status = part.status
                    else:
                        meter.feed(part)
                        kept.extend(part[: max(0, MOST_A_CALL - len(kept))])
                    await pipe.put(part)
        except ProviderLost as error:
            lost = f"the provider's answer was cut: {error}"
            raise
        finally:
            try:
                await self._record_end(meter.result(status or 200, time.monotonic() - began, number, lost))
            finally:
                await self._recorder.keep(
                    self._transcript.keep, call.dialect, call.body, call.headers, known, status, bytes(kept)
                )

    async def _ask(self, call: Call, number: str, left: asyncio.Event) -> AsyncGenerator[Head | bytes, None]:
        """The first answer that is not a failure which passes; none where the agent has left before. Raises ProviderLost if
        it ends in its middle and its beginning is with the agent already."""
        waiting = False
        attempt = 0
        try:
            while True:
                await self._not_paused.wait()
                async with aclosing(self._attempt(call)) as answer:
                    first = await anext(answer)
                    if not isinstance(first, Failure):
                        if waiting:
                            waiting = False
                            await self._end_wait(number)
                        yield first
                        async for part in answer:
                            assert not isinstance(part, Failure)
                            yield part
                        return
                if not self._waits(first):
                    status = first.status if first.status >= 400 else 502
                    yield Head(status, "application/json")
                    yield first.body if first.status else json.dumps(_error(first.words)).encode()
                    return
                delay = self._patience.delay(attempt, first)
                attempt, waiting = attempt + 1, True
                await self._recorder.append(
                    WaitEvent(phase="started", call=number, reason=first.words, status=first.status, planned_s=delay)
                )
                self._on_wait(first.words, delay)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(left.wait(), delay)
                    return
        finally:
            if waiting:
                await self._end_wait(number)

    async def _attempt(self, call: Call) -> AsyncGenerator[Head | bytes | Failure, None]:
        """One request to the provider: a Failure alone, or the answer. What is not streamed is read to its end first,
        and of a stream its first event: until then the request can be made again."""
        held = bytearray()
        head: Head | None = None
        passed = False
        try:
            async with aclosing(self._upstream.answer(call)) as answer:
                async for part in answer:
                    if isinstance(part, Head):
                        head = part
                        continue
                    assert head is not None
                    if passed:
                        yield part
                        continue
                    held += part
                    if head.status != 200 or not call.streams or b"\n\n" not in held.replace(b"\r\n", b"\n"):
                        continue
                    if (failure := _early_error(bytes(held))) is not None:
                        yield failure
                        return
                    passed = True
                    yield head
                    yield bytes(held)
        except ProviderLost as error:
            if passed:
                raise
            message = f"the gateway cannot reach the provider: {error}"
            if head is not None:
                message = f"the provider ended its answer before it had begun: {error}"
            yield Failure(0, json.dumps(_error(message)).encode())
            return
        if passed:
            return
        if head is None or not held:
            yield Failure(
                0 if head is None or head.status == 200 else head.status, b"", dict(head.headers) if head else {}
            )
        elif head.status != 200:
            yield Failure(head.status, bytes(held), head.headers)
        else:
            yield head
            yield bytes(held)

    # -- the record ----------------------------------------------------------------------------------------------------
    async def _record_end(self, event: TokensEvent) -> None:
        try:
            await self._recorder.append(event)
        finally:
            self._allowance.count(event)

    async def _end_wait(self, number: str) -> None:
        await self._recorder.append(WaitEvent(phase="ended", call=number))
        self._on_wait("", 0.0)

    async def _record_refusal(self, dialect: Dialect, raw: bytes, why: str) -> None:
        """The first twenty, then the 32nd, the 64th, ...: an agent that asks a million times fills no disk."""
        self._refusals += 1
        if self._refusals <= 20 or self._refusals & (self._refusals - 1) == 0:
            try:
                await self._recorder.append(RefusalEvent(phase="refused", names=[why], count=self._refusals))
            finally:
                await self._recorder.keep(self._transcript.keep_refused, dialect, raw, why)

    async def _record_dropped(self, names: list[str]) -> None:
        new = sorted(set(names) - self._names)[: MOST_NAMES - len(self._names)]
        if new:
            self._names.update(new)
            await self._recorder.append(RefusalEvent(phase="dropped", names=new, count=0))

    async def _unknown(self, request: web.Request) -> web.Response:
        served = ", ".join(f"POST {dialect.path}" for dialect in DIALECTS)
        return _refuse(404, f"the gateway serves {served}, not {request.method} {request.path}")


def _early_error(held: bytes) -> Failure | None:
    """A stream that begins with an error which passes: the request can be made again."""
    for line in held.splitlines():
        if not line.startswith(b"data:"):
            continue
        with contextlib.suppress(ValueError, RecursionError):
            event: Any = json.loads(line[5:])
            if isinstance(event, dict) and isinstance(event.get("response"), dict):
                event = event["response"]
            if isinstance(event, dict) and isinstance(event.get("error"), dict):
                failure = Failure(200, json.dumps({"error": event["error"]}).encode())
                return failure if failure.passes else None
    return None


def _error(message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": "gateway", "message": message}}


def _refuse(status: int, message: str) -> web.Response:
    return web.json_response(_error(message), status=status)


async def _present(request: web.Request) -> web.Response:
    return web.Response()
