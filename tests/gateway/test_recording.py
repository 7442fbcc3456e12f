"""What a gateway writes: in order, before what must not come before it, and without holding up anybody else."""

import asyncio
import gzip
import json
import sqlite3
import threading
import time

import pytest
from loopback import ANSWER, REQUEST, ask, live, through

from autoenvbench.gateway.loop_thread import LoopThread
from autoenvbench.gateway.recorder import LINES_AHEAD, Recorder
from autoenvbench.gateway.transcript import Transcript
from autoenvbench.record.events import NoteEvent


def test_a_call_is_on_record_before_it_is_made_and_counted_before_its_answer_ends(tmp_path, ledger):
    seen = []

    async def work(provider, socket):
        provider.on_request = lambda: seen.append(len(list(ledger.events("call"))))
        for _ in range(3):
            await ask(socket)
            seen.append(len(list(ledger.events("tokens"))))

    append = ledger.append
    ledger.append = lambda event, **more: (time.sleep(0.05), append(event, **more))[1]
    through(tmp_path, ledger, work, live)
    assert seen == [1, 1, 2, 2, 3, 3]


def test_a_call_that_waits_for_the_disk_delays_no_other_answer(tmp_path, ledger):
    """The second call's event stays unwritten until all of the first one's answer but its end is there."""
    append, free = ledger.append, threading.Event()

    def stuck(event, **more):
        if len(list(ledger.events("call"))) == 1:
            assert free.wait(20), "the first answer did not come while the disk was busy"
        return append(event, **more)

    ledger.append = stuck

    async def work(provider, socket):
        provider.stall = 0.5
        arrived = asyncio.Event()

        def watch(data):
            if data.endswith(ANSWER):
                arrived.set()

        first = asyncio.create_task(ask(socket, on_data=watch))
        await asyncio.sleep(0.25)  # half of its answer is there
        second = asyncio.create_task(ask(socket))
        await asyncio.wait_for(arrived.wait(), 10)
        assert not first.done()  # its `tokens` event comes behind the second one's `call`
        assert len(provider.seen) == 1
        free.set()
        return await first, await second

    assert through(tmp_path, ledger, work, live) == ((200, ANSWER), (200, ANSWER))
    assert [e.kind for e in ledger.events("call", "tokens")].count("tokens") == 2


def test_a_slow_transcript_loses_no_line_and_holds_back_who_would_flood_it(tmp_path, ledger, monkeypatch):
    path, most = tmp_path / "t.gz", 0
    write, submitted = Transcript.write_call, Recorder.keep

    def slow(*args):
        time.sleep(0.01)
        write(*args)

    async def counted(self, *args):
        nonlocal most
        await submitted(self, *args)
        most = max(most, sum(not line.done() for line in self._lines))

    monkeypatch.setattr(Transcript, "write_call", slow)
    monkeypatch.setattr(Recorder, "keep", counted)

    async def work(provider, socket):
        texts = [{**REQUEST, "input": [{"content": str(k)}]} for k in range(60)]
        return await asyncio.gather(*(ask(socket, text, timeout=60) for text in texts))

    assert len(through(tmp_path, ledger, work, live, transcript=path)) == 60
    with gzip.open(path, "rt") as file:
        kept = [json.loads(line)["request"]["input"][0]["content"] for line in file]
    assert sorted(kept, key=int) == [str(k) for k in range(60)]
    assert most <= LINES_AHEAD


@pytest.mark.parametrize("cancellations", [1, 3])
def test_who_is_cancelled_while_an_event_is_written_knows_that_it_is_written(ledger, cancellations):
    append, writing, free = ledger.append, threading.Event(), threading.Event()

    def slow(event, **more):
        writing.set()
        free.wait(20)
        return append(event, **more)

    ledger.append = slow

    async def main():
        recorder = Recorder(ledger, "codex")
        task = asyncio.create_task(recorder.append(NoteEvent(text="kept")))
        await asyncio.to_thread(writing.wait, 20)
        for _ in range(cancellations):
            task.cancel()
            await asyncio.sleep(0.01)
        assert not task.done()
        free.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await recorder.close()

    asyncio.run(main())
    assert [e.payload.text for e in ledger.events("note")] == ["kept"]


def test_an_event_that_cannot_be_written_says_so(ledger):
    def full(event, **more):
        raise sqlite3.OperationalError("database or disk is full")

    ledger.append = full

    async def main():
        recorder = Recorder(ledger, "codex")
        with pytest.raises(sqlite3.OperationalError, match="full"):
            await recorder.append(NoteEvent(text="lost"))
        await recorder.close()

    asyncio.run(main())


def test_a_loop_thread_serves_while_its_owner_blocks_and_ends_what_is_left():
    async def count(ticks):
        while True:
            ticks.append(time.monotonic())
            await asyncio.sleep(0.005)

    ticks = []
    with LoopThread("test") as thread:
        left = thread.submit(count(ticks))
        time.sleep(0.3)  # and this thread does nothing else
        assert len(ticks) > 10
    assert left.cancelled()
