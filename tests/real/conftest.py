"""Stations of simulated parts for the tests: in virtual time unless a test says otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from enpire_real.motion import JointMove
from enpire_real.station import Station, build_station
from enpire_real.station_file import StationFile, load_station
from enpire_real.yam import HOME

gym.logger.min_level = gym.logger.ERROR  # the notice that a twin is a twin has a test of its own

MakeStation = Callable[..., Station]


def station_file(*, cameras: tuple[str, ...] = ("top",), **twin: Any) -> StationFile:
    """The twin that ships, with fewer cameras and other `twin` settings."""
    file = load_station()
    assert file.twin is not None
    return file.model_copy(
        update={
            "cameras": {name: file.cameras[name] for name in cameras},
            "twin": file.twin.model_copy(update=twin),
            "pusht": file.pusht if "top" in cameras else None,
        }
    )


@pytest.fixture
def make_station() -> Iterator[MakeStation]:
    """Starts stations and closes them after the test."""
    made: list[Station] = []

    def make(file: StationFile | None = None, *, home: bool = True, block: Any = None, **twin: Any) -> Station:
        file = file or station_file(cameras=(), **twin)
        assert file.twin is not None
        args = {"block": block} if block is not None else {}
        station = build_station(file, twin_args=args if file.twin.link is None else None)
        made.append(station)
        station.start()
        if home:
            for name in station.control.arms:
                station.control.move(name, JointMove([HOME], 1.5, 8.0))
            for name in station.control.arms:
                station.control.wait(name, 20)
            station.clock.sleep(0.5)
        return station

    yield make
    for station in made:
        station.close()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
