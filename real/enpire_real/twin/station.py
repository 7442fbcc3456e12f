"""The simulated station: two YAM arms, a table, cameras, what lies there; frames in, frames out, in step with a clock."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import can
import mujoco
import numpy as np

from enpire_real.bus import Frame, open_bus
from enpire_real.clock import Clock, VirtualClock, WallClock
from enpire_real.damiao import SCALES
from enpire_real.kinematics import Pose
from enpire_real.station_file import StationFile
from enpire_real.twin.motors import SimMotors
from enpire_real.yam import DOF, FINGER_RANGE, GRIPPER, GRIPPER_TRAVEL, JOINTS

TIMESTEP = 0.002
SIDES = ("left", "right")


@dataclass(frozen=True, slots=True)
class Variation:
    """How far a twin deviates from its drawings, drawn once from its seed (standard deviations unless stated otherwise)."""

    friction: float = 0.15  # of joints and table, relative, uniform +-
    torque_gain: float = 0.02  # relative
    backlash: float = 0.0004  # rad, uniform from zero
    camera_pos: float = 0.004  # m
    camera_turn: float = math.radians(0.8)  # rad
    light: float = 0.15  # relative, uniform +-

    @classmethod
    def none(cls) -> Variation:
        """A twin exactly as drawn."""
        return cls(0, 0, 0, 0, 0, 0)


@dataclass(slots=True)
class TwinFaults:
    """Faults that are not a motor's. `twin.motors[side].faults` has those."""

    frozen_cameras: set[str] = field(default_factory=set)  # deliver nothing any more
    stuck_cameras: set[str] = field(default_factory=set)  # deliver their last picture, again and again, as a new one
    lost_frames: float = 0.0  # share of all cameras' frames that never arrive
    knocked_cameras: dict[str, Pose] = field(
        default_factory=dict
    )  # where they are now, in their optical frames of before
    slipping: set[str] = field(default_factory=set)  # arms whose finger pads have lost their grip
    emergency_stop: bool = False
    hand_in_view: bool = False
    hand_at: tuple[float, float, float] = (0.36, 0.20, 0.06)  # in the station's frame [m]
    overlay: Callable[[str, np.ndarray], np.ndarray] | None = None  # what lies over a camera's frames, by its name

    def clear(self) -> None:
        """All is well again; whoever has hold of this object sees that."""
        for one in fields(self):
            setattr(self, one.name, getattr(TwinFaults(), one.name))


