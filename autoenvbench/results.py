"""What a run comes to: the object written as result.json and submitted to the leaderboards."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from autoenvbench import metrics
from autoenvbench.compute import compute_class, hardware
from autoenvbench.config import RunConfig
from autoenvbench.errors import UserError
from autoenvbench.events import NOT_AGENTS, EpisodeEvent
from autoenvbench.gateway import prices
from autoenvbench.ledger import Event, Ledger

RANKED_EPISODES = 200
Kind = Literal["sim", "twin", "real", "stand-in", "reported"]


class AgentInfo(BaseModel):
    name: str
    version: str | None = None
    model: str | None = None
    effort: str | None = None


class EnvInfo(BaseModel):
    """`fingerprint` covers task code, scene, arguments and physics version."""

    id: str
    kwargs: dict[str, Any] = Field(default_factory=dict)
    fingerprint: str | None = None


class HeldOut(BaseModel):
    """The ranking number: the answer's success rate on held-out starts."""

    episodes: int
    successes: int
    success_rate: float = Field(ge=0, le=1)
    wilson95: tuple[float, float]
    score: float = Field(ge=0, le=1)
    streak: int
    pass_at_8: float | None = None
    failures: dict[str, int] = Field(default_factory=dict)


class Answer(BaseModel):
    """Which bundle was scored, and how it was chosen."""

    commit: str
    digest: str
    how: Literal["submitted", "confirmed best", "best evaluated", "starter", "policy"]


class Result(BaseModel):
    """One run (or one scored policy). Extra fields are refused, so that a misspelt one is noticed."""

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    run_id: str
    date: str  # ISO 8601, UTC
    kind: Kind
    agent: AgentInfo
    env: EnvInfo
    track: Literal["open", "station", "none"]
    pace: float
    sandbox: str
    gateway: Literal["live", "replay", "none"]
    seed: int
    team_size: int = 1
    budget_s: float | None = None
    token_budget: int | None = None
    cost_budget: float | None = None
    goal: str | None = None
    stopped_by: str | None = None  # deadline, goal, token_budget, cost_budget, agent_ended, gave_up
    research_s: float | None = None
    working_s: float | None = None  # research time without waiting for failing model calls
    compute_class: str
    hardware: str
    versions: dict[str, str] = Field(default_factory=dict)
    answer: Answer
    held_out: HeldOut
    best_raw: float | None = None
    best_confirmed: float | None = None
    to_threshold: dict[str, dict[str, float] | None] = Field(default_factory=dict)
    evaluations: int = 0
    episodes: int = 0
    robot_s: float = 0.0
    ideas: int = 0
    tokens: dict[str, Any] = Field(default_factory=dict)
    policy_tokens: int = 0  # headline tokens of the policies' own model calls
    deterministic: bool = True  # no policy asked a model: a re-run must give the same outcomes
    tools: dict[str, Any] = Field(default_factory=dict)  # of script policies, where they are not the defaults
    cost_usd: float | None = None  # by the price table; None if a model is not in it
    mtu: float | None = None
    mru: float | None = None
    cpu_utilisation: float | None = None
    gpu_utilisation: float | None = None
    held_out_secret: str | None = None
    ledger_sha256: str | None = None
    unranked_because: list[str] = Field(default_factory=list)
    verification: Literal["self-reported", "verified"] = "self-reported"


class Starter(NamedTuple):
    """The workspace's first commit."""

    commit: str
    digest: str


def choose_answer(events: Sequence[Event], starter: Starter, min_episodes: int) -> Answer:
    """The submitted commit, else the confirmed best, else the best evaluated one (the budget ended before its
    confirmation did), else the starter."""
    submitted = [e.payload for e in events if e.kind == "commit" and e.payload.phase == "submitted"]
    if submitted:
        return Answer(commit=submitted[-1].commit, digest=submitted[-1].digest, how="submitted")
    raw, confirmed = metrics.best_curves(events, min_episodes)
    if confirmed:
        return Answer(commit=confirmed[-1].commit, digest=confirmed[-1].digest, how="confirmed best")
    if raw and raw[-1].value > 0:
        return Answer(commit=raw[-1].commit, digest=raw[-1].digest, how="best evaluated")
    return Answer(commit=starter.commit, digest=starter.digest, how="starter")


def cell_kind(episodes: Sequence[EpisodeEvent]) -> Any:
    """Where all of these episodes happened, as their cell said; a mixture is nobody's result."""
    kinds = {e.cell for e in episodes}
    if len(kinds) != 1:
        raise UserError(f"episodes from {', '.join(sorted(kinds)) or 'nowhere'}: a result comes from one kind of cell")
    return kinds.pop()


def research_seconds(events: Sequence[Event]) -> float:
    """Research time: from the run's start until its agents had stopped (or its last event, if they have not)."""
    for event in events:
        if event.kind == "run" and event.payload.phase in ("deadline", "agents_stopped"):
            return event.t_run
    return events[-1].t_run if events else 0.0


