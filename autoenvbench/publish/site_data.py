"""What a site says: boards with their rows, agents and runs, as plain records. index.json is these, and the pages are drawn from them."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autoenvbench.publish.leaderboard import Board
from autoenvbench.publish.ranking import Row, agent_words, sections
from autoenvbench.publish.run_curves import RunCurve
from autoenvbench.publish.verification import Check, check_of, rescored, status
from autoenvbench.record.results import Result


@dataclass(frozen=True, slots=True)
class SiteRow:
    """A row of a board: runs of one agent under one set of conditions.

    Attributes:
        id: the same whenever the row is; `agent_id`, `board_id`: of the pages where it stands.
        status: verified, self-reported or rejected; "mixed" where its runs differ.
        rank: None for a row that is not ranked; `ties`: rows of a table that share a letter cannot be told apart.
        success: rate in [0, 1]; `low`, `high`: its 95 % interval where there is one; `sd`: over runs.
        to_80_s: see `ranking.Row`.
        note: why it is not ranked.
    """

    id: str
    agent: str
    agent_id: str
    board: str
    board_id: str
    conditions: str
    run_ids: tuple[str, ...]
    status: str
    rank: int | None
    ties: str
    success: float
    low: float | None
    high: float | None
    sd: float | None
    claimed: str
    streak: int
    to_80: str
    to_80_s: float | None
    tokens: str
    irregular: str
    note: str


@dataclass(frozen=True, slots=True)
class SiteBoard:
    """One environment by its fingerprint: ranked tables by their conditions, and the rows that take no rank.

    Attributes:
        history: its level is for tutorials, and never ranked.
    """

    id: str
    title: str
    history: bool
    tables: dict[str, list[SiteRow]]
    unranked: list[SiteRow]

    @property
    def rows(self) -> list[SiteRow]:
        """All of them, ranked ones first."""
        return [*(row for rows in self.tables.values() for row in rows), *self.unranked]


@dataclass(frozen=True, slots=True)
class SiteRun:
    """One run.

    Attributes:
        filed: whether it stands among the board's submissions.
        report: where its report stands in the site, if its folder was given.
        steps: (research time [s], confirmed success rate from then on); `steps_from`: "ledger", or "thresholds" where only the times to
            50, 80, 95, 99 and 100 % are known.
        rescored: what its verified answer came to in other versions of its environment.
    """

    result: Result
    agent: str
    agent_id: str
    status: str
    check: Check | None
    filed: bool
    report: str | None
    steps: list[tuple[float, float]]
    steps_from: str
    rescored: list[Check]

    @property
    def id(self) -> str:
        """Of the run; a file's name."""
        return self.result.run_id


@dataclass(frozen=True, slots=True)
class Site:
    """All of it; `broken`: submissions that were left out, with what is wrong."""

    boards: list[SiteBoard]
    runs: dict[str, SiteRun]
    agents: dict[str, str] = field(default_factory=dict)  # id -> in words
    broken: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> list[SiteRow]:
        """Of all boards."""
        return [row for board in self.boards for row in board.rows]


def site_of(board: Board, found: Mapping[str, Result], curves: Mapping[str, RunCurve]) -> Site:
    """A site of a board and of runs whose folders are at hand.

    Args:
        found: results by run of these folders: what is not filed is shown, and is self-reported.
        curves: of these folders, by run.
    """
    filed = {result.run_id: result for result in board.results.values()}
    results = {**found, **filed}
    runs = {}
    for run_id, result in sorted(results.items()):
        steps, steps_from = (
            (curves[run_id].success, "ledger") if run_id in curves else (_thresholds(result), "thresholds")
        )
        words = agent_words(result)
        runs[run_id] = SiteRun(
            result, words, page_id(words), status(result, board.verifications), check_of(result, board.verifications), run_id in filed,
            f"reports/{run_id}.html" if run_id in curves else None, steps, steps_from,
            rescored(result, board.verifications),
        )  # fmt: skip
    boards = [
        _board(section.title, section.history, section.tables, section.unranked, runs)
        for section in sections(list(results.values()), board.verifications)
    ]
    agents = {run.agent_id: run.agent for run in sorted(runs.values(), key=lambda run: run.agent)}
    return Site(boards, runs, agents, dict(sorted(board.broken.items())))


