"""The idea tree of a report: a picture whose nodes are links, and a card for each idea that its link opens.

No program runs in the page: a card is shown where the address names it (`:target`), so mouse, finger and keyboard open it alike, the back
button closes it, and a page may forbid all scripts. All text that others wrote is escaped; ids in the page are numbers of ours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from autoenvbench.evolution.team import Jump, TeamClimb
from autoenvbench.evolution.tree import Edge, Evaluation, Idea, IdeaTree
from autoenvbench.publish.idea_figure import jump_label, labelled
from autoenvbench.publish.idea_layout import rows_of
from autoenvbench.record.clock import format_duration
from autoenvbench.record.first_use import FirstUses
from autoenvbench.record.statistics import percent
from autoenvbench.record.summary import wilson
from autoenvbench.text import html_text, short

_LEFT, _RIGHT, _WIDTH = 110, 16, 1000
_LANE, _ROW, _CLIMB = 54, 9, 130  # heights of a lane, a row of it and the team's curve
_MOST_LINKS, _MOST_EVALUATIONS, _MOST_LEARNT, _TOTAL_LEARNT = (
    30,
    8,
    1500,
    25_000,
)  # of an idea; characters of one, and of all
_HOW = {"parent": "refines", "said": "is inspired by", "merge": "has, by a merge, commits of", "patch": "has the patch of",
        "tree": "has the files of", "declared": "says in a trailer that it has commits of"}  # fmt: skip


@dataclass(slots=True)
class Extras:
    """What a run's folder has of ideas, by id.

    Attributes:
        diffs: what was changed, and against what; `strips`: data URIs of pictures.
        evaluations: by evaluation, the id of what the page has of its episodes.
    """

    diffs: Mapping[str, tuple[str, str]]
    strips: Mapping[str, str]
    evaluations: Mapping[str, str] = field(default_factory=dict)


def idea_section(tree: IdeaTree, climb: TeamClimb, uses: FirstUses, research_s: float, extras: Extras) -> str:
    """The section's HTML. Its style is `STYLE`, whose class names are its own."""
    if not tree.ideas:
        return "<p class=note>No idea was registered.</p>"
    numbers = {id: k + 1 for k, id in enumerate(tree.ideas)}
    cards = "".join(map(_Cards(tree, climb, uses, numbers, extras).card, tree.ideas.values()))
    marks = ",".join(f"body:has(#idea-{k}:target) .n{k}" for k in numbers.values())
    return (
        f"<style>{marks}{{stroke:#c8553d;stroke-width:4}}</style><p class=note>Choose an idea to read about it. A lane is a member, across "
        "research time, and ends where its process did. Filled: confirmed; ringed: its confirmation raised the team average. Grey: what an "
        "idea refines; orange: what it has from another, dashed where that is only said.</p>"
        f"<figure class=ideas id=ideas tabindex=0>{_svg(tree, climb, research_s, numbers)}</figure>{cards}"
    )


