"""A person's stop holds until a person acknowledges it, whatever is tried in between."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from conftest import MakeStation, judge, station_file
from enpire_envs.env import ResetFailed
from enpire_real.build import build_station
from enpire_real.cell import CellFault, RealCell
from enpire_real.control import Stopped
from enpire_real.motion import JointMove
from enpire_real.person_stop import PersonStops, Registration, live_stations, write_record
from enpire_real.yam import HOME

from autoenvbench.cli.main import main
from autoenvbench.errors import UserError
from autoenvbench.record.ledger import Ledger
from autoenvbench.station import by_hand
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.cell import LocalCell

START = {"block": [0.1, 0.05, 0.0], "tip": [-0.2, -0.15]}


def joints(cell: RealCell) -> np.ndarray:
    truth = cell.station.twin.truth()["joints"]
    return np.concatenate([truth[side][:6] for side in ("left", "right")])


def test_nothing_that_a_program_does_clears_it(twin_env: gym.Env) -> None:
    twin_env.reset(options={"start": START})
    cell: RealCell = twin_env.unwrapped.real_cell
    twin_env.step(np.array([0.3, 0.2]))
    cell.stop("by the operator", person=True)
    with pytest.raises(CellFault, match="stopped_by_person"):
        twin_env.step(np.zeros(2))
    cell.station.clock.sleep(1.0)
    before = joints(cell)
    for _ in range(2):
        with pytest.raises(ResetFailed, match="autoenvbench station acknowledge"):
            twin_env.reset(options={"start": START})
        for where in ("home", "avoid", "resume"):
            with pytest.raises(CellFault, match="stopped_by_person"):
                cell.move(where)
        with pytest.raises(Stopped):
            cell.station.control.acknowledge()
        cell.station.control.monitor.acknowledge(cell.station.control.snapshot.commanded)
        cell.station.clock.sleep(1.0)
        assert cell.stopped_by_person
    assert np.abs(joints(cell) - before).max() < 0.01
    assert cell.acknowledge("operator")
    assert np.abs(joints(cell) - before).max() < 0.01  # the word alone moves nothing
    twin_env.reset(options={"start": START})


def test_switching_off_moves_nothing_while_it_holds(make_station: MakeStation, capfd) -> None:
    station = make_station()
    station.control.move("left", JointMove([HOME + 0.5 * np.eye(6)[0]], 1.0, 5.0))
    station.control.wait("left", 10)
    station.stops.press("a person", "wait")
    station.clock.sleep(0.1)
    before = station.twin.truth()["joints"]["left"][:6].copy()
    station.close()
    assert "not folded" in capfd.readouterr().err
    assert station.twin.truth()["joints"]["left"][:6] == pytest.approx(before, abs=0.02)
    assert 1 in station.twin.motors["left"].state  # left to their watchdogs: switched off they would fall
    with pytest.raises(Stopped, match="wait"):  # and opened again it holds still
        station.start()


def test_it_survives_the_process_and_a_removed_file_acknowledges_nothing(
    make_station: MakeStation, tmp_path: Path
) -> None:
    station = make_station()
    station.stops.folder = tmp_path / "stops"
    station.stops.make_folder()
    station.clock.sleep(0.05)
    (tmp_path / "stops" / "stop").touch()  # by hand, from any terminal
    station.clock.sleep(0.05)
    assert station.control.monitor.stop.person
    (tmp_path / "stops" / "stop").unlink()
    station.clock.sleep(0.05)
    assert station.control.monitor.stop.person
    assert not PersonStops(tmp_path / "stops").watch()  # another process sees none, so this one must be told
    assert station.stops.press("x", "y").wait(5)
    other = build_station(station_file(cameras=()))
    other.stops.folder = tmp_path / "stops"
    with pytest.raises(Stopped, match="x: y"):
        other.start()
    PersonStops(tmp_path / "stops").acknowledge("z")
    other.start()
    other.close()


def test_the_emergency_stop_holds_after_its_release(make_station: MakeStation) -> None:
    station = make_station()
    cell = RealCell(station, None)
    cell._started = True
    station.twin.faults.emergency_stop = True
    station.clock.sleep(0.1)
    assert station.control.monitor.stop.person
    with pytest.raises(CellFault, match="release it first"):
        cell.acknowledge("operator")
    station.twin.faults.emergency_stop = False
    station.clock.sleep(0.3)
    with pytest.raises(Stopped):
        station.control.acknowledge()
    assert station.control.monitor.stop.person
    cell.acknowledge("operator")
    station.control.acknowledge()
    station.control.check()


def test_a_button_that_is_released_within_a_tick_of_a_motor_fault_is_still_a_persons(make_station: MakeStation) -> None:
    """Power goes first, and the motors' silence is noticed before the button: the stop is a person's all the same."""
    station = make_station()
    station.twin.motors["left"].faults.dead = {1}
    station.clock.sleep(0.1)
    assert station.control.monitor.stop.reason == "motor_fault"
    station.twin.faults.emergency_stop = True
    station.clock.sleep(0.03)
    station.twin.faults.emergency_stop = False
    station.twin.motors["left"].faults.dead = set()
    with pytest.raises(Stopped, match="emergency"):
        station.control.acknowledge()


def test_stops_that_cannot_be_looked_for_are_stops(make_station: MakeStation, tmp_path: Path) -> None:
    station = make_station()
    station.stops.folder = tmp_path / "gone"
    station.clock.sleep(0.05)
    assert "cannot look for stops" in str(station.control.monitor.stop)
    (tmp_path / "gone").write_text("a file in its place")
    with pytest.raises(UserError, match="the stop holds"):
        by_hand.acknowledge(station.record())
    (tmp_path / "gone").unlink()
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "stop-x").write_bytes(b"\xff\x00 no JSON")
    assert PersonStops(tmp_path / "gone").watch() is not None


def test_a_stop_during_an_acknowledgement_is_not_lost(make_station: MakeStation) -> None:
    """Recovering takes seconds; whoever stops meanwhile is heard, although an older stop is just being cleared."""
    station = make_station()
    arm = station.control.arms["left"]
    recover = arm.recover
    station.twin.motors["left"].faults.dead = {2}
    station.clock.sleep(0.1)
    station.twin.motors["left"].faults.dead = set()

    def slow() -> None:
        recover()
        station.control.stop("stopped_by_agent", "now")

    arm.recover = slow
    with pytest.raises(Stopped):
        station.control.acknowledge()
    assert station.control.monitor.stop is not None


def test_who_stops_waits_for_no_lock_and_no_disk(make_station: MakeStation, monkeypatch) -> None:
    station = make_station()
    cell = RealCell(station, None)
    hang = threading.Event()
    monkeypatch.setattr("enpire_real.person_stop._write_file", lambda path, text: hang.wait(20))
    with station.control._lock:  # as a recovery holds it, for seconds
        took = []
        for _ in range(5):  # a busy machine may not let this thread go on at once
            began = time.monotonic()
            assert cell.stop("by a person", person=True) is False
            took.append(time.monotonic() - began)
    assert min(took) < 0.05
    station.clock.sleep(0.02)
    assert station.control.monitor.stop.person
    hang.set()


def test_from_any_terminal(make_station: MakeStation, tmp_path: Path) -> None:
    station = make_station()
    records = [r for r in live_stations() if r.pid == os.getpid()]
    assert station.record() in records
    told = (
        by_hand.stop(by_hand.choose(None, None, stopped=False)) if len(records) == 1 else by_hand.stop(station.record())
    )
    assert "its arms brake and hold" in told
    station.clock.sleep(0.05)
    assert station.control.monitor.stop.reason == "stopped_by_person"
    second = Registration(station.record().__class__("second", str(tmp_path / "stops"), os.getpid(), str(tmp_path)))
    with pytest.raises(UserError, match=f"name one.*{tmp_path}"):
        by_hand.choose(None, None, stopped=False)
    second.close()
    assert "acknowledged" in by_hand.acknowledge(station.record())
    station.control.check_person_stops()
    station.control.acknowledge()
    with pytest.raises(UserError, match="no stop of a person holds"):
        by_hand.acknowledge(station.record())
    with pytest.raises(UserError, match="no run on a station"):
        by_hand.choose(str(tmp_path), None, stopped=False)


def test_acknowledging_by_hand_looks_at_the_button(tmp_path: Path) -> None:
    record = build_station(station_file(cameras=())).record()
    record = type(record)(record.name, str(tmp_path / "stops"), 1, None, str(tmp_path / "button"))
    PersonStops(tmp_path / "stops").press("a", "b").wait(5)
    (tmp_path / "button").touch()
    with pytest.raises(UserError, match="pressed"):
        by_hand.acknowledge(record)
    (tmp_path / "button").unlink()
    assert "a: b" in by_hand.acknowledge(record)


@pytest.mark.parametrize(("person", "reason"), [(False, "stopped_by_agent"), (True, "stopped_by_person")])
def test_who_stops_an_episode_gets_no_second_one(
    twin_env: gym.Env, ledger: Ledger, tmp_path: Path, person: bool, reason: str
) -> None:
    """An agent's stop is its policy's outcome, a person's says nothing about it; neither is run again."""
    cell: RealCell = twin_env.unwrapped.real_cell
    twin_env.unwrapped.limit.own = 6

    class Stops:
        begun = 0

        def reset(self, observation: object) -> None:
            self.begun += 1

        def act(self, observation: object) -> np.ndarray:
            if self.begun == 1:
                cell.stop("by somebody", person=person)
            return np.zeros(2)

    policy = Stops()
    bundle = Bundle(path=tmp_path, commit="c" * 40, digest="d", content="e", subject="s")
    judge(LocalCell(twin_env, sandbox="none", track="station", policy=policy), ledger, bundle, "evaluate", 2, agent="a")
    told = [e.payload for e in ledger.events("episode")]
    assert (told[0].reason, told[0].infrastructure, told[0].reruns, told[0].success) == (reason, person, 0, False)
    assert len(told) == policy.begun == (1 if person else 2)  # the next start waits for the person, not for the agent
    ends = [e.payload.phase for e in ledger.events("evaluation")]
    assert ends == ["started", "aborted" if person else "finished"]


def test_the_commands(make_station: MakeStation, tmp_path: Path, capsys) -> None:
    station = make_station()
    write_record(tmp_path, station.record())
    assert main(["station", "stop", str(tmp_path)]) in (0, None)
    assert "stopped" in capsys.readouterr().out
    station.clock.sleep(0.05)
    assert station.control.monitor.stop.person
    assert main(["station", "acknowledge", str(tmp_path)]) in (0, None)
    assert "acknowledged" in capsys.readouterr().out
    for wrong in (["acknowledge", str(tmp_path)], ["stop", str(tmp_path / "none")], ["stop", "x", "--station", "y"]):
        assert main(["station", *wrong]) == 2
