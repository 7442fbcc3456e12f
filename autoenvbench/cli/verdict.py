"""`autoenvbench verdict`: how an episode was set up and judged, in words and on a sheet of pictures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from autoenvbench.cli import arguments
from autoenvbench.text import short, visible


def add_parser(subparsers: Any) -> None:
    """The command's arguments."""
    parser = subparsers.add_parser("verdict", help="what an episode's reset and verdict saw, and what was decided")
    parser.add_argument("run_dir", type=arguments.path, metavar="RUN")
    parser.add_argument("episode", metavar="EPISODE", help="as its file is called: E3-7, held-out-12, held-out-12.1 (its second attempt)")  # fmt: skip
    parser.add_argument("--out", type=arguments.path, metavar="FILE", help="the sheet of its pictures (default EPISODE.verdict.png)")  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print what is on record, and write the sheet where there are pictures."""
    from autoenvbench.study.verdict import verdict_of, write_sheet

    found = verdict_of(args.run_dir, args.episode)
    p = found.event
    how = "success" if p.success else f"failure ({p.reason or 'unknown'})"
    print(f" episode           {visible(args.episode)}: {short(how)}, score {p.score:.3f}, {p.steps} steps, {p.purpose} of {p.commit[:12]}")  # fmt: skip
    print(
        f" cell              {visible(p.cell)}, ready after {p.reset_attempts} reset{'s' if p.reset_attempts != 1 else ''}"
    )
    for what in (p.detail, *p.violations[:10]):
        if what:
            print(f" said              {short(what)}")
    for asked in found.asked:
        print(f" person asked      {short(asked)}")
    for name, value in found.said.items():
        print(f" {short(name):17} {value:.4g}")
    if not found.pictures:
        print(" pictures          none are kept with it")
        return
    path = args.out or Path(f"{args.episode}.verdict.png")
    write_sheet(found.pictures, path)
    print(f" pictures          {visible(str(path))}: {', '.join(visible(words) for words, _ in found.pictures)}")
