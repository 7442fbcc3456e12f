"""The station as plain method calls: what it refuses whoever asks."""

import threading
import time

import pytest
from test_bundles import pack

from autoenvbench.errors import UserError
from autoenvbench.record.clock import RunClock
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.run_config import RunConfig
from autoenvbench.station import bundles, ideas
from autoenvbench.station.config import StationConfig
from autoenvbench.station.control import Control
from autoenvbench.station.fleet import Fleet
from autoenvbench.station.station import Station


@pytest.fixture
def station(tmp_path):
    (tmp_path / "data").mkdir()
    clock = RunClock.start(600)
    config = StationConfig(
        run_dir=tmp_path, socket=tmp_path / "s.sock", sandbox="none", secret_hex="00" * 32, tokens={},
        config=RunConfig(agent="cem", env="ENPIRE/PushT-v0", budget_s=600), clock_epoch=clock.epoch,
    )  # fmt: skip
    ledger = Ledger(tmp_path / "ledger.sqlite", clock)
    return Station(config, ledger, Fleet(config, ledger, print))


def test_a_run_takes_only_so_many_ideas_and_notes(station, monkeypatch):
    monkeypatch.setattr(ideas, "MAX_WORDS", 5)
    for k in range(5):
        station.ideas.register("cem", f"idea {k}", None, [], None)
        station.ideas.note("cem", "x" * 10**6)
    with pytest.raises(UserError, match="5 ideas already"):
        station.ideas.register("cem", "one more", None, [], None)
    with pytest.raises(UserError, match="5 notes already"):
        station.ideas.note("cem", "one more")
    assert len(list(station.ledger.events("idea"))) == 5
    assert max(len(e.payload.text) for e in station.ledger.events("note")) == 4000


def test_the_store_of_commits_is_bounded(station, tmp_path, monkeypatch):
    monkeypatch.setattr(bundles, "MAX_STORE", -1)
    archive = tmp_path / "x.tar"
    archive.write_bytes(b"")
    with pytest.raises(UserError, match="no more are taken in"):
        station.receive("cem", archive, "0" * 40)


def test_a_pause_holds_a_batch_between_two_steps_and_leaves_its_time_out():
    """In the cell; the door's clock stands, too."""
    stop = Control(RunClock.start(600))
    stop.begin(1, by_clock=True)
    assert not stop()
    stop.pause(stop.clock.elapsed())
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(stop()))
    waiting.start()
    time.sleep(0.4)
    assert answers == []
    before = stop.clock.elapsed()
    time.sleep(0.1)
    assert stop.clock.elapsed() == before  # nothing that happens in a pause is later than its beginning
    resumed = time.monotonic()
    stop.resume(stop.clock.epoch + 100)
    waiting.join(60)
    assert answers == [None]
    assert before - 101 < stop.clock.elapsed() < before - 99 + time.monotonic() - resumed
    stop.pause(None)
    stop.stop(1, "a deadline ends a pause")
    assert stop() == "a deadline ends a pause"
    stop.begin(2, by_clock=False)  # held-out scoring
    assert stop() is None
    stop.stop(1, "a batch that is over stops no other")
    assert stop() is None
    stop.begin(3, by_clock=True)
    stop.resume(stop.clock.epoch - 1000)
    assert stop() == "the budget is over"
    stop.end("the door is gone")
    stop.begin(4, by_clock=False)
    assert stop() == "the door is gone"


def test_a_pause_stops_the_stations_clock_and_what_asks_for_the_robot(station):
    station.jobs.pause(True, stopped_at=station.clock.elapsed())
    before = station.clock.elapsed()
    asked = []

    def submit():
        with pytest.raises(UserError) as refused:
            station.submit("a1", "0" * 64)
        asked.append(str(refused.value))

    asking = threading.Thread(target=submit)
    asking.start()
    time.sleep(0.3)
    assert asked == []
    assert station.clock.elapsed() == before
    resumed = time.monotonic()
    station.jobs.pause(False, epoch=station.clock.epoch + 100)
    asking.join(60)
    assert "does not have this commit" in asked[0]
    assert before - 101 < station.clock.elapsed() < before - 99 + time.monotonic() - resumed
    station.jobs.pause(True)
    station.jobs.halt()  # a deadline ends a pause
    with pytest.raises(UserError, match="budget"):
        station.submit("a1", "0" * 64)


def test_submissions_do_not_fill_the_ledger(station, tmp_path, repo, monkeypatch):
    monkeypatch.setattr(ideas, "MAX_WORDS", 3)
    bundle = station.receive("a1", *pack(tmp_path, repo))
    for _ in range(3):
        station.submit("a1", bundle.digest)
    with pytest.raises(UserError, match="3 submissions already"):
        station.submit("a1", bundle.digest)
