"""The tying job: starts, observation, stages, danger and verdict."""

from __future__ import annotations

import math

import numpy as np

from enpire_envs.cell import Cell
from enpire_envs.contact import CONTROL_HZ, POSE_NAMES, WRENCH_NAMES, ContactSafety, SafetyLimits, wrench_sensor
from enpire_envs.end_effector import length
from enpire_envs.task import ALL_OBS_TYPES, Progress, Start, Verdict, box, climb, read_start
from enpire_envs.tie_zip_tie.scene import HALF_Y, HALF_Z, SLOT, StrapReadings

STEP = np.array([0.00025, 0.00025, 0.0004])  # displacement per control step at an action of 1 [m]
TURN = math.radians(0.2)
GRIP = (0.021, 0.055)  # where the fingers hold the strap, from its tip [m]
GAP = (0.004, 0.008)  # tip to slot at the start [m]
ERRORS = {"id": (0.001, math.radians(3)), "ood": (0.002, math.radians(5))}  # sideways +- [m], turned +- [rad]
BIAS = 0.001  # of the estimates, uniform +- per component [m]
NOISE = 0.0002  # of what is looked at again, standard deviation [m]
ENOUGH = 0.015  # strap beyond the head [m]
SLIP = 0.0011  # that the tug may take back: one tooth and contact softness [m]
REACH = 0.08  # of the end effector from its start, each way [m]
LIMITS = SafetyLimits(low=(-REACH, -REACH, -REACH), high=(REACH, REACH, REACH), force=40.0)


class TieZipTie:
    """Tying as a `Task`. See `TieZipTieEnv` for what every argument means."""

    name = "TieZipTie"
    control_hz = CONTROL_HZ
    max_steps = 600
    stages: tuple[str, ...] = ("start", "tip_in", "through", "pulled", "locked")
    act_cpu_ms = 250.0
    camera = "side"
    cameras: tuple[str, ...] = ("side",)
    obs_types: tuple[str, ...] = ALL_OBS_TYPES

    def __init__(self, sensing: str) -> None:
        self._sensing = sensing
        self.action_space = box([1.0] * 7)
        self._scale = np.append(np.concatenate([STEP, [TURN] * 3]) * self.control_hz, 1.0)
        pose = [0.2] * 3 + [0.5] * 3
        self.agent_pos_space = box([*pose, 1.0])
        wrench = [100.0] * 3 + [10.0] * 3
        self.state_space = box([*pose, 1.0, 1.0, *wrench, *[0.3] * 3, *[0.3] * 3, 1.0, 0.2])
        self.action_names = self.agent_pos_names = [*POSE_NAMES, "gripper"]
        seen = (f"{what}_{axis}" for what in ("slot", "tip") for axis in "xyz")
        self.state_names = [*POSE_NAMES, "gripper", "held", *WRENCH_NAMES, *seen, "tip_valid", "past"]

    # -- starts ------------------------------------------------------------------------------------------------------
    def sample_start(self, rng: np.random.Generator, starts: str) -> Start:
        """A strap before the slot: {"tip": [x, y, z], "turn": [rx, ry, rz], "grip": d from the tip} [m, rad]."""
        aside, turned = ERRORS[starts]
        tip = [-float(rng.uniform(*GAP)), *rng.uniform(-aside, aside, 2).tolist()]
        turn = [0.0, *rng.uniform(-turned, turned, 2).tolist()]
        return {"tip": tip, "turn": turn, "grip": float(rng.uniform(*GRIP))}

    def check_start(self, start: Start) -> Start:
        """The start asked for, as floats. Raises ValueError where the tip would not lie before the slot."""
        tip, turn, grip = read_start(start, tip="x y z", turn="rx ry rz", grip="d").values()
        if not -0.05 < tip[0] < -0.002 or max(map(abs, tip[1:])) > 0.02 or max(map(abs, turn)) > 0.2:
            raise ValueError("bad start: the tip must be 2 to 50 mm before the slot, at most 20 mm aside")
        if not 0.012 <= grip <= 0.08:
            raise ValueError(f"bad start: grip {grip} must be 0.012 to 0.08 m from the tip")
        return {"tip": tip, "turn": turn, "grip": grip}

    def ready(self, readings: StrapReadings, start: Start) -> str | None:
        """Whether the tip is within 1 mm of its start and the fingers hold the strap."""
        off = float(np.abs(readings.tip - start["tip"]).max())
        if off > 0.001:
            return f"the strap's tip is {off * 1000:.2f} mm from its start"
        return None if readings.held else "the fingers do not hold the strap"

    # -- an episode --------------------------------------------------------------------------------------------------
    def begin(self, start: Start, readings: StrapReadings, rng: np.random.Generator) -> None:
        """Clear stages, draw the errors of both estimates and the drift of the wrench."""
        self._stage = 0
        self._origin = readings.pose
        self._safety = ContactSafety(LIMITS, readings.pose)
        noisy = self._sensing == "noisy"
        self._head = -readings.pose[:3] + (rng.uniform(-BIAS, BIAS, 3) if noisy else 0.0)
        self._tip_bias = rng.uniform(-BIAS, BIAS, 3) if noisy else np.zeros(3)
        self._noise, self._rng = (NOISE if noisy else 0.0), rng
        self._wrench = wrench_sensor(self._sensing, rng)
        self._seen_tip = readings.tip - readings.pose[:3]

    def command(self, action: np.ndarray) -> np.ndarray:
        """Velocity (6,) of the end effector's target [m/s, rad/s] and the gripper (above 0 closes)."""
        return action * self._scale

    def observe(self, readings: StrapReadings) -> np.ndarray:
        """(22,) float32; see `TieZipTieEnv`."""
        felt, _, _ = self._wrench.read(readings.wrench.vector)
        x, y, z = readings.tip.tolist()
        hidden = -0.001 < x < SLOT and abs(y) < HALF_Y and abs(z) < HALF_Z
        if not hidden:
            noise = self._noise * self._rng.normal(size=3)
            self._seen_tip = readings.tip - self._origin[:3] + self._tip_bias + noise
        past = readings.past + (self._noise * 2 * self._rng.normal() if self._noise else 0.0)
        moved = readings.pose - self._origin
        parts = [moved, (readings.opening, float(readings.held)), felt, self._head, self._seen_tip, (not hidden, past)]
        return np.concatenate(parts, dtype=np.float32)

    def agent_pos(self, readings: StrapReadings) -> np.ndarray:
        """(7,) float32: the end effector relative to its start [m, rad] and the gripper's opening, 0 to 1."""
        return np.append(readings.pose - self._origin, readings.opening).astype(np.float32)

    def update(self, readings: StrapReadings) -> Progress:
        """Climb the stages: tip in the slot, through it, 15 mm pulled."""
        (x, y, z), past = readings.tip.tolist(), readings.past
        entered = past > 0 or (0.0005 < x < SLOT and abs(y) < HALF_Y and abs(z) < HALF_Z)
        reached = (entered, past > 0.001, past >= ENOUGH)
        self._stage = climb(self._stage, reached)
        return Progress.of(self.stages, self._stage)

    def dense_reward(self, readings: StrapReadings) -> float:
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
        here = np.maximum.reduce(np.abs(nodes), axis=None) < 0.3 and np.add.reduce(nodes[:, 2]) / len(nodes) > -0.05
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
