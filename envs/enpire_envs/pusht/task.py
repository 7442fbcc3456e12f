"""The Push-T job: starts, observation, stages, danger and verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from enpire_envs.cell import Cell
from enpire_envs.levels import Hiding, JointEncoders, WanderingPose
from enpire_envs.pusht.geometry import BAR, REACH, STEM, U, bounding_box, clearance, coverage, in_frame, wrap
from enpire_envs.pusht.levels import LEVELS, PushTLevel
from enpire_envs.pusht.scene import Arena, PushTReadings
from enpire_envs.randomise import SensingSpec, Sensor
from enpire_envs.task import ALL_OBS_TYPES, Progress, Start, Verdict, box, read_start

Criterion = Literal["coverage", "pose", "simple"]
Control = Literal["delta", "absolute"]

SPEED = 0.30  # fingertip speed limit per axis [m/s], the paper's
COVERAGE_SUCCESS = 0.95
ANGLE_OK = math.radians(10)
SIMPLE_DISTANCE = 0.020  # [m]
GOAL_BOX_MARGIN = 0.020  # the goal box is the target's bounding box grown by this [m]
RANGE_MARGIN = 0.020  # ... and range_ok allows this much more
FIRST_MOVE = 0.010  # [m]
# The T counts as at rest when it moved less than this in a control period; friction stops it within 0.1 mm from there.
REST_DISTANCE, REST_ANGLE = 0.002, math.radians(1)
MAX_FORCE = 60.0  # both drives saturate at 30 N: anything above means that the drives are not what we think

SENSING = {
    "noisy": SensingSpec(
        bias_std=(0.001, 0.001, math.radians(0.3)),
        noise_std=(0.0005, 0.0005, math.radians(0.2)),
        latency_steps=(0, 1),
        dropout=0.02,
    ),
    "ideal": SensingSpec.ideal(3),
}


_GRIPPER = 0.03  # how far the arm reaches beyond its fingertip, as seen from above [m]
#: (28,) points x + iy spread evenly over the T, in its frame [m].
_POINTS = np.array(
    [
        complex(x0 + U * (i + 0.5) / 2, y0 + U * (j + 0.5) / 2)
        for x0, x1, y0, y1 in (BAR, STEM)
        for i in range(round(2 * (x1 - x0) / U))
        for j in range(round(2 * (y1 - y0) / U))
    ]
)


@dataclass(frozen=True, slots=True)
class StartRange:
    """Where the T may start: its bounding box at least `margin` inside the workspace [m]; turned anywhere, or by
    180 degrees +- `yaw_spread` [rad]."""

    margin: float
    yaw_spread: float | None = None


class PushT:
    """Push-T as a `Task`. See `PushTEnv` for what every argument means."""

    control_hz = 10.0
    max_steps = 300
    stages: tuple[str, ...] = ("start", "first_move", "range_ok", "orientation_ok", "success")
    act_cpu_ms = 250.0
    camera = "top"
    cameras: tuple[str, ...] = ("top",)
    obs_types: tuple[str, ...] = ALL_OBS_TYPES
    action_names: tuple[str, ...] = ("x", "y")
    agent_pos_names = action_names
    state_names: tuple[str, ...] = ("x", "y", "T_x", "T_y", "T_cos", "T_sin", "T_age", "T_valid")

    def __init__(
        self,
        arena: Arena,
        criterion: Criterion,
        control: Control,
        sensing: str,
        variant: str,
        level: PushTLevel = LEVELS["intro"],
    ) -> None:
        self.name = "PushTSimple" if variant == "simple" else "PushT"
        self.arena = arena
        self.goal = arena.goal
        self._criterion = criterion
        self._control = control
        self._sensing = SENSING[sensing]
        self._level = level if sensing == "noisy" else replace(level, encoders=None, block=None, camera=None)
        if level.images:
            self.obs_types = ("pixels_agent_pos",)
        self._ranges = {
            "full": {"id": StartRange(0.060), "ood": StartRange(0.035)},
            "simple": {
                "id": StartRange(0.060, math.radians(15)),
                "ood": StartRange(0.035, math.radians(45)),
            },
        }[variant]
        self._goal_box = _grow(bounding_box(self.goal), GOAL_BOX_MARGIN)
        self._range_box = _grow(self._goal_box, RANGE_MARGIN)

        half = np.array(arena.half, dtype=np.float32)
        self.action_space = box([1.0, 1.0] if control == "delta" else arena.half)
        # Perception noise can put an estimate slightly outside the arena, so the bounds are wider than it.
        wide = half + 0.25
        self.agent_pos_space = box(wide.tolist())
        one = np.ones(2, dtype=np.float32)
        low = np.concatenate([-wide, -wide, -one, np.zeros(2, np.float32)])
        high = np.concatenate([wide, wide, one, np.array([self.max_steps / self.control_hz, 1], np.float32)])
        self.state_space = spaces.Box(low, high, dtype=np.float32)

        self._sensor: Sensor | None = None
        self._tip: JointEncoders | None = None
        self._block: WanderingPose | None = None
        self._hiding: Hiding | None = None
        self._moved_at = -1.0
        self._start: Start = {}
        self._stage = 0
        self._previous = (0.0, 0.0, 0.0)
        self._at_rest = True
        self._coverage: float | None = None

    # -- starts ------------------------------------------------------------------------------------------------------
    def sample_start(self, rng: np.random.Generator, starts: str) -> Start:
        """A T and a fingertip that do not overlap and are not solved: {"block": [x, y, yaw], "tip": [x, y]} [m, rad]."""
        half_x, half_y = self.arena.half
        if self._level.ood and starts == "id" and rng.random() < self._level.ood:
            starts = "ood"
        wanted = self._ranges[starts]
        for _ in range(10_000):
            if wanted.yaw_spread is None:
                yaw = rng.uniform(-math.pi, math.pi)
            else:
                yaw = wrap(self.goal[2] + math.pi + rng.uniform(-wanted.yaw_spread, wanted.yaw_spread))
            block = (rng.uniform(-half_x, half_x), rng.uniform(-half_y, half_y), yaw)
            tip = (rng.uniform(-half_x, half_x), rng.uniform(-half_y, half_y))
            x0, x1, y0, y1 = bounding_box(block)
            room = min(x0 + half_x, half_x - x1, y0 + half_y, half_y - y1)
            if starts == "ood" and room >= self._ranges["id"].margin and wanted.yaw_spread is None:
                continue  # out of distribution means out of it
            apart = clearance(tip, block) > self.arena.tip_radius + 0.005
            if room >= wanted.margin and apart and not self._solved(block):
                return {"block": list(block), "tip": list(tip)}
        raise RuntimeError("no start found: the arena is too small for the T")

    def check_start(self, start: Start) -> Start:
        """The start asked for, as floats. Raises ValueError where it is outside the arena or overlaps."""
        block, tip = read_start(start, block="x y yaw", tip="x y").values()
        for what, point in (("tip", tip), ("block", block)):
            if any(abs(v) > half for v, half in zip(point, self.arena.half, strict=False)):
                raise ValueError(f"bad start: {what} at {point[:2]} is outside the arena of +-{self.arena.half} m")
        if clearance(tip, block) <= self.arena.tip_radius:
            raise ValueError(f"bad start: the fingertip at {tip} overlaps the T at {block}; move it away")
        return {"block": block, "tip": tip}

    def ready(self, readings: PushTReadings, start: Start) -> str | None:
        """Whether T and fingertip stand within 2 mm and 1 deg of the start."""
        dx, dy, turn = in_frame(readings.block, start["block"])
        if math.hypot(dx, dy) > 0.002 or abs(turn) > math.radians(1):
            return f"the T is {math.hypot(dx, dy) * 1000:.1f} mm and {math.degrees(turn):.1f} deg from its start"
        if math.dist(readings.tip, start["tip"]) > 0.002:
            return "the fingertip is not at its start"
        return None

    # -- an episode --------------------------------------------------------------------------------------------------
    def begin(self, start: Start, readings: PushTReadings, rng: np.random.Generator) -> None:
        """Clear stages and draw this episode's errors of perception."""
        self._start = start
        level, dt = self._level, 1.0 / self.control_hz
        self._tip = JointEncoders(level.encoders, rng) if level.encoders else None
        self._block = WanderingPose(level.block, dt, rng) if level.block else None
        self._hiding = Hiding(level.hiding, rng) if level.hiding else None
        self._moved_at = -1.0  # the time of what `agent_pos` last said
        self._sensor = Sensor(self._sensing, 1.0 / self.control_hz, rng)
        self._stage = 0
        self._previous = readings.block
        self._at_rest = True
        self._coverage = None

    def command(self, action: np.ndarray) -> np.ndarray:
        """Velocity (2,) of the fingertip's target [m/s]."""
        if self._control == "delta":
            return action * SPEED
        velocity = (action - self._tip_target) * self.control_hz
        return np.clip(velocity, -SPEED, SPEED)

    def observe(self, readings: PushTReadings) -> np.ndarray:
        """(8,) float32: fingertip, estimated T, age and validity of the estimate; see `PushTEnv`."""
        assert self._sensor is not None, "begin() comes first"
        block = np.array(readings.block)
        if self._block is not None:
            pose, age, valid = self._block.read(block, hidden=self.hidden(readings))
        else:
            pose, age, valid = self._sensor.read(block)
        # as numbers of Python's: NumPy's own cost a microsecond more
        (tip_x, tip_y), (x, y, yaw) = self.agent_pos(readings).tolist(), pose.tolist()
        return np.array((tip_x, tip_y, x, y, math.cos(yaw), math.sin(yaw), age, valid), dtype=np.float32)

    def hidden(self, readings: PushTReadings) -> bool:
        """One look later: whether the arm hides so much of the T from the camera that no pose can be told."""
        arm = self._level.arm
        if arm is None or self._hiding is None:
            return False
        # the T as seen along the arm: x from the fingertip towards its base
        x, y, yaw = in_frame(readings.block, (*readings.tip, readings.arm))
        if abs(y) > arm.half_width + REACH or x < -REACH - _GRIPPER:
            return False
        points = _POINTS * complex(math.cos(yaw), math.sin(yaw)) + complex(x, y)
        covered = (points.real > -_GRIPPER) & (np.abs(points.imag) < arm.half_width)
        return self._hiding.hides(int(np.count_nonzero(covered)) / len(covered))

    def agent_pos(self, readings: PushTReadings) -> np.ndarray:
        """(2,) float32: the fingertip in the table's frame, where the arm has it [m]; the same however often it is asked in a control period."""
        self._tip_target = readings.tip_target
        if self._tip is None:
            return np.array(readings.tip, dtype=np.float32)
        if readings.time != self._moved_at:
            self._moved_at = readings.time
            (x, y), (dx, dy), (fx, fy) = readings.tip, readings.tip_offset, readings.pushed
            self._moved = self._tip.read(np.array((x - dx, y - dy, 0.0)), np.array((-fx, -fy, 0.0)))[:2].astype(
                np.float32
            )
        return self._moved.copy()

    def update(self, readings: PushTReadings) -> Progress:
        """Climb the stages, and note whether the T is at rest."""
        block = readings.block
        dx, dy, turn = in_frame(block, self._previous)
        self._at_rest = math.hypot(dx, dy) < REST_DISTANCE and abs(turn) < REST_ANGLE
        self._previous = block
        self._coverage = None
        if self._stage < 3:
            self._climb(block)
        return Progress.of(self.stages, self._stage)

    def _climb(self, block: tuple[float, float, float]) -> None:
        """Each rung needs the ones below it, so that a T that happens to start upright earns nothing."""
        start = self._start["block"]
        if self._stage == 0 and math.hypot(block[0] - start[0], block[1] - start[1]) >= FIRST_MOVE:
            self._stage = 1
        if self._stage in (1, 2) and _inside(bounding_box(block), self._range_box):
            self._stage = 3 if abs(wrap(block[2] - self.goal[2])) <= ANGLE_OK else 2

    def coverage(self, readings: PushTReadings) -> float:
        """Share of the target that the T covers, 0 to 1."""
        if self._coverage is None:
            self._coverage = coverage(readings.block, self.goal)
        return self._coverage

    def potential(self, readings: PushTReadings) -> float:
        """Coverage as a share of what success takes, at most 1."""
        return min(self.coverage(readings) / COVERAGE_SUCCESS, 1.0)

    def extras(self, readings: PushTReadings) -> dict[str, float]:
        """`coverage`, 0 to 1."""
        return {"coverage": self.coverage(readings)}

    # -- danger and verdict ------------------------------------------------------------------------------------------
    def violation(self, readings: PushTReadings) -> str | None:
        """The T or the fingertip outside the workspace, or more than 60 N on the drives."""
        x, y, _ = readings.block
        half_x, half_y = self.arena.half
        if not (abs(x) <= half_x and abs(y) <= half_y):  # also true of NaN
            return "block_out_of_workspace"
        if not (abs(readings.tip[0]) <= half_x + 0.02 and abs(readings.tip[1]) <= half_y + 0.02):
            return "fingertip_out_of_workspace"
        if not readings.force <= MAX_FORCE:
            return "force_limit"
        return None

    def candidate(self, readings: PushTReadings) -> bool:
        """At rest and solved by the criterion: worth a look without the fingertip."""
        return self._at_rest and self._solved(readings.block, self.coverage(readings))

    def verify(self, cell: Cell) -> Verdict:
        """Lift the fingertip out of the way, let the T settle, look again."""
        block = cell.probe("clear_view").block
        if self._solved(block):
            return Verdict(True)
        return Verdict(False, "not_solved_after_clear_view")

    def _solved(self, block: Any, covered: float | None = None) -> bool:
        turned = abs(wrap(block[2] - self.goal[2]))
        if self._criterion == "coverage":
            return (coverage(block, self.goal) if covered is None else covered) >= COVERAGE_SUCCESS
        if self._criterion == "pose":
            return turned <= ANGLE_OK and _inside(bounding_box(block), self._goal_box)
        distance = math.hypot(block[0] - self.goal[0], block[1] - self.goal[1])
        return turned <= ANGLE_OK and distance <= SIMPLE_DISTANCE


Box = tuple[float, float, float, float]


def _grow(box: Box, by: float) -> Box:
    return box[0] - by, box[1] + by, box[2] - by, box[3] + by


def _inside(box: Box, outer: Box) -> bool:
    return box[0] >= outer[0] and box[1] <= outer[1] and box[2] >= outer[2] and box[3] <= outer[3]
