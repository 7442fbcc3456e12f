"""What a run comes to: the object written as result.json and submitted to the leaderboards.

`Result.from_events` is a pure function of the ledger: no file, clock, configuration, environment variable or look at the
machine enters it, so that whoever has the ledger can compute every field anew.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from autoenvbench.errors import UserError
from autoenvbench.record import metrics, prices
from autoenvbench.record.answer import Answer, choose_answer
from autoenvbench.record.canary import canary_problems
from autoenvbench.record.contents import BundleContents
from autoenvbench.record.events import NOT_AGENTS, EpisodeEvent, RunEvent
from autoenvbench.record.judges import (
    REAL_KINDS,
    Corrected,
    Judge,
    cells_without_judge,
    corrected,
    judge_problems,
    judges_of,
)
from autoenvbench.record.ledger import Event, digest
from autoenvbench.record.member_info import MemberInfo, kinds_at_work, member_info
from autoenvbench.record.milestones import milestones
from autoenvbench.record.run_config import RunConfig
from autoenvbench.record.standing import unranked_reasons, void_reasons
from autoenvbench.record.stations import Source
from autoenvbench.record.strict_model import StrictModel
from autoenvbench.record.summary import summarise, wilson
from autoenvbench.record.team import spent_to, team_curves
from autoenvbench.record.vision_use import VisionUse, vision_use

Kind = Literal["sim", "twin", "real", "stand-in", "reported"]
#: A file name on every system, and never a path.
RunId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,150}$")]
_FILES = (
    "replay",
    "tools_replay",
    "prices",
    "private_stations",
    "experience",
)  # of a configuration: where they lay is nobody's business


class AgentInfo(StrictModel):
    """Whose result it is. `model` is the one that used most tokens as the gateway metered them, else the one that was asked for."""

    name: str
    version: str | None = None
    model: str | None = None
    effort: str | None = None


class EnvInfo(StrictModel):
    """What it was measured on. `fingerprint` covers task code, scene, arguments and physics version."""

    id: str
    kwargs: dict[str, Any] = Field(default_factory=dict)
    fingerprint: str | None = None


class HeldOut(StrictModel):
    """The ranking number: the answer's success rate on held-out starts. The fields are those of `summary.Summary`."""

    episodes: int = Field(ge=0)
    successes: int = Field(ge=0)
    success_rate: float = Field(ge=0, le=1)
    wilson95: tuple[float, float]
    score: float = Field(ge=0, le=1)
    streak: int = Field(ge=0)
    pass_at_8: float | None = Field(default=None, ge=0, le=1)
    failures: dict[str, int] = Field(default_factory=dict)
    void: int = Field(default=0, ge=0)  # the machine failed twice: in none of the numbers above
    interrupted: int = Field(default=0, ge=0)  # ended from outside: failures
    reruns: int = Field(default=0, ge=0)  # the machine was proven to be at fault

    @model_validator(mode="after")
    def check_arithmetic(self) -> HeldOut:
        """Raises ValueError where the numbers cannot be true together."""
        rate = self.successes / self.episodes if self.episodes else 0.0
        if not self.streak <= self.successes <= self.episodes:
            raise ValueError("streak <= successes <= episodes does not hold")
        if not math.isclose(self.success_rate, rate, abs_tol=1e-9):
            raise ValueError(f"success_rate is {self.success_rate}, but {self.successes} of {self.episodes} is {rate}")
        low, high = wilson(self.successes, self.episodes)  # wider where a start had several attempts
        if not (0 <= self.wilson95[0] <= low + 1e-9 and high - 1e-9 <= self.wilson95[1] <= 1):
            raise ValueError(
                f"wilson95 is {self.wilson95}, but of {self.successes} of {self.episodes} it is at least {(low, high)}"
            )
        if sum(self.failures.values()) != self.episodes - self.successes or min(self.failures.values(), default=1) < 1:
            raise ValueError("the counts in failures do not add up to the episodes that failed")
        return self