def make_result(run_dir: Path, config: RunConfig, ledger: Ledger, answer: Answer, sandbox: str) -> Result:
    """The result of a scored run, from its ledger; also written to result.json."""
    events = list(ledger.events())
    research_s = research_seconds(events)
    raw, confirmed = metrics.best_curves(events, config.min_episodes)
    tokens = metrics.token_totals(events, research_s)
    own = metrics.token_totals(events, research_s, of_policies=True)
    started = next(e for e in events if e.kind == "run" and e.payload.phase == "started")
    agents = [e.payload for e in events if e.kind == "agent"]
    judged = [e.payload for e in events if e.kind == "episode" and e.payload.purpose != "heldout"]
    samples = [e.payload for e in events if e.kind == "compute"]
    gpu = [s.gpu for s in samples if s.gpu is not None]
    held_out = metrics.heldout_episodes(events)
    summary = asdict(metrics.summarise(held_out))
    thresholds = (*metrics.THRESHOLDS, *metrics.STRICT_THRESHOLDS)
    result = Result(
        run_id=run_dir.resolve().name,
        date=datetime.fromtimestamp(started.t_wall, UTC).isoformat(timespec="seconds"),
        kind=cell_kind(held_out),
        agent=AgentInfo(
            name=config.agent.partition(":")[0], version=agents[0].agent_version if agents else None,
            model=config.model or (max(tokens.by_model, key=tokens.by_model.__getitem__) if tokens.by_model else None),
            effort=config.effort,
        ),
        env=EnvInfo(id=config.env, kwargs=config.env_kwargs, fingerprint=started.payload.fingerprint),
        track=config.track, pace=config.pace, sandbox=sandbox,
        gateway=config.gateway if tokens.calls or config.replay else "none",
        seed=config.seed, budget_s=config.budget_s, token_budget=config.token_budget, cost_budget=config.cost_budget,
        goal=config.goal, stopped_by=_stopped_by(events), research_s=research_s,
        working_s=max(0.0, research_s - metrics.stalled_seconds(events, research_s)),
        compute_class=compute_class(), hardware=hardware(), versions=started.payload.versions,
        answer=answer,
        held_out=HeldOut(**{k: v for k, v in summary.items() if k in HeldOut.model_fields}),
        best_raw=raw[-1].value if raw else None,
        best_confirmed=confirmed[-1].value if confirmed else None,
        to_threshold={f"{x:g}": metrics.resources_to(confirmed, x) for x in thresholds},
        evaluations=sum(e.kind == "evaluation" and e.payload.phase == "finished" for e in events),
        episodes=len(judged), robot_s=sum(e.robot_s for e in judged), ideas=sum(e.kind == "idea" for e in events),
        tokens=asdict(tokens), policy_tokens=own.headline, deterministic=own.calls == 0,
        tools=config.tools, cost_usd=_cost(config, events), mtu=tokens.per_minute if tokens.calls else None,
        mru=metrics.robot_utilisation(events, research_s, stations=1, paced=config.pace > 0),
        cpu_utilisation=sum(s.cpu for s in samples) / len(samples) if samples else None,
        gpu_utilisation=sum(gpu) / len(gpu) if gpu else None,
        held_out_secret=(run_dir / "secret").read_text(), ledger_sha256=ledger.digest(),
        unranked_because=_unranked(config, sandbox, summary["episodes"], cell_kind(held_out)),
    )  # fmt: skip
    scratch = run_dir / "result.json.tmp"
    scratch.write_text(result.model_dump_json(indent=1) + "\n")
    scratch.rename(run_dir / "result.json")
    return result


def _stopped_by(events: Sequence[Event]) -> str | None:
    ends = [e.payload.detail for e in events if e.kind == "run" and e.payload.phase == "agents_stopped"]
    return ends[-1] if ends else None


def _cost(config: RunConfig, events: Sequence[Event]) -> float | None:
    """US dollars of all calls by the price table, or None where it lacks a model."""
    table = prices.load(Path(config.prices) if config.prices and Path(config.prices).is_file() else None)
    total = 0.0
    for call in (e.payload for e in events if e.kind == "tokens" and e.agent not in NOT_AGENTS):
        price = prices.price_of(call.model, table)
        if price is None and (call.input or call.output):
            return None
        total += price.of(call) if price else 0.0
    return round(total, 4)


def _unranked(config: RunConfig, sandbox: str, held_out: int, kind: str) -> list[str]:
    reasons = {
        "no cage (--sandbox none)": sandbox == "none",
        "ideal sensing": config.env_kwargs.get("sensing") == "ideal",
        "starts known beforehand (--held-out-secret)": config.held_out_secret is not None,
        "scripted model (--replay)": config.replay is not None or config.tools_replay is not None,
        "the provider's own tools (--allow-hosted-tools)": config.allow_hosted_tools,
        "stand-in kitchen: not a RoboCasa score": kind == "stand-in",
        "tools beyond the canonical ones": config.tools.get("mode", "canonical") != "canonical",
        f"fewer than {RANKED_EPISODES} held-out episodes": held_out < RANKED_EPISODES,
    }
    return [reason for reason, holds in reasons.items() if holds]


def versions() -> dict[str, str]:
    """Versions of what decides an outcome."""
    found = {"python": platform.python_version()}
    for name in ("autoenvbench", "gymnasium", "mujoco", "numpy"):
        found[name] = metadata.version(name)
    return found
