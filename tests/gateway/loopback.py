"""A provider on loopback, and a client that asks it through a gateway."""

import asyncio
import json

import aiohttp
from aiohttp import web

from autoenvbench.gateway.gateway import Gateway
from autoenvbench.gateway.upstream import Live

REQUEST = {"model": "m-1", "stream": True, "input": [], "tools": [{"type": "function", "name": "exec_command"}]}
USAGE = {"input_tokens": 900, "input_tokens_details": {"cached_tokens": 400}, "output_tokens": 70,
         "output_tokens_details": {"reasoning_tokens": 30}}  # fmt: skip


def sse(*events):
    return b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events)


ANSWER = sse(
    {"type": "response.created", "response": {"id": "r"}},
    {"type": "response.output_text.delta", "delta": "response.completed"},  # the words alone must not end the meter
    {"type": "response.completed", "response": {"id": "r", "model": "m-1-2026", "usage": USAGE}},
)


class Provider:
    """A loopback provider that answers with what it is told to and keeps what it was sent."""

    def __init__(self):
        self.seen, self.reply, self.status, self.stall, self.headers, self.failures = [], ANSWER, 200, 0.0, {}, 10**9
        self.on_request = lambda: None

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/v1/responses", self.answer)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *exc):
        await self.runner.cleanup()

    async def answer(self, request):
        self.on_request()
        self.seen.append((dict(request.headers), await request.read()))
        if self.status != 200 and len(self.seen) > self.failures:
            self.status, self.reply = 200, ANSWER
        kind = "text/event-stream" if self.status == 200 else "application/json"
        response = web.StreamResponse(status=self.status, headers={"Content-Type": kind, **self.headers})
        await response.prepare(request)
        half = len(self.reply) // 2
        await response.write(self.reply[:half])
        await asyncio.sleep(self.stall)
        await response.write(self.reply[half:])
        return response


async def ask(socket, body=REQUEST, path="/v1/responses", timeout=10.0, on_data=lambda data: None):
    """(status, body) of one request; `on_data` is told all that has come so far, whenever more comes."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session,
        session.post(
            f"http://gateway{path}", data=json.dumps(body) if not isinstance(body, bytes) else body,
            headers={"Authorization": "Bearer dummy", "session-id": "s-1"}, timeout=aiohttp.ClientTimeout(timeout),
        ) as response,
    ):  # fmt: skip
        data = b""
        async for part in response.content.iter_any():
            data += part
            on_data(data)
        return response.status, data


def through(tmp_path, ledger, work, make_upstream, **more):
    async def main():
        async with Provider() as provider:
            gateway = Gateway(tmp_path / "g.sock", ledger, make_upstream(provider), "codex", **more)
            await gateway.start()
            try:
                return await work(provider, tmp_path / "g.sock")
            finally:
                await gateway.close()

    return asyncio.run(main())


def live(provider):
    return Live(provider.url, "sk-real")
