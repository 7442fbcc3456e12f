"""The command line of `autoenvbench`: every command with its arguments, and the function of `commands` that runs it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from autoenvbench.cli import arguments, commands
from autoenvbench.cli import leaderboard as leaderboard_cli
from autoenvbench.cli import publish as publish_cli
from autoenvbench.cli import replay as replay_cli
from autoenvbench.cli import station as station_cli
from autoenvbench.cli import study as study_cli
from autoenvbench.cli import utilisation as utilisation_cli
from autoenvbench.cli import verdict as verdict_cli
from autoenvbench.cli import verifier as verifier_cli
from autoenvbench.cli.arguments import DEFAULT_ENV


def make_parser() -> argparse.ArgumentParser:
    """The parser; what it returns has the command's function as `run`. Raises UserError for a wrong line."""
    parser = arguments.Parser(
        prog="autoenvbench",
        description="Coding agents against robot environments that reset and verify themselves.",
    )
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (
        _envs, _tools, _gallery, _setup, _agents, _score, _compare, _demos, _train, _eval, study_cli.add_parser, station_cli.add_parser, verifier_cli.add_parser, _pause,
        _join, _resume, _watch, _report, _distill, _figures, utilisation_cli.add_parser, replay_cli.add_parser, verdict_cli.add_parser, _ledger, leaderboard_cli.add_parser,
        publish_cli.add_parser,
    ):  # fmt: skip
        add(subparsers)
    return parser


def _envs(subparsers: Any) -> None:
    envs = subparsers.add_parser("envs", help="list the environments")
    envs.add_argument("--json", action="store_true")
    envs.set_defaults(run=commands.envs)


def _tools(subparsers: Any) -> None:
    tools = subparsers.add_parser("tools", help="list the tools that a script policy has in an environment")
    tools.add_argument("env", metavar="ID")
    _env_argument(tools)
    _tool_arguments(tools)
    tools.set_defaults(run=commands.tools)


def _gallery(subparsers: Any) -> None:
    gallery = subparsers.add_parser("gallery", help="one picture of how each start of an environment looks")
    gallery.add_argument("--env", default=DEFAULT_ENV, metavar="ID")
    gallery.add_argument(
        "--seeds", default="0-7", metavar="LIST", help="practice starts, like 0-7 or 3,5,8 (default 0-7)"
    )
    gallery.add_argument(
        "--protocol", metavar="NAME", help="of a fixed set that the task brings, the starts at these places instead"
    )
    gallery.add_argument(
        "--camera",
        metavar="NAME",
        help="one of its cameras (default: of each start the one that sees what the task is about)",
    )
    gallery.add_argument(
        "--out", type=arguments.path, default=Path("gallery.png"), metavar="FILE", help="default gallery.png"
    )
    _env_argument(gallery)
    gallery.set_defaults(run=commands.gallery)


def _setup(subparsers: Any) -> None:
    setup = subparsers.add_parser("setup", help="install other simulators, in environments of their own")
    setup.add_argument("name", nargs="?", metavar="NAME", help="without it: say which there are, and what is installed")
    setup.add_argument(
        "--assets",
        type=arguments.path,
        metavar="FOLDER",
        help="the simulator's downloaded assets (it says where to get them)",
    )
    setup.add_argument("--tasks", action="store_true", help="list all kitchen tasks by name, where they are installed")
    setup.set_defaults(run=commands.setup)


def _agents(subparsers: Any) -> None:
    agents = subparsers.add_parser(
        "agents", help="list the agents: version, whether they can run here, what is missing"
    )
    agents.add_argument("--json", action="store_true")
    agents.set_defaults(run=commands.agents)


