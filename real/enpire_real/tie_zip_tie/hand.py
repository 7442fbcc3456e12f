"""The hand that ties: `Hand`, which may be turned, and whose fingers hold straps."""

from __future__ import annotations

from collections import deque

import numpy as np

from enpire_real.handling.hand import Hand
from enpire_real.station import Station
from enpire_real.tie_zip_tie.equipment import HELD

_REMEMBERED = 40  # control ticks for which is known where the hand was


class StrapHand(Hand):
    """One arm of a station with fingertips for straps.

    Attributes:
        tilt: (3, 3) rotation of the hand from straight down, station axes.
    """

    def __init__(self, station: Station, arm: str) -> None:
        super().__init__(station, arm)
        self.tilt = np.eye(3)
        self._trail: deque[tuple[float, np.ndarray]] = deque(maxlen=_REMEMBERED)

    def tilted(self) -> np.ndarray:
        """(3, 3) `tilt`, by the measured joints."""
        return np.asarray(self.flange().rotation @ super()._upright().T)

    def moved_since(self, time: float) -> np.ndarray:
        """(3,) how far the tip has moved since a moment on the station's clock, by the measured joints [m]."""
        then = next((tip for at, tip in self._trail if at >= time), None)
        return np.zeros(3) if then is None else self._trail[-1][1] - then

    @property
    def opening(self) -> float:
        """What the gripper is commanded to, 0 closed to 1 open."""
        return self._arm.opening

    @opening.setter
    def opening(self, wanted: float) -> None:
        self._arm.opening = wanted

    def gap(self) -> float:
        """What the gripper measures, 0 closed to 1 open."""
        return self._control.reading(self.name).gripper

    def holds(self) -> bool:
        """Whether the fingers close on something as thick as a strap."""
        return self._arm.opening == 0.0 and HELD[0] < self.gap() < HELD[1]

    def _upright(self) -> np.ndarray:
        return np.asarray(self.tilt @ super()._upright())

    def _feel(self, snapshot: object) -> None:
        super()._feel(snapshot)
        self._trail.append((self._clock.now(), self.tip()))
