"""A provider's failures: which are waited out, for how long, and what the agent sees meanwhile."""

import asyncio
import json
import time

import pytest
from loopback import ANSWER, ask, live, sse, through

from autoenvbench.gateway.retries import Backoff, Failure, asked_delay
from autoenvbench.record import metrics


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

    good, bad = through(tmp_path, ledger, work, live, keep_alive_s=0.2)
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
    one, two = Backoff(3), Backoff(3)
    waits = [one.delay(attempt, Failure(500)) for attempt in range(40)]
    assert waits == [two.delay(attempt, Failure(500)) for attempt in range(40)]
    assert all(min(60, 2.0**k) / 2 <= wait <= 60 for k, wait in enumerate(waits))
    assert one.delay(0, Failure(429, b"", {"retry-after": "999999"})) == 3600
    assert one.delay(30, Failure(429, b"", {"retry-after": "0"})) == 5  # a provider that always says "at once"


@pytest.mark.parametrize(("status", "transient"), [(0, True), (408, True), (429, True), (500, True), (503, True), (529, True),
                                                (400, False), (401, False), (403, False), (404, False), (501, False)])  # fmt: skip
def test_which_failures_pass(status, transient):
    assert Failure(status, b'{"error": {"type": "x"}}').transient == transient