class Result(StrictModel):
    """One run (or one scored policy). None means unknown, or nothing to say.

    Attributes:
        run_id: name of the run's folder.
        date: at which it began, ISO 8601, UTC.
        kind: of the cell in which the held-out episodes happened.
        track, pace, budgets, goal ...: parts of `config`, which is the whole configuration, for readers.
        budget_s, research_s, working_s: research time granted, used, and used without waiting for failing model calls [s].
        contents: what the answer's bundle holds, as the station found it: whether it is of its run's regime (`record.regimes`).
        stopped_by: what ended research: deadline, goal, token_budget, robot_budget, agent_ended, gave_up ...
        best_raw, best_confirmed: success rate during research, 0 to 1.
        milestones: by stage of the task, from the first to the last, what was spent when a counted episode had first got so far
            (`record.milestones`).
        members: what each member came to, in the order in which they began.
        team_average: mean over all members of each one's own confirmed best, 0 to 1; None before anyone had one.
        average_to_threshold: by success rate, what all had spent until the team's average reached it; None where it never did.
        to_threshold: by success rate, what was spent until the confirmed best reached it; None where it never did.
        robot_budget_s: robot time granted [s].
        evaluations, episodes, robot_s: of research, held-out scoring left out; robot time [s].
        policy_tokens: headline tokens of the policies' own model calls.
        vision: which model answered the members' questions about pictures, and what that cost, where they see none themselves (`--vision tool`).
        deterministic: no policy asked a model: a re-run must give the same outcomes.
        cost_usd: by the price table; None if a model is not in it.
        mtu: headline tokens per minute of research; `mru`: share of it in which the robots worked, 0 to 1, all `cells` together,
            and `mru_of_cells` each by itself; `real_time`: see `metrics.RobotUse`.
        stations: where the numbers of its stations came from: its own secret, a file of private ones (of which `stations_sha256` is the
            digest), or its configuration; None where all stations are the same. See `record.stations`.
        experience_sha256: of what an earlier run taught, where its members were given that (--experience).
        judges: what judged in real cells: each cell's station, verifier and certificate; empty in simulation.
        corrected: the held-out rate corrected for what its verifiers were found to get wrong; None where they are not certified.
        held_out_secret: 32 bytes in hexadecimal, from which all starts follow.
        void_because: why the outcome is no statement about the agent at all, as when its provider was down.
        unranked_because: why it may not be ranked.
    """

    version: Literal[2] = 2
    run_id: RunId
    date: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$")]
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
    robot_budget_s: float | None = None
    token_budget: int | None = None
    cost_budget: float | None = None
    goal: str | None = None
    config: dict[str, Any] | None = None
    stopped_by: str | None = None
    research_s: float | None = None
    working_s: float | None = None
    compute_class: str | None = None
    hardware: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    answer: Answer
    contents: BundleContents | None = None
    held_out: HeldOut
    best_raw: float | None = None
    best_confirmed: float | None = None
    to_threshold: dict[str, dict[str, float] | None] = Field(default_factory=dict)
    milestones: dict[str, dict[str, float]] = Field(default_factory=dict)
    members: list[MemberInfo] = Field(default_factory=list)
    team_average: float | None = Field(default=None, ge=0, le=1)
    average_to_threshold: dict[str, dict[str, float] | None] = Field(default_factory=dict)
    evaluations: int = 0
    disturbances: metrics.Disturbances | None = None  # resumes, aborts, interrupted episodes, reruns
    episodes: int = 0
    robot_s: float = 0.0
    ideas: int = 0
    tokens: metrics.TokenTotals | None = None
    policy_tokens: int = 0
    vision: VisionUse | None = None
    deterministic: bool = True
    tools: dict[str, Any] = Field(default_factory=dict)  # of script policies, where they are not the defaults
    cost_usd: float | None = None
    mtu: float | None = None
    cells: int = Field(default=1, ge=1)
    mru: float | None = None
    mru_of_cells: dict[str, float] = Field(default_factory=dict)
    real_time: float | None = None
    cpu_utilisation: float | None = None
    gpu_utilisation: float | None = None
    stations: Source | None = None
    stations_sha256: str | None = None
    experience_sha256: str | None = None
    judges: list[Judge] = Field(default_factory=list, max_length=64)
    corrected: Corrected | None = None
    held_out_secret: str | None = None
    ledger_sha256: str | None = None
    void_because: list[str] = Field(default_factory=list)
    unranked_because: list[str] = Field(default_factory=list)
    verification: Literal["self-reported"] = "self-reported"  # what a re-run found is never the submitter's to say

    @model_validator(mode="after")
    def check_numbers(self) -> Result:
        """Raises ValueError for a number that is infinite or none."""
        for where, number in numbers(self.model_dump(mode="json")):
            if isinstance(number, float) and not math.isfinite(number):
                raise ValueError(f"{where} is {number}")
        return self

    @classmethod
    def from_events(cls, events: Sequence[Event]) -> Result:
        """The result of a finished run. Raises UserError for a ledger that cannot have one."""
        return _result(events)


