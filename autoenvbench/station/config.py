"""What a station process is started with."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from autoenvbench.record.run_config import RunConfig
from autoenvbench.sandbox.cage import Sandbox


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
