"""What was measured of a ranked level, and whether it meets the bars: the reading half of `headroom.py`."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enpire_envs.registry import Level
from item_response import Fit

from autoenvbench.errors import UserError
from autoenvbench.record import metrics
from autoenvbench.record.clock import format_duration
from autoenvbench.record.ledger import read_events
from autoenvbench.record.results import Result, research_seconds, started
from autoenvbench.record.summary import wilson
from autoenvbench.text import markdown, short

EPISODES = 200  # that a bar takes
TOO_FAST_S = 30 * 60  # in which no agent may reach a confirmed 95 %
COST_NOISE = 0.05  # of a ratio of two step costs


@dataclass(frozen=True, slots=True)
class Rung:
    """A ranked level of a task: its id and fingerprint here, the id of the same task's intro, and where its measurements lie."""

    env_id: str
    level: Level
    fingerprint: str
    intro: str | None
    folder: Path


@dataclass(frozen=True, slots=True)
class Rate:
    """Successes of so many episodes."""

    successes: int
    episodes: int

    @property
    def value(self) -> float:
        return self.successes / self.episodes

    def __str__(self) -> str:
        low, high = wilson(self.successes, self.episodes)
        few = "" if self.episodes >= EPISODES else f", {self.episodes} episodes"
        return f"{100 * self.value:.1f} % [{100 * low:.1f}, {100 * high:.1f}{few}]"


@dataclass(frozen=True, slots=True)
class AgentRun:
    """What a run of an agent shows of a level.

    Attributes:
        agent: and its model.
        watched_s: research time so far [s]; `to`: of it, until the confirmed best reached a rate, None where it has not.
        held_out: None for a run that is not scored, or that measured nothing.
    """

    run: str
    agent: str
    env_id: str
    fingerprint: str | None
    track: str
    pace: float
    watched_s: float
    to: dict[str, float | None]
    held_out: Rate | None


def read_run(folder: Path) -> AgentRun:
    """A run's folder, by its ledger. Raises UserError for one that has none."""
    events = read_events(folder / "ledger.sqlite")
    first, config = started(events)
    _, confirmed = metrics.best_curves(events, config.min_episodes)
    spent = {f"{x:g}": metrics.resources_to(confirmed, x) for x in (0.8, 0.95)}
    finished = any(e.kind == "run" and e.payload.phase == "finished" for e in events)
    result = Result.from_events(events) if finished else None
    counted = result is not None and not result.void_because and result.held_out.episodes > 0
    name = config.agent.rpartition("/")[2]
    return AgentRun(
        run=first.payload.run_id or folder.name, agent=f"{name} ({config.model})" if config.model else name, env_id=config.env,
        fingerprint=first.payload.fingerprint, track=config.track, pace=config.pace, watched_s=research_seconds(events),
        to={x: None if s is None else s["time_s"] for x, s in spent.items()},
        held_out=Rate(result.held_out.successes, result.held_out.episodes) if result is not None and counted else None,
    )  # fmt: skip


def read_runs(folders: list[Path]) -> list[AgentRun]:
    """Every run in these folders, which are runs or hold some, each once. One that cannot be read is said and left out."""
    places = {
        place.parent.resolve() for f in folders for place in [*f.glob("ledger.sqlite"), *f.rglob("*/ledger.sqlite")]
    }
    found: dict[str, AgentRun] = {}
    for place in sorted(places):
        try:
            run = read_run(place)
        except (UserError, sqlite3.Error, ValueError) as error:  # it may be anybody's
            print(f"headroom: left out {place}: {short(str(error), 300)}", file=sys.stderr)
            continue
        found[run.run] = run
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Findings:
    """All that is known of a level. `rates` holds reference, naive, random and cem, where they were measured."""

    rung: Rung
    rates: dict[str, Rate]
    cost: dict[str, dict[str, float]] = field(default_factory=dict)
    runs: list[AgentRun] = field(default_factory=list)


def read_json(path: Path) -> Any:
    """A file that a child wrote."""
    return json.loads(path.read_text())


def findings(rung: Rung, runs: list[AgentRun], cem_minutes: float) -> Findings:
    """What lies in a level's folder, and the runs that were on just this environment."""
    rates = {}
    for policy in ("reference", "naive", "random"):
        chunks = [read_json(path) for path in sorted((rung.folder / policy).glob("*.json"))]
        if episodes := sum(chunk["episodes"] for chunk in chunks):
            rates[policy] = Rate(sum(chunk["successes"] for chunk in chunks), episodes)
    cem = read_runs([rung.folder / f"cem-{cem_minutes:g}m"])
    own = [run for run in cem if run.fingerprint == rung.fingerprint]
    scored = [run.held_out for run in own if run.held_out is not None]
    if scored:
        rates["cem"] = Rate(sum(r.successes for r in scored), sum(r.episodes for r in scored))
    cost = read_json(rung.folder / "cost.json") if (rung.folder / "cost.json").exists() else {}
    known = {run.run for run in own}
    others = [r for r in runs if (r.env_id, r.fingerprint) == (rung.env_id, rung.fingerprint) and r.run not in known]
    return Findings(rung, rates, cost, [*own, *others])


