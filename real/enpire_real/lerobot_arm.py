"""Any LeRobot robot as an arm of a station: its own driver moves it, our loop plans and our monitor watches.

LeRobot knows positions only, so velocity is differentiated, torque and temperature are unknown (zero), and stiffness is the
robot's own: the monitor's limits of torque and temperature say nothing about such an arm; those of position, speed, distance and
staleness do.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from enpire_real.arm import ArmReading, Gripper
from enpire_real.kinematics import ArmModel
from enpire_real.motors import MotorFault
from enpire_real.station_file import LeRobotArm, StationError


class LeRobotDriver(Gripper):
    """Drives the joints that the station file lists, in its order."""

    def __init__(self, name: str, config: LeRobotArm) -> None:
        self.name, self._config = name, config
        self.dof = len(config.joints)
        try:
            self.model = ArmModel.from_mjcf(config.mjcf, self.dof)
        except ValueError as error:
            raise StationError(f"arm {name}: {error}") from None
        self.kp = self.kd = np.zeros(self.dof)
        self.opening = 0.0
        self.reading: ArmReading | None = None
        self._unit = np.pi / 180 if config.units == "degrees" else 1.0
        self._sign = np.array(config.sign or [1.0] * self.dof)
        self._offset = np.array(config.offset_rad or [0.0] * self.dof)
        self._robot: Any = None
        self._last: tuple[float, np.ndarray] | None = None

    def connect(self) -> ArmReading:
        """Raises ImportError without LeRobot, MotorFault with its driver's message."""
        if self._robot is None:
            self._robot = self._make()
        try:
            if not self._robot.is_connected:
                self._robot.connect(calibrate=False)
        except Exception as error:
            raise MotorFault(f"{self.name}: {error}") from error
        reading = self.read_joints()
        self.opening = min(max(reading.gripper, 0.0), 1.0)  # the fingers begin where they are
        return reading

    def read_joints(self) -> ArmReading:
        """Ask the robot for its joints; velocities (dof,) are differences of two readings. Raises MotorFault."""
        try:
            observation = self._robot.get_observation()
        except Exception as error:
            raise MotorFault(f"{self.name}: {error}") from error
        try:
            raw = np.array([float(observation[f"{joint}.pos"]) for joint in self._config.joints])
        except KeyError as error:
            known = ", ".join(k.removesuffix(".pos") for k in observation if k.endswith(".pos"))
            raise MotorFault(f"{self.name}: the robot has no joint {error}; it has: {known}") from None
        q = self._sign * raw * self._unit + self._offset
        now = time.monotonic()
        dq = np.zeros(self.dof)
        if self._last is not None and now - self._last[0] > 1e-4:
            dq = (q - self._last[1]) / (now - self._last[0])
        self._last = (now, q)
        gripper = float(observation.get(f"{self._config.gripper}.pos", 0.0)) / 100.0 if self._config.gripper else 0.0
        self.reading = ArmReading(q, dq, np.zeros(self.dof), gripper, 0.0, 0.0)
        return self.reading

    def enable(self) -> None:
        """Hold the measured pose: LeRobot's robots are on once they are connected. Raises MotorFault."""
        assert self.reading is not None, "connect() comes first"
        self.command(self.reading.q, np.zeros(self.dof), np.zeros(self.dof))

    def feed_forward(self, q: np.ndarray, dq: np.ndarray, ddq: np.ndarray, dt: float) -> np.ndarray:
        """None: such a robot takes positions only."""
        return np.zeros(self.dof)

    def needed_torque(self, q: np.ndarray, dq: np.ndarray, ddq: np.ndarray) -> np.ndarray:
        """Unknown, so zero."""
        return np.zeros(self.dof)

    def command(self, q: np.ndarray, dq: np.ndarray, tau: np.ndarray) -> ArmReading:
        """Send positions `q` (dof,) [rad] and the gripper's opening, and read the joints. Raises MotorFault."""
        raw = (q - self._offset) * self._sign / self._unit
        action = {f"{joint}.pos": float(v) for joint, v in zip(self._config.joints, raw, strict=True)}
        if self._config.gripper:
            action[f"{self._config.gripper}.pos"] = 100.0 * self.opening
        try:
            self._robot.send_action(action)
        except Exception as error:
            raise MotorFault(f"{self.name}: {error}") from error
        return self.read_joints()

    def damp(self, most: np.ndarray) -> None:
        """Position-controlled servos cannot give way; they hold where they are."""
        assert self.reading is not None, "connect() comes first"
        self.command(self.reading.q, np.zeros(self.dof), np.zeros(self.dof))

    def recover(self) -> None:
        """Connect anew. Raises MotorFault."""
        self.close()
        self.connect()

    def disable(self) -> None:
        """Disconnect, which is how its own driver switches off. Raises MotorFault."""
        self.close()

    def close(self) -> None:
        """Disconnect. Safe to call twice. Raises MotorFault."""
        if self._robot is not None and self._robot.is_connected:
            try:
                self._robot.disconnect()
            except Exception as error:
                raise MotorFault(f"{self.name}: {error}") from error

    def _make(self) -> Any:
        try:
            from lerobot.robots.config import RobotConfig
            from lerobot.robots.utils import make_robot_from_config
            from lerobot.utils.import_utils import register_third_party_plugins
        except ImportError:
            raise ImportError(
                f"arm {self.name} is driven by LeRobot, which is not installed here: pip install 'autoenvbench[lerobot]' in an "
                "environment of its own"
            ) from None
        import importlib

        register_third_party_plugins()
        given = dict(self._config.robot)
        kind = given.pop("type", None)
        if kind not in RobotConfig.get_known_choices():  # its own robots register themselves when they are imported
            try:
                importlib.import_module(f"lerobot.robots.{kind}")
            except ImportError:
                pass
        if kind not in RobotConfig.get_known_choices():
            known = ", ".join(sorted(RobotConfig.get_known_choices()))
            raise StationError(f"LeRobot knows no robot {kind!r} here; it knows: {known}")
        return make_robot_from_config(RobotConfig.get_choice_class(kind)(**given))