# -- the picture -----------------------------------------------------------------------------------------------------------
def _svg(tree: IdeaTree, climb: TeamClimb, research_s: float, numbers: Mapping[str, int]) -> str:
    lanes = {name: 24 + _LANE * k + _LANE // 2 for k, name in enumerate(tree.lives)}
    span = max(research_s, 1e-9)
    bottom = 24 + _LANE * len(lanes)

    def x(t: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * min(max(t / span, 0.0), 1.0), 1)

    rows = rows_of(tree, 0.016 * span)
    at = {i.id: (x(i.t_run), lanes.get(i.agent or "", 12) + _ROW * rows[i.id]) for i in tree.ideas.values()}
    parts = [
        f"<svg viewBox='0 0 {_WIDTH} {bottom + _CLIMB + 42}' role=group aria-label='idea tree over the team average'>"
    ]
    for name, y in lanes.items():
        parts.append(f"<text x=4 y={y + 4} class=who>{html_text(short(name, 15))}</text>")
        for since, until in tree.lives[name]:
            end = x(span if until is None else until)
            parts.append(f"<path d='M{x(since)} {y}H{end}' class=lane />")
            if until is not None and until < 0.98 * span:
                parts.append(f"<path d='m{end - 4} {y - 4} 8 8m0-8-8 8' class=cut />")
    parts += [_curve(edge, at, x(edge.t_run)) for edge in tree.edges]
    parts += [_dot(idea, climb, at[idea.id], numbers[idea.id]) for idea in tree.ideas.values()]
    parts.append(_climb(climb, x, span, bottom + 20, numbers))
    return "".join(parts) + "</svg>"


def _curve(edge: Edge, at: Mapping[str, tuple[float, float]], end: float) -> str:
    (x0, y0), (x1, y1) = at[edge.source], (end, at[edge.target][1])
    kind = "refines" if edge.how == "parent" else "only" if edge.how in ("said", "declared") else "has"
    middle = (x0 + x1) / 2
    bend = 12 if y0 == y1 else 0
    return f"<path d='M{x0} {y0}C{middle:.0f} {y0 + bend} {middle:.0f} {y1 + bend} {x1} {y1}' class={kind} />"


def _dot(idea: Idea, climb: TeamClimb, place: tuple[float, float], number: int) -> str:
    x, y = place
    verdict = climb.verdict(idea.id)
    ring = f"<circle cx={x} cy={y} r=10 class=ring />" if verdict == "raised" else ""
    name = f"<text x={x} y={y - 12} class=id>{html_text(short(idea.id, 8))}</text>" if verdict == "raised" else ""
    words = html_text(short(f"{idea.id} by {idea.agent}: {idea.title} ({verdict})", 200))
    kind = "open" if verdict == "not confirmed" else "done"
    return (
        f"<a href='#idea-{number}'><title>{words}</title>{ring}<circle cx={x} cy={y} r=6 class='{kind} n{number}' />"
        f"<circle cx={x} cy={y} r=12 fill=transparent />{name}</a>"
    )


def _climb(climb: TeamClimb, x: Callable[[float], float], span: float, top: int, numbers: Mapping[str, int]) -> str:
    def y(value: float) -> float:
        return round(top + _CLIMB * (1 - value), 1)

    parts = [f"<path d='M{_LEFT} {y(v)}H{_WIDTH - _RIGHT}' class=grid /><text x={_LEFT - 6} y={y(v) + 4} class=tick>{v:.0%}</text>" for v in (0, 0.5, 1)]  # fmt: skip
    parts.append(f"<text x=4 y={y(0.75)} class=who>team average</text>")
    line = "".join(f"H{x(p.t_run)}V{y(p.value)}" for p in climb.team.average)
    parts.append(f"<path d='M{_LEFT} {y(0)}{line}H{x(span)}' class=climb />")
    for jump in labelled(climb.jumps, span):
        parts.append(_jump(jump, x(jump.t_run), y(jump.after), numbers))
    for k in range(5):
        at = "start" if k == 0 else "end" if k == 4 else "middle"
        parts.append(
            f"<text x={x(span * k / 4)} y={top + _CLIMB + 14} style='text-anchor:{at}' class=id>{format_duration(span * k / 4)}</text>"
        )
    return "".join(parts)


def _jump(jump: Jump, x: float, y: float, numbers: Mapping[str, int]) -> str:
    text = f"<text x={x - 3} y={y - 5} class='jump{'' if jump.why == 'confirmation' else ' again'}'>{html_text(jump_label(jump))}</text>"
    number = numbers.get(jump.idea or "")
    return f"<a href='#idea-{number}' tabindex=-1>{text}</a>" if number else text


# -- the cards ---------------------------------------------------------------------------------------------------------------
class _Cards:
    """Writes the cards of a tree, each in a time that does not grow with the tree."""

    def __init__(
        self, tree: IdeaTree, climb: TeamClimb, uses: FirstUses, numbers: Mapping[str, int], extras: Extras
    ) -> None:
        self._climb, self._uses, self._numbers, self._extras = climb, uses, numbers, extras
        self._sources, self._targets = defaultdict[str, list[Edge]](list), defaultdict[str, list[Edge]](list)
        for edge in tree.edges:
            self._sources[edge.target].append(edge)
            self._targets[edge.source].append(edge)

    def card(self, idea: Idea) -> str:
        """One idea's."""
        k, last = self._numbers[idea.id], len(self._numbers)
        before = f"<a href='#idea-{k - 1}'>&larr; before</a>" if k > 1 else ""
        after = f"<a href='#idea-{k + 1}'>next &rarr;</a>" if k < last else ""
        about = (idea.agent or "", format_duration(idea.t_run), short(idea.regime or "", 40), self._uses.words(idea.id))
        learned = _text(idea.learned, min(_MOST_LEARNT, _TOTAL_LEARNT // last))
        parts = [
            f"<nav>{before}{after}<a href='#ideas'>close</a></nav>",
            f"<h3>{html_text(short(idea.id, 20))} {html_text(short(idea.title, 220))}</h3>",
            f"<p class=note>{' &middot; '.join(html_text(word) for word in about if word)}</p>",
            f"<p><b>{self._verdict(idea)}</b> {_measured(idea)}</p>",
            self._relations(idea),
            f"<p class=learned>Learnt: {learned}</p>" if idea.learned else "",
            _evaluations(idea, self._extras.evaluations),
        ]
        if (strip := self._extras.strips.get(idea.id)) is not None:
            parts.append(
                f"<details><summary>a film of it, start to end</summary><img src='{strip}' alt='pictures of an episode'></details>"
            )
        if idea.id in self._extras.diffs:
            diff, against = self._extras.diffs[idea.id]
            said = f"what it changed against {html_text(short(against))}"
            parts.append(f"<details><summary>{said}</summary><pre>{html_text(diff, lines=True)}</pre></details>")
        return f"<article class=idea id=idea-{k}>{''.join(parts)}</article>"

    def _verdict(self, idea: Idea) -> str:
        verdict, gain = self._climb.verdict(idea.id), 100 * self._climb.gain(idea.id)
        if verdict == "raised":
            return f"Its confirmation raised the team average by {gain:.1f} points."
        if verdict == "did not raise":
            return "Confirmed: it did not raise the team average" + (
                f", which fell by {-gain:.1f} points." if gain < 0 else "."
            )
        return "Not confirmed." if idea.evaluations else "Never evaluated."

    def _relations(self, idea: Idea) -> str:
        has, gave = self._sources[idea.id], self._targets[idea.id]
        lines = [f"{_HOW[edge.how]} {self._link(edge.source)}" for edge in has]
        if gave:
            rest = f" and {len(gave) - _MOST_LINKS} more" if len(gave) > _MOST_LINKS else ""
            lines.append(f"something of it is in {', '.join(self._link(e.target) for e in gave[:_MOST_LINKS])}{rest}")
        return (
            f"<p>{'; '.join(lines)}</p>" if lines else "<p>From nowhere else in this run, and nothing came of it.</p>"
        )

    def _link(self, id: str) -> str:
        return f"<a href='#idea-{self._numbers[id]}'>{html_text(short(id, 20))}</a>"


def _measured(idea: Idea) -> str:
    said = [
        f"{what} {_rate(*counts)}"
        for what, counts in (("confirmed", idea.confirmed), ("evaluated", idea.evaluated))
        if counts
    ]
    said += [f"practised for {idea.practised} episodes"] if idea.practised else []
    return f"{'; '.join(said)}." if said else ""


def _rate(wins: int, n: int) -> str:
    low, high = wilson(wins, n)
    return f"{wins} of {n} ({percent(wins / n)} [{100 * low:.0f}, {100 * high:.0f}])" if n else "no episode"


def _evaluations(idea: Idea, shown: Mapping[str, str]) -> str:
    def row(e: Evaluation) -> str:
        how = "" if e.whole else " (under way)" if e.ended is None else " (cut)"
        whose = "" if e.agent == idea.agent else f" by {html_text(short(e.agent or '', 20))}"
        name = html_text(short(e.id, 12))
        linked = f"<a href='#{shown[e.id]}'>{name}</a>" if e.id in shown else name
        return (
            f"<tr><td>{linked}<td>{e.purpose}{whose}{how}<td>{format_duration(e.began)}"
            f"<td>{_rate(e.successes, e.episodes)}"
        )

    if not idea.evaluations:
        return ""
    earlier = len(idea.evaluations) - _MOST_EVALUATIONS
    rest = f"<p class=note>and {earlier} before these</p>" if earlier > 0 else ""
    return f"<table>{''.join(map(row, idea.evaluations[-_MOST_EVALUATIONS:]))}</table>{rest}"


def _text(text: str, most: int) -> str:
    return html_text(text if len(text) <= most else text[:most] + "…", lines=True)


STYLE = """
.ideas svg{min-width:680px;font-size:11px} .ideas .who{fill:#1c2733;font-size:12px} .ideas .id,.ideas .tick{fill:#5d6873;text-anchor:middle}
.ideas .tick{text-anchor:end} .ideas path{fill:none} .lane{stroke:#dfe4e8;stroke-width:8;stroke-linecap:round} .cut{stroke:#8a949e;stroke-width:2}
.refines{stroke:#8a949e} .has,.only{stroke:#c8553d;opacity:.7} .only{stroke-dasharray:4 3} .grid{stroke:#e6e9ec}
.climb{stroke:#1f6fb2;stroke-width:2.4} .jump{text-anchor:end;fill:#1c2733} .again{fill:#c8553d;font-style:italic}
.open{fill:#fff;stroke:#1f6fb2;stroke-width:1.6} .done{fill:#1f6fb2;stroke:#1f6fb2;stroke-width:1.6} .ring{fill:none;stroke:#3f8f5b;stroke-width:2.4}
.ideas a:hover circle,.ideas a:focus circle{stroke:#c8553d} .ideas a:focus{outline:2px solid #c8553d}
.idea{display:none;position:fixed;left:0;right:0;bottom:0;max-height:55vh;overflow:auto;background:#fff;border-top:3px solid #1f6fb2;
padding:8px 20px 18px;box-shadow:0 -6px 24px rgb(0 0 0/.18);z-index:2;font-size:14px;overflow-wrap:anywhere} .idea:target{display:block}
.idea>*{max-width:920px;margin-left:auto;margin-right:auto} .idea h3{margin-top:4px;margin-bottom:2px} .idea p{margin-top:4px;margin-bottom:4px}
.idea nav{display:flex;gap:18px;position:sticky;top:0;background:#fff;padding:4px 0} .idea nav a{padding:6px 2px} .idea nav a:last-child{margin-left:auto}
.idea pre{font-size:12px;overflow-x:auto;background:#f6f7f8;padding:8px;max-height:40vh} .idea img{max-width:100%} .idea td{overflow-wrap:normal} .learned{font-style:italic}
@media print{.idea{display:block;position:static;max-height:none;box-shadow:none}}
"""
