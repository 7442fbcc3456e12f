"""One arm as the control loop sees it: joint commands in, joint readings out, gravity carried, gripper torque-limited."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from enpire_real.damiao import Feedback, Mit
from enpire_real.kinematics import ArmModel
from enpire_real.motors import MotorBus
from enpire_real.yam import DOF, GRIPPER, GRIPPER_TRAVEL

_TRIM_S = 0.5
_GRIP_KD = 0.1  # [Nm s/rad]; with the maker's 0.5 the allowed torque would all go into damping at 1 rad/s
_GRIP_NEAR = 0.15  # [rad]


@dataclass(frozen=True, slots=True)
class ArmReading:
    """Joints (6,), gripper 0 (closed) to 1 (open), hottest motor."""

    q: np.ndarray
    dq: np.ndarray
    tau: np.ndarray
    gripper: float
    gripper_torque: float
    temperature_c: float


class Trim:
    """A slow integral of each joint's error, within narrow bounds: what the model leaves over of gravity and friction."""

    def __init__(self, kp: np.ndarray) -> None:
        self._rate, self._most = kp / _TRIM_S, 0.018 * kp
        self._torque = np.zeros_like(kp)

    def step(self, error: np.ndarray, dt: float) -> np.ndarray:
        """Torques (n,) for commanded minus measured angles (n,) over `dt` seconds."""
        # Below the motors' own friction there is nothing to gain but a slow hunt.
        felt = np.sign(error) * np.maximum(np.abs(error) - 0.0003, 0.0)
        felt[~np.isfinite(felt)] = 0.0  # of a command that the monitor is about to refuse
        self._torque = np.clip(self._torque + self._rate * felt * dt, -self._most, self._most)
        return self._torque

    def clear(self) -> None:
        self._torque = np.zeros_like(self._torque)


class GripperLimit:
    """Keeps a gripper's force at a limit, whatever is between the fingers.

    Far from where it should be it runs at a speed, and what damping makes of that when it is blocked is the limit; close by it
    holds a position that is never farther away than the limit is worth.
    """

    def __init__(self, torque: float) -> None:
        self._torque = torque

    def command(self, opening: float, now: float) -> Mit:
        """`opening` wanted and `now`, 0 to 1."""
        gap = (min(max(opening, 0.0), 1.0) - now) * GRIPPER_TRAVEL
        if abs(gap) > _GRIP_NEAR:
            return Mit(0.0, math.copysign(self._torque / _GRIP_KD, gap), 0.0, _GRIP_KD, 0.0)
        reach = self._torque / GRIPPER.kp
        here = now * GRIPPER_TRAVEL
        return Mit(here + min(max(gap, -reach), reach), 0.0, GRIPPER.kp, _GRIP_KD, 0.0)


class Gripper:
    """Where an arm's gripper is told to be, 0 closed to 1 open. Raises ValueError for what is no number: a NaN on the bus is a fault."""

    _opening = 0.0

    @property
    def opening(self) -> float:
        return self._opening

    @opening.setter
    def opening(self, wanted: float) -> None:
        if not math.isfinite(wanted):
            raise ValueError(f"a gripper's opening must be a number from 0 to 1, got {wanted}; nothing was moved")
        self._opening = min(max(float(wanted), 0.0), 1.0)


