"""The GPU insertion job: starts, observation, stages, danger and verdict."""

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
from enpire_envs.gpu_insertion.levels import CardLevel
from enpire_envs.gpu_insertion.scene import HALF_LENGTH, HALF_THICKNESS, SEEN, CardReadings
from enpire_envs.levels import EncoderSpec, JointEncoders, JointTorqueWrench, WanderingPose
from enpire_envs.task import ALL_OBS_TYPES, Progress, Start, Verdict, box, climb, read_start

STEP = np.array([0.00025, 0.00025, 0.0004])  # displacement per control step at an action of 1 [m]
TURN = math.radians(0.2)  # rotation per control step at an action of 1 [rad]
OFFSET = 0.003  # of the start, to either side along x and y [m]
WIDER = 1.5  # what "ood" multiplies offset and turn by
CLOSEST, HEIGHT = 0.0002, 0.003  # of the edge's lowest point above the mouth at the start [m]
ESTIMATE_ERROR, ESTIMATE_TURN = 0.001, math.radians(1)  # of the slot estimate, uniform +-
SEATED = 0.0087
KEPT = 0.0080  # depth that must be left after the tug
LIMITS = SafetyLimits(low=(-0.05, -0.05, -0.140), high=(0.05, 0.05, 0.030), force=60.0)


