"""Where a gateway's answers come from: a provider, or a script."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from autoenvbench.errors import UserError
from autoenvbench.gateway.dialect import Dialect, Step

# Names of ours, of the connection, or of the key stay here; everything else is passed on.
KEPT = {"host", "connection", "content-length", "transfer-encoding", "authorization", "x-api-key", "accept-encoding",
        "keep-alive"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """One request of an agent."""

    dialect: Dialect
    body: dict[str, Any]
    raw: bytes
    headers: dict[str, str]
    query: str


class Upstream(Protocol):
    """Where answers come from."""

    def answer(self, call: Call) -> AsyncIterator[tuple[int, str, bytes]]:
        """Chunks of the answer as (status, content type, bytes)."""

    async def close(self) -> None: ...


class Replay:
    """Serves a script: ``{"steps": [{"shell": "ls", "usage": {...}, "delay": 0.5}, ..., {"text": "done"}]}``.

    The step is the number of tool results in the request. Past the end, the last step is repeated. ``"status": 429,
    "times": 2`` answers the first two requests at a step with that error.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._steps = json.loads(path.read_text())["steps"]
            if (
                not isinstance(self._steps, list)
                or not all(isinstance(s, dict) for s in self._steps)
                or not self._steps
            ):
                raise ValueError("steps is no list of objects, or empty")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f'cannot read the replay script {path}: {error!r}; expected {{"steps": [{{"shell": ...}}, {{"text": ...}}]}}'
            ) from None
        self._failed: Counter[int] = Counter()

    async def answer(self, call: Call) -> AsyncIterator[tuple[int, str, bytes]]:
        number = call.dialect.tool_results(call.body)
        step = self._steps[min(number, len(self._steps) - 1)]
        await asyncio.sleep(float(step.get("delay", 0)))
        if "status" in step and self._failed[number] < step.get("times", 1):
            self._failed[number] += 1
            yield (
                int(step["status"]),
                "application/json",
                b'{"error": {"type": "scripted", "message": "a scripted error"}}',
            )
            return
        kind = "text/event-stream" if call.body.get("stream") else "application/json"
        name = f"{number}_{secrets.token_hex(4)}"
        for chunk in call.dialect.reply(call.body, Step.resolve(step, call.dialect.tools(call.body)), name):
            yield 200, kind, chunk

    async def close(self) -> None:
        pass


class Live:
    """Forwards to a provider with the user's key.

    Args:
        base_url: the provider's, with or without a version ("https://api.openai.com/v1", "https://api.anthropic.com").
    """

    def __init__(self, base_url: str, key: str) -> None:
        self._base, self._key = base_url.rstrip("/").removesuffix("/v1"), key
        self._session: aiohttp.ClientSession | None = None

    async def answer(self, call: Call) -> AsyncIterator[tuple[int, str, bytes]]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=900), trust_env=True
            )
        raw = json.dumps(call.body).encode() if call.dialect.prepare(call.body) else call.raw
        url = self._base + call.dialect.path + (f"?{call.query}" if call.query else "")
        try:
            async with self._session.post(
                url, data=raw, headers={**call.headers, **call.dialect.auth(self._key)}
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
