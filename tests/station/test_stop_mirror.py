"""People's stops in two folders: a stop that stands is never passed over, whatever its name was before."""

import os
import socket

import pytest
from enpire_real.person_stop import PersonStops

from autoenvbench.errors import UserError
from autoenvbench.station.client import StationClient
from autoenvbench.station.stop_door import StopDoor
from autoenvbench.station.stop_mirror import Change, Stops


class Both:
    """Two folders, the arms that watch each, and what keeps the folders alike."""

    def __init__(self, path):
        self.folders = [path / "run", path / "station"]
        self.arms = [PersonStops(folder) for folder in self.folders]
        self.restart()

    def restart(self):
        self.sides = [Stops(folder) for folder in self.folders]

    def held(self):
        for _ in range(3):
            for here, there in (self.sides, self.sides[::-1]):
                for change in here.changes():
                    there.apply(change)
        return [each.watch() is not None for each in self.arms]


@pytest.fixture
def both(tmp_path):
    return Both(tmp_path)


@pytest.mark.parametrize("again", [0, 1])
@pytest.mark.parametrize("restarted", [False, True])
def test_the_same_touch_stops_all_arms_a_second_and_a_third_time(both, again, restarted):
    (both.folders[0] / "stop").touch()
    assert both.held() == [True, True]
    both.arms[0].acknowledge("ada")
    assert both.held() == [False, False]
    for end in (again, 1 - again):
        if restarted:
            both.restart()
        (both.folders[again] / "stop").write_text("once more")
        assert both.held() == [True, True]
        assert not (both.folders[again] / "stop").exists()  # so that the next touch is seen, too
        assert "once more" in "".join(path.read_text() for path in both.folders[1 - again].glob("stop-*"))
        both.arms[end].acknowledge("ada")
        assert both.held() == [False, False]


def test_where_only_one_side_knows_a_name_as_acknowledged_the_other_sides_stop_holds_and_ends_in_both(both):
    """A robot's machine has a new folder for each opening of its cell, and the run's folder outlives it."""
    (both.folders[0] / "acknowledged-stop").touch()
    (both.folders[1] / "stop").touch()
    assert both.held() == [True, True]
    both.arms[0].acknowledge("ada")
    assert both.held() == [False, False]
    assert not [path for folder in both.folders for path in folder.glob("stop*")]


def test_what_is_just_being_acknowledged_in_both_places_is_no_new_stop(both):
    (both.folders[0] / "stop").touch()
    assert both.held() == [True, True]
    station = both.folders[1]
    (station / "acknowledged-stop").touch()  # a person's word is on the disk, and the stop's file is removed next
    while os.stat(station / "acknowledged-stop").st_ctime_ns <= os.stat(station / "stop").st_ctime_ns:
        (station / "acknowledged-stop").touch()
    both.sides[1].apply(Change("stop", True, ""))
    assert both.sides[1].changes() == []
    assert both.arms[1].watch() is None


def test_one_arm_is_stopped_where_its_door_is_another_than_when_the_agent_was_launched(tmp_path):
    """The agent's cage still has the socket of a cell that was started again, or none: the station knows where the arms are now."""
    old, now, gone = tmp_path / "old", tmp_path / "now", tmp_path / "gone"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(old))
    by = []
    door = StopDoor(now, {"t": "ada"}, lambda client: by.append(client) or {"stopped": True}, urgent=False)
    try:
        for known in (old, gone):
            assert StationClient(str(now), "t", str(known)).stop() == {"stopped": True}
        assert by == ["ada", "ada"]
        with pytest.raises(UserError, match=r"no station at .*/old"):
            StationClient(str(gone), "t", str(old)).stop()
    finally:
        door.close()
