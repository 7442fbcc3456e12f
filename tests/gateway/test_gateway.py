"""The gateway between a client and a provider on loopback: what passes, what is counted, what never leaves."""

import asyncio
import gzip
import json
import re
import sqlite3
import time

import aiohttp
import pytest
from aiohttp import web

from autoenvbench.errors import UserError
from autoenvbench.gateway.admission import Admission
from autoenvbench.gateway.allowance import Allowance
from autoenvbench.gateway.gateway import DIALECTS, Gateway
from autoenvbench.gateway.patience import Failure, Patience, asked_delay
from autoenvbench.gateway.transcript import Transcript
from autoenvbench.gateway.upstream import Live, Replay
from autoenvbench.record import metrics
from autoenvbench.record.events import CallEvent, TokensEvent
from autoenvbench.research.model_access import count_killed_calls

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


async def ask(socket, body=REQUEST, path="/v1/responses", timeout=10.0):
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session,
        session.post(
            f"http://gateway{path}", data=json.dumps(body) if not isinstance(body, bytes) else body,
            headers={"Authorization": "Bearer dummy", "session-id": "s-1"}, timeout=aiohttp.ClientTimeout(timeout),
        ) as response,
    ):  # fmt: skip
        return response.status, await response.read()


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


def test_live_passes_bytes_through_swaps_the_key_and_counts(tmp_path, ledger):
    async def work(provider, socket):
        return await ask(socket), provider.seen

    (status, body), seen = through(tmp_path, ledger, work, live)
    assert (status, body) == (200, ANSWER)
    headers, raw = seen[0]
    assert headers["Authorization"] == "Bearer sk-real"
    assert headers["session-id"] == "s-1"
    assert json.loads(raw) == {**REQUEST, "store": False}
    (event,) = ledger.events("tokens")
    t = event.payload
    assert (t.model, t.status, t.input, t.cached_input, t.output, t.reasoning) == ("m-1-2026", 200, 900, 400, 70, 30)
    assert not t.in_flight
    assert t.error is None
    assert "sk-real" not in event.payload.model_dump_json()


def test_provider_errors_pass_through_and_are_recorded(tmp_path, ledger):
    async def work(provider, socket):
        provider.status, provider.reply = 401, json.dumps({"error": {"message": "wrong key"}}, indent=2).encode()
        return await ask(socket)

    status, body = through(tmp_path, ledger, work, live)
    assert status == 401
    assert json.loads(body)["error"]["message"] == "wrong key"
    (event,) = ledger.events("tokens")
    assert event.payload.error == "wrong key"
    assert event.payload.status == 401


def test_an_unreachable_provider_is_an_answer_not_a_hang(tmp_path, ledger):
    async def work(provider, socket):
        return await ask(socket)

    status, body = through(
        tmp_path, ledger, work, lambda provider: Live("http://127.0.0.1:1/v1", "k"), waits=lambda failure: False
    )
    assert status == 502
    assert b"cannot reach the provider" in body
    assert next(iter(ledger.events("tokens"))).payload.error


def test_a_call_cut_off_in_flight_is_still_counted(tmp_path, ledger):
    async def work(provider, socket):
        provider.stall = 1.5
        with pytest.raises(asyncio.TimeoutError):
            await ask(socket, timeout=0.5)
        for _ in range(100):
            if list(ledger.events("tokens")):
                return
            await asyncio.sleep(0.05)

    through(tmp_path, ledger, work, live, drain_s=0.1)
    (event,) = ledger.events("tokens")
    assert event.payload.in_flight
    assert event.payload.input > 0


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