class Twin:
    """A station simulated down to its wires.

    Args:
        file: what it is a twin of: where arms, cameras and a task's things are, which hand holds what. Its `twin.seed` draws this
            station's deviations from that, and where the things lie at first.
        placement: how they lie at first, in the terms of the scene's `TwinProps`; None draws it.
    """

    def __init__(self, file: StationFile, *, placement: Any = None) -> None:
        from enpire_real.twin.props import LivelyProps, make_props
        from enpire_real.twin.scene import build

        config = file.twin
        assert config is not None, "a twin needs a station file of kind twin"
        self._rng = np.random.default_rng(config.seed)
        self.variation = Variation.none() if config.ideal else Variation()
        self.props = make_props(file)
        self._lively = self.props if isinstance(self.props, LivelyProps) else None
        self.model = build(file, self.props, self.variation, self._rng)
        self.data = mujoco.MjData(self.model)
        self.faults = TwinFaults()
        self.lock = threading.RLock()  # physics and frames may be on different threads in real time
        self.motors = {side: self._make_motors() for side in SIDES}
        self._buses: dict[str, can.BusABC] = {}
        joint = self.model.joint
        self._qpos = {s: np.array([joint(f"{s}_joint{k + 1}").qposadr[0] for k in range(7)]) for s in SIDES}
        self._qvel = {s: np.array([joint(f"{s}_joint{k + 1}").dofadr[0] for k in range(7)]) for s in SIDES}
        # Motor side of the gripper: rad of the motor per metre of one finger.
        self._ratio = np.array([1.0] * DOF + [GRIPPER_TRAVEL / FINGER_RANGE])
        self._time = 0.0  # of the clock, while data.time counts physics steps
        pads = {s: [self.model.geom(f"{s}_pad_tip_{side}").id for side in SIDES] for s in SIDES}
        self._pads = {s: (rows, self.model.geom_friction[rows].copy()) for s, rows in pads.items()}
        self.props.place(self.model, self.data, self._rng, placement)
        # Without power an arm lies where it sinks to from its zero pose.
        mujoco.mj_step(self.model, self.data, round(1.5 / TIMESTEP))
        self.data.time = 0.0
        for side in SIDES:
            self.motors[side].place(self.data.qpos[self._qpos[side]] * self._ratio)

    def _make_motors(self) -> SimMotors:
        v, rng, joints = self.variation, self._rng, (*JOINTS, GRIPPER)
        return SimMotors(
            [j.motor_id for j in joints], [j.reply_id for j in joints], [SCALES[j.motor] for j in joints],
            np.random.default_rng(rng.integers(2**62)),
            torque_gain=1 + v.torque_gain * rng.normal(size=7), backlash=v.backlash * rng.random(7),
        )  # fmt: skip

    # -- wires -------------------------------------------------------------------------------------------------------
    def attach(self, side: str, bus: can.BusABC) -> None:
        """Put an arm's motors on a bus (the far end of the driver's)."""
        self._buses[side] = bus

    def answer(self) -> None:
        """Answer every frame that has arrived."""
        for side, bus in self._buses.items():
            while (message := bus.recv(0)) is not None:
                self.reply(side, bus, message)

    def reply(self, side: str, bus: can.BusABC, message: can.Message) -> None:
        """Answer one frame on an arm's bus, if there is an answer."""
        if (reply := self.reply_to(side, message.arbitration_id, bytes(message.data))) is not None:
            bus.send(Frame(*reply))

    def reply_to(self, side: str, arbitration_id: int, data: bytes) -> tuple[int, bytes] | None:
        """What comes back for a frame, if anything."""
        with self.lock:
            return self.motors[side].answer(self._time, arbitration_id, data)

    # -- time --------------------------------------------------------------------------------------------------------
    def advance(self, to: float) -> None:
        """Let physics catch up with the clock."""
        with self.lock:
            self._time = to
            while (steps := int((to - self.data.time) / TIMESTEP + 1e-6)) > 0:
                # A watchdog that expires on the way changes the drives there and then.
                until = min(m.expires() for m in self.motors.values()) - self.data.time
                self._step(min(steps, max(1, math.ceil(until / TIMESTEP - 1e-6))) if until < np.inf else steps)

    def _step(self, steps: int) -> None:
        model, data = self.model, self.data
        for k, side in enumerate(SIDES):
            pads, friction = self._pads[side]
            model.geom_friction[pads] = friction * (0.03 if side in self.faults.slipping else 1.0)
            motors = self.motors[side]
            if motors.faults.power_off != self.faults.emergency_stop:
                motors.faults.power_off, motors.changed = self.faults.emergency_stop, True
            if motors.changed:
                rows, scale = slice(7 * k, 7 * k + 7), motors.torque_gain * self._ratio
                feed, kp, kd = motors.drives()
                data.ctrl[rows] = scale * feed
                model.actuator_biasprm[rows, 1] = -scale * kp * self._ratio
                model.actuator_biasprm[rows, 2] = -scale * kd * self._ratio
        if self._lively is not None:
            self._lively.tick(model, data)
        mujoco.mj_step(model, data, steps)
        for k, side in enumerate(SIDES):
            motors = self.motors[side]
            motors.tick(
                data.time, steps * TIMESTEP, data.qpos[self._qpos[side]] * self._ratio, data.qvel[self._qvel[side]] * self._ratio,
                data.actuator_force[7 * k : 7 * k + 7] / (motors.torque_gain * self._ratio),
            )  # fmt: skip

    # -- for audits only ---------------------------------------------------------------------------------------------
    def truth(self) -> dict[str, Any]:
        """What no sensor of a real station reports: `joints` [rad] and `speeds` [rad/s] of each arm, 7 each, and where the scene's things
        are."""
        with self.lock:
            return {
                "joints": {s: self.data.qpos[self._qpos[s]].copy() for s in SIDES},
                "speeds": {s: self.data.qvel[self._qvel[s]].copy() for s in SIDES},
                **self.props.truth(self.data),
            }


def make_twin(file: StationFile, channels: dict[str, str], **args: Any) -> tuple[Twin, Clock, list[Callable[[], None]]]:
    """A twin on in-process buses: with its clock, and what to call in the end."""
    twin = Twin(file, **args)
    buses = {side: open_bus("virtual", channel) for side, channel in channels.items()}
    for side, bus in buses.items():
        twin.attach(side, bus)
    shut = [bus.shutdown for bus in buses.values()]
    if file.twin is not None and file.twin.time == "real":
        from enpire_real.twin.real_time import RealTime

        real = RealTime(twin, buses)
        return twin, WallClock(), [real.close, *shut]
    clock = VirtualClock()
    clock.attach(twin)
    return twin, clock, list(shut)
