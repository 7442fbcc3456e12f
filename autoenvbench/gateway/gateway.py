"""The gateway's server: a Unix socket that speaks three model protocols, live or from a script, and meters every call."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from autoenvbench.events import TokensEvent
from autoenvbench.gateway.chat import Chat
from autoenvbench.gateway.dialect import Dialect, Meter
from autoenvbench.gateway.messages import Messages
from autoenvbench.gateway.prices import Price, price_of
from autoenvbench.gateway.responses import Responses
from autoenvbench.gateway.upstream import KEPT, Call, Upstream
from autoenvbench.ledger import Ledger
from autoenvbench.metrics import headline_tokens

MAX_REQUEST = 64 << 20
DIALECTS: tuple[Dialect, ...] = (Responses(), Chat(), Messages())


@dataclass
class Allowance:
    """What a run may spend, what it has spent, and the price list.

    Attributes:
        tokens: budget in headline tokens (fresh input + output), or None.
        cost: budget in US dollars, or None.
    """

    prices: dict[str, Price]
    tokens: int | None = None
    cost: float | None = None
    spent_tokens: int = 0
    spent_cost: float = 0.0
    unpriced: set[str] = field(default_factory=set)

    def count(self, call: TokensEvent) -> None:
        self.spent_tokens += headline_tokens(call)
        price = price_of(call.model, self.prices)
        if price is not None:
            self.spent_cost += price.of(call)
        elif call.input or call.output:
            self.unpriced.add(call.model)

    def over(self) -> str | None:
        """The budget that is spent, as a run's stop reason; a cost budget is also over where it can no longer be known."""
        if self.tokens is not None and self.spent_tokens >= self.tokens:
            return "token_budget"
        if self.cost is not None and (self.spent_cost >= self.cost or self.unpriced):
            return "cost_budget"
        return None


class Gateway:
    """Serves one run's agents on a Unix socket; every call ends as a `tokens` event in the ledger.

    Args:
        transcript: file that keeps every request and answer (gzip, a JSON object a line; keys left out), or None.
        over: asked before each call; a reason refuses it.
    """

    def __init__(
        self, socket: Path, ledger: Ledger, upstream: Upstream, agent: str, transcript: Path | None = None,
        over: Callable[[], str | None] = lambda: None,
        counted: Callable[[TokensEvent], None] = lambda event: None,
    ) -> None:  # fmt: skip
        self.socket, self._ledger, self._upstream, self._agent = socket, ledger, upstream, agent
        self._transcript, self._over, self._counted = transcript, over, counted
        self._runner: web.AppRunner | None = None
        self._open = asyncio.Event()
        self._open.set()

    async def start(self) -> None:
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
        self._open.set()
        if self._runner is not None:
            await self._runner.cleanup()
        await self._upstream.close()

    def hold(self, held: bool) -> None:
        """Keep new calls waiting while a run is paused."""
        if held:
            self._open.clear()
        else:
            self._open.set()

    async def _serve(self, dialect: Dialect, request: web.Request) -> web.StreamResponse:
        await self._open.wait()
        raw = await request.read()
        try:
            body = json.loads(raw)
            assert isinstance(body, dict)
        except (ValueError, AssertionError):
            return _refuse(400, "the request's body is not a JSON object")
        if reason := self._over():
            return _refuse(403, f"this run's {reason.replace('_', ' ')} is spent; no further calls are answered")
        headers = {k: v for k, v in request.headers.items() if k.lower() not in KEPT}
        call = Call(dialect, body, raw, headers, request.query_string)
        meter, began, kept = Meter(dialect, body, len(raw)), time.monotonic(), bytearray()
        response: web.StreamResponse | None = None
        status = 0
        try:
            async for status, kind, chunk in self._upstream.answer(call):
                if response is None:
                    response = web.StreamResponse(status=status, headers={"Content-Type": kind})
                    await response.prepare(request)
                meter.feed(chunk)
                kept += chunk
                await response.write(chunk)
            if response is None:
                status = 502
                return _refuse(502, "the provider sent nothing")
            await response.write_eof()
            return response
        finally:  # also when the agent was killed in the middle of the call
            event = meter.result(status or 200, time.monotonic() - began)
            self._ledger.append(event, agent=self._agent)
            self._counted(event)
            self._keep(call, status, bytes(kept))

    def _keep(self, call: Call, status: int, answer: bytes) -> None:
        if self._transcript is None:
            return
        line = {
            "time": time.time(), "path": call.dialect.path, "headers": call.headers, "status": status,
            "request": call.body, "answer": answer.decode(errors="replace"),
        }  # fmt: skip
        with contextlib.suppress(OSError), gzip.open(self._transcript, "at") as file:  # a full disk ends no call
            file.write(json.dumps(line) + "\n")

    async def _unknown(self, request: web.Request) -> web.Response:
        served = ", ".join(f"POST {dialect.path}" for dialect in DIALECTS)
        return _refuse(404, f"the gateway serves {served}, not {request.method} {request.path}")


def _refuse(status: int, message: str) -> web.Response:
    return web.json_response({"type": "error", "error": {"type": "gateway", "message": message}}, status=status)


async def _present(request: web.Request) -> web.Response:
    return web.Response()
