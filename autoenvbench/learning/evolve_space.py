"""What ideas of one family vary: the numbers of a policy, or the settings of a learning recipe, as points in [0, 1].

Most new points are drawn from a normal distribution around the family's elite, as in the cross-entropy method (`learning.cem`), the others by
mutation and crossover. `learning.evolve` decides which family has a turn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Axis:
    """One setting.

    Attributes:
        low, high: its range; `log`: equal steps are equal factors; `whole`: it is rounded.
        options: in place of a range, what it may be, in an order in which neighbours are alike.
    """

    low: float = 0.0
    high: float = 1.0
    log: bool = False
    whole: bool = False
    options: tuple[Any, ...] = ()

    def value(self, at: float) -> Any:
        """What lies at a place in [0, 1]."""
        if self.options:
            return self.options[min(int(at * len(self.options)), len(self.options) - 1)]
        value = self.low * (self.high / self.low) ** at if self.log else self.low + at * (self.high - self.low)
        return round(value) if self.whole else float(f"{value:.6g}")

    def place(self, value: Any) -> float:
        """The place in [0, 1] of a value; of one outside of the range, the nearest. Raises ValueError for what is no option."""
        if self.options:
            return (self.options.index(value) + 0.5) / len(self.options)
        value = float(value)
        if self.log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return float(np.clip(share, 0.0, 1.0))


class Point(Protocol):
    """An idea, as far as a family has to do with it."""

    point: np.ndarray | None


@dataclass
class Family:
    """A space of ideas, and the distribution from which new ones are drawn.

    Attributes:
        axes: by name.
        first: values that its first idea has.
        mean, std: (axes,) of the distribution, once it was fitted `refits` times.
        failed: trainings in a row that came to nothing; `closed`: no more are tried.
    """

    axes: dict[str, Axis]
    first: dict[str, Any]
    mean: np.ndarray
    std: np.ndarray
    refits: int = 0
    failed: int = 0
    closed: bool = False
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.names = list(self.axes)

    @classmethod
    def of(cls, axes: Mapping[str, Axis], first: Mapping[str, Any], spread: float) -> Family:
        """A family that begins at `first`; `spread` is the standard deviation of its first ideas."""
        made = cls(dict(axes), dict(first), np.zeros(len(axes)), np.full(len(axes), spread))
        made.mean = made.point(first)
        return made

    def values(self, point: Iterable[float]) -> dict[str, Any]:
        """A point in [0, 1] as the settings' own values."""
        return {name: self.axes[name].value(float(at)) for name, at in zip(self.names, point, strict=True)}

    def point(self, values: Mapping[str, Any]) -> np.ndarray:
        """Values of all settings as a point in [0, 1]. Raises KeyError for a missing one, ValueError for what is no option."""
        return np.array([self.axes[name].place(values[name]) for name in self.names], float)

    def vary(
        self, rng: np.random.Generator, parent: Point, elite: Sequence[Point]
    ) -> tuple[np.ndarray, str, list[Any]]:
        """A new point, how it was made, and the others of the elite that it draws on: mostly by the distribution around the elite."""
        assert parent.point is not None
        n, partners = len(self.names), [idea for idea in elite if idea is not parent]
        how = rng.choice(["fit", "mutate", "cross"], p=[0.6, 0.2, 0.2]) if partners else "fit"
        if how == "mutate":  # one number at least, three on average
            chosen = rng.random(n) < 3 / n
            chosen[rng.integers(n)] = True
            return np.clip(parent.point + 2 * chosen * self.std * rng.normal(size=n), 0, 1), "mutation", []
        if how == "cross":
            partner = partners[rng.integers(len(partners))]
            assert partner.point is not None
            mixed = np.where(rng.random(n) < 0.5, parent.point, partner.point)
            return np.clip(mixed + 0.3 * self.std * rng.normal(size=n), 0, 1), "crossover", [partner]
        mean = self.mean if self.refits else parent.point
        return np.clip(mean + self.std * rng.normal(size=n), 0, 1), "near the elite", partners if self.refits else []

    def fit(self, elite: Sequence[Point], least: float) -> None:
        """Move the distribution to the elite, and half way to its spread, which never falls below `least`."""
        points = np.array([idea.point for idea in elite])
        self.refits += 1
        self.mean = points.mean(axis=0)
        self.std = np.maximum(0.5 * self.std + 0.5 * points.std(axis=0), least)

    def words(self, before: Iterable[float], after: Iterable[float]) -> str:
        """What is changed, the most first; empty where nothing is."""
        old, new = self.values(before), self.values(after)
        moved = np.abs(np.array([*after]) - np.array([*before]))
        order = [self.names[int(k)] for k in np.argsort(-moved, kind="stable") if moved[k] > 1e-3]
        changes = [f"{name} {_short(old[name])} -> {_short(new[name])}" for name in order if old[name] != new[name]]
        return ", ".join(changes[:4]) + (f" and {len(changes) - 4} more" if len(changes) > 4 else "")


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