# -- a provider's failures -------------------------------------------------------------------------------------------------
def test_a_rate_limit_is_waited_out_as_the_provider_asks(tmp_path, ledger):
    async def work(provider, socket):
        provider.status, provider.reply = 429, b'{"error": {"message": "slow down"}}'
        provider.headers, provider.failures = {"retry-after-ms": "300"}, 2
        began = time.monotonic()
        return await ask(socket), time.monotonic() - began

    (status, body), took = through(tmp_path, ledger, work, live)
    assert (status, body) == (200, ANSWER)
    assert 0.6 <= took < 5
    (call,), (tokens,) = ledger.events("call"), ledger.events("tokens")
    assert tokens.payload.call == call.payload.id
    assert (tokens.payload.status, tokens.payload.error, tokens.payload.input) == (200, None, 900)
    waits = [e.payload for e in ledger.events("wait")]
    assert [w.phase for w in waits] == ["started", "started", "ended"]
    assert [w.planned_s for w in waits[:2]] == [0.3, 0.3]
    assert waits[0].reason == "HTTP 429: slow down"
    assert metrics.stalled_seconds(list(ledger.events()), 3600) == pytest.approx(took, abs=0.3)


@pytest.mark.parametrize("kind", ["insufficient_quota", "exceeded_current_quota_error"])
def test_a_quota_that_is_used_up_is_not_waited_out(tmp_path, ledger, kind):
    async def work(provider, socket):
        provider.status = 429
        provider.reply = json.dumps({"error": {"type": kind, "message": "add money"}}).encode()
        return await ask(socket), len(provider.seen)

    (status, body), calls = through(tmp_path, ledger, work, live)
    assert (status, calls) == (429, 1)
    assert b"add money" in body


def test_a_waiting_stream_is_kept_alive_and_told_its_error_in_the_stream(tmp_path, ledger):
    async def work(provider, socket):
        provider.status, provider.reply = 429, b'{"error": {"message": "slow down"}}'
        provider.headers, provider.failures = {"retry-after": "1"}, 1
        good = await ask(socket)
        provider.seen.clear()
        provider.status, provider.reply = 429, b'{"error": {"message": "slow down"}}'
        provider.headers = {"retry-after": "1"}
        asking = asyncio.create_task(ask(socket))
        await asyncio.sleep(0.6)
        provider.status, provider.reply, provider.failures = 400, b'{"error": {"message": "too long"}}', 10**9
        return good, await asking

    good, bad = through(tmp_path, ledger, work, live, quiet_s=0.2)
    alive = b'event: response.in_progress\ndata: {"type": "response.in_progress", "response": {}}\n\n'
    assert good[0] == 200
    assert good[1].startswith(alive)
    assert good[1].replace(alive, b"") == ANSWER
    assert bad[0] == 200
    assert b"event: response.failed" in bad[1]
    assert b"too long" in bad[1]
    assert [e.payload.status for e in ledger.events("tokens")] == [200, 400]


def test_an_overload_that_comes_with_status_200_is_waited_out_too(tmp_path, ledger):
    overloaded = sse({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}})

    async def work(provider, socket):
        provider.reply = overloaded
        asking = asyncio.create_task(ask(socket))
        await asyncio.sleep(0.3)
        provider.reply = ANSWER
        return await asking

    assert through(tmp_path, ledger, work, live) == (200, ANSWER)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7), ({"Retry-After": "0.5"}, 0.5), ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 1970 00:02:10 GMT"}, 30), ({"retry-after": "Thu, 01 Jan 1970 00:00:10 GMT"}, 0),
        ({"x-ratelimit-reset-tokens": "6m0s", "x-ratelimit-remaining-tokens": "0"}, 360),
        ({"x-ratelimit-reset-tokens": "6m0s", "x-ratelimit-remaining-tokens": "12"}, None),
        ({"x-ratelimit-reset-requests": "20ms", "x-ratelimit-remaining-requests": "0"}, 0.02),
        ({"anthropic-ratelimit-requests-reset": "1970-01-01T00:01:50Z", "anthropic-ratelimit-requests-remaining": "0"}, 10),
        ({"retry-after": "nan"}, None), ({"retry-after": "-3"}, None), ({"retry-after": "1e300"}, None),
        ({"retry-after": "soon"}, None), ({"retry-after": "9" * 400}, None), ({}, None),
    ],
)  # fmt: skip
def test_what_a_provider_asks_for(headers, seconds):
    assert asked_delay(headers, now=100.0) == (None if seconds is None else pytest.approx(seconds))


