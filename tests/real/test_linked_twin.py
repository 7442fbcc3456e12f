"""A twin in a process of its own, over pseudo-terminals and in real time: what a station's cables look like."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import station_file
from enpire_real.build import build_station
from enpire_real.damiao import State
from enpire_real.motion import JointMove
from enpire_real.station import Station
from enpire_real.station_file import load_station
from enpire_real.yam import HOME

pytestmark = pytest.mark.real_time


class Served:
    """The other process, and what to tell it."""

    def __init__(self, folder: Path, cameras: tuple[str, ...]) -> None:
        import yaml

        source = folder / "source.yaml"
        source.write_text(yaml.safe_dump(station_file(cameras=cameras).model_dump(mode="json")))
        self.folder = folder / "twin"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "enpire_real.twin.serve", str(self.folder), str(source)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.path = self.process.stdout.readline().strip()
        assert self.path, "the twin did not start"

    def tell(self, **faults: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(faults) + "\n")
        self.process.stdin.flush()
        time.sleep(0.05)

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(10) == 0


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path, ())
    yield made
    made.end()


def station_on(served: Served) -> Station:
    return build_station(load_station(served.path))


def test_the_whole_chain_over_the_wire(served: Served) -> None:
    """Connect, move both arms, lose one frame in twenty, park."""
    with station_on(served) as station:
        control = station.control
        served.tell(motors={"left": {"lost": 0.05}})
        for name in control.arms:
            control.move(name, JointMove([HOME], 1.5, 8.0))
        for name in control.arms:
            control.wait(name, 20)
        time.sleep(0.5)
        control.check()
        assert control.snapshot is not None
        assert np.abs(control.snapshot.q - control.snapshot.commanded).max() < 0.02
        assert control.arms["left"].bus.stats.resent > 10
        assert control.arms["left"].bus.stats.bad == 0
        served.tell(motors={"left": {"lost": 0.0}})


def test_the_emergency_stop_file(served: Served) -> None:
    with station_on(served) as station:
        (served.folder / "stop").touch()
        time.sleep(0.1)
        assert station.control.monitor.stop is not None
        assert station.control.monitor.stop.reason in ("emergency_stop", "motor_fault")
        (served.folder / "stop").unlink()


HOLDER = """
import sys, time
from enpire_real.build import build_station
from enpire_real.station_file import load_station
station = build_station(load_station(sys.argv[1]))
station.start()
print("holding", flush=True)
time.sleep(60)
"""


def test_a_killed_station_lets_the_motors_go_within_100_ms_and_frees_the_bus(served: Served) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, served.path], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "holding\n"
    # While it holds the buses nobody else gets them.
    second = build_station(load_station(served.path))
    with pytest.raises(Exception, match="in use by process"):
        second.start()
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    time.sleep(0.055)  # and opening the adapter anew takes another 50 ms
    station = build_station(load_station(served.path))
    arm = station.control.arms["left"]
    arm.bus._bus = arm.bus._open()
    told = arm.bus.refresh()
    assert {f.state for f in told} == {State.LOST_COMMUNICATION}
    arm.close()
    with station_on(served) as again:
        again.control.check()


def test_an_unplugged_adapter_is_a_fault_not_a_crash(tmp_path: Path) -> None:
    served = Served(tmp_path, ())
    station = station_on(served)
    station.start()
    served.end()
    time.sleep(0.3)
    assert station.control.monitor.stop is not None
    assert station.control.monitor.stop.reason == "motor_fault"
    station.close()


def test_frames_arrive_whole_and_a_frozen_camera_stops_the_arms(tmp_path: Path) -> None:
    served = Served(tmp_path, ("top",))
    try:
        with station_on(served) as station:
            times = set()
            until = time.monotonic() + 1.0
            while time.monotonic() < until:
                frame = station.cameras["top"].latest()
                assert frame.image.shape == (480, 640, 3)
                times.add(frame.time)
                time.sleep(0.01)
            assert len(times) > 12
            assert frame.image.std() > 20
            station.control.check()
            served.tell(frozen_cameras=["top"])
            time.sleep(0.15)
            assert station.control.monitor.stop is not None
            assert station.control.monitor.stop.reason == "camera_top"
    finally:
        served.end()


def test_a_twin_that_is_not_running_says_how_to_start_it(served: Served, tmp_path: Path) -> None:
    text = Path(served.path).read_text().replace(str(served.folder), str(tmp_path / "gone"))
    path = tmp_path / "gone.yaml"
    path.write_text(text)
    station = build_station(load_station(path))
    with pytest.raises(Exception, match="cannot open the CAN bus"):
        station.start()
