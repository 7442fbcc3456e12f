"""What contact-rich tasks share: what is forbidden, a wrench as it is felt, and a short memory of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from enpire_envs.end_effector import EndEffectorReadings
from enpire_envs.randomise import SensingSpec, Sensor

#: A wrist sensor after taring: a small drift per episode and noise per reading (N and Nm).
WRENCH_SENSING = {
    "noisy": SensingSpec(bias_std=(0.15,) * 3 + (0.003,) * 3, noise_std=(0.1,) * 3 + (0.002,) * 3),
    "ideal": SensingSpec.ideal(6),
}
HISTORY = 8  # control periods
CONTROL_HZ = 30.0
ROTATION_NAMES = tuple(f"R{row}{column}" for column in (0, 1) for row in (0, 1, 2))  # two columns of a rotation matrix
POSE_NAMES, WRENCH_NAMES = ("x", "y", "z", "rx", "ry", "rz"), ("fx", "fy", "fz", "tx", "ty", "tz")


def wrench_sensor(sensing: str, rng: np.random.Generator) -> Sensor:
    """How an episode's wrenches (6,) [N, Nm] are felt; draws their drift."""
    return Sensor(WRENCH_SENSING[sensing], 1 / CONTROL_HZ, rng)


@dataclass(frozen=True, slots=True)
class SafetyLimits:
    """What ends an episode with a violation.

    Attributes:
        low, high: (3,) how far the end effector may be from its start, along each axis [m].
        force: on the tool, that may not be exceeded for `seconds` in a row [N].
        depth: of penetration, also what no success may rest on [m].
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    force: float
    seconds: float = 0.1
    depth: float = 0.0005


class ContactSafety:
    """Holds one episode to its limits.

    Args:
        limits: what is forbidden.
        start: (6,) the end effector's pose at the start [m, rad].
    """

    def __init__(self, limits: SafetyLimits, start: np.ndarray) -> None:
        self._limits = limits
        self._start = start[:3].copy()
        self._guard = ForceGuard(limits.force, limits.seconds, CONTROL_HZ)

    def violation(self, readings: EndEffectorReadings, lost: str | None = None) -> str | None:
        """The rule that is broken, or None; to be asked once per control period.

        Args:
            lost: what else has gone wrong, by name; an end effector outside its workspace comes first.
        """
        limits = self._limits
        x, y, z = (readings.pose[:3] - self._start).tolist()
        (x0, y0, z0), (x1, y1, z1) = limits.low, limits.high
        if not (x0 <= x <= x1 and y0 <= y <= y1 and z0 <= z <= z1):  # also true of NaN, as is each "not <=" below
            return "out_of_workspace"
        if lost is not None:
            return lost
        if self._guard.exceeded(readings.force):
            return "force_limit"
        if not readings.depth <= limits.depth:
            return "penetration"
        return None


class ForceGuard:
    """True once the force has been above the limit for `seconds` in a row."""

    def __init__(self, limit: float, seconds: float, control_hz: float) -> None:
        self._limit, self._allowed = limit, round(seconds * control_hz)
        self._count = 0

    def exceeded(self, force: float) -> bool:
        """One control period later: whether `force` [N] has now been above the limit for too long."""
        # "not <=" rather than ">": a force that is no number exceeds every limit
        self._count = self._count + 1 if not force <= self._limit else 0
        return self._count >= self._allowed


def remember(memory: np.ndarray, row: np.ndarray, *more: float) -> None:
    """Append a row and further numbers to a flat memory (HISTORY * n,), oldest first; the oldest n numbers go."""
    n = len(row) + len(more)
    memory[:-n] = memory[n:]
    memory[-n : len(memory) - len(more)] = row
    if more:
        memory[-len(more) :] = more


def remembered(names: Sequence[str]) -> list[str]:
    """What the numbers of such a memory are called: "fx[-7]" to "fx[0]", which is now."""
    return [f"{name}[{k + 1 - HISTORY}]" for k in range(HISTORY) for name in names]
