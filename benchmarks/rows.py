"""Leaderboard rows of the built-in researchers, on the state level of every task: `python benchmarks/rows.py --out rows`.

Each row is five runs with budgets of wall-clock and of robot time, one after the other. A run that is finished is not repeated and one that was
cut is gone on with, so the same command fills a board over as many nights as it takes. `--dry-run` prints what is left to do.
"""

from __future__ import annotations

import argparse
import fnmatch
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TASKS = ("PinInsertion", "GPUInsertion", "PushT", "TieZipTie", "CutZipTie")
RESEARCHERS = {
    "cem": ("--regime", "heuristic"),
    "recipe:bc": ("--regime", "bc", "--demos", "200"),
    "recipe:iql": ("--regime", "offline-rl", "--demos", "200"),
    "recipe:td3_bc": ("--regime", "offline-rl", "--demos", "200"),
    "recipe:rlpd": ("--regime", "online-rl", "--demos", "20"),
}


@dataclass(frozen=True)
class Row:
    """One researcher on one task."""

    agent: str
    env: str

    @property
    def name(self) -> str:
        """Of its folder, and what --only fits."""
        return f"{self.agent.replace(':', '-')}-{self.env.partition('/')[2]}"

    def command(self, seed: int, out: Path, args: argparse.Namespace) -> list[str]:
        """Of the run with this seed."""
        return [
            sys.executable, "-m", "autoenvbench", "eval", "--agent", self.agent, "--env", self.env, *RESEARCHERS[self.agent], "--budget",
            args.budget, "--robot-budget", args.robot_budget, "--seed", str(seed), "--held-out", str(args.held_out), "--out", str(out),
        ]  # fmt: skip


def rows(only: str) -> list[Row]:
    """Those whose names fit a pattern."""
    every = [Row(agent, f"ENPIRE/{task}-State-v0") for task in TASKS for agent in RESEARCHERS]
    return [row for row in every if fnmatch.fnmatchcase(row.name, only)]


def left(args: argparse.Namespace) -> Iterator[tuple[Path, list[str]]]:
    """(folder of a run's, command that begins it or goes on with it) for each run that is not finished."""
    for row in rows(args.only):
        for seed in range(args.runs):
            out = args.out / row.name / f"s{seed}"
            begun = sorted(path.parent for path in out.glob("*/ledger.sqlite"))
            if not any((run / "result.json").exists() for run in begun):
                yield (
                    out,
                    [sys.executable, "-m", "autoenvbench", "resume", str(begun[-1])]
                    if begun
                    else row.command(seed, out, args),
                )


def main() -> int:
    """Run what is left, and file it; returns 1 where a run failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--board", type=Path, help="file what is finished here, such as leaderboards")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="such as 'recipe-bc-*' or '*-PushT-*'")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--budget", default="60m", help="wall-clock of a run (default 60m)")
    parser.add_argument("--robot-budget", default="120m", help="robot time of a run (default 120m)")
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--dry-run", action="store_true")
    args = parser.parse_args()
    failed = 0
    for out, command in left(args):
        print(shlex.join(command), flush=True)
        if args.dry_run:
            continue
        failed += subprocess.run(command).returncode != 0
        if args.board:
            for result in out.glob("*/result.json"):
                subprocess.run([sys.executable, "-m", "autoenvbench", "leaderboard", "add", str(result.parent), "--dir", str(args.board)], check=True)  # fmt: skip
    if args.board and not args.dry_run:
        subprocess.run(
            [sys.executable, "-m", "autoenvbench", "leaderboard", "build", "--dir", str(args.board)], check=True
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
