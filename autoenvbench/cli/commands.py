"""The commands of `autoenvbench`: each takes parsed arguments, calls one function and prints. No logic.

A command returns its exit code, or None for 0. It imports what it uses when it is called: `autoenvbench --help` is there at once.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from autoenvbench.cli.arguments import DEFAULT_ENV
from autoenvbench.errors import RUN_VOID, UserError
from autoenvbench.text import visible


def envs(args: argparse.Namespace) -> None:
    """List the environments."""
    from autoenvbench.cli.printing import print_envs

    print_envs(as_json=args.json)


def gallery(args: argparse.Namespace) -> None:
    """Draw the starts of an environment."""
    from autoenvbench.make_env import parse_env_args
    from autoenvbench.study.gallery import draw_gallery, parse_seeds

    shown = draw_gallery(args.env, parse_seeds(args.seeds), args.out, env_kwargs=parse_env_args(args.env_arg), protocol=args.protocol, camera=args.camera)  # fmt: skip
    print("\n".join([*(visible(line) for line in shown), str(args.out)]))


def score(args: argparse.Namespace) -> int:
    """Score a policy; exit code 5 for one that cannot even be loaded, which is a mistake to mend and no low score."""
    from autoenvbench.cli.printing import episode_progress, print_score
    from autoenvbench.cli.run_arguments import parse_tools
    from autoenvbench.make_env import default_track, parse_env_args
    from autoenvbench.study.score import score

    sandbox = _policy_sandbox(args, args.policy)
    with episode_progress(args.n * args.attempts + args.ood, f"{args.policy} on {args.env}") as advance:
        result = score(
            args.env, args.policy, args.n, env_kwargs=parse_env_args(args.env_arg), attempts=args.attempts,
            seed=args.seed, held_out_secret=args.held_out_secret, private_stations=args.private_stations, sandbox=sandbox,
            track=args.track or default_track(args.env),
            trajectories=args.trajectories, protocol=args.protocol, tools=parse_tools(args),
            tools_replay=str(args.tools_replay) if args.tools_replay else None, tools_url=args.base_url,
            ood=args.ood, on_episode=advance,
        )  # fmt: skip
    print_score(result, as_json=args.json)
    return 5 if set(result["failures"]) == {"policy_load_error"} else 0


def compare(args: argparse.Namespace) -> None:
    """Compare two policies on shared starts, or film the answers of runs from shared starts."""
    from autoenvbench.cli.printing import comparison_progress, print_comparison
    from autoenvbench.make_env import default_track, parse_env_args
    from autoenvbench.study.compare import compare
    from autoenvbench.study.policies import NoPolicy
    from autoenvbench.study.rollouts import LEDGER, is_run

    runs = [is_run(Path(name)) for name in args.sides]
    if any(runs):
        if not all(runs):
            raise UserError(
                f"{args.sides[runs.index(True)]} is a run and {args.sides[runs.index(False)]} is none; name runs alone (folders with a "
                "ledger.sqlite), or two policies"
            )
        _compare_runs(args)
        return
    no_run = f"; runs are folders with a {LEDGER}, and none of these is one"
    if len(args.sides) != 2:
        raise UserError(f"{len(args.sides)} policies: a comparison is of two; runs may be more{no_run}")
    if args.starts is not None or args.out is not None or args.trust:
        raise UserError(
            f"--starts and --out are of runs' answers, as --trust is; of policies -n says how many starts there are at most{no_run}"
        )
    first, second = args.sides
    env = args.env or DEFAULT_ENV
    try:
        with comparison_progress(args.n or 200) as on_start:
            result = compare(
                env, (first, second), args.n or 200, alpha=args.alpha or 0.05, env_kwargs=parse_env_args(args.env_arg),
                seed=args.seed, sandbox=_policy_sandbox(args, first, second),
                track=args.track or default_track(env), on_start=on_start,
            )  # fmt: skip
    except NoPolicy as error:
        raise UserError(f"{error}{no_run}") from None
    print_comparison(result, as_json=args.json)


def _compare_runs(args: argparse.Namespace) -> None:
    """Film runs' answers side by side."""
    from autoenvbench.cli.printing import episode_progress
    from autoenvbench.publish.side_by_side import KINDS, write_side_by_side
    from autoenvbench.study.rollouts import film_runs

    given = {
        "--env": args.env,
        "--env-arg": args.env_arg or None,
        "-n": args.n,
        "--alpha": args.alpha,
        "--track": args.track,
    }
    if said := [name for name, value in given.items() if value is not None]:
        raise UserError(f"runs say on what they were made; leave {', '.join(said)} out")
    sandbox = _policy_sandbox(args, *args.sides)
    with episode_progress(None, "rollouts") as advance:
        made = film_runs([Path(name) for name in args.sides], args.starts or 6, seed=args.seed, sandbox=sandbox, trust=args.trust, on_episode=advance)  # fmt: skip
    page, picture = write_side_by_side(made, args.out or Path("compare"))
    if args.json:
        sides = [
            {"run": side.run, "agent": side.agent, "commit": side.commit}
            | {kind: dict(zip(("successes", "episodes"), made.won(k, kind), strict=True)) for kind in KINDS}
            for k, side in enumerate(made.sides)
        ]
        print(
            json.dumps(
                {"env": made.env, "seed": made.seed, "runs": sides, "page": str(page), "picture": str(picture)},
                indent=1,
            )
        )
        return
    for k, side in enumerate(made.sides):
        won = "; ".join(
            f"{words.lower()} {wins} of {n}" for kind, words in KINDS.items() for wins, n in [made.won(k, kind)] if n
        )
        print(f" {visible(side.run)} ({visible(side.agent)}): {won}")
    for note in made.notes:
        print(f" {visible(note)}")
    print(f" {visible(str(page))}\n {visible(str(picture))}")


