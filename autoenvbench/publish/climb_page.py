"""The hill climb of a report: a picture whose points are links, and a card for each evaluation with its episodes and how to see them.

As in the idea tree no program runs in the page: a card is shown where the address names it. A point says its commit, idea and interval where
it is hovered over. Of a long run the scoring, the newest confirmations and the newest evaluations are shown, as far as a page has room.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autoenvbench.publish.figures import time_unit
from autoenvbench.record import metrics
from autoenvbench.record.clock import format_duration
from autoenvbench.record.events import EpisodeEvent, EvaluationEvent
from autoenvbench.record.ledger import Event
from autoenvbench.record.statistics import percent
from autoenvbench.record.summary import wilson
from autoenvbench.text import html_text, short

HELD_OUT = "held-out"
_ROOM = 31_000  # characters of all points and cards, about
_MOST_NAMED = 400  # episodes that a card names
_LEFT, _RIGHT, _WIDTH, _TOP, _HEIGHT = 48, 16, 1000, 12, 250


@dataclass(slots=True)
class Batch:
    """An evaluation with its episodes."""

    event: EvaluationEvent
    t_run: float
    agent: str | None
    episodes: list[EpisodeEvent] = field(default_factory=list)

    @property
    def rate(self) -> tuple[int, int]:
        """Successes and episodes that count."""
        counted = [e.success for e in self.episodes if not e.infrastructure]
        return sum(counted), len(counted)


class Batches:
    """What of a run has a card, and under which address of the page.

    Args:
        run: the folder's name, in the commands that the cards tell.
    """

    def __init__(self, events: Sequence[Event], run: str) -> None:
        self._run = run
        found: dict[str, Batch] = {}
        for event in events:
            p = event.payload
            if event.kind == "evaluation" and p.purpose not in ("practice", "learn"):
                batch = found.setdefault(p.id, Batch(p, event.t_run, event.agent))
                batch.event, batch.t_run = p, event.t_run
            elif event.kind == "episode" and p.purpose == "heldout" and p.evaluation not in found:
                about = {"purpose": p.purpose, "commit": p.commit, "digest": p.digest, "content": p.content}
                start = EvaluationEvent(phase="started", id=p.evaluation, planned=0, **about)
                found[p.evaluation] = Batch(start, event.t_run, None)
            if event.kind == "episode" and p.evaluation in found:
                found[p.evaluation].episodes.append(p)
        first = {"heldout": 0, "confirm": 1}
        newest = [name for name in reversed(found) if found[name].episodes]
        chosen, room = set[str](), _ROOM
        for name in sorted(newest, key=lambda name: first.get(found[name].event.purpose, 2)):
            if (room := room - 500 - 5 * min(len(found[name].episodes), _MOST_NAMED)) < 0 and chosen:
                break
            chosen.add(name)
        self.shown = {name: batch for name, batch in found.items() if name in chosen}
        self.left_out = len(newest) - len(self.shown)
        self.anchors: Mapping[str, str] = {name: f"runs-{k + 1}" for k, name in enumerate(self.shown)}

    def link(self, evaluation: str | None, text: str) -> str:
        """Text, already safe, that leads to an evaluation's episodes, where these have a card."""
        anchor = self.anchors.get(evaluation or "")
        return f"<a href='#{anchor}'>{text}</a>" if anchor else text

    def of_commit(self, commit: str) -> str | None:
        """The newest confirmation of a commit."""
        found = [name for name, b in self.shown.items() if (b.event.purpose, b.event.commit) == ("confirm", commit)]
        return found[-1] if found else None

    @property
    def held_out(self) -> str | None:
        """The scoring."""
        return next((name for name, b in self.shown.items() if b.event.purpose == "heldout"), None)

    # -- cards -----------------------------------------------------------------------------------------------------------
    def cards(self) -> str:
        """All of them."""
        names = list(self.shown)
        return "".join(self._card(k, name, self.shown[name]) for k, name in enumerate(names))

    def _card(self, k: int, name: str, batch: Batch) -> str:
        by_outcome = defaultdict[str, list[EpisodeEvent]](list)
        for e in batch.episodes:
            why = "void (the machine failed)" if e.infrastructure else f"failed: {short(e.reason or 'unknown', 60)}"
            by_outcome["succeeded" if e.success else why].append(e)
        room, lines = _MOST_NAMED, []
        for outcome, episodes in sorted(by_outcome.items(), key=lambda of: (of[0] == "succeeded", -len(of[1]))):
            named = " ".join(_number(e) for e in episodes[:room])
            more = f" and {len(episodes) - room} more" if len(episodes) > room else ""
            room = max(0, room - len(episodes))
            lines.append(f"<p><b>{html_text(outcome)}</b>, {len(episodes)}: {named}{more}</p>")
        shown = next((e for e in batch.episodes if not e.success and not e.infrastructure), batch.episodes[0])
        command = f"autoenvbench replay {shlex.quote(self._run)} {shlex.quote(f'{name}-{_number(shown)}')} --video episode.mp4"
        return (
            f"<article class=idea id=runs-{k + 1}><nav><a href='#climb'>close</a></nav><h3>{_words(name, batch)}</h3>"
            f"{''.join(lines)}<pre>{html_text(command)}</pre></article>"
        )


