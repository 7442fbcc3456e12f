"""What stands between a policy and the physics at the ranked levels, as numbers and as the models that these drive.

A level of a task is a frozen dataclass of numbers; the ones here are its parts. Each model belongs to one episode, draws from one generator
alone and is read once per control period, so seeds reproduce it and copies go on exactly. Random numbers are drawn many periods ahead, as a draw costs more
than its use.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Control periods that random numbers are drawn ahead for.
_AHEAD = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSpec:
    """How badly joint encoders know where a tool is along each axis [m, N], or how it is turned about each [rad, Nm].

    Attributes:
        bias: amplitude of an error that depends smoothly on the position: smallest and largest, drawn per episode and axis [m].
        wavelength: of that error [m].
        backlash: width of the play: after a reversal nothing seems to move for so long [m].
        stiffness: of what bends between the encoders and the tool; its bending is not seen [N/m].
        noise: standard deviation per reading [m].
    """

    bias: tuple[float, float]
    wavelength: float
    backlash: float
    stiffness: float
    noise: float


class JointEncoders:
    """A tool's position (3,) by joint encoders with backlash and flex, or its angles, or whatever else (n,) they measure.

    Args:
        spec: of three components, or one for each.
        rng: what each episode draws from.
    """

    def __init__(self, spec: EncoderSpec | Sequence[EncoderSpec], rng: np.random.Generator) -> None:
        specs = [spec] * 3 if isinstance(spec, EncoderSpec) else spec
        self._rng = rng
        amplitude = rng.uniform(*np.array([s.bias for s in specs]).T).tolist()
        phase = rng.uniform(0, 2 * math.pi, len(specs)).tolist()
        waves = zip(amplitude, phase, specs, strict=True)
        #: Of each component: stiffness, half its play, and its wave: amplitude, radians per unit, phase.
        self._parts = [(s.stiffness, s.backlash / 2, a, 2 * math.pi / s.wavelength, p) for a, p, s in waves]
        self._engaged: list[float] | None = None
        self._noise = np.array([s.noise for s in specs])
        self._noises: list[list[float]] = []  # drawn ahead
        self._next = 0

    def read(self, position: np.ndarray, force: np.ndarray) -> np.ndarray:
        """The position (n,) [m] as encoders have it, under a force (n,) on the tool [N]."""
        if self._next == len(self._noises):
            self._noises, self._next = (self._noise * self._rng.standard_normal((_AHEAD, len(self._noise)))).tolist(), 0
        noises = self._noises[self._next]
        self._next += 1
        # component by component, which for so few takes half of what NumPy's operations do
        positions, forces = position.tolist(), force.tolist()
        engaged, read = [], []
        for k, (stiffness, play, amplitude, wave, phase) in enumerate(self._parts):
            x = positions[k]
            seen = x - forces[k] / stiffness
            if self._engaged is not None:
                seen = min(max(self._engaged[k], seen - play), seen + play)
            engaged.append(seen)
            read.append(seen + amplitude * math.sin(x * wave + phase) + noises[k])
        self._engaged = engaged
        return np.array(read)


@dataclass(frozen=True, slots=True, kw_only=True)
class TorqueSpec:
    """How badly joint torques know a wrench: (force [N], torque [Nm]) each.

    Attributes:
        bias: standard deviation of what is left after taring, drawn per episode.
        drift: standard deviation that a random walk gains in a second.
        stiction: half the dead band: a change below it is not felt.
        noise: standard deviation per reading.
        lag: time constant [s].
    """

    bias: tuple[float, float]
    drift: tuple[float, float]
    stiction: tuple[float, float]
    noise: tuple[float, float]
    lag: float


class JointTorqueWrench:
    """A wrench (6,) as it is worked out from joint torques, and further torques (n,) that are measured in the same way.

    Args:
        spec: of the wrench.
        dt: control period [s].
        rng: what each episode draws from.
        more: bias, drift, dead band and noise of each further torque [Nm].
    """

    def __init__(
        self, spec: TorqueSpec, dt: float, rng: np.random.Generator, more: Sequence[tuple[float, float, float, float]] = ()
    ) -> None:  # fmt: skip
        self._rng = rng
        pairs = (spec.bias, spec.drift, spec.stiction, spec.noise)
        bias, drift, self._stiction, self._noise = (
            np.append(np.repeat(pair, 3), [row[k] for row in more]) for k, pair in enumerate(pairs)
        )
        self._n = len(bias)
        self._walk = drift * math.sqrt(dt)
        self._share = 1 - math.exp(-dt / spec.lag)  # of the way to the newest value in one period
        self._bias = bias * rng.standard_normal(self._n)
        self._smooth = np.zeros(self._n)
        self._felt = np.zeros(self._n)
        self._errors, self._next = np.zeros((0, self._n)), 0  # bias and noise, drawn ahead, and which is the next

    def read(self, wrench: np.ndarray) -> np.ndarray:
        """One control period later: the wrench (6,) [N, Nm] and further torques (n,) [Nm] as they are felt."""
        self._smooth = self._smooth + self._share * (wrench - self._smooth)
        # friction in the joints holds the reading until the load has changed by more than it can bear
        low, high = self._smooth - self._stiction, self._smooth + self._stiction
        self._felt = np.minimum(np.maximum(self._felt, low), high)
        if self._next == len(self._errors):
            steps, noises = self._rng.standard_normal((2, _AHEAD, self._n))
            biases = self._bias + np.cumsum(self._walk * steps, axis=0)
            self._bias = biases[-1]
            self._errors, self._next = biases + self._noise * noises, 0
        self._next += 1
        return self._felt + self._errors[self._next - 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class WanderSpec:
    """How badly a perception model knows where something is, and how it is turned.

    Attributes:
        radius: bound of the error in each of n components, in their own units: the error stays within the ellipsoid with these radii.
        seconds: correlation time of the error.
        period: between two looks [control periods].
        latency: from a look to its estimate [control periods].
        dropout: probability that a look gives nothing; the last estimate is then repeated, with `valid` false.
        outlier: probability that a look is wrong by `outlier_size` in any direction, and says that it is valid.
        outlier_size: smallest and largest, in radii.
    """

    radius: tuple[float, ...]
    seconds: float
    period: int
    latency: int
    dropout: float
    outlier: float
    outlier_size: tuple[float, float]


class WanderingPose:
    """A position or pose (n,) by a perception model: an error that wanders, age, drop-outs, and outliers that lie."""

    def __init__(self, spec: WanderSpec, dt: float, rng: np.random.Generator) -> None:
        self._spec, self._dt, self._rng = spec, dt, rng
        self._radius = np.array(spec.radius, float)
        self._keep = math.exp(-spec.period * dt / spec.seconds)
        self._gain = math.sqrt(1 - self._keep**2)
        self._walk = rng.standard_normal(len(spec.radius))  # stationary, of unit variance
        self._errors, self._next = np.zeros((0, len(spec.radius))), 0  # of looks, drawn ahead, and which is the next
        self._fates: list[list[float]] = []  # whether they fail or lie, and how
        self._count = 0
        self._pending: list[tuple[int, np.ndarray | None]] = []  # (control period of the look, what it saw)
        self._estimate: np.ndarray | None = None
        self._looked = 0
        self._valid = True

    def read(self, truth: np.ndarray, hidden: bool = False) -> tuple[np.ndarray, float, bool]:
        """One control period later: (estimate (n,) in the truth's units, age [s], valid). What is hidden now gives no estimate."""
        spec, now = self._spec, self._count
        if now % spec.period == 0:
            self._pending.append((now, self._look(truth, hidden)))
        # The first look is answered at once: an episode starts from a scene that was just verified.
        while self._pending and (self._estimate is None or now - self._pending[0][0] >= spec.latency):
            when, seen = self._pending.pop(0)
            self._valid = seen is not None
            if seen is not None:
                self._estimate, self._looked = seen, when
        self._count += 1
        assert self._estimate is not None
        return self._estimate, (now - self._looked) * self._dt, self._valid

    def _look(self, truth: np.ndarray, hidden: bool) -> np.ndarray | None:
        spec = self._spec
        if self._next == len(self._errors):
            self._foresee()
        error, (kind, angle, share) = self._errors[self._next], self._fates[self._next]
        self._next += 1
        if self._estimate is not None and (hidden or kind < spec.dropout):
            return None
        if self._estimate is not None and kind < spec.dropout + spec.outlier:
            low, high = spec.outlier_size
            return truth + (low + (high - low) * share) * self._radius * self._direction(2 * math.pi * angle)
        return truth + error

    def _foresee(self) -> None:
        """Draw the looks of some time to come."""
        steps = self._gain * self._rng.standard_normal((_AHEAD, len(self._radius)))
        for k, step in enumerate(steps):
            steps[k] = self._walk = self._keep * self._walk + step
        self._errors = self._radius * steps / np.sqrt(1 + (steps**2).sum(axis=1, keepdims=True))
        self._fates, self._next = self._rng.random((_AHEAD, 3)).tolist(), 0

    def _direction(self, angle: float) -> np.ndarray:
        """A unit vector (n,): at an angle in the plane, else drawn."""
        if len(self._radius) == 2:
            return np.array([math.cos(angle), math.sin(angle)])
        vector = self._rng.standard_normal(len(self._radius))
        return vector / math.sqrt(vector.dot(vector))


@dataclass(frozen=True, slots=True, kw_only=True)
class HidingSpec:
    """From when on a perception model does not find what something else hides.

    Attributes:
        edges: for each edge that it may be behind, how far behind it the model still finds it: smallest and largest, drawn per episode, in
            the unit of what is told to `Hiding.hides`. Below 0 it is lost before.
        blur: standard deviation of every edge from look to look.
    """

    edges: tuple[tuple[float, float], ...]
    blur: float

    @classmethod
    def sharp(cls, n: int) -> HidingSpec:
        """The truth, for n edges."""
        return cls(edges=((0.0, 0.0),) * n, blur=0.0)


class Hiding:
    """What a perception model loses from sight, and when: were it the geometry itself, whoever moves something in and out of sight would
    measure with it what hides it, as with a light barrier."""

    def __init__(self, spec: HidingSpec, rng: np.random.Generator) -> None:
        self._rng, self._blur = rng, spec.blur
        self._edges = rng.uniform(*np.array(spec.edges).T)
        self._drawn, self._next = (
            np.zeros((0, len(self._edges))),
            0,
        )  # edges of looks, drawn ahead, and which is the next

    def hides(self, *behind: float) -> bool:
        """One look later: whether it is lost, which is as far behind each edge. In front of any, it is seen."""
        if self._next == len(self._drawn):
            self._drawn = self._edges + self._blur * self._rng.standard_normal((_AHEAD, len(self._edges)))
            self._next = 0
        self._next += 1
        return all(far > edge for far, edge in zip(behind, self._drawn[self._next - 1].tolist(), strict=True))


class ActionDelay:
    """Commands that take effect some control periods later.

    What is under way lies in a memory of the caller's, (size,) numbers of which the first is the delay, so that it is part of the caller's
    snapshots.

    Args:
        most: longest delay [control periods].
        n: numbers in a command.
    """

    def __init__(self, most: int, n: int) -> None:
        self._n = n
        self.size = 1 + most * n if most else 0

    def begin(self, memory: np.ndarray, periods: int) -> None:
        """A new episode with a delay of `periods`; until the first command arrives, zeros do. Raises ValueError for too long a delay."""
        if not 0 <= periods * self._n <= max(self.size - 1, 0):
            raise ValueError(f"a delay of {periods} control periods; expected 0 to {max(self.size - 1, 0) // self._n}")
        memory[:] = 0.0
        if self.size:
            memory[0] = periods

    def exchange(self, memory: np.ndarray, command: np.ndarray) -> np.ndarray:
        """Send a command (n,); get the one that arrives now."""
        if not self.size or not memory[0]:
            return command
        pending = memory[1 : 1 + int(memory[0]) * self._n]
        arrived = pending[: self._n].copy()
        pending[: -self._n] = pending[self._n :]
        pending[-self._n :] = command
        return arrived

    def underway(self, memory: np.ndarray) -> np.ndarray:
        """The sum (n,) of the commands that have been sent and have not arrived."""
        periods = int(memory[0]) if self.size else 0
        total: np.ndarray = memory[1 : 1 + periods * self._n].reshape(periods, self._n).sum(axis=0)
        return total
