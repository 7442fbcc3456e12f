"""When a run may end early because what was asked for is reached: `--goal "streak>=50"`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from autoenvbench import metrics
from autoenvbench.errors import UserError
from autoenvbench.ledger import Event

_FORM = re.compile(r"\s*(success|streak|score)\s*>=\s*(\d+(?:\.\d+)?)\s*")


@dataclass(frozen=True, slots=True)
class Goal:
    """`success`: the confirmed success rate (0..1); `score`: mean score of a confirmation; `streak`: successes in a row of
    one commit over its evaluations and confirmations."""

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

    def reached(self, events: Iterable[Event]) -> bool:
        payloads = [e.payload for e in events if e.kind in ("evaluation", "episode")]
        if self.metric == "streak":
            judged = [p for p in payloads if hasattr(p, "index") and p.purpose in ("evaluate", "confirm")]
            runs = [metrics.streak(p.success for p in own) for _, own in groupby(judged, key=lambda p: p.digest)]
            return max(runs, default=0) >= self.threshold
        confirmed = [p for p in payloads if hasattr(p, "planned") and p.purpose == "confirm" and p.phase == "finished"]
        values = [p.score if self.metric == "score" else p.successes / max(p.episodes, 1) for p in confirmed]
        return max(values, default=0.0) >= self.threshold
