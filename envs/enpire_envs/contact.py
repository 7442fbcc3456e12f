"""What contact-rich tasks share: force limits over time, a wrench as it is felt, and a short memory of it."""

from __future__ import annotations

from collections import deque

import numpy as np

from enpire_envs.randomise import SensingSpec

#: A wrist sensor after taring: a small drift per episode and noise per reading (N and Nm).
WRENCH_SENSING = {
    "noisy": SensingSpec(bias_std=(0.15,) * 3 + (0.003,) * 3, noise_std=(0.1,) * 3 + (0.002,) * 3),
    "ideal": SensingSpec.ideal(6),
}
HISTORY = 8  # control periods


class ForceGuard:
    """True once the force has been above the limit for `seconds` in a row."""

    def __init__(self, limit: float, seconds: float, control_hz: float) -> None:
        self._limit, self._allowed = limit, round(seconds * control_hz)
        self._count = 0

    def exceeded(self, force: float) -> bool:
        # "not <=" rather than ">": a force that is no number exceeds every limit
        self._count = self._count + 1 if not force <= self._limit else 0
        return self._count >= self._allowed


class History:
    """The last `HISTORY` rows, oldest first; at the start of an episode the first reading repeated."""

    def __init__(self, first: np.ndarray) -> None:
        self._rows: deque[np.ndarray] = deque([first] * HISTORY, HISTORY)

    def add(self, row: np.ndarray) -> None:
        self._rows.append(row)

    def flat(self) -> np.ndarray:
        """(HISTORY * n,), oldest first."""
        return np.concatenate(self._rows)


def disc(rng: np.random.Generator, radius: float) -> np.ndarray:
    """A point (2,) uniform in a disc."""
    angle, r = rng.uniform(0, 2 * np.pi), radius * np.sqrt(rng.uniform())
    return np.array([r * np.cos(angle), r * np.sin(angle)])
