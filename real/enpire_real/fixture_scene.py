"""What a task at a fixture with a wrist and a side camera does with its arm: steer the hand, know where things are, keep what the cameras saw."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import cv2
import numpy as np
from enpire_envs.cell import CellFault

from enpire_real.handling.hand import Hand
from enpire_real.handling.supply import Supply
from enpire_real.kinematics import Pose
from enpire_real.perception.fixture import FixtureEyes
from enpire_real.station import Station

_LEAD = np.array([0.03, 0.03, 0.05])  # how far the commanded tip may run ahead of the measured one [m]
_KEPT_PX = 240  # height of the frames that a reset keeps


Eyes = TypeVar("Eyes", bound=FixtureEyes)


class FixtureScene(Generic[Eyes]):
    """One arm, a fixture with markers, two cameras. Positions are in the fixture's frame [m] unless stated otherwise.

    A task's scene adds `frame`, `reset`, `read` and `probes` (see `enpire_real.cell.RealScene`).

    Args:
        station: the whole station.
        control_hz: the task's.
        hand, eyes, supply: the arm, its cameras, and who brings new things.
        look_from: (3,) the tip's place from which the wrist camera sees the whole fixture.

    Attributes:
        offset: (3,) the tip of what is held from where the hand has it if it holds it well.
        supplied: how many new things were brought.
        frames: of the last reset and verdict: what was done, and the wrist camera's and side camera's images then, (height, width, 3) uint8.
    """

    def __init__(
        self,
        station: Station,
        control_hz: float,
        *,
        hand: Hand,
        eyes: Eyes,
        supply: Supply,
        look_from: np.ndarray,
    ) -> None:
        self.station, self.control_hz = station, control_hz
        self.hand, self.supply, self.look_from = hand, supply, look_from
        self.eyes = eyes
        self.camera_name = eyes.side
        self.offset = np.zeros(3)
        self.supplied = 0
        self.frames: dict[str, np.ndarray] = {}
        self._control, self._clock, self._dt = station.control, station.clock, 1.0 / control_hz
        self._began = self._due = 0.0
        self._late = 0

    def begin(self) -> None:
        """An episode's time starts now."""
        self._began = self._due = self._clock.now()
        self._late = 0

    def drive(self, command: np.ndarray) -> None:
        """Move the tip's target with a velocity (6,) [m/s, rad/s], of which the first three count, for one control period. Raises Stopped, CellFault."""
        self._control.check()
        if self.hand.servo is None:
            raise CellFault("the arm is not over the fixture: it was moved away in the middle of an episode")
        now = self._clock.now()
        self._late = self._late + 1 if now > self._due + 0.5 * self._dt else 0
        if self._late:
            self._due = now  # it held the last command meanwhile; its own period starts now
        here, turn = self.hand.tip(), self.eyes.fixture.rotation
        target = self.hand.target() + turn @ command[:3] * self._dt
        lead = np.clip(turn.T @ (target - here), -_LEAD, _LEAD)
        self.hand.steer(here + turn @ lead)
        self._due += self._dt
        self._clock.sleep(self._due - self._clock.now())
        self._control.check()

    def view(self, camera: str) -> np.ndarray | None:
        """For `wrist` the middle of the wrist camera's image, a square; other cameras as they are."""
        if camera != "wrist":
            return None
        image = self.eyes.image(self.eyes.wrist)
        height, width = image.shape[:2]
        return np.ascontiguousarray(image[:, (width - height) // 2 : (width + height) // 2])

    def camera_pose(self, camera: str) -> Pose | None:
        """Nothing here measures where cameras are in the frame of an episode."""
        return None

    def home(self) -> None:
        """All arms to their home pose, the hand straight up first. Raises Stopped."""
        self.hand.home()

    def avoid(self) -> None:
        """As `home`: nothing has to be looked at without the hand."""
        self.hand.home()

    def resume(self) -> None:
        """The hand back over the fixture. Raises Stopped, CellFault."""
        if self.hand.servo is None:
            self.hand.fold_out(self.at(self.look_from), self.yaw)

    # -- frames ------------------------------------------------------------------------------------------------------
    @property
    def yaw(self) -> float:
        """Of the fixture in the station's frame [rad]."""
        turn = self.eyes.fixture.rotation
        return float(np.arctan2(turn[1, 0], turn[0, 0]))

    def at(self, point: Any) -> np.ndarray:
        """(3,) of a point of the fixture, in the station's frame."""
        return self.eyes.fixture.apply(np.asarray(point, dtype=np.float64))

    def in_fixture(self, point: np.ndarray) -> np.ndarray:
        """(3,) of a point of the station's frame."""
        return self.eyes.fixture.inverse().apply(point)

    def height(self, over: float) -> float:
        """Of a point `over` the fixture's top, in the station's frame."""
        return float(self.at([0.0, 0.0, over])[2])

    def keep(self, what: str) -> None:
        """Keep what both cameras see now, side by side, small."""
        shown = [self.eyes.image(name) for name in (self.eyes.wrist, self.eyes.side)]
        small = [
            cv2.resize(i, (_KEPT_PX * i.shape[1] // i.shape[0], _KEPT_PX), interpolation=cv2.INTER_AREA) for i in shown
        ]
        self.frames[what] = np.hstack(small)
