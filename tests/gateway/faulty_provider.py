"""A provider on loopback that speaks the three model protocols from a script, and fails as it is told to.

A step is a replay script's step (`shell` or `text`, with `usage`) and may have `faults`: what happens to the first requests
at that step, one after the other, before it is answered.

    {"status": 429, "headers": {"retry-after": "1"}, "error": {...}}   an error of the provider's
    {"cut": 0.5}          the connection ends after this share of the answer
    {"refuse": true}      the connection ends before the first byte
    {"dead": 60}          silence for so many seconds, then the answer
    {"stalled": 60}       half of the answer, silence for so many seconds, then the rest
    {"stream_error": {}}  status 200, and an error as the stream's first event (Anthropic's and OpenAI's way to be overloaded)
"""

from __future__ import annotations

import asyncio
import functools
import secrets
import threading
from collections import Counter
from typing import Any

from aiohttp import web

from autoenvbench.gateway.dialect import Dialect, Step, sse
from autoenvbench.gateway.gateway import DIALECTS


class FaultyProvider:
    """Serves on a loopback port, on a thread of its own. A context manager; `url` ends in /v1.

    Args:
        first: faults of calls without tools, such as a run's first; they are step -1.

    Attributes:
        seen: (headers, body, query) of every request.
        served: (step, what was done) of every request, in order.
    """

    def __init__(self, steps: list[dict[str, Any]], first: list[dict[str, Any]] | None = None) -> None:
        self.steps, self.first = steps, {"text": "ready", "faults": first or []}
        self.seen: list[tuple[dict[str, str], dict[str, Any], str]] = []
        self.served: list[tuple[int, str]] = []
        self.at_once = self.most_at_once = 0
        self._failed: Counter[int] = Counter()
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> FaultyProvider:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        async def start() -> web.AppRunner:
            app = web.Application(client_max_size=1 << 26)
            for dialect in DIALECTS:
                app.router.add_post(dialect.path, functools.partial(self._answer, dialect))
            runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"  # type: ignore[union-attr]
            self._ready.set()
            return runner

        runner = self._loop.run_until_complete(start())
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())

    async def _answer(self, dialect: Dialect, request: web.Request) -> web.StreamResponse:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._one(dialect, request)
        finally:
            self.at_once -= 1

    async def _one(self, dialect: Dialect, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen.append((dict(request.headers), body, request.query_string))
        number = dialect.tool_results(body)
        number = number if body.get("tools") else -1
        given = self.first if number < 0 else self.steps[min(number, len(self.steps) - 1)]
        faults = given.get("faults", [])
        fault: dict[str, Any] = faults[self._failed[number]] if self._failed[number] < len(faults) else {}
        self._failed[number] += 1
        self.served.append((number, next(iter(fault), "answer")))
        if "status" in fault:
            error = fault.get("error", {"type": "rate_limit_error", "message": "a scripted error"})
            return web.json_response(
                {"type": "error", "error": error}, status=fault["status"], headers=fault.get("headers")
            )
        if "refuse" in fault:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        await asyncio.sleep(fault.get("dead", 0) + given.get("delay", 0))
        step = Step.resolve(given, dialect.tools(body))
        answer = b"".join(dialect.reply(body, step, f"{number}_{secrets.token_hex(4)}"))
        if "stream_error" in fault:
            name = {"messages": "error", "responses": "error"}.get(dialect.name)
            answer = sse({"type": "error", "error": fault["stream_error"]}, name)
        kind = "text/event-stream" if body.get("stream") else "application/json"
        response = web.StreamResponse(headers={"Content-Type": kind})
        await response.prepare(request)
        if "cut" in fault:
            await response.write(answer[: int(len(answer) * fault["cut"])])
            await asyncio.sleep(0.05)
            assert request.transport is not None
            request.transport.abort()
            return response
        if "stalled" in fault:
            first = answer[: answer.index(b"\n\n") + 2]
            await response.write(first)
            await asyncio.sleep(fault["stalled"])
            answer = answer[len(first) :]
        await response.write(answer)
        await response.write_eof()
        return response