def demos(args: argparse.Namespace) -> None:
    """Record demonstrations, or a named data set."""
    from autoenvbench.cli.printing import episode_progress
    from autoenvbench.make_env import default_track, parse_env_args
    from autoenvbench.study.demos import MOST, record_demos
    from autoenvbench.study.teleoperation import DEVICES

    if args.source is not None:
        _convert_demos(args)
        return
    if args.to or args.python or args.lossless:
        raise UserError("--to, --python and --lossless are for what is there already; name its folder by --from")
    if args.data_set is not None:
        _data_set(args)
        return
    env, by, n = args.env or DEFAULT_ENV, args.by, args.n or 100
    sandbox = _policy_sandbox(args, *([] if by in DEVICES else [by or "scripted"]))
    most = MOST if args.max_gb is None else int(args.max_gb * 2**30)
    with episode_progress(n, f"{by or 'demonstrations'} on {env}") as advance:
        made = record_demos(
            env, by, n, args.out, noise=args.noise or 0.0, keep_failures=args.all, most=most, env_kwargs=parse_env_args(args.env_arg),
            seed=args.seed or 0, sandbox=sandbox, track=args.track or default_track(env), on_kept=advance,
        )  # fmt: skip
    print(
        f"{made['episodes']} episodes, {made['steps']} steps in {args.out}: {made['successes']} of {made['attempted']} "
        f"starts were solved by {made['by']}"
    )


def _convert_demos(args: argparse.Namespace) -> None:
    from autoenvbench.make_env import parse_env_args
    from autoenvbench.study.lerobot_sets import from_lerobot, to_lerobot

    _only(args, "--from records nothing", env_of=args.to is None)
    if args.to is None:
        if args.lossless:
            raise UserError("--lossless says how images are kept in a LeRobotDataset; add --to lerobot")
        made = from_lerobot(
            args.source, args.out, env_id=args.env, env_kwargs=parse_env_args(args.env_arg), python=args.python
        )
    else:
        made = to_lerobot(args.source, args.out, python=args.python, video=not args.lossless)
    print(f"{made['episodes']} episodes, {made['frames']} steps in {args.out}")


