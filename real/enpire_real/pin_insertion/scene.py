"""Pin insertion on a station, as its cell drives it: reset by moving, steer the tip, feel, look whether the pin is in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from enpire_envs.pin_insertion.scene import PIN_LENGTH
from enpire_envs.wrench import Wrench

from enpire_real.fixture_scene import FixtureScene
from enpire_real.handling.hand import Hand
from enpire_real.handling.supply import NoSupply, Supply
from enpire_real.pin_insertion.eyes import PinEyes, Seen
from enpire_real.pin_insertion.reset import prepare
from enpire_real.pin_insertion.section import PinSection
from enpire_real.pin_insertion.task import IN_BORE, RealPinReadings
from enpire_real.station import Station

LOOK_FROM = np.array([0.0, 0.03, 0.045])  # the tip's place from which the wrist camera sees plate and nest [m]
_HOLD_S = 0.5
_LOOKS = 3  # at a pin that should be in, each with both cameras


class PinRealScene(FixtureScene[PinEyes]):
    """One arm, a fixture with nine holes, a pin, two cameras. Positions are in the fixture's frame [m] unless stated otherwise.

    Args:
        station: with a `tasks.pin_insertion` section in its file. Raises StationError without one.
        control_hz: the task's.

    Attributes:
        target: (3,) the hole that this episode is about.
        seen_tip: (2,) where the wrist camera saw the tip at the start; None where it did not.
    """

    frame = "the target hole's: origin on its axis at the plate's top, z up"

    def __init__(self, station: Station, control_hz: float) -> None:
        section = station.file.section("pin_insertion", PinSection)
        super().__init__(
            station, control_hz, hand=Hand(station, section.arm), eyes=PinEyes(station, section),
            supply=_supply(station, section), look_from=LOOK_FROM,
        )  # fmt: skip
        self.target = np.zeros(3)
        self.seen_tip: np.ndarray | None = None
        self._held: tuple[float, float] | None = None
        self._views: list[tuple[Seen | None, Seen | None]] = []

    # -- the cell's verbs --------------------------------------------------------------------------------------------
    def reset(self, start: dict[str, Any], rng: np.random.Generator) -> None:
        """See `enpire_real.pin_insertion.reset`. Raises Stopped, CellFault."""
        self.frames, self.seen_tip = {}, None
        self._held, self._views = None, []
        prepare(self, start)
        self.begin()

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

    @property
    def probes(self) -> Mapping[str, Callable[[], None]]:
        """`hold`: stop pressing, hold still for 0.5 s, look three times with both cameras."""
        return {"hold": self._hold}

    def _hold(self) -> None:
        self.hand.rest()
        for camera in (self.eyes.wrist, self.eyes.side):
            self.eyes.image(camera)  # one that hangs is found out by showing the same when it counts
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


def _supply(station: Station, section: PinSection) -> Supply:
    """What the station file names."""
    if section.supply == "twin" and station.twin is not None:
        from enpire_real.pin_insertion.twin.dispenser import Dispenser

        return Dispenser(station.twin)
    return NoSupply(
        "no pin stands in a hole or in the nest: stand one in the nest, take away what lies about, and reset again"
    )
