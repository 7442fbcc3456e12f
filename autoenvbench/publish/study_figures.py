"""Figures of a study, a line a level: success over research time, and how long runs take to get somewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autoenvbench.publish.figures import ACCENT, GREEN, INK, SOFT, WARM, new_figure, style_axes, time_unit
from autoenvbench.record.metrics import Point
from autoenvbench.record.survival import TimeTo

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLORS = (ACCENT, WARM, GREEN, "#7a5ea8", "#b8860b", "#2a9d9d", "#b04a8f", SOFT)
_LINES = ("-", "--", ":", "-.")


def climbs(levels: Sequence[tuple[str, Sequence[Sequence[Point]], float]]) -> Figure:
    """Confirmed best over research wall-clock: median of each level's runs, and their quartiles as a band.

    Args:
        levels: name, the confirmed curves of its runs, and the budget of each [s].
    """
    figure = new_figure(8.6, 3.8)
    ax = figure.subplots()
    style_axes(ax)
    longest = max(budget for _, _, budget in levels)
    per, unit = time_unit(longest)
    for k, (name, curves, budget) in enumerate(levels):
        at = np.linspace(0.0, budget, 400)
        values = np.array([_steps(curve, at) for curve in curves])
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
        look = look_of(k)
        ax.plot(at / per, middle, linewidth=1.8, label=f"{name} ({len(curves)})", **look)
        ax.fill_between(at / per, low, high, color=look["color"], alpha=0.13, linewidth=0)
    ax.set_xlim(0, longest / per)
    ax.set_ylim(-0.02, 1.04)
    ax.yaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    ax.set_xlabel(f"research wall-clock [{unit}]", color=INK)
    ax.set_ylabel("confirmed best", color=INK)
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def times_to(rate: float, levels: Sequence[tuple[str, TimeTo]], longest: float) -> Figure:
    """Kaplan-Meier: share of runs whose confirmed best has reached `rate` by then, with 95 % bands; up to `longest` [s]."""
    figure = new_figure(8.6, 3.4)
    ax = figure.subplots()
    style_axes(ax)
    per, unit = time_unit(longest)
    for k, (name, found) in enumerate(levels):
        at = [0.0, *(row[0] / per for row in found.curve), longest / per]
        share, low, high = ([0.0, *(1 - row[c] for row in found.curve)] for c in (1, 3, 2))
        look = look_of(k)
        ax.step(
            at, [*share, share[-1]], where="post", linewidth=1.8, label=f"{name} ({found.reached}/{found.runs})", **look
        )
        ax.fill_between(
            at, [*low, low[-1]], [*high, high[-1]], step="post", color=look["color"], alpha=0.10, linewidth=0
        )
    ax.axhline(0.5, color=SOFT, linewidth=0.8, linestyle=":")
    ax.set_xlim(0, longest / per)
    ax.set_ylim(-0.02, 1.04)
    ax.yaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    ax.set_xlabel(f"research wall-clock [{unit}]", color=INK)
    ax.set_ylabel(f"runs at {rate:.0%}", color=INK)
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def look_of(k: int) -> dict[str, Any]:
    """Colour and line of the k-th level, the same in all figures."""
    return {"color": _COLORS[k % len(_COLORS)], "linestyle": _LINES[k // len(_COLORS) % len(_LINES)]}


def _steps(curve: Sequence[Point], at: np.ndarray) -> np.ndarray:
    """The curve's value at these times [s]; 0 before its first point."""
    times = np.array([point.t_run for point in curve])
    values = np.array([0.0, *(point.value for point in curve)])
    return values[np.searchsorted(times, at, side="right")]
