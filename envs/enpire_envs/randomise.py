"""Seeds and sensing: where every random number of an episode comes from.

One episode seed fans out into independent streams, so that eight attempts at the *same start* differ in
sensing and physics only (this is what pass@k means here), and so that adding a draw to one stream never
shifts another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_START, _SENSING, _PHYSICS, _STATION = range(4)


@dataclass(frozen=True, slots=True)
class EpisodeStreams:
    """Independent generators of one episode."""

    start: np.random.Generator
    sensing: np.random.Generator
    physics: np.random.Generator

    @classmethod
    def derive(cls, episode_seed: int, attempt: int = 0) -> EpisodeStreams:
        """`attempt` re-draws sensing and physics and leaves the start alone."""

        def stream(*key: int) -> np.random.Generator:
            return np.random.default_rng(np.random.SeedSequence(episode_seed, spawn_key=key))

        return cls(stream(_START), stream(_SENSING, attempt), stream(_PHYSICS, attempt))


def station_stream(station_seed: int, part: int) -> np.random.Generator:
    """What draws one part of a station: whatever stays the same for all its episodes."""
    return np.random.default_rng(np.random.SeedSequence(station_seed, spawn_key=(_STATION, part)))


def disc(rng: np.random.Generator, radius: float) -> np.ndarray:
    """A point (2,) uniform in a disc."""
    angle, r = rng.uniform(0, 2 * np.pi), radius * np.sqrt(rng.uniform())
    return np.array([r * np.cos(angle), r * np.sin(angle)])


@dataclass(frozen=True, slots=True)
class SensingSpec:
    """How well a quantity of n components is perceived (units of the quantity).

    Attributes:
        bias_std: (n,) standard deviation of an error drawn once per episode.
        noise_std: (n,) standard deviation of an error drawn at each reading.
        latency_steps: the delays, in control periods, of which one is drawn per episode.
        dropout: probability that a reading is missing; the last good one is then repeated.
    """

    bias_std: tuple[float, ...]
    noise_std: tuple[float, ...]
    latency_steps: tuple[int, ...] = (0,)
    dropout: float = 0.0

    @classmethod
    def ideal(cls, n: int) -> SensingSpec:
        """A quantity of n components that is perceived as it is."""
        return cls((0.0,) * n, (0.0,) * n)


class Sensor:
    """One perceived quantity over an episode: bias, noise, latency, drop-outs, all from one generator."""

    def __init__(self, spec: SensingSpec, dt: float, rng: np.random.Generator) -> None:
        self._spec, self._dt, self._rng = spec, dt, rng
        self._bias = rng.normal(0.0, 1.0, len(spec.bias_std)) * spec.bias_std
        self._noise = np.asarray(spec.noise_std)
        self._delay = int(rng.choice(spec.latency_steps))
        self._past: list[np.ndarray] = []
        self._estimate: np.ndarray | None = None
        self._age = 0

    def read(self, truth: np.ndarray) -> tuple[np.ndarray, float, bool]:
        """Feed the truth of this control period; get (estimate (n,), age in s, valid)."""
        self._past.append(truth)
        if len(self._past) > self._delay + 1:
            del self._past[0]
        # The first reading is always good: an episode starts from a scene that was just verified.
        if self._estimate is not None and self._spec.dropout and self._rng.random() < self._spec.dropout:
            self._age += 1
            return self._estimate, self._age * self._dt, False
        self._age = len(self._past) - 1
        self._estimate = self._past[0] + self._bias + self._rng.standard_normal(len(self._noise)) * self._noise
        return self._estimate, self._age * self._dt, True
