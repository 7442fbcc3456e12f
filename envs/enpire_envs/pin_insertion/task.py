"""The pin insertion job: starts, observation, stages, danger and verdict."""

from __future__ import annotations

import math

import numpy as np
from gymnasium import spaces

from enpire_envs.cell import Cell
from enpire_envs.contact import HISTORY, WRENCH_SENSING, ForceGuard, History, disc
from enpire_envs.pin_insertion.scene import HOLE_DEPTH, HOLE_RADIUS, PinReadings
from enpire_envs.randomise import Sensor
from enpire_envs.task import Progress, Start, Verdict

STEP = np.array([0.0003, 0.0003, 0.0006])  # displacement per control step at an action of 1 [m]
TURN = math.radians(0.2)  # rotation per control step at an action of 1 [rad], tilt="hard"
HOVER = 0.002  # radius of the disc of start offsets, and of the hole estimate's error [m]
HEIGHT = (0.004, 0.005)  # of the pin's tip above the plate at the start [m]
DEEP_ENOUGH = 0.018
HOLD_FORCE = 10.0  # [N]
TOO_DEEP = 0.0005  # penetration that no success may rest on [m]
FORCE_LIMIT, FORCE_TIME = 40.0, 0.1  # [N], [s]
BOX_LOW, BOX_HIGH = (-0.015, -0.015, -0.070), (0.015, 0.015, 0.003)  # from the start [m]