class YamDriver(Gripper):
    """A YAM arm on a motor bus.

    Args:
        bus: its seven motors, joints first.
        model: kinematics and dynamics.
        kp, kd: (6,) gains of the motors' own loops [Nm/rad], [Nm s/rad].
        friction: (6,) Coulomb friction fed forward in the direction of motion [Nm].
        gravity_factor: (6,) corrects the model's gravity torques for an arm that is heavier than its drawings.
        gripper_torque: limit of the gripper's motor [Nm]; 68 N at the fingers per Nm.
        clamps: the fingers clamp a tool and stay closed; else they begin where they are.
    """

    def __init__(
        self,
        name: str,
        bus: MotorBus,
        model: ArmModel,
        *,
        kp: Sequence[float],
        kd: Sequence[float],
        friction: Sequence[float],
        gravity_factor: Sequence[float],
        gripper_torque: float,
        clamps: bool,
    ) -> None:
        self.name, self.bus, self.model, self.dof = name, bus, model, DOF
        self.kp, self.kd = np.array(kp, dtype=np.float64), np.array(kd, dtype=np.float64)
        self._friction, self._factor = np.array(friction), np.array(gravity_factor)
        self._grip = GripperLimit(gripper_torque)
        self._trim = Trim(self.kp)
        self._clamps = clamps
        self._turns = np.zeros(DOF)  # whole turns between an encoder's zero and the joint's
        self.opening = 0.0
        self.reading: ArmReading | None = None

    def connect(self) -> ArmReading:
        """Check the motors and read the joints. Nothing moves. Raises as `MotorBus.connect`."""
        told = self.bus.connect()
        # An encoder that woke up a turn away reads beyond +-pi, where no joint of this arm can be.
        raw = np.array([f.q for f in told[:DOF]])
        self._turns = np.round(raw / (2 * math.pi)) * 2 * math.pi * (np.abs(raw) > 1.2 * math.pi)
        reading = self._read(told)
        self.opening = 0.0 if self._clamps else min(max(reading.gripper, 0.0), 1.0)
        return reading

    def look(self) -> ArmReading:
        """Read the joints without commanding them. Raises MotorFault, BusDown."""
        return self._read(self.bus.refresh())

    def enable(self) -> None:
        """Switch on, holding the present pose at once."""
        self.bus.enable()
        self._trim.clear()
        assert self.reading is not None, "connect() comes first"
        self.command(self.reading.q, np.zeros(DOF), self.hold_torque(self.reading.q))

    def feed_forward(self, q: np.ndarray, dq: np.ndarray, ddq: np.ndarray, dt: float) -> np.ndarray:
        """Torques (6,) for a planned motion: gravity and inertia at `q`, friction, and what experience adds."""
        assert self.reading is not None, "connect() comes first"
        trim = (
            self._trim.step(q - self.reading.q, dt) if np.abs(dq).max() < 0.2 else self._trim.step(np.zeros_like(q), dt)
        )
        return self.needed_torque(q, dq, ddq) + trim

    def needed_torque(self, q: np.ndarray, dq: np.ndarray, ddq: np.ndarray) -> np.ndarray:
        """Torques (6,) for a planned motion by the model alone: gravity, inertia, friction."""
        gravity = self.model.torque(q)
        inertia = self.model.torque(q, dq, ddq) - gravity
        return self._factor * gravity + inertia + self._friction * np.tanh(dq / 0.02)

    def hold_torque(self, q: np.ndarray) -> np.ndarray:
        return self._factor * self.model.torque(q)

    def command(self, q: np.ndarray, dq: np.ndarray, tau: np.ndarray) -> ArmReading:
        """One cycle: command all joints and the gripper, read all. Raises MotorFault, BusDown."""
        wire = (q + self._turns).tolist()
        cycle = [
            Mit(*values)
            for values in zip(wire, dq.tolist(), self.kp.tolist(), self.kd.tolist(), tau.tolist(), strict=True)
        ]
        at = self.reading.gripper if self.reading is not None else self.opening
        return self._read(self.bus.exchange([*cycle, self._grip.command(self.opening, at)]))

    def recover(self) -> None:
        """After a fault: open the bus anew, check the motors, switch on. Raises MotorFault, BusDown while it is there."""
        self.bus.recover()
        self.connect()
        self.enable()

    def disable(self) -> None:
        """Switch the motors off, as far as they can be reached."""
        self.bus.disable()

    def damp(self, most: np.ndarray) -> None:
        """Give way slowly: no position held, gravity carried, motion damped, with torques (6,) of at most `most`."""
        assert self.reading is not None, "connect() comes first"
        damping = -self.kd * self.reading.dq
        carried = np.clip(self.hold_torque(self.reading.q) + damping, -most, most) - damping
        cycle = [Mit(0.0, 0.0, 0.0, kd, t) for kd, t in zip(self.kd.tolist(), carried.tolist(), strict=True)]
        self._read(self.bus.exchange([*cycle, Mit(0.0, 0.0, 0.0, GRIPPER.kd, 0.0)]))

    def close(self) -> None:
        self.bus.close()

    def _read(self, told: list[Feedback]) -> ArmReading:
        joints = np.array([(f.q, f.dq, f.tau) for f in told[:DOF]]).T
        grip = told[DOF]
        self.reading = ArmReading(
            joints[0] - self._turns, joints[1], joints[2], grip.q / GRIPPER_TRAVEL, grip.tau,
            float(max(max(f.mos_c, f.rotor_c) for f in told)),
        )  # fmt: skip
        return self.reading
