"""`autoenvbench study`: what it costs is said and asked, then it goes on where it was."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoenvbench.cli import arguments
from autoenvbench.errors import UserError
from autoenvbench.record.clock import parse_duration

if TYPE_CHECKING:
    from autoenvbench.study.local import Runner


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
    from autoenvbench.cli.study_progress import StudyProgress
    from autoenvbench.study.estimate import estimate
    from autoenvbench.study.local import LocalRunner
    from autoenvbench.study.plan import make_plan
    from autoenvbench.study.study import run_study, unfinished

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
        if (crowded := runner.crowding(unfinished(plan))) is not None:
            print(
                f"crowded: {crowded}. What is measured is then also how they wait for one another; fewer --jobs do so less",
                file=sys.stderr,
            )
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
