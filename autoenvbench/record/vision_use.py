"""What a run's members asked the model that sees pictures for them (`--vision tool`), and what that cost, apart from their own tokens."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from autoenvbench.record.events import VISION
from autoenvbench.record.ledger import Event
from autoenvbench.record.metrics import TokenCount
from autoenvbench.record.run_config import RunConfig
from autoenvbench.record.strict_model import StrictModel


class Asked(StrictModel):
    """Questions, answered or not, and their headline tokens."""

    questions: int = Field(default=0, ge=0)
    tokens: int = Field(default=0, ge=0)


class VisionUse(Asked):
    """Of a whole run, and by member.

    Attributes:
        model: that answers: the one that used most tokens as its server names it, else the one that was asked for.
    """

    model: str
    members: dict[str, Asked] = Field(default_factory=dict)


def vision_use(events: Iterable[Event], config: RunConfig, members: Iterable[str]) -> VisionUse | None:
    """None for a run whose members have no such model."""
    if config.vision_model is None:
        return None
    counts = {name: TokenCount() for name in members}
    asked = dict.fromkeys(counts, 0)
    whole = TokenCount()
    for event in events:
        if event.agent != VISION or event.payload.member not in counts:
            continue
        if event.kind == "call":
            asked[event.payload.member] += 1
        elif event.kind == "tokens":
            counts[event.payload.member].add(event.payload)
            whole.add(event.payload)
    return VisionUse(
        model=max(whole.by_model, key=lambda name: (whole.by_model[name], name), default=config.vision_model),
        questions=sum(asked.values()), tokens=whole.headline,
        members={name: Asked(questions=asked[name], tokens=count.headline) for name, count in counts.items()},
    )  # fmt: skip
