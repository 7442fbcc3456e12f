"""An answer on its way from the task that asks a provider for it to the agent's connection, which may end first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from autoenvbench.gateway.upstream import Head

_AHEAD = 16  # parts that may be under way


class Pipe:
    """One writer, one reader. When the reader has left, what is written is dropped: the writer still reads the answer to
    its end, because the provider tells there what the call has cost."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Head | bytes | Exception | None] = asyncio.Queue(_AHEAD)
        self.left = asyncio.Event()

    async def put(self, part: Head | bytes | Exception | None) -> None:
        """A part of the answer, an error instead of its rest, or None at its end."""
        if not self.left.is_set():
            await self._queue.put(part)

    async def read(self) -> AsyncGenerator[Head | bytes, None]:
        while (part := await self._queue.get()) is not None:
            if isinstance(part, Exception):
                raise part
            yield part

    def leave(self) -> None:
        self.left.set()
        while not self._queue.empty():  # a writer that waits for room goes on
            self._queue.get_nowait()
