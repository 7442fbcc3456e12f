"""One arm as the control loop sees it: joint commands in, joint readings out, gravity carried, gripper torque-limited."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from enpire_real.damiao import Feedback, Mit
from enpire_real.kinematics import ArmModel
from enpire_real.motors import MotorBus
from enpire_real.yam import DOF, GRIPPER, GRIPPER_TRAVEL

_INTEGRAL_S = 0.5
_GRIP_KD = 0.1  # [Nm s/rad]; with the maker's 0.5 the allowed torque would all go into damping at 1 rad/s
_GRIP_NEAR = 0.15  # [rad]


@dataclass(frozen=True, slots=True)
class ArmReading:
    """What an arm's motors measured last.

    Attributes:
        q, dq, tau: (dof,) positions [rad], velocities [rad/s], torques [Nm].
        gripper: 0 closed to 1 open.
        gripper_torque: of the gripper's motor [Nm].
        temperature_c: of the hottest motor.
    """

    q: np.ndarray
    dq: np.ndarray
    tau: np.ndarray
    gripper: float
    gripper_torque: float
    temperature_c: float


class Arm(Protocol):
    """What the control loop drives: a YAM on its bus, or another maker's arm behind LeRobot.

    All of its calls come from the loop's thread, or while that one waits. Joint vectors are (dof,), base to tip.

    Attributes:
        dof: number of joints, without the gripper.
        model: kinematics and dynamics.
        kp, kd: (dof,) gains of the motors' own loops [Nm/rad], [Nm s/rad]; zero where they are unknown.
        opening: what the gripper is commanded to, 0 closed to 1 open. Raises ValueError for what is no number.
        reading: the last one; None before `connect`.
    """

    dof: int
    model: ArmModel
    kp: np.ndarray
    kd: np.ndarray
    opening: float
    reading: ArmReading | None

    def connect(self) -> ArmReading:
        """Open the line, check what answers, read the joints. Nothing moves. Raises MotorFault, BusDown, ScaleMismatch."""

    def read_joints(self) -> ArmReading:
        """Read the joints without commanding them. Raises MotorFault, BusDown."""

    def enable(self) -> None:
        """Switch the motors on, holding the measured pose. Raises MotorFault, BusDown."""

    def feed_forward(self, q: np.ndarray, dq: np.ndarray, ddq: np.ndarray, dt: float) -> np.ndarray:
        """Torques (dof,) [Nm] to send with a command: `needed_torque`, and what `dt` seconds of experience add.

        Args:
            q, dq, ddq: (dof,) the planned motion [rad], [rad/s], [rad/s^2].
        """

    def needed_torque(self, q: np.ndarray, dq: np.ndarray, ddq: np.ndarray) -> np.ndarray:
        """Torques (dof,) [Nm] that a motion takes by the model; zero where the arm has none. Changes nothing."""

    def command(self, q: np.ndarray, dq: np.ndarray, tau: np.ndarray) -> ArmReading:
        """Command all joints and the gripper once, and read them. Raises MotorFault, BusDown.

        Args:
            q, dq, tau: (dof,) positions [rad], velocities [rad/s], feed-forward torques [Nm].
        """

    def damp(self, max_torque: np.ndarray) -> None:
        """Give way slowly: hold no position, carry gravity, damp motion. Raises MotorFault, BusDown.

        Args:
            max_torque: (dof,) that no joint exceeds [Nm].
        """

    def recover(self) -> None:
        """After a fault: open the line anew, check, switch on. Raises MotorFault, BusDown while the fault is there."""

    def disable(self) -> None:
        """Switch the motors off, as far as they can be reached; an arm that is not held up falls."""

    def close(self) -> None:
        """Let go of the line. Safe to call twice."""


class ErrorIntegral:
    """A slow integral of each joint's error, within narrow bounds: what the model leaves over of gravity and friction."""

    def __init__(self, kp: np.ndarray) -> None:
        self._rate, self._most = kp / _INTEGRAL_S, 0.018 * kp
        self._torque = np.zeros_like(kp)

    def step(self, error: np.ndarray, dt: float) -> np.ndarray:
        """Torques (n,) for commanded minus measured angles (n,) over `dt` seconds."""
        # Below the motors' own friction there is nothing to gain but a slow hunt.
        felt = np.sign(error) * np.maximum(np.abs(error) - 0.0003, 0.0)
        felt[~np.isfinite(felt)] = 0.0  # of a command that the monitor is about to refuse
        self._torque = np.clip(self._torque + self._rate * felt * dt, -self._most, self._most)
        return self._torque

    def clear(self) -> None:
        """Begin again from zero."""
        self._torque = np.zeros_like(self._torque)