def _score(subparsers: Any) -> None:
    score = subparsers.add_parser("score", help="score a policy folder, the reference policy or a random one")
    score.add_argument("--env", default=DEFAULT_ENV, metavar="ID")
    score.add_argument("--policy", required=True, metavar="PATH|reference|scripted|naive|random|zero-shot|vla")
    score.add_argument("-n", type=arguments.episodes, default=100, metavar="N", help="starts (default 100)")
    score.add_argument(
        "--attempts", type=arguments.attempts, default=1, metavar="K", help="episodes per start; 8 for pass@8"
    )
    score.add_argument(
        "--ood",
        type=arguments.whole(1, 100_000),
        default=0,
        metavar="N",
        help="also from N starts out of distribution, whose numbers stand beside these",
    )
    score.add_argument("--seed", type=arguments.seed, default=0)
    score.add_argument("--held-out-secret", metavar="HEX", help="replay the held-out starts of a finished run")
    _env_argument(score)
    _stations_argument(score)
    score.add_argument("--trajectories", type=arguments.path, metavar="DIR", help="keep every episode (demonstrations)")
    score.add_argument("--protocol", metavar="NAME", help="the first N starts of a fixed set that the task brings")
    score.add_argument("--base-url", metavar="URL", help="of the model behind vlm_query")
    _tool_arguments(score)
    _cage_arguments(score)
    score.add_argument("--json", action="store_true", help="print one JSON object")
    score.set_defaults(run=commands.score)


def _compare(subparsers: Any) -> None:
    versus = subparsers.add_parser(
        "compare",
        help="which of two policies is better: shared starts, a sequential test that stops when it knows; or films of runs' answers side by side",
    )
    versus.add_argument("sides", nargs="+", metavar="A",
                        help="two policies, each a folder, or reference, scripted, naive, random; or runs, each the folder that eval made")  # fmt: skip
    versus.add_argument("--env", metavar="ID", help=f"of policies (default {DEFAULT_ENV})")
    versus.add_argument(
        "-n", type=arguments.whole(1, 10_000), metavar="N", help="starts at most, of policies (default 200)"
    )
    versus.add_argument(
        "--alpha", type=arguments.real(1e-6, 0.5), metavar="P", help="chance of a false alarm (default 0.05)"
    )
    versus.add_argument("--starts", type=arguments.whole(1, 50), metavar="N",
                        help="of runs: films from N starts in distribution and N out of it (default 6)")  # fmt: skip
    versus.add_argument(
        "--out",
        type=arguments.path,
        metavar="DIR",
        help="of runs: where compare.html and compare.png go (default compare/)",
    )
    versus.add_argument("--trust", action="store_true",
                        help="of runs: ask the servers and models and open the files that they name")  # fmt: skip
    versus.add_argument("--seed", type=arguments.seed, default=0)
    _env_argument(versus)
    _cage_arguments(versus)
    versus.add_argument("--json", action="store_true", help="print one JSON object")
    versus.set_defaults(run=commands.compare)


def _demos(subparsers: Any) -> None:
    demos = subparsers.add_parser("demos", help="record demonstrations: a file an episode, to learn from")
    demos.add_argument("--env", metavar="ID", help=f"default {DEFAULT_ENV}")
    demos.add_argument("-n", type=arguments.episodes, metavar="N", help="demonstrations (default 100)")
    demos.add_argument(
        "--by", metavar="PATH|scripted|reference|naive|random|keyboard|gamepad|spacemouse",
        help="who shows how (default: the task's script that sees what policies see, or where only pictures are seen its reference; "
        "keyboard, gamepad, spacemouse: you, in real time)",
    )  # fmt: skip
    demos.add_argument("--noise", type=arguments.real(0, 0.95), metavar="SHARE",
                       help="of the steps in which bursts of random actions interrupt a task's own policy (default 0)")  # fmt: skip
    demos.add_argument("--out", type=arguments.path, required=True, metavar="DIR", help="a new folder")
    demos.add_argument("--max-gb", type=arguments.real(0, 1e6), metavar="GB",
                       help="what the folder may hold (default 20); an episode of 8 s with pictures of 96 x 96 takes some MB")  # fmt: skip
    demos.add_argument("--all", action="store_true", help="keep failures, too (default: successes alone)")
    demos.add_argument("--seed", type=arguments.seed, help="of the starts (default 0); `score` never has the same ones")
    demos.add_argument("--set", metavar="NAME", dest="data_set",
                       help="make a named set of mixed quality, such as pin-mixed-v0; its recipe says all but --out")  # fmt: skip
    demos.add_argument("--from", type=arguments.path, metavar="SOURCE", dest="source",
                       help="record nothing: convert a LeRobotDataset into episodes, or (with --to lerobot) episodes into one")  # fmt: skip
    demos.add_argument("--to", choices=["lerobot"], help="what --from is made into (default: episodes)")
    demos.add_argument("--python", metavar="PROGRAM", help="an interpreter that has lerobot (default: this one)")
    demos.add_argument("--lossless", action="store_true", help="with --to lerobot: images as PNG, not as video")
    _env_argument(demos)
    _cage_arguments(demos)
    demos.set_defaults(run=commands.demos)


