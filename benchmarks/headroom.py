"""How much room each ranked level leaves: what solves it, what does not, what a step costs, and who climbed it in what time.

Levels are those of the registry. Everything measured is a file below --out, which is there or is not: killed half-way, the same command
goes on where it was, and with other levels or policies it adds to what is there. A level whose fingerprint changed is measured anew.

    OUT/<id>/<fingerprint>/<policy>/<k>.json   25 episodes of reference, naive or random (`autoenvbench score`, seed k), at station k
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
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")

import headroom_bars as bars
from enpire_envs.fingerprint import fingerprint
from enpire_envs.registry import entries, level_of
from headroom_bars import Findings, Rung
from headroom_cost import steps_per_second
from headroom_figure import draw
from item_response import best_fit

from autoenvbench.cli.arguments import Parser, episodes, path, real, whole
from autoenvbench.errors import RUN_VOID, UserError
from autoenvbench.make_env import make_env
from autoenvbench.study.score import score

POLICIES = ("reference", "naive", "random", "cem")
CHUNK = 25  # episodes that a kill can cost


# -- what is to be measured ------------------------------------------------------------------------------------------
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
        mark = mark_of(env_id)
        plain = env_id.replace(f"-{level.name.title()}-", "-")  # of a package with several tasks: this one's
        intros = sorted(
            (other for other, rung in entry.levels.items() if not rung.ranked), key=lambda other: other != plain
        )
        intro = intros[0] if intros else None
        yield Rung(env_id, level, mark, intro, out / env_id.rpartition("/")[2] / mark)


def mark_of(env_id: str) -> str:
    """The fingerprint of an environment as it is here and now."""
    env = make_env(env_id)
    try:
        return fingerprint(env)
    finally:
        env.close()


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
            if all(bars.read_json(path)["void_because"] for path in folder.glob("*/result.json")):
                yield Job(f"{name} cem", partial(run_cem, rung.env_id, folder, args.cem_minutes, args.n))
            continue
        for k, first in enumerate(range(0, args.n, CHUNK)):
            n, path = min(CHUNK, args.n - first), rung.folder / policy / f"{k}.json"
            if not path.exists() or bars.read_json(path)["episodes"] < n:
                more = ["--policy", policy, "-n", str(n), "--seed", str(k)]
                yield Job(f"{name} {policy} {first + n}/{args.n}", partial(child, rung, path, "score", more))
    if args.cost_steps and not (rung.folder / "cost.json").exists():
        more = ["--intro", rung.intro or "", "--steps", str(args.cost_steps)]
        yield Job(f"{name} cost", partial(child, rung, rung.folder / "cost.json", "cost", more))


def child(rung: Rung, path: Path, what: str, more: list[str]) -> None:
    """Measure in a process of its own, which writes `path` whole or not at all. Raises UserError with its last words."""
    path.parent.mkdir(parents=True, exist_ok=True)
    about = ["--env", rung.env_id, "--fingerprint", rung.fingerprint]
    line = [sys.executable, __file__, "--out", str(path), "--measure", what, *about, *more]
    _finish(subprocess.run(line, stderr=subprocess.PIPE, text=True, check=False))


def run_cem(env_id: str, folder: Path, minutes: float, episodes: int) -> None:
    """A run of cem on the track and at the pace of the level, or what is left of one that was cut. Raises UserError."""
    program = [sys.executable, "-m", "autoenvbench"]
    if cut := [path for path in sorted(folder.glob("*/ledger.sqlite")) if not path.with_name("result.json").exists()]:
        line = [*program, "resume", str(cut[-1].parent)]
    else:
        line = [*program, "eval", "--agent", "cem", "--env", env_id, "--budget", f"{60 * minutes:g}s", "--out", str(folder),
                "--held-out", str(episodes)]  # fmt: skip
    _finish(subprocess.run(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False), RUN_VOID)


def _finish(done: subprocess.CompletedProcess[str], also: int = 0) -> None:
    if done.returncode not in (0, also):
        raise UserError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:300])


def measure(args: argparse.Namespace) -> None:
    """The work of one child: a measurement as JSON in the file `--out`. Raises UserError where the level is no longer what it was."""
    if mark_of(args.env) != args.fingerprint:
        raise UserError(f"{args.env} changed while it was measured; start again")
    if args.measure == "score":
        level = level_of(args.env)
        at = {"station_seed": args.seed} if level is not None and level.stations == "run" else {}
        found = score(args.env, args.policy, args.n, env_kwargs=at, seed=args.seed, sandbox="none")
        kept = ("episodes", "successes", "void", "failures", "stages", "seconds_per_episode", "fingerprint", "hardware")
        found = {name: found[name] for name in kept}
    else:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        found = steps_per_second(args.env, args.intro or None, args.steps)
    scratch = args.out.with_suffix(f".{os.getpid()}.tmp")
    scratch.write_text(json.dumps(found, indent=1) + "\n")
    scratch.rename(args.out)


def summarise(levels: list[Findings], out: Path) -> str:
    """Write headroom.json, .md and .png; returns the table."""
    counts = bars.outcomes_of(levels)
    fitted = best_fit(counts) if counts else None
    page = bars.table(levels, fitted)
    (out / "headroom.md").write_text(page)
    rows = [{"id": f.rung.env_id, "level": f.rung.level.name, "fingerprint": f.rung.fingerprint, "cost": f.cost,
             "rates": {name: asdict(rate) for name, rate in f.rates.items()}, "runs": [asdict(run) for run in f.runs],
             "verdicts": [asdict(v) for v in bars.verdicts(f)]} for f in levels]  # fmt: skip
    (out / "headroom.json").write_text(
        json.dumps({"levels": rows, "fit": asdict(fitted) if fitted else None}, indent=1) + "\n"
    )
    if fitted is not None:
        named = {f.rung.env_id: f.rung.level.name for f in levels}
        times = [
            (f.rung.env_id, run.agent, run.watched_s, run.to["0.8"], run.to["0.95"]) for f in levels for run in f.runs
        ]
        draw(fitted, counts, named, times, bars.TOO_FAST_S).savefig(out / "headroom.png", dpi=130)
    return page


def main() -> int:
    """Measure what is missing, then print and write what all of it says; exit code 1 where something could not be measured."""
    parser = Parser(prog="headroom.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=path, required=True, help="folder of the measurements, new or begun")
    add(
        "--levels",
        nargs="*",
        default=[],
        metavar="PATTERN",
        help="ids or names, such as standard or '*Pin*' (default all)",
    )
    add("--policies", nargs="*", default=list(POLICIES), choices=POLICIES, help="default all")
    add(
        "-n",
        type=episodes,
        default=bars.EPISODES,
        help=f"episodes of each policy (default {bars.EPISODES}, which a bar takes)",
    )
    add("--cem-minutes", type=real(0.01, 600), default=10.0, metavar="M", help="default 10")
    add(
        "--cost-steps",
        type=whole(0, 10**6),
        default=600,
        metavar="N",
        help="of each of five rounds; 0: no step cost (default 600)",
    )
    add("--jobs", type=whole(1, 256), default=1, metavar="N", help="measurements at a time (default 1)")
    add("--runs", nargs="*", type=path, default=[], metavar="DIR", help="folders of runs, or that hold some")
    for of_a_child in ("--measure", "--env", "--fingerprint", "--policy", "--intro"):
        add(of_a_child, help=argparse.SUPPRESS)
    for of_a_child in ("--seed", "--steps"):
        add(of_a_child, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args)
        return 0
    if lost := [str(folder) for folder in args.runs if not folder.is_dir()]:
        raise UserError(f"--runs {lost[0]}: there is no such folder; give a run's, or one that holds runs")
    args.out.mkdir(parents=True, exist_ok=True)
    climbed = list(rungs(args.out, args.levels))
    jobs = [job for rung in climbed for job in missing(rung, args)]
    failed = 0
    with ThreadPoolExecutor(args.jobs) as pool:
        running = {pool.submit(job.run): job for job in jobs}
        try:
            for k, done in enumerate(as_completed(running), 1):
                error = done.exception()
                if error is not None and not isinstance(error, UserError):
                    raise error
                failed += error is not None
                words = f"[{k}/{len(jobs)}] {running[done].name}" + (f": {error}" if error else "")
                print(words, file=sys.stderr, flush=True)
        except BaseException:  # what is under way ends by itself, the rest is not begun
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    runs = bars.read_runs(args.runs)
    print(summarise([bars.findings(rung, runs, args.cem_minutes) for rung in climbed], args.out))
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"headroom: {error}", file=sys.stderr)
        sys.exit(2)
