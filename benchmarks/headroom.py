"""How much room each ranked level leaves: what solves it, what does not, what a step costs, and who climbed it in what time.

Levels are those of the registry. Everything measured is a file below --out, which is there or is not: killed half-way, the same command
goes on where it was, and with other levels or policies it adds to what is there. A level whose fingerprint changed is measured anew.

    OUT/<id>/<fingerprint>/<policy>/<k>.json   25 episodes of reference, naive or random (`autoenvbench score`, seed k)
    OUT/<id>/<fingerprint>/cem-10m/            a run of `autoenvbench eval --agent cem`, as anybody would start it
    OUT/<id>/<fingerprint>/cost.json           control steps/s, in alternation with the task's intro level
    OUT/headroom.json, .md, .png               all of it with the bars that a level must meet, and the item-response curves

--runs adds runs of any agent, finished or not: time to a confirmed 80 % and 95 %, and the held-out rate of those that are scored.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")

from enpire_envs.fingerprint import fingerprint
from enpire_envs.registry import Level, entries
from headroom_cost import steps_per_second
from headroom_figure import draw
from item_response import Fit, best_fit

from autoenvbench.errors import UserError
from autoenvbench.make_env import make_env
from autoenvbench.record import metrics
from autoenvbench.record.clock import format_duration
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.results import Result, research_seconds, started
from autoenvbench.record.summary import wilson
from autoenvbench.study.score import score
from autoenvbench.text import markdown

POLICIES = ("reference", "naive", "random", "cem")
CHUNK = 25  # episodes that a kill can cost
EPISODES = 200  # that a bar takes
TOO_FAST_S = 30 * 60  # in which no agent may reach a confirmed 95 %
COST_NOISE = 0.05  # of a ratio of two step costs


# -- what is to be measured ------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Rung:
    """A ranked level of a task: its id and fingerprint here, the id of the same task's intro, and where its measurements lie."""

    env_id: str
    level: Level
    fingerprint: str
    intro: str | None
    folder: Path


def rungs(out: Path, wanted: list[str]) -> Iterator[Rung]:
    """Every ranked level of the registry whose id or name fits one of the patterns `wanted` (no pattern: all). Raises UserError."""
    known = [(env_id, level, entry) for entry in entries() for env_id, level in entry.levels.items() if level.ranked]
    for pattern in wanted:
        if not any(fnmatch(env_id, pattern) or fnmatch(level.name, pattern) for env_id, level, _ in known):
            names = ", ".join(env_id for env_id, _, _ in known)
            raise UserError(f"no ranked level is called {pattern!r}; there are {names}")
    for env_id, level, entry in known:
        if wanted and not any(fnmatch(env_id, p) or fnmatch(level.name, p) for p in wanted):
            continue
        env = make_env(env_id)
        mark = fingerprint(env)
        env.close()
        plain = env_id.replace(f"-{level.name.title()}-", "-")  # of a package with several tasks: this one's
        intros = sorted(
            (other for other, rung in entry.levels.items() if not rung.ranked), key=lambda other: other != plain
        )
        intro = intros[0] if intros else None
        yield Rung(env_id, level, mark, intro, out / env_id.rpartition("/")[2] / mark)


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement that is missing: what it is called, and what makes it. A job that fails raises UserError."""

    name: str
    run: Callable[[], None]


def missing(rung: Rung, args: argparse.Namespace) -> Iterator[Job]:
    """What has to be measured on this level still."""
    name = rung.env_id.rpartition("/")[2]
    for policy in args.policies:
        if policy == "cem":
            folder = rung.folder / f"cem-{args.cem_minutes:g}m"
            # no run yet, or none that measured anything
            if all(read_json(path)["void_because"] for path in folder.glob("*/result.json")):
                yield Job(f"{name} cem", partial(run_cem, rung.env_id, folder, args.cem_minutes, args.episodes))
            continue
        for k, first in enumerate(range(0, args.episodes, CHUNK)):
            n, path = min(CHUNK, args.episodes - first), rung.folder / policy / f"{k}.json"
            if not path.exists() or read_json(path)["episodes"] < n:
                more = ["--env", rung.env_id, "--policy", policy, "-n", str(n), "--seed", str(k)]
                yield Job(f"{name} {policy} {first + n}/{args.episodes}", partial(child, path, "score", more))
    if args.cost_steps and not (rung.folder / "cost.json").exists():
        more = ["--env", rung.env_id, "--intro", rung.intro or "", "--steps", str(args.cost_steps)]
        yield Job(f"{name} cost", partial(child, rung.folder / "cost.json", "cost", more))


def child(path: Path, what: str, more: list[str]) -> None:
    """Measure in a process of its own, which writes `path` whole or not at all. Raises UserError with its last words."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = [sys.executable, __file__, "--out", str(path), "--measure", what, *more]
    _finish(subprocess.run(line, stderr=subprocess.PIPE, text=True, check=False))


