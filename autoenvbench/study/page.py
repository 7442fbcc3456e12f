"""The page of a study: one HTML file that needs nothing else, and its numbers as two CSV files."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoenvbench.publish.figures import axis_figure, svg_of
from autoenvbench.publish.report import POLICY, STYLE, html_table
from autoenvbench.publish.study_figures import climbs, times_to
from autoenvbench.publish.team_figures import milestone_bars
from autoenvbench.record.clock import format_duration
from autoenvbench.record.statistics import percent, run_interval
from autoenvbench.record.survival import TimeTo, time_to
from autoenvbench.study.controls import Comparison, in_words
from autoenvbench.study.execute import Measured
from autoenvbench.study.outcomes import CLOCKS, RunOutcome
from autoenvbench.study.plan import Level, Plan
from autoenvbench.study.tables import axis_table, stand_in_note
from autoenvbench.text import csv_cell, html_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CROWDED = "crowded.txt"  # in a study's folder: why runs of it were crowded, a line each
Finished = Mapping[tuple[str, str], Sequence[RunOutcome]]  # runs with a result, by axis and level


def write_page(
    plan: Plan,
    axes: Mapping[str, Sequence[Measured]],
    finished: Finished,
    comparisons: Sequence[Comparison],
    problems: Mapping[str, str],
) -> list[Path]:
    """Write index.html, runs.csv and comparisons.csv into the study's folder; returns their paths."""
    page, runs, compared = (plan.folder / name for name in ("index.html", "runs.csv", "comparisons.csv"))
    page.write_text(_page(plan, axes, finished, comparisons, problems))
    _write_csv(runs, _run_rows(plan, finished))
    _write_csv(compared, [row for comparison in comparisons for row in _comparison_rows(comparison)])
    return [page, runs, compared]


def _page(
    plan: Plan,
    axes: Mapping[str, Sequence[Measured]],
    finished: Finished,
    comparisons: Sequence[Comparison],
    problems: Mapping[str, str],
) -> str:
    study = plan.study
    done = len({run.run_dir for runs in finished.values() for run in runs})
    lead = f"{len(plan.levels)} levels" + (f" &middot; {done} of {len(plan.runs)} research runs &middot; seeds {', '.join(map(str, study.seeds))}" if plan.runs else "")  # fmt: skip
    body = [f"<h1>{html_text(study.name)}</h1>", f"<p class=lead>{lead} &middot; {study.episodes} episodes each</p>"]
    for why in (plan.folder / CROWDED).read_text().splitlines() if (plan.folder / CROWDED).exists() else ():
        body.append(
            f"<p class=note><b>Crowded</b>: {html_text(why)}. What is measured in wall-clock is also how they waited for one another.</p>"
        )
    if problems:
        body.append("<h2>Runs without a result</h2>")
        body.append(html_table(("run", "why"), problems.items()))
    if comparisons:
        body.append("<h2>Teams and their controls</h2>")
        body += [_comparison(comparison) for comparison in comparisons]
        body.append(
            "<p class=note>Runs are the unit: 95 % intervals resample them (bootstrap), each by itself; they are not corrected for the "
            "number of comparisons. At equal robot time (tokens) both sides are read off where the median run of the side that spent "
            "less ended. Below zero in a row of time, robot time or tokens, the team is sooner; its mean is restricted to the shorter "
            "watch, its p is the log-rank test's.</p>"
        )
    for axis, rows in axes.items():
        body.append(f"<h2>{html_text(axis)}</h2>")
        body.append(_svg(axis_figure(axis, [(row.level, row.successes, row.episodes) for row in rows])))
        body.append(html_table(*axis_table(axis, rows)))
        if note := stand_in_note(rows):
            body.append(f"<p class=note>{note}</p>")
        body += _research(plan, [level for level in plan.levels if level.axis == axis and finished[axis, level.name]], finished)  # fmt: skip
    return f"<!doctype html><html lang=en><meta charset=utf-8><title>{html_text(study.name)}</title>" \
           f"<meta http-equiv=Content-Security-Policy content=\"{POLICY}\"><meta name=viewport content='width=device-width'><style>{STYLE}</style><main>{''.join(body)}</main></html>\n"  # fmt: skip


def _svg(figure: Figure) -> str:
    return f"<figure>{svg_of(figure)}</figure>"


