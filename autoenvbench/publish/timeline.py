"""`autoenvbench utilisation`: when robots worked and when tokens were spent, in numbers and as one figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autoenvbench.errors import UserError
from autoenvbench.publish.figures import ACCENT, GREEN, INK, SOFT, WARM, new_figure, style_axes, svg_of, time_unit
from autoenvbench.record.ledger import read_events
from autoenvbench.record.lerobot_log import is_lerobot, of_lerobot
from autoenvbench.record.robot_log import Busy, RobotLog, of_run, read_log
from autoenvbench.record.statistics import percent
from autoenvbench.text import figure_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = (GREEN, ACCENT, "#d9a441", "#7a5ea8", WARM, "#8fb8d8", "#5f6b76", "#d9a39a")
_MOST_ROWS = 30  # robots that are drawn
_MOST_SPANS = 400  # of a robot, that are drawn one by one; of more, the share of each of so many equal parts


def log_of(source: Path, *, robots: int | None = None, wall_s: float | None = None) -> RobotLog:
    """The log in a file, a run's folder or a LeRobotDataset. Raises UserError."""
    if (source / "ledger.sqlite").is_file():
        if robots is not None or wall_s is not None:
            raise UserError(
                "a run's ledger says how many robots it has and how long it took; leave --robots and --wall out"
            )
        return of_run(read_events(source / "ledger.sqlite"))
    if is_lerobot(source):
        return of_lerobot(source, robots=robots, wall_s=wall_s)
    if not source.is_file():
        what = "is neither a run's folder (it has no ledger.sqlite) nor a LeRobotDataset (no meta/info.json)"
        raise UserError(f"{source} {what if source.is_dir() else 'does not exist'}")
    return read_log(source, robots=robots, wall_s=wall_s)


def write_timeline(log: RobotLog, out: Path) -> None:
    """Write the figure as an SVG file. Raises UserError."""
    if out.suffix.lower() != ".svg":
        raise UserError(f"cannot write {out}: give --out a file whose name ends in .svg")
    try:
        out.write_text(f'<?xml version="1.0" encoding="utf-8"?>\n{svg_of(timeline(log))}\n', encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}; choose another file with --out") from None


def timeline(log: RobotLog) -> Figure:
    """A row a robot, in colour where it worked, by reason; below, headline tokens so far. What is in no session is shaded."""
    names = sorted(log.busy)[:_MOST_ROWS]
    shown = {"robots": len(names) > 0, "tokens": len(log.calls) > 0}
    heights = [0.5 + 0.36 * len(names)] * shown["robots"] + [1.7] * shown["tokens"]
    figure = new_figure(9.0, 0.9 + sum(heights) if heights else 1.5)
    axes = figure.subplots(max(1, len(heights)), sharex=True, squeeze=False, height_ratios=heights or None)[:, 0]
    origin, end = log.sessions[0][0], log.sessions[-1][1]
    per, unit = time_unit(end - origin)
    for ax in axes:
        style_axes(ax)
        for (_, before), (after, _) in zip(log.sessions, log.sessions[1:], strict=False):
            ax.axvspan((before - origin) / per, (after - origin) / per, color="#eceff1", linewidth=0)
    if names:
        ax = axes[0]
        ax.grid(visible=False)
        for row, name in enumerate(names):
            _row(ax, row, log.busy[name], log.reasons, origin, end, per)
        ax.set_yticks(
            range(len(names)),
            [f"{figure_text(name, 24)}  {percent(log.use.of_robots.get(name, 0.0))}" for name in names],
            fontsize=9,
        )
        ax.set_ylim(len(names) - 0.5, -0.5)
        mru = "" if log.use.mru is None else f"MRU {percent(log.use.mru)}"
        more = f", {len(names)} of {len(log.busy)} robots" if len(names) < len(log.busy) else ""
        ax.set_title(mru + more, loc="left", fontsize=10, color=INK)
        _legend(ax, log)
    if shown["tokens"]:
        ax = axes[-1]
        order = np.argsort(log.calls[:, 0], kind="stable")
        t = np.concatenate([[0.0], (log.calls[order, 0] - origin) / per, [(end - origin) / per]])
        total = np.concatenate([[0.0], np.cumsum(log.calls[order, 1])])
        total = np.append(total, total[-1])
        keep = np.unique(np.linspace(0, len(t) - 1, min(len(t), 2000)).astype(int))
        ax.step(t[keep], total[keep], where="post", color=INK, linewidth=1.4)
        ax.yaxis.set_major_formatter(lambda v, _: f"{v:,.0f}")
        ax.set_ylim(bottom=0)
        ax.set_title(f"headline tokens, {log.use.mtu:,.0f} a minute (MTU)", loc="left", fontsize=10, color=INK)
    axes[-1].set_xlim(0, (end - origin) / per)
    axes[-1].set_xlabel(f"wall-clock [{unit}]", color=INK)
    return figure


def _row(ax: Any, row: int, busy: Busy, reasons: list[str], origin: float, end: float, per: float) -> None:
    ax.hlines(row, 0, (end - origin) / per, color="#dde2e6", linewidth=1.0, zorder=0)
    if len(busy.start) > _MOST_SPANS:
        _shares(ax, row, busy, reasons, origin, end, per)
        return
    for k in np.unique(busy.reason):
        mine = busy.reason == k
        bars = np.stack([busy.start[mine] - origin, busy.end[mine] - busy.start[mine]], axis=1) / per
        ax.broken_barh(bars.tolist(), (row - 0.34, 0.68), color=_colour(int(k)), linewidth=0)


def _shares(ax: Any, row: int, busy: Busy, reasons: list[str], origin: float, end: float, per: float) -> None:
    """Of each of many equal parts of the time, the share in which the robot worked, as bars of that height on each other."""
    edges = np.linspace(origin, end, _MOST_SPANS + 1)
    bottom = np.full(_MOST_SPANS, row + 0.34)
    for k in range(len(reasons)):
        mine = busy.reason == k
        if not mine.any():
            continue
        worked = np.concatenate([[0.0], np.cumsum(busy.end[mine] - busy.start[mine])])
        times, done = np.stack([busy.start[mine], busy.end[mine]], axis=1).ravel(), np.repeat(worked, 2)[1:-1]
        share = np.diff(np.interp(edges, times, done)) / np.diff(edges)
        top = bottom - 0.68 * share
        ax.fill_between((edges[:-1] - origin) / per, bottom, top, step="post", color=_colour(k), linewidth=0)
        bottom = top


def _legend(ax: Any, log: RobotLog) -> None:
    from matplotlib.patches import Patch

    seconds = log.seconds_by_reason()
    patches = [
        Patch(color=_colour(log.reasons.index(name)), label=f"{figure_text(name, 20)} {_share(log, spent)}")
        for name, spent in list(seconds.items())[:8]
    ]
    if patches:
        ax.legend(handles=patches, frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    else:
        ax.text(0.5, 0.5, "no robot worked", transform=ax.transAxes, ha="center", va="center", color=SOFT)


def _share(log: RobotLog, seconds: float) -> str:
    whole = log.use.robots * log.use.wall_s
    return percent(seconds / whole) if whole else ""


def _colour(reason: int) -> str:
    return _COLOURS[reason % len(_COLOURS)]