def numbers(value: Any, where: str = "") -> Iterator[tuple[str, float]]:
    """Every number in a nest of dicts and lists, with its dotted path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from numbers(item, f"{where}.{key}".lstrip("."))
    elif isinstance(value, list):
        for k, item in enumerate(value):
            yield from numbers(item, f"{where}.{k}")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield where, value


# -- from the ledger ---------------------------------------------------------------------------------------------------
def started(events: Sequence[Event]) -> tuple[Event, RunConfig]:
    """The event that begins a run, and the configuration it holds. Raises UserError."""
    first = next((e for e in events if e.kind == "run" and e.payload.phase == "started"), None)
    if first is None:
        raise UserError("this ledger holds no started run")
    try:
        return first, RunConfig.of_ledger(first.payload.config)
    except ValidationError as error:
        what = error.errors()[0]
        raise UserError(
            f"the run's configuration in this ledger cannot be read ({'.'.join(map(str, what['loc']))}: {what['msg']}); "
            "it was written by another version of autoenvbench"
        ) from None


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


def _result(events: Sequence[Event]) -> Result:
    first, config = started(events)
    start: RunEvent = first.payload
    phases: list[RunEvent] = [e.payload for e in events if e.kind == "run"]
    finished = next((m for m in phases if m.phase == "finished"), None)
    if finished is None:
        raise UserError("this run is not finished; take it up again: autoenvbench resume RUN")
    research_s = research_seconds(events)
    raw, confirmed = metrics.best_curves(events, config.min_episodes)
    team = team_curves(events, config.min_episodes)
    named = {name: agent for m in phases for name, agent in m.members.items()}
    since_teams = "team" in (start.config or {})  # runs from before did not say all of it
    tokens = metrics.token_totals(events, research_s)
    own = metrics.token_totals(events, research_s, of_policies=True)
    agents = [e.payload for e in events if e.kind == "agent"]
    versions_seen = list(dict.fromkeys(a.agent_version for a in agents if a.agent_version))
    episodes: list[EpisodeEvent] = [e.payload for e in events if e.kind == "episode"]
    judged = [e for e in episodes if e.purpose != "heldout"]
    evaluations = [e.payload.phase for e in events if e.kind == "evaluation" and e.payload.purpose != "heldout"]
    samples = [e.payload for e in events if e.kind == "compute"]
    gpu = [s.gpu for s in samples if s.gpu is not None]
    held_out = metrics.heldout_episodes(events)
    kind = cell_kind(held_out) if held_out else start.cell
    summary = asdict(summarise(held_out))
    try:
        judges = judges_of(events)
    except ValueError as error:
        raise UserError(f"this ledger makes no result: {error}") from None
    unjudged = [f"nothing says which verifier judged in {cell}" for cell in cells_without_judge(events, judges)]
    mistrusted = [*judge_problems(str(kind), config.env, judges), *canary_problems(events, config.canary_every)]
    if kind in REAL_KINDS and judges:
        mistrusted += unjudged
    stalled_s = metrics.stalled_seconds(events, research_s)
    void = void_reasons(events, research_s, stalled_s)
    answer = choose_answer(events, config.min_episodes)
    use = metrics.robot_use(events, research_s, config.cells, config.pace)
    told = (
        use if use and "cells" in (start.config or {}) else None
    )  # runs from before did not say which cell, nor how far they kept time
    most_used = max(tokens.by_model, key=lambda name: (tokens.by_model[name], name), default=None)
    thresholds = (*metrics.THRESHOLDS, *metrics.STRICT_THRESHOLDS)
    try:
        return Result(
            run_id=f"unnamed-{digest(events)[:16]}" if start.run_id is None else start.run_id,
            date=datetime.fromtimestamp(first.t_wall, UTC).isoformat(timespec="seconds"),
            kind=kind,  # type: ignore[arg-type]
            agent=AgentInfo(
                name=kinds_at_work(events, config), version="; ".join(versions_seen) or None,
                model=_models_words(config) or (most_used if most_used and tokens.by_model[most_used] else config.model),
                effort=config.effort,
            ),
            env=EnvInfo(id=config.env, kwargs=config.env_kwargs, fingerprint=start.fingerprint),
            track=config.track, pace=config.pace, sandbox=config.sandbox or "unknown",
            gateway=config.gateway if tokens.calls or config.replay else "none",
            seed=config.seed, team_size=max(1, len(named)), budget_s=config.budget_s, robot_budget_s=config.robot_budget_s,
            token_budget=config.token_budget, cost_budget=config.cost_budget, goal=config.goal,
            config={name: value for name, value in public_config(config).items() if name in (start.config or {})},  # as recorded
            stopped_by=next((m.detail for m in reversed(phases) if m.phase == "agents_stopped"), None),
            research_s=research_s, working_s=max(0.0, research_s - stalled_s),
            compute_class=start.compute_class, hardware=start.hardware, versions=start.versions,
            answer=answer,
            contents=next((e.payload.contents for e in events if e.kind == "contents" and e.payload.digest == answer.digest), None),
            held_out=HeldOut(**{k: v for k, v in summary.items() if k in HeldOut.model_fields}),
            best_raw=raw[-1].value if raw else None,
            best_confirmed=confirmed[-1].value if confirmed else None,
            to_threshold={f"{x:g}": metrics.resources_to(confirmed, x) for x in thresholds},
            milestones=milestones(events) if "vision_model" in (start.config or {}) else {},  # results from before did not say them
            members=[member_info(name, agent, events, team, config.models) for name, agent in named.items()] if since_teams else [],
            team_average=team.average[-1].value if team.average and since_teams else None,
            average_to_threshold={f"{x:g}": spent_to(team.average, x) for x in metrics.THRESHOLDS} if since_teams else {},
            evaluations=evaluations.count("finished"), disturbances=metrics.disturbances(events),
            episodes=len(judged), robot_s=sum(map(metrics.robot_seconds, events)),
            ideas=sum(e.kind == "idea" for e in events),
            tokens=tokens, policy_tokens=own.headline, vision=vision_use(events, config, named), deterministic=own.calls == 0, tools=config.tools,
            cost_usd=_cost(events, start.prices), mtu=tokens.per_minute if tokens.calls else None,
            cells=config.cells, mru=use.mru if use else None, mru_of_cells=told.of_cells if told else {}, real_time=told.real_time if told else None,
            cpu_utilisation=sum(s.cpu for s in samples) / len(samples) if samples else None,
            gpu_utilisation=sum(gpu) / len(gpu) if gpu else None,
            stations=start.stations, stations_sha256=start.stations_sha256, experience_sha256=config.experience_sha256, judges=judges,
            corrected=corrected(summary["successes"], summary["episodes"], config.env, judges), held_out_secret=finished.secret, ledger_sha256=digest(events),
            void_because=void, unranked_because=[*void, *unranked_reasons(config, start, phases, summary["episodes"], kind), *mistrusted],
        )  # fmt: skip
    except (ValidationError, OverflowError, OSError, ValueError) as error:
        raise UserError(f"this ledger makes no result: {error}") from None


def _models_words(config: RunConfig) -> str:
    """The models of a mixed team as `--model` names them, in one order; empty where it has one."""
    return ",".join(f"{kind}={model}" for kind, model in sorted(config.models.items()))


def public_config(config: RunConfig) -> dict[str, Any]:
    """A configuration as a result shows it: without the secret, the folders of files, and a key in a server's address."""
    shown = config.model_dump(mode="json", exclude={"held_out_secret"})
    for name in _FILES:
        shown[name] = Path(shown[name]).name if shown[name] else None
    for name in ("base_url", "vision_url"):
        if shown[name]:
            scheme, found, rest = shown[name].rpartition("://")
            shown[name] = scheme + found + rest.rpartition("@")[2].partition("?")[0]
    return shown


def _cost(events: Sequence[Event], table: dict[str, dict[str, float]] | None) -> float | None:
    """US dollars of all the agents' calls by the run's price table, or None where it lacks a model."""
    known = {model: prices.Price(**price) for model, price in (table or {}).items()}
    total = 0.0
    for call in (e.payload for e in events if e.kind == "tokens" and e.agent not in NOT_AGENTS):
        price = prices.price_of(call.model, known)
        if price is None and (call.input or call.output):
            return None
        total += price.of(call) if price else 0.0
    return round(total, 4)


def versions() -> dict[str, str]:
    """Versions of what decides an outcome, as they are here and now."""
    found = {"python": platform.python_version()}
    for name in ("autoenvbench", "gymnasium", "mujoco", "numpy"):
        found[name] = metadata.version(name)
    return found
