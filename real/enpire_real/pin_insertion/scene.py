"""Pin insertion on a station, as its cell drives it: reset by moving, steer the tip, feel, look whether the pin is in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from enpire_envs.cell import CellFault
from enpire_envs.pin_insertion.scene import PIN_LENGTH
from enpire_envs.wrench import Wrench

from enpire_real.kinematics import Pose
from enpire_real.pin_insertion.eyes import PinEyes, Seen
from enpire_real.pin_insertion.hand import PinHand
from enpire_real.pin_insertion.reset import prepare
from enpire_real.pin_insertion.section import PinSection
from enpire_real.pin_insertion.supply import supply_of
from enpire_real.pin_insertion.task import IN_BORE, RealPinReadings
from enpire_real.station import Station

_LEAD = np.array([0.03, 0.03, 0.05])  # how far the commanded tip may run ahead of the measured one [m]
_HOLD_S = 0.5
_LOOKS = 3  # at a pin that should be in, each with both cameras
_KEPT_PX = 240  # height of the frames that a reset keeps


class PinRealScene:
    """One arm, a fixture with nine holes, a pin, two cameras. Positions are in the fixture's frame [m] unless stated otherwise.

    Args:
        station: with a `tasks.pin_insertion` section in its file. Raises StationError without one.
        control_hz: the task's.

    Attributes:
        target: (3,) the hole that this episode is about.
        offset: (3,) the pin's tip from where the hand has it if it holds a pin well.
        seen_tip: (2,) where the wrist camera saw the tip at the start; None where it did not.
        supplied: how many new pins were brought.
        frames: of the last reset: what was done, and the wrist camera's and side camera's images then, (height, width, 3) uint8.
    """

    frame = "the target hole's: origin on its axis at the plate's top, z up"

    def __init__(self, station: Station, control_hz: float) -> None:
        section = station.file.section("pin_insertion", PinSection)
        self.station, self.control_hz = station, control_hz
        self.hand, self.eyes = PinHand(station, section), PinEyes(station, section)
        self.supply = supply_of(station, section)
        self.camera_name = section.side_camera
        self.target, self.offset = np.zeros(3), np.zeros(3)
        self.seen_tip: np.ndarray | None = None
        self.supplied = 0
        self.frames: dict[str, np.ndarray] = {}
        self._control, self._clock, self._dt = station.control, station.clock, 1.0 / control_hz
        self._began = self._due = 0.0
        self._late = 0
        self._held: tuple[float, float] | None = None
        self._views: list[tuple[Seen | None, Seen | None]] = []

    # -- the cell's verbs --------------------------------------------------------------------------------------------
    def reset(self, start: dict[str, Any], rng: np.random.Generator) -> None:
        """See `enpire_real.pin_insertion.reset`. Raises Stopped, CellFault."""
        self.frames, self.seen_tip = {}, None
        self._held, self._views = None, []
        prepare(self, start)
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

    def read(self) -> RealPinReadings:
        """By the joints, and what cameras said at the start and at the verdict. Raises Stopped."""
        self._control.check()
        turn = self.eyes.fixture.rotation
        tip = self.in_fixture(self.hand.tip()) + self.offset - self.target
        aim = self.in_fixture(self.hand.target()) + self.offset - self.target
        force = turn.T @ self.hand.force()
        arm = np.array([0.0, 0.0, -PIN_LENGTH])  # from the gripper to the tip
        depth = -float(tip[2])
        ee = np.array([0.0, 0.0, PIN_LENGTH])
        return RealPinReadings(
            time=self._clock.now() - self._began,
            pose=np.concatenate([tip + ee, np.zeros(3)]),
            target=np.concatenate([aim + ee, np.zeros(3)]),
            wrench=Wrench(np.concatenate([force, np.cross(arm, force)]), "end effector"),
            force=float(np.linalg.norm(force)),
            depth=0.0,
            tip=tip,
            axis=np.array([0.0, 0.0, 1.0]),
            insertion=max(0.0, depth) if np.hypot(*tip[:2]) < IN_BORE else 0.0,
            grip_offset=np.zeros(2),
            held=self._held,
            late=self._late,
            holds=self.hand.holds(),
            seen_tip=None if self.seen_tip is None else self.seen_tip - self.target[:2],
            views=tuple(self._views),
            supplied=self.supplied,
        )

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

    @property
    def probes(self) -> Mapping[str, Callable[[], None]]:
        """`hold`: stop pressing, hold still for 0.5 s, look three times with both cameras."""
        return {"hold": self._hold}

    def _hold(self) -> None:
        self.hand.rest()
        least, most = np.inf, 0.0
        for k in range(round(_HOLD_S * self.control_hz)):
            self._clock.sleep(self._dt)
            self._control.check()
            now = self.read()
            least = min(least, now.insertion)
            if k >= 0.4 * _HOLD_S * self.control_hz:  # once it has settled
                most = max(most, now.force)
        self._held, self._views = (float(least), most), []
        for _ in range(_LOOKS):
            self._clock.sleep(0.04)
            self._views.append(self.eyes.in_hole((float(self.target[0]), float(self.target[1]))))
        self.keep("verdict")

    def home(self) -> None:
        """All arms to their home pose, the hand straight up first. Raises Stopped."""
        self.hand.home()

    def avoid(self) -> None:
        """As `home`: nothing has to be looked at without the hand."""
        self.hand.home()

    def resume(self) -> None:
        """The hand back over the fixture. Raises Stopped, CellFault."""
        if self.hand.servo is None:
            self.hand.fold_out(self.at([0.0, 0.03, 0.045]), self.yaw)

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
        """Of a point `over` the plate, in the station's frame."""
        return float(self.at([0.0, 0.0, over])[2])

    def keep(self, what: str) -> None:
        """Keep what both cameras see now, side by side, small."""
        shown = [self.eyes.image(name) for name in (self.eyes.wrist, self.eyes.side)]
        small = [
            cv2.resize(i, (_KEPT_PX * i.shape[1] // i.shape[0], _KEPT_PX), interpolation=cv2.INTER_AREA) for i in shown
        ]
        self.frames[what] = np.hstack(small)
