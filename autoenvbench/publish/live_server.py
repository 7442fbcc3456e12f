"""The live page of runs: a server on this machine's loopback that reads their ledgers and tells browsers what is new.

Whoever opens it must have its address, which holds a token of 256 random bits; a name that leads here from elsewhere (DNS rebinding) is refused. It
writes nothing but the wish for pictures, while somebody looks on, into the folders of runs that are not finished.

Run as ``python -m autoenvbench.publish.live_server RUN ...`` it prints its address, and ends when its standard input is closed.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import os
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

from aiohttp import web

from autoenvbench.errors import UserError
from autoenvbench.publish.live_view import LiveView
from autoenvbench.record import frame_slot
from autoenvbench.text import short

LOOK_S = 0.25  # between two looks at the ledgers, while a page is open
ASK_S = 1.0  # between two wishes for pictures
BEAT_S = 15.0  # of silence, after which a line shows whether the browser is still there
STALE_S = 600.0  # a run whose last event is older is asked for no pictures
MOST_PAGES, MOST_RUNS = 20, 32
_HOSTS = ("127.0.0.1", "localhost")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def page() -> tuple[str, str]:
    """The page and the content security policy that lets its own script and style run, and nothing else."""
    files = resources.files("autoenvbench.publish") / "live"
    script, style = ((files / f"live.{kind}").read_text() for kind in ("js", "css"))
    html = (files / "live.html").read_text().replace("/*STYLE*/", style).replace("/*SCRIPT*/", script)
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return html, policy


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


class LiveServer:
    """Serves the page of these runs on a free port until it is closed. All but the reading of ledgers happens on one event loop.

    Args:
        run_dirs: their folders. Raises UserError where one has no ledger.
    """

    def __init__(self, run_dirs: Sequence[Path]) -> None:
        if len(run_dirs) > MOST_RUNS:
            raise UserError(f"{len(run_dirs)} runs; a page shows {MOST_RUNS} at most")
        self._views = [LiveView(run_dir) for run_dir in run_dirs]
        self._token = secrets.token_urlsafe(32)
        self._html, policy = page()
        self._headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
                         "Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin",
                         "Cross-Origin-Opener-Policy": "same-origin"}  # fmt: skip
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._told: dict[tuple[int, str], tuple[int, str]] = {}  # section of a run -> version, JSON
        self._version, self._pages = 0, 0
        self._errors: dict[int, str] = {}
        self._news, self._opened = asyncio.Condition(), asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._looking: asyncio.Task[None] | None = None

    async def open(self) -> str:
        """Start; returns the page's address."""
        app = web.Application(middlewares=[self._guard], client_max_size=1024)
        app.add_routes([
            web.get("/{token}/", self._page), web.get("/{token}/events", self._events),
            web.get("/{token}/frame/{run:[0-9]{1,3}}/{robot:[0-9]{1,3}}", self._frame),
        ])  # fmt: skip
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)  # a log would hold the token
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._looking = asyncio.create_task(self._look())
        _, port = self._runner.addresses[0][:2]
        return f"http://127.0.0.1:{port}/{self._token}/"

    async def close(self) -> None:
        """Say what is left to say, and end."""
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
        if self._pages:
            await self._read()
            await asyncio.sleep(LOOK_S)
        if self._runner is not None:
            await self._runner.cleanup()
        self._reading.shutdown()
        for view in self._views:
            view.close()

    # -- who may ------------------------------------------------------------------------------------------------------
    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """No answer says more to a stranger than that there is nothing."""
        host = request.headers.get("Host", "").rpartition(":")[0] or request.headers.get("Host", "")
        given = request.match_info.get("token", "").encode()
        if not hmac.compare_digest(given, self._token.encode()) or host not in _HOSTS:
            return web.Response(status=404, text="there is nothing here\n", headers=self._headers)
        if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            return web.Response(status=404, text="there is nothing here\n", headers=self._headers)
        return await handler(request)

    # -- routes -------------------------------------------------------------------------------------------------------
    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(text=self._html, content_type="text/html", headers=self._headers)

    async def _frame(self, request: web.Request) -> web.Response:
        run, robot = int(request.match_info["run"]), int(request.match_info["robot"])
        name = self._views[run].robot(robot) if run < len(self._views) else None
        jpeg = None if name is None else await asyncio.to_thread(frame_slot.newest, self._views[run].run_dir, name)
        if jpeg is None:
            return web.Response(status=404, text="no picture\n", headers=self._headers)
        return web.Response(body=jpeg, content_type="image/jpeg", headers=self._headers)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """What there is, and then what is new, section by section. A slow browser skips what was overtaken meanwhile."""
        if self._pages >= MOST_PAGES:
            return web.Response(status=503, text=f"{MOST_PAGES} pages are open already\n", headers=self._headers)
        response = web.StreamResponse(headers={**self._headers, "Content-Type": "text/event-stream"})
        self._pages += 1
        self._opened.set()
        try:
            await response.prepare(request)
            await response.write(f"retry: 1000\nevent: runs\ndata: {len(self._views)}\n\n".encode())
            sent = 0
            while True:
                async with self._news:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._news.wait_for(lambda: self._version > sent), BEAT_S)  # noqa: B023
                    news = [(key, text) for key, (version, text) in self._told.items() if version > sent]
                    sent = self._version
                lines = [f'data: {{"run":{run},"section":"{name}","data":{text}}}\n\n' for (run, name), text in news]
                await response.write("".join(lines or [": still here\n\n"]).encode())
        except ConnectionResetError:
            pass
        finally:
            self._pages -= 1
        return response

    # -- looking ------------------------------------------------------------------------------------------------------
    async def _look(self) -> None:
        """Follow the ledgers while a page is open, and nothing else: without one there is no work at all."""
        asked = 0.0
        while True:
            if not self._pages:
                self._opened.clear()
                await self._opened.wait()
            behind = await self._read()
            if time.monotonic() - asked >= ASK_S:
                asked = time.monotonic()
                await asyncio.get_running_loop().run_in_executor(self._reading, self._ask_for_pictures)
            await asyncio.sleep(0.01 if behind else LOOK_S)

    async def _read(self) -> bool:
        """Take in what is new of every run; returns whether there is more."""
        behind = False
        for number, view in enumerate(self._views):
            if number in self._errors:
                continue
            try:
                changed = await asyncio.get_running_loop().run_in_executor(self._reading, view.refresh)
                behind |= await asyncio.get_running_loop().run_in_executor(self._reading, lambda v=view: v.behind)  # type: ignore[misc]
            except Exception as error:  # of one run; the others are shown
                self._errors[number] = str(error)
                changed = {"error": json.dumps(short(f"{view.name}: {error}", 300))}  # type: ignore[dict-item]
            if changed:
                async with self._news:
                    self._version += 1
                    self._told |= {(number, name): (self._version, text) for name, text in changed.items()}
                    self._news.notify_all()
        return behind

    def _ask_for_pictures(self) -> None:
        for view in self._views:
            if view.goes_on(STALE_S):
                frame_slot.ask(view.run_dir)


async def serve(run_dirs: Sequence[Path], on_open: Callable[[str], None], until: Awaitable[object]) -> None:
    """Serve the page of these runs until `until` is done; `on_open` is given its address. Raises UserError."""
    server = LiveServer(run_dirs)
    try:
        on_open(await server.open())
        await until
    finally:
        await server.close()


def main() -> None:
    """The page of the runs that are this program's arguments, until its standard input ends; it says its address, or what is wrong."""
    os.nice(10)

    async def run() -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def on_input() -> None:
            if not os.read(sys.stdin.fileno(), 1024):
                ended.set()

        loop.add_reader(sys.stdin.fileno(), on_input)
        await serve([Path(name) for name in sys.argv[1:]], lambda url: print(url, flush=True), ended.wait())

    try:
        asyncio.run(run())
    except UserError as error:
        raise SystemExit(f"no live page: {error}") from None


if __name__ == "__main__":
    main()
