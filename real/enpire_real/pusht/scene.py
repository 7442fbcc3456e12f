"""Push-T on a station, as its cell drives it: reset by pushing, steer the tip, read what the camera tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from enpire_envs.cell import CellFault
from enpire_envs.pusht.geometry import clearance
from enpire_envs.pusht.scene import Arena

from enpire_real.kinematics import Pose
from enpire_real.pusht.mat_arm import MatArm
from enpire_real.pusht.mat_camera import MatCamera
from enpire_real.pusht.reset import free_place, near, push_to
from enpire_real.pusht.section import PushTSection
from enpire_real.pusht.task import TIP_ROOM, RealPushTReadings
from enpire_real.station import Station

_TOLERANCE = 0.6  # of what `ready` allows: the reset aims closer


class PushTScene:
    """One arm with the pusher, one camera, one mat. Positions are in the arena's frame [m].

    Args:
        station: with a `tasks.pusht` section in its file. Raises StationError without one.
        arena: the task's.
        control_hz: the task's.
    """

    frame = "the mat's, as in the observation"

    def __init__(self, station: Station, arena: Arena, control_hz: float) -> None:
        section = station.file.section("pusht", PushTSection)
        self.station, self.arena = station, arena
        self.arm = MatArm(station, section, arena.half)
        self.camera = MatCamera(station, section.camera)
        self.camera_name = section.camera
        self.control_hz = control_hz
        self._control, self._clock, self._dt = station.control, station.clock, 1.0 / control_hz
        self.frames: dict[str, np.ndarray] = {}
        self._began = 0.0  # the episode [s on the station's clock]
        self._due = 0.0  # when the next command should come
        self._late = 0  # commands in a row that came later

    # -- the cell's verbs --------------------------------------------------------------------------------------------
    def reset(self, start: dict[str, Any], rng: np.random.Generator) -> None:
        """Push the T to `start["block"]` if it is not there, and bring the tip to `start["tip"]`. What did not succeed, `read`
        shows. Raises Stopped, CellFault."""
        self.frames = {}
        self.arm.avoid()
        self.camera.locate_mat()
        block = self._look("found")
        if not near(block, start["block"], _TOLERANCE):
            push_to(self, start["block"], _TOLERANCE)
            self.arm.avoid()
            block = self._look("pushed")
        if not near(block, start["block"], 1.0):
            return  # `ready` will say so; the environment tries again
        self.arm.hover(free_place(self, start["tip"]))
        self.arm.lower()
        self.restart_pace()
        self._began = self._due

    def restart_pace(self) -> None:
        """Commands are due from now on."""
        self._due, self._late = self._clock.now(), 0

    def drive(self, command: np.ndarray) -> None:
        """Move the tip's target with a velocity (2,) [m/s] for one control period. Raises Stopped, CellFault."""
        self._control.check()
        if self.arm.servo is None:
            raise CellFault("the arm is not over the mat: it was moved away in the middle of an episode")
        now = self._clock.now()
        self._late = self._late + 1 if now > self._due + 0.5 * self._dt else 0
        if self._late:
            self._due = now  # it held the last command meanwhile; its own period starts now
        self.arm.steer(np.array(self.arm.tip_target()) + command * self._dt)
        self._due += self._dt
        self._clock.sleep(self._due - self._clock.now())
        self._control.check()

    def read(self) -> RealPushTReadings:
        """The tip by the joints, the T by the newest image. Raises Stopped, CellFault before the T was seen."""
        self._control.check()
        valid = self.camera.glance()
        if self.camera.block is None:
            raise CellFault("the T has not been seen yet: is it on the mat, red side up?")
        now = self._clock.now()
        return RealPushTReadings(
            time=now - self._began, tip=self.arm.tip(), tip_target=self.arm.tip_target(), block=self.camera.block,
            force=float(np.hypot(*self.arm.wrench[:2])), age=now - self.camera.seen_at, valid=valid, late=self._late,
        )  # fmt: skip

    def view(self, camera: str) -> np.ndarray | None:
        """For `top` the mat from straight above, as the simulated camera shows it; other cameras as they are."""
        return self.camera.top_view() if camera == "top" else None

    def camera_pose(self, camera: str) -> Pose | None:
        """Pose of a camera's optical frame in the arena's, as the last reset measured it; None for cameras that do not look at the
        mat."""
        return self.camera.pose if camera == self.camera.name else None

    @property
    def probes(self) -> Mapping[str, Callable[[], None]]:
        """`clear_view`: the arm out of the image, and a fresh look."""
        return {"clear_view": self._clear_view}

    def _clear_view(self) -> None:
        self.arm.avoid()
        self._look("verdict", afresh=True)

    def _look(self, what: str, *, afresh: bool = False) -> tuple[float, float, float]:
        """A fresh look at the T, whose image is kept. Raises CellFault, CameraLost."""
        try:
            return self.camera.look_afresh() if afresh else self.camera.look()
        finally:
            self.frames[what] = self.camera.small()

    def home(self) -> None:
        """All arms to their home pose. Raises Stopped."""
        self.arm.home()

    def avoid(self) -> None:
        """All arms out of the camera's view. Raises Stopped."""
        self.arm.avoid()

    def resume(self) -> None:
        """The arm back over the mat, lifted. Raises Stopped, CellFault."""
        self.arm.resume()

    # -- for checks at bring-up --------------------------------------------------------------------------------------
    def is_free(self, point: tuple[float, float]) -> bool:
        """Whether the T is not seen at `point`. Looks; the arm must be out of the way. Raises CellFault."""
        self.camera.locate_mat()
        return clearance(point, self.camera.look()) > self.arena.tip_radius + TIP_ROOM
