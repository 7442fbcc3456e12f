"""`aeb job` and `aeb sweep`: the verbs of the queue (`jobs`). The station is not asked."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from autoenvbench.errors import UserError
from autoenvbench.record.clock import parse_duration
from autoenvbench.workspace import jobs
from autoenvbench.workspace.bundling import git

Verb = Callable[..., argparse.ArgumentParser]
_AFTER = "; the command comes last, after --"


def add(verb: Verb, common: argparse.ArgumentParser) -> None:
    """Make them known. `verb` adds one to `aeb`: (name, run, help)."""
    job = verb(
        "job", None, "long work in the background: a queue that keeps every core (or GPU) busy, and survives the shell"
    )
    what = job.add_subparsers(title="what", required=True, metavar="start|list|tail|stop|wait")

    def part(name: str, run: Any, help: str) -> argparse.ArgumentParser:
        p = what.add_parser(name, parents=[common], help=help, description=help)
        p.set_defaults(run=run)
        return p

    start = part("start", _start, "queue a command" + _AFTER)
    start.add_argument("name", help="letters, digits, dashes and underscores")
    _command(start)
    part("list", _list, "all jobs, or some, with how they stand and what they printed last").add_argument("names", nargs="*", metavar="NAME", help="or a pattern, such as 'lr-*'")  # fmt: skip
    tail = part("tail", _tail, "the last lines that a job printed")
    tail.add_argument("name")
    tail.add_argument("-n", type=int, default=20, metavar="LINES", help="default 20")
    part("stop", _stop, "end jobs, and let none that waits begin").add_argument("names", nargs="+", metavar="NAME")
    wait = part("wait", _wait, "until these jobs have ended; exit code 1 if one of them failed or is not done")
    wait.add_argument("names", nargs="+", metavar="NAME")
    wait.add_argument("--most", default="10m", metavar="TIME", help="default 10m")
    sweep = verb("sweep", _sweep, "queue a command once for each combination of values" + _AFTER)
    sweep.add_argument("name", help="its jobs are NAME-1, NAME-2, ...; {name} in the command is the job's own")
    sweep.add_argument(
        "--over", action="append", default=[], metavar="KEY=V1,V2", help="values that {KEY} in the command takes"
    )
    _command(sweep)


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is for `aeb`, and the command behind --."""
    at = argv.index("--") if argv[:1] in (["job"], ["sweep"], ["learn"]) and "--" in argv else len(argv)
    return list(argv[:at]), list(argv[at + 1 :])


def _command(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gpu", action="store_true", help="one at a time on each GPU, of which it sees that one alone")
    parser.usage = parser.format_usage().removeprefix("usage: ").rstrip() + " -- COMMAND"


def _start(client: Any, args: argparse.Namespace) -> tuple[Any, str]:
    job = jobs.start(_here(), args.name, args.command, gpu=args.gpu)
    return job.status(), f"{job.name} is queued: aeb job list, aeb job tail {job.name}"


def _sweep(client: Any, args: argparse.Namespace) -> tuple[Any, str]:
    made = jobs.sweep(_here(), args.name, args.command, args.over, gpu=args.gpu)
    return [job.status() for job in made], f"{len(made)} jobs are queued: aeb job list '{args.name}-*'"


def _list(client: Any, args: argparse.Namespace) -> tuple[Any, str]:
    rows = [{**job.status(), "last": _last(job)} for job in jobs.listed(_here(), args.names)]
    return rows, _table(rows) or "no jobs yet: aeb job start NAME -- COMMAND"


def _tail(client: Any, args: argparse.Namespace) -> tuple[Any, str]:
    if args.n < 1:
        raise UserError("-n is a number of lines, from 1 on")
    (job, *others) = jobs.listed(_here(), [args.name])
    if others:
        raise UserError(f"{args.name} fits {1 + len(others)} jobs; name one")
    text = job.tail(args.n)
    return {**job.status(), "log": text}, text


def _stop(client: Any, args: argparse.Namespace) -> tuple[Any, str]:
    rows = [job.status() for job in jobs.stop(_here(), args.names)]
    return rows, "\n".join(f"{row['name']} is stopped" for row in rows) or "they had ended already: aeb job list"


def _wait(client: Any, args: argparse.Namespace) -> tuple[Any, str]:
    rows = [{**job.status(), "last": _last(job)} for job in jobs.wait(_here(), args.names, parse_duration(args.most))]
    return {"jobs": rows, "all_done": all(row["state"] == "done" for row in rows)}, _table(rows)


def _here() -> Path:
    return Path(git(Path.cwd(), "rev-parse", "--show-toplevel"))


def _last(job: jobs.Job) -> str:
    try:
        return job.tail(1)[:200]
    except UserError:
        return ""


def _table(rows: list[dict[str, Any]]) -> str:
    width = max((len(row["name"]) for row in rows), default=0)
    lines = []
    for row in rows:
        values = " ".join(f"{key}={value}" for key, value in row["values"].items())
        lines.append(
            f"{row['name']:<{width}}  {row['words']}"
            + (f"  [{values}]" if values else "")
            + (f"  {row['last']}" if row["last"] else "")
        )
    return "\n".join(lines)