def run_cem(env_id: str, folder: Path, minutes: float, episodes: int) -> None:
    """A run of cem on the track and at the pace of the level, or what is left of one that was cut. Raises UserError."""
    program = [sys.executable, "-m", "autoenvbench"]
    if cut := [path for path in sorted(folder.glob("*/ledger.sqlite")) if not path.with_name("result.json").exists()]:
        line = [*program, "resume", str(cut[-1].parent)]
    else:
        line = [*program, "eval", "--agent", "cem", "--env", env_id, "--budget", f"{60 * minutes:g}s", "--out", str(folder),
                "--held-out", str(episodes)]  # fmt: skip
    _finish(subprocess.run(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False), void=6)


def _finish(done: subprocess.CompletedProcess[str], void: int = 0) -> None:
    if done.returncode not in (0, void):
        raise UserError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:300])


def measure(args: argparse.Namespace) -> None:
    """The work of one child: a measurement as JSON in the file `--out`."""
    if args.measure == "score":
        found = score(args.env, args.policy, args.episodes, seed=args.seed, sandbox="none")
        kept = ("episodes", "successes", "void", "failures", "stages", "seconds_per_episode", "fingerprint", "hardware")
        found = {name: found[name] for name in kept}
    else:
        found = steps_per_second(args.env, args.intro or None, args.steps)
    scratch = args.out.with_suffix(f".{os.getpid()}.tmp")
    scratch.write_text(json.dumps(found, indent=1) + "\n")
    scratch.rename(args.out)


# -- what was measured -----------------------------------------------------------------------------------------------
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
    ledger = Ledger(folder / "ledger.sqlite")
    events = list(ledger.events())
    ledger.close()
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
    """Every run in these folders, which are runs or hold some, each once."""
    places = {
        place.parent.resolve() for f in folders for place in [*f.glob("ledger.sqlite"), *f.rglob("*/ledger.sqlite")]
    }
    found: dict[str, AgentRun] = {}
    for place in sorted(places):
        try:
            run = read_run(place)
        except UserError as error:
            print(f"headroom: left out {place}: {error}", file=sys.stderr)
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
    own = read_runs([rung.folder / f"cem-{cem_minutes:g}m"])
    scored = [run.held_out for run in own if run.held_out is not None]
    if scored:
        rates["cem"] = Rate(sum(r.successes for r in scored), sum(r.episodes for r in scored))
    cost = read_json(rung.folder / "cost.json") if (rung.folder / "cost.json").exists() else {}
    others = [run for run in runs if (run.env_id, run.fingerprint) == (rung.env_id, rung.fingerprint)]
    return Findings(rung, rates, cost, [*own, *others])


