"""The pin insertion job: starts, observation, stages, danger and verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from enpire_envs.cell import Cell
from enpire_envs.contact import (
    CONTROL_HZ,
    HISTORY,
    POSE_NAMES,
    WRENCH_NAMES,
    ContactSafety,
    SafetyLimits,
    remember,
    remembered,
    wrench_sensor,
)
from enpire_envs.levels import JointEncoders, JointTorqueWrench, WanderingPose
from enpire_envs.pin_insertion.levels import PinLevel
from enpire_envs.pin_insertion.scene import HOLE_DEPTH, HOLE_RADIUS, PinReadings
from enpire_envs.randomise import disc
from enpire_envs.task import ALL_OBS_TYPES, Progress, Start, Verdict, box, climb, read_start

STEP = np.array([0.0003, 0.0003, 0.0006])  # displacement per control step at an action of 1 [m]
TURN = math.radians(0.2)  # rotation per control step at an action of 1 [rad], tilt="hard"
HOVER = 0.002  # radius of the disc of start offsets, and of the hole estimate's error [m]
HEIGHT = (0.004, 0.005)  # of the pin's tip above the plate at the start [m]
FAR = 0.02  # how far from the start the hole may seem to be [m]
DEEP_ENOUGH = 0.018
HOLD_FORCE = 10.0  # [N]
LIMITS = SafetyLimits(low=(-0.015, -0.015, -0.070), high=(0.015, 0.015, 0.003), force=40.0)
GUARDED = (
    -0.0065
)  # the force guard watches while the end effector is higher than this, relative to its start [m]: until the pin is in


class PinInsertion:
    """Pin insertion as a `Task`. See `PinInsertionEnv` for what every argument means."""

    name = "PinInsertion"
    control_hz = CONTROL_HZ
    stages: tuple[str, ...] = ("start", "contact", "tip_in", "half_in", "success")
    act_cpu_ms = 250.0
    camera = "wrist"
    cameras: tuple[str, ...] = ("wrist",)
    obs_types: tuple[str, ...] = ALL_OBS_TYPES

    def __init__(self, level: PinLevel, sensing: str, tilt: str) -> None:
        self.max_steps = level.max_steps
        if level.station:  # the fixed camera shows where the target is, by standing still beside it
            self.obs_types = ("state", "environment_state_agent_pos")
        self._sensing = sensing
        self._level = (
            level if sensing == "noisy" else replace(level, encoders=None, torques=None, hole=None, camera=None)
        )
        self._turns = self._senses_angles = tilt == "hard"
        self._tilt = {"id": math.radians(3 if self._turns else 1), "ood": math.radians(5 if self._turns else 2)}
        self._hover = {"id": HOVER, "ood": 1.5 * HOVER}
        self._backlash = 1.0  # of this station, as a share of the level's
        n = 6 if self._turns else 3
        self.action_space = box([1.0] * n)
        self._scale = np.concatenate([STEP, [TURN] * 3])[:n] * self.control_hz
        self.agent_pos_space = box([0.1] * n)
        wrench = [100.0] * 3 + [5.0] * 3
        self.state_space = box([0.1] * n + wrench + [1.0] + [FAR, FAR, 1.0, 1.0] + [*wrench, 0.1] * HISTORY)
        self.action_names: Sequence[str] = POSE_NAMES[:n]
        self.agent_pos_names: Sequence[str] = self.action_names
        hole = ("gripper", "hole_x", "hole_y", "hole_age", "hole_valid")
        self.state_names = [*self.action_names, *WRENCH_NAMES, *hole, *remembered([*WRENCH_NAMES, "z"])]

    def install(self, rng: np.random.Generator) -> None:
        """Draw what the level's `station` leaves open of what is sensed."""
        assert self._level.station is not None
        self._backlash = rng.uniform(*self._level.station.backlash)

    # -- starts ------------------------------------------------------------------------------------------------------
    def sample_start(self, rng: np.random.Generator, starts: str) -> Start:
        """A pin above the target hole: {"tip": [x, y, z], "tilt": [rx, ry], "hole": [column, row]} [m, rad]."""
        if self._level.wild and rng.uniform() < self._level.wild:
            starts = "ood"
        offset = disc(rng, self._hover[starts])
        tilt = disc(rng, self._tilt[starts])
        return {
            "tip": [*offset.tolist(), float(rng.uniform(*HEIGHT))],
            "tilt": tilt.tolist(),
            "hole": rng.integers(0, 3, 2).tolist(),
        }

    def check_start(self, start: Start) -> Start:
        """The start asked for, as numbers. Raises ValueError where the pin would not hover over the hole."""
        tip, tilt, hole = read_start(start, tip="x y z", tilt="rx ry", hole="column row").values()
        hole = [int(v) for v in hole]
        if not all(0 <= h <= 2 for h in hole):
            raise ValueError(f"bad start {start!r}: the hole's column and row are 0 to 2")
        if max(map(abs, tip[:2])) > 0.01 or not 0.0005 <= tip[2] <= 0.02 or max(map(abs, tilt)) > 0.2:
            raise ValueError(f"bad start {start!r}: the tip must hover 0.5 to 20 mm above the plate, near the hole")
        return {"tip": tip, "tilt": tilt, "hole": hole}

    def ready(self, readings: PinReadings, start: Start) -> str | None:
        """Whether the tip is within 0.5 mm of its start and touches nothing."""
        off = float(np.abs(readings.tip - start["tip"]).max())
        if off > 0.0005:
            return f"the pin's tip is {off * 1000:.2f} mm from its start"
        return "the pin touches something" if readings.depth > 0 else None

    # -- an episode --------------------------------------------------------------------------------------------------
    def begin(self, start: Start, readings: PinReadings, rng: np.random.Generator) -> None:
        """Clear stages, draw this episode's sensors and their errors."""
        self._stage = 0
        self._safety = ContactSafety(LIMITS, readings.pose)
        error = disc(rng, HOVER) if self._sensing == "noisy" else np.zeros(2)
        # Where the hole is as seen from the end effector, which takes for granted that it holds the pin well. Without a model of
        # perception it is seen once, before the arm is in the way.
        self._hole = readings.grip_offset - start["tip"][:2]
        self._estimate = self._hole + error
        self._wrench = wrench_sensor(self._sensing, rng)
        level, dt = self._level, 1 / self.control_hz
        self._linear = self._angular = None
        if level.encoders:
            linear, angular = (replace(spec, backlash=self._backlash * spec.backlash) for spec in level.encoders)
            self._linear = JointEncoders(linear, rng)
            self._angular = JointEncoders(angular, rng) if self._senses_angles else None
        self._torques = JointTorqueWrench(level.torques, dt, rng) if level.torques else None
        self._perception = WanderingPose(level.hole, dt, rng) if level.hole else None
        self._measured_start = self._measure(readings)
        self._moved_at = -1.0  # the time of what `agent_pos` last said
        # What `observe` returns; what does not change in an episode stands in it: gripper, and what is seen in one look.
        self._state = np.zeros(self.state_space.shape)
        n = len(self._scale) + 6
        self._state[n + 1 : n + 5] = *self._estimate, 0.0, 1.0

    def command(self, action: np.ndarray) -> np.ndarray:
        """Velocity (6,) of the end effector's target [m/s, rad/s]; the force guard lets nothing press on that feels enough already."""
        velocity = np.zeros(6)
        velocity[: len(action)] = action * self._scale
        guard = self._level.guard
        if guard is not None and self._felt[2] > guard and self._moved[2] > GUARDED:
            velocity[2] = max(velocity[2], 0.0)
        return velocity

    def observe(self, readings: PinReadings) -> np.ndarray:
        """(70,) float32, or (73,) with rotations; see `PinInsertionEnv`."""
        moved = self.agent_pos(readings)
        felt = self._felt
        state, n = self._state, len(moved)
        state[:n], state[n : n + 6] = moved, felt
        if self._perception:
            estimate, age, valid = self._perception.read(self._hole)
            state[n + 7 : n + 9] = np.minimum(np.maximum(estimate, -FAR), FAR)
            state[n + 10] = valid
        else:
            age = readings.time
        state[n + 9] = min(age, 20.0) / 20.0
        remember(state[n + 11 :], felt, moved[2])
        return state.astype(np.float32)

    def agent_pos(self, readings: PinReadings) -> np.ndarray:
        """(3,) or (6,) float32: the end effector relative to its start [m, rad]; the same however often it is asked in a control period."""
        self._sense(readings)
        return self._moved[: len(self._scale)].copy()

    def _sense(self, readings: PinReadings) -> None:
        """Once in a control period: how far the end effector has moved (6,) [m, rad], and the wrench (6,) [N, Nm]."""
        if readings.time == self._moved_at:
            return
        self._moved_at = readings.time
        self._moved = (self._measure(readings) - self._measured_start).astype(np.float32)
        wrench = readings.wrench.vector
        self._felt = self._torques.read(wrench) if self._torques else self._wrench.read(wrench)[0]

    def _measure(self, readings: PinReadings) -> np.ndarray:
        """One control period later: the end effector's pose (6,) as it is sensed [m, rad]; angles only where they can be turned."""
        pose, wrench = readings.pose.copy(), readings.wrench
        if self._linear:
            pose[:3] = self._linear.read(pose[:3], wrench.force)
        if self._angular:
            pose[3:] = self._angular.read(pose[3:], wrench.torque)
        return pose

    def update(self, readings: PinReadings) -> Progress:
        """Climb the stages: contact, 1 mm deep, half way."""
        insertion = readings.insertion
        reached = (readings.force > 1.0 or insertion > 0.001, insertion > 0.001, insertion > HOLE_DEPTH / 2)
        self._stage = climb(self._stage, reached)
        return Progress.of(self.stages, self._stage)

    def potential(self, readings: PinReadings) -> float:
        """Insertion, and before it nearness: a tenth for being on the axis at the plate."""
        off = math.hypot(readings.tip[0], readings.tip[1]) + max(0.0, float(readings.tip[2]))
        return 0.1 * math.exp(-off / 0.002) + 0.9 * min(readings.insertion / DEEP_ENOUGH, 1.0)

    def extras(self, readings: PinReadings) -> dict[str, float]:
        """`insertion`, `lateral` (the tip off the hole's axis) [m] and `force` [N]."""
        lateral = math.hypot(readings.tip[0], readings.tip[1])
        return {"insertion": readings.insertion, "lateral": lateral, "force": readings.force}

    # -- danger and verdict ------------------------------------------------------------------------------------------
    def violation(self, readings: PinReadings) -> str | None:
        """Outside the workspace, too much force for too long, or penetration."""
        return self._safety.violation(readings)

    def candidate(self, readings: PinReadings) -> bool:
        """Deep enough with its axis inside the hole: worth holding still to look."""
        return readings.insertion >= DEEP_ENOUGH and _in_bore(readings)

    def verify(self, cell: Cell) -> Verdict:
        """Let go of the pressure, hold for 0.5 s, and look whether the pin stays in, upright and quiet."""
        readings: PinReadings = cell.probe("hold")
        assert readings.held is not None
        least, most = readings.held
        if least < DEEP_ENOUGH or not _in_bore(readings):
            return Verdict(False, "not_held")
        if most >= HOLD_FORCE:
            return Verdict(False, "forced")
        if readings.depth > LIMITS.depth:
            return Verdict(False, "penetration")
        return Verdict(True)


def _in_bore(readings: PinReadings) -> bool:
    """The whole inserted part of the pin's axis lies inside the hole's cylinder: at the tip and where it enters."""
    tip, axis = readings.tip, readings.axis
    entry = tip - axis * (tip[2] / axis[2])  # where the pin's axis crosses the plate's top
    return math.hypot(tip[0], tip[1]) < HOLE_RADIUS and math.hypot(entry[0], entry[1]) < HOLE_RADIUS
