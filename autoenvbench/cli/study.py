"""`autoenvbench study`: what it costs is said and asked, then it goes on where it was."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from autoenvbench.cli import arguments
from autoenvbench.cli.printing import add_plain
from autoenvbench.errors import UserError
from autoenvbench.record.clock import format_duration, parse_duration
from autoenvbench.study.local import LocalRunner, Runner, StudyObserver
from autoenvbench.study.runs import PlannedRun, result_of, standing_of
from autoenvbench.text import visible

_LINE_EVERY_S = 60.0


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser's."""
    study = subparsers.add_parser(
        "study", help="many runs or policies: what is varied, on matched scenes, with controls; one page for all of it"
    )
    study.add_argument(
        "study", type=arguments.path, metavar="STUDY", help="a YAML file; see examples/study_agents.yaml"
    )
    study.add_argument("-n", type=arguments.episodes, metavar="N", help="episodes of each level (default: the study's)")
    study.add_argument(
        "--out", type=arguments.path, default=Path("runs/studies"), metavar="DIR", help="default runs/studies/"
    )
    study.add_argument("--jobs", type=arguments.whole(1, 256), default=1, metavar="N", help="research runs at a time (default 1)")  # fmt: skip
    study.add_argument("--ray", metavar="auto|ADDRESS", help="research runs on the nodes of this Ray cluster, as many as they have cores for")  # fmt: skip
    study.add_argument("--cores", type=arguments.real(0.1, 1024), default=1.0, metavar="N", help="with --ray: processor cores that a run takes up (default 1)")  # fmt: skip
    study.add_argument("--copy-every", default="60s", metavar="TIME", help="with --ray: how often a run's folder comes home (default 60s)")  # fmt: skip
    study.add_argument("--yes", action="store_true", help="begin without being asked, as scripts must")
    study.add_argument(
        "--sandbox", choices=("bwrap", "docker", "none"), help="default bwrap; refused where it is missing"
    )
    study.set_defaults(run=study_command)


def study_command(args: argparse.Namespace) -> None:
    """Run a study."""
    from autoenvbench.study.estimate import estimate
    from autoenvbench.study.plan import make_plan
    from autoenvbench.study.study import run_study

    copy_every_s = parse_duration(args.copy_every)
    plan = make_plan(args.study, args.out, sandbox=args.sandbox, episodes=args.n)
    runner: Runner = LocalRunner(args.jobs)
    if args.ray is not None:
        from autoenvbench.study.on_ray import RayRunner

        runner = RayRunner(args.ray, cores=args.cores, copy_every_s=copy_every_s)
    expected = estimate(plan, runner.at_a_time)
    if not expected.nothing_left:
        for line in expected.lines(runner.at_a_time):
            print(line, file=sys.stderr)
        _ask(args)
    with StudyProgress() as progress:
        paths = run_study(plan, runner, progress)
    for path in paths:
        print(path)


def _ask(args: argparse.Namespace) -> None:
    if args.yes:
        return
    if not sys.stdin.isatty():
        raise UserError(f"nobody is there to be asked; if that is fine: autoenvbench study {args.study} --yes")
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UserError("nothing was begun")


class StudyProgress(StudyObserver):
    """A line a run, and on a terminal a panel of those that are under way."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=1, transient=True) if self._console.is_terminal else None  # fmt: skip
        self._total = self._ended = 0
        self._next = 0.0
        self._where: dict[str, str] = {}

    def __enter__(self) -> StudyProgress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._live:
            self._live.stop()

    def log(self, text: str) -> None:
        self._console.print(visible(text), highlight=False, soft_wrap=True, markup=False)

    def on_begin(self, runs: Sequence[PlannedRun]) -> None:
        self._total = len(runs)

    def on_run(self, run: PlannedRun, where: str) -> None:
        self._where[run.key] = where
        goes_on = standing_of(run).state == "interrupted"
        self.log(f"{run.name}: {'goes on' if goes_on else 'begins'}" + (f" on {where}" if where else ""))

    def on_end(self, run: PlannedRun, problem: str | None) -> None:
        self._ended += 1
        said = problem
        if problem is None:
            run_dir = standing_of(run).run_dir
            assert run_dir is not None
            said = f"held-out {result_of(run_dir).held_out.success_rate:.1%}"
        self.log(f"[{self._ended}/{self._total}] {run.name}: {said}")

    def refresh(self, active: Sequence[PlannedRun]) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (1.0 if self._live else _LINE_EVERY_S)
        rows = []
        for run in active:
            t_run, budget = standing_of(run).t_run, run.config.budget_s
            at = f"{format_duration(t_run)} of {format_duration(budget)}" if t_run <= budget else "being scored"
            rows.append((run.name, at, self._where.get(run.key, "")))
        if self._live:
            table = Table(
                box=None, show_header=False, padding=(0, 2), title=f"{self._ended} of {self._total} runs are done"
            )
            for row in rows:
                add_plain(table, *row)
            self._live.update(table)
        elif rows:
            self.log(f"{self._ended} of {self._total} runs are done; under way: " + "; ".join(f"{name}, {at}" for name, at, _ in rows))  # fmt: skip