# -- the bars --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a level meets a bar: "met", "missed", or "open" where too little was measured; and by what."""

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
            made.append(Verdict(bar, "open", "not measured" if not found.cost else "the level does not give it"))
            continue
        ratio = cost.get("ratio")
        holds_too = cost["level"] >= 300 if kind == "pixels" else ratio is not None and ratio >= 1 - COST_NOISE
        words = f"{cost['level']:,.0f} steps/s" + (f", {ratio:.2f} of intro's {cost['intro']:,.0f}" if ratio else "")
        made.append(Verdict(bar, "met" if holds_too else "missed", words))
    fast = [run for run in found.runs if (run.to["0.95"] or TOO_FAST_S) < TOO_FAST_S]
    by = ", ".join(f"{markdown(run.agent)} in {format_duration(run.to['0.95'] or 0)}" for run in fast)
    made.append(Verdict("nobody at 95 % in under 30 minutes", "missed" if fast else "met" if found.runs else "open",
                        by or (f"{len(found.runs)} runs" if found.runs else "no runs")))  # fmt: skip
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


def summarise(levels: list[Findings], out: Path) -> str:
    """Write headroom.json, .md and .png; returns the table."""
    counts = outcomes_of(levels)
    fitted = best_fit(counts) if counts else None
    page = table(levels, fitted)
    (out / "headroom.md").write_text(page)
    rows = [{"id": f.rung.env_id, "level": f.rung.level.name, "fingerprint": f.rung.fingerprint, "cost": f.cost,
             "rates": {name: asdict(rate) for name, rate in f.rates.items()}, "runs": [asdict(run) for run in f.runs],
             "verdicts": [asdict(v) for v in verdicts(f)]} for f in levels]  # fmt: skip
    (out / "headroom.json").write_text(
        json.dumps({"levels": rows, "fit": asdict(fitted) if fitted else None}, indent=1) + "\n"
    )
    if fitted is not None:
        named = {f.rung.env_id: f.rung.level.name for f in levels}
        times = [
            (f.rung.env_id, run.agent, run.watched_s, run.to["0.8"], run.to["0.95"]) for f in levels for run in f.runs
        ]
        draw(fitted, counts, named, times, TOO_FAST_S).savefig(out / "headroom.png", dpi=130)
    return page


def main() -> int:
    """Measure what is missing, then print and write what all of it says; exit code 1 where something could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the measurements, new or begun")
    parser.add_argument(
        "--levels", nargs="*", default=[], metavar="PATTERN", help="ids or names, such as standard or '*Pin*' (all)"
    )
    parser.add_argument("--policies", nargs="*", default=list(POLICIES), choices=POLICIES, help="(all)")
    parser.add_argument("-n", "--episodes", type=int, default=EPISODES, help="of each policy; a bar takes 200 (200)")
    parser.add_argument("--cem-minutes", type=float, default=10.0, help="(10)")
    parser.add_argument(
        "--cost-steps", type=int, default=600, help="of each of five rounds; 0 leaves the step cost out (600)"
    )
    parser.add_argument("--jobs", type=int, default=1, help="measurements at a time (1)")
    parser.add_argument(
        "--runs", nargs="*", type=Path, default=[], metavar="DIR", help="folders of runs, or that hold some"
    )
    hidden = {"help": argparse.SUPPRESS}  # of a child
    for name in ("--measure", "--env", "--policy", "--intro"):
        parser.add_argument(name, **hidden)
    for name in ("--seed", "--steps"):
        parser.add_argument(name, type=int, **hidden)
    args = parser.parse_args()
    if args.measure:
        measure(args)
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    climbed = list(rungs(args.out, args.levels))
    jobs = [job for rung in climbed for job in missing(rung, args)]
    failed = 0
    with ThreadPoolExecutor(max(1, args.jobs)) as pool:
        running = {pool.submit(job.run): job for job in jobs}
        for k, done in enumerate(as_completed(running), 1):
            error = done.exception()
            if error is not None and not isinstance(error, UserError):
                raise error
            failed += error is not None
            print(
                f"[{k}/{len(jobs)}] {running[done].name}" + (f": {error}" if error else ""), file=sys.stderr, flush=True
            )
    runs = read_runs(args.runs)
    print(summarise([findings(rung, runs, args.cem_minutes) for rung in climbed], args.out))
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"headroom: {error}", file=sys.stderr)
        sys.exit(2)
