"""`autoenvbench ablate`: vary one thing at a time on matched scenes, and say what it is worth.

A level with an `agent` is a set of research runs, any other is one policy's episodes. Every level of a study sees the same
starts, so outcomes are compared scene by scene.

read and check the study (spec, plan) -> measure the levels that are missing (execute) -> tables and figures (tables)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from autoenvbench.sandbox.cage import Sandbox
from autoenvbench.study.execute import Measured, measure
from autoenvbench.study.plan import make_plan
from autoenvbench.study.tables import write_tables


def ablate(
    path: Path, out: Path, *, sandbox: Sandbox | None, episodes: int | None, log: Callable[[str], None]
) -> list[Path]:
    """Measure what is missing of a study; write a table and a figure per axis.

    Levels that are measured already are read from the study's folder: an interrupted study goes on where it was.

    Args:
        path: the study file.
        out: where the study's folder is made.
        sandbox: None for the machine's best.
        episodes: in place of the file's, or None.
        log: called with a line about each level.

    Returns:
        Paths of the page with the tables and of the figures.

    Raises:
        UserError: for a study that is wrong or cannot run here (before anything is measured), or research that measured nothing.
    """
    plan = make_plan(path, out, sandbox=sandbox, episodes=episodes)
    if plan.notice:
        log(plan.notice)
    plan.folder.mkdir(parents=True, exist_ok=True)
    axes: dict[str, list[Measured]] = {axis: [] for axis in plan.study.axes}
    for level in plan.levels:
        log(f"{level.axis}: {level.name}" + (": measured already" if level.measured else ""))
        axes[level.axis].append(measure(plan, level))
    return write_tables(plan.study.name, axes, plan.folder)
