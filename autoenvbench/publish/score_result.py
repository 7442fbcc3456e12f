"""The score of a policy as a submission. It has no ledger, and anybody can write one: it is checked for contradictions, marked as
self-reported, and never ranked."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import PurePath
from typing import Any

from pydantic import Field, ValidationError, model_validator

from autoenvbench.errors import UserError
from autoenvbench.record.answer import Answer
from autoenvbench.record.results import AgentInfo, EnvInfo, HeldOut, Kind, Result
from autoenvbench.record.stations import Source
from autoenvbench.record.strict_model import StrictModel
from autoenvbench.record.summary import pass_at_k, streak

#: Why policies with a name are not ranked.
_UNRANKED_BECAUSE = {
    "reference": "privileged: plans with the simulator's true state",
    "scripted": "baseline: written by us, who know the task",
    "random": "baseline",
    "naive": "baseline",
}


class ScoreReport(StrictModel):
    """What `autoenvbench score --json` prints (see `study.score.score`). Times are in seconds, rates in [0, 1]."""

    env: str
    env_kwargs: dict[str, Any]
    policy: str
    kind: Kind
    seed: int = Field(ge=0)
    date: datetime
    hardware: str
    compute_class: str
    versions: dict[str, str]
    attempts: int = Field(ge=1)
    episodes: int = Field(ge=1)
    successes: int
    success_rate: float
    wilson95: tuple[float, float]
    score: float
    streak: int
    pass_at_8: float | None
    failures: dict[str, int]
    stages: dict[str, int]
    void: int = Field(ge=0)
    interrupted: int = Field(ge=0)
    reruns: int = Field(ge=0)
    failure_details: dict[str, str]
    seconds_per_episode: float
    realtime_factor: float
    fingerprint: str
    digest: str
    sandbox: str
    scenes: list[str | None]
    out_of_distribution: HeldOut | None  # from starts of the wider range, where these were asked for
    outcomes: list[bool | None]  # the attempts at the first start, then those at the next; None for a void one
    stations: Source | None
    protocol: str | None
    tools: dict[str, Any]
    policy_tokens: int = Field(ge=0)
    deterministic: bool

    @model_validator(mode="after")
    def check_outcomes(self) -> ScoreReport:
        """Raises ValueError for numbers that the outcomes, episode by episode, do not give."""
        if len(self.scenes) != len(self.outcomes) or sum(self.stages.values()) != self.episodes:
            raise ValueError("scenes and stages are not one for each episode")
        starts = [self.outcomes[k : k + self.attempts] for k in range(0, len(self.outcomes), self.attempts)]
        judged = [[won for won in start if won is not None] for start in starts]
        judged = [start for start in judged if start]
        for name, value in (
            ("episodes", sum(map(len, judged))), ("void", self.outcomes.count(None)), ("successes", sum(map(sum, judged))),
            ("streak", streak(start[0] for start in judged)), ("pass_at_8", pass_at_k(judged)),
        ):  # fmt: skip
            if getattr(self, name) != value:
                raise ValueError(f"{name} is {getattr(self, name)}, and by the outcomes it is {value}")
        return self


def result_of_score(given: Any) -> Result:
    """The submission of a score. Raises UserError for what `score --json` did not print, or that contradicts itself."""
    if isinstance(given, dict) and "run_id" in given:
        raise UserError("this is a run's result; give its folder, so that it can be checked against the ledger")
    try:
        report = ScoreReport.model_validate(given)
        policy = PurePath(report.policy).name or "policy"
        name = "-".join((report.env.rpartition("/")[2], policy, report.fingerprint, f"s{report.seed}"))
        return Result(
            run_id="score-" + re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:120],
            date=report.date.isoformat(timespec="seconds"), kind=report.kind, agent=AgentInfo(name=policy),
            env=EnvInfo(id=report.env, kwargs=report.env_kwargs, fingerprint=report.fingerprint),
            track="none", pace=0.0, sandbox=report.sandbox, gateway="none", seed=report.seed,
            compute_class=report.compute_class, hardware=report.hardware, versions=report.versions,
            answer=Answer(commit=report.digest, digest=report.digest, how="policy"),
            held_out=HeldOut(**{k: getattr(report, k) for k in HeldOut.model_fields}),
            stations=report.stations, tools=report.tools, policy_tokens=report.policy_tokens, deterministic=report.deterministic,
            unranked_because=[_UNRANKED_BECAUSE.get(report.policy, "a policy alone, on public starts")],
        )  # fmt: skip
    except (ValidationError, OverflowError, RecursionError) as error:
        first = error.errors(include_input=False, include_url=False)[0] if isinstance(error, ValidationError) else None
        what = f"{'.'.join(map(str, first['loc'])) or 'its numbers'}: {first['msg']}" if first else repr(error)
        raise UserError(f"this is not what `autoenvbench score --json` prints: {what}") from None
