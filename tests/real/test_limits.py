"""A slice of the audit of what reaches the motors (`benchmarks/safety_limits.py`)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "safety_limits.py"
    spec = importlib.util.spec_from_file_location("safety_limits", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_stop_in_motion_exceeds_a_limit_and_each_ends_where_the_margin_was_checked(audit: ModuleType) -> None:
    station = audit.make_station(3)
    told = audit.stops(station, np.random.default_rng(3), 15)
    station.close()
    assert told["stops"] == 15
    assert told["braking"] > 500
    assert (told["over_torque"], told["over_other"]) == (0, 0)
    assert told["worst_rest_rad"] < 1e-9
    assert told["worst_settled_rad"] < 0.02


def test_no_fuzzed_command_that_reaches_a_motor_exceeds_a_limit(audit: ModuleType) -> None:
    station = audit.make_station(4)
    told = audit.fuzz(station, np.random.default_rng(4), 6000)
    station.control.close()
    assert told["braking"] > 300
    assert (told["over_torque"], told["over_other"]) == (0, 0)


def test_acknowledging_in_the_middle_of_braking_does_not_jerk(audit: ModuleType) -> None:
    station = audit.make_station(5)
    witness = audit.Witness(station)
    for k in range(5):
        station.control.move("left", audit.JointMove([audit.HOME + 0.8 * (1 - 2 * (k % 2)) * np.eye(6)[0]], 1.5, 8.0))
        station.clock.sleep(0.45)
        station.control.stop("test", "now")
        station.clock.sleep(0.01 * k)
        station.control.acknowledge()
    station.control.close()
    assert (witness.counts["over_torque"], witness.counts["over_other"]) == (0, 0)
    assert witness.counts["braking"] > 20
