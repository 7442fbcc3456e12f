"""`autoenvbench replay`: an episode of a run once more, as a film, and whether it went the same."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from autoenvbench.cli import arguments
from autoenvbench.text import short, visible


def add_parser(subparsers: Any) -> None:
    """The command's arguments."""
    parser = subparsers.add_parser(
        "replay",
        help="simulate an episode of a run again, bit for bit, and film it; says why where that cannot be done",
    )
    parser.add_argument("run_dir", type=arguments.path, metavar="RUN")
    parser.add_argument("episode", metavar="EPISODE", help="as its file is called: E3-7, held-out-12, held-out-12.1 (its second attempt)")  # fmt: skip
    parser.add_argument("--video", type=arguments.path, metavar="FILE", help="write its film, .mp4")
    parser.add_argument("--sandbox", choices=("bwrap", "docker", "none"),
                        help="the cage of a policy that has to run again, where actions were not kept (default bwrap)")  # fmt: skip
    parser.add_argument(
        "--trust", action="store_true", help="ask the servers and models and open the files that the run names"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Simulate and print; exit code 1 where it did not go the same."""
    from autoenvbench.study.replay import replay

    made = replay(args.run_dir, args.episode, video=args.video, sandbox=args.sandbox or "bwrap", trust=args.trust)
    p = made.recorded
    how = "success" if p.success else f"failure ({p.reason or 'unknown'})"
    print(
        f" episode           {visible(args.episode)}: {short(how)}, score {p.score:.3f}, {p.steps} steps, {p.purpose} of {p.commit[:12]}"
    )
    print(f" driven by         {made.by}")
    if made.video is not None:
        print(f" film              {visible(str(made.video))}")
    if not made.differences:
        print(f" the same          {made.steps} steps and the verdict, bit for bit")
        return 0
    for what in made.differences:
        print(visible(f"autoenvbench: not the same: {what}"), file=sys.stderr)
    return 1