class GripperLimit:
    """Keeps a gripper's force at a limit, whatever is between the fingers. `torque`: of its motor [Nm].

    Far from where it should be it runs at a speed, and what damping makes of that when it is blocked is the limit; close by it
    holds a position that is never farther away than the limit is worth.
    """

    def __init__(self, torque: float) -> None:
        self._torque = torque

    def command(self, opening: float, now: float) -> Mit:
        """The gripper motor's command for the `opening` wanted and the one that is `now`, 0 to 1."""
        gap = (min(max(opening, 0.0), 1.0) - now) * GRIPPER_TRAVEL
        if abs(gap) > _GRIP_NEAR:
            return Mit(0.0, math.copysign(self._torque / _GRIP_KD, gap), 0.0, _GRIP_KD, 0.0)
        reach = self._torque / GRIPPER.kp
        here = now * GRIPPER_TRAVEL
        return Mit(here + min(max(gap, -reach), reach), 0.0, GRIPPER.kp, _GRIP_KD, 0.0)


class Gripper:
    """The commanded opening of a gripper, 0 closed to 1 open. Raises ValueError for what is no number: a NaN on the bus is a fault."""

    _opening = 0.0

    @property
    def opening(self) -> float:
        """Commanded, 0 closed to 1 open; values beyond are clipped."""
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
        clamped: the fingers clamp a tool and stay closed; else they begin where they are.
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
        clamped: bool,
    ) -> None:
        self.name, self.bus, self.model, self.dof = name, bus, model, DOF
        self.kp, self.kd = np.array(kp, dtype=np.float64), np.array(kd, dtype=np.float64)
        self._friction, self._factor = np.array(friction), np.array(gravity_factor)
        self._grip = GripperLimit(gripper_torque)
        self._integral = ErrorIntegral(self.kp)
        self._clamped = clamped
        self._turns = np.zeros(DOF)  # whole turns between an encoder's zero and the joint's
        self.opening = 0.0
        self.reading: ArmReading | None = None

    def connect(self) -> ArmReading:
        """Check the motors and read the joints. Nothing moves. Raises as `MotorBus.connect`."""
        feedback = self.bus.connect()
        # An encoder that woke up a turn away reads beyond +-pi, where no joint of this arm can be.
        raw = np.array([f.q for f in feedback[:DOF]])
        self._turns = np.round(raw / (2 * math.pi)) * 2 * math.pi * (np.abs(raw) > 1.2 * math.pi)
        reading = self._read(feedback)
        self.opening = 0.0 if self._clamped else min(max(reading.gripper, 0.0), 1.0)
        return reading

    def read_joints(self) -> ArmReading:
        """Read the joints without commanding them. Raises MotorFault, BusDown."""
        return self._read(self.bus.refresh())

    def enable(self) -> None:
        """Switch on, holding the present pose at once."""
        self.bus.enable()
        self._integral.clear()
        assert self.reading is not None, "connect() comes first"
        self.command(self.reading.q, np.zeros(DOF), self.hold_torque(self.reading.q))

    def feed_forward(self, q: np.ndarray, dq: np.ndarray, ddq: np.ndarray, dt: float) -> np.ndarray:
        """Torques (6,) for a planned motion: gravity and inertia at `q`, friction, and what experience adds."""
        assert self.reading is not None, "connect() comes first"
        integral = (
            self._integral.step(q - self.reading.q, dt)
            if np.abs(dq).max() < 0.2
            else self._integral.step(np.zeros_like(q), dt)
        )
        return self.needed_torque(q, dq, ddq) + integral

    def needed_torque(self, q: np.ndarray, dq: np.ndarray, ddq: np.ndarray) -> np.ndarray:
        """Torques (6,) for a planned motion by the model alone: gravity, inertia, friction."""
        gravity = self.model.torque(q)
        inertia = self.model.torque(q, dq, ddq) - gravity
        return self._factor * gravity + inertia + self._friction * np.tanh(dq / 0.02)

    def hold_torque(self, q: np.ndarray) -> np.ndarray:
        """Torques (6,) [Nm] that carry the arm's weight at `q` (6,) [rad]."""
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

    def damp(self, max_torque: np.ndarray) -> None:
        """Give way slowly: no position held, gravity carried, motion damped, with torques (6,) [Nm] of at most `max_torque`."""
        assert self.reading is not None, "connect() comes first"
        damping = -self.kd * self.reading.dq
        carried = np.clip(self.hold_torque(self.reading.q) + damping, -max_torque, max_torque) - damping
        cycle = [Mit(0.0, 0.0, 0.0, kd, t) for kd, t in zip(self.kd.tolist(), carried.tolist(), strict=True)]
        self._read(self.bus.exchange([*cycle, Mit(0.0, 0.0, 0.0, GRIPPER.kd, 0.0)]))

    def close(self) -> None:
        """Let go of the bus; the motors' watchdogs end what they do. Safe to call twice."""
        self.bus.close()

    def _read(self, feedback: list[Feedback]) -> ArmReading:
        joints = np.array([(f.q, f.dq, f.tau) for f in feedback[:DOF]]).T
        grip = feedback[DOF]
        self.reading = ArmReading(
            joints[0] - self._turns, joints[1], joints[2], grip.q / GRIPPER_TRAVEL, grip.tau,
            float(max(max(f.mos_c, f.rotor_c) for f in feedback)),
        )  # fmt: skip
        return self.reading
