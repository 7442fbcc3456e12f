"""A running station: arms, cameras, monitor and control loop on one clock. `enpire_real.build` makes one of its file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from enpire_real.bus import BusLock
from enpire_real.cameras import Camera, Lens, mount_pose
from enpire_real.clock import Clock
from enpire_real.control import Control, Stopped
from enpire_real.kinematics import Pose
from enpire_real.motion import JointMove
from enpire_real.person_stop import (
    PersonStops,
    Record,
    Registration,
    write_record,
)
from enpire_real.station_file import StationFile, YamArm
from enpire_real.yam import HOME, REST

if TYPE_CHECKING:
    from enpire_real.twin.station import Twin

PARK_SPEED, PARK_ACCELERATION = 1.2, 6.0  # [rad/s], [rad/s^2]


@dataclass(slots=True)
class Station:
    """Everything that a station file describes, running after `start`.

    `twin` is there for tests and drills on a simulated station; no control, perception or environment code reads it.
    """

    file: StationFile
    clock: Clock
    control: Control
    cameras: dict[str, Camera]
    stops: PersonStops  # by people
    twin: Twin | None = None
    locks: list[BusLock] = field(default_factory=list)
    closers: list[Callable[[], None]] = field(default_factory=list)
    run: Path | None = None  # the run that it serves
    _registered: Registration | None = None

    @property
    def kind(self) -> str:
        """ "twin" or "real"."""
        return "twin" if self.file.kind == "twin" else "real"

    def start(self) -> None:
        """Take the buses, start cameras and arms; the arms hold where they are.

        Raises BusTaken, BusDown, MotorFault, ScaleMismatch, CameraLost, and Stopped while a person's stop holds; everything is
        released again then.
        """
        self.stops.make_folder()
        self.control.check_person_stops()
        if (stop := self.control.monitor.stop) is not None and self.stops.watch() is not None:
            raise Stopped(stop)  # nothing is open yet, and nothing is opened
        try:
            write_record(self.stops.folder, self.record())
            self._registered = Registration(self.record())
            for lock in self.locks:
                lock.acquire()
            for camera in self.cameras.values():
                camera.start()
            # A required camera must have delivered before the monitor asks for it.
            self.clock.sleep(0.2 if self.cameras else 0.0)
            if not self.clock.virtual:
                for camera in self.cameras.values():
                    camera.latest()  # one that delivers nothing, or draws its first picture slowly, does so before arms are on
                self.clock.sleep(0.2)
            self.control.start()
        except BaseException:
            self.close()
            raise

    def record(self) -> Record:
        """How to stop this station, for other processes."""
        emergency = self.file.safety.emergency_stop
        return Record(
            self.file.name, str(self.stops.folder.absolute()), os.getpid(), str(self.run) if self.run else None,
            str(emergency.path) if emergency.type == "file" else None,
        )  # fmt: skip

    def lens(self, camera: str) -> Lens:
        """A camera's intrinsics, by the station file."""
        return Lens.of(self.file.cameras[camera])

    def camera_pose(self, camera: str) -> Pose:
        """Pose of a camera's optical frame in the station's, now."""
        config = self.file.cameras[camera]
        pose = mount_pose(config)
        if config.mount == "station":
            return pose
        arm = self.control.arms[config.mount]
        base = Pose(np.array(self.file.arms[config.mount].base_m), np.eye(3))
        return base @ arm.model.flange(self.control.reading(config.mount).q) @ pose

    def park(self) -> None:
        """Fold all YAM arms down, so that they may be switched off (others stay: LeRobot knows no rest pose of theirs).

        Raises Stopped.
        """
        folding = [name for name, arm in self.file.arms.items() if isinstance(arm, YamArm)]
        for pose in (HOME, REST):
            for name in folding:
                self.control.move(name, JointMove([pose], PARK_SPEED, PARK_ACCELERATION))
            for name in folding:
                self.control.wait(name, 20.0)

    def close(self) -> None:
        """Park if the arms can move, stop and release everything. Safe to call twice.

        While a person's stop holds nothing moves: the arms stay where they are, for their motors' watchdogs to let down slowly.
        """
        by_person = False
        if self.control.running:
            self.control.check_person_stops()
            try:
                self.park()
            except Exception as error:  # an arm that cannot be parked sinks when it is switched off
                stop = self.control.monitor.stop
                by_person = stop is not None and stop.person
                why = "not folded, for a person stopped them" if by_person else "could not be parked"
                print(f"the arms were {why} ({error})", file=sys.stderr)
        self.control.close(as_they_are=by_person)
        for camera in self.cameras.values():
            camera.close()
        for close in self.closers:
            close()
        self.closers.clear()
        for lock in self.locks:
            lock.release()
        if self._registered is not None:
            self._registered.close()
            self._registered = None

    def __enter__(self) -> Station:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
