"""What a run is made of."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from autoenvbench.clock import parse_duration
from autoenvbench.errors import UserError
from autoenvbench.workspace.cage import Sandbox, Track

REGIMES = ("heuristic", "tools", "bc", "offline-rl", "online-rl", "mixed")


class RunConfig(BaseModel):
    """One research run: who, on what, for how long, under which rules. Written whole into the first ledger event."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    agent: str
    env: str
    env_kwargs: dict[str, Any] = Field(default_factory=dict)
    budget_s: float = Field(gt=0)
    seed: int = Field(default=0, ge=0)
    track: Track = "open"
    pace: float = Field(default=0.0, ge=0.0, le=1.0)
    sandbox: Sandbox | None = None  # None: bubblewrap, or what the agent falls back to
    model: str | None = None
    effort: str | None = None  # the model's reasoning effort, in the agent's own words
    agent_args: list[str] = Field(default_factory=list)  # further flags of the agent's command line
    base_url: str | None = None  # of the model's provider
    token_budget: int | None = Field(default=None, gt=0)  # headline tokens: fresh input + output
    cost_budget: float | None = Field(default=None, gt=0)  # US dollars
    prices: str | None = None  # path of the user's own price table
    regime: str | None = None  # the only one that the agent may work in
    tools: dict[str, Any] = Field(default_factory=dict)  # of script policies; see enpire_envs.tools.config
    tools_replay: str | None = None  # path of a script that stands in for their model
    goal: str | None = None
    nudges: int = Field(default=3, ge=0)  # fruitless ones in a row before the run takes no for an answer
    agent_memory_gb: float | None = Field(default=None, gt=0)
    gateway: Literal["live", "replay"] = "live"
    replay: str | None = None  # the script's path
    allow_hosted_tools: bool = False  # the provider's own tools: web search, code execution, remote MCP, ...
    held_out_secret: str | None = None
    held_out: int = Field(default=200, ge=1, le=100_000)
    attempts: int = Field(default=1, ge=1, le=64)
    min_episodes: int = Field(default=20, ge=1)  # for a place on the raw curve
    confirm_episodes: int = Field(default=50, ge=1)
    strict_episodes: int = Field(default=200, ge=1)  # of the confirmation of a candidate of about 98 % or more

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> RunConfig:
        """From the command line. Raises UserError."""
        from autoenvbench.gateway.prices import load as load_prices
        from autoenvbench.goal import Goal
        from autoenvbench.make_env import default_track, is_real, parse_env_args

        if args.replay is not None and not Path(args.replay).is_file():
            raise UserError(f"there is no replay script at {args.replay}")
        if args.held_out < 1 or args.attempts < 1 or args.seed < 0 or args.nudges < 0:
            raise UserError("--held-out and --attempts must be at least 1, --seed and --nudges at least 0")
        if args.goal is not None:
            Goal.parse(args.goal)
        if args.prices is not None or args.cost_budget is not None:
            load_prices(args.prices)
        if min(v for v in (args.cost_budget, args.agent_memory, 1) if v is not None) <= 0:
            raise UserError("--cost-budget and --agent-memory must be above zero")
        if is_real(args.env) and args.track == "open":
            raise UserError(f"{args.env} is on the station track: a robot's simulator is not part of its own station")
        tools = parse_tools(args)
        try:
            agent_args = shlex.split(args.agent_args)
        except ValueError as error:
            raise UserError(f"cannot read --agent-args {args.agent_args!r}: {error}; quote it as for a shell") from None
        pace = _pace(args) if args.pace is None else args.pace
        if not 0 <= pace <= 1:
            raise UserError(f"--pace {pace}: 1 is real time, 0 as fast as possible")
        return cls(
            agent=args.agent,
            env=args.env,
            env_kwargs=parse_env_args(args.env_arg),
            budget_s=parse_duration(args.budget),
            seed=args.seed,
            track=args.track or default_track(args.env),
            pace=pace,
            sandbox=args.sandbox,
            model=args.model,
            effort=args.effort,
            agent_args=agent_args,
            base_url=args.base_url,
            token_budget=parse_count(args.token_budget) if args.token_budget else None,
            cost_budget=args.cost_budget,
            prices=str(args.prices.resolve()) if args.prices else None,
            regime=args.regime,
            tools=tools,
            tools_replay=str(args.tools_replay.resolve()) if args.tools_replay else None,
            goal=args.goal,
            nudges=args.nudges,
            agent_memory_gb=args.agent_memory,
            gateway="replay" if args.replay else "live",
            replay=str(Path(args.replay).resolve()) if args.replay else None,
            allow_hosted_tools=args.allow_hosted_tools,
            held_out_secret=args.held_out_secret,
            held_out=args.held_out,
            attempts=args.attempts,
        )


def parse_tools(args: argparse.Namespace) -> dict[str, Any]:
    """`--tool KEY=VALUE ...` of scripts. Raises UserError."""
    from enpire_envs.tools.config import ToolsConfig

    from autoenvbench.make_env import parse_env_args

    if args.tools_replay is not None and not args.tools_replay.is_file():
        raise UserError(f"there is no replay script at {args.tools_replay}")
    tools = parse_env_args(args.tool)
    try:
        ToolsConfig.of(tools)
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from None
    return tools


def _pace(args: argparse.Namespace) -> float:
    """As fast as possible where time is simulated; real time on a robot."""
    from enpire_real.station_file import StationError, default_station, load_station

    from autoenvbench.make_env import is_real, parse_env_args

    if not is_real(args.env):
        return 0.0

    try:
        file = load_station(parse_env_args(args.env_arg).get("station") or default_station())
    except StationError as error:
        raise UserError(str(error)) from None
    return 0.0 if file.twin is not None and file.twin.time == "virtual" else 1.0


def parse_count(text: str) -> int:
    """A number of tokens such as "5M", "200k" or "1500000". Raises UserError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kKmM]?)", text.strip())
    count = round(float(match[1]) * {"": 1, "k": 1e3, "m": 1e6}[match[2].lower()]) if match else 0
    if count < 1:
        raise UserError(f"cannot read the number {text!r}; write it like 5M, 200k or 1500000")
    return count


class StationConfig(BaseModel):
    """What a station process is started with (over its standard input: it holds secrets)."""

    model_config = ConfigDict(extra="forbid")

    run_dir: Path
    socket: Path
    config: RunConfig
    sandbox: Sandbox
    secret_hex: str
    clock_epoch: float
    clock_stopped_at: float | None = None  # where the run's clock stands [s] until the agent is launched
    tokens: dict[str, str]  # bearer token -> agent; the run itself is "admin"
    name: str = "station-1"
