"""One answer on its way to an agent: kept alive while its provider is waited for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

from aiohttp import web

from autoenvbench.gateway.dialect import Dialect, error_text
from autoenvbench.gateway.upstream import Head

#: Silence after which a streaming agent is sent an event that says nothing. Short errors still get their own status.
QUIET_S = 3.0


class Reply:
    """Relays an answer to a request.

    A stream that is waited for begins with status 200 and keep-alive events; an error after that is told in the
    stream, in the dialect's way. An answer that is not streamed has no such way: its request is held silently, and its
    agent must be patient (`agents/mini.py` is told to be).
    """

    def __init__(self, dialect: Dialect, request: web.Request, streams: bool, quiet_s: float = QUIET_S) -> None:
        self._dialect, self._request, self._streams, self._quiet_s = dialect, request, streams, quiet_s
        self._response: web.StreamResponse | None = None
        self._early = False  # status 200 was sent before the provider's
        self._end = b"\n\n"  # of what was written so far
        self._error = bytearray()
        self._status = 0

    async def relay(self, answer: AsyncGenerator[Head | bytes, None]) -> web.StreamResponse:
        while (part := await self._next(answer)) is not None:
            if isinstance(part, Head):
                self._status = part.status
                if self._response is None:
                    await self._begin(part.status, part.kind)
            elif self._early and self._status != 200:
                self._error += part
            else:
                await self._write(part)
        if self._response is None:  # the call could not even be made, or not be recorded
            error = {"type": "gateway", "message": "the gateway failed at this call; see the run's ledger"}
            return web.json_response({"type": "error", "error": error}, status=502)
        if self._early and self._status != 200:
            await self._write(self._dialect.stream_error(_words(bytes(self._error), self._status)))
        await self._response.write_eof()
        return self._response

    def cut(self) -> web.StreamResponse:
        """End the agent's connection as the provider's ended: in the middle."""
        assert self._response is not None
        if self._request.transport is not None:
            self._request.transport.close()
        return self._response

    async def fail(self, message: str) -> None:
        """An error in a stream whose beginning was sent."""
        await self._write((b"" if self._end == b"\n\n" else b"\n\n") + self._dialect.stream_error(message))

    async def _next(self, answer: AsyncGenerator[Head | bytes, None]) -> Head | bytes | None:
        coming = asyncio.ensure_future(anext(answer, None))
        try:
            while not (await asyncio.wait({coming}, timeout=self._quiet_s))[0]:
                await self._keep_alive()
            return coming.result()
        finally:
            if not coming.done():
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)

    async def _keep_alive(self) -> None:
        if not self._streams or self._end != b"\n\n":
            return  # in the middle of an event there is no room for another
        if self._response is None:
            self._early = True
            await self._begin(200, "text/event-stream")
        await self._write(self._dialect.keep_alive)

    async def _begin(self, status: int, kind: str) -> None:
        self._response = web.StreamResponse(status=status, headers={"Content-Type": kind})
        await self._response.prepare(self._request)

    async def _write(self, data: bytes) -> None:
        assert self._response is not None
        self._end = (self._end + data)[-2:]
        await self._response.write(data)


def _words(body: bytes, status: int) -> str:
    try:
        return error_text(json.loads(body)["error"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return body.decode(errors="replace")[:300] or f"HTTP {status}"