def _train(subparsers: Any) -> None:
    train = subparsers.add_parser("train", help="learn a policy from demonstrations or by trying; needs PyTorch")
    train.add_argument("algorithm", metavar="ALGORITHM", help="see `autoenvbench train list`")
    train.add_argument("--env", metavar="ID", help=f"default: {DEFAULT_ENV}")
    train.add_argument(
        "--station", metavar="FILE_OR_ID",
        help="learn while a station works: a station file (with --env), or an environment's id (its simulated station, or its twin)",
    )  # fmt: skip
    train.add_argument(
        "--episodes", type=arguments.whole(1, 10_000), metavar="N", help="at a station, at most (default 10000)"
    )
    train.add_argument("--pace", type=arguments.real(0, 1), metavar="P",
                       help="of a station: 1 in real time, 0 as fast as it goes (default: its own)")  # fmt: skip
    train.add_argument(
        "--demos",
        type=arguments.path,
        action="append",
        default=[],
        metavar="DIR",
        help="episodes to learn from (repeatable)",
    )
    train.add_argument(
        "--minutes", type=arguments.real(0.01, 10_000), default=30.0, metavar="M", help="at most (default 30)"
    )
    train.add_argument("--out", type=arguments.path, metavar="DIR", help="a new folder; the policy will be DIR/policy")
    train.add_argument("--seed", type=arguments.seed, default=0)
    train.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings",
                       help="a hyperparameter (repeatable); `autoenvbench train list` names all")  # fmt: skip
    train.add_argument("--threads", type=arguments.whole(1, 256), default=1, metavar="N",
                       help="of PyTorch (default 1: the same seed gives the same policy)")  # fmt: skip
    train.add_argument(
        "--resume", action="store_true", help="go on with what --out holds, as if it had not been interrupted"
    )
    _env_argument(train)
    train.set_defaults(run=commands.train)


