"""The door's routes by which members see one another's ideas and take them over."""

from __future__ import annotations

import asyncio
import functools
import json
import tempfile
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from autoenvbench.errors import UserError
from autoenvbench.station.station import Station

SILENCE_S = 30.0  # that a client may take to read on
T = TypeVar("T")


class HubRoutes:
    """Routes to a station's hub.

    Args:
        call: runs a quick function on a thread of the door's.
    """

    def __init__(self, station: Station, call: Callable[..., Awaitable[Any]]) -> None:
        self._station, self._call = station, call
        self._git = ThreadPoolExecutor(1, thread_name_prefix="git")
        self._asking: set[str] = set()  # clients for whom it is at work
        self._handing: set[str] = set()  # clients who are being sent a file

    def routes(self) -> list[web.RouteDef]:
        """What a door adds to its own."""
        return [
            web.get("/peers", self._peers),
            web.get("/ideas/{id}", self._show),
            web.post("/ideas/{id}/learned", self._learned),
            web.post("/adopt/{id}", self._adopt),
            web.get("/commits/{commit}", self._commit),
            web.get("/bundles/{digest}/checkpoints", self._checkpoints),
        ]

    async def _learned(self, request: web.Request) -> web.Response:
        text = str((await body_of(request)).get("text", ""))
        return web.json_response(
            await self._call(self._station.ideas.learned, request["client"], request.match_info["id"], text)
        )

    async def _peers(self, request: web.Request) -> web.Response:
        return web.json_response(await self._call(self._station.hub.peers, request["client"]))

    async def _show(self, request: web.Request) -> web.Response:
        show = functools.partial(self._station.hub.show, diff=request.query.get("diff") != "no")
        return web.json_response(await self._with_git(request, show, request["client"], request.match_info["id"]))

    async def _adopt(self, request: web.Request) -> web.Response:
        adopt = self._station.hub.adopt
        return web.json_response(await self._with_git(request, adopt, request["client"], request.match_info["id"]))

    async def _commit(self, request: web.Request) -> web.StreamResponse:
        return await self._hand_out(request, self._station.hub.commit, request.match_info["commit"])

    async def _checkpoints(self, request: web.Request) -> web.StreamResponse:
        return await self._hand_out(request, self._station.hub.checkpoints, request.match_info["digest"])

    async def _hand_out(self, request: web.Request, make: Callable[[str, Path], None], name: str) -> web.StreamResponse:
        """Have a file made, and send it: one to each client at a time, since it lies on the disk meanwhile."""
        client = request["client"]
        if client in self._handing:
            raise UserError("one thing at a time: read what you asked for before to its end, or hang up")
        self._handing.add(client)
        try:
            return await self._make_and_send(request, make, name)
        finally:
            self._handing.discard(client)

    async def _make_and_send(
        self, request: web.Request, make: Callable[[str, Path], None], name: str
    ) -> web.StreamResponse:
        with tempfile.TemporaryDirectory(
            dir=self._station.config.run_dir, suffix=".out", ignore_cleanup_errors=True
        ) as folder:
            path = Path(folder) / "file"
            await self._with_git(request, make, name, path)
            response = web.StreamResponse(headers={"Content-Length": str(path.stat().st_size)})
            await response.prepare(request)
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    await asyncio.wait_for(response.write(chunk), SILENCE_S)
            await asyncio.wait_for(response.write_eof(), SILENCE_S)
        return response

    async def _with_git(self, request: web.Request, function: Callable[..., T], *args: Any) -> T:
        """Call what asks Git, on a thread of its own and once at a time for each client: nobody else waits for it."""
        client = request["client"]
        if client in self._asking:
            raise UserError("one thing at a time: what you asked for before is not there yet")
        self._asking.add(client)
        call = asyncio.get_running_loop().run_in_executor(self._git, functools.partial(function, *args))
        call.add_done_callback(lambda _: self._asking.discard(client))
        return await asyncio.shield(call)


async def body_of(request: web.Request) -> dict[str, Any]:
    """The JSON object that a request carries. Raises UserError."""
    try:
        body = await request.json()
        json.dumps(body, ensure_ascii=False).encode()  # half a character is a string in JSON, and in no file
    except (ValueError, RecursionError):
        raise UserError("the request's body is not JSON of whole characters") from None
    if not isinstance(body, dict):
        raise UserError("the request's body must be a JSON object")
    return body
