"""Results to checked submissions to tables.

`add` files one result as JSON under submissions/. `build` writes README.md, index.html and result.schema.json from all
of them and from the published curves, which stand apart as `reported` and are never ranked.
"""

from __future__ import annotations

import hashlib
import html
import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from autoenvbench import metrics
from autoenvbench.clock import format_duration
from autoenvbench.compute import compute_class, hardware
from autoenvbench.errors import UserError
from autoenvbench.ledger import Ledger
from autoenvbench.report import STYLE
from autoenvbench.results import AgentInfo, Answer, EnvInfo, HeldOut, Result, versions

MIN_RUNS = 3  # for a rank


# -- add -------------------------------------------------------------------------------------------------------------
def add(source: Path, board: Path) -> Path:
    """File a finished run (its folder) or a score (the JSON that `score --json` printed). Raises UserError."""
    result = _from_run(source) if source.is_dir() else _from_score(source)
    folder = board / "submissions"
    path = folder / f"{result.run_id}.json"
    text = result.model_dump_json(indent=1) + "\n"
    if path.exists() and path.read_text() != text:
        raise UserError(f"{path} exists and differs; a submission is never overwritten: move it away first")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    return path


def _from_run(run_dir: Path) -> Result:
    file = run_dir / "result.json"
    if not file.exists():
        raise UserError(f"{run_dir} has no result.json; finish the run first: autoenvbench resume {run_dir}")
    result = _parse(file)
    check_against_ledger(result, run_dir / "ledger.sqlite")
    return result


def check_against_ledger(result: Result, path: Path) -> None:
    """Recompute what a result claims from its ledger. Raises UserError on the first difference."""
    ledger = Ledger(path)
    events = list(ledger.events())
    started = next((e.payload for e in events if e.kind == "run" and e.payload.phase == "started"), None)
    summary = asdict(metrics.summarise(metrics.heldout_episodes(events)))
    claimed = result.held_out.model_dump()
    secret = bytes.fromhex(result.held_out_secret or "")
    checks = {
        "the ledger's digest": ledger.digest() == result.ledger_sha256,
        "the held-out numbers": all(summary[key] == value for key, value in claimed.items()),
        "the secret": started is not None and hashlib.sha256(secret).hexdigest() == started.secret_sha256,
        "the environment's fingerprint": started is not None and started.fingerprint == result.env.fingerprint,
    }
    ledger.close()
    for what, holds in checks.items():
        if not holds:
            raise UserError(f"{what} in result.json does not match {path}: this result was changed or is another run's")


def _from_score(file: Path) -> Result:
    try:
        given = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {file}: {error}; give a run's folder, or what `score --json` printed") from None
    if isinstance(given, dict) and "run_id" in given:
        raise UserError(f"{file} is a run's result; give its folder, so that it can be checked against the ledger")
    try:
        policy = Path(given["policy"]).name
        name = f"score-{given['env'].rpartition('/')[2]}-{policy}-{given['fingerprint']}-s{given['seed']}"
        why = {
            "reference": "privileged: plans with the simulator's true state",
            "random": "baseline",
            "naive": "baseline",
        }
        return Result(
            run_id=name, date=datetime.now(UTC).isoformat(timespec="seconds"), kind=given["kind"],
            agent=AgentInfo(name=policy),
            env=EnvInfo(id=given["env"], kwargs=given["env_kwargs"], fingerprint=given["fingerprint"]),
            track="none", pace=0.0, sandbox=given["sandbox"], gateway="none", seed=given["seed"],
            compute_class=compute_class(), hardware=hardware(), versions=versions(),
            answer=Answer(commit=given["digest"], digest=given["digest"], how="policy"),
            held_out=HeldOut(**{k: given[k] for k in HeldOut.model_fields}),
            tools=given.get("tools", {}), policy_tokens=given.get("policy_tokens", 0),
            deterministic=given.get("deterministic", True),
            unranked_because=[why.get(given["policy"], "a policy alone, on public starts")],
        )  # fmt: skip
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        raise UserError(f"{file} is not what `autoenvbench score --json` prints: {error!r}") from None


