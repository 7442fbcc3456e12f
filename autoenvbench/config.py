"""What a run is made of."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from autoenvbench.clock import parse_duration
from autoenvbench.errors import UserError
from autoenvbench.workspace.cage import Sandbox, Track


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
    gateway: Literal["live", "replay"] = "live"
    replay: str | None = None  # the script's path
    held_out_secret: str | None = None
    held_out: int = Field(default=200, ge=1, le=100_000)
    attempts: int = Field(default=1, ge=1, le=64)
    min_episodes: int = Field(default=20, ge=1)  # for a place on the raw curve
    confirm_episodes: int = Field(default=50, ge=1)

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> RunConfig:
        """From the command line. Raises UserError."""
        from autoenvbench.make_env import parse_env_args

        if args.replay is not None and not Path(args.replay).is_file():
            raise UserError(f"there is no replay script at {args.replay}")
        if args.held_out < 1 or args.attempts < 1 or args.seed < 0:
            raise UserError("--held-out and --attempts must be at least 1, --seed at least 0")
        pace = 0.0 if args.pace is None else args.pace
        if not 0 <= pace <= 1:
            raise UserError(f"--pace {pace}: 1 is real time, 0 as fast as possible")
        return cls(
            agent=args.agent,
            env=args.env,
            env_kwargs=parse_env_args(args.env_arg),
            budget_s=parse_duration(args.budget),
            seed=args.seed,
            track=args.track,
            pace=pace,
            sandbox=args.sandbox,
            model=args.model,
            gateway="replay" if args.replay else "live",
            replay=str(Path(args.replay).resolve()) if args.replay else None,
            held_out_secret=args.held_out_secret,
            held_out=args.held_out,
            attempts=args.attempts,
        )


class StationConfig(BaseModel):
    """What a station process is started with (over its standard input: it holds secrets)."""

    model_config = ConfigDict(extra="forbid")

    run_dir: Path
    socket: Path
    config: RunConfig
    sandbox: Sandbox
    secret_hex: str
    clock_epoch: float
    tokens: dict[str, str]  # bearer token -> agent; the run itself is "admin"
    name: str = "station-1"
