"""The gateway between a client and a provider on loopback: what passes, what is counted, what never leaves."""

import asyncio
import json
import re
import sqlite3

import pytest
from loopback import ANSWER, REQUEST, Provider, ask, live, through

from autoenvbench.errors import UserError
from autoenvbench.gateway.gateway import Gateway
from autoenvbench.gateway.upstream import Live, Replay
from autoenvbench.record.events import CallEvent


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
        tmp_path, ledger, work, lambda provider: Live("http://127.0.0.1:1/v1", "k"), should_retry=lambda failure: False
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
            gateway = Gateway(tmp_path / "g.sock", ledger, live(provider), "codex", keep_alive_s=0.1)
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
