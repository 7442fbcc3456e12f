"""Assembles a station from its file: clock, arms, cameras, person's stops, monitor, loop. Nothing is opened and nothing moves yet."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from enpire_real.arm import Arm, YamDriver
from enpire_real.bus import BusLock, open_bus
from enpire_real.cameras import Camera, LeRobotCamera, OpenCVCamera
from enpire_real.clock import Clock, WallClock
from enpire_real.collision import Body, CollisionModel
from enpire_real.control import Control
from enpire_real.damiao import SCALES, Scale
from enpire_real.kinematics import ArmModel
from enpire_real.motors import Motor, MotorBus
from enpire_real.person_stop import PRESSED, PersonStops, emergency_file, private_folder, shared_folder
from enpire_real.safety import Limits, Monitor, Watch
from enpire_real.station import Station
from enpire_real.station_file import EmergencyStop, StationFile, YamArm
from enpire_real.tasks import find_tool
from enpire_real.yam import GRIPPER, JOINTS

if TYPE_CHECKING:
    from enpire_real.twin.station import Twin

_serial = itertools.count()


def build_station(file: StationFile, *, twin_args: dict[str, Any] | None = None) -> Station:
    """Assemble a station; nothing is opened and nothing moves yet. Raises StationError.

    `twin_args`: further arguments of the `Twin`, where the station is one in this process.
    """
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
        return private_folder()  # a twin in this process is of no other process
    buses = [
        f"{arm.bus.interface}:{arm.bus.channel}" if isinstance(arm, YamArm) else json.dumps(arm.robot, sort_keys=True)
        for arm in file.arms.values()
    ]
    return shared_folder(file.name, buses)


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
        gravity_factor=config.gravity_factor, gripper_torque=config.gripper_torque_nm, clamped=tool.clamped,
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
        if (
            complaint == PRESSED
        ):  # one that cannot be looked at stops as long as that lasts, but no person has stopped the arms
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
