"""Moves that bring-up commands share, and the question that comes before any of them."""

from __future__ import annotations

import numpy as np

from enpire_real.motion import JointMove
from enpire_real.station import Station
from enpire_real.station_file import StationFile

SPEED, ACCELERATION = 0.8, 4.0  # [rad/s], [rad/s^2]: a person may be standing near


class MotionRefused(ValueError):
    """A command that moves physical arms came without --confirm-motion."""


def require_motion(file: StationFile, confirmed: bool, what: str) -> None:
    """Raises MotionRefused unless the station is a twin or its operator has confirmed that it may move."""
    if file.kind == "physical" and not confirmed:
        raise MotionRefused(
            f"{what} moves the arms of {file.name!r}. Clear their workspace, keep a hand on the emergency stop, and add "
            "--confirm-motion (--dry-run says what would happen)"
        )


def move_to(station: Station, goals: dict[str, np.ndarray], timeout_s: float = 30.0) -> None:
    """Move arms slowly to joint poses and wait. Raises Stopped."""
    for name, goal in goals.items():
        station.control.move(name, JointMove([goal], SPEED, ACCELERATION))
    for name in goals:
        station.control.wait(name, timeout_s)
    station.clock.sleep(0.3)
