"""Figures of a run and of an axis of a study: pure functions from events or numbers to matplotlib figures."""

from __future__ import annotations

import io
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from autoenvbench.record import metrics
from autoenvbench.record.events import NOT_AGENTS
from autoenvbench.record.ledger import Event
from autoenvbench.record.summary import wilson
from autoenvbench.text import figure_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DIGITS = re.compile(r"(\.\d\d)\d+")  # hundredths of a point are seen by nobody
_MOST_BARS = 60  # that a figure draws one by one
INK, SOFT, ACCENT, WARM, GREEN = "#1c2733", "#8a949e", "#1f6fb2", "#c8553d", "#3f8f5b"


def new_figure(width: float = 8.0, height: float = 3.2) -> Figure:
    """An empty figure of this size [inches]. (matplotlib is imported here and not with the package: it takes a second.)"""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def svg_of(figure: Figure) -> str:
    """The figure as an SVG element, to stand inside a page."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # letters, not their outlines: a third of the size
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = re.sub(r"<!--.*?-->\s*|<metadata>.*?</metadata>\s*", "", buffer.getvalue(), flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;\"]*; ", "", svg)  # the page's own
    svg = re.sub(r'="[^"]*"', lambda value: _DIGITS.sub(r"\1", value[0]), svg)
    return re.sub(r"\s*\n\s*", " ", svg[svg.index("<svg") :])


def style_axes(ax: object) -> None:
    """The house's look of a pair of axes."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)  # type: ignore[attr-defined]
    for side in ("left", "bottom"):
        ax.spines[side].set_color(SOFT)  # type: ignore[attr-defined]
    ax.tick_params(colors=INK, labelsize=9)  # type: ignore[attr-defined]
    ax.grid(axis="y", color="#e6e9ec", linewidth=0.8)  # type: ignore[attr-defined]
    ax.set_axisbelow(True)  # type: ignore[attr-defined]


def time_unit(seconds: float) -> tuple[float, str]:
    """A divisor and a name for a time axis of this length."""
    return (3600.0, "hours") if seconds > 3 * 3600 else (60.0, "minutes") if seconds > 180 else (1.0, "seconds")


def hill_climb(events: Sequence[Event], research_s: float, held_out: float | None, min_episodes: int) -> Figure:
    """Success over research wall-clock: every evaluation, raw best (dashed), confirmed best with 95 % intervals."""
    figure = new_figure(8.6, 3.6)
    ax = figure.subplots()
    style_axes(ax)
    per, unit = time_unit(research_s)
    done = [e for e in events if e.kind == "evaluation" and e.payload.phase == "finished" and e.payload.episodes]
    for purpose, marker, color, label in (
        ("evaluate", "o", SOFT, "evaluation"), ("confirm", "D", ACCENT, "confirmation"),
    ):  # fmt: skip
        chosen = [e for e in done if e.payload.purpose == purpose]
        rates = [e.payload.successes / e.payload.episodes for e in chosen]
        intervals = [wilson(e.payload.successes, e.payload.episodes) for e in chosen]
        if chosen:
            t = [e.t_run / per for e in chosen]
            bars = np.array(
                [[low, high, np.nan] for low, high in intervals]
            ).ravel()  # one line: a third of the page's size
            ax.plot(np.repeat(t, 3), bars, color=color, linewidth=0.8, alpha=0.8)
            ax.plot(t, rates, marker, color=color, markersize=4, alpha=0.8, label=label)
    raw, confirmed = metrics.best_curves(events, min_episodes)
    for curve, style, color, label in (
        (raw, "--", SOFT, "best so far (raw)"), (confirmed, "-", ACCENT, "confirmed best"),
    ):  # fmt: skip
        if curve:
            t = [0.0, *(p.t_run / per for p in curve), research_s / per]
            v = [0.0, *(p.value for p in curve), curve[-1].value]
            ax.step(
                t, v, where="post", linestyle=style, color=color, linewidth=1.2 if style == "--" else 2, label=label
            )
    if held_out is not None:
        ax.axhline(held_out, color=GREEN, linewidth=1.4, label=f"held-out {held_out:.1%}")
    ax.set_xlim(0, max(research_s / per, 1e-6) * 1.01)
    ax.set_ylim(-0.02, 1.04)
    ax.yaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    ax.set_xlabel(f"research wall-clock [{unit}]", color=INK)
    ax.set_ylabel("success rate", color=INK)
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def axis_figure(axis: str, levels: Sequence[tuple[str, int, int]]) -> Figure:
    """Success rates of the levels of one axis, each (name, successes, episodes), with 95 % Wilson intervals."""
    figure = new_figure(6.4, 0.9 + 0.45 * len(levels))
    ax = figure.subplots()
    style_axes(ax)
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", color="#e6e9ec", linewidth=0.8)
    for k, (_, successes, episodes) in enumerate(levels):
        rate = successes / max(episodes, 1)
        low, high = wilson(successes, episodes)
        ax.barh(k, rate, color=ACCENT if k == 0 else SOFT, height=0.55)
        ax.errorbar([rate], [k], xerr=[[rate - low], [high - rate]], color=INK, capsize=3, linewidth=1.2)
        ax.text(1.02, k, f"{successes}/{episodes}", va="center", fontsize=9, color=INK)
    ax.set_yticks(range(len(levels)), [figure_text(name) for name, _, _ in levels])
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    ax.set_xlabel("success rate (95 % Wilson interval)", color=INK)
    ax.set_title(figure_text(axis), color=INK, fontsize=10, loc="left")
    return figure


