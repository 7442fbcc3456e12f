"""Acknowledged means kept: through kill -9, concurrent writers and hostile edits."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

from autoenvbench.errors import UserError
from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import KINDS, MIGRATIONS, IdeaEvent, NoteEvent, kind_of
from autoenvbench.record.ledger import Ledger

WRITER = """
import sys
from pathlib import Path
from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import NoteEvent
from autoenvbench.record.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]), RunClock.start(60))
k = 0
while True:
    ledger.append(NoteEvent(text=str(k)))
    print(k, flush=True)
    k += 1
"""


def test_nothing_acknowledged_is_lost_to_kill_9(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        acknowledged = [int(writer.stdout.readline()) for _ in range(60)]
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged += [int(line) for line in writer.stdout if line.endswith("\n")]
    texts = [int(e.payload.text) for e in Ledger(path).events("note")]
    assert texts[: len(acknowledged)] == acknowledged
    assert len(texts) - len(acknowledged) in (0, 1)


def test_many_writers_one_order(tmp_path):
    path = tmp_path / "ledger.sqlite"
    clock = RunClock.start(60)
    Ledger(path, clock)

    def write(name):
        ledger = Ledger(path, clock)
        for k in range(25):
            ledger.append(NoteEvent(text=f"{name}-{k}"), agent=name)

    threads = [threading.Thread(target=write, args=(n,)) for n in "abcd"]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    events = list(Ledger(path).events())
    assert [e.seq for e in events] == list(range(1, 101))
    for name in "abcd":
        assert [e.payload.text for e in events if e.agent == name] == [f"{name}-{k}" for k in range(25)]


def test_what_is_written_cannot_be_changed(ledger):
    ledger.append(NoteEvent(text="as it was"))
    before = ledger.digest()
    raw = sqlite3.connect(ledger.path)
    for statement in ("UPDATE event SET payload = '{}'", "DELETE FROM event"):
        with pytest.raises(sqlite3.DatabaseError, match="append-only"):
            raw.execute(statement)
    raw.close()
    assert ledger.digest() == before
    ledger.append(NoteEvent(text="more"))
    assert ledger.digest() != before


def test_filters_and_order(ledger):
    first = ledger.append(IdeaEvent(id="I1", title="one"))
    ledger.append(NoteEvent(text="between"))
    ledger.append(IdeaEvent(id="I2", title="two"))
    assert [e.payload.id for e in ledger.events("idea")] == ["I1", "I2"]
    assert [e.payload.id for e in ledger.events("idea", after=first)] == ["I2"]
    assert len(list(ledger.events("idea", "note"))) == 3


def test_opening_nothing_or_something_else_is_explained(tmp_path):
    with pytest.raises(UserError, match="no ledger"):
        Ledger(tmp_path / "ledger.sqlite")
    (tmp_path / "junk").write_bytes(b"junk" * 1000)
    with pytest.raises(UserError, match="not a ledger"):
        Ledger(tmp_path / "junk")


def test_every_kind_has_one_versioned_model():
    for kind, model in KINDS.items():
        assert "version" in model.model_fields
        assert kind_of(model.model_construct()) == kind
        migrated = sorted(version for name, version in MIGRATIONS if name == kind)
        assert migrated == list(range(1, model.model_fields["version"].default))
    assert {kind for kind, _ in MIGRATIONS} <= set(KINDS)


def test_a_payload_of_an_earlier_version_is_read_as_todays(ledger, monkeypatch):
    """And the ledger stays as it was written: nothing of its digest depends on who reads it."""
    ledger.append(NoteEvent(text="as it was"))
    ledger.append(NoteEvent(text="as it will be", version=3))
    before = ledger.digest()
    monkeypatch.setitem(MIGRATIONS, ("note", 1), lambda note: {"words": note["text"].split()})
    monkeypatch.setitem(MIGRATIONS, ("note", 2), lambda note: {"text": " ".join(reversed(note["words"]))})
    events = list(ledger.events())
    assert [(e.payload.text, e.payload.version) for e in events] == [("was it as", 3), ("as it will be", 3)]
    assert ledger.digest() == before


@pytest.mark.parametrize(
    "payload",
    ["{", "[1]", "null", '{"version": "one"}', '{"version": [1], "text": 7}', '{"version": true, "text": []}'],
)
def test_what_is_no_payload_of_any_version_is_named_with_its_event(ledger, monkeypatch, payload):
    monkeypatch.setitem(MIGRATIONS, ("note", 1), lambda note: note)
    ledger._db.execute(
        "INSERT INTO event (t_wall, t_run, kind, payload) VALUES (1.0, 1.0, 'note', ?)", (payload,)
    )  # fmt: skip
    with pytest.raises(UserError, match="event 1 is no note event"):
        list(ledger.events())


@pytest.mark.timeout(60)
def test_threads_that_read_and_write_through_one_ledger_never_wait_for_one_another_for_ever(ledger):
    """A station's threads do. Events of all of them stand in the order of their times."""

    def write(name):
        for k in range(150):
            ledger.append(NoteEvent(text=f"{name} {k}"))

    writers = [threading.Thread(target=write, args=(n,), daemon=True) for n in range(4)]
    for thread in writers:
        thread.start()
    while any(thread.is_alive() for thread in writers):
        list(ledger.events("note"))
        ledger.last_t_run()
    times = [e.t_run for e in ledger.events()]
    assert len(times) == 600
    assert times == sorted(times)
