"""`cem`: the cross-entropy method (Rubinstein 1999). Draw parameters, keep the best, draw nearer to them; no gradients, no weights.

It tunes the few numbers of a policy that somebody wrote, so it is no algorithm of `autoenvbench train`: the built-in researcher `cem` uses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from autoenvbench.learning.settings import knob


@dataclass(frozen=True)
class Settings:
    """Hyperparameters."""

    population: int = knob(16, "points drawn in a generation")
    elites: int = knob(4, "the best of them, that the next generation is drawn around")
    episodes: int = knob(8, "that a point is judged by, on starts that all points of a generation share")
    first_std: float = knob(0.30, "spread of the first generation, as a share of each parameter's range")
    min_std: float = knob(0.03, "spread below which it never falls: keeps the search from freezing")


@dataclass
class Search:
    """The search distribution over parameters scaled to [0, 1].

    Attributes:
        low, high: (parameters,) bounds.
        mean, std: (parameters,) of the distribution.
    """

    names: list[str]
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    settings: Settings

    @classmethod
    def over(
        cls, parameters: Mapping[str, tuple[float, float, float]], known: Mapping[str, float], settings: Settings
    ) -> Search:
        """A search over `parameters` (name: low, initial, high), wide at first, a third as wide around values `known` from before."""
        names = list(parameters)
        low, initial, high = (np.array([parameters[n][k] for n in names], float) for k in range(3))
        at = np.array([known.get(n, v) for n, v in zip(names, initial, strict=True)])
        std = settings.first_std if not known else settings.first_std / 3
        return cls(names, low, high, (at - low) / (high - low), np.full(len(names), std), settings)

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """A generation: (population, parameters) in [0, 1], the first of them the mean."""
        drawn = self.mean + self.std * rng.normal(size=(self.settings.population, len(self.names)))
        drawn[0] = self.mean
        return np.clip(drawn, 0.0, 1.0)

    def refit(self, elites: np.ndarray) -> None:
        """Move to the mean of the elite points (elites, parameters), and half way to their spread."""
        self.mean = elites.mean(axis=0)
        self.std = np.maximum(0.5 * self.std + 0.5 * elites.std(axis=0), self.settings.min_std)

    def values(self, point: np.ndarray) -> dict[str, float]:
        """A point in [0, 1] as the parameters' own values."""
        return {
            n: float(round(v, 6)) for n, v in zip(self.names, self.low + point * (self.high - self.low), strict=True)
        }
