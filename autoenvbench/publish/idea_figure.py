"""The idea tree as a figure: a lane per member over the team average's hill climb, on one axis of research time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from autoenvbench.evolution.team import Jump, TeamClimb
from autoenvbench.evolution.tree import Idea, IdeaTree
from autoenvbench.publish.figures import ACCENT, GREEN, INK, SOFT, WARM, new_figure, style_axes, time_unit
from autoenvbench.publish.idea_layout import rows_of
from autoenvbench.text import figure_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH = 10.0  # inches
_ROW = 0.17  # lanes
_LANE = 0.62  # height of a lane [inches]
_LABELS = 14  # jumps that are named, the largest ones


def idea_tree(tree: IdeaTree, climb: TeamClimb, research_s: float) -> Figure:
    """A node per idea: filled where it was confirmed, ringed where that raised the team average. Grey: what refines what; dashed: what its
    author named; coloured: what its commits have of others. Below, the team average, its largest jumps by name."""
    lanes = {name: k for k, name in enumerate(tree.lives)}
    upper = 0.7 + _LANE * max(len(lanes), 1)
    figure = new_figure(_WIDTH, upper + 2.5)
    top, bottom = figure.subplots(2, sharex=True, height_ratios=[upper, 2.5])
    per, unit = time_unit(research_s)
    rows = rows_of(tree, 0.016 * max(research_s, 1e-9))
    at = {i.id: (i.t_run / per, lanes[i.agent] + _ROW * rows[i.id]) for i in tree.ideas.values() if i.agent in lanes}
    _lanes(top, tree, research_s, per)
    _curves(top, tree, at, research_s, per)
    for idea in tree.ideas.values():
        if idea.id in at:
            _node(top, idea, climb, *at[idea.id], many=len(at) > 60)
    _climb(bottom, climb, research_s, per)
    bottom.set_xlim(0, max(research_s / per, 1e-6) * 1.015)
    bottom.set_xlabel(f"research wall-clock [{unit}]", color=INK)
    return figure


def _lanes(ax: Any, tree: IdeaTree, research_s: float, per: float) -> None:
    style_axes(ax)
    ax.grid(visible=False)
    for name, k in zip(tree.lives, range(len(tree.lives)), strict=True):
        for since, until in tree.lives[name]:
            end = research_s if until is None else min(until, research_s)
            ax.plot([since / per, end / per], [k, k], color="#dfe4e8", linewidth=7, solid_capstyle="round", zorder=0)
            if end < 0.98 * research_s:
                ax.plot([end / per], [k], marker="x", color=SOFT, markersize=7, markeredgewidth=1.8, zorder=3)
    ax.set_yticks(range(len(tree.lives)), [figure_text(name, 24) for name in tree.lives], fontsize=9)
    ax.set_ylim(max(len(tree.lives), 1) - 0.4, -0.6)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    ax.tick_params(length=0, labelbottom=False)
    ax.set_title("ideas: confirmed (filled), raised the team average (ring); grey: refines, orange: has from another (dashed: only said)",
                 loc="left", fontsize=9, color=INK)  # fmt: skip


def _curves(ax: Any, tree: IdeaTree, at: dict[str, tuple[float, float]], research_s: float, per: float) -> None:
    from matplotlib.patches import FancyArrowPatch

    last: dict[str | None, str] = {}
    before: dict[str, str | None] = {}  # the same member's idea before
    for idea in tree.ideas.values():
        before[idea.id], last[idea.agent] = last.get(idea.agent), idea.id
    for edge in tree.edges:
        if edge.source not in at or edge.target not in at:
            continue
        end = (edge.t_run / per, at[edge.target][1])
        color, line = (SOFT, "-") if edge.how == "parent" else (WARM, "--" if edge.how in ("said", "declared") else "-")
        across = (end[0] - at[edge.source][0]) / max(research_s / per, 1e-6) * _WIDTH
        length = math.hypot(across, _LANE * (end[1] - at[edge.source][1]))
        bend = min(0.18, 0.3 / max(length, 1e-6))  # the longest, too, stay within their lanes
        if at[edge.source][1] > end[1]:
            bend = -bend
        if before[edge.target] == edge.source:
            bend = 0.0
        ax.add_patch(FancyArrowPatch(at[edge.source], end, connectionstyle=f"arc3,rad={bend}", arrowstyle="-", color=color,
                                     linestyle=line, linewidth=1.0, alpha=0.75, zorder=1))  # fmt: skip


def _node(ax: Any, idea: Idea, climb: TeamClimb, x: float, y: float, *, many: bool) -> None:
    verdict = climb.verdict(idea.id)
    size = 5.0 if many else 7.0
    face = "white" if verdict == "not confirmed" else ACCENT
    ax.plot(
        [x],
        [y],
        marker="o",
        markersize=size,
        color=face,
        markeredgecolor=ACCENT if idea.evaluations else SOFT,
        zorder=4,
    )
    if verdict == "raised":
        ax.plot([x], [y], marker="o", markersize=size + 6, markerfacecolor="none", markeredgecolor=GREEN,
                markeredgewidth=2, zorder=3)  # fmt: skip
    if verdict == "raised" or not many:
        ax.annotate(
            figure_text(idea.id, 8),
            (x, y),
            (0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=7,
            color=INK,
            zorder=5,
        )


def _climb(ax: Any, climb: TeamClimb, research_s: float, per: float) -> None:
    style_axes(ax)
    for name in climb.team.members:
        own = climb.team.member(name).confirmed
        t = [0.0, *(p.t_run / per for p in own), research_s / per]
        v = [0.0, *(p.value for p in own), own[-1].value if own else 0.0]
        ax.step(t, v, where="post", color=SOFT, linewidth=0.7, alpha=0.6)
    points = climb.team.average
    t = [0.0, *(p.t_run / per for p in points), research_s / per]
    v = [0.0, *(p.value for p in points), points[-1].value if points else 0.0]
    ax.step(t, v, where="post", color=ACCENT, linewidth=2.2)
    ax.set_ylim(-0.02, 1.12)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1.0])
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.set_title(
        "team average of each member's own confirmed best (grey: the members)", loc="left", fontsize=10, color=INK
    )
    for jump in labelled(climb.jumps, research_s):
        again = jump.why != "confirmation"
        ax.annotate(jump_label(jump), (jump.t_run / per, jump.after), (-3, 5), textcoords="offset points", ha="right", fontsize=7,
                    color=WARM if again else INK, style="italic" if again else "normal", annotation_clip=False)  # fmt: skip


def labelled(jumps: list[Jump], research_s: float) -> list[Jump]:
    """The largest jumps, as many as can be read: none lies upon the label of a larger one. In their order."""
    chosen: list[Jump] = []
    for jump in sorted(jumps, key=lambda j: -abs(j.gain)):
        apart = all(
            abs(jump.t_run - other.t_run) > 0.1 * research_s or abs(jump.after - other.after) > 0.075
            for other in chosen
        )
        if apart and len(chosen) < _LABELS:
            chosen.append(jump)
    return sorted(chosen, key=lambda j: j.t_run)


def jump_label(jump: Jump) -> str:
    """Such as "I7 +12.5", in percentage points; what is no confirmation of an idea says what it is."""
    what = figure_text(jump.idea, 8) if jump.idea is not None and jump.why == "confirmation" else jump.why
    return f"{what} {100 * jump.gain:+.1f}"
