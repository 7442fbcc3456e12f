"""`aeb peers`, `show`, `adopt` and `learned`: the verbs by which members of a run learn from one another."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

from autoenvbench.record.clock import format_duration
from autoenvbench.record.text_limits import MAX_DIFF
from autoenvbench.station.client import StationClient
from autoenvbench.workspace.bundling import git

Verb = Callable[..., argparse.ArgumentParser]


def add(verb: Verb) -> None:
    """Make them known. `verb` adds one to `aeb`: (name, run, help)."""
    verb("peers", _peers, "the run's members: newest idea, confirmed best, robot time")
    show = verb("show", _show, "an idea: author, parents, tests, what it taught, and its changes")
    show.add_argument("idea", metavar="I7")
    show.add_argument("--no-diff", dest="diff", action="store_false", help="leave out its changes, to read less")
    adopt = verb(
        "adopt",
        _adopt,
        "take another's idea over into HEAD, as a commit that says so; it has no score until you evaluate it",
    )
    adopt.add_argument("idea", metavar="I7")
    adopt.add_argument("--pick", action="store_true", help="only the change of its last commit, not all that led to it")
    adopt.add_argument("--theirs", action="store_true", help="where both changed the same lines, take the other's")
    adopt.add_argument("--checkpoints", action="store_true", help="its checkpoints as well, into checkpoints/")
    learned = verb("learned", _learned, "what an idea of yours taught, in a paragraph, for your peers and the record")
    learned.add_argument("idea", metavar="I7")
    learned.add_argument("text")


def _peers(client: StationClient, args: argparse.Namespace) -> tuple[Any, str]:
    rows = client.get("/peers")
    lines = [f"{'member':<18}{'confirmed best':<28}{'robot time':<12}{'ideas':>5}  newest idea"]
    for row in rows:
        newest = row["newest_idea"]
        lines.append(
            f"{row['agent'] + (' (you)' if row['you'] else ''):<18}{_best(row):<28}{format_duration(row['robot_s']):<12}{row['ideas']:>5}  "
            + (f"{newest['id']} {newest['title']}" if newest else "none yet")
        )
    return rows, "\n".join(lines)


def _best(row: dict[str, Any]) -> str:
    best = row["best"]
    if best is None:
        return "none yet"
    return f"{100 * best['success_rate']:.0f} % of {best['episodes']}" + (
        f", {row['best_idea']}" if row["best_idea"] else ""
    )


def _show(client: StationClient, args: argparse.Namespace) -> tuple[Any, str]:
    idea = client.get(f"/ideas/{quote(args.idea, safe='')}" + ("" if args.diff else "?diff=no"))
    from_ = [
        *([f"refines {idea['parent']}"] if idea["parent"] else []),
        *(f"inspired by {other}" for other in idea["inspired_by"]),
    ]
    lines = [
        f"{idea['id']}  {idea['title']}",
        f"author        {idea['agent']}, {format_duration(idea['t_run'])} into the run",
    ]
    lines += [f"regime        {idea['regime']}"] if idea["regime"] else []
    lines += [f"from          {', '.join(from_)}"] if from_ else []
    for commit in idea["commits"]:
        tests = ", ".join(f"{e['id']} {e['successes']}/{e['episodes']}" for e in commit["evaluations"])
        confirmed = commit["confirmed"]
        rate = (
            f"confirmed {100 * confirmed['success_rate']:.0f} % of {confirmed['episodes']}"
            if confirmed
            else "not confirmed"
        )
        lines.append(f"commit        {commit['commit'][:12]}  {rate}  ({tests})")
        lines += [f"              has {s['commit'][:12]} of {s['agent']}{' (' + s['idea'] + ')' if s['idea'] else ''}: {_HOW[s['how']]}"
                  for s in commit["sources"]]  # fmt: skip
    lines += [] if idea["commits"] else ["commit        none of it is tested yet"]
    lines.append(f"learned       {idea['learned'] or 'nothing written yet'}")
    if "diff" in idea:
        cut = len(idea["diff"]) > MAX_DIFF
        lines += ["", f"changes of {idea['commit'][:12]} against {idea['against']}:", idea["diff"][:MAX_DIFF]]
        lines += [f"... cut here; aeb adopt {idea['id']} brings all of it"] if cut else []
    return idea, "\n".join(lines)


_HOW = {"merge": "merged", "patch": "the same change", "tree": "the same files", "declared": "as its message says"}


def _adopt(client: StationClient, args: argparse.Namespace) -> tuple[Any, str]:
    from autoenvbench.workspace import sharing

    workspace = Path(git(Path.cwd(), "rev-parse", "--show-toplevel"))
    taken = sharing.adopt(
        client, workspace, args.idea, pick=args.pick, theirs=args.theirs, checkpoints=args.checkpoints
    )
    lines = [f"{taken.idea} of {taken.agent} ({taken.commit[:12]}) is in HEAD now: {taken.head[:12]}"]
    lines += [f"changed       {', '.join(taken.files[:10])}{' ...' if len(taken.files) > 10 else ''}" if taken.files else "changed       nothing that was not here"]  # fmt: skip
    if taken.left_out:
        lines.append(
            f"left out      {', '.join(taken.left_out[:10])}: what steers agents or their tools stays your own"
        )
    lines += ["checkpoints   are in checkpoints/"] if taken.checkpoints else []
    lines.append(f'what to do    read it, then: aeb evaluate --idea "what you expect of it" (its score is not yours until you have measured it), or '
                 f'aeb idea "..." --parent {taken.idea}')  # fmt: skip
    return asdict(taken), "\n".join(lines)


def _learned(client: StationClient, args: argparse.Namespace) -> tuple[Any, str]:
    return client.post(f"/ideas/{quote(args.idea, safe='')}/learned", {"text": args.text}), f"{args.idea}: written down"
