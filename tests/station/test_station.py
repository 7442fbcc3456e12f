"""The station as plain method calls: what it refuses whoever asks."""

import threading
import time

import pytest
from test_bundles import pack

from autoenvbench.errors import UserError
from autoenvbench.record.clock import RunClock
from autoenvbench.record.run_config import RunConfig
from autoenvbench.station import bundles
from autoenvbench.station import station as module
from autoenvbench.station.config import StationConfig
from autoenvbench.station.station import Station


@pytest.fixture
def station(tmp_path):
    (tmp_path / "data").mkdir()
    made = Station(
        StationConfig(
            run_dir=tmp_path, socket=tmp_path / "s.sock", sandbox="none", secret_hex="00" * 32, tokens={},
            config=RunConfig(agent="cem", env="ENPIRE/PushT-v0", budget_s=600), clock_epoch=RunClock.start(600).epoch,
        )
    )  # fmt: skip
    yield made
    made.env.close()


def test_a_run_takes_only_so_many_ideas_and_notes(station, monkeypatch):
    monkeypatch.setattr(module, "MAX_WORDS", 5)
    for k in range(5):
        station.idea("cem", f"idea {k}", None, [], None)
        station.note("cem", "x" * 10**6)
    with pytest.raises(UserError, match="5 ideas already"):
        station.idea("cem", "one more", None, [], None)
    with pytest.raises(UserError, match="5 notes already"):
        station.note("cem", "one more")
    assert len(list(station.ledger.events("idea"))) == 5
    assert max(len(e.payload.text) for e in station.ledger.events("note")) == 4000


def test_the_store_of_commits_is_bounded(station, tmp_path, monkeypatch):
    monkeypatch.setattr(bundles, "MAX_STORE", -1)
    archive = tmp_path / "x.tar"
    archive.write_bytes(b"")
    with pytest.raises(UserError, match="no more are taken in"):
        station.receive("cem", archive, "0" * 40)


def test_a_pause_holds_a_job_between_two_steps_and_leaves_its_time_out(station):
    stop = station._stop_when(lambda: False)
    assert not stop()
    station.pause(True, stopped_at=station.clock.elapsed())
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(stop()))
    waiting.start()
    time.sleep(0.4)
    assert answers == []
    before = station.clock.elapsed()
    time.sleep(0.1)
    assert station.clock.elapsed() == before  # nothing that happens in a pause is later than its beginning
    station.pause(False, epoch=station.clock.epoch + 100)
    waiting.join(5)
    assert answers == [None]
    assert station.clock.elapsed() == pytest.approx(before - 100, abs=1)
    station.pause(True)
    station.halt()  # a deadline ends a pause
    assert stop()


def test_submissions_do_not_fill_the_ledger(station, tmp_path, repo, monkeypatch):
    monkeypatch.setattr(module, "MAX_WORDS", 3)
    bundle = station.receive("a1", *pack(tmp_path, repo))
    for _ in range(3):
        station.submit("a1", bundle.digest)
    with pytest.raises(UserError, match="3 submissions already"):
        station.submit("a1", bundle.digest)