def _eval(subparsers: Any) -> None:
    run = subparsers.add_parser("eval", help="let an agent improve a policy over a wall-clock budget, then score it")
    run.add_argument("--agent", action="append", metavar="NAME",
                     help="see `autoenvbench agents`; also command:PROGRAM and replay:SCRIPT (default codex); a team: codex,claude-code or "
                     "'codex*2,kimi-code' (repeatable)")  # fmt: skip
    run.add_argument(
        "--team",
        type=arguments.whole(1, 64),
        metavar="N",
        help="so many members of the agent that is named (default 1)",
    )
    run.add_argument(
        "--no-sharing", action="store_true", help="members neither see nor adopt one another's ideas: a team's control"
    )
    run.add_argument(
        "--own-stations", action="store_true",
        help="a team's members share no robots: member k works on cells k, k + team, ... alone",
    )  # fmt: skip
    run.add_argument("--env", default=DEFAULT_ENV, metavar="ID")
    run.add_argument("--budget", default="2h", metavar="TIME", help="research wall-clock, like 8h, 90m, 120s")
    run.add_argument("--seed", type=arguments.seed, default=0)
    run.add_argument(
        "--out",
        type=arguments.path,
        default=Path("runs"),
        metavar="DIR",
        help="where the run's folder is made (default runs/)",
    )
    run.add_argument(
        "--demos",
        type=int,
        default=0,
        metavar="N",
        help="put N successful episodes of the task's script, which sees what policies see (from pictures: of its reference), into the "
        "workspace's data/demos; "
        "runs with and without are ranked apart",
    )
    run.add_argument(
        "--model", metavar="NAME", help="the agent's model; in a mixed team, each one's: codex=NAME,kimi-code=NAME"
    )
    run.add_argument("--effort", metavar="LEVEL", help="the model's reasoning effort, in the agent's own words")
    run.add_argument("--agent-args", default="", metavar="FLAGS", help="further flags of the agent's command line")
    run.add_argument("--base-url", metavar="URL", help="the model's provider, such as a local OpenAI-compatible server")
    run.add_argument(
        "--vision", choices=("native", "tool", "none"), default="native",
        help="what agents see: pictures and films too, the answers of a model that sees them (`aeb ask`), or nothing but numbers; the station "
        "sees to it (tool and none take --track station)",
    )  # fmt: skip
    run.add_argument("--vision-model", metavar="NAME", help="of --vision tool: the vision-language model that answers")
    run.add_argument(
        "--vision-url",
        metavar="URL",
        help="its OpenAI-compatible server (default: OpenAI's); the key is VISION_API_KEY",
    )
    run.add_argument("--vision-questions", type=arguments.whole(1, 10_000), default=100, metavar="N", help="of each member, at most (default 100)")  # fmt: skip
    run.add_argument(
        "--allow-hosted-tools", action="store_true", help="let the provider's own tools pass (web search, ...)"
    )
    run.add_argument("--token-budget", metavar="N", help="stop at so many tokens (fresh input + output), like 5M")
    run.add_argument(
        "--cost-budget",
        type=arguments.real(0.01, 1e6),
        metavar="USD",
        help="stop at so many dollars by the price table",
    )
    run.add_argument(
        "--prices", type=arguments.path, metavar="FILE", help="your prices; see autoenvbench/data/prices.json"
    )
    run.add_argument(
        "--robot-budget",
        metavar="TIME",
        help="stop at so much robot time, like 60m: resets, episodes and probes of practice, evaluation and confirmation "
        "count, scoring at the end does not; real time at a pace, simulated time at --pace 0",
    )
    run.add_argument("--goal", metavar="GOAL", help='stop when reached: "streak>=50", "success>=0.95", "score>=0.9"')
    run.add_argument("--nudges", type=arguments.whole(0, 10_000), default=3, metavar="N",
                     help="send an agent that stopped early back to work; give up after N restarts without a new idea, commit or evaluation (default 3)")  # fmt: skip
    run.add_argument(
        "--agent-memory",
        type=arguments.real(0.1, 1e5),
        metavar="GB",
        help="memory of the agent's cage (default 3/4 of all)",
    )
    run.add_argument("--replay", metavar="FILE", help="serve the model from a script instead of a provider")
    run.add_argument(
        "--pace",
        type=arguments.real(0, 1),
        metavar="X",
        help="1: the station runs in real time; 0: as fast as it can (default: 1 on arms and where a level is on its station track, else 0)",
    )
    run.add_argument("--stations", metavar="N|ROBOT,...",
                     help="robots behind one door, which share every evaluation; practice and learning have one: N simulated cells (default one per "
                          "member), or station files, or station:NAME of machines of a Ray cluster")  # fmt: skip
    run.add_argument("--ray", metavar="auto|ADDRESS", help="the Ray cluster whose machines have the robots that --stations names")  # fmt: skip
    _env_argument(run)
    run.add_argument(
        "--held-out", type=arguments.episodes, default=200, metavar="N", help="held-out episodes (default 200)"
    )
    run.add_argument(
        "--attempts", type=arguments.attempts, default=1, metavar="K", help="episodes per held-out start; 8 for pass@8"
    )
    run.add_argument("--canary", type=arguments.whole(0, 100_000), default=0, metavar="N",
                     help="on a real station or its twin: after every N judged episodes try the station with the task's reference and with a scene "
                     "that is no success; an alarm keeps the result from being ranked (default 0: never)")  # fmt: skip
    run.add_argument("--held-out-secret", metavar="HEX", help="draw starts from a known secret (unranked)")
    _stations_argument(run)
    run.add_argument("--starter", choices=("plain", "parametric"), default="plain",
                     help="parametric: the agent finds a parametric policy with the recipe, which cem and evolve always have (default plain)")  # fmt: skip
    run.add_argument("--experience", type=arguments.path, metavar="FILE",
                     help="put what an earlier run taught (autoenvbench distill) into every workspace; a condition of the result")  # fmt: skip
    run.add_argument(
        "--regime",
        metavar="NAME",
        help="the only regime that the agent may work in, and the board of its result: heuristic; bc, offline-rl, online-rl (gradient); mixed, tools (free)",
    )
    _tool_arguments(run)
    _cage_arguments(run)
    run.add_argument(
        "--live",
        action="store_true",
        help="show the run on a page of this machine while it goes on; its address is printed",
    )
    run.add_argument("--json", action="store_true", help="print the result as JSON at the end")
    run.set_defaults(run=commands.evaluate)