class GPUInsertion:
    """GPU insertion as a `Task`. See `GPUInsertionEnv` for what every argument means."""

    name = "GPUInsertion"
    control_hz = CONTROL_HZ
    stages: tuple[str, ...] = ("start", "contact", "aligned", "seated", "latched")
    act_cpu_ms = 250.0
    camera = "side"

    def __init__(self, level: CardLevel, sensing: str) -> None:
        self.max_steps = level.max_steps
        self._sensing = sensing
        self.level = level
        self._level = (
            level if sensing == "noisy" else replace(level, encoders=None, torques=None, slot=None, camera=None)
        )
        self._encoders = self._level.encoders
        self.action_space = box([1.0] * 6)
        self._scale = np.concatenate([STEP, [TURN] * 3]) * self.control_hz
        pose, wrench = [0.2] * 3 + [0.5] * 3, [200.0] * 3 + [10.0] * 3
        self.state_space = box([*pose, *wrench, *pose, 1.0, 1.0, *wrench * HISTORY])
        self.action_names = POSE_NAMES
        self.agent_pos_names: Sequence[str] = [*POSE_NAMES[2:], *WRENCH_NAMES] if level.images else POSE_NAMES
        slot = [*(f"slot_{name}" for name in POSE_NAMES), "slot_age", "slot_valid"]
        self.state_names = [*POSE_NAMES, *WRENCH_NAMES, *slot, *remembered(WRENCH_NAMES)]
        self.agent_pos_space = box([*pose[2:], *wrench] if level.images else pose)
        self.cameras: tuple[str, ...] = SEEN if level.images else ("side",)
        # a ranked level offers what its robot has
        self.obs_types: tuple[str, ...] = ALL_OBS_TYPES
        if level.images:
            self.obs_types = ("pixels_agent_pos",)
        elif level.slot:
            self.obs_types = ("state", "environment_state_agent_pos")
        spreads = (level.station, level.episode)
        self._lean = math.radians(sum(spread.grip[4] + spread.board[4] for spread in spreads))

    def install(self, rng: np.random.Generator) -> None:
        """Draw how much play the encoders of one station have; it holds from the next `begin` on."""
        least, most = self._level.play
        play = least + (most - least) * rng.random()
        if self._level.encoders:
            linear, angular = self._level.encoders
            self._encoders = (_worn(linear, play), _worn(angular, play))

    # -- starts ------------------------------------------------------------------------------------------------------
    def sample_start(self, rng: np.random.Generator, starts: str) -> Start:
        """A card above its slot: {"edge": [x, y, z], "turn": [rx, ry, rz]} [m, rad]."""
        level = self._level
        wild = starts == "ood" or (level.ood > 0 and rng.uniform() < level.ood)
        wide = WIDER if wild else 1.0
        least, most = np.radians(level.turn).tolist()
        drawn = rng.uniform(-most, most, 3) * wide
        turn = (drawn * max(1.0, least / float(np.linalg.norm(drawn)))).tolist()
        offset = rng.uniform(-OFFSET, OFFSET, 2) * wide
        # A tilted edge reaches below its middle: start that much higher.
        height = rng.uniform(CLOSEST, HEIGHT) + self._droop(turn)
        return {"edge": [*offset.tolist(), float(height)], "turn": turn}

    def _droop(self, turn: Sequence[float]) -> float:
        """How far at most a card in a gripper that is turned by (3,) [rad] reaches below the middle of its edge [m]."""
        leaning = HALF_LENGTH * abs(math.sin(turn[1])) + HALF_THICKNESS * abs(math.sin(turn[0]))
        return leaning + HALF_LENGTH * math.sin(self._lean)

    def check_start(self, start: Start) -> Start:
        """The start asked for, as floats. Raises ValueError where the edge would not hover over the slot."""
        edge, turn = read_start(start, edge="x y z", turn="rx ry rz").values()
        if max(map(abs, edge[:2])) > 0.01 or not self._droop(turn) < edge[2] < 0.02 or max(map(abs, turn)) > 0.2:
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
        """Clear stages, draw this episode's sensors and their errors."""
        self._stage = 0
        self._safety = ContactSafety(LIMITS, readings.pose)
        # Where the end effector would be with the card's edge straight at the slot's mouth, relative to now, if it held the card well.
        # Without a model of perception that is seen once.
        self._slot = readings.mouth - readings.pose
        error = np.concatenate([rng.uniform(-1, 1, 3) * ESTIMATE_ERROR, rng.uniform(-1, 1, 3) * ESTIMATE_TURN])
        self._wrench = wrench_sensor(self._sensing, rng)
        level, dt = self._level, 1 / self.control_hz
        self._sensors = [JointEncoders(spec, rng) for spec in self._encoders] if self._encoders else []
        self._torques = JointTorqueWrench(level.torques, dt, rng) if level.torques else None
        self._perception = WanderingPose(level.slot, dt, rng) if level.slot else None
        self._start = self._pose(readings)
        self._sensed_at = -1.0  # the time of what was sensed last
        # What `observe` returns; what does not change in an episode stands in it: what is seen in one look, valid.
        self._state = np.zeros(self.state_space.shape)
        self._state[12:18], self._state[19] = self._slot + (error if self._sensing == "noisy" else 0.0), 1.0

    def command(self, action: np.ndarray) -> np.ndarray:
        """Velocity (6,) of the end effector's target [m/s, rad/s]."""
        return action * self._scale

    def observe(self, readings: CardReadings) -> np.ndarray:
        """(68,) float32; see `GPUInsertionEnv`."""
        self._sense(readings)
        state, age = self._state, readings.time
        state[:6], state[6:12] = self._moved, self._felt
        if self._perception:
            state[12:18], age, state[19] = self._perception.read(self._slot)
        state[18] = min(age, 20.0) / 20.0
        remember(state[20:], self._felt)
        return state.astype(np.float32)

    def agent_pos(self, readings: CardReadings) -> np.ndarray:
        """(6,) float32: the end effector relative to its start [m, rad]; at levels with images (10,): of that z and rotation, and the wrench
        [N, Nm]. The same however often it is asked in a control period."""
        self._sense(readings)
        known = np.concatenate([self._moved[2:], self._felt]) if self._level.images else self._moved
        return known.astype(np.float32)

    def _sense(self, readings: CardReadings) -> None:
        """Sense pose and wrench, once per control period."""
        if readings.time == self._sensed_at:
            return
        self._sensed_at = readings.time
        self._moved = self._pose(readings) - self._start
        wrench = readings.wrench.vector
        self._felt = self._torques.read(wrench) if self._torques else self._wrench.read(wrench)[0]

    def _pose(self, readings: CardReadings) -> np.ndarray:
        """One control period later: the end effector's pose (6,) as it is sensed [m, rad]."""
        if not self._sensors:
            return readings.pose
        linear, angular = self._sensors
        position, rotation = readings.pose[:3], readings.pose[3:]
        return np.concatenate(
            [linear.read(position, readings.wrench.force), angular.read(rotation, readings.wrench.torque)]
        )

    def update(self, readings: CardReadings) -> Progress:
        """Climb the stages: contact, both ends 1 mm deep, seated."""
        seated = readings.seated
        reached = (readings.force > 2.0 or seated > 0.001, seated > 0.001, seated >= SEATED)
        self._stage = climb(self._stage, reached)
        return Progress.of(self.stages, self._stage)

    def potential(self, readings: CardReadings) -> float:
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


def _worn(spec: EncoderSpec, play: float) -> EncoderSpec:
    """The encoders of a station with more play, or less."""
    low, high = spec.bias
    return replace(spec, bias=(play * low, play * high), backlash=play * spec.backlash, stiffness=spec.stiffness / play)
