"""What learned policies reach: every bar with its commands, on 200 starts that nothing was tuned on, three seeds each.

    python benchmarks/learning.py --out learning              # all bars; goes on where it was
    python benchmarks/learning.py --out learning --only pin-bc

Each row prints the success rate of each seed with its 95 % Wilson interval, wall-clock and processor time of the training, and whether the worst
seed meets the bar. A bar is on the lower end of the interval, or on the number of successes of 200.
"""

from __future__ import annotations

import argparse
import json
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SEEDS = (1, 2, 3)
STARTS = 200
FRESH = 9000  # the score of training seed k has the starts of seed FRESH + k, which nothing else has


@dataclass(frozen=True)
class Bar:
    """A recipe, and what it must reach.

    Attributes:
        demos: by whom, and how many; all recipes of one environment, demonstrator and number share the folder.
        train: algorithm, and arguments of `autoenvbench train`.
        lower: least lower end of the interval; successes: least number of 200.
    """

    name: str
    env: str
    demos: tuple[str, int]
    train: Sequence[str]
    lower: float = 0.0
    successes: int = 0


PIN = "ENPIRE/PinInsertion-v0"
#: Learning on the robot from few demonstrations: at most an hour of its time, exploring little, with two seconds of history.
FROM_FEW = [
    f"--set={pair}"
    for pair in (
        "robot_minutes=60", "history=4", "stride=15", "hold=3", "noise=0.05", "temperature=0.001", "min_temperature=0.0001", "entropy=-1.5",
        "clone=2000", "bc_weight=1", "bc_final=0.05", "bc_steps=20000", "imitate_own=true", "target_low=0", "target_high=1",
        "hidden=128", "critics=5", "updates=1.5",
    )
]  # fmt: skip
#: Two seconds of history at 10 Hz, several actions at once, several ways round.
PLANNING = [f"--set={pair}" for pair in ("history=10", "stride=2", "chunk=4", "execute=2", "head=mixture")]
BARS = (
    Bar("pin-bc", PIN, ("scripted", 500), ["bc", "--minutes", "10"], lower=0.90),
    Bar("pin-dagger", PIN, ("scripted", 500), ["dagger", "--minutes", "60"], successes=197),
    Bar("pin-bc-100", PIN, ("scripted", 100), ["bc", "--minutes", "10"]),
    Bar("pin-bc-20", PIN, ("scripted", 20), ["bc", "--minutes", "10"]),
    Bar("pin-bc-of-reference", PIN, ("reference", 500), ["bc", "--minutes", "10"]),
    Bar("pin-dagger-20", PIN, ("scripted", 20), ["dagger", "--minutes", "60"]),
    Bar("pin-rlpd", PIN, ("scripted", 20), ["rlpd", "--minutes", "60", *FROM_FEW], lower=0.85),
    Bar("gpu-bc", "ENPIRE/GPUInsertion-v0", ("scripted", 500), ["bc", "--minutes", "60"], lower=0.85),
    Bar("tie-dagger", "ENPIRE/TieZipTie-v0", ("scripted", 500), ["dagger", "--minutes", "60"], lower=0.80),
    Bar("cut-dagger", "ENPIRE/CutZipTie-v0", ("scripted", 500), ["dagger", "--minutes", "60"], lower=0.80),
    Bar("pusht-dagger", "ENPIRE/PushT-v0", ("scripted", 500), ["dagger", "--minutes", "60", *PLANNING], lower=0.60),
)


def main() -> None:
    """Run what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", action="append", default=[], choices=[bar.name for bar in BARS])
    args = parser.parse_args()
    print("| bar | command | seeds: success of 200 [95 %] | wall, processor time of training | worst meets it |")
    print("|---|---|---|---|---|")
    for bar in BARS:
        if not args.only or bar.name in args.only:
            print(row(bar, args.out), flush=True)


def row(bar: Bar, out: Path) -> str:
    """One bar, run and summed up."""
    by, n = bar.demos
    demos = out / "demos" / f"{bar.env.rpartition('/')[2]}-{by}-{n}"
    if not demos.exists():
        run(["demos", "--env", bar.env, "--by", by, "-n", str(n), "--out", str(demos)])
    results, costs = [], []
    for seed in SEEDS:
        folder = out / f"{bar.name}-{seed}"
        score, cost = folder / "score.json", folder / "cost.json"
        if not (folder / "policy").exists():
            again = ["--resume"] if (folder / "checkpoint.pt").exists() else []
            line = [
                "train",
                *bar.train,
                "--env",
                bar.env,
                "--demos",
                str(demos),
                "--seed",
                str(seed),
                "--out",
                str(folder),
            ]
            spent = run([*line, *again])[1]
            before = json.loads(cost.read_text()) if cost.exists() else [0.0, 0.0]
            cost.write_text(json.dumps([a + b for a, b in zip(before, spent, strict=True)]))
        if not score.exists():
            line = [
                "score",
                "--env",
                bar.env,
                "--policy",
                str(folder / "policy"),
                "-n",
                str(STARTS),
                "--seed",
                str(FRESH + seed),
                "--json",
            ]
            score.write_text(run(line)[0])
        results.append(json.loads(score.read_text()))
        costs.append(json.loads(cost.read_text()))
    rates = ", ".join(f"{r['successes']} [{100 * r['wilson95'][0]:.1f}, {100 * r['wilson95'][1]:.1f}]" for r in results)
    met = all(r["wilson95"][0] >= bar.lower and r["successes"] >= bar.successes for r in results)
    asked = f"lower end >= {bar.lower:.2f}" if bar.lower else f">= {bar.successes}" if bar.successes else "none asked"
    times = ", ".join(f"{wall:.0f} s, {cpu:.0f} s" for wall, cpu in costs)
    return f"| {bar.name} | `autoenvbench train {shlex.join(bar.train)}`, {n} of {by} | {rates} | {times} | {asked}: {'yes' if met else 'no'} |"


def run(arguments: list[str]) -> tuple[str, tuple[float, float]]:
    """What a command printed, and its wall-clock and processor time [s]."""
    print(f"autoenvbench {shlex.join(arguments)}", file=sys.stderr, flush=True)
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "autoenvbench", *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, (time.monotonic() - began, cpu)


if __name__ == "__main__":
    main()
