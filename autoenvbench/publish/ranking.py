"""Ranks results: which runs are repetitions of each other, which rows may be compared, and in which order.

A row is *who*: an agent with its version, model, arguments and the regime that it declared. A table is *under what*: the environment by its
fingerprint, the board of the regime (`record.regimes`), the track, the starter, and everything else that changes what was measured. Ranks
are given within one table and start anew in the next. Which levels are ranked at all the registry says (`publish.levels`).

Only verified rows are ranked, by what their answers came to on the fresh starts of the verification (`publish.verification`): who picks the
luckiest of many runs gains nothing by it. Rows that cannot be told apart (`publish.ties`) share a rank.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate
from typing import Any

from autoenvbench.publish import levels
from autoenvbench.publish.ties import Rates, different, letters
from autoenvbench.publish.verification import Check, Verification, check_of, rescored, unverified_because
from autoenvbench.record.clock import format_duration
from autoenvbench.record.judges import REAL_KINDS, judge_problems
from autoenvbench.record.regimes import board_of, contradictions
from autoenvbench.record.results import HeldOut, Result
from autoenvbench.record.run_config import RunConfig
from autoenvbench.record.statistics import percent, run_interval
from autoenvbench.record.survival import time_to

MIN_RUNS = 3  # for a rank

#: Fields of a run's configuration that say who it was; the environment's two make the section.
WHO = ("agent", "model", "models", "effort", "agent_args", "base_url", "regime")
SECTION = ("env", "env_kwargs")
#: Fields that change nothing of what was measured. Every other one, also one that is added tomorrow, keeps runs apart.
NOT_MEASURED = {
    "seed": "runs of one row differ in it",
    "held_out_secret": "starts that were known beforehand are not ranked at all",
    "prices": "only where a cost budget ends the run by them",
    "experience": "by the digest of its text, wherever it lay",
    "experience_bytes": "the digest says more",
    "ray": "the robots' names say more than where their machines were",
    "private_stations": "by the digest of its numbers, wherever it lay",
}


@dataclass(frozen=True, slots=True)
class Row:
    """Runs of one agent under one set of conditions.

    Attributes:
        agent: name, version, model and arguments in words.
        mean: success rate over runs, in [0, 1]: of verified ones on the fresh starts of the verification, of others as they say.
        claimed: what the runs say themselves, in words, and what their answers came to in other versions of the environment.
        spread: standard deviation of that rate over runs; None for one run.
        interval: 95 % interval of the rate: of one run's episodes (Wilson), or over runs where there are enough, else None.
        streak: the longest of all runs [episodes].
        to_80: Kaplan-Meier median of the time to a confirmed 80 % in words, with how many runs got there.
        tokens: median of headline tokens in words.
        irregular: resumes, aborts, interrupted and void episodes, reruns in words.
        conditions: in words.
        note: why the row is not ranked; empty for one that is.
        rank: one more than rows that are better beyond the spread, within one table; None for a row that is not ranked.
        letters: rows of a table that share one cannot be told apart.
        rates: of its runs.
        run_ids: of its runs, in their order.
        to_80_s: the median of `to_80` [s]; None where less than half of the runs got there.
        self_reported: nobody has run any of its answers again.
    """

    agent: str
    runs: int
    mean: float
    claimed: str
    spread: float | None
    interval: tuple[float, float] | None
    streak: int
    to_80: str
    tokens: str
    irregular: str
    conditions: str
    note: str
    rates: Rates
    run_ids: tuple[str, ...]
    to_80_s: float | None
    self_reported: bool
    rank: int | None = None
    letters: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """One environment: tables of ranked rows by their conditions in words, and the rows that are not ranked.

    Attributes:
        history: its level is never ranked; what was measured on it is kept.
    """

    title: str
    history: bool
    tables: dict[str, list[Row]]
    unranked: list[Row]


def who(result: Result) -> dict[str, Any]:
    """The fields that tell one row from another within a table."""
    agent = result.agent
    given = {name: (result.config or {}).get(name) for name in WHO}
    given["models"] = given["models"] or {}  # runs from before had one model
    # The gateway is here and not a condition: a researcher without a model may be compared with one that has one.
    return {**given, **agent.model_dump(), "gateway": result.gateway}


def conditions(result: Result) -> dict[str, Any]:
    """The conditions of a run: results that differ in any of them are never ranked together."""
    config = result.config or {}
    apart = {k: v for k, v in config.items() if k not in (*WHO, *SECTION, *NOT_MEASURED)}
    if config.get("cost_budget") is not None:
        apart["prices"] = config.get("prices")
    if config:
        apart.setdefault("starter", "parametric")  # runs from before there was a plain one
        apart.setdefault("demos", 0)  # and from before there were any
        apart.setdefault("cells", 1)  # or more than one
        apart.setdefault("robots", [])  # or any of them by name
        apart.setdefault("experience_sha256", None)  # or experience
        apart.setdefault("vision", "native")  # or agents that see numbers alone, or ask a model
        for name in ("vision_model", "vision_url", "vision_questions"):
            apart.setdefault(name, RunConfig.model_fields[name].default)
        apart.setdefault("canary_every", 0)  # or canaries
        for name, value in (("team", result.team_size), ("sharing", True), ("own_stations", False)):  # or teams
            apart.setdefault(name, value)
    return {
        **apart, "board": board_of(config.get("regime")), "track": result.track, "pace": result.pace, "sandbox": result.sandbox,
        "tools": result.tools, "budget_s": result.budget_s, "robot_budget_s": result.robot_budget_s,
        "token_budget": result.token_budget, "cost_budget": result.cost_budget, "goal": result.goal, "stations": result.stations,
        "stations_sha256": result.stations_sha256, "team_size": result.team_size, "compute_class": result.compute_class,
        "autoenvbench": result.versions.get("autoenvbench"),
    }  # fmt: skip


def unranked_because(result: Result) -> list[str]:
    """Why a result takes no rank, whatever its file says about that; empty for one that does."""
    found = [*result.void_because, *result.unranked_because]
    if result.ledger_sha256 is None:
        found.append("self-reported figures: no ledger bears them out")
    elif result.config is None:
        found.append("its configuration is not recorded")
    else:
        found += contradictions(result.config.get("regime"), result.contents)
    if result.kind == "reported":
        found.append("reported, not measured")
    if result.env.fingerprint is None:
        found.append("nobody knows which version of the environment it was: there is no fingerprint")
    found += judge_problems(result.kind, result.env.id, result.judges)
    found += levels.unranked_because(result.env.id, result.env.kwargs, result.env.fingerprint)
    return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Placed:
    """A result in the version of its environment under which it is shown.

    Attributes:
        result: with that version's fingerprint.
        check: what a re-run found there.
        claimed: see `Row`.
        reasons: why it takes no rank there.
    """

    result: Result
    check: Check | None
    claimed: str
    reasons: list[str]

    @property
    def shown(self) -> HeldOut:
        """The numbers that count: the verifier's where its answer was verified, else the result's own."""
        counts = self.check is not None and self.check.outcome != "rejected" and self.check.fresh is not None
        return self.check.fresh.held_out if counts else self.result.held_out  # type: ignore[union-attr]


def place(results: Sequence[Result], verifications: Mapping[str, Verification]) -> list[Placed]:
    """Every result in its own version of its environment, and verified ones in each other one in which they were scored again."""
    placed = []
    for r in results:
        others = rescored(r, verifications)
        claim = _claim(r)
        elsewhere = [f"{100 * c.fresh.held_out.success_rate:.1f} % at {c.fingerprint}" for c in others if c.fresh]
        reasons = [*unranked_because(r), *unverified_because(r, verifications)]
        placed.append(Placed(r, check_of(r, verifications), "; ".join([claim, *elsewhere]), reasons))
        for check in others:
            there = r.model_copy(update={"env": r.env.model_copy(update={"fingerprint": check.fingerprint})})
            placed.append(Placed(there, check, f"{claim} at {r.env.fingerprint}", unranked_because(there)))
    return placed


def sections(results: Sequence[Result], verifications: Mapping[str, Verification]) -> list[Section]:
    """All results, each in the section of its environment, arguments, fingerprint and kind; history comes last.

    Args:
        verifications: by run (`verification.read_verifications`).
    """
    by_section: dict[tuple[bool, str], list[Placed]] = defaultdict(list)
    for placed in place(results, verifications):
        r = placed.result
        given = "".join(
            f", {key}={json.dumps(value)}" for key, value in sorted(r.env.kwargs.items()) if not _of_its_lab(r, key)
        )
        title = f"{r.env.id} ({r.kind}{given}, fingerprint {r.env.fingerprint})"
        by_section[levels.history(r.env.id), title].append(placed)
    return [_section(*at, members) for at, members in sorted(by_section.items(), key=lambda item: item[0])]


def _section(history: bool, title: str, members: Sequence[Placed]) -> Section:
    groups: dict[str, list[Placed]] = defaultdict(list)
    for placed in members:
        groups[_key(who(placed.result), conditions(placed.result), placed.reasons)].append(placed)
    tables: dict[str, list[Row]] = defaultdict(list)
    words: dict[str, str] = {}
    unranked: list[Row] = []
    for group in groups.values():
        first, reasons = group[0].result, group[0].reasons
        if history:  # in the section's own words, which do not change with what else can be run
            of_level = levels.unranked_because(first.env.id, first.env.kwargs)
            reasons = ["a level for tutorials", *(reason for reason in reasons if reason not in of_level)]
        elif not reasons and len(group) < MIN_RUNS:
            reasons = [f"{len(group)} of the {MIN_RUNS} runs that a rank takes"]
        row = _row(group, "; ".join(reasons))
        if reasons:
            unranked.append(row)
        else:
            key = _key(conditions(first))
            tables[key].append(row)
            words[key] = row.conditions
    unranked.sort(key=lambda row: (-row.mean, row.agent))
    ranked: dict[str, list[Row]] = {}
    for key, rows in sorted(tables.items(), key=lambda item: words[item[0]]):
        name, k = words[key], 1
        while name in ranked:  # they differ in something that is not put into words
            k += 1
            name = f"{words[key]} ({k})"
        ranked[name] = _in_order(rows)
    return Section(title, history, ranked, unranked)


def _in_order(rows: list[Row]) -> list[Row]:
    """By mean success; a row's rank is one more than rows that are better beyond the spread."""
    rows = sorted(rows, key=lambda row: (-row.mean, row.agent))
    apart = different([row.rates for row in rows])
    shared = letters(len(rows), apart)
    better = (sum((j, i) in apart for j in range(i)) for i in range(len(rows)))
    ranks = accumulate((1 + count for count in better), max)  # nobody passes a row with a higher mean by varying more
    return [replace(row, rank=rank, letters=own) for row, rank, own in zip(rows, ranks, shared, strict=True)]