# -- research ----------------------------------------------------------------------------------------------------------
def _research(plan: Plan, levels: Sequence[Level], finished: Finished) -> list[str]:
    """Agents of one axis, run by run: what they reached, how it grew, and how long it took."""
    if not levels:
        return []
    groups = [(level.name, finished[level.axis, level.name]) for level in levels]
    budgets = {level.name: level.runs[0].config.budget_s for level in levels}
    times = {
        rate: [(name, found) for name, runs in groups if (found := _time_to(runs, rate)) is not None]
        for rate in plan.study.reach
    }
    heads = ("runs of", "n", "held-out, mean over runs (95 %)", "confirmed best", "robot time", "tokens",
             *(f"median time to {rate:.0%} (95 %)" for rate in times), *(f"mean time to {rate:.0%}, cut at the budget" for rate in times))  # fmt: skip
    rows = []
    for k, (name, runs) in enumerate(groups):
        rates = [run.rate for run in runs]
        rows.append((
            name, len(runs), percent(statistics.fmean(rates), run_interval(rates)),
            percent(statistics.fmean(run.result.best_confirmed or 0.0 for run in runs)),
            format_duration(statistics.fmean(run.spent("robot_s") for run in runs)),
            f"{statistics.fmean(run.spent('tokens') for run in runs):,.0f}",
            *(_median(found[k][1]) for found in times.values()), *(_mean(found[k][1]) for found in times.values()),
        ))  # fmt: skip
    parts = [
        html_table(heads, rows),
        _svg(climbs([(name, [run.curve for run in runs], budgets[name]) for name, runs in groups])),
        "<p class=note>Lines are medians over runs, bands quartiles. Times are Kaplan and Meier's: a run that did not get there counts as "
        "not there yet, up to its budget.</p>",
    ]
    for rate, of_levels in times.items():
        if any(one.reached for _, one in of_levels):
            parts.append(_svg(times_to(rate, of_levels, max(budgets.values()))))
    for env in dict.fromkeys(level.condition.env for level in levels):  # other tasks have other stages
        of_env = {
            name: [run.first_at for run in runs]
            for level, (name, runs) in zip(levels, groups, strict=True)
            if level.condition.env == env
        }
        if any(first_at for group in of_env.values() for first_at in group):
            parts.append(_svg(milestone_bars(of_env, max(budgets[name] for name in of_env))))
            parts.append(
                f"<p class=note>{html_text(str(env))}: when one counted episode (of an evaluation, confirmation or comparison) first got so far; "
                "medians over runs, whiskers between quartiles.</p>"
            )
    return parts


def _time_to(runs: Sequence[RunOutcome], rate: float) -> TimeTo | None:
    return time_to([run.to(rate, "time_s") for run in runs], [run.watched("time_s") for run in runs])


def _median(found: TimeTo) -> str:
    if found.median is None:
        return f"not reached by half ({found.reached}/{found.runs})"
    ends = [format_duration(end) if end is not None else "more" for end in (found.median_low, found.median_high)]
    return f"{format_duration(found.median)} [{ends[0]}, {ends[1]}] ({found.reached}/{found.runs})"


def _mean(found: TimeTo) -> str:
    ends = "" if found.low is None or found.high is None else f" [{format_duration(found.low)}, {format_duration(found.high)}]"  # fmt: skip
    return f"{format_duration(found.mean)}{ends}"


# -- controls ----------------------------------------------------------------------------------------------------------
def _comparison(c: Comparison) -> str:
    rows: list[tuple[Any, ...]] = [
        (d.what + (f" ({in_words('robot_s' if 'robot' in d.what else 'tokens', d.amount)})" if d.amount else ""),
         percent(d.team), percent(d.control), str(d).partition(": ")[2], "")
        for d in c.rates
    ]  # fmt: skip
    rows += [
        (t.what, _amount(t.clock, t.team), _amount(t.clock, t.control), str(t).partition(": ")[2], "" if t.sooner.p is None else f"{t.sooner.p:.3g}")
        for t in c.times
    ]  # fmt: skip
    heads = ("", f"team ({c.runs[0]} runs)", f"{c.control} ({c.runs[1]} runs)", "team - control (95 %)", "p (log-rank)")
    return (
        f"<h3>{html_text(c.team)} against {c.control}</h3><p><b>{html_text(c.verdict)}</b></p>{html_table(heads, rows)}"
    )


def _amount(clock: str, found: TimeTo) -> str:
    median = "half never" if found.median is None else in_words(clock, found.median)
    return f"median {median}, mean {in_words(clock, found.mean)} ({found.reached}/{found.runs})"


# -- as tables of numbers ----------------------------------------------------------------------------------------------
def _run_rows(plan: Plan, finished: Finished) -> Iterable[dict[str, Any]]:
    for level in plan.levels:
        for run in finished[level.axis, level.name]:
            r = run.result
            yield {
                "axis": level.axis, "level": level.name, "team_level": level.team, "control": level.control, "seed": r.seed, "run": r.run_id,
                "agent": level.condition.agent, "env": r.env.id, "team": r.team_size, "stations": r.cells, "sharing": level.condition.sharing,
                "regime": level.condition.regime, "budget_s": r.budget_s, "held_out": run.rate, "episodes": r.held_out.episodes,
                "confirmed_best": r.best_confirmed, "stopped_by": r.stopped_by, **{f"spent_{clock}": run.spent(clock) for clock in CLOCKS},
                **{f"{clock}_to_{rate:g}": run.to(rate, clock) for rate in plan.study.reach for clock in CLOCKS},
            }  # fmt: skip


def _comparison_rows(c: Comparison) -> Iterable[dict[str, Any]]:
    who = {"team": c.team, "control": c.control, "team_runs": c.runs[0], "control_runs": c.runs[1]}
    for d in c.rates:
        yield {**who, "measure": d.what, "at": d.amount, "of_team": d.team, "of_control": d.control, "difference": d.difference,
               "low": d.low, "high": d.high, "p": None}  # fmt: skip
    for t in c.times:
        yield {**who, "measure": t.what, "at": t.sooner.horizon, "of_team": t.team.mean, "of_control": t.control.mean,
               "difference": t.sooner.difference, "low": t.sooner.low, "high": t.sooner.high, "p": t.sooner.p}  # fmt: skip


def _write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    listed = list(rows)
    with path.open("w", newline="") as file:
        if listed:
            writer = csv.DictWriter(file, list(listed[0]))
            writer.writeheader()
            writer.writerows({key: csv_cell(value) for key, value in row.items()} for row in listed)