def _only(args: argparse.Namespace, why: str, *, env_of: bool = False) -> None:
    """Refuse arguments of recording where nothing, or what a recipe says, is recorded; `env_of`: --env may be said."""
    given = {"-n": args.n, "--by": args.by, "--noise": args.noise, "--seed": args.seed, "--all": args.all or None,
             "--max-gb": args.max_gb}  # fmt: skip
    if not env_of:
        given |= {"--env": args.env, "--env-arg": args.env_arg or None}
    if args.source is not None:
        given["--set"] = args.data_set
    if said := [name for name, value in given.items() if value is not None]:
        raise UserError(f"{why}; leave {', '.join(said)} out")


def _data_set(args: argparse.Namespace) -> None:
    from autoenvbench.cli.printing import episode_progress
    from autoenvbench.study.data_sets import find_set, record_set

    _only(args, f"the recipe of {args.data_set} says what is recorded")
    recipe = find_set(args.data_set)
    with episode_progress(recipe.episodes, recipe.name) as advance:
        made = record_set(recipe, args.out, on_kept=advance)
    print(
        f"{made['episodes']} episodes, {made['steps']} steps in {args.out}, {made['successes']} solved; sha256 {made['sha256']}"
    )
    if not made["as_published"]:
        print(
            f"autoenvbench: these are not the episodes that {recipe.name} was published with (sha256 {recipe.sha256}): the task's policies "
            "or this processor's arithmetic differ; compare results on sets of one sha256",
            file=sys.stderr,
        )  # fmt: skip


def train(args: argparse.Namespace) -> int:
    """Learn a policy."""
    from autoenvbench.make_env import parse_env_args

    try:
        from autoenvbench.learning.train import ALGORITHMS, describe, train
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UserError(
            "learning needs PyTorch, which is not installed; type: pip install 'autoenvbench[train]'"
        ) from None

    if args.algorithm == "list":
        print("\n\n".join(map(describe, ALGORITHMS)))
        return 0
    if args.out is None:
        raise UserError("say where to, with --out DIR")
    if args.station is not None:
        return _train_at_station(args)
    if args.episodes is not None or args.pace is not None:
        raise UserError("--episodes and --pace are of a session at a station; name it by --station, or leave them out")
    env_id = args.env or DEFAULT_ENV
    policy = train(
        args.algorithm, env_id, args.out, env_kwargs=parse_env_args(args.env_arg), demos=args.demos, minutes=args.minutes,
        seed=args.seed, threads=args.threads, settings=args.settings, resume=args.resume,
        log=lambda text: print(text, file=sys.stderr, flush=True),
    )  # fmt: skip
    print(f"{policy}; score it with: autoenvbench score --env {env_id} --policy {policy}")
    return 0


def _train_at_station(args: argparse.Namespace) -> int:
    """Learn while a station works; exit code 5 where the learner crashed."""
    from autoenvbench.cli.printing import episode_progress
    from autoenvbench.learning.at_station import station_of, train_at_station
    from autoenvbench.make_env import parse_env_args
    from autoenvbench.sandbox.cage import choose_sandbox
    from autoenvbench.station.learning import MAX_EPISODES

    env_id, env_kwargs = station_of(args.station, args.env, parse_env_args(args.env_arg))
    sandbox, notice = choose_sandbox(None, fallback=True)
    if notice:
        print(f"autoenvbench: {notice}", file=sys.stderr)
    episodes = args.episodes or MAX_EPISODES
    with episode_progress(episodes, f"{args.algorithm} at {args.station}") as advance:
        r = train_at_station(
            args.algorithm, env_id, args.out, env_kwargs=env_kwargs, demos=args.demos, minutes=args.minutes, episodes=episodes,
            pace=args.pace, seed=args.seed, threads=args.threads, settings=args.settings, resume=args.resume, sandbox=sandbox,
            log=lambda text: print(text, file=sys.stderr, flush=True), on_episode=advance,
        )  # fmt: skip
    print(f"{r.episodes} episodes, {r.successes} succeeded, by {r.weights} networks; ended: {r.ended}")
    print(f"{r.policy}; score it with: autoenvbench score --env {env_id} --policy {r.policy}; go on with --resume")
    return 5 if r.failed else 0


