"""The HTTP response to one request of an agent: kept alive while the provider is waited for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

from aiohttp import web

from autoenvbench.gateway.dialect import Dialect, error_text
from autoenvbench.gateway.upstream import Head

#: Silence after which a streaming agent is sent a keep-alive event [s]. Errors that come sooner keep their own HTTP status.
KEEP_ALIVE_S = 3.0


class Reply:
    """Relays an answer to a request.

    A stream that is waited for begins with status 200 and keep-alive events; an error after that is an event of the
    stream, in the dialect's form. An answer that is not streamed can hold no such event: its agent sees nothing until it
    is there, and needs a long time-out (`agents/mini.py` is given one).

    Args:
        streams: whether the agent asked for a stream.
        keep_alive_s: silence after which it is sent a keep-alive event [s].
    """

    def __init__(
        self, dialect: Dialect, request: web.Request, streams: bool, keep_alive_s: float = KEEP_ALIVE_S
    ) -> None:
        self._dialect, self._request, self._streams, self._keep_alive_s = dialect, request, streams, keep_alive_s
        self._response: web.StreamResponse | None = None
        self._early = False  # status 200 was sent before the provider's status was known
        self._end = b"\n\n"  # the last two bytes that were written
        self._error = bytearray()
        self._status = 0

    async def relay(self, answer: AsyncGenerator[Head | bytes, None]) -> web.StreamResponse:
        """Send the answer as it comes; status 502 where it has no head. Raises what the answer raises."""
        while (part := await self._next(answer)) is not None:
            if isinstance(part, Head):
                self._status = part.status
                if self._response is None:
                    await self._begin(part.status, part.content_type)
            elif self._early and self._status != 200:
                self._error += part
            else:
                await self._write(part)
        if self._response is None:  # the call could not even be made, or not be recorded
            error = {"type": "gateway", "message": "the gateway failed at this call; see the run's ledger"}
            return web.json_response({"type": "error", "error": error}, status=502)
        if self._early and self._status != 200:
            await self._write(self._dialect.stream_error(_error_message(bytes(self._error), self._status)))
        await self._response.write_eof()
        return self._response

    def cut(self) -> web.StreamResponse:
        """Close the agent's connection in the middle of the answer, as the provider closed its own."""
        assert self._response is not None
        if self._request.transport is not None:
            self._request.transport.close()
        return self._response

    async def fail(self, message: str) -> None:
        """Send an error event in a stream whose beginning was sent."""
        await self._write((b"" if self._end == b"\n\n" else b"\n\n") + self._dialect.stream_error(message))

    async def _next(self, answer: AsyncGenerator[Head | bytes, None]) -> Head | bytes | None:
        coming = asyncio.ensure_future(anext(answer, None))
        try:
            while not (await asyncio.wait({coming}, timeout=self._keep_alive_s))[0]:
                await self._keep_alive()
            return coming.result()
        finally:
            if not coming.done():
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)

    async def _keep_alive(self) -> None:
        if not self._streams or self._end != b"\n\n":
            return  # not in the middle of an event
        if self._response is None:
            self._early = True
            await self._begin(200, "text/event-stream")
        await self._write(self._dialect.keep_alive)

    async def _begin(self, status: int, content_type: str) -> None:
        self._response = web.StreamResponse(status=status, headers={"Content-Type": content_type})
        await self._response.prepare(self._request)

    async def _write(self, data: bytes) -> None:
        assert self._response is not None
        self._end = (self._end + data)[-2:]
        await self._response.write(data)


def _error_message(body: bytes, status: int) -> str:
    try:
        return error_text(json.loads(body)["error"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return body.decode(errors="replace")[:300] or f"HTTP {status}"
