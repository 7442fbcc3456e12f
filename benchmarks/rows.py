"""Leaderboard rows of the built-in researchers, on the state level of every task: `python benchmarks/rows.py --out rows`.

Each row is five runs with budgets of wall-clock and of robot time, one after the other. A run that is finished is not repeated and one that was
cut is gone on with, so the same command fills a board over as many nights as it takes. With `--board leaderboards` each finished run is packed,
filed and verified there, once. `--track station` makes rows whose results do not hang on how busy the computer is, as long as robot time ends
them first. `--dry-run` prints what is left to do.
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
IN_SIMULATORS = ("recipe:rlpd",)  # no researchers of the station track
AEB = [sys.executable, "-m", "autoenvbench"]


@dataclass(frozen=True)
class Row:
    """One researcher on one task and track."""

    agent: str
    env: str
    track: str = "open"

    @property
    def name(self) -> str:
        """Of its folder, and what --only fits."""
        track = "" if self.track == "open" else f"-{self.track}"
        return f"{self.agent.replace(':', '-')}-{self.env.partition('/')[2]}{track}"

    def command(self, seed: int, out: Path, args: argparse.Namespace) -> list[str]:
        """Of the run with this seed."""
        return [
            *AEB, "eval", "--agent", self.agent, "--env", self.env, *RESEARCHERS[self.agent], "--track", self.track, "--budget", args.budget,
            "--robot-budget", args.robot_budget, "--seed", str(seed), "--held-out", str(args.held_out), "--out", str(out),
        ]  # fmt: skip


def rows(only: str, track: str) -> list[Row]:
    """Those of a track whose names fit a pattern."""
    agents = [agent for agent in RESEARCHERS if track == "open" or agent not in IN_SIMULATORS]
    every = [Row(agent, f"ENPIRE/{task}-State-v0", track) for task in TASKS for agent in agents]
    return [row for row in every if fnmatch.fnmatchcase(row.name, only)]


def left(args: argparse.Namespace) -> Iterator[list[str]]:
    """The commands that are left to do, in their order; each is drawn when those before it have been run."""
    for row in rows(args.only, args.track):
        for seed in range(args.runs):
            out = args.out / row.name / f"s{seed}"
            begun = sorted(path.parent for path in out.glob("*/ledger.sqlite"))
            if not any((run / "result.json").exists() for run in begun):
                yield [*AEB, "resume", str(begun[-1])] if begun else row.command(seed, out, args)
            if args.board:
                for result in sorted(out.glob("*/result.json")):
                    yield from filed(result.parent, args.board)


def filed(run: Path, board: Path) -> Iterator[list[str]]:
    """What puts a finished run on a board and verifies it there, as far as that is not done."""
    archive = board / "archives" / f"{run.name}.tar"
    if not archive.exists():
        yield [*AEB, "leaderboard", "pack", str(run), "--out", str(archive)]
    if not (board / "submissions" / f"{run.name}.json").exists():
        yield [*AEB, "leaderboard", "add", str(run), "--dir", str(board)]
    if not (board / "verifications" / f"{run.name}.json").exists():
        yield [*AEB, "leaderboard", "verify", run.name, "--dir", str(board)]


def main() -> int:
    """Run what is left, and file it; returns 1 where a run failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--board", type=Path, help="pack, file and verify what is finished here, such as leaderboards")
    parser.add_argument("--track", default="open", choices=("open", "station"))
    parser.add_argument("--only", default="*", metavar="PATTERN", help="such as 'recipe-bc-*' or '*-PushT-*'")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--budget", default="60m", help="wall-clock of a run (default 60m)")
    parser.add_argument("--robot-budget", default="120m", help="robot time of a run (default 120m)")
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--dry-run", action="store_true")
    args = parser.parse_args()
    failed = 0
    for command in left(args):
        print(shlex.join(command), flush=True)
        failed += not args.dry_run and subprocess.run(command).returncode != 0
    if args.board and not args.dry_run:
        subprocess.run([*AEB, "leaderboard", "build", "--dir", str(args.board)], check=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
