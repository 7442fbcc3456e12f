"""Tying on a station, as its cell drives it: reset by moving, steer the fingers, feel, look where the strap is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from enpire_envs.cell import CellFault
from enpire_envs.end_effector import angles, rotation
from enpire_envs.tie_zip_tie.scene import GRIP_RATE, TUG
from enpire_envs.wrench import Wrench

from enpire_real.handling.hand import SLOW
from enpire_real.handling.supply import NoSupply, Supply
from enpire_real.kinematics import Pose
from enpire_real.station import Station
from enpire_real.tie_zip_tie.equipment import HELD, OPEN
from enpire_real.tie_zip_tie.eyes import Strap, TieEyes
from enpire_real.tie_zip_tie.hand import StrapHand
from enpire_real.tie_zip_tie.reset import CLEAR, prepare
from enpire_real.tie_zip_tie.section import TieSection
from enpire_real.tie_zip_tie.task import RealStrapReadings
from enpire_real.yam import HOME

_LEAD = 0.03  # how far the commanded fingers may run ahead of the measured ones, each way [m]
_TURNS, _TURNING = (
    0.3,
    0.15,
)  # how far the hand may be turned about each axis [rad], and how fast a reset turns it [rad/s]
_STILL = 0.002  # change of the gripper's opening in a control period below which it stands
_LOOKS = 3  # at a strap that should be in, before the tug and in it, each with both cameras
_TUG_WAY, _TUG_S = 0.025, 0.5  # how far the fingers go back for a tug at most [m], and how long it lasts [s]
_HUNG_S = 0.3  # after which a camera that shows the same picture hangs, by what `FreshFrames` bears [s]
_KEPT_PX = 240  # height of the frames that a reset keeps


class TieRealScene:
    """One arm, a head on a post, a strap, two cameras. Positions are in the slot's frame [m] unless stated otherwise.

    Args:
        station: with a `tasks.tie_zip_tie` section in its file. Raises StationError without one.
        control_hz: the task's.

    Attributes:
        loaded: whether a strap may be in the feeder.
        supplied: how many straps were brought.
        frames: of the last reset and verdict: what was done, and both cameras' images then, (height, width, 3) uint8.
    """

    frame = "the slot's: origin at its entrance, x along it, y up, z to the right"

    def __init__(self, station: Station, control_hz: float) -> None:
        section = station.file.section("tie_zip_tie", TieSection)
        self.station, self.control_hz = station, control_hz
        self.hand, self.eyes = StrapHand(station, section.arm), TieEyes(station, section)
        self.supply = _supply_of(station, section)
        self.camera_name = section.cameras[0]
        self.loaded, self.supplied = True, 0
        self.frames: dict[str, np.ndarray] = {}
        self._control, self._clock, self._dt = station.control, station.clock, 1.0 / control_hz
        self._began = self._due = 0.0
        self._late = 0
        self._angles, self._opening = np.zeros(3), 0.0  # commanded
        self._gap = 0.0  # of the gripper, a control period ago
        self._strap: Strap | None = None  # as seen last
        self._tip = np.zeros(3)  # the last that was seen
        self._looks: tuple[tuple[Strap, ...], tuple[Strap, ...]] = ((), ())
        self._pulled = 0.0

    # -- the cell's verbs --------------------------------------------------------------------------------------------
    def reset(self, start: dict[str, Any], rng: np.random.Generator) -> None:
        """See `enpire_real.tie_zip_tie.reset`. Raises Stopped, CellFault."""
        self.frames, self._looks, self._pulled = {}, ((), ()), 0.0
        prepare(self, start)
        self._opening, self._gap = 0.0, self.hand.gap()
        self._began = self._due = self._clock.now()
        self._late = 0

    def drive(self, command: np.ndarray) -> None:
        """Move the fingers' target with a velocity (6,) [m/s, rad/s], and the gripper (above 0 closes, below 0 opens), for one control
        period. Raises Stopped, CellFault."""
        self._control.check()
        if self.hand.servo is None:
            raise CellFault("the arm is not at the head: it was moved away in the middle of an episode")
        now = self._clock.now()
        self._late = self._late + 1 if now > self._due + 0.5 * self._dt else 0
        if self._late:
            self._due = now  # it held the last command meanwhile; its own period starts now
        here, slot = self.hand.tip(), self.eyes.slot.rotation
        lead = slot.T @ (self.hand.target() - here) + command[:3] * self._dt
        self.turn(np.clip(self._angles + command[3:6] * self._dt, -_TURNS, _TURNS))
        self.hand.steer(here + slot @ np.clip(lead, -_LEAD, _LEAD))
        self._opening = float(np.clip(self._opening - GRIP_RATE * np.sign(command[6]), 0.0, 1.0))
        self.hand.opening = OPEN * self._opening
        self._gap = self.hand.gap()
        self._due += self._dt
        self._clock.sleep(self._due - self._clock.now())
        self._control.check()

    def read(self) -> RealStrapReadings:
        """By joints and gripper, and what the cameras see. Raises Stopped."""
        self._control.check()
        strap, slot = self._see(), self.eyes.slot.rotation
        fingers = self.in_slot(self.hand.tip())
        force = slot.T @ self.hand.force()
        gap = self.hand.gap()
        still = abs(gap - self._gap) < _STILL
        opening = float(np.clip((gap - HELD[1]) / (0.98 * OPEN - HELD[1]), 0.0 if still else 0.1, 1.0))
        if strap.tip is not None:
            since = slot.T @ self.hand.moved_since(strap.time) if strap.tip[0] < 0 and self.hand.holds() else 0.0
            self._tip = strap.tip + since
        turned = rotation(self._angles)
        return RealStrapReadings(
            time=self._clock.now() - self._began,
            pose=np.append(fingers, angles(slot.T @ self.hand.tilted() @ slot)),
            target=np.append(self.in_slot(self.hand.target()), self._angles),
            wrench=Wrench(np.concatenate([turned.T @ force, np.zeros(3)]), "end effector"),
            force=float(np.linalg.norm(force)),
            depth=0.0,
            nodes=np.stack([fingers, self._tip]),
            past=strap.past,
            opening=opening,
            held=self.hand.holds() and still,
            head=np.zeros(6),
            axes=np.eye(3),
            late=self._late,
            seen=strap.tip is not None,
            at_head=strap.tip is not None or all(strap.entering),
            pasts=strap.pasts,
            looks=self._looks,
            pulled=self._pulled,
            supplied=self.supplied,
        )

    def view(self, camera: str) -> np.ndarray | None:
        """For `side` the middle of the first camera's image, a square; other cameras as they are."""
        if camera != "side":
            return None
        image = self.eyes.image(self.camera_name)
        height, width = image.shape[:2]
        return np.ascontiguousarray(image[:, (width - height) // 2 : (width + height) // 2])

    def camera_pose(self, camera: str) -> Pose | None:
        """By the last look at the markers."""
        return self.eyes.camera_pose(camera)

    @property
    def probes(self) -> Mapping[str, Callable[[], None]]:
        """`tug`: look, pull the strap back with 10 N for half a second, look again."""
        return {"tug": self._tug}

    def _tug(self) -> None:
        hand, slot = self.hand, self.eyes.slot.rotation
        hand.rest()
        self.eyes.newest()  # a camera that hangs is found out by showing the same when it counts
        self._clock.sleep(0.2)
        before = self._look_on()
        self._pulled, self._looks = 0.0, (before, ())
        if hand.holds() or hand.grip():
            target = self.in_slot(hand.target())
            for k in range(round(_TUG_WAY / (SLOW * self._control.period))):
                hand.steer(self.at(target - [(k + 1) * SLOW * self._control.period, 0, 0]))
                self._clock.sleep(self._control.period)
                self._control.check()
                self._pulled = max(self._pulled, float((slot.T @ hand.force())[0]))
                if self._pulled > TUG:
                    break
            self._clock.sleep(_TUG_S)
            self._looks = (before, self._look_on())
        hand.rest()
        self.keep("verdict")
        self._clock.sleep(_HUNG_S)
        self.eyes.newest()  # one that has hung since the pull began shows the same still

    def _look_on(self) -> tuple[Strap, ...]:
        looks = []
        for _ in range(_LOOKS):
            self._clock.sleep(0.04)
            looks.append(self.look())
        return tuple(looks)

    def home(self) -> None:
        """All arms to their home pose, the hand empty and straight up first. Raises Stopped."""
        self.hand.open(OPEN)
        self.hand.lift(self.height(CLEAR))
        self.turn_to(np.zeros(3))
        self.hand.joints(dict.fromkeys(self._control.arms, HOME))

    def avoid(self) -> None:
        """As `home`: nothing has to be looked at without the hand."""
        self.home()

    def resume(self) -> None:
        """The hand back over the head. Raises Stopped, CellFault."""
        if self.hand.servo is None:
            self.hand.fold_out(self.at([-0.03, CLEAR, 0.0]), self.yaw)

    # -- what resets use ---------------------------------------------------------------------------------------------
    def look(self) -> Strap:
        """What both cameras see now."""
        self._strap = self.eyes.strap()
        return self._strap

    def _see(self) -> Strap:
        """The same, unless nothing new has been seen since."""
        if self._strap is None or self.eyes.newest() > self._strap.time:
            return self.look()
        return self._strap

    def bring(self) -> None:
        """A strap is in the feeder, and none lies about. Raises CellFault where nobody brings one."""
        self.supply.bring()
        self.supplied += 1
        self.loaded = True
        self._clock.sleep(0.3)

    def turn(self, to: np.ndarray) -> None:
        """Turn the hand by angles (3,) about the slot's axes [rad], as the simulated end effector's hinges turn."""
        self._angles = np.array(to)
        slot = self.eyes.slot.rotation
        self.hand.tilt = slot @ rotation(self._angles) @ slot.T

    def turn_to(self, to: np.ndarray) -> None:
        """The same, slowly, about the fingers. Raises Stopped."""
        before = self._angles
        steps = (
            1 + int(np.abs(to - before).max() / (_TURNING * self._control.period)) if self.hand.servo is not None else 1
        )
        for k in range(steps):
            self.turn(before + (to - before) * (k + 1) / steps)
            self._clock.sleep(self._control.period)
            self._control.check()

    # -- frames ------------------------------------------------------------------------------------------------------
    @property
    def yaw(self) -> float:
        """Of the fixture in the station's frame [rad]."""
        turn = self.eyes.fixture.rotation
        return float(np.arctan2(turn[1, 0], turn[0, 0]))

    def at(self, point: Any) -> np.ndarray:
        """(3,) of a point of the slot's frame, in the station's."""
        return self.eyes.slot.apply(np.asarray(point, dtype=np.float64))

    def in_slot(self, point: np.ndarray) -> np.ndarray:
        """(3,) of a point of the station's frame."""
        return self.eyes.slot.inverse().apply(point)

    def height(self, over: float) -> float:
        """Of a point `over` the slot, in the station's frame."""
        return float(self.at([0.0, over, 0.0])[2])

    def keep(self, what: str) -> None:
        """Keep what both cameras see now, side by side, small."""
        shown = [self.eyes.image(camera) for camera in self.eyes.cameras]
        small = [
            cv2.resize(i, (_KEPT_PX * i.shape[1] // i.shape[0], _KEPT_PX), interpolation=cv2.INTER_AREA) for i in shown
        ]
        self.frames[what] = np.hstack(small)


def _supply_of(station: Station, section: TieSection) -> Supply:
    """What a station file names."""
    if section.supply == "twin" and station.twin is not None:
        from enpire_real.tie_zip_tie.twin.feeder import Feeder

        return Feeder(station.twin)
    return NoSupply("no strap is in the feeder: put one in, take away what lies about, and reset again")
