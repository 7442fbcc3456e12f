"""Agents over hours: `autoenvbench publish curves` draws median and quartiles over the runs of each agent."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autoenvbench.errors import UserError
from autoenvbench.publish.figures import INK, new_figure, style_axes, time_unit
from autoenvbench.publish.run_curves import RunCurve, quartiles, read_curves, spread
from autoenvbench.publish.study_figures import look_of, times_to
from autoenvbench.publish.write_figures import save
from autoenvbench.record.survival import time_to
from autoenvbench.text import csv_cell, figure_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ByAgent = Mapping[str, Sequence[RunCurve]]


def write_curves(runs: Sequence[Path], out: Path, rate: float = 0.8) -> list[Path]:
    """Write curves.svg, curves.pdf and curves.csv to `out`, and times.svg and times.pdf where any run got to `rate`; returns the files.

    Raises:
        UserError: a rate out of (0, 1], runs that `read_curves` refuses, or a folder that cannot be written.
    """
    if not 0 < rate <= 1:
        raise UserError(f"a success rate is above 0 and at most 1, not {rate:g}; such as --to 0.8")
    by_agent = read_curves(runs)
    written = save(over_hours(by_agent, rate), out / "curves")
    if any(curve.reached(rate) is not None for curves in by_agent.values() for curve in curves):
        written += save(_times(by_agent, rate), out / "times")
    return [*written, _write_csv(by_agent, out / "curves.csv")]


def over_hours(by_agent: ByAgent, rate: float) -> Figure:
    """Normalised score, and success, over research time. A line and band are median and quartiles over an agent's runs, up to where all of
    them were granted time; thin lines are runs, and a tick is where one that had not reached `rate` was watched to: it is censored."""
    figure = new_figure(9.6, 6.4)
    longest = spread(by_agent)
    per, unit = time_unit(longest)
    for ax, what, label in zip(figure.subplots(2, sharex=True), ("score", "success"), ("normalised score", "success rate"), strict=True):  # fmt: skip
        style_axes(ax)
        for k, (agent, curves) in enumerate(by_agent.items()):
            look = look_of(k)
            at, (low, middle, high) = quartiles(curves, what)
            ax.plot(
                at / per,
                middle,
                linewidth=2.0,
                label=f"{figure_text(agent)} ({len(curves)} run{'s' * (len(curves) > 1)})",
                **look,
            )
            ax.fill_between(at / per, low, high, color=look["color"], alpha=0.13, linewidth=0)
            for curve in curves:
                steps = [(0.0, 0.0), *getattr(curve, what)]
                t, v = [x / per for x, _ in steps], [y for _, y in steps]
                ax.step([*t, curve.watched_s / per], [*v, v[-1]], where="post", color=look["color"], linewidth=0.5, alpha=0.6)  # fmt: skip
                if curve.reached(rate) is None:
                    ax.plot(curve.watched_s / per, v[-1], "|", color=look["color"], markersize=9, clip_on=False)
        ax.set_xlim(0, longest / per)
        ax.set_ylim(-0.02, 1.04)
        ax.set_ylabel(label, color=INK)
    ax.yaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    ax.set_xlabel(f"research wall-clock [{unit}]; a tick: censored, {rate:.0%} not reached", color=INK)
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _times(by_agent: ByAgent, rate: float) -> Figure:
    """Kaplan and Meier's curve of each agent."""
    found = []
    for agent, curves in by_agent.items():
        one = time_to([curve.reached(rate) for curve in curves], [curve.watched_s for curve in curves])
        if one is not None:
            found.append((figure_text(agent), one))
    return times_to(rate, found, spread(by_agent))


def _write_csv(by_agent: ByAgent, path: Path) -> Path:
    """A row for each step of each run, and one for its end, at which it is said whether it is censored by its budget or its goal."""
    try:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("agent", "run", "hours", "success", "score", "event"))
            for agent, curves in by_agent.items():
                for curve in curves:
                    who = (csv_cell(agent), curve.run_id)
                    steps = [(t, v, s) for (t, v), (_, s) in zip(curve.success, curve.score, strict=True)]
                    writer.writerows((*who, f"{t / 3600:.5f}", f"{v:.4f}", f"{s:.4f}", "best") for t, v, s in steps)
                    _, v, s = steps[-1] if steps else (0.0, 0.0, 0.0)
                    ended = "goal" if curve.watched_s < curve.budget_s else "budget"
                    writer.writerow((*who, f"{curve.watched_s / 3600:.5f}", f"{v:.4f}", f"{s:.4f}", ended))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; choose another folder with --out") from None
    return path
