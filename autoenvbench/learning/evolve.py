"""`evolve`: a population of ideas that share a robot by Thompson sampling; no gradients, no weights.

An idea is one setting of a policy's few numbers (or one trained network, which has none). What is known of it are Beta posteriors over its success
and over its score. To hand out robot time, a value is drawn from each idea's posterior and the highest draw is practised next (Thompson 1933;
Chapelle and Li, "An Empirical Evaluation of Thompson Sampling", 2011); scores in [0, 1] count as fractions of a success (Agrawal and Goyal 2012).
Their priors have the means of all ideas so far: where nearly all fails, what was not tried is no promise. A share of the time goes to new ideas:
most are drawn from a normal distribution around the elite, as in the cross-entropy method (`learning.cem`), the others by mutation and crossover.

It tunes what somebody wrote, so it is no algorithm of `autoenvbench train`: the built-in researcher `evolve` uses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from autoenvbench.learning.settings import knob

SCORE_COUNTS = 0.5  # of a score, beside a success: decides where success does not
LEAP = 0.25  # a gain in success that is worth an evaluation at any time
PRIOR_EPISODES = 2.0  # that the priors count for
_GRID = np.linspace(0.0, 1.0, 1003)[1:-1]  # on which posteriors are compared


#: Mean success and mean score of all ideas, in (0, 1).
Usual = tuple[float, float]


@dataclass(frozen=True)
class Settings:
    """Hyperparameters."""

    population: int = knob(20, "ideas that robot time is divided among; the least promising makes room")
    elites: int = knob(5, "the best ideas, that the distribution of new ones is fitted to")
    fresh: float = knob(0.5, "share of slices in which something new is tried")
    slice: int = knob(6, "practice episodes at a time, at most")
    slice_s: float = knob(20.0, "robot time that a slice need not exceed by more than an episode [s]")
    least: int = knob(4, "practice episodes before an idea may be evaluated")
    sure: float = knob(0.8, "probability of beating the incumbent that is worth an evaluation")
    margin: float = knob(0.05, "by how much it must beat it")
    spread: float = knob(0.3, "of new ideas at first, as a share of each parameter's range")
    min_spread: float = knob(0.03, "below which it never falls")


@dataclass
class Evidence:
    """Episodes of one idea.

    Attributes:
        wins, score: sums over `episodes`; fractional where evidence is borrowed and counts for less.
    """

    wins: float = 0.0
    score: float = 0.0
    episodes: float = 0.0

    def add(self, wins: float, score: float, episodes: float) -> None:
        """More of them."""
        self.wins, self.score, self.episodes = self.wins + wins, self.score + score, self.episodes + episodes

    @property
    def rate(self) -> float:
        """Mean of the posterior over success that begins uniform."""
        return (1 + self.wins) / (2 + self.episodes)

    def value(self, usual: Usual) -> float:
        """Mean of what `draw` draws."""
        (a, b), (c, d) = self._posteriors(usual)
        return a / (a + b) + SCORE_COUNTS * c / (c + d)

    def draw(self, usual: Usual, rng: np.random.Generator) -> float:
        """A value from the posteriors over success and score."""
        success, score = self._posteriors(usual)
        return float(rng.beta(*success) + SCORE_COUNTS * rng.beta(*score))

    def _posteriors(self, usual: Usual) -> tuple[tuple[float, float], tuple[float, float]]:
        """Beta distributions. Their priors have the usual means: where nearly all fails, what was not tried yet is no promise."""
        success, score = (PRIOR_EPISODES * mean for mean in usual)
        failures, short = self.episodes - self.wins, self.episodes - self.score
        return (success + self.wins, PRIOR_EPISODES - success + failures), (
            score + self.score,
            PRIOR_EPISODES - score + short,
        )

    def density(self) -> np.ndarray:
        """Of the posterior over success on `_GRID`; sums to 1."""
        log = self.wins * np.log(_GRID) + (self.episodes - self.wins) * np.log1p(-_GRID)
        density = np.exp(log - log.max())
        return np.asarray(density / density.sum())


def beats(challenger: Evidence, incumbent: Evidence, margin: float = 0.0) -> float:
    """Probability that the challenger succeeds more often than the incumbent by more than `margin`, under both posteriors."""
    below = np.concatenate([[0.0], np.cumsum(incumbent.density())])  # P(incumbent <= grid[k - 1])
    reach = np.searchsorted(_GRID, _GRID - margin)
    return float((challenger.density() * below[reach]).sum())


#: What anything must beat before something is confirmed.
_NOTHING = Evidence(0.0, 0.0, 4.0)


@dataclass
class Idea:
    """Something to try.

    Attributes:
        key: its place in `Population.ideas`.
        words: the hypothesis.
        point: (parameters,) in [0, 1]; None for one that has no numbers to vary.
        parent, others: keys of those that it was made from.
        prior: evidence that is not the robot's own (a simulator's, a peer's).
        own: of practice and evaluation; `confirmed`: of confirmations, which it was not chosen by.
        evaluated: it was promoted, and is practised no more.
        alive: it may get robot time.
    """

    key: int
    words: str
    point: np.ndarray | None = None
    parent: int | None = None
    others: list[int] = field(default_factory=list)
    prior: Evidence = field(default_factory=Evidence)
    own: Evidence = field(default_factory=Evidence)
    confirmed: Evidence = field(default_factory=Evidence)
    evaluated: bool = False
    alive: bool = True

    @property
    def known(self) -> Evidence:
        """All evidence together."""
        parts = (self.prior, self.own, self.confirmed)
        return Evidence(*(sum(getattr(p, name) for p in parts) for name in ("wins", "score", "episodes")))


@dataclass
class Population:
    """All ideas so far, the first of them the one that research begins with.

    Attributes:
        low, high: (parameters,) their ranges.
        incumbent: key of the best idea that is confirmed, which is to be beaten; None before there is one.
        mean, std: (parameters,) of the distribution of new ideas, once it was fitted `refits` times.
    """

    names: list[str]
    low: np.ndarray
    high: np.ndarray
    settings: Settings
    ideas: list[Idea] = field(default_factory=list)
    incumbent: int | None = None
    mean: np.ndarray = field(default_factory=lambda: np.zeros(0))
    std: np.ndarray = field(default_factory=lambda: np.zeros(0))
    refits: int = 0

    @classmethod
    def over(cls, parameters: Mapping[str, tuple[float, float, float]], settings: Settings) -> Population:
        """Variants of `parameters` (name: low, initial, high); none where there are none."""
        names = list(parameters)
        low, high = (np.array([parameters[n][k] for n in names], float) for k in (0, 2))
        return cls(names, low, high, settings, std=np.full(len(names), settings.spread))

    def add(self, words: str, point: np.ndarray | None = None, **more: object) -> Idea:
        """A new idea."""
        idea = Idea(len(self.ideas), words, point, **more)  # type: ignore[arg-type]
        self.ideas.append(idea)
        return idea

    def alive(self) -> list[Idea]:
        """Those that may get robot time."""
        return [idea for idea in self.ideas if idea.alive and not idea.evaluated]

    def usual(self) -> Usual:
        """Means over all episodes so far, never quite 0 or 1."""
        known = [idea.known for idea in self.ideas]
        n = sum(e.episodes for e in known)
        return (0.1 + sum(e.wins for e in known)) / (0.2 + n), (0.1 + sum(e.score for e in known)) / (0.2 + n)

    # -- robot time --------------------------------------------------------------------------------------------------
    def choose(self, rng: np.random.Generator, *, fresh: bool = True) -> Idea | None:
        """What is practised next: an idea, or None for a new one, and where no idea is alive. `fresh`: whether there may be a new one."""
        usual = self.usual()
        drawn = [(idea.known.draw(usual, rng), idea.key) for idea in self.alive()]
        if not drawn or (fresh and rng.random() < self.settings.fresh):
            return None
        return self.ideas[max(drawn)[1]]

    def promoted(self, judged: float, practised: float) -> Idea | None:
        """The idea that is worth an evaluation, if one is.

        Args:
            judged, practised: episodes that evaluations and practice have taken. The first may only outweigh the second for a leap.
        """
        best = self.likely(self.settings.sure)
        if best is None or (judged > practised and best.known.rate < self.bar().rate + LEAP):
            return None
        return best

    def likely(self, chance: float) -> Idea | None:
        """The idea with the best mean of those that beat the incumbent with at least this probability; None where there is none."""
        usual = self.usual()
        found = [idea for idea in self._challengers() if self.chance(idea.known) >= chance]
        return max(found, key=lambda idea: idea.known.value(usual), default=None)

    def _challengers(self) -> list[Idea]:
        """Those of which enough is known for an evaluation."""
        return [idea for idea in self.alive() if idea.own.episodes + idea.prior.episodes >= self.settings.least]

    def chance(self, known: Evidence) -> float:
        """Probability that what this is known of beats the incumbent by what is worth it: half of what is left to gain, `margin` at most."""
        bar = self.bar()
        return beats(known, bar, min(self.settings.margin, (1 - bar.rate) / 2))

    def leading(self) -> Idea | None:
        """The best idea by all that is known."""
        usual = self.usual()
        ran = [idea for idea in self.ideas if idea.known.episodes and (idea.alive or idea.evaluated)]
        return max(ran, key=lambda idea: idea.known.value(usual), default=None)

    def bar(self) -> Evidence:
        """What the incumbent's confirmation says of it; before there is one, that the first few episodes of anything fail."""
        return _NOTHING if self.incumbent is None else self.ideas[self.incumbent].confirmed

    def crown(self, idea: Idea) -> bool:
        """Make a confirmed idea the incumbent if its confirmation is above that of the incumbent's; whether it is."""
        if not idea.confirmed.episodes or (self.incumbent is not None and idea.confirmed.rate <= self.bar().rate):
            return False
        self.incumbent = idea.key
        return True

    def cull(self) -> list[Idea]:
        """Drop the least promising of those that are too many; returns them."""
        usual = self.usual()
        tried = [idea for idea in self.alive() if idea.own.episodes]
        tried.sort(key=lambda idea: idea.known.value(usual))
        dropped = tried[: max(0, len(self.alive()) - self.settings.population)]
        for idea in dropped:
            idea.alive = False
        return dropped

    # -- new ideas ---------------------------------------------------------------------------------------------------
    def elite(self) -> list[Idea]:
        """The best that have numbers to vary and were tried, by the mean of their posterior; the best first."""
        tried = [i for i in self.ideas if i.point is not None and i.known.episodes and (i.alive or i.evaluated)]
        usual = self.usual()
        return sorted(tried, key=lambda idea: -idea.known.value(usual))[: self.settings.elites]

    def child(self, rng: np.random.Generator) -> tuple[np.ndarray, str, Idea, list[Idea]]:
        """A new point with its hypothesis, its parent, and others that it draws on. It is none that there was before.

        Raises:
            ValueError: where no idea has numbers to vary.
        """
        parent = self._parent(rng)
        if parent is None or parent.point is None:
            raise ValueError("there is nothing to vary")
        while True:
            point, how, others = self._vary(rng, parent)
            if not any(i.point is not None and np.allclose(i.point, point, atol=1e-4) for i in self.ideas):
                return point, f"{how}: {self.words(parent.point, point)}", parent, others

    def _parent(self, rng: np.random.Generator) -> Idea | None:
        """One of the elite, by Thompson sampling as well."""
        elite = self.elite() or [idea for idea in self.ideas if idea.point is not None]
        usual = self.usual()
        return max(elite, key=lambda idea: idea.known.draw(usual, rng), default=None)

    def _vary(self, rng: np.random.Generator, parent: Idea) -> tuple[np.ndarray, str, list[Idea]]:
        """Mostly by the distribution around the elite."""
        assert parent.point is not None
        elite, n = self.elite(), len(self.names)
        partners = [idea for idea in elite if idea is not parent]
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

    def refit(self) -> None:
        """Move the distribution to the elite, and half way to its spread, whenever a generation of new ideas was practised."""
        tried = sum(bool(idea.own.episodes) for idea in self.ideas)
        elite = self.elite()
        if tried < (self.refits + 1) * self.settings.population or len(elite) < 2:
            return
        points = np.array([idea.point for idea in elite])
        self.refits += 1
        self.mean = points.mean(axis=0)
        self.std = np.maximum(0.5 * self.std + 0.5 * points.std(axis=0), self.settings.min_spread)

    def words(self, before: np.ndarray, after: np.ndarray) -> str:
        """What is changed, the most first."""
        old, new = self.values(before), self.values(after)
        order = [int(k) for k in np.argsort(-np.abs(after - before)) if abs(after[k] - before[k]) > 1e-3]
        changes = [f"{self.names[k]} {old[self.names[k]]:.3g} -> {new[self.names[k]]:.3g}" for k in order[:4]]
        more = f" and {len(order) - 4} more" if len(order) > 4 else ""
        return ", ".join(changes) + more

    # -- points and values -------------------------------------------------------------------------------------------
    def values(self, point: Iterable[float]) -> dict[str, float]:
        """A point in [0, 1] as the parameters' own values."""
        scaled = self.low + np.asarray(point) * (self.high - self.low)
        return {n: float(f"{v:.6g}") for n, v in zip(self.names, scaled, strict=True)}

    def point(self, values: Mapping[str, float]) -> np.ndarray:
        """Values of all parameters as a point in [0, 1]."""
        given = np.array([values[n] for n in self.names], float)
        return np.clip((given - self.low) / (self.high - self.low), 0, 1)