def _number(e: EpisodeEvent) -> str:
    """How `replay` calls it, behind its evaluation."""
    return f"{e.index}.{e.attempt}" if e.attempt else str(e.index)


def _words(name: str, batch: Batch) -> str:
    """An evaluation in a line."""
    wins, n = batch.rate
    low, high = wilson(wins, n)
    idea = f", {html_text(short(batch.event.idea, 20))}" if batch.event.idea else ""
    who = f" by {html_text(short(batch.agent, 30))}" if batch.agent else ""
    rate = f"{wins} of {n} ({percent(wins / n)} [{100 * low:.0f}, {100 * high:.0f}])" if n else "no episode that counts"
    return f"{html_text(short(name, 40))}: {batch.event.purpose} of {html_text(short(batch.event.commit, 12))}{idea}{who}: {rate}"


# -- the picture -----------------------------------------------------------------------------------------------------------
def climb_section(batches: Batches, events: Sequence[Event], research_s: float, min_episodes: int) -> str:
    """The section's HTML. Its style is `STYLE` beside that of ideas, whose cards these are, too."""
    raw, confirmed = metrics.best_curves(events, min_episodes)
    span = max(research_s, 1e-9)

    def place(t: float, value: float) -> tuple[float, float]:
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(max(t / span, 0.0), 1.0)
        return round(x, 1), round(_TOP + (_HEIGHT - _TOP) * (1 - value), 1)

    parts = [f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT + 40}' role=group aria-label='success over research time'>"]
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        _, y = place(0, value)
        parts.append(
            f"<path d='M{_LEFT} {y}H{_WIDTH - _RIGHT}' class=grid /><text x={_LEFT - 6} y={y + 4} class=tick>{value:.0%}</text>"
        )
    for curve, kind in ((raw, "raw"), (confirmed, "climb")):
        steps = "".join("H{}V{}".format(*place(p.t_run, p.value)) for p in curve)
        start, end = place(0, 0), place(span, 0)[0]
        if curve:
            parts.append(f"<path d='M{start[0]} {start[1]}{steps}H{end}' class={kind} />")
    scored = batches.shown.get(batches.held_out or "")
    if scored is not None and scored.rate[1]:
        wins, n = scored.rate
        _, y = place(0, wins / n)
        words = f"held out {percent(wins / n)}"
        parts.append(batches.link(batches.held_out, f"<title>{_words(HELD_OUT, scored)}</title><path d='M{_LEFT} {y}H{_WIDTH - _RIGHT}' class=held />"
                                  f"<text x={_LEFT + 6} y={y - 5} class=heldout>{words}</text>"))  # fmt: skip
    parts += [
        _point(batches, name, batch, place) for name, batch in batches.shown.items() if batch.event.purpose != "heldout"
    ]
    per, unit = time_unit(research_s)
    for k in range(5):
        x, _ = place(span * k / 4, 0)
        parts.append(f"<text x={x} y={_HEIGHT + 18} class=id>{span * k / 4 / per:.3g}</text>")
    parts.append(f"<text x={(_LEFT + _WIDTH) / 2} y={_HEIGHT + 36} class=id>research wall-clock [{unit}]</text></svg>")
    marks = ",".join(f"body:has(#{anchor}:target) .v{anchor}" for anchor in batches.anchors.values())
    style = f"<style>{marks}{{stroke:#c8553d;stroke-width:4}}</style>" if marks else ""
    rest = f" {batches.left_out} further evaluations are in the ledger alone." if batches.left_out else ""
    return (
        f"{style}<figure class='ideas hill' id=climb tabindex=0>{''.join(parts)}</figure><p class=note>Choose a point for its episodes; the command "
        "there films one of them, or any other by its number, where it is typed in the folder that holds this run. Grey: "
        f"evaluations; blue: confirmations; line: the confirmed best, dashed the raw one.{rest}</p>{batches.cards()}"
    )


def _point(batches: Batches, name: str, batch: Batch, place: object) -> str:
    assert callable(place)
    wins, n = batch.rate
    if not n:
        return ""
    low, high = wilson(wins, n)
    (x, y), (_, top), (_, bottom) = (place(batch.t_run, value) for value in (wins / n, high, low))
    kind = "done" if batch.event.purpose == "confirm" else "seen"
    at = format_duration(batch.t_run)
    return batches.link(
        name,
        f"<title>{_words(name, batch)}, at {at}</title><path d='M{x} {top}V{bottom}' class={kind}bar />"
        f"<circle cx={x} cy={y} r=5 class='{kind} v{batches.anchors[name]}' />",
    )


STYLE = """
.hill .raw{stroke:#8a949e;stroke-width:1.2;stroke-dasharray:5 4} .hill .held{stroke:#3f8f5b;stroke-width:1.6} .hill .heldout{fill:#2f7a4a;font-size:12px}
.hill circle{stroke:transparent;stroke-width:12} .hill .seen{fill:#8a949e} .seenbar{stroke:#b9c1c8} .donebar{stroke:#1f6fb2}
"""