class PinInsertion:
    """Pin insertion as a `Task`. See `PinInsertionEnv` for what every argument means."""

    name = "PinInsertion"
    control_hz = 30.0
    max_steps = 600
    stages: tuple[str, ...] = ("start", "contact", "tip_in", "half_in", "success")
    act_cpu_ms = 250.0
    camera = "wrist"

    def __init__(self, sensing: str, tilt: str) -> None:
        self._sensing = sensing
        self._turns = tilt == "hard"
        self._tilt = {"id": math.radians(3 if self._turns else 1), "ood": math.radians(5 if self._turns else 2)}
        self._hover = {"id": HOVER, "ood": 1.5 * HOVER}
        n = 6 if self._turns else 3
        one = np.ones(n, np.float32)
        self.action_space = spaces.Box(-one, one, dtype=np.float32)
        self._scale = np.concatenate([STEP, [TURN] * 3])[:n] * self.control_hz
        self.agent_pos_space = _box(0.1, n)
        wrench = [100.0] * 3 + [5.0] * 3
        bounds = [0.1] * n + wrench + [1.0] + [0.02, 0.02, 1.0, 1.0] + [*wrench, 0.1] * HISTORY
        high = np.array(bounds, np.float32)
        self.state_space = spaces.Box(-high, high, dtype=np.float32)
        self._guard = ForceGuard(FORCE_LIMIT, FORCE_TIME, self.control_hz)
        self._stage = 0
        self._origin = np.zeros(6)
        self._estimate = np.zeros(2)

    # -- starts ------------------------------------------------------------------------------------------------------
    def sample_start(self, rng: np.random.Generator, starts: str) -> Start:
        offset = disc(rng, self._hover[starts])
        tilt = disc(rng, self._tilt[starts])
        return {
            "tip": [*offset.tolist(), float(rng.uniform(*HEIGHT))],
            "tilt": tilt.tolist(),
            "hole": rng.integers(0, 3, 2).tolist(),
        }

    def check_start(self, start: Start) -> Start:
        shape = 'options={"start": {"tip": [x, y, z], "tilt": [rx, ry], "hole": [column, row]}} in metres and radians'
        try:
            tip, tilt = [float(v) for v in start["tip"]], [float(v) for v in start["tilt"]]
            hole = [int(v) for v in start["hole"]]
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"bad start {start!r}: expected {shape}") from None
        sizes = (len(tip), len(tilt), len(hole)) == (3, 2, 2)
        if not sizes or not all(map(math.isfinite, tip + tilt)) or not all(0 <= h <= 2 for h in hole):
            raise ValueError(f"bad start {start!r}: expected {shape}, column and row 0 to 2")
        if max(map(abs, tip[:2])) > 0.01 or not 0.0005 <= tip[2] <= 0.02 or max(map(abs, tilt)) > 0.2:
            raise ValueError(f"bad start {start!r}: the tip must hover 0.5 to 20 mm above the plate, near the hole")
        return {"tip": tip, "tilt": tilt, "hole": hole}

    def ready(self, readings: PinReadings, start: Start) -> str | None:
        off = float(np.abs(readings.tip - start["tip"]).max())
        if off > 0.0005:
            return f"the pin's tip is {off * 1000:.2f} mm from its start"
        return "the pin touches something" if readings.depth > 0 else None

    # -- an episode --------------------------------------------------------------------------------------------------
    def begin(self, start: Start, readings: PinReadings, rng: np.random.Generator) -> None:
        self._stage = 0
        self._origin = readings.pose
        self._guard = ForceGuard(FORCE_LIMIT, FORCE_TIME, self.control_hz)
        error = disc(rng, HOVER) if self._sensing == "noisy" else np.zeros(2)
        # Perception looks once, before the arm is in the way: where the hole is, as seen from the end effector.
        self._estimate = -np.array(start["tip"][:2]) + error
        self._wrench = Sensor(WRENCH_SENSING[self._sensing], 1 / self.control_hz, rng)
        self._felt = np.zeros(6)
        self._history = History(np.zeros(7))

    def command(self, action: np.ndarray) -> np.ndarray:
        """Velocity (6,) of the end effector's target [m/s, rad/s]."""
        velocity = np.zeros(6)
        velocity[: len(action)] = action * self._scale
        return velocity

    def observe(self, readings: PinReadings) -> np.ndarray:
        moved = self.agent_pos(readings)
        self._felt, _, _ = self._wrench.read(readings.wrench)
        self._history.add(np.append(self._felt, moved[2]))
        age = readings.time
        return np.concatenate(
            [moved, self._felt, (0.0,), self._estimate, (min(age, 20.0) / 20.0, 1.0), self._history.flat()]
        ).astype(np.float32)

    def agent_pos(self, readings: PinReadings) -> np.ndarray:
        return (readings.pose - self._origin)[: len(self._scale)].astype(np.float32)

    def update(self, readings: PinReadings) -> Progress:
        insertion = readings.insertion
        reached = (readings.force > 1.0 or insertion > 0.001, insertion > 0.001, insertion > HOLE_DEPTH / 2)
        while self._stage < 3 and reached[self._stage]:
            self._stage += 1
        return Progress(self.stages[self._stage], self._stage / 4)

    def dense_reward(self, readings: PinReadings) -> float:
        """Insertion, and before it nearness: a tenth for being on the axis at the plate."""
        off = math.hypot(readings.tip[0], readings.tip[1]) + max(0.0, float(readings.tip[2]))
        return 0.1 * math.exp(-off / 0.002) + 0.9 * min(readings.insertion / DEEP_ENOUGH, 1.0)

    def extras(self, readings: PinReadings) -> dict[str, float]:
        return {"insertion": readings.insertion, "force": readings.force}

    # -- danger and verdict ------------------------------------------------------------------------------------------
    def violation(self, readings: PinReadings) -> str | None:
        moved = (readings.pose[:3] - self._origin[:3]).tolist()
        if not all(low <= m <= high for low, m, high in zip(BOX_LOW, moved, BOX_HIGH, strict=True)):
            return "out_of_workspace"
        if self._guard.exceeded(readings.force):
            return "force_limit"
        if not readings.depth <= TOO_DEEP:
            return "penetration"
        return None

    def candidate(self, readings: PinReadings) -> bool:
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
        if readings.depth > TOO_DEEP:
            return Verdict(False, "penetration")
        self._stage = 4
        return Verdict(True)


def _in_bore(readings: PinReadings) -> bool:
    """The whole inserted part of the pin's axis lies inside the hole's cylinder: at the tip and where it enters."""
    tip, axis = readings.tip, readings.axis
    entry = tip - axis * (tip[2] / axis[2])  # where the pin's axis crosses the plate's top
    return math.hypot(tip[0], tip[1]) < HOLE_RADIUS and math.hypot(entry[0], entry[1]) < HOLE_RADIUS


def _box(bound: float, n: int) -> spaces.Box:
    high = np.full(n, bound, np.float32)
    return spaces.Box(-high, high, dtype=np.float32)