def _key(*parts: Any) -> str:
    return json.dumps(parts, sort_keys=True, default=str)


def _row(placed: Sequence[Placed], note: str) -> Row:
    group, shown = [p.result for p in placed], [p.shown for p in placed]
    # Exact, so that equal rates stay equal.
    rates = [Fraction(x.successes, max(x.episodes, 1)) for x in shown]
    tokens = [x.tokens.headline for x in group if x.tokens and x.tokens.calls]
    to_80, to_80_s = _time_to_80(group)
    return Row(
        agent=agent_words(group[0]),
        runs=len(group),
        mean=float(statistics.mean(rates)),
        claimed=" / ".join(p.claimed for p in placed),
        spread=float(statistics.stdev(rates)) if len(rates) > 1 else None,
        interval=shown[0].wilson95 if len(group) == 1 else run_interval([float(rate) for rate in rates]),
        streak=max(x.streak for x in shown),
        to_80=to_80,
        to_80_s=to_80_s,
        self_reported=all(p.check is None for p in placed),
        run_ids=tuple(x.run_id for x in group),
        tokens=f"{statistics.median(tokens):,.0f}" if tokens else "-",
        irregular=_irregular(group),
        conditions=_condition_words(group[0]),
        note=note,
        rates=Rates([float(rate) for rate in rates], min(x.episodes for x in shown)),
    )


