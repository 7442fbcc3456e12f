"""Budgets under parallel calls, bounds of what is kept, and calls that were cut off or killed."""

import asyncio
import gzip
import json
import time

import pytest
from loopback import REQUEST, ask, live, sse, through

from autoenvbench.gateway.admission import Admission
from autoenvbench.gateway.allowance import Allowance
from autoenvbench.gateway.gateway import DIALECTS
from autoenvbench.gateway.transcript import Transcript
from autoenvbench.record import metrics
from autoenvbench.record.events import CallEvent, TokensEvent
from autoenvbench.research.model_access import count_killed_calls


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
        provider.stall = 1.0
        began = time.monotonic()
        await asyncio.gather(*(ask(socket, {**REQUEST, "max_output_tokens": 100}) for _ in range(20)))
        return time.monotonic() - began

    took = through(tmp_path, ledger, work, live, allowance=Allowance({}, tokens=1_000_000))
    assert took < 10  # one after the other they would take 20


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
    full = Transcript(path, max_bytes=100)
    for _ in range(50):
        full.write_refused(DIALECTS[0], b"{}", "x")
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
