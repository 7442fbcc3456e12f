"""The tying job: starts, observation, stages, danger and verdict."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from enpire_envs.cell import Cell
from enpire_envs.contact import CONTROL_HZ, POSE_NAMES, WRENCH_NAMES, ContactSafety, SafetyLimits, wrench_sensor
from enpire_envs.end_effector import length
from enpire_envs.levels import Hiding, HidingSpec, JointEncoders, JointTorqueWrench, WanderingPose, WanderSpec
from enpire_envs.randomise import SensingSpec, Sensor
from enpire_envs.task import ALL_OBS_TYPES, Progress, Start, Verdict, box, climb, read_start
from enpire_envs.tie_zip_tie.levels import TieLevel
from enpire_envs.tie_zip_tie.scene import CAMERAS, HALF_Y, HALF_Z, SLOT, StrapReadings, behind_faces

STEP = np.array([0.00025, 0.00025, 0.0004])  # displacement per control step at an action of 1 [m]
TURN = math.radians(0.2)
GAP = (0.004, 0.008)  # tip to slot at the start [m]
BIAS = 0.001  # of the estimates, uniform +- per component [m]
NOISE = 0.0002  # of what is looked at again, standard deviation [m]
ENOUGH = 0.015  # strap beyond the head [m]
SLIP = 0.0011  # that the tug may take back: one tooth and contact softness [m]
REACH = 0.08  # of the end effector from its start, each way [m]
_EXACT = WanderSpec(
    radius=(0.0,) * 5, seconds=1.0, period=1, latency=0, dropout=0.0, outlier=0.0, outlier_size=(0.0, 0.0)
)
LIMITS = SafetyLimits(low=(-REACH, -REACH, -REACH), high=(REACH, REACH, REACH), force=40.0)


class TieZipTie:
    """Tying as a `Task`. See `TieZipTieEnv` for what every argument means."""

    name = "TieZipTie"
    control_hz = CONTROL_HZ
    stages: tuple[str, ...] = ("start", "tip_in", "through", "pulled", "locked")
    act_cpu_ms = 250.0
    camera = "side"

    def __init__(self, level: TieLevel, sensing: str) -> None:
        self.max_steps = level.max_steps
        self._level, self._noisy, self._sensing = level, sensing == "noisy", sensing
        self._hand_eye, self._backlash = np.zeros(3), 1.0
        self.action_space = box([1.0] * 7)
        self._scale = np.append(np.concatenate([STEP, [TURN] * 3]) * self.control_hz, 1.0)
        pose, wrench = [0.2] * 3 + [0.5] * 3, [100.0] * 3 + [10.0] * 3
        state = [*pose, 1.0, 1.0, *wrench, *[0.3] * 3, *[0.3] * 3, 1.0, 0.2]
        self.action_names = [*POSE_NAMES, "gripper"]
        seen = [f"{what}_{axis}" for what in ("slot", "tip") for axis in "xyz"]
        self.state_names = [*POSE_NAMES, "gripper", "held", *WRENCH_NAMES, *seen, "tip_valid", "past"]
        self.cameras: tuple[str, ...] = CAMERAS if level.images else (self.camera,)
        if level.images:
            self.obs_types: tuple[str, ...] = ("pixels_agent_pos",)
            self.agent_pos_space = box([*pose[2:], 1.0, 1.0, *wrench])
            self.agent_pos_names = [*POSE_NAMES[2:], "gripper", "held", *WRENCH_NAMES]
        else:
            self.obs_types = ALL_OBS_TYPES if level.seen is None else ("state", "environment_state_agent_pos")
            self.agent_pos_space = box([*pose, 1.0])
            self.agent_pos_names = self.action_names
        if level.seen is not None:
            state += [2.0, 2.0, 20.0, 1.0, 2.0, 2.0, 20.0]
            self.state_names += ["slot_ry", "slot_rz", "slot_age", "slot_valid", "tip_ry", "tip_rz", "tip_age"]
        self.state_space = box(state)

    def install(self, rng: np.random.Generator) -> None:
        """Draw how well a station's camera is calibrated, and the play of its joints."""
        spec = self._level.station
        assert spec is not None
        self._hand_eye = rng.uniform(-spec.hand_eye, spec.hand_eye, 3)
        self._backlash = float(rng.uniform(*spec.backlash))

    # -- starts ------------------------------------------------------------------------------------------------------
    def sample_start(self, rng: np.random.Generator, starts: str) -> Start:
        """A strap before the slot: {"tip": [x, y, z], "turn": [rx, ry, rz], "grip": d from the tip} [m, rad].

        Where heads are not all in one place, also {"head": [x, y, z, rx, ry, rz]}, from where the station has it.
        """
        level = self._level
        if level.ood and starts == "id" and rng.random() < level.ood:
            starts = "ood"
        aside, degrees = level.off if starts == "id" else level.far
        turned = math.radians(degrees)
        tip = [-float(rng.uniform(*GAP)), *rng.uniform(-aside, aside, 2).tolist()]
        turn = [0.0, *rng.uniform(-turned, turned, 2).tolist()]
        start: Start = {"tip": tip, "turn": turn, "grip": float(rng.uniform(*level.grip))}
        metres, degrees = level.head
        if metres:
            angles = np.radians(rng.uniform(-degrees, degrees, 2))
            start["head"] = [*rng.uniform(-metres, metres, 3).tolist(), 0.0, *angles.tolist()]
        return start

    def check_start(self, start: Start) -> Start:
        """The start asked for, as floats. Raises ValueError where the tip would not lie before the slot."""
        head = {"head": "x y z rx ry rz"} if self._level.head[0] else {}
        read = read_start(start, tip="x y z", turn="rx ry rz", grip="d", **head)
        tip, turn, grip = read["tip"], read["turn"], read["grip"]
        if not -0.05 < tip[0] < -0.002 or max(map(abs, tip[1:])) > 0.02 or max(map(abs, turn)) > 0.2:
            raise ValueError("bad start: the tip must be 2 to 50 mm before the slot, at most 20 mm aside")
        if not 0.012 <= grip <= 0.08:
            raise ValueError(f"bad start: grip {grip} must be 0.012 to 0.08 m from the tip")
        if head and (max(map(abs, read["head"][:3])) > 0.01 or max(map(abs, read["head"][3:])) > 0.2):
            raise ValueError("bad start: the head must be within 0.01 m and 0.2 rad of where the station has it")
        return read

    def ready(self, readings: StrapReadings, start: Start) -> str | None:
        """Whether the tip is within 1 mm of its start and the fingers hold the strap."""
        off = float(np.abs(readings.tip - start["tip"]).max())
        if off > 0.001:
            return f"the strap's tip is {off * 1000:.2f} mm from its start"
        return None if readings.held else "the fingers do not hold the strap"

    # -- an episode --------------------------------------------------------------------------------------------------
    def begin(self, start: Start, readings: StrapReadings, rng: np.random.Generator) -> None:
        """Clear stages, draw this episode's sensors and their errors."""
        self._stage = 0
        self._origin = readings.pose
        self._safety = ContactSafety(LIMITS, readings.pose)
        level, noisy, dt = self._level, self._noisy, 1 / self.control_hz
        self._head = readings.head[:3] - readings.pose[:3] + (rng.uniform(-BIAS, BIAS, 3) if noisy else 0.0)
        self._tip_bias = rng.uniform(-BIAS, BIAS, 3) if noisy else np.zeros(3)
        self._noise, self._rng = (NOISE if noisy else 0.0), rng
        self._wrench = wrench_sensor(self._sensing, rng)
        self._seen_tip = readings.in_scene(readings.tip) - readings.pose[:3]
        linear, angular = level.encoders if level.encoders and noisy else (None, None)
        self._linear, self._angular = (
            JointEncoders(replace(spec, backlash=self._backlash * spec.backlash), rng) if spec else None
            for spec in (linear, angular)
        )
        self._torques = JointTorqueWrench(level.torques, dt, rng) if level.torques and noisy else None
        self._eyes = [WanderingPose(spec if noisy else _EXACT, dt, rng) for spec in level.seen or ()]
        self._length = Sensor(level.past if noisy else SensingSpec.ideal(1), dt, rng) if level.past else None
        self._measured_start = self._measure(readings)
        self._hiding = Hiding(level.hiding if noisy else HidingSpec.sharp(6), rng) if level.hiding else None
        self._felt_at = -1.0  # the time of what `_feel` last said

    def command(self, action: np.ndarray) -> np.ndarray:
        """Velocity (6,) of the end effector's target [m/s, rad/s] and the gripper (above 0 closes)."""
        return action * self._scale

    def observe(self, readings: StrapReadings) -> np.ndarray:
        """(22,) or, where a perception model sees, (29,) float32; see `TieZipTieEnv`."""
        moved, felt = self._feel(readings)
        parts: list[Any] = [moved, (readings.opening, float(readings.held)), felt]
        if not self._eyes:
            x, y, z = readings.tip.tolist()
            hidden = -0.001 < x < SLOT and abs(y) < HALF_Y and abs(z) < HALF_Z
            if not hidden:
                noise = self._noise * self._rng.normal(size=3)
                tip = readings.in_scene(readings.tip)
                self._seen_tip = tip - self._origin[:3] + self._tip_bias + noise
            past = readings.past + (self._noise * 2 * self._rng.normal() if self._noise else 0.0)
            return np.concatenate([*parts, self._head, self._seen_tip, (not hidden, past)], dtype=np.float32)
        hand_eye = self._hand_eye if self._noisy else 0.0
        head, head_age, head_valid = self._eyes[0].read(
            np.concatenate([readings.head[:3] - self._origin[:3] + hand_eye, readings.head[4:]])
        )
        end = readings.axes @ (readings.nodes[-1] - readings.nodes[-2])
        turned = (math.atan2(-end[2], end[0]), math.atan2(end[1], math.hypot(end[0], end[2])))
        tip = np.array([*(readings.in_scene(readings.tip) - self._origin[:3] + hand_eye), *turned])
        assert self._hiding is not None
        assert self._length is not None
        seen, age, valid = self._eyes[1].read(tip, hidden=self._hiding.hides(*behind_faces(readings.tip)))
        length, _, _ = self._length.read(np.array([readings.past]))
        more = (*head[3:], head_age, head_valid, *seen[3:], age)
        return np.concatenate([*parts, head[:3], seen[:3], (valid,), length, more], dtype=np.float32)

    def agent_pos(self, readings: StrapReadings) -> np.ndarray:
        """(7,) float32: the end effector relative to its start [m, rad] and the gripper's opening, 0 to 1.

        With images (12,): its height, rotation (3), opening, whether the fingers hold the strap, and the wrench (6).
        """
        moved, felt = self._feel(readings)
        if not self._level.images:
            return np.append(moved, readings.opening).astype(np.float32)
        return np.concatenate([moved[2:], (readings.opening, float(readings.held)), felt], dtype=np.float32)

    def _feel(self, readings: StrapReadings) -> tuple[np.ndarray, np.ndarray]:
        """The end effector relative to its start (6,) [m, rad] and the wrench (6,) [N, Nm], as they are sensed; the same however often
        it is asked in a control period, so that asking again does not average noise away."""
        if readings.time != self._felt_at:
            self._felt_at = readings.time
            wrench = readings.wrench.vector
            felt = self._torques.read(wrench) if self._torques else self._wrench.read(wrench)[0]
            self._last = self._measure(readings) - self._measured_start, felt
        return self._last

    def _measure(self, readings: StrapReadings) -> np.ndarray:
        """One control period later: the end effector's pose (6,) as it is sensed [m, rad]."""
        pose, wrench = readings.pose.copy(), readings.wrench
        if self._linear:
            pose[:3] = self._linear.read(pose[:3], wrench.force)
        if self._angular:
            pose[3:] = self._angular.read(pose[3:], wrench.torque)
        return pose

    def update(self, readings: StrapReadings) -> Progress:
        """Climb the stages: tip in the slot, through it, 15 mm pulled."""
        (x, y, z), past = readings.tip.tolist(), readings.past
        entered = past > 0 or (0.0005 < x < SLOT and abs(y) < HALF_Y and abs(z) < HALF_Z)
        reached = (entered, past > 0.001, past >= ENOUGH)
        self._stage = climb(self._stage, reached)
        return Progress.of(self.stages, self._stage)

    def potential(self, readings: StrapReadings) -> float:
        """Nearness of the tip to the slot, then strap beyond the head."""
        off = length(readings.tip) if readings.past == 0 else 0.0
        return 0.2 * math.exp(-off / 0.005) + 0.8 * min(readings.past / ENOUGH, 1.0)

    def extras(self, readings: StrapReadings) -> dict[str, float]:
        """`past`, `lateral` (the tip off the slot's axis) [m] and `force` [N]."""
        _, y, z = readings.tip.tolist()
        return {"past": readings.past, "lateral": math.hypot(y, z), "force": readings.force}

    # -- danger and verdict ------------------------------------------------------------------------------------------
    def violation(self, readings: StrapReadings) -> str | None:
        """Outside the workspace, the strap dropped, too much force for too long, or penetration."""
        nodes = readings.nodes
        here = (
            np.maximum.reduce(np.abs(nodes), axis=None) < 0.3
            and np.add.reduce(nodes[:, 2]) / len(nodes) > self._level.fallen
        )
        return self._safety.violation(readings, lost=None if here else "strap_dropped")

    def candidate(self, readings: StrapReadings) -> bool:
        """Enough strap beyond the head, with a tooth to spare: worth a tug."""
        return readings.past >= ENOUGH + SLIP

    def verify(self, cell: Cell) -> Verdict:
        """Let go, pull the strap back with 10 N for half a second, and look how much is left beyond the head."""
        before = cell.read().past
        after = cell.probe("tug").past
        if after < ENOUGH:
            return Verdict(False, "pulled_out" if after < before - SLIP else "too_short")
        return Verdict(True)
