"""`evolve`: a population of ideas that share a robot by Thompson sampling.

An idea is one setting of a policy's few numbers, or what a learning recipe made with one choice of its settings. Ideas of one kind are a family
(`learning.evolve_space`), in which new ones are made. What is known of an idea are Beta posteriors over its success and over its score.
To hand out robot time, a value is drawn from each idea's posterior and the highest draw is practised next (Thompson 1933; Chapelle and Li,
"An Empirical Evaluation of Thompson Sampling", 2011); scores in [0, 1] count as fractions of a success (Agrawal and Goyal 2012).
Their priors have the means of all ideas so far: where nearly all fails, what was not tried is no promise. A share of the time goes to new ideas;
which family makes the next one is drawn likewise, by what its newest ones came to, so that one that comes to nothing costs little.

It tunes what somebody wrote, so it is no algorithm of `autoenvbench train`: the built-in researcher `evolve` uses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from autoenvbench.learning.evolve_space import Axis, Family
from autoenvbench.learning.settings import knob

NUMBERS = "numbers"  # the family of the parametric policy; any other is called after its recipe

SCORE_COUNTS = 0.5  # of a score, beside a success: decides where success does not
LEAP = 0.25  # a gain in success that is worth an evaluation at any time
PRIOR_EPISODES = 2.0  # that the priors count for
NEWEST = 5  # ideas that a family is judged by
FAMILY_EPISODES = 12.0  # that they count for, at most: a family may come to more than it did
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
    recipes: str = knob(
        "all",
        "learning recipes that are tried: all that the run's regime and data allow, none, or some by name, like bc+iql",
    )
    training: float = knob(0.1, "share of what is left of the budget that one training takes, beside the robot")


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

    def at_most(self, episodes: float) -> Evidence:
        """The same, counting for no more than so many of them."""
        share = min(1.0, episodes / self.episodes) if self.episodes else 1.0
        return Evidence(share * self.wins, share * self.score, share * self.episodes)

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
        family: of `Population.families`.
        point: in its family's space; None for one that has no place in it.
        parent, others: keys of those that it was made from.
        prior: evidence that is not the robot's own (a simulator's, a peer's).
        own: of practice and evaluation; `confirmed`: of confirmations, which it was not chosen by.
        evaluated: it was promoted, and is practised no more.
        alive: it may get robot time.
    """

    key: int
    words: str
    point: np.ndarray | None = None
    family: str = NUMBERS
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
        families: what can be varied, by name.
        incumbent: key of the best idea that is confirmed, which is to be beaten; None before there is one.
    """

    settings: Settings
    families: dict[str, Family] = field(default_factory=dict)
    ideas: list[Idea] = field(default_factory=list)
    incumbent: int | None = None

    @classmethod
    def over(cls, parameters: Mapping[str, tuple[float, float, float]], settings: Settings) -> Population:
        """Variants of `parameters` (name: low, initial, high), a family of their own."""
        made = cls(settings)
        axes = {name: Axis(low, high) for name, (low, _, high) in parameters.items()}
        made.open(NUMBERS, axes, {name: initial for name, (_, initial, _) in parameters.items()})
        return made

    def open(self, name: str, axes: Mapping[str, Axis], first: Mapping[str, object]) -> None:
        """One more family, whose first idea is `first`."""
        self.families[name] = Family.of(axes, first, self.settings.spread)

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

    def outdone_by(self, theirs: Evidence) -> bool:
        """Whether a peer's confirmation is clearly above the incumbent's. Adopting costs no robot time, and it was not chosen by these
        episodes, so that it need not be above by a margin."""
        return beats(theirs, self.bar()) >= self.settings.sure

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
    def turns(self, rng: np.random.Generator) -> list[str]:
        """The families that are open, in the order in which they may make the next idea: a draw for each, the highest first."""
        usual = self.usual()
        drawn = {
            name: self.merits(name).draw(usual, rng) for name, family in self.families.items() if not family.closed
        }
        return sorted(drawn, key=lambda name: -drawn[name])

    def merits(self, family: str) -> Evidence:
        """What the newest ideas of a family came to; a training that came to nothing counts as a slice that failed."""
        newest = [idea.own for idea in self.ideas if idea.family == family and idea.own.episodes][-NEWEST:]
        merits, counts = Evidence(), FAMILY_EPISODES / max(len(newest), 1)
        for own in newest:
            part = own.at_most(counts)
            merits.add(part.wins, part.score, part.episodes)
        merits.add(0.0, 0.0, self.families[family].failed * self.settings.slice)
        return merits

    def elite(self, family: str = NUMBERS) -> list[Idea]:
        """The best of a family that were tried, by the mean of their posterior; the best first."""
        tried = [i for i in self._placed(family) if i.known.episodes and (i.alive or i.evaluated)]
        usual = self.usual()
        return sorted(tried, key=lambda idea: -idea.known.value(usual))[: self.settings.elites]

    def _placed(self, family: str) -> list[Idea]:
        return [idea for idea in self.ideas if idea.family == family and idea.point is not None]

    def child(self, rng: np.random.Generator, family: str = NUMBERS) -> tuple[np.ndarray, str, Idea, list[Idea]]:
        """A new point with its hypothesis, its parent, and others that it draws on. It is none that there was before.

        Raises:
            ValueError: where no idea of the family has numbers to vary.
        """
        parent, space = self._parent(rng, family), self.families[family]
        if parent is None or parent.point is None:
            raise ValueError("there is nothing to vary")
        points = [idea.point for idea in self._placed(family) if idea.point is not None]
        known = [space.values(point) for point in points]
        while True:
            point, how, drawn_on = space.vary(rng, parent, self.elite(family))
            if space.values(point) not in known and not any(np.allclose(other, point, atol=1e-4) for other in points):
                return point, f"{how}: {space.words(parent.point, point)}", parent, drawn_on

    def _parent(self, rng: np.random.Generator, family: str) -> Idea | None:
        """One of the elite, by Thompson sampling as well."""
        elite = self.elite(family) or self._placed(family)
        usual = self.usual()
        return max(elite, key=lambda idea: idea.known.draw(usual, rng), default=None)

    def refit(self) -> None:
        """Move each family's distribution to its elite, whenever a generation of new ideas was practised."""
        for name, family in self.families.items():
            tried = sum(bool(idea.own.episodes) for idea in self._placed(name))
            elite = self.elite(name)
            if tried >= (family.refits + 1) * self.settings.population and len(elite) >= 2:
                family.fit(elite, self.settings.min_spread)