def _of_its_lab(r: Result, argument: str) -> bool:
    """Whether an argument of a real environment says whose arms they were: labs with the same task meet in one section."""
    return r.kind in REAL_KINDS and argument in ("station", "confirm_motion", "record")


def _claim(r: Result) -> str:
    """What a run says itself: its rate, the same corrected for its verifier's errors, and the stations on which that judged."""
    words = f"{100 * r.held_out.success_rate:.1f} %"
    if r.corrected is not None:
        words += f" (corrected for its verifier {percent(r.corrected.success_rate, r.corrected.interval95)})"
    stations = dict.fromkeys(f"{judge.station} {judge.station_sha256[:8]}" for judge in r.judges)
    return words + (f" on {', '.join(stations)}" if stations else "")


def _time_to_80(group: Sequence[Result]) -> tuple[str, float | None]:
    """The Kaplan-Meier median in words, and in seconds where half of the runs got there."""
    times = [spent["time_s"] if (spent := x.to_threshold.get("0.8")) else None for x in group]
    spent_in_all = time_to(times, [x.research_s or 0.0 for x in group])
    if spent_in_all is None or not spent_in_all.reached:
        return "-", None
    median = "more" if spent_in_all.median is None else format_duration(spent_in_all.median)
    return f"{median} ({spent_in_all.reached}/{len(group)})", spent_in_all.median


