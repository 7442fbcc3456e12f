"""The pin board job: starts, observation, sub-goals, danger and verdict."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from gymnasium import spaces

from enpire_envs.cell import Cell
from enpire_envs.contact import CONTROL_HZ, ROTATION_NAMES, WRENCH_NAMES, ContactSafety, SafetyLimits, wrench_sensor
from enpire_envs.end_effector import rotation
from enpire_envs.levels import JointEncoders, JointTorqueWrench
from enpire_envs.pin_board.scene import PINS, BoardReadings
from enpire_envs.pin_insertion.levels import PinLevel
from enpire_envs.pin_insertion.scene import PIN_LENGTH
from enpire_envs.pin_insertion.view import CAMERA
from enpire_envs.task import Progress, Start, Verdict, box, climb, read_start

STEP = 0.0015  # displacement per control step at an action of 1 [m]
CLOSING = 1 / 6  # share of its opening that the gripper closes by in a control step at an action of 1
HOME = (-0.006, 0.0, 0.060)  # of the tool at the start [m]; the pin's tip would be 30 mm lower
AROUND = (0.002, 0.002, 0.001)  # how far from there a start may be ("ood": twice as far)
LIMITS = SafetyLimits(low=(-0.070, -0.040, -0.055), high=(0.070, 0.040, 0.010), force=40.0)
GUARDED = (
    HOME[2] - PIN_LENGTH + 0.0025
)  # how far below its start the tool has a pin well inside a hole, and no force guard [m]
CLEAR = 0.005  # how far below its start the tool is at most with nothing within reach of the pin that it holds [m]
HEIGHT, ROTATION, GRIPPER, WRENCH = 0, slice(1, 7), 7, slice(8, 14)  # where what is in `agent_pos`


class PinBoard:
    """Filling a pin board as a `Task`. See `PinBoardEnv` for what every argument means."""

    name = "PinBoard"
    control_hz = CONTROL_HZ
    stages: tuple[str, ...] = ("start", *(f"placed_{k}" for k in range(1, PINS)), "success")
    act_cpu_ms = 250.0
    camera = "overview"
    cameras: tuple[str, ...] = (CAMERA,)
    obs_types: tuple[str, ...] = ("pixels_agent_pos",)

    def __init__(self, level: PinLevel, sensing: str) -> None:
        self.max_steps = level.max_steps
        self._sensing = sensing
        self._level = level if sensing == "noisy" else replace(level, encoders=None, torques=None, camera=None)
        self._backlash = 1.0
        self.action_space = box([1.0] * 4)
        high = np.array([0.1, *[1.1] * 6, 1.0, *[100.0] * 3, *[5.0] * 3], np.float32)
        self.agent_pos_space = self.state_space = spaces.Box(-high, high, dtype=np.float32)
        self.action_names = ["x", "y", "z", "gripper"]
        self.agent_pos_names = self.state_names = ["z", *ROTATION_NAMES, "gripper", *WRENCH_NAMES]

    def install(self, rng: np.random.Generator) -> None:
        """Draw how much play this station's encoders have."""
        assert self._level.station is not None
        self._backlash = rng.uniform(*self._level.station.backlash)

    # -- starts ------------------------------------------------------------------------------------------------------
    def sample_start(self, rng: np.random.Generator, starts: str) -> Start:
        """The open gripper between tray and board: {"tool": [x, y, z]} [m]."""
        far = np.array(AROUND) * (2.0 if starts == "ood" else 1.0)
        return {"tool": (np.array(HOME) + rng.uniform(-far, far)).tolist()}

    def check_start(self, start: Start) -> Start:
        """The start asked for, as numbers. Raises ValueError where the gripper would not hover between tray and board."""
        tool = read_start(start, tool="x y z")["tool"]
        if np.abs(np.subtract(tool, HOME)).max() > 0.006:
            raise ValueError(f"bad start {start!r}: the tool must be within 6 mm of {HOME} along each axis")
        return {"tool": tool}

    def ready(self, readings: BoardReadings, start: Start) -> str | None:
        """Whether the gripper is where it should be, and every pin in the tray."""
        if (readings.where != -1).any():
            return "a pin is missing from the tray"
        off = float(np.abs(readings.pose[:3] - start["tool"]).max())
        return f"the gripper is {off * 1000:.2f} mm from its start" if off > 0.0005 else None

    # -- an episode --------------------------------------------------------------------------------------------------
    def begin(self, start: Start, readings: BoardReadings, rng: np.random.Generator) -> None:
        """Clear sub-goals, draw this episode's sensors."""
        self._stage = 0
        self._safety = ContactSafety(LIMITS, readings.pose)
        level, self._rng = self._level, rng
        self._wrench = wrench_sensor(self._sensing, rng)
        self._encoders: list[JointEncoders] = [
            JointEncoders(replace(spec, backlash=self._backlash * spec.backlash), rng) for spec in level.encoders or ()
        ]
        self._tare(readings)
        self._was_clear = True
        self._measured_start = self._measure(readings)
        self._moved_at = -1.0  # the time of what `agent_pos` last said

    def command(self, action: np.ndarray) -> np.ndarray:
        """Velocity (6,) of the end effector's target [m/s, rad/s], and the share of its opening that the gripper closes by."""
        command = np.zeros(7)
        command[:3] = STEP * self.control_hz * action[:3]
        command[6] = CLOSING * action[3]
        guard = self._level.guard
        if guard is not None and self._felt[2] > guard and -GUARDED < self._moved[2] <= -CLEAR:
            command[2] = max(command[2], 0.0)
        return command

    def observe(self, readings: BoardReadings) -> np.ndarray:
        """The same as `agent_pos`: there is no more but pictures."""
        return self.agent_pos(readings)

    def agent_pos(self, readings: BoardReadings) -> np.ndarray:
        """(14,) float32: height above the start [m], rotation (two columns of its matrix), gripper, wrench [N, Nm]."""
        if readings.time != self._moved_at:
            self._moved_at = readings.time
            self._moved = self._measure(readings) - self._measured_start
            clear = bool(self._moved[2] > -CLEAR)
            if readings.holding != self._tared_with or (clear and not self._was_clear):
                self._tare(readings)
            self._was_clear = clear
            wrench = readings.wrench.vector
            self._felt = self._torques.read(wrench) if self._torques else self._wrench.read(wrench)[0]
        sensed = np.zeros(self.agent_pos_space.shape, np.float32)
        sensed[HEIGHT] = self._moved[2]
        sensed[ROTATION] = rotation(self._moved[3:])[:, :2].T.ravel()
        sensed[GRIPPER] = readings.opening
        sensed[WRENCH] = self._felt
        return sensed

    def _tare(self, readings: BoardReadings) -> None:
        """What drifts is set to zero, as well as may be, whenever the gripper takes a pin or lets go of one, or rises above all that stands about."""
        torques = self._level.torques
        self._torques = JointTorqueWrench(torques, 1 / self.control_hz, self._rng) if torques else None
        self._tared_with = readings.holding

    def _measure(self, readings: BoardReadings) -> np.ndarray:
        """One control period later: the end effector's pose (6,) as it is sensed [m, rad]."""
        if not self._encoders:
            return readings.pose.copy()
        linear, angular = self._encoders
        wrench = readings.wrench
        return np.concatenate(
            [linear.read(readings.pose[:3], wrench.force), angular.read(readings.pose[3:], wrench.torque)]
        )

    def update(self, readings: BoardReadings) -> Progress:
        """One sub-goal for every pin in a hole."""
        self._stage = climb(self._stage, [readings.placed >= k for k in range(1, PINS)])
        return Progress.of(self.stages, self._stage)

    def potential(self, readings: BoardReadings) -> float:
        """A ninth for every pin in a hole, of which a third is for holding the next one, and another for how deep it is."""
        held = 0.0 if readings.holding is None else 1 / 3 + min(readings.insertion / 0.018, 1.0) / 3
        return min((readings.placed + held) / PINS, 1.0)

    def extras(self, readings: BoardReadings) -> dict[str, float]:
        """`placed` and `lost` (pins), `insertion` [m] and `force` [N]."""
        return {
            "placed": float(readings.placed), "lost": float((readings.where == -3).sum()), "insertion": readings.insertion,
            "force": readings.force,
        }  # fmt: skip

    # -- danger and verdict ------------------------------------------------------------------------------------------
    def violation(self, readings: BoardReadings) -> str | None:
        """Outside the workspace, too much force for too long, or penetration."""
        return self._safety.violation(readings)

    def candidate(self, readings: BoardReadings) -> bool:
        """Every pin stands in a hole and the gripper has let go."""
        return readings.placed == PINS

    def verify(self, cell: Cell) -> Verdict:
        """Nine pins in nine different holes, and the gripper empty: what was let go of too high or aslant is lost, not placed."""
        readings: BoardReadings = cell.read()
        full = sorted(readings.where.tolist()) == list(range(PINS))
        return Verdict(True) if full and readings.holding is None else Verdict(False, "not_full")
