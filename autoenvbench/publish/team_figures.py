"""Figures over several runs: teams of different sizes, and where their members' time went. All from the runs' ledgers alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autoenvbench.evolution.activity import ACTIVITIES, Activity, MemberTime, team_time
from autoenvbench.publish.figures import ACCENT, GREEN, INK, SOFT, WARM, new_figure, style_axes, time_unit
from autoenvbench.publish.study_figures import climbs, look_of
from autoenvbench.publish.team_runs import FirstAt, TeamRun, reached
from autoenvbench.record.milestones import in_order
from autoenvbench.text import figure_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Of activities: what is progress in colour, what is waiting in grey.
_SHADES: dict[Activity, str] = {
    "training": "#7a5ea8", "robot at work": GREEN, "waiting for a robot": "#d9a39a", "summarising peers": "#d9a441",
    "waiting for the model": "#c9d1d8", "coding": ACCENT, "reading": "#8fb8d8",
}  # fmt: skip


def groups_of(runs: Sequence[TeamRun]) -> dict[str, list[TeamRun]]:
    """Runs under the same conditions, the smallest teams first."""
    groups: dict[str, list[TeamRun]] = {}
    for run in sorted(runs, key=lambda r: (r.team_size, r.condition)):
        groups.setdefault(run.condition, []).append(run)
    return groups


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The lower quartile, median and upper quartile, each a value that is there; `inf` stands for what was not reached."""
    ordered = sorted(values)
    return tuple(ordered[min(len(ordered) - 1, max(0, math.ceil(q * len(ordered)) - 1))] for q in (0.25, 0.5, 0.75))  # type: ignore[return-value]


# -- scaling -------------------------------------------------------------------------------------------------------------
def scaling(runs: Sequence[TeamRun]) -> Figure:
    """Confirmed best of the whole team over hours: per condition the median over runs, and the band between quartiles. A run that ended
    early keeps its last value; a line ends where the first of its runs was cut by its budget."""
    return climbs([
        (figure_text(name), [run.confirmed for run in group], min(max(r.research_s, r.budget_s) if r.ended_early else r.research_s for r in group))
        for name, group in groups_of(runs).items()
    ])  # fmt: skip


# -- utilisation by team size -----------------------------------------------------------------------------------------------
def utilisation_by_team(runs: Sequence[TeamRun], threshold: float) -> Figure:
    """Robots, machine, tokens a minute, and tokens and time until the confirmed best reached `threshold`, by condition. Dots are runs, of
    robots cells; bars are medians. Dashed: tokens a minute of the smallest teams, times as many members."""
    figure = new_figure(10.5, 4.6)
    axes = figure.subplots(2, 3).ravel()
    groups = groups_of(runs)
    names = [f"{k + 1}" for k in range(len(groups))]
    panels: list[tuple[str, Callable[[TeamRun], list[float]], bool]] = [
        ("robots at work (MRU by cell)", lambda r: r.mru_of_cells, True),
        ("CPU", lambda r: r.cpu, True),
        ("GPU", lambda r: r.gpu, True),
        ("headline tokens a minute (MTU)", lambda r: [r.mtu], False),
        (f"tokens to {threshold:.0%}", lambda r: [r.spent_to(threshold, "tokens")], False),
        (f"minutes to {threshold:.0%}", lambda r: [r.spent_to(threshold, "time_s") / 60], False),
    ]
    for ax, (title, of_run, share) in zip(axes, panels, strict=True):
        _bars(ax, [[v for run in group for v in of_run(run)] for group in groups.values()])
        style_axes(ax)
        ax.set_title(title, loc="left", fontsize=9, color=INK)
        ax.set_xticks(range(len(names)), names)
        if share:
            ax.set_ylim(0, 1.05)
            ax.yaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    _linear(axes[3], list(groups.values()))
    labels = "   ".join(
        f"{k}: {figure_text(name, 40)} ({len(group)})" for k, (name, group) in zip(names, groups.items(), strict=True)
    )
    figure.supxlabel(labels, fontsize=8, color=INK)
    return figure


def _bars(ax: Any, columns: Sequence[Sequence[float]]) -> None:
    tops = [v for column in columns for v in column if math.isfinite(v)]
    top = max(tops, default=1.0) or 1.0
    for k, column in enumerate(columns):
        if not column:
            ax.text(k, 0.04 * top, "-", ha="center", color=SOFT)
            continue
        middle = quartiles(column)[1]
        if math.isfinite(middle):
            ax.bar(k, middle, width=0.6, color="#a9c6de")
        reached = [v for v in column if math.isfinite(v)]
        ax.plot(k + np.linspace(-0.16, 0.16, len(reached)) if len(reached) > 1 else [k] * len(reached), reached, ".", color=ACCENT,
                markersize=5)  # fmt: skip
        if len(reached) < len(column):
            ax.text(
                k,
                1.04 * top,
                f"{len(column) - len(reached)} of {len(column)}\nnot",
                ha="center",
                va="bottom",
                fontsize=7,
                color=WARM,
            )
    ax.set_ylim(0, top * 1.25)


