"""Faults that happen to a twin by themselves, at a drawn moment and for a drawn time. For audits and tests."""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial.transform import Rotation

from enpire_real.kinematics import Pose
from enpire_real.station import Station

FAULTS = ("slip", "hand_in_view", "dead_camera", "stuck_camera", "lost_frames", "knocked_camera", "emergency_stop")
_KNOCK, _KNOCK_TURN = 0.005, math.radians(1)  # how far a camera is knocked [m], [rad]
_LOST = 0.6  # share of frames
_POLL_S = 0.02
_LASTS = (0.2, 5.0)  # of those that pass by themselves [s]


class Injection:
    """A context in which one fault happens. It may pass by itself; what is left of it then stays, as a real one would.

    Args:
        kind: one of `FAULTS`.
        rng: draws the moment, the duration, which camera, where a hand is and which way a camera is knocked.
        within: the fault comes so soon [s].
    """

    def __init__(self, station: Station, kind: str, rng: np.random.Generator, *, within: float) -> None:
        assert station.twin is not None, "faults are injected into twins"
        self._faults, self._clock = station.twin.faults, station.clock
        self._arms = set(station.twin.motors)
        cameras = sorted(station.cameras)
        self._camera = cameras[int(rng.integers(len(cameras)))]
        way = rng.normal(size=3)
        turn = Rotation.from_rotvec(_KNOCK_TURN * way / np.linalg.norm(way)).as_matrix()
        self._knock = Pose(_KNOCK * _unit(rng.normal(size=3)), turn)
        self._hand = tuple(
            float(v) for v in (rng.uniform(0.30, 0.40), rng.uniform(-0.36, -0.24), rng.uniform(0.08, 0.14))
        )
        self.kind = kind
        self._from = self._clock.now() + rng.uniform(0.0, within)
        self._until = self._from + rng.uniform(*_LASTS) if rng.random() < 0.5 else math.inf
        self.happened = False
        self._over = False

    def __enter__(self) -> Injection:
        self._ticker = self._clock.every(_POLL_S, self._tick, "fault")
        return self

    def __exit__(self, *exc: object) -> None:
        self._ticker.cancel()

    def _tick(self) -> None:
        now = self._clock.now()
        if now >= self._from and not self.happened:
            self.happened = True
            self._set(True)
        if now >= self._until and not self._over:
            self._over = True
            self._set(False)

    def _set(self, on: bool) -> None:
        faults, change = self._faults, (set.update if on else set.difference_update)
        if self.kind == "slip":
            change(faults.slipping, self._arms)
        elif self.kind == "hand_in_view":
            faults.hand_in_view, faults.hand_at = on, self._hand  # type: ignore[assignment]
        elif self.kind == "dead_camera":
            change(faults.frozen_cameras, {self._camera})
        elif self.kind == "stuck_camera":
            change(faults.stuck_cameras, {self._camera})
        elif self.kind == "lost_frames":
            faults.lost_frames = _LOST if on else 0.0
        elif self.kind == "knocked_camera":
            faults.knocked_cameras[self._camera] = self._knock  # it stays where it was knocked to
        elif self.kind == "emergency_stop":
            faults.emergency_stop = on
        else:
            raise ValueError(f"unknown fault {self.kind!r}; known: {', '.join(FAULTS)}")


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
