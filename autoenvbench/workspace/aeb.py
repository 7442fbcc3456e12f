"""`aeb`: an agent's whole interface to the world. Every verb has --json.

Exit codes: 0 done, 2 wrong use, 3 budget over, 4 robot busy, 5 policy failed. Messages say what to do next.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from autoenvbench.errors import UserError
from autoenvbench.record.clock import format_duration
from autoenvbench.station.client import StationClient
from autoenvbench.text import visible
from autoenvbench.workspace.bundling import git, send_head

#: Reasons that lie in the policy's code and not in its skill: when every episode ends so, there is a bug to mend.
_BROKEN = ("policy_load_error", "policy_error", "policy_exited", "bad_action", "protocol_error")


def main(argv: list[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    args = _parser().parse_args(argv)
    try:
        result, text = args.run(StationClient.from_home(), args)
    except UserError as error:
        if args.json:
            print(json.dumps({"error": str(error), "exit_code": error.exit_code}))
        print(visible(f"aeb: {error}", lines=True), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    print(json.dumps(result, indent=1) if args.json else visible(text, lines=True))
    failures = result.get("failures", {}) if isinstance(result, dict) else {}
    broken = sum(count for reason, count in failures.items() if reason.startswith(_BROKEN))
    return 5 if broken and broken == result["episodes"] else 0


# -- verbs -----------------------------------------------------------------------------------------------------------
def _status(client: StationClient, args: argparse.Namespace) -> tuple[Any, str]:
    s = client.get("/status")
    lines = [
        f"environment   {s['env']}  (track {s['track']}, pace {s['pace']:g})",
        f"budget left   {format_duration(s['budget_left_s'])} of {format_duration(s['budget_s'])}",
        f"robot         {s['robot']}",
        f"best          {_rate(s['best'])}  (confirmed)",
        f"unconfirmed   {_rate(s['best_unconfirmed'])}",
        f"submitted     {(s['submitted'] or 'nothing yet: the confirmed best will be scored')[:60]}",
        *(f"idea          {idea}" for idea in s["ideas"][-10:]),
    ]
    return s, "\n".join(lines)


def _idea(client: StationClient, args: argparse.Namespace) -> tuple[Any, str]:
    idea = client.post("/ideas", {"title": args.title, "parent": args.parent, "inspired_by": args.inspired_by,
                                  "regime": args.regime})  # fmt: skip
    return idea, f"{idea['id']} registered; evaluations count towards the newest idea unless you say --idea"


def _practice(client: StationClient, args: argparse.Namespace) -> tuple[Any, str]:
    head = send_head(client, _workspace())
    body = {"digest": head.digest, "n": args.n, "video": args.video, "interactive": args.interactive}
    if args.seed is not None:
        body["seed"] = args.seed
    result = client.job("/practice", body, _progress(args))
    where = [f"trajectories  {result['trajectories']}", *(f"video         {v}" for v in result["videos"])]
    return result, "\n".join([_table(result), *where])


def _evaluate(client: StationClient, args: argparse.Namespace) -> tuple[Any, str]:
    head = send_head(client, _workspace())
    result = client.job("/evaluate", {"digest": head.digest, "n": args.n, "idea": args.idea}, _progress(args))
    text = _table(result)
    if confirmation := result.get("confirmation"):
        text += f"\nThis beat the best so far, so it was confirmed on fresh starts:\n{_table(confirmation)}"
    elif known := result.get("candidate"):
        text += f"\nconfirmed already, with the same files: now {100 * known['success_rate']:.0f} % of {known['episodes']} fresh episodes"
    return result, text


def _submit(client: StationClient, args: argparse.Namespace) -> tuple[Any, str]:
    head = send_head(client, _workspace())
    return client.post("/submit", {"digest": head.digest}), (
        f"{head.commit[:12]} is your answer now; submit again to replace it. It will be scored on held-out starts."
    )


def _episodes(client: StationClient, args: argparse.Namespace) -> tuple[Any, str]:
    query = f"/episodes?limit={args.limit}" + (f"&evaluation={args.evaluation}" if args.evaluation else "")
    rows = client.get(query)
    lines = [f"{'eval':<6}{'purpose':<10}{'#':>4}  {'commit':<9}{'ok':<4}{'score':>6}  {'steps':>5}  stage, reason"]
    for r in rows:
        lines.append(
            f"{r['evaluation']:<6}{r['purpose']:<10}{r['index']:>4}  {r['commit'][:8]:<9}{'yes' if r['success'] else '-':<4}"
            f"{r['score']:>6.2f}  {r['steps']:>5}  {r['stage']}{', ' + r['reason'] if r['reason'] else ''}"
        )
        if r["detail"]:
            lines.append("      " + r["detail"].strip().replace("\n", "\n      "))
    return rows, "\n".join(lines if rows else ["no episodes yet: aeb practice -n 5"])


def _stop(client: StationClient, args: argparse.Namespace) -> tuple[Any, str]:
    return client.stop(), "stopped; the episode that was under way is over, as your outcome"


def _note(client: StationClient, args: argparse.Namespace) -> tuple[Any, str]:
    return client.post("/notes", {"text": args.text}), "noted"


# -- parts -----------------------------------------------------------------------------------------------------------
def _workspace() -> Path:
    return Path(git(Path.cwd(), "rev-parse", "--show-toplevel"))


def _progress(args: argparse.Namespace) -> Any:
    def show(episode: dict[str, Any]) -> None:
        if not args.json:
            mark = "success" if episode["success"] else f"{episode['stage']}: {episode['reason']}"
            line = f"  {episode['purpose']} {episode['index']:>4}  {episode['steps']:>4} steps  {mark}"
            print(visible(line), flush=True)

    return show


def _table(r: dict[str, Any]) -> str:
    lines = [
        f"{r['evaluation']}  {r['commit'][:8]}  {r['successes']}/{r['episodes']} succeeded  "
        f"({100 * r['success_rate']:.0f} %, 95 % interval {100 * r['wilson95'][0]:.0f} to {100 * r['wilson95'][1]:.0f} %), "
        f"score {r['score']:.2f}"
    ]
    lines += [f"failed        {count} x {reason}" for reason, count in r["failures"].items()]
    if r["stages"]:
        lines.append("last stage    " + ", ".join(f"{stage or '-'} {count}" for stage, count in r["stages"].items()))
    if r["detail"]:
        lines.append("first error   " + r["detail"].strip().replace("\n", "\n              "))
    if r["aborted"]:
        lines.append("cut off before its end; the episode under way counts as a failure")
    return "\n".join(lines)


def _rate(best: dict[str, Any] | None) -> str:
    if best is None:
        return "none yet"
    return f"{100 * best['success_rate']:.0f} % of {best['episodes']} episodes, commit {best['commit'][:8]}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="aeb", description="Your interface to the robot station. Start with TASK.md.")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON object")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    def verb(name: str, run: Any, help: str) -> argparse.ArgumentParser:
        p = verbs.add_parser(name, parents=[common], help=help, description=help)
        p.set_defaults(run=run)
        return p

    verb("status", _status, "budget left, robot free or busy, best so far")
    idea = verb("idea", _idea, "register a hypothesis before you test it")
    idea.add_argument("title")
    idea.add_argument("--parent", metavar="I3", help="the idea this one refines")
    idea.add_argument("--inspired-by", metavar="I7", action="append", default=[], help="another's idea you build on")
    idea.add_argument("--regime", help="heuristic, tools, bc, offline-rl, online-rl or mixed")
    practice = verb("practice", _practice, "run HEAD on public starts; trajectories land in data/practice")
    practice.add_argument("-n", type=int, default=5, metavar="N", help="episodes (default 5)")
    practice.add_argument("--seed", type=int, help="first practice start (default: the next unused one)")
    practice.add_argument(
        "--interactive", action="store_true", help="let a script use get_task_info, reset_env, reset_to_initial"
    )
    practice.add_argument("--video", action="store_true", help="film the first success and the first failure")
    evaluate = verb("evaluate", _evaluate, "score HEAD on fresh secret starts; the best is confirmed at once")
    evaluate.add_argument("-n", type=int, default=20, metavar="N", help="episodes (default 20, the least that counts)")
    evaluate.add_argument("--idea", metavar="I7", help="the idea under test (default: the newest)")
    verb("submit", _submit, "make HEAD your answer, to be scored on held-out starts at the end")
    episodes = verb("episodes", _episodes, "judged episodes with stage, reason and error")
    episodes.add_argument("evaluation", nargs="?", metavar="E4", help="only this batch")
    episodes.add_argument("--limit", type=int, default=50)
    verb("stop", _stop, "stop a real station's arms at once; the episode under way counts as it stands")
    note = verb("note", _note, "write a remark into the run's record")
    note.add_argument("text")
    return parser


if __name__ == "__main__":
    sys.exit(main())
