"""The configuration of a run, as its first ledger event holds it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from autoenvbench.sandbox.cage import Sandbox, Track

Starter = Literal["plain", "parametric"]
Vision = Literal["native", "tool", "none"]


class RunConfig(BaseModel):
    """One research run: who, on what, for how long, under which rules. Written whole into the first ledger event."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    agent: str  # what its members are: codex, or codex*2,kimi-code
    team: int = Field(default=1, ge=1, le=64)  # how many there are
    env: str
    env_kwargs: dict[str, Any] = Field(default_factory=dict)
    budget_s: float = Field(gt=0)
    robot_budget_s: float | None = Field(default=None, gt=0)  # robot time, as `EpisodeEvent.robot_s` counts it
    seed: int = Field(default=0, ge=0)
    track: Track = "open"
    pace: float = Field(default=0.0, ge=0.0, le=1.0)
    cells: int = Field(default=1, ge=1, le=64)  # robots behind the run's one door
    robots: list[str] = Field(
        default_factory=list
    )  # which, one a cell: station:NAME of a cluster, or a station file; none: any of this machine
    ray: str | None = None  # address of that cluster
    sharing: bool = True  # members see, and may adopt, one another's ideas
    own_stations: bool = False  # member k works on cells k, k + team, ... alone
    sandbox: Sandbox | None = None  # None: bubblewrap, or what the agent falls back to
    model: str | None = None
    models: dict[str, str] = Field(
        default_factory=dict
    )  # in place of it, by kind of agent, where a mixed team has several
    effort: str | None = None  # the model's reasoning effort, in the agent's own words
    agent_args: list[str] = Field(default_factory=list)  # further flags of the agent's command line
    base_url: str | None = None  # of the model's provider
    token_budget: int | None = Field(default=None, gt=0)  # headline tokens: fresh input + output
    cost_budget: float | None = Field(default=None, gt=0)  # US dollars
    prices: str | None = None  # path of the user's own price table
    starter: Starter = "plain"  # "parametric": the workspace holds the recipe of cem and evolve, which always have it
    demos: int = Field(
        default=0, ge=0, le=10_000
    )  # episodes of the task's script, or from pictures of its reference, in the workspace's data/demos
    experience: str | None = None  # path of what an earlier run taught, which every member finds in its workspace
    experience_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")  # of the file
    experience_bytes: int | None = Field(default=None, ge=1)
    regime: str | None = None  # the only one that the agent may work in, of `regimes.REGIMES`; it decides the board
    tools: dict[str, Any] = Field(default_factory=dict)  # of script policies; see enpire_envs.tools.config
    tools_replay: str | None = None  # path of a script that stands in for their model
    goal: str | None = None
    nudges: int = Field(default=3, ge=0)  # give up after so many restarts without a new idea, commit or evaluation
    agent_memory_gb: float | None = Field(default=None, gt=0)
    gateway: Literal["live", "replay"] = "live"
    replay: str | None = None  # the script's path
    vision: Vision = (
        "native"  # what agents may see: pictures and films, a model's answers about them, or nothing but numbers
    )
    vision_model: str | None = None  # that answers (`tool`), as its server names it
    vision_url: str | None = None  # of its server; None for OpenAI's
    vision_questions: int = Field(default=100, ge=1, le=10_000)  # of each member, at most
    allow_hosted_tools: bool = False  # the provider's own tools: web search, code execution, remote MCP, ...
    held_out_secret: str | None = None
    private_stations: str | None = None  # path of a file of numbers (`record.stations`)
    canary_every: int = Field(
        default=0, ge=0, le=100_000
    )  # judged episodes of a real station between two rounds of its canary; 0: none
    held_out: int = Field(default=200, ge=1, le=100_000)
    attempts: int = Field(default=1, ge=1, le=64)
    min_episodes: int = Field(default=20, ge=1)  # for a place on the raw curve
    confirm_episodes: int = Field(default=50, ge=1)
    strict_episodes: int = Field(default=200, ge=1)  # of the confirmation of a candidate of about 98 % or more

    def of_agent(self, kind: str) -> RunConfig:
        """The same as a member of this kind has it: with its own model."""
        return self.model_copy(update={"model": self.models.get(kind, self.model)})

    @classmethod
    def of_ledger(cls, recorded: dict[str, Any] | None) -> RunConfig:
        """What a ledger's first event holds. Runs from before there was a plain starter had the parametric one. Raises
        pydantic's ValidationError."""
        return cls.model_validate({"starter": "parametric", **(recorded or {})})