# -- the bars --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a level meets a bar: "met", "missed", "open" where too little was measured, "n/a" where it cannot apply; and by what."""

    bar: str
    state: str
    by: str


def verdicts(found: Findings) -> list[Verdict]:
    """Every bar that a level must meet."""
    bars: tuple[tuple[str, str, Callable[[Rate], bool]], ...] = (
        ("reference >= 95 %, its lower bound >= 93 %", "reference",
         lambda r: r.value >= 0.95 and wilson(r.successes, r.episodes)[0] >= 0.93),
        ("naive <= 10 %", "naive", lambda r: r.value <= 0.10),
        ("random 0 %", "random", lambda r: r.successes == 0),
        ("cem <= 50 %", "cem", lambda r: r.value <= 0.50),
    )  # fmt: skip
    made = []
    for bar, policy, holds in bars:
        rate = found.rates.get(policy)
        state = "open" if rate is None or rate.episodes < EPISODES else "met" if holds(rate) else "missed"
        made.append(Verdict(bar, state, "not measured" if rate is None else str(rate)))
    for kind, bar in (("state", "a step costs no more than on intro"), ("pixels", "pixels >= 300 steps/s at 96 px")):
        cost = found.cost.get(kind)
        if cost is None:
            made.append(
                Verdict(bar, "open", "not measured")
                if not found.cost
                else Verdict(bar, "n/a", "not in its observations")
            )
            continue
        ratio = cost.get("ratio")
        holds_too = cost["level"] >= 300 if kind == "pixels" else ratio is not None and ratio >= 1 - COST_NOISE
        words = f"{cost['level']:,.0f} steps/s" + (f", {ratio:.2f} of intro's {cost['intro']:,.0f}" if ratio else "")
        made.append(Verdict(bar, "met" if holds_too else "missed", words))
    fast = [run for run in found.runs if (run.to["0.95"] or TOO_FAST_S) < TOO_FAST_S]
    by = ", ".join(f"{markdown(run.agent)} in {format_duration(run.to['0.95'] or 0)}" for run in fast)
    made.append(Verdict("nobody at 95 % in under 30 minutes", "missed" if fast else "met" if found.runs else "open",
                        by or f"{len(found.runs) or 'no'} run{'' if len(found.runs) == 1 else 's'}"))  # fmt: skip
    return made


def table(levels: list[Findings], fitted: Fit | None) -> str:
    """Markdown: the bars of every level, and what follows from them."""
    head = ["level", *(v.bar for v in verdicts(levels[0]))] if levels else ["level"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    notes = []
    for found in levels:
        name, judged = found.rung.env_id, verdicts(found)
        lines.append(f"| {name} | {' | '.join(f'**{v.state}** {v.by}' for v in judged)} |")
        if judged[-1].state == "missed":
            notes.append(f"- **{name} is moved down a rung**: {judged[-1].by} reached 95 %.")
        others = [v.bar for v in judged[:-1] if v.state == "missed"]
        notes += [f"- {name} misses: {'; '.join(others)}."] if others else []
    times = ["| level | agent | track | watched | to 80 % | to 95 % | held-out |", f"|{' --- |' * 7}"]
    for found in levels:
        for run in sorted(found.runs, key=lambda run: (run.to["0.95"] or 1e9, run.to["0.8"] or 1e9, run.run)):
            when = [format_duration(t) if t is not None else "-" for t in (run.to["0.8"], run.to["0.95"])]
            row = (
                markdown(run.agent),
                f"{run.track}, pace {run.pace:g}",
                format_duration(run.watched_s),
                *when,
                str(run.held_out or "-"),
            )
            times.append(f"| {found.rung.env_id} | {' | '.join(row)} |")
    parts = ["# Headroom", "\n".join(lines), "\n".join(notes) or "No bar is missed.", "## Runs", "\n".join(times)]
    if fitted is not None:
        words = (
            f"{fitted.model}, dispersion {fitted.dispersion:.1f}; logits, 95 % intervals, zero is the mean difficulty"
        )
        rows = [f"| {kind} | {markdown(name)} | {e.value:+.2f} | {e.low:+.2f} to {e.high:+.2f} |"
                for kind, found_of in (("level", fitted.difficulty), ("agent", fitted.ability))
                for name, e in sorted(found_of.items(), key=lambda item: item[1].value)]  # fmt: skip
        parts += [f"## Item response ({words})", "\n".join(["| | | value | 95 % |", f"|{' --- |' * 4}", *rows])]
    return "\n\n".join(parts) + "\n"


def outcomes_of(levels: list[Findings]) -> dict[tuple[str, str], tuple[int, int]]:
    """(agent, level) -> (successes, episodes), held-out episodes of all runs of an agent together."""
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for found in levels:
        pairs = [(policy, rate) for policy, rate in found.rates.items() if policy != "cem"]
        pairs += [(run.agent, run.held_out) for run in found.runs if run.held_out is not None]
        for agent, rate in pairs:
            wins, n = counts.get((agent, found.rung.env_id), (0, 0))
            counts[agent, found.rung.env_id] = (wins + rate.successes, n + rate.episodes)
    return counts
