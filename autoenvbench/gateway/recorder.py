"""What a gateway's calls leave behind, written on threads of their own: the event loop that serves models waits for no disk."""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from autoenvbench.record.events import Payload
from autoenvbench.record.ledger import EventSink

LINES_AHEAD = 16  # transcript lines that may wait to be written before calls wait for them

_T = TypeVar("_T")


class Recorder:
    """Writes one gateway's ledger events and transcript lines, each kind in the order in which it is given.

    The two have a thread each, so that no call waits until another's answer is compressed. Nothing is dropped: a task that
    is cancelled while its event is being written is cancelled when that is done.

    Args:
        ledger: where events go: a ledger that can append, or what passes them on to one.
        agent: the name that the events carry.
    """

    def __init__(self, ledger: EventSink, agent: str) -> None:
        self._ledger, self._agent = ledger, agent
        self._event_thread = ThreadPoolExecutor(1, thread_name_prefix="gateway-ledger")
        self._line_thread = ThreadPoolExecutor(1, thread_name_prefix="gateway-transcript")
        self._lines: deque[asyncio.Future[None]] = deque()

    async def append(self, event: Payload) -> None:
        """Write an event; returns when it is durable. Raises sqlite3.Error where it could not be written, such as on a full
        disk; asyncio.CancelledError means that it was."""
        write = functools.partial(self._ledger.append, event, agent=self._agent)
        await _finished(asyncio.get_running_loop().run_in_executor(self._event_thread, write))

    async def keep(self, write: Callable[..., None], *args: Any) -> None:
        """Queue a call of one of the transcript's methods; returns at once while at most `LINES_AHEAD` of them wait."""
        self._lines.append(asyncio.get_running_loop().run_in_executor(self._line_thread, write, *args))
        while self._lines and (self._lines[0].done() or len(self._lines) > LINES_AHEAD):
            await _finished(self._lines.popleft())

    async def close(self) -> None:
        """Write all that was given so far, and end the threads."""
        for thread in (self._event_thread, self._line_thread):
            await asyncio.to_thread(thread.shutdown)


async def _finished(work: asyncio.Future[_T]) -> _T:
    """The result of a thread's work. A cancellation of the task that waits here is raised when the work has ended well."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError as error:
            cancelled = error
    result = work.result()
    if cancelled is not None:
        raise cancelled
    return result