def _board(
    title: str, history: bool, tables: Mapping[str, Sequence[Row]], unranked: Sequence[Row], runs: Mapping[str, SiteRun]
) -> SiteBoard:
    def of(conditions: str, row: Row) -> SiteRow:
        low, high = row.interval or (None, None)
        found = {runs[run_id].status for run_id in row.run_ids}
        key = json.dumps([title, conditions, row.agent, row.run_ids, row.note])
        return SiteRow(
            id="r" + hashlib.sha256(key.encode()).hexdigest()[:12], agent=row.agent, agent_id=page_id(row.agent), board=title,
            board_id=page_id(title), conditions=conditions, run_ids=row.run_ids, status=found.pop() if len(found) == 1 else "mixed",
            rank=row.rank, ties=row.letters, success=row.mean, low=low, high=high, sd=row.spread, claimed=row.claimed, streak=row.streak,
            to_80=row.to_80, to_80_s=row.to_80_s, tokens=row.tokens, irregular=row.irregular, note=row.note,
        )  # fmt: skip

    ranked = {conditions: [of(conditions, row) for row in rows] for conditions, rows in tables.items()}
    return SiteBoard(page_id(title), title, history, ranked, [of(row.conditions, row) for row in unranked])


def _thresholds(result: Result) -> list[tuple[float, float]]:
    """A lower bound of the confirmed curve, where only the times to some rates are known."""
    reached = [(spent["time_s"], float(rate)) for rate, spent in result.to_threshold.items() if spent is not None]
    steps: dict[float, float] = {}
    for time_s, rate in sorted(reached):
        steps[time_s] = max(rate, max(steps.values(), default=0.0))
    return list(steps.items())


def page_id(words: str) -> str:
    """A file's name for what others may have named: a few plain letters, and a digest that tells names apart."""
    plain = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[:40].strip("-")
    return f"{plain or 'x'}-{hashlib.sha256(words.encode(errors='surrogatepass')).hexdigest()[:8]}"


def index_of(site: Site, published: Mapping[str, Any]) -> dict[str, Any]:
    """What index.json holds: every number of the pages, and where its page is."""
    by_agent: defaultdict[str, list[str]] = defaultdict(list)
    for run in site.runs.values():
        by_agent[run.agent_id].append(run.id)
    return {
        "version": 1,
        "boards": [
            {
                "id": board.id, "title": board.title, "page": f"boards/{board.id}.html", "history": board.history,
                "tables": [
                    {"conditions": conditions, "rows": [_row_json(row) for row in rows]}
                    for conditions, rows in board.tables.items()
                ],
                "unranked": [_row_json(row) for row in board.unranked],
            }
            for board in site.boards
        ],
        "agents": [
            {"id": id, "name": words, "page": f"agents/{id}.html", "runs": by_agent[id]} for id, words in site.agents.items()
        ],
        "runs": [_run_json(run) for run in site.runs.values()],
        "published": {"comparable": False, "source": published["source"], "tasks": {
            task: published[key] for task, key in published["by_agent"].items()}},
        "broken": site.broken,
    }  # fmt: skip


def _row_json(row: SiteRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in SiteRow.__slots__ if name not in ("board", "board_id", "conditions")}


def _run_json(run: SiteRun) -> dict[str, Any]:
    r = run.result
    return {
        "id": run.id, "page": f"runs/{run.id}.html", "report": run.report, "agent": run.agent,
        "agent_id": run.agent_id, "env": r.env.model_dump(mode="json"), "kind": r.kind, "date": r.date, "seed": r.seed, "status": run.status,
        "filed": run.filed, "held_out": r.held_out.model_dump(mode="json"), "best_confirmed": r.best_confirmed, "budget_s": r.budget_s,
        "research_s": r.research_s, "steps": run.steps, "steps_from": run.steps_from,
        "rescored": {c.fingerprint: c.fresh.held_out.model_dump(mode="json") for c in run.rescored if c.fresh},
    }  # fmt: skip
