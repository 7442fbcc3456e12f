"""`autoenvbench leaderboard`: pack a run, check and verify archives and rows, add results, build the boards' pages."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from autoenvbench.cli import arguments
from autoenvbench.errors import UserError
from autoenvbench.text import visible


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    board = subparsers.add_parser(
        "leaderboard", help="pack, check, add and verify results, and build the boards' tables"
    )
    actions = board.add_subparsers(dest="action", required=True, metavar="pack|check|add|verify|build")
    pack = actions.add_parser("pack", help="make a run's submission archive: its result, ledger and answer in one file")
    pack.add_argument("run_dir", type=arguments.path, metavar="RUN")
    pack.add_argument("--out", type=arguments.path, metavar="FILE", help="default RUN_ID.tar")
    pack.add_argument(
        "--answer-url", metavar="URL", help="put the answer into a file of its own, beside FILE.tar as FILE.answer.tar, which will be at this address"
    )  # fmt: skip
    check = actions.add_parser("check", help="say what is wrong with an archive or missing in it; nothing of it is run")
    check.add_argument("archive", type=arguments.path, metavar="FILE")
    verify = actions.add_parser(
        "verify",
        help="run a row's answer again, on the run's own starts and on fresh ones, and write the verdict beside it",
    )
    verify.add_argument("sources", nargs="*", metavar="FILE|ROW", help="an archive, or a row that has one")
    verify.add_argument("--all", action="store_true", help="every row of the board")
    verify.add_argument("--dry-run", action="store_true", help="print the verdict, and write nothing")
    verify.add_argument(
        "--private-stations", type=arguments.path, metavar="FILE", help="those of the run, if it had any"
    )
    verify.add_argument("--sandbox", choices=("bwrap", "docker"), help="the answer's cage (default bwrap)")
    for action in (check, verify):
        action.add_argument(
            "--answer",
            type=arguments.path,
            metavar="FILE",
            help="the answer's own file, where the archive points to one",
        )
    add = actions.add_parser("add", help="check a run's result and file it as a submission")
    add.add_argument("source", type=arguments.path, metavar="RUN", help="a run's folder, or a score's JSON file")
    build = actions.add_parser("build", help="write the tables from the submissions")
    for action in (add, build, verify):
        action.add_argument("--dir", type=arguments.path, default=Path("leaderboards"), help="default leaderboards/")
    for action, run in ((pack, _pack), (check, _check), (verify, _verify), (add, _add), (build, _build)):
        action.set_defaults(run=run)


def _pack(args: argparse.Namespace) -> None:
    from autoenvbench.verify.pack import pack

    for path in pack(args.run_dir, args.out, args.answer_url):
        print(visible(str(path)))


def _check(args: argparse.Namespace) -> int:
    """Exit code 1 where anything is wrong. What is missing leaves a row self-reported, as some answers' rows must be."""
    from autoenvbench.verify.examine import examine_file

    found = examine_file(args.archive, args.answer)
    for words in found.remarks:
        print(visible(f"autoenvbench: {words}"), file=sys.stderr)
    for what, reasons in (("wrong", found.faults), ("missing", found.missing)):
        for words in reasons:
            print(visible(f"{what}: {words}"))
    if found.faults:
        return 1
    if found.missing:
        print("nothing is wrong; with what is missing, the row stands as self-reported, which takes no rank")
        return 0
    print(f"nothing is wrong or missing; next: autoenvbench leaderboard verify {visible(str(args.archive))}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    """Exit code 1 where a row was rejected, or of several could not be verified, or one that was named is not verified."""
    from autoenvbench.cli.printing import episode_progress
    from autoenvbench.sandbox.cage import choose_sandbox
    from autoenvbench.verify.verify import rows, verify

    if args.all == bool(args.sources):
        raise UserError("name archives or rows to verify, or say --all")
    sandbox, _ = choose_sandbox(args.sandbox, fallback=False)
    verdicts: Counter[str] = Counter()
    sources = rows(args.dir) if args.all else args.sources
    for source in sources:
        try:
            with episode_progress(None, visible(source)) as advance:
                found = verify(
                    source, args.dir, sandbox=sandbox, answer=args.answer, private=args.private_stations, write=not args.dry_run, on_episode=advance,
                )  # fmt: skip
        except UserError as error:
            if not args.all and len(sources) == 1:
                raise
            print(visible(f"{source}: could not be verified"), visible(f"    {error}"), sep="\n", flush=True)
            verdicts["could not be verified"] += 1
            continue
        print(visible(f"{found.run_id}: {found.verdict}"), flush=True)
        for words in [*found.reasons, *map(str, found.files)]:
            print(visible(f"    {words}"), flush=True)
        verdicts[found.verdict] += 1
    if not verdicts:
        raise UserError(f"there are no rows in {args.dir}; add one: autoenvbench leaderboard add RUN")
    total = verdicts.total()
    print(
        f"{verdicts['verified']} of {total} verified: "
        + ", ".join(f"{n} {verdict}" for verdict, n in verdicts.most_common())
    )
    open_rows = (
        total - verdicts["verified"] if args.sources else verdicts["rejected"] + verdicts["could not be verified"]
    )
    return 1 if open_rows else 0


def _add(args: argparse.Namespace) -> None:
    from autoenvbench.publish import leaderboard

    added = leaderboard.add(args.source, args.dir)
    for remark in added.remarks:
        print(visible(f"autoenvbench: {remark}"), file=sys.stderr)
    print(added.path)


def _build(args: argparse.Namespace) -> int:
    """Exit code 1 where submissions were left out."""
    from autoenvbench.publish import leaderboard

    pages, broken = leaderboard.build(args.dir)
    for path in pages:
        print(path)
    for name, reason in broken.items():
        print(visible(f"autoenvbench: left out {name}: {reason}"), file=sys.stderr)
    return 1 if broken else 0
