"""A station, assembled from its file: arms, cameras, monitor and control loop on one clock."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from enpire_real.arm import YamDriver
from enpire_real.bus import BusLock, open_bus
from enpire_real.cameras import Camera, Lens, LeRobotCamera, OpenCVCamera, mount_pose
from enpire_real.clock import Clock, WallClock
from enpire_real.collision import Body, CollisionModel
from enpire_real.control import Arm, Control, Stopped
from enpire_real.damiao import SCALES, Scale
from enpire_real.kinematics import ArmModel, Pose
from enpire_real.motion import JointMove
from enpire_real.motors import Motor, MotorBus
from enpire_real.person_stop import (
    PRESSED,
    PersonStops,
    Record,
    Registration,
    emergency_file,
    folder_of,
    own_folder,
    write_record,
)
from enpire_real.safety import Limits, Monitor, Watch
from enpire_real.station_file import EmergencyStop, StationFile, YamArm
from enpire_real.tasks import find_tool
from enpire_real.yam import GRIPPER, HOME, JOINTS, REST

if TYPE_CHECKING:
    from enpire_real.twin.station import Twin

PARK_SPEED, PARK_ACCELERATION = 1.2, 6.0  # [rad/s], [rad/s^2]


@dataclass(slots=True)
class Station:
    """Everything that a station file describes, running after `start`.

    `twin` is there for tests and drills on a simulated station; nothing in this package's upper floors reads it.
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
        self.control.heed()
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
        """What whoever wants to stop it has to know."""
        emergency = self.file.safety.emergency_stop
        return Record(
            self.file.name, str(self.stops.folder.absolute()), os.getpid(), str(self.run) if self.run else None,
            str(emergency.path) if emergency.type == "file" else None,
        )  # fmt: skip

    def lens(self, camera: str) -> Lens:
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
            self.control.heed()
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


def build_station(file: StationFile, *, twin_args: dict[str, Any] | None = None) -> Station:
    """Assemble a station; nothing is opened and nothing moves yet."""
    twin: Twin | None = None
    clock: Clock = WallClock()
    closers: list[Callable[[], None]] = []
    channels = {name: arm.bus.channel for name, arm in file.arms.items() if isinstance(arm, YamArm)}
    if file.twin is not None and file.twin.link is None:
        from enpire_real.twin.station import make_twin

        # Stations of one process must not meet on the same in-process bus.
        channels = {n: f"{c}-{os.getpid()}-{next(_serial)}" for n, c in channels.items()}
        twin, clock, closers = make_twin(file, channels, **(twin_args or {}))

    arms: dict[str, Arm] = {}
    locks: list[BusLock] = []
    for name, config in file.arms.items():
        if isinstance(config, YamArm):
            arms[name] = _yam(name, config, channels[name], clock)
            if twin is None or config.bus.interface != "virtual":
                locks.append(BusLock(config.bus.interface, channels[name]))
        else:
            from enpire_real.lerobot_arm import LeRobotDriver

            arms[name] = LeRobotDriver(name, config)
    cameras = _cameras(file, clock, twin)
    stops = PersonStops(stops_folder(file))
    if file.twin is not None and file.twin.link is None:
        closers.append(partial(shutil.rmtree, stops.folder, ignore_errors=True))
    monitor = _monitor(file, arms, cameras, twin, stops)
    control = Control(arms, monitor, clock, file.rate_hz)
    return Station(file, clock, control, cameras, stops, twin, locks, closers)


def stops_folder(file: StationFile) -> Path:
    """Where the stops of these arms are kept: the same folder for every program that moves them."""
    if file.twin is not None and file.twin.link is None:
        return own_folder()  # a twin in this process is nobody else's
    buses = [
        f"{arm.bus.interface}:{arm.bus.channel}" if isinstance(arm, YamArm) else json.dumps(arm.robot, sort_keys=True)
        for arm in file.arms.values()
    ]
    return folder_of(file.name, buses)


def _yam(name: str, config: YamArm, channel: str, clock: Clock) -> YamDriver:
    motors = []
    for joint in (*JOINTS, GRIPPER):
        own = config.scales.get(joint.name)  # type: ignore[call-overload]
        scale = Scale(own.p_max_rad, own.v_max_rad_s, own.t_max_nm) if own else SCALES[joint.motor]
        motors.append(Motor(joint.name, joint.motor_id, joint.reply_id, scale, config.watchdog_ms / 1000))
    bus = MotorBus(partial(open_bus, config.bus.interface, channel), motors, clock)
    tool = find_tool(config.tool)
    return YamDriver(
        name, bus, ArmModel.yam(tool, wrist_camera=True),
        kp=config.kp_nm_per_rad, kd=config.kd_nm_s_per_rad, friction=config.friction_nm,
        gravity_factor=config.gravity_factor, gripper_torque=config.gripper_torque_nm, clamps=tool.clamped,
    )  # fmt: skip


