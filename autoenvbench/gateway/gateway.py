"""The gateway's server: a Unix socket that speaks OpenAI Responses, live or from a script, and meters every call."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

import aiohttp
from aiohttp import web

from autoenvbench.errors import UserError
from autoenvbench.gateway.responses import Meter, scripted_reply, tool_results
from autoenvbench.ledger import Ledger

MAX_REQUEST = 64 << 20
# Names of ours, of the connection, or of the key stay here; everything else is passed on.
_KEPT = {"host", "connection", "content-length", "transfer-encoding", "authorization", "accept-encoding", "keep-alive"}


class Upstream(Protocol):
    """Where answers come from."""

    def answer(
        self, request: dict[str, Any], raw: bytes, headers: dict[str, str]
    ) -> AsyncIterator[tuple[int, str, bytes]]:
        """Chunks of the answer as (status, content type, bytes)."""

    async def close(self) -> None: ...


class Replay:
    """Serves a script: ``{"steps": [{"shell": "ls", "usage": {...}, "delay": 0.5}, ..., {"text": "done"}]}``.

    The step is the number of tool results in the request. Past the end, the last step is repeated.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._steps = json.loads(path.read_text())["steps"]
            if not isinstance(self._steps, list) or not self._steps:
                raise ValueError("steps is empty")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f'cannot read the replay script {path}: {error!r}; expected {{"steps": [{{"shell": ...}}, {{"text": ...}}]}}'
            ) from None

    async def answer(
        self, request: dict[str, Any], raw: bytes, headers: dict[str, str]
    ) -> AsyncIterator[tuple[int, str, bytes]]:
        number = tool_results(request)
        step = self._steps[min(number, len(self._steps) - 1)]
        await asyncio.sleep(float(step.get("delay", 0)))
        for chunk in scripted_reply(request, step, number):
            yield 200, "text/event-stream", chunk

    async def close(self) -> None:
        pass


class Live:
    """Forwards to a provider with the user's key."""

    def __init__(self, base_url: str, key: str) -> None:
        self._url, self._key = base_url.rstrip("/") + "/responses", key
        self._session: aiohttp.ClientSession | None = None

    async def answer(
        self, request: dict[str, Any], raw: bytes, headers: dict[str, str]
    ) -> AsyncIterator[tuple[int, str, bytes]]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=900), trust_env=True
            )
        try:
            async with self._session.post(
                self._url, data=raw, headers={**headers, "Authorization": f"Bearer {self._key}"}
            ) as response:
                kind = response.headers.get("Content-Type", "application/json")
                async for chunk in response.content.iter_any():
                    yield response.status, kind, chunk
        except aiohttp.ClientError as error:
            body = {"error": {"message": f"the gateway cannot reach the provider: {type(error).__name__}"}}
            yield 502, "application/json", json.dumps(body).encode()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class Gateway:
    """Serves one run's agents on a Unix socket; every call ends as a `tokens` event in the ledger."""

    def __init__(self, socket: Path, ledger: Ledger, upstream: Upstream, agent: str) -> None:
        self._socket, self._ledger, self._upstream, self._agent = socket, ledger, upstream, agent
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(client_max_size=MAX_REQUEST)
        app.add_routes([web.post("/v1/responses", self._responses), web.route("*", "/{path:.*}", self._unknown)])
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        await self._runner.setup()
        self._socket.unlink(missing_ok=True)
        await web.UnixSite(self._runner, str(self._socket)).start()

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        await self._upstream.close()

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        try:
            body = json.loads(raw)
            assert isinstance(body, dict)
        except (ValueError, AssertionError):
            return web.json_response({"error": {"message": "the request's body is not a JSON object"}}, status=400)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _KEPT}
        meter, began = Meter(body, len(raw)), time.monotonic()
        response: web.StreamResponse | None = None
        status = 0
        try:
            async for status, kind, chunk in self._upstream.answer(body, raw, headers):
                if response is None:
                    response = web.StreamResponse(status=status, headers={"Content-Type": kind})
                    await response.prepare(request)
                meter.feed(chunk)
                await response.write(chunk)
            if response is None:
                return web.json_response({"error": {"message": "the provider sent nothing"}}, status=502)
            await response.write_eof()
            return response
        finally:  # also when the agent was killed in the middle of the call
            event = meter.result(status or 200, time.monotonic() - began)
            self._ledger.append(event, agent=self._agent)

    async def _unknown(self, request: web.Request) -> web.Response:
        message = f"the gateway serves POST /v1/responses, not {request.method} {request.path}"
        return web.json_response({"error": {"message": message}}, status=404)
