"""The figure of `headroom.py`: which level separates whom, how hard each level is, and in what time agents climbed it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from item_response import Fit, Outcomes, probability

from autoenvbench.publish.figures import GREEN, INK, SOFT, WARM, new_figure
from autoenvbench.record.summary import wilson

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRID = "#e6e9ec"
#: Of the levels, from the easiest on; further ones of other packages take the last.
SHADES = ("#8fbcdb", "#1f6fb2", "#12406b", "#7a4fa3", "#c8553d")
#: Agents that are no agents: what a level is measured with.
YARDSTICKS = ("random", "naive", "reference")
_EDGE = 1.2  # of the ability axis, beyond the outermost agent [logits]

#: (level's id, agent, watched [s], time to 80 % [s] or None, time to 95 % [s] or None)
Climb = tuple[str, str, float, float | None, float | None]


def draw(fitted: Fit, outcomes: Outcomes, levels: Mapping[str, str], climbs: Sequence[Climb], bar_s: float) -> Figure:
    """Three panels: characteristic curves task by task; difficulties beside abilities; times to a confirmed 80 % and 95 %.

    Args:
        levels: id -> name of the level.
        bar_s: the time in which nobody may reach 95 % [s].
    """
    ids = [env_id for env_id in levels if env_id in fitted.difficulty]
    tasks: dict[str, list[str]] = {}
    for env_id in ids:
        tasks.setdefault(_task(env_id, levels[env_id]), []).append(env_id)
    names = list(dict.fromkeys(levels.values()))
    colour = {env_id: SHADES[min(names.index(levels[env_id]), len(SHADES) - 1)] for env_id in ids}
    columns = min(3, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    lower = max(2.4, 0.9 + 0.27 * (len(ids) + len(fitted.ability)))
    figure = new_figure(12.5, 2.9 * rows + lower + 0.9)
    top, bottom = figure.subfigures(2, 1, height_ratios=[2.9 * rows + 0.5, lower])
    figure.suptitle("Headroom: which level separates whom", color=INK, fontsize=14, x=0.01, ha="left")
    axes = top.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    places = [e.value for e in fitted.ability.values()]
    span = (min(places) - _EDGE, max(places) + _EDGE)
    for ax, (task, own) in zip(axes, tasks.items(), strict=False):
        _curves(ax, task, own, fitted, outcomes, levels, colour, span)
    for ax in axes[len(tasks) :]:
        ax.set_visible(False)
    for ax in axes[max(0, len(tasks) - columns) : len(tasks)]:
        ax.set_xlabel("ability [logits]", color=INK)
        ax.tick_params(labelbottom=True)
    left, right = bottom.subplots(1, 2, width_ratios=[1.15, 1])
    _ladder(left, ids, fitted, colour)
    _times(right, ids, climbs, colour, bar_s)
    return figure


def _task(env_id: str, level: str) -> str:
    """The name of the task that an id is a level of: "ENPIRE/PinInsertion-State-v0" -> "PinInsertion"."""
    return env_id.rpartition("/")[2].rpartition("-v")[0].removesuffix(f"-{level.title()}")


def _short(env_id: str) -> str:
    return env_id.rpartition("/")[2].rpartition("-v")[0]


def _curves(
    ax: Any, task: str, own: Sequence[str], fitted: Fit, outcomes: Outcomes, levels: Mapping[str, str],
    colour: Mapping[str, str], span: tuple[float, float],
) -> None:  # fmt: skip
    """Success by ability: each level's curve, and what each agent did on it with its 95 % Wilson interval."""
    _style(ax, "both")
    x = np.linspace(*span, 200)
    for env_id in own:
        ax.plot(x, probability(fitted, env_id, x), color=colour[env_id], linewidth=2, label=levels[env_id])
        for (agent, level), (wins, n) in outcomes.items():
            if level != env_id or not n:
                continue
            rate, (low, high) = wins / n, wilson(wins, n)
            yardstick = agent in YARDSTICKS
            ax.errorbar(
                [fitted.ability[agent].value], [rate], yerr=[[rate - low], [high - rate]], color=colour[env_id], elinewidth=1,
                fmt="o", markersize=5.5, markerfacecolor="white" if yardstick else colour[env_id], clip_on=False, zorder=3,
            )  # fmt: skip
    agents = sorted(
        {a for (a, level), (_, n) in outcomes.items() if level in own and n}, key=lambda a: fitted.ability[a].value
    )
    clusters: list[list[str]] = []  # agents that are so close that their names stand together
    for agent in agents:
        place = fitted.ability[agent].value
        ax.axvline(place, color=SOFT, linewidth=0.6, alpha=0.6, zorder=0)
        if clusters and place - fitted.ability[clusters[-1][0]].value < 0.1 * (span[1] - span[0]):
            clusters[-1].append(agent)
        else:
            clusters.append([agent])
    for cluster in clusters:
        middle = float(np.mean([fitted.ability[agent].value for agent in cluster]))
        label = "\n".join(agent.partition(" ")[0] for agent in reversed(cluster))
        ax.annotate(
            label, (middle, 1.03), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=7.5, color=INK,
            linespacing=1.05,
        )  # fmt: skip
    ax.set_xlim(*span)
    ax.set_ylim(-0.03, 1.03)
    ax.yaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    ax.set_title(
        task, color=INK, fontsize=11, loc="left", fontweight="bold", pad=8 + 9.5 * max(map(len, clusters), default=0)
    )
    ax.legend(frameon=False, fontsize=8, loc="center left" if len(own) < 4 else "upper left")