def test_waits_grow_have_an_end_and_repeat_with_the_seed():
    one, two = Patience(3), Patience(3)
    waits = [one.delay(attempt, Failure(500)) for attempt in range(40)]
    assert waits == [two.delay(attempt, Failure(500)) for attempt in range(40)]
    assert all(min(60, 2.0**k) / 2 <= wait <= 60 for k, wait in enumerate(waits))
    assert one.delay(0, Failure(429, b"", {"retry-after": "999999"})) == 3600
    assert one.delay(30, Failure(429, b"", {"retry-after": "0"})) == 5  # a provider that always says "at once"


@pytest.mark.parametrize(("status", "passes"), [(0, True), (408, True), (429, True), (500, True), (503, True), (529, True),
                                                (400, False), (401, False), (403, False), (404, False), (501, False)])  # fmt: skip
def test_which_failures_pass(status, passes):
    assert Failure(status, b'{"error": {"type": "x"}}').passes == passes


# -- budgets and bounds ------------------------------------------------------------------------------------------------------
def test_sixty_parallel_calls_do_not_overspend(tmp_path, ledger):
    allowance = Allowance({}, tokens=2000)

    async def work(provider, socket):
        provider.stall = 0.05
        answers = await asyncio.gather(*(ask(socket, timeout=60) for _ in range(60)))
        return [status for status, _ in answers], len(provider.seen)

    statuses, calls = through(tmp_path, ledger, work, live, allowance=allowance)
    each = 900 - 400 + 70
    assert allowance.spent_tokens == calls * each
    assert allowance.spent_tokens < 2000 + each  # by less than one call
    assert sorted(set(statuses)) == [200, 403]


def test_calls_that_fit_run_side_by_side(tmp_path, ledger):
    async def work(provider, socket):
        provider.stall = 0.3
        began = time.monotonic()
        await asyncio.gather(*(ask(socket, {**REQUEST, "max_output_tokens": 100}) for _ in range(20)))
        return time.monotonic() - began

    took = through(tmp_path, ledger, work, live, allowance=Allowance({}, tokens=1_000_000))
    assert took < 3  # one after the other they would take 6


def test_refused_calls_leave_little_behind(tmp_path, ledger):
    """Five refused calls of 9 MB made a transcript of 45 MB; three hundred refusals must not make three hundred events."""
    transcript = tmp_path / "t.gz"
    big = {**REQUEST, "input": "".join(chr(33 + (7 * k * k) % 90) for k in range(9 << 10)) * (1 << 10)}

    async def work(provider, socket):
        spent = [await ask(socket, big) for _ in range(5)]
        other = [await ask(socket, {**REQUEST, "model": "m-2"}) for _ in range(300)]
        return {status for status, _ in spent}, {status for status, _ in other}, provider.seen

    spent, other, seen = through(
        tmp_path, ledger, work, live, allowance=Allowance({}, tokens=1, spent_tokens=2), transcript=transcript,
        admission=Admission({"m-1"}),
    )  # fmt: skip
    assert (spent, other, seen) == ({403}, {400}, [])
    assert transcript.stat().st_size < 100_000
    refusals = [e.payload for e in ledger.events("refusal") if e.payload.phase == "refused"]
    assert len(refusals) < 40
    assert refusals[-1].count == 256


