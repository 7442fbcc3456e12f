"""The dense reward: potential-based shaping (Ng, Harada and Russell 1999), so that finishing beats stalling.

    reward = success + gamma * Phi(s') - Phi(s)         success: 1 on the step of a verified success, else 0
    Phi(s) = potential(s) / (2 + (1 - gamma) * N)       potential: the task's, in [0, 1]; N: the time limit in steps
    Phi(s) = 0 where an episode has terminated: in a success, a failed verdict or a violation

Why this is safe to learn from. Let w = 1 / (2 + (1 - gamma) * N), so that 0 <= Phi <= w <= 1/2, and Phi_0 be that of the start.

- Discounted by gamma the shaping telescopes: an episode returns gamma^(n-1) - Phi_0 if it succeeds in step n, -Phi_0 if it fails, and
  gamma^N Phi_N - Phi_0 if it runs into the time limit, whatever it did on the way. As Phi_N <= 1/2, success in any step up to the last
  returns more than any way of stalling, sooner is better than later, and no failure is better than stalling. What is best
  without shaping is best with it.
- Undiscounted, a step also costs (1 - gamma) Phi <= (1 - gamma) w. A success returns at least 1 - Phi_0 - (1 - gamma) w (N - 1), anything
  else at most gamma w - Phi_0: at least w less, by the choice of w.
- A loop through the same states earns gamma * sum(Phi) - sum(Phi) <= 0: dithering earns nothing.

For the first of these, a learner discounts by this gamma per control step. It bootstraps after a time limit, which is no termination: the last
state keeps its potential.
"""

from __future__ import annotations


class PotentialShaping:
    """Rewards of one episode after another.

    Args:
        gamma: the discount per control step, above 0 and at most 1.

    Raises ValueError where gamma is not that.
    """

    def __init__(self, gamma: float) -> None:
        if isinstance(gamma, bool) or not isinstance(gamma, (int, float)) or not 0 < gamma <= 1:
            raise ValueError(f"gamma is {gamma!r}; expected a discount per control step above 0 and at most 1")
        self.gamma = float(gamma)

    def begin(self, potential: float, limit: int) -> None:
        """A new episode of at most `limit` steps, whose start has this potential (0 to 1)."""
        self.weight = 1 / (2 + (1 - self.gamma) * limit)
        self._phi = self.weight * float(potential)

    def step(self, potential: float) -> float:
        """What a step to a state of this potential earns besides success; a terminal state's is 0."""
        before, self._phi = self._phi, self.weight * float(potential)
        return self.gamma * self._phi - before