def stages(events: Sequence[Event]) -> Figure:
    """For each evaluation in order, the share of episodes by the last stage they reached."""
    figure = new_figure(8.6, 2.8)
    ax = figure.subplots()
    style_axes(ax)
    scores: defaultdict[str, list[float]] = defaultdict(list)  # by stage
    reached: defaultdict[str, Counter[str]] = defaultdict(Counter)  # by evaluation, in order
    for episode in (e.payload for e in events if e.kind == "episode"):
        stage = "violation" if episode.violations else episode.stage or "not run"
        scores[stage].append(episode.score)
        if episode.purpose in ("evaluate", "confirm", "heldout"):
            reached[episode.evaluation][stage] += 1
    shades = ["#eceff1", "#cfd8dc", "#a9c6de", "#6fa3cf", "#3f8f5b"]
    names, bottoms = list(reached), np.zeros(len(reached))
    for k, stage in enumerate(sorted(sorted(scores), key=lambda stage: fmean(scores[stage]))):  # ties stay by name
        shares = np.array([counts[stage] / counts.total() for counts in reached.values()])
        if not shares.any():
            continue
        color = GREEN if stage == "success" else WARM if stage in ("violation", "not run") else shades[min(k, 3)]
        tops = bottoms + shares
        if len(names) <= _MOST_BARS:
            ax.bar(range(len(names)), shares, bottom=bottoms, color=color, width=0.85, label=stage)
        else:
            ax.fill_between(range(len(names)), bottoms, tops, color=color, linewidth=0, label=stage)
        bottoms = tops
    every = max(1, len(names) // 20)
    ax.set_xticks(range(0, len(names), every), names[::every], rotation=60 if len(names) > 12 else 0, fontsize=8)
    ax.yaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    ax.set_ylabel("episodes", color=INK)
    if names:
        ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def utilisation(events: Sequence[Event], research_s: float) -> Figure:
    """Robot busy or idle, cores busy and tokens spent, over research wall-clock."""
    tokens = [e for e in events if e.kind == "tokens" and e.agent not in NOT_AGENTS and not e.payload.in_flight]
    figure = new_figure(8.6, 3.4 if tokens else 2.4)
    axes = figure.subplots(2 if tokens else 1, sharex=True, squeeze=False)[:, 0]
    per, unit = time_unit(research_s)
    samples = [e for e in events if e.kind == "compute" and e.t_run <= research_s]
    ax = axes[0]
    style_axes(ax)
    t = [e.t_run / per for e in samples]
    ax.plot(t, [e.payload.cpu for e in samples], color=ACCENT, linewidth=1.2, label="CPU")
    if any(e.payload.gpu is not None for e in samples):
        ax.plot(t, [e.payload.gpu or 0 for e in samples], color=WARM, linewidth=1.2, label="GPU")
    ax.fill_between(t, [float(e.payload.station_busy) for e in samples], step="post", color=GREEN, alpha=0.18,
                    linewidth=0, label="robot busy")  # fmt: skip
    ax.set_ylim(0, 1.05)
    ax.yaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    if tokens:
        ax = axes[1]
        style_axes(ax)
        total, t, v = 0, [0.0], [0.0]
        for e in tokens:
            total += metrics.headline_tokens(e.payload)
            t.append(e.t_run / per)
            v.append(total)
        ax.step(t, v, where="post", color=INK, linewidth=1.4)
        ax.set_ylabel("tokens", color=INK)
    axes[-1].set_xlabel(f"research wall-clock [{unit}]", color=INK)
    return figure