def test_a_transcript_keeps_what_is_new_and_has_an_end(tmp_path, ledger):
    path = tmp_path / "t.gz"
    items = [{"type": "message", "role": "user", "content": f"{k} " + "x" * 2000} for k in range(30)]

    async def work(provider, socket):
        for n in (10, 20, 30):
            await ask(socket, {**REQUEST, "input": items[:n]})

    through(tmp_path, ledger, work, live, transcript=path)
    with gzip.open(path, "rt") as file:
        lines = [json.loads(line) for line in file]
    assert [line["items_before"] for line in lines] == [0, 10, 20]
    assert [item for line in lines for item in line["request"]["input"]] == items
    assert "tools" in lines[0]["request"]
    assert "tools" not in lines[1]["request"]
    full = Transcript(path, most=100)
    for _ in range(50):
        full.keep_refused(DIALECTS[0], b"{}", "x")
    with gzip.open(path, "rt") as file:
        assert [json.loads(line).get("full") for line in file][3:] == ["no more than 0 MB are kept"]


def test_a_cut_call_counts_what_was_seen_before_as_cached_and_the_words_that_came(tmp_path, ledger):
    items = [{"type": "message", "role": "user", "content": "x" * 40_000}]
    words = sse({"type": "response.output_text.delta", "delta": "y" * 4000})

    async def work(provider, socket):
        await ask(socket, {**REQUEST, "input": items})
        provider.reply, provider.stall = words + words, 1.5
        with pytest.raises(asyncio.TimeoutError):
            await ask(socket, {**REQUEST, "input": [*items, {"content": "z" * 400}]}, timeout=0.5)
        for _ in range(100):
            if len(list(ledger.events("tokens"))) == 2:
                return
            await asyncio.sleep(0.05)

    through(tmp_path, ledger, work, live, drain_s=0.1)
    cut = list(ledger.events("tokens"))[1].payload
    assert cut.in_flight
    assert 9_900 < cut.cached_input < 10_200
    assert 90 < cut.input - cut.cached_input < 150
    assert cut.output == 1000
    totals = metrics.token_totals(ledger.events(), 60)
    assert totals.headline == 570
    assert 1090 < totals.cut_headline < 1150


def test_a_killed_run_counts_the_calls_that_had_begun(tmp_path, ledger):
    ledger.append(CallEvent(id="a", model="m", input=700, cached_input=300), agent="codex")
    ledger.append(CallEvent(id="b", model="m", input=9), agent="codex")
    ledger.append(TokensEvent(model="m", status=200, input=9, call="b"), agent="codex")
    assert count_killed_calls(ledger) == 1
    assert count_killed_calls(ledger) == 0
    last = list(ledger.events("tokens"))[-1]
    assert (last.agent, last.payload.call, last.payload.input, last.payload.cached_input) == ("codex", "a", 700, 300)
    assert last.payload.in_flight


def test_a_call_that_cannot_be_recorded_is_not_made(tmp_path, ledger):
    """A full disk: no call without its event, an answer all the same, and the next call goes on."""
    append, full = ledger.append, True

    def failing(event, **more):
        if full and event.__class__ is CallEvent:
            raise sqlite3.OperationalError("database or disk is full")
        return append(event, **more)

    ledger.append = failing

    async def work(provider, socket):
        nonlocal full
        first, made = await ask(socket), len(provider.seen)
        full = False
        return first[0], made, (await ask(socket))[0]

    assert through(tmp_path, ledger, work, live) == (502, 0, 200)


def test_a_call_during_a_pause_waits_and_is_kept_alive(tmp_path, ledger):
    async def main():
        async with Provider() as provider:
            gateway = Gateway(tmp_path / "g.sock", ledger, live(provider), "codex", quiet_s=0.1)
            await gateway.start()
            gateway.hold(True)
            asking = asyncio.create_task(ask(tmp_path / "g.sock"))
            await asyncio.sleep(0.5)
            asked = len(provider.seen)
            gateway.hold(False)
            answer = await asking
            await gateway.close()
            return asked, answer

    asked, (status, body) = asyncio.run(main())
    assert (asked, status) == (0, 200)
    assert body.endswith(ANSWER)
    assert body.startswith(b"event: response.in_progress")
