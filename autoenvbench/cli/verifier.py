"""`autoenvbench verifier ...`: how far a station's verdicts can be trusted. Parses, calls one function, prints."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import Any

from autoenvbench.cli import arguments
from autoenvbench.text import visible


def add_parser(subparsers: Any) -> None:
    """Add `verifier` to the command line's commands."""
    parser = subparsers.add_parser("verifier", help="audit the verifier of a real station, or its twin, and certify it")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    audit = actions.add_parser(
        "audit", help="judge scenes of known truth: confusion table, bounds, certificate; goes on where it was"
    )
    audit.add_argument("env", metavar="ID")
    audit.add_argument(
        "-n", type=arguments.whole(1, 1_000_000), default=1000, metavar="N", help="scenes (default 1000)"
    )
    audit.add_argument(
        "--labels",
        type=arguments.path,
        metavar="DIR",
        help="clips of real scenes with labels.csv, in place of a twin's scenes",
    )
    audit.add_argument(
        "--draw-twins", action="store_true", help="on twins drawn for it, not the station's own: certifies no station"
    )
    audit.add_argument(
        "--out", type=arguments.path, default=Path("verifier_audit"), metavar="DIR", help="default verifier_audit/"
    )
    audit.add_argument("--json", action="store_true", help="print the certificate")
    audit.set_defaults(run=_audit)

    label = actions.add_parser(
        "label", help="film the scene as it is now, with your word on what it is, for `audit --labels`"
    )
    label.add_argument("env", metavar="ID")
    label.add_argument(
        "--clips", type=arguments.path, required=True, metavar="DIR", help="the folder that the clip is added to"
    )
    label.add_argument("--name", required=True, metavar="CLIP")
    label.add_argument("--success", choices=("yes", "no"), required=True, help="by measure, not by the verifier")
    label.add_argument(
        "--margin-mm", type=arguments.real(-1e4, 1e4), metavar="MM", help="from turning; negative for a failure"
    )
    label.add_argument("--disturbed-by", default="none", metavar="WHAT", help="light, hand, glare, ... (default none)")
    label.set_defaults(run=_label)

    show = actions.add_parser("show", help="whether a station's verifier is certified, and if not why")
    show.add_argument("env", metavar="ID")
    show.set_defaults(run=_show)
    for each in (audit, label, show):
        each.add_argument("--env-arg", action="append", default=[], metavar="NAME=VALUE", dest="env_args",
                          help="an argument of the environment, such as station=my_station.yaml (repeatable)")  # fmt: skip


def _audit(args: argparse.Namespace) -> None:
    from autoenvbench.make_env import parse_env_args
    from autoenvbench.study.verifier_audit import audit, table

    def progress(case: Any, planned: int) -> None:
        wrong = case.verdict is not None and case.verdict != case.truth
        if wrong or (case.case + 1) % 50 == 0:
            said = {None: "abstained", True: "success", False: "failure"}[case.verdict]
            print(visible(f"case {case.case + 1} of {planned} ({case.perturbation}): {said}, in truth a "
                          f"{'success' if case.truth else 'failure'} by {case.margin_mm} mm"), flush=True)  # fmt: skip

    found = audit(
        args.env, parse_env_args(args.env_args), out=args.out, n=args.n, labels=args.labels, draw_twins=args.draw_twins,
        on_case=(lambda case, planned: None) if args.json else progress,
    )  # fmt: skip
    print(found.model_dump_json(indent=1) if args.json else "\n".join(visible(line) for line in table(found)))


def _label(args: argparse.Namespace) -> None:
    from autoenvbench.make_env import parse_env_args
    from autoenvbench.study.verifier_audit import label

    margin = "" if args.margin_mm is None else str(args.margin_mm)
    given = label(
        args.env, parse_env_args(args.env_args), args.clips, [args.name, args.success, margin, args.disturbed_by]
    )  # fmt: skip
    print(visible(f"{args.clips / given.clip} is a {'success' if given.success else 'failure'}"))


def _show(args: argparse.Namespace) -> None:
    from autoenvbench.make_env import make_env, parse_env_args
    from autoenvbench.station.verifiers import verifier_of

    with contextlib.closing(make_env(args.env, parse_env_args(args.env_args))) as env:
        found = verifier_of(env)
    if found is None:
        print(f"{args.env} judges by what its simulator knows: there is nothing to certify")
    else:
        print("\n".join(visible(line) for line in found.problems) or visible(f"certified for station {found.name}"))
