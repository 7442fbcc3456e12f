"""`autoenvbench study`: policies or research runs under conditions that differ in what is asked about, and what it is worth.

A level with an `agent` is a set of research runs, any other is one policy's episodes. Every level of a study sees the same
starts, so outcomes are compared scene by scene; agents are compared run by run.

read and check the study (spec, plan) -> say what it costs (estimate) -> measure what is missing (execute; local or another runner)
-> compare levels (tables) and teams with their controls (controls) -> one page (page)
"""

from __future__ import annotations

from pathlib import Path

from autoenvbench.errors import UserError
from autoenvbench.study.controls import compare
from autoenvbench.study.execute import Measured, measure_policy, measured_research
from autoenvbench.study.local import Runner, StudyObserver
from autoenvbench.study.outcomes import RunOutcome
from autoenvbench.study.page import CROWDED, write_page
from autoenvbench.study.plan import Plan
from autoenvbench.study.runs import PlannedRun, standing_of
from autoenvbench.study.tables import write_tables


def run_study(plan: Plan, runner: Runner, observer: StudyObserver) -> list[Path]:
    """Measure what is missing of a study; write its page, its tables and a figure per axis.

    What is measured already is read from the study's folder: an interrupted study goes on where it was.

    Returns:
        Paths of the page, of the Markdown tables, of the tables of runs and comparisons, and of the figures.

    Raises:
        UserError: for runs that could not be carried out or measured nothing, when all others are done and the page is written.
    """
    if plan.notice:
        observer.log(plan.notice)
    plan.folder.mkdir(parents=True, exist_ok=True)
    for level in plan.levels:
        observer.log(f"{level.axis}: {level.name}" + (": measured already" if level.measured else ""))
        if level.file is not None:
            measure_policy(plan, level)
    left = unfinished(plan)
    problems: dict[str, str] = {}
    if left:
        note_crowding(plan, runner.crowding(left))
        observer.on_begin(left)
        problems = runner.carry_out(left, observer)
    pages = write_pages(plan, problems)
    if problems:
        raise UserError(
            f"{len(problems)} of {len(plan.runs)} runs have no result: {'; '.join(f'{key}: {why}' for key, why in problems.items())}. "
            f"What the others came to is in {pages[0]}; start the study again, and it goes on where it was"
        )
    return pages


def unfinished(plan: Plan) -> list[PlannedRun]:
    """The research runs that have no result yet. Raises UserError for a ledger that cannot be read."""
    return [run for run in plan.runs if standing_of(run).state != "finished"]


def note_crowding(plan: Plan, why: str | None) -> None:
    """Keep for the page that some of the study's runs were crowded, also where later ones are not."""
    file = plan.folder / CROWDED
    if why is not None and why not in (known := file.read_text().splitlines() if file.exists() else []):
        file.write_text("".join(f"{line}\n" for line in (*known, why)))


def write_pages(plan: Plan, problems: dict[str, str]) -> list[Path]:
    """The page and tables of what is finished; runs that have no result, and why, are named there."""
    outcomes = {run.key: outcome for run in plan.runs if (outcome := RunOutcome.of(run)) is not None}
    finished = {
        (level.axis, level.name): [outcomes[run.key] for run in level.runs if run.key in outcomes]
        for level in plan.levels
    }
    axes: dict[str, list[Measured]] = {}
    for level in plan.levels:
        if level.file is not None:
            axes.setdefault(level.axis, []).append(measure_policy(plan, level))
        elif finished[level.axis, level.name]:
            axes.setdefault(level.axis, []).append(
                measured_research(level, [outcomes.get(run.key) for run in level.runs])
            )
    comparisons = [
        found
        for level in plan.levels
        if level.control is not None and level.team is not None
        and (found := compare(level.team, level.control, finished[level.axis, level.team], finished[level.axis, level.name], plan.study.reach))
    ]  # fmt: skip
    tables = write_tables(plan.study.name, axes, plan.folder)
    return [*write_page(plan, axes, finished, comparisons, problems), *tables]
