"""A run's configuration, from the arguments of `autoenvbench eval`."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path
from typing import Any

from enpire_envs.tools.config import ToolsConfig

from autoenvbench.agents.team import parse_models, parse_team, team_name
from autoenvbench.errors import UserError
from autoenvbench.make_env import default_pace, default_track, is_real, parse_env_args
from autoenvbench.record.clock import parse_duration
from autoenvbench.record.goal import Goal
from autoenvbench.record.prices import load as load_prices
from autoenvbench.record.run_config import RunConfig
from autoenvbench.station.robots import check_robots, kwargs_here, parse_robots


def members_from_args(args: argparse.Namespace) -> list[str]:
    """The agents of a run's members, in order. Raises UserError."""
    return parse_team(args.agent or ["codex"], args.team)


def run_config_from_args(args: argparse.Namespace) -> RunConfig:
    """From the command line. Raises UserError."""
    if args.replay is not None and not Path(args.replay).is_file():
        raise UserError(f"there is no replay script at {args.replay}")
    if args.held_out < 1 or args.attempts < 1 or args.seed < 0 or args.nudges < 0:
        raise UserError("--held-out and --attempts must be at least 1, --seed and --nudges at least 0")
    if not 0 <= args.demos <= 10_000:
        raise UserError(f"--demos {args.demos}: 0 to 10,000 episodes")
    members = members_from_args(args)
    model, models = parse_models(args.model, members)
    stations = (1 if is_real(args.env) else len(members)) if args.stations is None else parse_robots(args.stations)
    robots = [] if isinstance(stations, int) else stations
    cells = stations if isinstance(stations, int) else len(stations)
    if args.own_stations and cells < len(members):
        raise UserError(
            f"--own-stations: {len(members)} members want {len(members)} robots, and --stations says {cells}"
        )
    if args.goal is not None:
        Goal.parse(args.goal)
    if args.prices is not None or args.cost_budget is not None:
        load_prices(args.prices)
    if min(v for v in (args.cost_budget, args.agent_memory, 1) if v is not None) <= 0:
        raise UserError("--cost-budget and --agent-memory must be above zero")
    if is_real(args.env) and args.track == "open":
        raise UserError(f"{args.env} is on the station track: a robot's simulator is not part of its own station")
    if is_real(args.env) and cells > 1 and not robots:
        raise UserError(
            f"{args.env} moves the arms of one station. Leave --stations out, or name several: --stations left.yaml,right.yaml, or "
            "--stations station:left,station:right --ray ADDRESS"
        )
    tools = parse_tools(args)
    try:
        agent_args = shlex.split(args.agent_args)
    except ValueError as error:
        raise UserError(f"cannot read --agent-args {args.agent_args!r}: {error}; quote it as for a shell") from None
    env_kwargs = parse_env_args(args.env_arg)
    check_robots(robots, args.env, env_kwargs, args.ray)
    track = args.track or default_track(args.env)
    far = is_real(args.env) and args.ray is not None  # what stands there is known there: a robot is taken to be one
    pace = (
        (1.0 if far else default_pace(args.env, kwargs_here(env_kwargs, robots), track))
        if args.pace is None
        else args.pace
    )
    if not 0 <= pace <= 1:
        raise UserError(f"--pace {pace}: 1 is real time, 0 as fast as possible")
    return RunConfig(
        agent=team_name(members),
        team=len(members),
        sharing=not args.no_sharing,
        own_stations=args.own_stations,
        env=args.env,
        env_kwargs=env_kwargs,
        budget_s=parse_duration(args.budget),
        robot_budget_s=parse_duration(args.robot_budget) if args.robot_budget else None,
        seed=args.seed,
        track=track,
        pace=pace,
        cells=cells,
        robots=robots,
        ray=args.ray,
        sandbox=args.sandbox,
        model=model,
        models=models,
        effort=args.effort,
        agent_args=agent_args,
        base_url=args.base_url,
        token_budget=parse_count(args.token_budget) if args.token_budget else None,
        cost_budget=args.cost_budget,
        prices=str(args.prices.resolve()) if args.prices else None,
        starter=args.starter,
        demos=args.demos,
        experience=str(args.experience.resolve()) if args.experience else None,
        regime=args.regime,
        tools=tools,
        tools_replay=str(args.tools_replay.resolve()) if args.tools_replay else None,
        goal=args.goal,
        nudges=args.nudges,
        agent_memory_gb=args.agent_memory,
        gateway="replay" if args.replay else "live",
        replay=str(Path(args.replay).resolve()) if args.replay else None,
        vision=args.vision,
        vision_model=args.vision_model,
        vision_url=args.vision_url,
        vision_questions=args.vision_questions,
        allow_hosted_tools=args.allow_hosted_tools,
        held_out_secret=args.held_out_secret,
        canary_every=args.canary,
        private_stations=str(args.private_stations.resolve()) if args.private_stations else None,
        held_out=args.held_out,
        attempts=args.attempts,
    )


def parse_tools(args: argparse.Namespace) -> dict[str, Any]:
    """`--tool KEY=VALUE ...` of scripts. Raises UserError."""
    if args.tools_replay is not None and not args.tools_replay.is_file():
        raise UserError(f"there is no replay script at {args.tools_replay}")
    tools = parse_env_args(args.tool)
    try:
        ToolsConfig.of(tools)
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from None
    return tools


def parse_count(text: str) -> int:
    """A number of tokens such as "5M", "200k" or "1500000". Raises UserError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kKmM]?)", text.strip())
    count = round(float(match[1]) * {"": 1, "k": 1e3, "m": 1e6}[match[2].lower()]) if match else 0
    if count < 1:
        raise UserError(f"cannot read the number {text!r}; write it like 5M, 200k or 1500000")
    return count
