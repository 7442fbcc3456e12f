"""The GPU insertion job: starts, observation, stages, danger and verdict."""

from __future__ import annotations

import math

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
from enpire_envs.gpu_insertion.scene import CARD, CardReadings
from enpire_envs.task import ALL_OBS_TYPES, Progress, Start, Verdict, box, climb, read_start

STEP = np.array([0.00025, 0.00025, 0.0004])  # displacement per control step at an action of 1 [m]
TURN = math.radians(0.2)  # rotation per control step at an action of 1 [rad]
OFFSET, HEIGHT, TILT = 0.003, 0.003, math.radians(3)  # start ranges: +- [m], above the mouth [m], +- [rad]
ESTIMATE_ERROR, ESTIMATE_TURN = 0.001, math.radians(1)  # of the slot estimate, uniform +-
SEATED = 0.0087
KEPT = 0.0080  # depth that must be left after the tug
LIMITS = SafetyLimits(low=(-0.05, -0.05, -0.140), high=(0.05, 0.05, 0.030), force=60.0)


class GPUInsertion:
    """GPU insertion as a `Task`. See `GPUInsertionEnv` for what every argument means."""

    name = "GPUInsertion"
    control_hz = CONTROL_HZ
    max_steps = 600
    stages: tuple[str, ...] = ("start", "contact", "aligned", "seated", "latched")
    act_cpu_ms = 250.0
    camera = "side"
    cameras: tuple[str, ...] = ("side",)
    obs_types: tuple[str, ...] = ALL_OBS_TYPES

    def __init__(self, sensing: str) -> None:
        self._sensing = sensing
        self.action_space = box([1.0] * 6)
        self._scale = np.concatenate([STEP, [TURN] * 3]) * self.control_hz
        pose, wrench = [0.2] * 3 + [0.5] * 3, [200.0] * 3 + [10.0] * 3
        self.agent_pos_space = box(pose)
        self.state_space = box([*pose, *wrench, *pose, 1.0, 1.0, *wrench * HISTORY])
        self.action_names = self.agent_pos_names = POSE_NAMES
        slot = [*(f"slot_{name}" for name in POSE_NAMES), "slot_age", "slot_valid"]
        self.state_names = [*POSE_NAMES, *WRENCH_NAMES, *slot, *remembered(WRENCH_NAMES)]

    # -- starts ------------------------------------------------------------------------------------------------------
    def sample_start(self, rng: np.random.Generator, starts: str) -> Start:
        """A card above its slot: {"edge": [x, y, z], "turn": [rx, ry, rz]} [m, rad]."""
        wide = 1.0 if starts == "id" else 1.5
        turn = rng.uniform(-TILT, TILT, 3) * wide
        # A tilted edge reaches below its middle: start that much higher.
        droop = 0.042 * abs(math.sin(turn[1])) + 0.0008 * abs(math.sin(turn[0]))
        offset = rng.uniform(-OFFSET, OFFSET, 2) * wide
        height = rng.uniform(0.0002, HEIGHT) + droop
        return {"edge": [*offset.tolist(), float(height)], "turn": turn.tolist()}

    def check_start(self, start: Start) -> Start:
        """The start asked for, as floats. Raises ValueError where the edge would not hover over the slot."""
        edge, turn = read_start(start, edge="x y z", turn="rx ry rz").values()
        droop = 0.042 * abs(math.sin(turn[1]))
        if max(map(abs, edge[:2])) > 0.01 or not droop < edge[2] < 0.02 or max(map(abs, turn)) > 0.2:
            raise ValueError("bad start: the whole edge must hover above the slot, at most 20 mm up and 10 mm aside")
        return {"edge": edge, "turn": turn}

    def ready(self, readings: CardReadings, start: Start) -> str | None:
        """Whether the edge is within 0.5 mm of its start and touches nothing."""
        off = float(np.abs(readings.ends.mean(axis=0) - start["edge"]).max())
        if off > 0.0005:
            return f"the card's edge is {off * 1000:.2f} mm from its start"
        return "the card touches something" if readings.depth > 0.0001 else None

    # -- an episode --------------------------------------------------------------------------------------------------
    def begin(self, start: Start, readings: CardReadings, rng: np.random.Generator) -> None:
        """Clear stages, draw the error of the slot's estimate and the drift of the wrench."""
        self._stage = 0
        self._origin = readings.pose
        self._safety = ContactSafety(LIMITS, readings.pose)
        # Where the end effector would be with the card's edge straight at the slot's mouth, relative to now.
        goal = np.array([0, 0, CARD, 0, 0, 0]) - readings.pose
        error = np.concatenate([rng.uniform(-1, 1, 3) * ESTIMATE_ERROR, rng.uniform(-1, 1, 3) * ESTIMATE_TURN])
        self._estimate = goal + (error if self._sensing == "noisy" else 0.0)
        self._wrench = wrench_sensor(self._sensing, rng)
        # What `observe` returns; what does not change in an episode stands in it: the slot, valid.
        self._state = np.zeros(self.state_space.shape)
        self._state[12:18], self._state[19] = self._estimate, 1.0

    def command(self, action: np.ndarray) -> np.ndarray:
        """Velocity (6,) of the end effector's target [m/s, rad/s]."""
        return action * self._scale

    def observe(self, readings: CardReadings) -> np.ndarray:
        """(68,) float32; see `GPUInsertionEnv`."""
        felt, _, _ = self._wrench.read(readings.wrench.vector)
        state = self._state
        state[:6], state[6:12] = readings.pose - self._origin, felt
        state[18] = min(readings.time, 20.0) / 20.0
        remember(state[20:], felt)
        return state.astype(np.float32)

    def agent_pos(self, readings: CardReadings) -> np.ndarray:
        """(6,) float32: the end effector relative to its start [m, rad]."""
        return (readings.pose - self._origin).astype(np.float32)

    def update(self, readings: CardReadings) -> Progress:
        """Climb the stages: contact, both ends 1 mm deep, seated."""
        seated = readings.seated
        reached = (readings.force > 2.0 or seated > 0.001, seated > 0.001, seated >= SEATED)
        self._stage = climb(self._stage, reached)
        return Progress.of(self.stages, self._stage)

    def dense_reward(self, readings: CardReadings) -> float:
        """Depth of the shallower end, and before it nearness of both ends to the slot's mouth."""
        ends = readings.ends
        off = float(np.abs(ends[:, 1]).max() + np.maximum(ends[:, 2], 0).max())
        return 0.1 * math.exp(-off / 0.003) + 0.9 * min(readings.seated / SEATED, 1.0)

    def extras(self, readings: CardReadings) -> dict[str, float]:
        """`seated`, `lateral` (the end that is farther across off the slot's middle plane) [m], `latch` (0 or 1) and `force` [N]."""
        lateral = max(map(abs, readings.ends[:, 1].tolist()))
        return {
            "seated": readings.seated,
            "lateral": lateral,
            "latch": float(readings.latched),
            "force": readings.force,
        }

    # -- danger and verdict ------------------------------------------------------------------------------------------
    def violation(self, readings: CardReadings) -> str | None:
        """Outside the workspace, too much force for too long, or penetration."""
        return self._safety.violation(readings)

    def candidate(self, readings: CardReadings) -> bool:
        """Seated and latched: worth a tug."""
        return readings.seated >= SEATED and readings.latched

    def verify(self, cell: Cell) -> Verdict:
        """Let go of the pressure, pull with 10 N for half a second, and look whether card and latch are still in place."""
        readings: CardReadings = cell.probe("tug")
        if not readings.latched:
            return Verdict(False, "latch_let_go")
        if readings.seated < KEPT:
            return Verdict(False, "pulled_out")
        if readings.depth > LIMITS.depth:
            return Verdict(False, "penetration")
        return Verdict(True)