def _pause(subparsers: Any) -> None:
    pause = subparsers.add_parser("pause", help="let a run that is under way stand still; the time does not count")
    pause.add_argument("run_dir", type=arguments.path, metavar="RUN")
    pause.set_defaults(run=commands.pause)


def _join(subparsers: Any) -> None:
    join = subparsers.add_parser(
        "join", help="let one more member join a run that is under way; its result takes no rank"
    )
    join.add_argument("run_dir", type=arguments.path, metavar="RUN")
    join.add_argument("--agent", required=True, metavar="NAME", help="as in eval")
    join.set_defaults(run=commands.join)


def _resume(subparsers: Any) -> None:
    resume = subparsers.add_parser("resume", help="go on with a run that was paused or interrupted")
    resume.add_argument("run_dir", type=arguments.path, metavar="RUN")
    resume.set_defaults(run=commands.resume)


def _watch(subparsers: Any) -> None:
    watch = subparsers.add_parser("watch", help="show runs, under way or finished, on a live page of this machine")
    watch.add_argument("run_dirs", type=arguments.path, nargs="+", metavar="RUN")
    watch.set_defaults(run=commands.watch)


def _distill(subparsers: Any) -> None:
    distill = subparsers.add_parser("distill", help="write what a run has taught, for --experience of a new one")
    distill.add_argument("run_dir", type=arguments.path, metavar="RUN")
    distill.add_argument(
        "--out", type=arguments.path, default=Path("experience.md"), metavar="FILE", help="default experience.md"
    )
    distill.set_defaults(run=commands.distill)


def _report(subparsers: Any) -> None:
    report = subparsers.add_parser("report", help="write a run's report as one HTML file")
    report.add_argument("run_dir", type=arguments.path, metavar="RUN")
    report.add_argument("--out", type=arguments.path, metavar="FILE", help="default RUN/report.html")
    report.set_defaults(run=commands.report)


def _figures(subparsers: Any) -> None:
    figures = subparsers.add_parser(
        "figures",
        help="write figures as SVG and PDF: the idea tree of a run, its time and use; of several, how teams scale",
    )
    figures.add_argument("run_dirs", type=arguments.path, nargs="+", metavar="RUN")
    figures.add_argument("--out", type=arguments.path, default=Path("figures"), metavar="DIR", help="default figures/")
    figures.add_argument("--to", type=float, default=0.8, metavar="RATE", help="the confirmed success rate to which tokens and time are counted (default 0.8)")  # fmt: skip
    figures.set_defaults(run=commands.figures)


def _ledger(subparsers: Any) -> None:
    ledger = subparsers.add_parser("ledger", help="print a run's ledger")
    ledger.add_argument("run_dir", type=arguments.path, metavar="RUN")
    ledger.add_argument("--kind", action="append", default=[], metavar="KIND",
                        help="only events of this kind: episode, evaluation, tokens ... (repeatable)")  # fmt: skip
    ledger.add_argument("--csv", type=arguments.path, metavar="FILE", help="write a table instead, a column a field")
    ledger.add_argument("--parquet", type=arguments.path, metavar="FILE", help="the same as Parquet (needs pyarrow)")
    ledger.set_defaults(run=commands.ledger)


def _stations_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--private-stations",
        type=arguments.path,
        metavar="FILE",
        help="a JSON list of station numbers that you keep to yourself, for levels whose stations differ: episodes are at these",
    )


def _env_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--env-arg", action="append", default=[], metavar="KEY=VALUE", help="environment argument")


def _tool_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tool", action="append", default=[], metavar="KEY=VALUE",
                        help="of script policies: mode=interactive, vision=none, planner=false, width=640, vlm=MODEL ... (repeatable)")  # fmt: skip
    parser.add_argument(
        "--tools-replay",
        type=arguments.path,
        metavar="FILE",
        help="a script that stands in for the model behind vlm_query",
    )


def _cage_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sandbox", choices=("bwrap", "docker", "none"), help="default bwrap; refused where it is missing"
    )
    parser.add_argument("--track", choices=("open", "station"),
                        help="station: the simulator is hidden from agent and policy (default: the level's, station for -Standard, -Expert and -Fleet, and on -real ids; else open)")  # fmt: skip
