"""Item-response models of agents and levels: how hard each level is, how able each agent, and whom a level separates.

    P(agent a succeeds on level l) = 1 / (1 + exp(-d_l (ability_a - difficulty_l)))

1PL (Rasch 1960) has d_l = 1 for all levels; 2PL (Birnbaum 1968) fits them, where there are enough agents and levels to tell. Each pair that
was measured gives successes of episodes, so that the likelihood is binomial. It is maximised with a weak prior: without one, an agent that
never fails would be infinitely able. The packages for this (girth, py-irt, mirt) want one answer of many persons to each of many items.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit

PRIOR_SD = 3.0  # of abilities and difficulties [logits]
PRIOR_SD_SLOPE = 0.5  # of log discriminations
MIN_AGENTS, MIN_LEVELS = 4, 3  # of each level, and in all, for a 2PL fit
_Z = 1.959963984540054

#: (agent, level) -> (successes, episodes)
Outcomes = Mapping[tuple[str, str], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A parameter with its 95 % interval [logits, or a factor for a discrimination]."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Fit:
    """What a model says of agents and levels.

    Attributes:
        model: "1PL" or "2PL".
        discrimination: of each level; all 1 in a 1PL.
        log_likelihood: without the prior. `aic`: Akaike's criterion; of two models the lower is the better one.
        dispersion: Pearson's chi-square by its degrees of freedom, at least 1: how much more the rates scatter about the model than
            binomial noise does. Intervals are that much wider (its root).
    """

    model: str
    ability: dict[str, Estimate]
    difficulty: dict[str, Estimate]
    discrimination: dict[str, Estimate]
    log_likelihood: float
    aic: float
    dispersion: float


def best_fit(outcomes: Outcomes) -> Fit:
    """The 1PL fit, or the 2PL where the data suffice for one and it is better by Akaike's criterion. Raises ValueError without data."""
    rasch = fit(outcomes)
    agents_of = [sum(level == other for _, other in outcomes) for level in rasch.difficulty]
    if len(agents_of) < MIN_LEVELS or min(agents_of) < MIN_AGENTS:
        return rasch
    birnbaum = fit(outcomes, slopes=True)
    return birnbaum if birnbaum.aic < rasch.aic else rasch


def fit(outcomes: Outcomes, *, slopes: bool = False) -> Fit:
    """Maximum of likelihood and prior. Raises ValueError where no pair has an episode.

    Args:
        slopes: whether every level has a discrimination of its own (2PL).
    """
    measured = {pair: counts for pair, counts in outcomes.items() if counts[1] > 0}
    if not measured:
        raise ValueError("no agent has an episode on any level")
    agents, levels = (list(dict.fromkeys(pair[k] for pair in measured)) for k in (0, 1))
    a = np.array([agents.index(agent) for agent, _ in measured])
    b = np.array([levels.index(level) for _, level in measured])
    wins, n = np.array(list(measured.values()), float).T
    size_a, size_b = len(agents), len(levels)
    sds = np.concatenate([np.full(size_a + size_b, PRIOR_SD), np.full(size_b if slopes else 0, PRIOR_SD_SLOPE)])

    def logits(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        slope = np.exp(x[size_a + size_b :])[b] if slopes else np.ones(len(b))
        gap = x[:size_a][a] - x[size_a : size_a + size_b][b]
        return slope * gap, slope, gap

    def log_likelihood(x: np.ndarray) -> float:
        z, _, _ = logits(x)
        return float(wins @ log_expit(z) + (n - wins) @ log_expit(-z))

    def gradient(x: np.ndarray) -> np.ndarray:
        """Of minus (log likelihood + log prior)."""
        z, slope, gap = logits(x)
        residual = wins - n * expit(z)
        parts = [np.bincount(a, residual * slope, size_a), -np.bincount(b, residual * slope, size_b)]
        if slopes:
            parts.append(np.bincount(b, residual * slope * gap, size_b))
        return x / sds**2 - np.concatenate(parts)

    def loss(x: np.ndarray) -> float:
        return -log_likelihood(x) + float(np.sum(x**2 / sds**2)) / 2

    found = minimize(loss, np.zeros(len(sds)), jac=gradient, method="BFGS", options={"gtol": 1e-5, "maxiter": 2_000}).x
    steps = 1e-4 * np.eye(len(found))
    hessian = np.array([(gradient(found + h) - gradient(found - h)) / 2e-4 for h in steps])
    expected = expit(logits(found)[0])
    pearson = float(np.sum((wins - n * expected) ** 2 / np.maximum(n * expected * (1 - expected), 1e-9)))
    freedom = len(n) - (len(found) - 1)  # one parameter is the scale's zero
    dispersion = max(1.0, pearson / freedom) if freedom > 0 else 1.0
    covariance = np.linalg.inv((hessian + hessian.T) / 2)

    def on_scale(x: np.ndarray) -> np.ndarray:
        """Only differences are measured, and in a 2PL only products with a discrimination: zero is the levels' mean difficulty, one their
        (geometric) mean discrimination."""
        places, logs = x[: size_a + size_b], x[size_a + size_b :]
        unit = math.exp(logs.mean()) if slopes else 1.0
        return np.concatenate([unit * (places - places[size_a:].mean()), logs - logs.mean() if slopes else logs])

    jacobian = np.array([(on_scale(found + h) - on_scale(found - h)) / 2e-4 for h in steps]).T
    half = _Z * np.sqrt(np.maximum(np.diag(jacobian @ covariance @ jacobian.T), 0.0) * dispersion)
    scaled = on_scale(found)

    def estimates(names: list[str], first: int) -> dict[str, Estimate]:
        own = slice(first, first + len(names))
        rows = zip(names, scaled[own], half[own], strict=True)
        return {name: Estimate(float(x), float(x - h), float(x + h)) for name, x, h in rows}

    logged = estimates(levels, size_a + size_b) if slopes else {}
    return Fit(
        model="2PL" if slopes else "1PL",
        ability=estimates(agents, 0),
        difficulty=estimates(levels, size_a),
        discrimination={
            level: Estimate(*(math.exp(x) for x in (e.value, e.low, e.high))) for level, e in logged.items()
        } or {level: Estimate(1.0, 1.0, 1.0) for level in levels},
        log_likelihood=log_likelihood(found),
        aic=2 * (len(found) - 1) - 2 * log_likelihood(found),
        dispersion=dispersion,
    )  # fmt: skip


def probability(fitted: Fit, level: str, ability: np.ndarray) -> np.ndarray:
    """The level's characteristic curve: success probability at each ability [logits]."""
    slope, difficulty = fitted.discrimination[level].value, fitted.difficulty[level].value
    return np.asarray(expit(slope * (ability - difficulty)))
