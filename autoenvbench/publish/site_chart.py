"""The published curves with ours laid over them, as shapes for a page: hours on a logarithmic axis, so that minutes and days are both seen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from enpire_envs.registry import entry_of

from autoenvbench.publish.site_data import SiteRun

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 1000, 420, 76, 16, 44
_FROM, _TO = 0.01, 30.0  # hours
_TICKS = ((1 / 60, "1 min"), (1 / 6, "10 min"), (1.0, "1 h"), (10.0, "10 h"), (24.0, "24 h"))


@dataclass(frozen=True, slots=True)
class Line:
    """One run's curve.

    Attributes:
        path: of an SVG path element; `end`: (x, y) of its last point.
        look: number of its agent's colour; `ours`: it was measured here.
        words: what it is, for whoever points at it.
    """

    path: str
    end: tuple[float, float]
    look: int
    ours: bool
    words: str


@dataclass(frozen=True, slots=True)
class Group:
    """An agent in a chart's legend and table."""

    name: str
    look: int
    ours: bool
    runs: int
    final: float
    solved: int


@dataclass(frozen=True, slots=True)
class Chart:
    """A task: all lines, the agents that they are of, and (x, words) of the axis."""

    task: str
    lines: list[Line]
    groups: list[Group]
    ticks: list[tuple[float, str]]


def charts(published: Mapping[str, Any], runs: Iterable[SiteRun]) -> list[Chart]:
    """One for each task that curves are published of, with our runs on environments of that task."""
    return [
        _chart(task, published[key], [run for run in runs if _package(run.result.env.id) == published["package_of"][task]])
        for task, key in published["by_agent"].items()
    ]  # fmt: skip


def _package(env_id: str) -> str | None:
    entry = entry_of(env_id)
    return None if entry is None else entry.package


def _chart(task: str, published: Mapping[str, Sequence[Sequence[Sequence[float]]]], ours: Sequence[SiteRun]) -> Chart:
    lines, groups = [], []
    for look, (agent, curves) in enumerate(published.items()):
        for k, curve in enumerate(curves):
            hours, final = curve[-1]
            words = f"{agent}, published run {k + 1}: {final:g} after {hours:.1f} h"
            lines.append(_line([(h, v) for h, v in curve], hours, look, False, words))
        finals = [curve[-1][1] for curve in curves]
        groups.append(_group(agent, look, False, finals))
    by_agent: dict[str, list[SiteRun]] = {}
    for run in ours:
        if run.result.research_s:
            by_agent.setdefault(f"{run.agent} on {run.result.env.id}", []).append(run)
    for look, (agent, members) in enumerate(sorted(by_agent.items()), len(groups)):
        finals = []
        for run in members:
            steps = [(seconds / 3600, value) for seconds, value in run.steps]
            finals.append(steps[-1][1] if steps else 0.0)
            hours = (run.result.research_s or 0.0) / 3600
            source = "" if run.steps_from == "ledger" else ", known at 50, 80, 95, 99 and 100 % alone"
            words = f"{agent}, {run.id}: {finals[-1]:.0%} confirmed after {hours:.2f} h{source}"
            lines.append(_line(steps, hours, look, True, words))
        groups.append(_group(agent, look, True, finals))
    return Chart(task, lines, groups, [(x_of(hours), words) for hours, words in _TICKS])


def _group(name: str, look: int, ours: bool, finals: Sequence[float]) -> Group:
    return Group(name, look, ours, len(finals), sum(finals) / len(finals), sum(final >= 1.0 for final in finals))


def _line(steps: Sequence[tuple[float, float]], until: float, look: int, ours: bool, words: str) -> Line:
    """A step from 0 at the axis' left end to the end of what is known."""
    parts = [f"M{x_of(0)} {y_of(0)}", *(f"H{x_of(hours)}V{y_of(value)}" for hours, value in steps)]
    last = max([until, *(hours for hours, _ in steps)])
    end = (x_of(last), y_of(steps[-1][1] if steps else 0.0))
    return Line("".join([*parts, f"H{end[0]}"]), end, look % 8, ours, words)


def x_of(hours: float) -> float:
    """Where a time lies; what is shorter or longer than the axis, at its ends."""
    share = math.log(min(max(hours, _FROM), _TO) / _FROM) / math.log(_TO / _FROM)
    return round(LEFT + (WIDTH - LEFT - 12) * share, 1)


def y_of(value: float) -> float:
    """Where a score or rate, 0 to 1, lies."""
    return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - value), 1)
