"""The gateway between a client and a provider on loopback: what passes, what is counted, what never leaves."""

import asyncio
import json
import re

import aiohttp
import pytest
from aiohttp import web

from autoenvbench.errors import UserError
from autoenvbench.gateway.gateway import Gateway
from autoenvbench.gateway.upstream import Live, Replay

REQUEST = {"model": "m-1", "stream": True, "input": [], "tools": [{"name": "exec_command"}]}
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
        self.seen, self.reply, self.status, self.stall = [], ANSWER, 200, 0.0

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
        self.seen.append((dict(request.headers), await request.read()))
        kind = "text/event-stream" if self.status == 200 else "application/json"
        response = web.StreamResponse(status=self.status, headers={"Content-Type": kind})
        await response.prepare(request)
        half = len(self.reply) // 2
        await response.write(self.reply[:half])
        await asyncio.sleep(self.stall)
        await response.write(self.reply[half:])
        return response


async def ask(socket, body=REQUEST, path="/v1/responses", timeout=10.0):
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session,
        session.post(
            f"http://gateway{path}", data=json.dumps(body) if not isinstance(body, bytes) else body,
            headers={"Authorization": "Bearer dummy", "session-id": "s-1"}, timeout=aiohttp.ClientTimeout(timeout),
        ) as response,
    ):  # fmt: skip
        return response.status, await response.read()


def through(tmp_path, ledger, work, make_upstream):
    async def main():
        async with Provider() as provider:
            gateway = Gateway(tmp_path / "g.sock", ledger, make_upstream(provider), "codex")
            await gateway.start()
            try:
                return await work(provider, tmp_path / "g.sock")
            finally:
                await gateway.close()

    return asyncio.run(main())


def live(provider):
    return Live(provider.url, "sk-real")


def test_live_passes_bytes_through_swaps_the_key_and_counts(tmp_path, ledger):
    async def work(provider, socket):
        return await ask(socket), provider.seen

    (status, body), seen = through(tmp_path, ledger, work, live)
    assert (status, body) == (200, ANSWER)
    headers, raw = seen[0]
    assert headers["Authorization"] == "Bearer sk-real"
    assert headers["session-id"] == "s-1"
    assert json.loads(raw) == REQUEST
    (event,) = ledger.events("tokens")
    t = event.payload
    assert (t.model, t.status, t.input, t.cached_input, t.output, t.reasoning) == ("m-1-2026", 200, 900, 400, 70, 30)
    assert not t.in_flight
    assert t.error is None
    assert "sk-real" not in event.payload.model_dump_json()


def test_provider_errors_pass_through_and_are_recorded(tmp_path, ledger):
    async def work(provider, socket):
        provider.status, provider.reply = 429, json.dumps({"error": {"message": "slow down"}}, indent=2).encode()
        return await ask(socket)

    status, body = through(tmp_path, ledger, work, live)
    assert status == 429
    assert json.loads(body)["error"]["message"] == "slow down"
    (event,) = ledger.events("tokens")
    assert event.payload.error == "slow down"
    assert event.payload.status == 429


def test_an_unreachable_provider_is_an_answer_not_a_hang(tmp_path, ledger):
    async def work(provider, socket):
        return await ask(socket)

    status, body = through(tmp_path, ledger, work, lambda provider: Live("http://127.0.0.1:1/v1", "k"))
    assert status == 502
    assert b"cannot reach the provider" in body
    assert next(iter(ledger.events("tokens"))).payload.error


def test_a_call_cut_off_in_flight_is_still_counted(tmp_path, ledger):
    async def work(provider, socket):
        provider.stall = 4
        with pytest.raises(asyncio.TimeoutError):
            await ask(socket, timeout=0.5)
        for _ in range(100):
            if list(ledger.events("tokens")):
                return
            await asyncio.sleep(0.05)

    through(tmp_path, ledger, work, live)
    (event,) = ledger.events("tokens")
    assert event.payload.in_flight
    assert event.payload.input == len(json.dumps(REQUEST)) // 4


def test_only_responses_are_served(tmp_path, ledger):
    async def work(provider, socket):
        return await ask(socket, path="/v1/files"), await ask(socket, body=b"not json"), provider.seen

    (missing, _), (bad, _), seen = through(tmp_path, ledger, work, live)
    assert (missing, bad, seen) == (404, 400, [])


def test_replay_serves_the_step_that_the_conversation_is_at(tmp_path, ledger):
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"steps": [{"shell": "ls", "usage": {"input": 7, "output": 3}}, {"text": "bye"}]}))
    result = {"type": "function_call_output", "call_id": "call_0", "output": "x"}

    async def work(provider, socket):
        first = await ask(socket)
        again = await ask(socket)
        second = await ask(socket, {**REQUEST, "input": [result]})
        beyond = await ask(socket, {**REQUEST, "input": [result] * 5})
        toolless = await ask(socket, {**REQUEST, "tools": []})
        return [body for _, body in (first, again, second, beyond, toolless)]

    first, again, second, beyond, toolless = through(tmp_path, ledger, work, lambda provider: Replay(script))
    assert first != again  # an id of its own for every answer
    assert re.sub(rb"_[0-9a-f]{8}", b"", first) == re.sub(rb"_[0-9a-f]{8}", b"", again)
    assert b'"cmd\\": \\"ls\\"' in first
    assert b"bye" in second
    assert b"bye" in beyond
    assert b"function_call" not in toolless
    assert sum(e.payload.input for e in ledger.events("tokens")) == 7 + 7 + 1000 + 1000 + 7


@pytest.mark.parametrize("text", ["{}", "[]", "nonsense", '{"steps": []}'])
def test_a_broken_script_is_refused_before_the_run(tmp_path, text):
    script = tmp_path / "script.json"
    script.write_text(text)
    with pytest.raises(UserError, match="replay script"):
        Replay(script)