def _parse(file: Path) -> Result:
    try:
        return Result.model_validate_json(file.read_text())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{file} is not a result: {where}: {first['msg']}") from None


# -- build -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Row:
    """Runs of one agent under one set of conditions."""

    agent: str
    runs: int
    mean: float
    spread: float | None  # standard deviation over runs
    low: float  # 95 % Wilson interval of the pooled episodes
    high: float
    streak: int
    to_80: str
    tokens: str
    budget: str
    conditions: str
    note: str

    @property
    def ranked(self) -> bool:
        return not self.note


def build(board: Path) -> list[Path]:
    """Write the board's pages. Raises UserError for a submission that is not one."""
    files = sorted((board / "submissions").glob("*.json"))
    if not files and not board.is_dir():
        raise UserError(f"there is no leaderboard in {board}; add a result first: autoenvbench leaderboard add RUN")
    tables = _tables([_parse(file) for file in files])
    reported = _reported()
    pages = {
        "README.md": _markdown(tables, reported),
        "index.html": _html(tables, reported),
        "result.schema.json": json.dumps(Result.model_json_schema(), indent=1) + "\n",
    }
    for name, text in pages.items():
        (board / name).write_text(text)
    return [board / name for name in pages]


def _tables(results: Sequence[Result]) -> dict[str, list[Row]]:
    """One table per environment, fingerprint and kind; runs and lone policies share it, ranked rows first."""
    tables: dict[str, list[Row]] = {}
    by_table: dict[tuple[str, ...], list[Result]] = defaultdict(list)
    for r in results:
        by_table[r.env.id, r.env.fingerprint or "", r.kind].append(r)
    for (env_id, fingerprint, kind), members in sorted(by_table.items()):
        groups: dict[tuple[Any, ...], list[Result]] = defaultdict(list)
        for r in members:
            groups[
                r.agent.name, r.agent.version, r.agent.model, r.agent.effort, r.track, r.pace, r.budget_s, r.token_budget,
                r.cost_budget, r.goal, r.team_size,
                r.compute_class, r.sandbox, r.gateway, json.dumps(r.tools, sort_keys=True), tuple(r.unranked_because),
            ].append(r)  # fmt: skip
        rows = [_row(group) for group in groups.values()]
        rows.sort(key=lambda row: (not row.ranked, -row.mean))
        given = "".join(f", {key}={value}" for key, value in members[0].env.kwargs.items())
        tables[f"{env_id} ({kind}{given}, fingerprint {fingerprint})"] = rows
    return tables


def _row(group: Sequence[Result]) -> Row:
    r = group[0]
    rates = [x.held_out.success_rate for x in group]
    low, high = metrics.wilson(sum(x.held_out.successes for x in group), sum(x.held_out.episodes for x in group))
    times = [x.to_threshold.get("0.8") for x in group]
    reached = sorted(t["time_s"] for t in times if t is not None)
    tokens = [x.tokens["headline"] for x in group if x.tokens.get("calls")]
    notes = list(r.unranked_because)
    if not notes and len(group) < MIN_RUNS:
        notes.append(f"{len(group)} of the {MIN_RUNS} runs that a rank takes")
    return Row(
        agent=r.agent.name + (f" ({r.agent.model} {r.agent.effort or ''}".rstrip() + ")" if r.agent.model else ""),
        runs=len(group),
        mean=statistics.fmean(rates),
        spread=statistics.stdev(rates) if len(rates) > 1 else None,
        low=low,
        high=high,
        streak=max(x.held_out.streak for x in group),
        to_80=f"{format_duration(statistics.median(reached))} ({len(reached)}/{len(group)})" if reached else "-",
        tokens=f"{statistics.median(tokens):,.0f}" if tokens else "-",
        budget=format_duration(r.budget_s) if r.budget_s else "-",
        conditions=", ".join(
            [
                *([f"{r.track} track"] if r.track != "none" else []),
                r.sandbox,
                r.compute_class,
                *(f"tools {key}={value}" for key, value in sorted(r.tools.items())),
                *([] if r.deterministic else ["its policies ask a model"]),
            ]
        ),
        note="; ".join(notes),
    )