def agent_words(r: Result) -> str:
    """Whose result it is: name, version where it is one, model, arguments and regime."""
    config = r.config or {}
    inside = [r.agent.model or "", r.agent.effort or "", *config.get("agent_args", []), config.get("regime") or ""]
    if config.get("base_url"):
        inside.append(f"at {config['base_url']}")
    words = " ".join(filter(None, inside))
    version = f" {r.agent.version}" if r.agent.version and r.agent.version.replace(".", "").isdigit() else ""
    return f"{r.agent.name}{version}" + (f" ({words})" if words else "")


def _irregular(group: Sequence[Result]) -> str:
    counts = {
        "resumes": sum(x.disturbances.resumes for x in group if x.disturbances),
        "aborts": sum(x.disturbances.aborted for x in group if x.disturbances),
        "interrupted": sum(x.disturbances.interrupted for x in group if x.disturbances),
        "reruns": sum(x.disturbances.reruns for x in group if x.disturbances),
        "void": sum(x.disturbances.void for x in group if x.disturbances),
    }  # fmt: skip
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "-"


def _condition_words(r: Result) -> str:
    """The usual conditions always, the others where they are not the defaults."""
    words = []
    if r.track != "none":
        words += [f"{conditions(r)['board']} regime", f"{r.track} track"]
    if r.budget_s:
        words.append(f"budget {format_duration(r.budget_s)}")
    if r.robot_budget_s:
        words.append(f"robot time {format_duration(r.robot_budget_s)}")
    if r.team_size > 1:
        shared = bool((r.config or {}).get("sharing", True))
        words.append(f"a team of {r.team_size}" + ("" if shared else " that shares nothing"))
    if r.cells > 1:
        own = bool((r.config or {}).get("own_stations"))
        words.append(f"{r.cells} robots" + (", each of one member" if own else ""))
    words += [r.sandbox, r.compute_class or "unknown computer"]
    if version := r.versions.get("autoenvbench"):
        words.append(f"autoenvbench {version}")
    shown = {"board", "track", "sandbox", "budget_s", "robot_budget_s", "compute_class", "autoenvbench", "gateway", "replay", "tools_replay",
             "team", "team_size", "cells", "sharing", "own_stations"}  # fmt: skip
    for name, value in sorted(conditions(r).items()):
        usual = (
            RunConfig.model_fields[name].get_default(call_default_factory=True) if name in RunConfig.model_fields else 1
        )
        if name not in shown and value != usual and value is not None:
            plain = value if isinstance(value, (str, int, float, bool)) else json.dumps(value, sort_keys=True)
            words.append(f"{name.replace('_', ' ')} {plain}")
    return ", ".join([*words, *([] if r.deterministic else ["its policies ask a model"])])
