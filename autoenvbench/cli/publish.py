"""`autoenvbench publish`: the site of a board and of runs, and the curves of agents over hours."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from autoenvbench.cli import arguments
from autoenvbench.text import visible


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    publish = subparsers.add_parser(
        "publish", help="write a site of boards and runs, or the curves of agents over hours"
    )
    actions = publish.add_subparsers(dest="action", required=True, metavar="site|curves")
    site = actions.add_parser(
        "site", help="write static pages: boards, agents, runs with their reports, any two rows compared, and published curves"
    )  # fmt: skip
    site.add_argument("run_dirs", type=arguments.path, nargs="*", metavar="RUN", help="finished runs, filed or not")
    site.add_argument("--dir", type=arguments.path, default=Path("leaderboards"), metavar="BOARD", help="default leaderboards/")  # fmt: skip
    site.add_argument("--out", type=arguments.path, default=Path("site"), metavar="DIR", help="default site/")
    site.set_defaults(run=_site)
    curves = actions.add_parser(
        "curves", help="draw normalised score and success over research time: median and quartiles over the runs of each agent"
    )  # fmt: skip
    curves.add_argument("run_dirs", type=arguments.path, nargs="+", metavar="RUN")
    curves.add_argument("--out", type=arguments.path, default=Path("curves"), metavar="DIR", help="default curves/")
    curves.add_argument("--to", type=float, default=0.8, metavar="RATE", help="the confirmed success rate without which a run is censored (default 0.8)")  # fmt: skip
    curves.set_defaults(run=_curves)


def _site(args: argparse.Namespace) -> int:
    """Exit code 1 where submissions were left out."""
    from autoenvbench.publish.site import write_site

    files, broken = write_site(args.dir, args.out, args.run_dirs)
    for name, reason in broken.items():
        print(visible(f"autoenvbench: left out {name}: {reason}"), file=sys.stderr)
    print(visible(f"{len(files)} files; open {args.out / 'index.html'}"))
    return 1 if broken else 0


def _curves(args: argparse.Namespace) -> None:
    from autoenvbench.publish.write_curves import write_curves

    for path in write_curves(args.run_dirs, args.out, args.to):
        print(visible(str(path)))
