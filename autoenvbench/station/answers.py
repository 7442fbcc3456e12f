"""What a station tells its clients, as JSON has it."""

from __future__ import annotations

from typing import Any

from autoenvbench.record import metrics
from autoenvbench.record.events import IdeaEvent
from autoenvbench.record.state import RunState
from autoenvbench.record.summary import summarise
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.evaluation import Tally


def idea_line(idea: IdeaEvent, state: RunState) -> str:
    """An idea in a line, with what is known of its first test."""
    stamp = state.first_uses.words(idea.id)
    return f"{idea.id} {idea.title}" + (f"  [{stamp}]" if stamp else "")


def best_of(curve: list[metrics.Point]) -> dict[str, Any] | None:
    """The newest point of a best-so-far curve; None before there is one."""
    if not curve:
        return None
    p = curve[-1]
    return {"success_rate": p.value, "wilson95": [round(p.low, 3), round(p.high, 3)], "episodes": p.episodes_behind,
            "commit": p.commit}  # fmt: skip


def outcome_of(tally: Tally, bundle: Bundle) -> dict[str, Any]:
    """What a batch came to: counts, rate with its 95 % Wilson interval, mean score, failures by reason, stages, the first error."""
    summary = summarise(tally.episodes)
    details = [e.detail for e in tally.episodes if e.detail]
    return {
        "evaluation": tally.id,
        "commit": bundle.commit,
        "episodes": summary.episodes,
        "successes": summary.successes,
        "success_rate": round(summary.success_rate, 4),
        "wilson95": [round(x, 4) for x in summary.wilson95],
        "score": round(summary.score, 4),
        "failures": summary.failures,
        "stages": summary.stages,
        "detail": details[0] if details else None,
        "aborted": tally.aborted,
    }
