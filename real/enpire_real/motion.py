"""Where the joints should be next: motions that the control loop asks once per tick.

A motion is given the arm's commanded angles, never the measured ones: following one's own lag would creep.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from enpire_real.kinematics import ArmModel, Pose
from enpire_real.yam import DOF


class Unreachable(RuntimeError):
    """No joint angles bring the tool there."""


def require_finite(what: str, values: object) -> np.ndarray:
    """Raises ValueError for a NaN or an infinity: refused where it comes in, it does not stop the arms."""
    numbers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{what} must be finite, got {numbers}; nothing was moved")
    return numbers


class Motion(Protocol):
    """A motion of one arm."""

    @property
    def done(self) -> bool:
        """Whether the arm has arrived; `step` then keeps it where it is."""

    def step(self, q: np.ndarray, dt: float) -> np.ndarray:
        """Joint angles (6,) commanded after the next `dt` seconds, from the ones commanded now."""


class Hold:
    """Stay."""

    done = True

    def step(self, q: np.ndarray, dt: float) -> np.ndarray:
        """Where it is."""
        return q


class BrakeThen:
    """Come to rest along the path that was under way, then do what was asked for."""

    def __init__(self, velocity: np.ndarray, acceleration: np.ndarray, then: Motion) -> None:
        self._velocity, self._acceleration, self.then = np.array(velocity), acceleration, then

    @property
    def done(self) -> bool:
        """Whether the arm is at rest and the motion after that is done."""
        return self.then.done and not self._velocity.any()

    def step(self, q: np.ndarray, dt: float) -> np.ndarray:
        """As `Motion.step`."""
        if not self._velocity.any():
            return self.then.step(q, dt)
        slower = np.maximum(np.abs(self._velocity) - self._acceleration * dt, 0.0)
        self._velocity = np.sign(self._velocity) * slower
        return q + self._velocity * dt


class JointMove:
    """Through joint poses with a stop at each: quintic time law, all joints in step, speed and acceleration limited."""

    def __init__(self, poses: Sequence[np.ndarray], speed: float, acceleration: float) -> None:
        self._poses = [require_finite("joint angles", p) for p in poses]
        self._speed, self._acceleration = speed, acceleration
        self._from: np.ndarray | None = None
        self._duration = self._time = 0.0
        self.done = not self._poses

    def step(self, q: np.ndarray, dt: float) -> np.ndarray:
        """As `Motion.step`."""
        if not self._poses:
            return q
        goal = self._poses[0]
        if self._from is None:
            self._from, self._time = q.copy(), 0.0
            far = float(np.abs(goal - q).max())
            # Peaks of the quintic: speed 15/8, acceleration 10/sqrt(3), per distance and duration.
            self._duration = max(1.875 * far / self._speed, (5.774 * far / self._acceleration) ** 0.5, dt)
        self._time += dt
        s = min(self._time / self._duration, 1.0)
        if s >= 1.0:
            self._poses.pop(0)
            self._from = None
            self.done = not self._poses
            return goal
        return self._from + (goal - self._from) * (s * s * s * (10 + s * (6 * s - 15)))


class JointFollow:
    """Follow joint angles that may change at any time, at limited speed and acceleration per joint."""

    done = False

    def __init__(
        self, start: np.ndarray, speed: np.ndarray, acceleration: np.ndarray, lower: np.ndarray, upper: np.ndarray
    ) -> None:
        self.target = np.array(start, dtype=np.float64)
        self._speed, self._acceleration, self._lower, self._upper = speed, acceleration, lower, upper
        self._velocity = np.zeros_like(self.target)

    def aim(self, target: np.ndarray) -> None:
        """Raises ValueError for a NaN; clips to the limits."""
        self.target = np.clip(require_finite("joint targets", target), self._lower, self._upper)

    def step(self, q: np.ndarray, dt: float) -> np.ndarray:
        """As `Motion.step`."""
        self._velocity = approach(self.target - q, self._velocity, self._speed, self._acceleration, dt)
        return q + self._velocity * dt


def approach(
    gap: np.ndarray, velocity: np.ndarray, speed: np.ndarray | float, acceleration: np.ndarray | float, dt: float
) -> np.ndarray:
    """The next velocity on the fastest way to close `gap` that can still stop in time, per component; settles softly."""
    brake = np.sqrt(2 * 0.7 * acceleration * np.abs(gap))
    wanted = np.sign(gap) * np.minimum(np.minimum(brake, np.abs(gap) / (3 * dt)), speed)
    most = acceleration * dt
    change: np.ndarray = np.clip(wanted - velocity, -most, most)
    return velocity + change


class ToolServo:
    """Follow a tool pose that may change at any time, at limited speed, by damped least squares.

    Args:
        pose_at: the pose (base frame) for a point (3,); lets the tool's tilt depend on where it is.
        start: where the tool is commanded to be now (3,) [m].
        speed, acceleration: of the tool, per axis [m/s], [m/s^2].
        joint_speed, joint_acceleration: (6,) that the joints keep within [rad/s], [rad/s^2]; the tool then lags for a moment.
    """

    done = False

    def __init__(
        self,
        model: ArmModel,
        pose_at: Callable[[np.ndarray], Pose],
        start: np.ndarray,
        *,
        speed: float,
        acceleration: float,
        joint_speed: np.ndarray,
        joint_acceleration: np.ndarray,
    ) -> None:
        self._model, self._pose_at = model, pose_at
        self.target = np.array(start, dtype=np.float64)  # may be set from another thread: replaced whole
        self.at = self.target.copy()
        self._velocity = np.zeros(3)
        self._speed, self._acceleration = speed, acceleration
        self._joint_speed, self._joint_acceleration = joint_speed, joint_acceleration
        self._joint_velocity = np.zeros(DOF)

    def step(self, q: np.ndarray, dt: float) -> np.ndarray:
        """As `Motion.step`. Raises Unreachable."""
        self._velocity = approach(self.target - self.at, self._velocity, self._speed, self._acceleration, dt)
        self.at = self.at + self._velocity * dt
        angles, error = self._model.inverse(self._pose_at(self.at), q, iterations=6, tolerance=2e-5)
        if error > 2e-3:
            raise Unreachable(f"the tool cannot follow to {np.round(self.at, 3)} m: {error * 1000:.1f} mm off")
        change = self._joint_acceleration * dt
        wanted = np.clip((angles - q) / dt, -self._joint_speed, self._joint_speed)
        self._joint_velocity = np.clip(wanted, self._joint_velocity - change, self._joint_velocity + change)
        return q + self._joint_velocity * dt
