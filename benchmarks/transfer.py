"""Does experience help? `evolve` on GPU insertion, with and without what a run on pin insertion taught: `python benchmarks/transfer.py --out transfer`.

One run on the pin is distilled (`autoenvbench distill`); then runs on the GPU alternate between the two arms, on the station track, under a budget of
robot time. A run that is finished is not repeated and one that was cut is gone on with. The table has held-out success with its interval over runs,
and the time to a confirmed 50 %, Kaplan-Meier; the difference is the runs' own, bootstrapped.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from autoenvbench.record.clock import format_duration
from autoenvbench.record.results import Result
from autoenvbench.record.statistics import difference_interval, run_interval
from autoenvbench.record.survival import time_to

SOURCE, TARGET = "ENPIRE/PinInsertion-v0", "ENPIRE/GPUInsertion-v0"
ARMS = ("without", "with")


def command(env: str, seed: int, out: Path, args: argparse.Namespace, *more: str) -> list[str]:
    """Of a run of `evolve`."""
    return [
        sys.executable, "-m", "autoenvbench", "eval", "--agent", "evolve", "--env", env, "--track", "station", "--regime", "heuristic",
        "--budget", args.budget, "--robot-budget", args.robot_budget, "--held-out", str(args.held_out), "--seed", str(seed),
        "--out", str(out), *more,
    ]  # fmt: skip


def to_do(out: Path, fresh: list[str]) -> list[str] | None:
    """The command that begins the run in this folder, or goes on with it; None where it is finished."""
    begun = sorted(path.parent for path in out.glob("*/ledger.sqlite"))
    if any((run / "result.json").exists() for run in begun):
        return None
    return [sys.executable, "-m", "autoenvbench", "resume", str(begun[-1])] if begun else fresh


def left(args: argparse.Namespace) -> Iterator[list[str]]:
    """Commands that are to be run, in their order: what each needs was made by those before."""
    page = args.out / "experience.md"
    if (source := to_do(args.out / "pin", command(SOURCE, 0, args.out / "pin", args))) is not None:
        yield source
    if not page.exists():
        run = next((path.parent for path in sorted((args.out / "pin").glob("*/result.json"))), args.out / "pin/RUN")
        yield [sys.executable, "-m", "autoenvbench", "distill", str(run), "--out", str(page)]
    for seed in range(1, args.runs + 1):
        for arm in ARMS:
            out = args.out / arm / f"s{seed}"
            given = ["--experience", str(page)] if arm == "with" else []
            if (run := to_do(out, command(TARGET, seed, out, args, *given))) is not None:
                yield run


def table(out: Path) -> str:
    """What there is, as Markdown."""
    rows = [
        "| GPU insertion | runs | held-out success | 95 % interval over runs | to a confirmed 50 % |",
        "|---|---|---|---|---|",
    ]
    found = []
    for arm in ARMS:
        results = [
            Result.model_validate(json.loads(path.read_text())) for path in sorted((out / arm).glob("*/*/result.json"))
        ]
        if not results:
            rows.append(f"| {arm} experience | 0 | - | - | - |")
            continue
        rates = [r.held_out.successes / max(r.held_out.episodes, 1) for r in results]
        interval = run_interval(rates)
        found.append(rates)
        reached = [r.to_threshold.get("0.5") for r in results]
        spent = time_to([x["time_s"] if x else None for x in reached], [r.research_s or 0.0 for r in results])
        median = "-" if spent is None or spent.median is None else format_duration(spent.median)
        rows.append(
            f"| {arm} experience | {len(results)} | {100 * sum(rates) / len(rates):.1f} % | "
            + (f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}" if interval else "takes 5 runs")
            + f" | {median} ({sum(x is not None for x in reached)}/{len(results)}) |"
        )
    gain = difference_interval(*found) if len(found) == len(ARMS) else None
    words = f"{100 * gain[0]:+.1f} to {100 * gain[1]:+.1f} points" if gain else "takes 5 runs of each"
    return "\n".join([*rows, "", f"with minus without, 95 % interval over runs: {words}"])


def main() -> int:
    """Run what is left, and print the table; returns 1 where a run failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--runs", type=int, default=5, help="of each arm (default 5)")
    parser.add_argument("--budget", default="60m", help="wall-clock of a run (default 60m)")
    parser.add_argument("--robot-budget", default="60m", help="robot time of a run, simulated (default 60m)")
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--dry-run", action="store_true", help="print what is left")
    parser.add_argument("--report", action="store_true", help="print the table of what there is")
    args = parser.parse_args()
    if args.dry_run:
        print("\n".join(map(shlex.join, left(args))))
        return 0
    if not args.report:
        for run in left(args):
            print(shlex.join(run), flush=True)
            if subprocess.run(run).returncode:
                return 1  # what follows needs it, or fails as it did
    print(table(args.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
