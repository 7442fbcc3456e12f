"""A study's tables and figures of one axis: each level against the first of its axis, scene by scene."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from autoenvbench.publish.figures import axis_figure
from autoenvbench.record.clock import format_duration
from autoenvbench.record.statistics import mcnemar, paired_difference
from autoenvbench.record.summary import wilson
from autoenvbench.study.execute import Measured
from autoenvbench.study.spec import figure_name


def write_tables(name: str, axes: Mapping[str, Sequence[Measured]], folder: Path) -> list[Path]:
    """Write README.md, one figure per axis and results.json into `folder`; returns the paths of the first two kinds."""
    figures = []
    for axis, rows in axes.items():
        figures.append(folder / figure_name(axis))
        axis_figure(axis, [(row.level, row.successes, row.episodes) for row in rows]).savefig(figures[-1], dpi=150)
    page = folder / "README.md"
    page.write_text("\n".join([f"# {name}\n", *(_markdown(axis, rows) for axis, rows in axes.items())]))
    (folder / "results.json").write_text(
        json.dumps({axis: [asdict(row) for row in rows] for axis, rows in axes.items()}, indent=1)
    )
    return [page, *figures]


def matched(one: Measured, two: Measured) -> tuple[list[bool], list[bool]]:
    """Outcomes on the scenes that both saw: the same start, and the same digest of the scene where there is one."""
    pairs = [
        (first, second)
        for first, second, scene, other in zip(one.outcomes, two.outcomes, one.scenes, two.scenes, strict=False)
        if first is not None and second is not None and (scene is None or other is None or scene == other)
    ]
    return [first for first, _ in pairs], [second for _, second in pairs]


def axis_table(axis: str, rows: Sequence[Measured]) -> tuple[list[str], list[list[str]]]:
    """Heads and cells: rates with Wilson intervals, and the paired difference to the first level with McNemar's exact test."""
    baseline = rows[0]
    timed = any(row.time_to_80 is not None for row in rows)  # of research: the median over its seeds
    heads = [axis, "success", "95 % (Wilson)", "episodes", f"against {baseline.level} (95 %)", "p (McNemar)", "tokens",
             *(["time to 80 %"] if timed else []), "failures"]  # fmt: skip
    cells = []
    for row in rows:
        low, high = wilson(row.successes, row.episodes)
        versus, p = "", ""
        if row is not baseline:
            pairs = matched(baseline, row)
            difference, below, above = paired_difference(*pairs)
            versus = f"{100 * difference:+.1f} [{100 * below:+.1f}, {100 * above:+.1f}] on {len(pairs[0])} scenes"
            p = f"{mcnemar(*pairs):.3g}"
        tokens = row.tokens + row.policy_tokens
        cells.append([
            row.level, f"{100 * row.successes / max(row.episodes, 1):.1f} %", f"{100 * low:.1f} to {100 * high:.1f} %",
            str(row.episodes), versus, p, str(tokens or ""),
            *(["not reached" if row.time_to_80 is None else format_duration(row.time_to_80)] if timed else []),
            ", ".join(f"{count} {reason}" for reason, count in row.failures.items()),
        ])  # fmt: skip
    return heads, cells


def stand_in_note(rows: Sequence[Measured]) -> str | None:
    """What to say where scores are not the simulator's own."""
    stand_in = any(row.kind == "stand-in" for row in rows)
    return "In a stand-in scene: these are not scores of the simulator itself." if stand_in else None


def _markdown(axis: str, rows: Sequence[Measured]) -> str:
    heads, cells = axis_table(axis, rows)
    lines = [f"## {axis}\n", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in cells]
    if note := stand_in_note(rows):
        lines.append(f"\n{note}")
    return "\n".join(lines) + "\n"