def _ladder(ax: Any, ids: Sequence[str], fitted: Fit, colour: Mapping[str, str]) -> None:
    """Difficulties of levels and abilities of agents on one axis, hardest and ablest on top."""
    _style(ax, "x")
    levels = sorted(ids, key=lambda env_id: fitted.difficulty[env_id].value)
    agents = sorted(fitted.ability, key=lambda agent: fitted.ability[agent].value)
    rows = [(a, fitted.ability[a], GREEN, "D") for a in agents] + [
        (_short(i), fitted.difficulty[i], colour[i], "s") for i in levels
    ]
    for k, (_, estimate, shade, marker) in enumerate(rows):
        ax.plot([estimate.low, estimate.high], [k, k], color=shade, linewidth=2, solid_capstyle="round")
        ax.plot([estimate.value], [k], marker, color=shade, markersize=6)
    ax.axhline(len(agents) - 0.5, color=SOFT, linewidth=0.8)
    ax.set_yticks(range(len(rows)), [name for name, *_ in rows], fontsize=8.5)
    ax.set_ylim(-0.7, len(rows) - 0.3)
    ax.set_xlabel(
        f"logits, 95 % intervals ({fitted.model})\nan agent as able as a level is difficult wins half of its episodes",
        color=INK,
        fontsize=8.5,
    )
    ax.set_title(
        "Difficulty of levels (squares), ability of agents (diamonds)",
        color=INK,
        fontsize=11,
        loc="left",
        fontweight="bold",
    )


def _times(ax: Any, ids: Sequence[str], climbs: Sequence[Climb], colour: Mapping[str, str], bar_s: float) -> None:
    """Research time to a confirmed 80 % (hollow) and 95 % (full); an arrow where a run was watched so long and did not get there."""
    _style(ax, "x")
    rows = [climb for env_id in ids for climb in climbs if climb[0] == env_id]
    ax.set_title("Time to a confirmed 80 % and 95 %", color=INK, fontsize=11, loc="left", fontweight="bold", pad=18)
    if not rows:
        ax.set_axis_off()
        ax.text(0.0, 0.9, "No agent has run on these levels yet.", transform=ax.transAxes, color=SOFT)
        return
    start = min(0.5, *(0.5 * min(filter(None, row[2:])) / 60 for row in rows))
    for k, (env_id, _, watched, to_80, to_95) in enumerate(rows):
        shade, end = colour[env_id], watched / 60
        ax.plot([start, end], [k, k], color=GRID, linewidth=5, solid_capstyle="round", zorder=1)
        if to_95 is None:
            ax.plot([end], [k], ">", color=SOFT, markersize=6, zorder=2)
        for t, face in ((to_80, "white"), (to_95, shade)):
            if t is not None:
                ax.plot([t / 60], [k], "o", color=shade, markerfacecolor=face, markersize=7, zorder=3)
    ax.axvline(bar_s / 60, color=WARM, linewidth=1.2, linestyle="--")
    ax.annotate("95 % left of this: moved down a rung", (bar_s / 60, 1.0), xycoords=("data", "axes fraction"), xytext=(-4, 3),
                textcoords="offset points", ha="right", fontsize=7.5, color=WARM)  # fmt: skip
    ax.set_xscale("log")
    ax.set_xlim(start, max(90.0, *(2 * row[2] / 60 for row in rows)))
    ax.xaxis.set_major_formatter(lambda v, _: f"{v:g}")
    ax.set_yticks(range(len(rows)), [f"{agent}, {_short(env_id)}" for env_id, agent, *_ in rows], fontsize=8.5)
    ax.set_ylim(-0.7, len(rows) - 0.3)
    ax.set_xlabel(
        "research time [minutes]\nhollow 80 %, full 95 %, arrow: 95 % not within what was watched",
        color=INK,
        fontsize=8.5,
    )


def _style(ax: Any, grid: str) -> None:
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(SOFT)
    ax.tick_params(colors=INK, labelsize=8.5)
    ax.grid(axis=grid, color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
