"""Where a gateway's answers come from: a provider, or a script."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from autoenvbench.errors import UserError
from autoenvbench.gateway.dialect import Dialect, Step
from autoenvbench.gateway.retries import ProviderLost

READ_TIMEOUT_S = 900.0  # without a byte: a model may think for minutes before its first word


@dataclass(frozen=True, slots=True)
class Call:
    """One request of an agent, as it was admitted.

    Attributes:
        body: the JSON object to send.
        headers: to send beside the provider's key.
        query: of the address, without "?".
    """

    dialect: Dialect
    body: dict[str, Any]
    headers: dict[str, str]
    query: str

    @property
    def streams(self) -> bool:
        """Whether the agent asked for a stream of events."""
        return bool(self.body.get("stream"))


@dataclass(frozen=True, slots=True)
class Head:
    """How an answer begins: HTTP status, content type, headers."""

    status: int
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Upstream(Protocol):
    """Where answers come from."""

    def answer(self, call: Call) -> AsyncGenerator[Head | bytes, None]:
        """The answer's head, then its bytes. Raises ProviderLost."""

    async def close(self) -> None:
        """Give back connections."""


class Replay:
    """Serves a script: ``{"steps": [{"shell": "ls", "usage": {...}, "delay": 0.5}, ..., {"text": "done"}]}``.

    The step is the number of tool results in the request. Past the end, the last step is repeated. `delay` is in seconds.
    ``"status": 429, "times": 2`` answers the first two requests at a step with that error. Raises UserError for a file that
    is no script.
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

    async def answer(self, call: Call) -> AsyncGenerator[Head | bytes, None]:
        """The step at which the call's conversation is."""
        number = call.dialect.tool_results(call.body)
        step = self._steps[min(number, len(self._steps) - 1)]
        await asyncio.sleep(float(step.get("delay", 0)))
        if "status" in step and self._failed[number] < step.get("times", 1):
            self._failed[number] += 1
            yield Head(int(step["status"]), "application/json")
            yield b'{"error": {"type": "scripted", "message": "a scripted error"}}'
            return
        yield Head(200, "text/event-stream" if call.streams else "application/json")
        name = f"{number}_{secrets.token_hex(4)}"
        for chunk in call.dialect.reply(call.body, Step.resolve(step, call.dialect.tools(call.body)), name):
            yield chunk

    async def close(self) -> None:
        """Nothing is open."""


class Live:
    """Forwards to a provider with the user's key.

    Args:
        base_url: the provider's, with or without a version ("https://api.openai.com/v1", "https://api.anthropic.com").
        key: the user's; agents never see it.
    """

    def __init__(self, base_url: str, key: str) -> None:
        self._base, self._key = base_url.rstrip("/").removesuffix("/v1"), key
        self._session: aiohttp.ClientSession | None = None

    async def answer(self, call: Call) -> AsyncGenerator[Head | bytes, None]:
        """The provider's answer as it comes. Raises ProviderLost where there is none, or where it ends in its middle."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=READ_TIMEOUT_S), trust_env=True
            )
        body = dict(call.body)
        call.dialect.prepare(body)
        url = self._base + call.dialect.path + (f"?{call.query}" if call.query else "")
        # Sent is what was parsed and judged: bytes that another parser could read differently (a field twice) are not forwarded.
        headers = {**call.headers, "content-type": "application/json", **call.dialect.auth(self._key)}
        try:
            async with self._session.post(
                url, data=json.dumps(body).encode(), headers=headers, allow_redirects=False
            ) as response:
                yield Head(
                    response.status, response.headers.get("Content-Type", "application/json"), dict(response.headers)
                )
                async for chunk in response.content.iter_any():
                    yield chunk
        except aiohttp.InvalidURL:
            raise ProviderLost(f"{self._base!r} is no address") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ProviderLost(f"{type(error).__name__}: {error}"[:300]) from None

    async def close(self) -> None:
        """Close the connections to the provider."""
        if self._session is not None:
            await self._session.close()