_HEAD = ("rank", "agent", "runs", "held-out success", "sd", "95 % interval", "streak", "to 80 %", "tokens", "budget",
         "conditions", "not ranked because")  # fmt: skip


def _cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    cells: list[tuple[str, ...]] = []
    for place, row in enumerate(rows, 1):
        cells.append((
            str(place) if row.ranked else "-", row.agent, str(row.runs), f"{100 * row.mean:.1f} %",
            "-" if row.spread is None else f"{100 * row.spread:.1f}", f"{100 * row.low:.1f} to {100 * row.high:.1f}",
            str(row.streak), row.to_80, row.tokens, row.budget, row.conditions, row.note,
        ))  # fmt: skip
    return cells


def _reported() -> list[tuple[str, ...]]:
    """Final scores of the published curves: (task, agent, runs, mean final, runs at 100 %, median hours to 100 %)."""
    data = json.loads(resources.files("autoenvbench.data").joinpath("published_results.json").read_text())
    rows: list[tuple[str, ...]] = []
    for key, task in (
        ("pusht_real_by_agent", "Push-T, real robots"),
        ("pin_insertion_real_by_agent", "Pin insertion, real robots"),
    ):
        for agent, runs in data[key].items():
            finals = [run[-1][1] for run in runs]
            solved = sorted(run[-1][0] for run in runs if run[-1][1] >= 1.0)
            hours = f"{statistics.median(solved):.1f} h" if solved else "-"
            rows.append(
                (task, agent, str(len(runs)), f"{statistics.fmean(finals):.3f}", f"{len(solved)}/{len(runs)}", hours)
            )
    return rows


_REPORTED_HEAD = ("task", "agent", "runs", "mean final score", "runs at 100 %", "median time to 100 %")
_INTRO = (
    "Held-out success rate of the submitted commit, averaged over runs. Rows with different environment fingerprints are "
    f"never compared, and a rank takes {MIN_RUNS} runs under equal conditions. Rows are self-reported until re-run."
)
_REPORTED_INTRO = (
    "From ENPIRE (arXiv 2606.19980) and its project page: real robots, as reported by its authors. Never ranked against "
    "measured rows. Push-T scores are in quarters; pin insertion scores are success rates."
)


def _markdown(tables: dict[str, list[Row]], reported: list[tuple[str, ...]]) -> str:
    def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
        return "\n".join(lines + [f"| {' | '.join(c.replace('|', '/') for c in row)} |" for row in rows])

    parts = ["# Leaderboards", "Generated by `autoenvbench leaderboard build`; do not edit.", _INTRO]
    for title, rows in tables.items():
        parts += [f"## {title}", table(_HEAD, _cells(rows))]
    parts += ["## Reported", _REPORTED_INTRO, table(_REPORTED_HEAD, reported)]
    return "\n\n".join(parts) + "\n"


def _html(tables: dict[str, list[Row]], reported: list[tuple[str, ...]]) -> str:
    def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        def cells(tag: str, values: Sequence[str]) -> str:
            return "".join(f"<{tag}>{html.escape(v)}</{tag}>" for v in values)

        body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
        return f"<table><tr>{cells('th', head)}</tr>{body}</table>"

    body = [f"<h1>AutoEnvBench leaderboards</h1><p class=note>{_INTRO}</p>"]
    for title, rows in tables.items():
        body.append(f"<h2>{html.escape(title)}</h2>{table(_HEAD, _cells(rows))}")
    body.append(f"<h2>Reported</h2><p class=note>{_REPORTED_INTRO}</p>{table(_REPORTED_HEAD, reported)}")
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>AutoEnvBench leaderboards</title>"
        f"<style>{STYLE}main{{max-width:1200px}}</style><main>{''.join(body)}</main></html>\n"
    )