def _linear(ax: Any, groups: Sequence[Sequence[TeamRun]]) -> None:
    smallest = [run for group in groups for run in group if run.team_size == groups[0][0].team_size]
    each = float(np.median([run.mtu for run in smallest])) / smallest[0].team_size
    expected = [each * group[0].team_size for group in groups]
    ax.plot(range(len(groups)), expected, "--", color=WARM, linewidth=1.4, marker="_", markersize=14)
    ax.set_ylim(0, max(ax.get_ylim()[1], 1.1 * max(expected), 1e-9))


# -- time -----------------------------------------------------------------------------------------------------------------
def activity(times: dict[str, MemberTime], title: str = "") -> Figure:
    """Shares of each member's time by activity, and the tokens that went into taking in what others do."""
    figure = new_figure(9.0, 1.4 + 0.42 * max(len(times), 1))
    ax = figure.subplots()
    style_axes(ax)
    ax.grid(visible=False)
    left = np.zeros(len(times))
    whole = np.array([max(t.alive_s, 1e-9) for t in times.values()])
    for name in ACTIVITIES:
        width = np.array([t.seconds[name] for t in times.values()]) / whole
        ax.barh(range(len(times)), width, left=left, height=0.62, color=_SHADES[name], label=name)
        left += width
    for k, t in enumerate(times.values()):
        peers = (
            f"{t.peer_tokens:,} of {t.tokens:,} tokens on peers"
            if t.tokens
            else f"{_count(t.looks, 'look')} at peers"
            if t.looks
            else ""
        )
        ax.text(1.01, k, peers, va="center", fontsize=7.5, color=INK)
    ax.set_yticks(range(len(times)), [figure_text(name, 32) for name in times], fontsize=9)
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    ax.set_title(title or "time by activity", loc="left", fontsize=9, color=INK)
    figure.legend(frameon=False, fontsize=8, ncols=4, loc="outside lower center")
    return figure


def activity_by_team(runs: Sequence[TeamRun]) -> Figure:
    """The same by condition, all members of its runs together."""
    times = {
        f"{name} ({len(group)})": team_time({str(k): run.time for k, run in enumerate(group)})
        for name, group in groups_of(runs).items()
    }
    return activity(times, "time by activity, all members of all runs together")


def milestones(runs: Sequence[TeamRun]) -> Figure:
    """`milestone_bars` of runs by condition."""
    groups = {name: [run.first_at for run in group] for name, group in groups_of(runs).items()}
    return milestone_bars(groups, max(run.research_s for run in runs))


def milestone_bars(groups: Mapping[str, Sequence[FirstAt]], longest: float) -> Figure:
    """Research time until a counted episode first reached each stage: the median over each group's runs, with whiskers between quartiles.
    What fewer than half of the runs reached has no bar, and a whisker without an end goes beyond the figure.

    Args:
        groups: `TeamRun.first_at` of each run, by name.
        longest: that a run took [s].
    """
    order = stage_order([first_at for group in groups.values() for first_at in group])
    figure = new_figure(8.6, 1.2 + 0.3 * max(1, len(order)) * (0.6 + len(groups)))
    ax = figure.subplots()
    style_axes(ax)
    ax.grid(axis="y", visible=False)
    per, unit = time_unit(longest)
    height = 0.8 / max(1, len(groups))
    for k, (name, group) in enumerate(groups.items()):
        for row in range(len(order)):
            y = row + (k - (len(groups) - 1) / 2) * height
            times = [reached(first_at, order[row:]) for first_at in group]
            low, middle, high = quartiles(times)
            missed = sum(map(math.isinf, times))
            ax.barh(y, middle / per if math.isfinite(middle) else 0.0, height=0.85 * height, color=look_of(k)["color"], alpha=0.8,
                    label=f"{figure_text(name, 48)}, {_count(len(group), 'run')}" if row == 0 else None)  # fmt: skip
            if math.isfinite(low) and len(group) > 1:
                ax.plot([low / per, min(high, 1.02 * longest) / per], [y, y], color=INK, linewidth=1.2)
                ax.plot(
                    [x / per for x in (low, high) if math.isfinite(x)],
                    [y] * sum(map(math.isfinite, (low, high))),
                    "|",
                    color=INK,
                )
            if missed:
                ax.text(1.025 * longest / per, y, f"{missed} of {len(group)} not", va="center", fontsize=7, color=WARM)
    ax.set_yticks(range(len(order)), [figure_text(stage, 24) for stage in order], fontsize=9)
    ax.invert_yaxis()
    ax.set_xlim(0, longest / per * 1.02)
    ax.set_xlabel(f"research wall-clock until first reached [{unit}]", color=INK)
    _legend(ax)
    return figure


def stage_order(runs: Sequence[FirstAt]) -> list[str]:
    """Stages of the runs' episodes from the first to the last, by their mean score."""
    scores: dict[str, list[float]] = {}
    for first_at in runs:
        for stage, (_, score) in first_at.items():
            scores.setdefault(stage, []).append(score)
    return in_order({stage: float(np.mean(found)) for stage, found in scores.items()})


def _legend(ax: Any) -> None:
    ax.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")
