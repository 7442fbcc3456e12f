"""What clients send in files, and the door's routes for it: commits, learned weights and answers, a few at a time from each."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, TypeVar

from aiohttp import web

from autoenvbench.errors import UserError
from autoenvbench.station.bundles import MAX_BUNDLE
from autoenvbench.station.hub_routes import body_of
from autoenvbench.station.learning import MAX_WEIGHTS, require_learning
from autoenvbench.station.station import Station

MAX_UPLOADS = 2  # under way at once, of one client: so it holds two times MAX_BUNDLE of disk at most
UPLOAD_SILENCE_S = 30.0
T = TypeVar("T")


class Uploads:
    """Routes by which a station takes things in.

    Args:
        call: runs a quick function on a thread of the door's.
    """

    def __init__(self, station: Station, call: Callable[..., Awaitable[Any]]) -> None:
        self._station, self._call = station, call
        # What may look through half a gigabyte has a thread of its own, one after the other: nobody's status waits for it.
        self._slow = ThreadPoolExecutor(1, thread_name_prefix="upload")
        self._under_way: Counter[str] = Counter()  # by client

    def routes(self) -> list[web.RouteDef]:
        """What a door adds to its own."""
        return [
            web.get("/bundles/{digest}", self._has_bundle),
            web.post("/bundles", self._receive),
            web.post("/learn/weights", self._weights),
            web.post("/submit", self._submit),
        ]

    async def _has_bundle(self, request: web.Request) -> web.Response:
        known = await self._call(self._station.jobs.has_sent, request["client"], request.match_info["digest"])
        return web.json_response({"known": known})

    async def _receive(self, request: web.Request) -> web.Response:
        commit = request.query.get("commit", "")
        bundle = await self._upload(
            request, MAX_BUNDLE, lambda client, file: self._call_slowly(self._station.receive, client, file, commit)
        )
        return web.json_response({"commit": bundle.commit, "digest": bundle.digest})

    async def _weights(self, request: web.Request) -> web.Response:
        require_learning(self._station.config.config.regime)
        weights = self._station.trying.weights
        weights.admit(request["client"], request.content_length)
        digest = await self._upload(
            request, MAX_WEIGHTS, lambda client, file: self._call(weights.receive, client, file)
        )
        return web.json_response({"weights": digest})

    async def _submit(self, request: web.Request) -> web.Response:
        digest = str((await body_of(request)).get("digest"))
        with self._one(request["client"]):
            submit = self._call_slowly(self._station.submit, request["client"], digest)
            return web.json_response(await asyncio.shield(submit))

    async def _upload(self, request: web.Request, most: int, receive: Callable[[str, Path], Awaitable[T]]) -> T:
        """Take a file of at most so many bytes, and have it received."""
        client, folder = request["client"], self._station.config.run_dir
        with self._one(client), tempfile.NamedTemporaryFile(dir=folder, suffix=".upload") as file:
            await _take(request, file, most)
            return await asyncio.shield(asyncio.ensure_future(receive(client, Path(file.name))))

    @contextlib.contextmanager
    def _one(self, client: str) -> Iterator[None]:
        """Room among what a client has uploaded or looked through at once. Raises UserError where there is none."""
        if self._under_way[client] >= MAX_UPLOADS:
            raise UserError(f"{client} has {MAX_UPLOADS} uploads under way; finish or end one of them, then try again")
        self._under_way[client] += 1
        try:
            yield
        finally:
            self._under_way[client] -= 1

    def _call_slowly(self, function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._slow, functools.partial(function, *args))


async def _take(request: web.Request, file: IO[bytes], most: int) -> None:
    """Write an upload to a file as it comes. Raises UserError where it is too large, or where nothing comes any more."""
    size = 0
    while True:
        try:
            chunk = await asyncio.wait_for(request.content.readany(), UPLOAD_SILENCE_S)
        except TimeoutError:
            raise UserError(f"nothing came of the upload for {UPLOAD_SILENCE_S:.0f} s; send it again") from None
        if not chunk:
            break
        size += len(chunk)
        if size > most:
            checkpoints = "; checkpoints may hold 512 MB" if most == MAX_BUNDLE else ""
            raise UserError(f"the upload is over {most >> 20} MB, which is the most{checkpoints}")
        file.write(chunk)
    file.flush()
