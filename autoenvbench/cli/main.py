"""The `autoenvbench` command: parses, calls one function, prints. No logic."""

from __future__ import annotations

import argparse
import errno
import json
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

from autoenvbench.cli import arguments
from autoenvbench.cli import station as station_cli
from autoenvbench.errors import RUN_VOID, UserError
from autoenvbench.text import visible

#: What the system answers where a name was wrong; anything else (a full disk, a broken device) is not the user's doing.
_USERS = (errno.ENOENT, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP,
          errno.ENAMETOOLONG, errno.EADDRINUSE, errno.EINVAL)  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    try:
        args = _parser().parse_args(argv)
        return int(args.run(args) or 0)
    except UserError as error:
        print(visible(f"autoenvbench: {error}", lines=True), file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # `autoenvbench ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, sqlite3.Error) as error:  # a full disk, a vanished folder: say which, and what is kept
        print("autoenvbench: " + "; ".join([str(error), *getattr(error, "__notes__", ())]), file=sys.stderr)
        return 2 if getattr(error, "errno", None) in _USERS else 1
    except KeyboardInterrupt:
        print("autoenvbench: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("AUTOENVBENCH_TRACEBACK"):
            raise
        print(
            f"autoenvbench: this is a bug of ours ({type(error).__name__}: {error}). Please report it with what "
            "AUTOENVBENCH_TRACEBACK=1 in front of the same command prints",
            file=sys.stderr,
        )
        return 70


# -- commands ------------------------------------------------------------------------------------------------------------
def _envs(args: argparse.Namespace) -> None:
    from autoenvbench.cli.printing import print_envs

    print_envs(as_json=args.json)


def _score(args: argparse.Namespace) -> int:
    from autoenvbench.cli.printing import episode_progress, print_score
    from autoenvbench.cli.run_arguments import parse_tools
    from autoenvbench.make_env import default_track, parse_env_args
    from autoenvbench.study.score import score

    sandbox = _policy_sandbox(args, args.policy)
    with episode_progress(args.n * args.attempts, f"{args.policy} on {args.env}") as advance:
        result = score(
            args.env, args.policy, args.n, env_kwargs=parse_env_args(args.env_arg), attempts=args.attempts,
            seed=args.seed, held_out_secret=args.held_out_secret, sandbox=sandbox,
            track=args.track or default_track(args.env),
            trajectories=args.trajectories, protocol=args.protocol, tools=parse_tools(args),
            tools_replay=str(args.tools_replay) if args.tools_replay else None, tools_url=args.base_url,
            on_episode=advance,
        )  # fmt: skip
    print_score(result, as_json=args.json)
    # A policy that cannot even be loaded is not a low score but a mistake to mend.
    return 5 if set(result["failures"]) == {"policy_load_error"} else 0


def _compare(args: argparse.Namespace) -> None:
    from autoenvbench.cli.printing import comparison_progress, print_comparison
    from autoenvbench.make_env import default_track, parse_env_args
    from autoenvbench.study.compare import compare

    with comparison_progress(args.n) as on_start:
        result = compare(
            args.env, (args.first, args.second), args.n, alpha=args.alpha, env_kwargs=parse_env_args(args.env_arg),
            seed=args.seed, sandbox=_policy_sandbox(args, args.first, args.second),
            track=args.track or default_track(args.env), on_start=on_start,
        )  # fmt: skip
    print_comparison(result, as_json=args.json)


def _policy_sandbox(args: argparse.Namespace, *policies: str) -> Any:
    """The cage that was asked for; none is needed where only our own policies run."""
    from autoenvbench.sandbox.cage import choose_sandbox

    if all(policy in ("reference", "naive", "random") for policy in policies):
        return "none"
    sandbox, notice = choose_sandbox(args.sandbox, fallback=False)
    if notice:
        print(f"autoenvbench: {notice}", file=sys.stderr)
    return sandbox


def _eval(args: argparse.Namespace) -> int:
    from autoenvbench.cli.progress import RunProgress
    from autoenvbench.cli.run_arguments import run_config_from_args
    from autoenvbench.research.run import research

    result = research(run_config_from_args(args), args.out, RunProgress())
    if args.json:
        print(json.dumps(result, indent=1))
    return _code(result)


def _code(result: dict[str, Any]) -> int:
    """A run that says nothing about its agent is not done: whoever started it in a script must notice."""
    return RUN_VOID if result["void_because"] else 0


def _pause(args: argparse.Namespace) -> None:
    from autoenvbench.research.run_dir import pause

    pause(args.run_dir)
    print(f"{args.run_dir} is paused; go on with: autoenvbench resume {args.run_dir}")


def _resume(args: argparse.Namespace) -> int:
    from autoenvbench.cli.progress import RunProgress
    from autoenvbench.research.run import resume

    result = resume(args.run_dir, RunProgress())
    if result is None:
        print(f"{args.run_dir} goes on")
        return 0
    return _code(result)


def _agents(args: argparse.Namespace) -> None:
    from autoenvbench.cli.printing import print_agents

    print_agents(as_json=args.json)


def _report(args: argparse.Namespace) -> None:
    from autoenvbench.publish.report import write_report

    print(write_report(args.run_dir, args.out))


def _ledger(args: argparse.Namespace) -> None:
    from autoenvbench.cli.printing import print_ledger

    print_ledger(args.run_dir, args.kind, args.csv, args.parquet)


def _leaderboard(args: argparse.Namespace) -> int:
    from autoenvbench.publish import leaderboard

    if args.action == "add":
        added = leaderboard.add(args.source, args.dir)
        for remark in added.remarks:
            print(visible(f"autoenvbench: {remark}"), file=sys.stderr)
        print(added.path)
        return 0
    pages, broken = leaderboard.build(args.dir)
    for path in pages:
        print(path)
    for name, reason in broken.items():
        print(visible(f"autoenvbench: left out {name}: {reason}"), file=sys.stderr)
    return 1 if broken else 0


def _tools(args: argparse.Namespace) -> None:
    from autoenvbench.cli.printing import print_tools
    from autoenvbench.cli.run_arguments import parse_tools
    from autoenvbench.make_env import parse_env_args

    print_tools(args.env, parse_env_args(args.env_arg), parse_tools(args))


def _ablate(args: argparse.Namespace) -> None:
    from autoenvbench.study.ablation import ablate

    for path in ablate(
        args.study, args.out, sandbox=args.sandbox, episodes=args.n, log=lambda text: print(text, file=sys.stderr)
    ):
        print(path)


def _setup(args: argparse.Namespace) -> None:
    from enpire_envs.remote.setup import check, kitchen_tasks, setup
    from enpire_envs.remote.venvs import SIMULATORS, SetupFailed

    try:
        if args.tasks:
            print("\n".join(kitchen_tasks()))
        elif args.name is None:
            for name in SIMULATORS:
                print(f"{name:<10} {check(name)}")
        else:
            setup(args.name, assets=args.assets, say=lambda text: print(text, flush=True))
    except SetupFailed as error:
        raise UserError(str(error)) from None


# -- arguments -----------------------------------------------------------------------------------------------------------
def _parser() -> argparse.ArgumentParser:
    parser = arguments.Parser(
        prog="autoenvbench",
        description="Coding agents against robot environments that reset and verify themselves.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    envs = commands.add_parser("envs", help="list the environments")
    envs.add_argument("--json", action="store_true")
    envs.set_defaults(run=_envs)

    tools = commands.add_parser("tools", help="list the tools that a script policy has in an environment")
    tools.add_argument("env", metavar="ID")
    tools.add_argument("--env-arg", action="append", default=[], metavar="KEY=VALUE", help="environment argument")
    _add_tools(tools)
    tools.set_defaults(run=_tools)

    setup = commands.add_parser("setup", help="install other simulators, in environments of their own")
    setup.add_argument("name", nargs="?", metavar="NAME", help="without it: say which there are, and what is installed")
    setup.add_argument(
        "--assets", type=arguments.path, metavar="FOLDER", help="the simulator's downloaded assets (it says where to get them)"
    )
    setup.add_argument("--tasks", action="store_true", help="list all kitchen tasks by name, where they are installed")
    setup.set_defaults(run=_setup)

    agents = commands.add_parser("agents", help="list the agents: version, whether they can run here, what is missing")
    agents.add_argument("--json", action="store_true")
    agents.set_defaults(run=_agents)

    score = commands.add_parser("score", help="score a policy folder, the reference policy or a random one")
    score.add_argument("--env", default="ENPIRE/PushT-v0", metavar="ID")
    score.add_argument("--policy", required=True, metavar="PATH|reference|naive|random|zero-shot|vla")
    score.add_argument("-n", type=arguments.episodes, default=100, metavar="N", help="starts (default 100)")
    score.add_argument("--attempts", type=arguments.attempts, default=1, metavar="K", help="episodes per start; 8 for pass@8")
    score.add_argument("--seed", type=arguments.seed, default=0)
    score.add_argument("--held-out-secret", metavar="HEX", help="replay the held-out starts of a finished run")
    score.add_argument("--env-arg", action="append", default=[], metavar="KEY=VALUE", help="environment argument")
    score.add_argument("--trajectories", type=arguments.path, metavar="DIR", help="keep every episode (demonstrations)")
    score.add_argument("--protocol", metavar="NAME", help="the first N starts of a fixed set that the task brings")
    score.add_argument("--base-url", metavar="URL", help="of the model behind vlm_query")
    _add_tools(score)
    _add_cage(score)
    score.add_argument("--json", action="store_true", help="print one JSON object")
    score.set_defaults(run=_score)

    versus = commands.add_parser(
        "compare", help="which of two policies is better: shared starts, a sequential test that stops when it knows"
    )
    versus.add_argument("first", metavar="A", help="a policy's folder, or reference, naive, random")
    versus.add_argument("second", metavar="B")
    versus.add_argument("--env", default="ENPIRE/PushT-v0", metavar="ID")
    versus.add_argument("-n", type=arguments.whole(1, 10_000), default=200, metavar="N", help="starts at most (default 200)")
    versus.add_argument("--alpha", type=arguments.real(1e-6, 0.5), default=0.05, metavar="P", help="chance of a false alarm (default 0.05)")
    versus.add_argument("--seed", type=arguments.seed, default=0)
    versus.add_argument("--env-arg", action="append", default=[], metavar="KEY=VALUE", help="environment argument")
    _add_cage(versus)
    versus.add_argument("--json", action="store_true", help="print one JSON object")
    versus.set_defaults(run=_compare)

    run = commands.add_parser("eval", help="let an agent improve a policy over a wall-clock budget, then score it")
    run.add_argument("--agent", default="codex", metavar="NAME",
                     help="see `autoenvbench agents`; also command:PROGRAM and replay:SCRIPT (default codex)")  # fmt: skip
    run.add_argument("--env", default="ENPIRE/PushT-v0", metavar="ID")
    run.add_argument("--budget", default="2h", metavar="TIME", help="research wall-clock, like 8h, 90m, 120s")
    run.add_argument("--seed", type=arguments.seed, default=0)
    run.add_argument("--out", type=arguments.path, default=Path("runs"), metavar="DIR", help="where the run's folder is made (default runs/)")
    run.add_argument("--model", metavar="NAME", help="the agent's model")
    run.add_argument("--effort", metavar="LEVEL", help="the model's reasoning effort, in the agent's own words")
    run.add_argument("--agent-args", default="", metavar="FLAGS", help="further flags of the agent's command line")
    run.add_argument("--base-url", metavar="URL", help="the model's provider, such as a local OpenAI-compatible server")
    run.add_argument(
        "--allow-hosted-tools", action="store_true", help="let the provider's own tools pass (web search, ...)"
    )
    run.add_argument("--token-budget", metavar="N", help="stop at so many tokens (fresh input + output), like 5M")
    run.add_argument("--cost-budget", type=arguments.real(0.01, 1e6), metavar="USD", help="stop at so many dollars by the price table")
    run.add_argument("--prices", type=arguments.path, metavar="FILE", help="your prices; see autoenvbench/data/prices.json")
    run.add_argument("--goal", metavar="GOAL", help='stop when reached: "streak>=50", "success>=0.95", "score>=0.9"')
    run.add_argument("--nudges", type=arguments.whole(0, 10_000), default=3, metavar="N",
                     help="send an agent that stopped early back to work; give up after N restarts without a new idea, commit or evaluation (default 3)")  # fmt: skip
    run.add_argument("--agent-memory", type=arguments.real(0.1, 1e5), metavar="GB", help="memory of the agent's cage (default 3/4 of all)")
    run.add_argument("--replay", metavar="FILE", help="serve the model from a script instead of a provider")
    run.add_argument("--pace", type=arguments.real(0, 1), metavar="X", help="1: the station runs in real time; 0: as fast as it can")
    run.add_argument("--env-arg", action="append", default=[], metavar="KEY=VALUE", help="environment argument")
    run.add_argument("--held-out", type=arguments.episodes, default=200, metavar="N", help="held-out episodes (default 200)")
    run.add_argument("--attempts", type=arguments.attempts, default=1, metavar="K", help="episodes per held-out start; 8 for pass@8")
    run.add_argument("--held-out-secret", metavar="HEX", help="draw starts from a known secret (unranked)")
    run.add_argument(
        "--regime", metavar="NAME", help="the only regime that the agent may work in: heuristic, tools, bc, ..."
    )
    _add_tools(run)
    _add_cage(run)
    run.add_argument("--json", action="store_true", help="print the result as JSON at the end")
    run.set_defaults(run=_eval)

    ablation = commands.add_parser(
        "ablate", help="vary one thing at a time on matched scenes: a table and a figure per axis"
    )
    ablation.add_argument("study", type=arguments.path, metavar="STUDY", help="a YAML file; see examples/ablation_vision.yaml")
    ablation.add_argument("-n", type=arguments.episodes, metavar="N", help="episodes of each level (default: the study's)")
    ablation.add_argument(
        "--out", type=arguments.path, default=Path("runs/ablations"), metavar="DIR", help="default runs/ablations/"
    )
    ablation.add_argument(
        "--sandbox", choices=("bwrap", "docker", "none"), help="default bwrap; refused where it is missing"
    )
    ablation.set_defaults(run=_ablate)

    station_cli.add_parser(commands)

    pause = commands.add_parser("pause", help="let a run that is under way stand still; the time does not count")
    pause.add_argument("run_dir", type=arguments.path, metavar="RUN")
    pause.set_defaults(run=_pause)

    resume = commands.add_parser("resume", help="go on with a run that was paused or interrupted")
    resume.add_argument("run_dir", type=arguments.path, metavar="RUN")
    resume.set_defaults(run=_resume)

    report = commands.add_parser("report", help="write a run's report as one HTML file")
    report.add_argument("run_dir", type=arguments.path, metavar="RUN")
    report.add_argument("--out", type=arguments.path, metavar="FILE", help="default RUN/report.html")
    report.set_defaults(run=_report)

    ledger = commands.add_parser("ledger", help="print a run's ledger")
    ledger.add_argument("run_dir", type=arguments.path, metavar="RUN")
    ledger.add_argument("--kind", action="append", default=[], metavar="KIND",
                        help="only events of this kind: episode, evaluation, tokens ... (repeatable)")  # fmt: skip
    ledger.add_argument("--csv", type=arguments.path, metavar="FILE", help="write a table instead, a column a field")
    ledger.add_argument("--parquet", type=arguments.path, metavar="FILE", help="the same as Parquet (needs pyarrow)")
    ledger.set_defaults(run=_ledger)

    board = commands.add_parser("leaderboard", help="add a result to the leaderboards, or build their tables")
    actions = board.add_subparsers(dest="action", required=True, metavar="add|build")
    add = actions.add_parser("add", help="check a run's result and file it as a submission")
    add.add_argument("source", type=arguments.path, metavar="RUN", help="a run's folder, or a score's JSON file")
    build = actions.add_parser("build", help="write the tables from the submissions")
    for action in (add, build):
        action.add_argument("--dir", type=arguments.path, default=Path("leaderboards"), help="default leaderboards/")
    board.set_defaults(run=_leaderboard)
    return parser


def _add_tools(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tool", action="append", default=[], metavar="KEY=VALUE",
                        help="of script policies: mode=interactive, vision=none, planner=false, width=640, vlm=MODEL ... (repeatable)")  # fmt: skip
    parser.add_argument(
        "--tools-replay", type=arguments.path, metavar="FILE", help="a script that stands in for the model behind vlm_query"
    )


def _add_cage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sandbox", choices=("bwrap", "docker", "none"), help="default bwrap; refused where it is missing"
    )
    parser.add_argument("--track", choices=("open", "station"),
                        help="station: the simulator is hidden from agent and policy (default open; station on -real ids)")  # fmt: skip
