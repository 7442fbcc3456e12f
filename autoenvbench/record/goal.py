"""When a run may end early because what was asked for is reached: `--goal "streak>=50"`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from autoenvbench.errors import UserError
from autoenvbench.record.candidates import STRICT_EPISODES, STRICT_FROM
from autoenvbench.record.state import RunState

_FORM = re.compile(r"\s*(success|streak|score)\s*>=\s*(\d+(?:\.\d+)?)\s*")


@dataclass(frozen=True, slots=True)
class Goal:
    """`success`: the confirmed success rate (0..1); `score`: mean score of the leading candidate's confirmation; `streak`: successes
    in a row within the first 200 confirmation episodes of one candidate, all of which must have run. From 0.98 on, success and
    score want 200 confirmation episodes as well."""

    metric: str
    threshold: float

    @classmethod
    def parse(cls, text: str) -> Goal:
        """Raises UserError."""
        match = _FORM.fullmatch(text)
        if match is None or (match[1] != "streak" and float(match[2]) > 1):
            raise UserError(
                f'cannot read the goal {text!r}; write it like "streak>=50", "success>=0.95" or "score>=0.9"'
            )
        return cls(match[1], float(match[2]))

    def reached(self, state: RunState) -> bool:
        """Whether the run has come so far."""
        if self.metric == "streak":
            judged = (s.longest for s in state.streaks.values() if s.episodes >= STRICT_EPISODES)
            return max(judged, default=0) >= self.threshold
        confirmed = state.curves.confirmed
        if not confirmed:
            return False
        if self.metric == "success":
            return confirmed[-1].shows(self.threshold)
        _, score, n = confirmed[-1].strict
        return score >= self.threshold and (self.threshold < STRICT_FROM or n >= STRICT_EPISODES)
