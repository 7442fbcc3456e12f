"""Which of two policies is better, in as few episodes as that takes: a sequential exact McNemar test.

Both policies run from the same starts. A start on which they agree says nothing; one on which they differ is, if neither is
better, a fair coin. The running sum of these coins is a random walk whose law under "no difference" is known exactly, so a
boundary can be laid around it that it crosses with a chance of at most alpha, however often one looks: alpha is spent over
the starts by a spending function (Lan and DeMets, 1983; the power family of Kim and DeMets, 1987), and each boundary is
computed from the exact law of the walks that have not crossed yet (Armitage, McPherson and Rowe, 1969). The boundary depends
on which starts differed but never on who won them, which is what keeps it exact for every share of agreement.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

#: Exponent of the spending function. 1 spends evenly and decides early, 3 spends nearly all at the end; see
#: benchmarks/sequential_test.py.
SPENDING = 1.0
_LOOK_AHEAD_EVERY = 10  # starts
COMPARED_STARTS = 100  # at most, of a run's comparisons
COMPARED_ALPHA = 0.02  # of all comparisons of a run together, two-sided
Verdict = Literal["first", "second", "undecided"]


def alpha_of(k: int) -> float:
    """What the k-th comparison of a run may spend, k = 1, 2, ...: all of them together spend COMPARED_ALPHA, however many there are.

    So whoever compares again and again, with the same candidates or copies of them, is no likelier to be lucky once.
    """
    return COMPARED_ALPHA / (k * (k + 1))


@dataclass
class PairedTest:
    """A test of two policies on at most `most` shared starts.

    Args:
        most: starts at most, fixed beforehand.
        alpha: chance of naming a better policy where there is none, over all looks together.

    Raises:
        ValueError: most < 1, or alpha not between 0 and 1.
    """

    most: int
    alpha: float = 0.05
    starts: int = 0
    wins: int = 0  # starts that only the first policy solved
    losses: int = 0  # starts that only the second one solved
    verdict: Verdict | None = None
    p_value: float = 1.0
    _law: np.ndarray = field(default_factory=lambda: np.ones(1))  # of the walks under no difference that go on, by sum
    _spent: float = 0.0

    def __post_init__(self) -> None:
        if self.most < 1 or not 0 < self.alpha < 1:
            raise ValueError("a test needs at least one start, and an alpha between 0 and 1")

    def add(self, first: bool, second: bool) -> Verdict | None:
        """One more start and whether each policy solved it. Returns the verdict once there is one, which then stays."""
        if self.verdict is not None:
            return self.verdict
        self.starts += 1
        if first != second:
            self.wins, self.losses = self.wins + first, self.losses + second
            self._step()
        if self.verdict is None:
            look_ahead = self.starts % _LOOK_AHEAD_EVERY == 0 or self.most - self.starts < _LOOK_AHEAD_EVERY
            if self.starts >= self.most or (look_ahead and not self._within_reach()):
                self.verdict = "undecided"
        return self.verdict

    def _step(self) -> None:
        """Let every walk that goes on take one more step, and stop those that are beyond what alpha still pays for."""
        law = np.zeros(len(self._law) + 2)
        law[:-2] += self._law / 2
        law[2:] += self._law / 2
        reach = len(law) // 2  # sums run from -reach to reach
        sums = np.abs(np.arange(-reach, reach + 1))
        beyond = np.cumsum(np.bincount(sums, law)[::-1])[::-1]  # chance that |sum| is at least k, by k
        here = abs(self.wins - self.losses)
        self.p_value = min(1.0, self._spent + float(beyond[here]))
        may_spend = self.alpha * (self.starts / self.most) ** SPENDING
        paid = np.nonzero(self._spent + beyond <= may_spend)[0]
        if len(paid):
            bound = int(paid[0])
            if here >= bound:
                self.verdict = "first" if self.wins > self.losses else "second"
                return
            self._spent += float(beyond[bound])
            law[sums >= bound] = 0.0
        self._law = law

    def _within_reach(self) -> bool:
        """Whether the starts that are left could still decide it, if one policy won them all."""
        ahead = PairedTest(self.most, self.alpha, self.starts, self.wins, self.losses)
        ahead._law, ahead._spent = self._law, self._spent
        first = self.wins >= self.losses
        while ahead.starts < ahead.most and ahead.verdict is None:
            ahead.starts += 1
            ahead.wins, ahead.losses = ahead.wins + first, ahead.losses + (not first)
            ahead._step()
        return ahead.verdict is not None
