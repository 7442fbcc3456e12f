"""An answer on its way from the task that asks a provider for it to the agent's connection, which may end first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from autoenvbench.gateway.upstream import Head

_PARTS_AHEAD = 16  # that may wait for the reader


class Pipe:
    """One writer, one reader. When the reader has left, what is written is dropped: the writer still reads the answer to
    its end, because there the provider says what the call has cost.

    Attributes:
        left: set when the reader has left.
    """

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Head | bytes | Exception | None] = asyncio.Queue(_PARTS_AHEAD)
        self.left = asyncio.Event()

    async def put(self, part: Head | bytes | Exception | None) -> None:
        """Pass on a part of the answer, an error in place of its rest, or None at its end. Waits while the reader is
        `_PARTS_AHEAD` parts behind."""
        if not self.left.is_set():
            await self._queue.put(part)

    async def read(self) -> AsyncGenerator[Head | bytes, None]:
        """The answer, part by part. Raises what the writer put in place of its rest."""
        while (part := await self._queue.get()) is not None:
            if isinstance(part, Exception):
                raise part
            yield part

    def leave(self) -> None:
        """Read no more: the agent has its answer, or has hung up."""
        self.left.set()
        while not self._queue.empty():  # a writer that waits for the reader goes on
            self._queue.get_nowait()