def _cameras(file: StationFile, clock: Clock, twin: Twin | None) -> dict[str, Camera]:
    cameras: dict[str, Camera] = {}
    for k, (name, config) in enumerate(file.cameras.items()):
        if config.type == "opencv":
            cameras[name] = OpenCVCamera(name, config, clock)
        elif config.type == "lerobot":
            cameras[name] = LeRobotCamera(name, config, clock)
        elif twin is None:
            from enpire_real.twin.cameras import LinkedCamera

            assert file.twin is not None
            assert file.twin.link is not None
            cameras[name] = LinkedCamera(name, file.twin.link)
        else:
            from enpire_real.twin.cameras import TwinCamera

            assert file.twin is not None
            cameras[name] = TwinCamera(
                name,
                config,
                clock,
                twin,
                noise=file.twin.noise,
                latency=file.twin.latency_ms / 1000,
                seed=file.twin.seed + k,
            )
    return cameras


def _monitor(
    file: StationFile, arms: dict[str, Arm], cameras: dict[str, Camera], twin: Twin | None, stops: PersonStops
) -> Monitor:
    safety = file.safety

    def each(values: list[float]) -> np.ndarray:
        return np.concatenate([values[: arm.dof] for arm in arms.values()])

    limits = Limits(
        lower=np.concatenate([arm.model.lower for arm in arms.values()]),
        upper=np.concatenate([arm.model.upper for arm in arms.values()]),
        velocity=each(safety.velocity_rad_s), acceleration=each(safety.acceleration_rad_s2),
        torque=each(safety.torque_nm), tracking=each(safety.tracking_rad),
        temperature_c=safety.temperature_c, feedback_age_s=safety.feedback_age_ms / 1000,
    )  # fmt: skip
    shapes = {
        name: Body((arm.base_m[0], arm.base_m[1], arm.base_m[2]), find_tool(arm.tool))
        if isinstance(arm, YamArm)
        else Body((arm.base_m[0], arm.base_m[1], arm.base_m[2]), mjcf=arm.mjcf)
        for name, arm in file.arms.items()
    }
    collision = CollisionModel(
        shapes,
        arm_margin=safety.arm_margin_m, table_margin=safety.table_margin_m, tool_table_margin=safety.tool_table_margin_m,
    )  # fmt: skip
    emergency = _emergency(safety.emergency_stop, twin)

    def button(now: float) -> str | None:
        complaint = emergency(now)
        if complaint == PRESSED:  # one that cannot be looked at stops as long as that lasts, but is nobody's word
            stops.latch("the emergency stop", "it was pressed")
        return complaint

    watches: dict[str, Watch] = {"emergency_stop": button, "stopped_by_person": stops.watch}
    for name, config in file.cameras.items():
        if config.required:
            watches[f"camera_{name}"] = partial(_stale, cameras[name], safety.camera_age_ms / 1000)
    ends = np.cumsum([arm.dof for arm in arms.values()])[:-1]

    def dynamics(q: np.ndarray, dq: np.ndarray, ddq: np.ndarray) -> np.ndarray:
        parts = zip(arms.values(), *(np.split(values, ends) for values in (q, dq, ddq)), strict=True)
        return np.concatenate([arm.needed_torque(*values) for arm, *values in parts])

    return Monitor(
        limits,
        np.concatenate([arm.kp for arm in arms.values()]),
        np.concatenate([arm.kd for arm in arms.values()]),
        1.0 / file.rate_hz,
        collision,
        {name: (np.array(safety.workspace[name].low_m), np.array(safety.workspace[name].high_m)) for name in arms},
        watches,
        dynamics,
    )


def _stale(camera: Camera, most: float, now: float) -> str | None:
    age = now - camera.stamp()
    return None if age <= most else f"camera {camera.name} has sent nothing for {age * 1000:.0f} ms"


def _emergency(config: EmergencyStop, twin: Twin | None) -> Watch:
    if config.type == "twin":
        assert twin is not None
        faults = twin.faults
        return lambda now: PRESSED if faults.emergency_stop else None
    if config.type == "file":
        path = Path(str(config.path))
        return lambda now: emergency_file(path)
    return lambda now: None


_serial = iter(range(1_000_000_000))
