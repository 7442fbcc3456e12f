"""An event loop on a thread of its own: what is served in it waits for nothing that its owner does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

_T = TypeVar("_T")


class LoopThread:
    """Runs coroutines. A context manager; what is still running at its end is cancelled."""

    def __init__(self, name: str) -> None:
        self._started: Future[asyncio.AbstractEventLoop] = Future()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> LoopThread:
        self._thread.start()
        self._loop = self._started.result()
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def submit(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Start a coroutine in this loop, from any thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _run(self) -> None:
        async def until_stopped() -> None:
            self._started.set_result(asyncio.get_running_loop())
            await self._stop.wait()

        try:
            asyncio.run(until_stopped())
        except OSError as error:  # no descriptors left for a loop: whoever waits for it must know
            self._started.set_exception(error)