def _policy_sandbox(args: argparse.Namespace, *policies: str) -> Any:
    """The cage that was asked for; none is needed where only our own policies run."""
    from autoenvbench.sandbox.cage import choose_sandbox
    from autoenvbench.study.policies import TRUSTED

    if all(policy in TRUSTED for policy in policies):
        return "none"
    sandbox, notice = choose_sandbox(args.sandbox, fallback=False)
    if notice:
        print(f"autoenvbench: {notice}", file=sys.stderr)
    return sandbox


def evaluate(args: argparse.Namespace) -> int:
    """Let an agent do research, then score its answer; exit code `RUN_VOID` for a run that measured nothing."""
    from autoenvbench.cli.live import LivePage
    from autoenvbench.cli.progress import RunProgress
    from autoenvbench.cli.run_arguments import members_from_args, run_config_from_args
    from autoenvbench.research.run import research
    from autoenvbench.study.demos import of_a_run

    config = run_config_from_args(args)
    page = LivePage() if args.live else None
    try:
        result = research(config, args.out, RunProgress(page), members_from_args(args), demonstrate=of_a_run(config))
    finally:
        if page is not None:
            page.close()
    if args.json:
        print(json.dumps(result, indent=1))
    return _exit_code(result)


def _exit_code(result: dict[str, Any]) -> int:
    """A run that says nothing about its agent is not done: whoever started it in a script must notice."""
    return RUN_VOID if result["void_because"] else 0


def pause(args: argparse.Namespace) -> None:
    """Let a run stand still."""
    from autoenvbench.research.run_dir import pause

    pause(args.run_dir)
    print(f"{args.run_dir} is paused; go on with: autoenvbench resume {args.run_dir}")


def resume(args: argparse.Namespace) -> int:
    """Go on with a run; exit codes as `evaluate`."""
    from autoenvbench.cli.progress import RunProgress
    from autoenvbench.research.run import resume
    from autoenvbench.study.demos import of_a_run

    result = resume(args.run_dir, RunProgress(), demonstrate=of_a_run)
    if result is None:
        print(f"{args.run_dir} goes on")
        return 0
    return _exit_code(result)


def join(args: argparse.Namespace) -> None:
    """Let one more member join a run that is under way."""
    from autoenvbench.research.joining import join

    print(f"{join(args.run_dir, args.agent)} works in {args.run_dir}")


def agents(args: argparse.Namespace) -> None:
    """List the agents."""
    from autoenvbench.cli.printing import print_agents

    print_agents(as_json=args.json)


def watch(args: argparse.Namespace) -> None:
    """Serve the live page of runs."""
    from autoenvbench.cli.live import watch

    watch(args.run_dirs)


def report(args: argparse.Namespace) -> None:
    """Write a run's report."""
    from autoenvbench.publish.report import write_report

    print(write_report(args.run_dir, args.out))


def distill(args: argparse.Namespace) -> None:
    """Write what a run has taught."""
    from autoenvbench.evolution.distill import write_experience

    print(write_experience(args.run_dir, args.out))


def figures(args: argparse.Namespace) -> None:
    """Write the figures of runs."""
    from autoenvbench.publish.write_figures import write_figures

    for path in write_figures(args.run_dirs, args.out, args.to):
        print(visible(str(path)))


def ledger(args: argparse.Namespace) -> None:
    """Print a run's events, or write them into tables."""
    from autoenvbench.cli.printing import print_ledger

    print_ledger(args.run_dir, args.kind, args.csv, args.parquet)


def tools(args: argparse.Namespace) -> None:
    """List the tools of a script policy."""
    from autoenvbench.cli.printing import print_tools
    from autoenvbench.cli.run_arguments import parse_tools
    from autoenvbench.make_env import parse_env_args

    print_tools(args.env, parse_env_args(args.env_arg), parse_tools(args))


def setup(args: argparse.Namespace) -> None:
    """Install simulators in environments of their own, or say what is installed."""
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
