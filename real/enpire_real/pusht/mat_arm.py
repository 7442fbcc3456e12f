"""The arm that works over Push-T's mat: its poses, its tool servo, and the frames between arena and arm.

Positions are in the arena's frame [m] unless stated otherwise: x right, y up as the camera sees the mat.
"""

from __future__ import annotations

import math

import numpy as np
from enpire_envs.cell import CellFault
from enpire_envs.pusht.task import SPEED

from enpire_real.kinematics import Pose
from enpire_real.motion import JointMove, ToolServo
from enpire_real.pusht.section import PushTSection
from enpire_real.station import Station
from enpire_real.yam import HOME

JOINT_SPEED, JOINT_ACCELERATION = 2.0, 12.0  # of moves between poses [rad/s], [rad/s^2]
TIP_ACCELERATION = 4.0  # [m/s^2]
# Straight down near the foot, leaning outward where that is out of reach: distance [m] -> tilt [rad].
_TILT_FROM, _TILT_TO, _TILT = 0.33, 0.67, math.radians(42)
LEASE_S = 40.0  # a policy may think for 30 s before it is ended
_MAX_REACH = 0.70  # of the tip from the arm's foot, in the plane [m]


class MatArm:
    """One arm of a station with the pusher in its hand.

    Args:
        station: the whole station; `home` and `avoid` move all of its arms.
        section: where the mat lies and which arm pushes.
        half: (2,) half extents of the arena, where the tip may go [m].

    Attributes:
        servo: what moves the tip; None while the arm is not over the mat.
        room: (2,) half extents of where the tip may go now; a reset widens it.
        wrench: (6,) low-passed, on the tool in the arm's base frame [N, Nm], from the joint torques.
    """

    def __init__(self, station: Station, section: PushTSection, half: tuple[float, float]) -> None:
        self.name = section.arm
        self.servo: ToolServo | None = None
        self.room = np.array(half)
        self.wrench = np.zeros(6)
        self._station, self._section, self._half = station, section, half
        self._control, self._clock = station.control, station.clock
        self._model = station.control.arms[section.arm].model
        base = station.file.arms[section.arm].base_m
        self._turn = section.arena.rotation[:2, :2].copy()
        self._origin, self._foot_height = section.arena.position[:2] - np.array(base[:2]), base[2]
        self._commanded_at = 0.0  # of the last command [s on the station's clock]
        station.control.observers.append(self._update_wrench)
        station.control.monitor.watches["lease"] = self._lease

    # -- poses of all arms -------------------------------------------------------------------------------------------
    def home(self) -> None:
        """All arms to their home pose, this one lifted first. Raises Stopped."""
        self.lift()
        self._move_joints(dict.fromkeys(self._control.arms, HOME))

    def avoid(self) -> None:
        """All arms out of the camera's view. Raises Stopped."""
        self.lift()
        away = np.array(self._section.avoid_rad)
        if all(np.abs(self._control.commanded(name) - away).max() < 1e-3 for name in self._control.arms):
            return
        self._move_joints(dict.fromkeys(self._control.arms, away))

    def resume(self) -> None:
        """Back over the mat, lifted, at the middle of its near side. Raises Stopped, CellFault."""
        if self.servo is None:
            self.hover((0.0, -self._half[1]))

    def _move_joints(self, goals: dict[str, np.ndarray]) -> None:
        for name, goal in goals.items():
            self._control.move(name, JointMove([goal], JOINT_SPEED, JOINT_ACCELERATION))
        for name in goals:
            self._control.wait(name, 15.0)

    # -- over the mat ------------------------------------------------------------------------------------------------
    def hover(self, tip: tuple[float, float]) -> None:
        """From anywhere above the table to lifted over `tip`. Raises Stopped, CellFault if that is out of reach."""
        point = self._to_base(np.array(tip), self._section.lift_height_m)
        bearing = math.atan2(point[1], point[0])
        angles, error = self._model.inverse(self._tool_pose(point), np.array([bearing, 2.0, 1.6, -1.0, 0.0, 0.0]))
        if error > 1e-3:
            raise CellFault(f"the {self.name} arm cannot reach over {np.round(tip, 3)} m on the mat")
        self._move_joints({self.name: angles})
        limits, rows = self._control.monitor.limits, self._control.rows(self.name)
        self._commanded_at = self._clock.now()
        self.servo = ToolServo(
            self._model, self._tool_pose, point, speed=SPEED, acceleration=TIP_ACCELERATION,
            joint_speed=0.9 * limits.velocity[rows], joint_acceleration=0.9 * limits.acceleration[rows],
        )  # fmt: skip
        self._control.move(self.name, self.servo)

    def lower(self) -> None:
        """Down to the pushing height. Raises Stopped."""
        self._set_height(self._section.tip_height_m)

    def lift(self) -> None:
        """Up from the mat, if the arm is there. Raises Stopped."""
        if self.servo is not None and not self._has_servo():  # a stop took the arm away, and it may lie anywhere
            self.servo = None
            self._move_joints({self.name: HOME})
        if self.servo is not None:
            self._set_height(self._section.lift_height_m)
            self.servo = None

    def _set_height(self, height: float) -> None:
        """Up or down to `height` over the table, and wait."""
        assert self.servo is not None
        target = self.servo.target.copy()
        target[2] = height - self._foot_height
        self.servo.target = target
        self._settle()

    def _settle(self) -> None:
        """Until the servo has arrived and the arm with it."""
        assert self.servo is not None
        for _ in range(500):
            self._control.check()
            if np.abs(self.servo.target - self.servo.at).max() < 2e-4:
                break
            self._clock.sleep(self._control.period)
        self._clock.sleep(0.1)
        self._control.check()

    def steer(self, to: np.ndarray) -> None:
        """Send the tip to a point (2,), or to the nearest one where it may go, at the pushing height. Returns at once."""
        assert self.servo is not None
        self._commanded_at = self._clock.now()
        self.servo.target = self._to_base(self.within_room(to), self._section.tip_height_m)

    def _lease(self, now: float) -> str | None:
        """Whoever has the arm over the mat must go on commanding it."""
        if not self._has_servo() or now - self._commanded_at <= LEASE_S:
            return None
        return f"the arm has stood over the mat for {now - self._commanded_at:.0f} s without a command"

    def _has_servo(self) -> bool:
        """Whether the servo over the mat moves the arm."""
        return self.servo is not None and self._control.motion(self.name) is self.servo

    # -- where it is -------------------------------------------------------------------------------------------------
    def tip(self) -> tuple[float, float]:
        """Where the tip is, by the measured joints."""
        at = self._model.forward(self._control.reading(self.name).q).position[:2]
        x, y = self._turn.T @ (at - self._origin)
        return float(x), float(y)

    def tip_target(self) -> tuple[float, float]:
        """Where the tip was last sent."""
        if self.servo is None:
            return self.tip()
        x, y = self._turn.T @ (self.servo.target[:2] - self._origin)
        return float(x), float(y)

    def within_room(self, point: np.ndarray) -> np.ndarray:
        """The nearest point (2,) where the tip may go: in the arena (in a reset: around it), in reach."""
        point = np.clip(point, -self.room, self.room)
        from_foot = self._origin + self._turn @ point
        far = math.hypot(*from_foot)
        if far > _MAX_REACH:
            point = self._turn.T @ (from_foot * (_MAX_REACH / far) - self._origin)
        return point

    def _to_base(self, point: np.ndarray, height: float) -> np.ndarray:
        """(3,) in the arm's base frame of an arena point (2,) at `height` over the table."""
        x, y = self._origin + self._turn @ point
        return np.array([x, y, height - self._foot_height])

    def _tool_pose(self, point: np.ndarray) -> Pose:
        """The tool's pose for its tip at `point` (3,) (base frame): down, leaning outward when far away."""
        x, y, _ = point
        bearing = math.atan2(y, x)
        share = min(max((math.hypot(x, y) - _TILT_FROM) / (_TILT_TO - _TILT_FROM), 0.0), 1.0)
        tilt = _TILT * share * share * (3 - 2 * share)  # smooth: a kink here would be a jerk of the joints
        c, s = math.cos(bearing), math.sin(bearing)
        along = np.array([c * math.sin(tilt), s * math.sin(tilt), -math.cos(tilt)])
        side = np.array([-s, c, 0.0])
        return Pose(point, np.stack([along, side, np.cross(along, side)], axis=1))

    def _update_wrench(self, snapshot: object) -> None:
        reading = self._control.reading(self.name)
        felt = self._model.external_wrench(reading.q, reading.tau, point_contact=True)
        self.wrench += 0.15 * (felt.vector - self.wrench)
