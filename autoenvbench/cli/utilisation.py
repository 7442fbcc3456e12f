"""`autoenvbench utilisation`: MRU and MTU of a run, a log or a LeRobotDataset."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from autoenvbench.cli import arguments
from autoenvbench.text import visible


def add_parser(subparsers: Any) -> None:
    """The command's arguments."""
    parser = subparsers.add_parser(
        "utilisation",
        help="how much robots worked (MRU) and how fast tokens were spent (MTU): of a run, your own log, a LeRobotDataset",
    )
    parser.add_argument("log", type=arguments.path, metavar="LOG",
                        help="a .csv or .jsonl file (examples/robot_log.py writes one), a run's folder, or a LeRobotDataset's")  # fmt: skip
    parser.add_argument("--robots", type=arguments.whole(1, 100_000), metavar="N", help="that there are, where the log names fewer")  # fmt: skip
    parser.add_argument("--wall", metavar="TIME", help="the wall-clock, like 8h or 90m (default: the log's sessions, or its first time to its last)")  # fmt: skip
    parser.add_argument("--out", type=arguments.path, default=Path("utilisation.svg"), metavar="FILE", help="the timeline (default utilisation.svg)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Measure, draw and print."""
    from autoenvbench.publish.timeline import log_of, write_timeline
    from autoenvbench.record.clock import parse_duration

    log = log_of(args.log, robots=args.robots, wall_s=None if args.wall is None else parse_duration(args.wall))
    write_timeline(log, args.out)
    if args.json:
        use = log.use
        print(json.dumps({
            "wall_s": use.wall_s, "robots": use.robots, "mru": use.mru, "mru_of_robots": use.of_robots, "busy_s": use.busy_s,
            "seconds_by_reason": log.seconds_by_reason(), "tokens": use.tokens, "mtu": use.mtu, "remarks": log.remarks,
        }, indent=1))  # fmt: skip
    else:
        print("\n".join(visible(line) for line in lines_of(log)))
        print(f" timeline          {visible(str(args.out))}")


def lines_of(log: Any) -> list[str]:
    """What the command prints of a `RobotLog`."""
    from autoenvbench.record.clock import format_duration
    from autoenvbench.record.statistics import percent
    from autoenvbench.text import short

    use = log.use
    whole = use.robots * use.wall_s
    lines = [
        f" wall-clock        {format_duration(use.wall_s)}"
        + (f", {use.robots} robot{'s' * (use.robots != 1)}" if use.robots else "")
    ]
    if use.mru is not None:
        each = [f"{short(name, 24)} {percent(share)}" for name, share in use.of_robots.items()]
        lines.append(f" MRU               {percent(use.mru)}" + (f"   ({', '.join(each[:12])}{' ...' if len(each) > 12 else ''})" if len(each) > 1 else ""))  # fmt: skip
        reasons = [
            f"{short(name, 24)} {percent(spent / whole)}" for name, spent in list(log.seconds_by_reason().items())[:12]
        ]
        lines += [f" of that           {', '.join(reasons)}"] if reasons else []
    lines.append(f" MTU               {use.mtu:,.1f} headline tokens a minute   ({use.tokens:,} in {len(log.calls):,} calls)" if len(log.calls) else " MTU               no calls to a model")  # fmt: skip
    return lines + [f" note              {remark}" for remark in log.remarks]
