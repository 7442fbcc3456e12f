"""What a level of a study came to: a policy's episodes, measured here, or the held-out episodes of its research runs."""

from __future__ import annotations

import json
import os
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from enpire_envs.registry import entry_of

from autoenvbench.record.survival import time_to
from autoenvbench.study.outcomes import RunOutcome
from autoenvbench.study.plan import Level, Plan
from autoenvbench.study.score import score


@dataclass(frozen=True, slots=True)
class Measured:
    """The outcome of one level.

    Attributes:
        outcomes: success of each episode in the order of the starts; None where the machine failed (no evidence).
        scenes: digest of each episode's initial scene, in the same order; None where the environment has none.
        failures: episodes by reason.
        kind: of the cell: "sim", "twin", "real" or "stand-in".
        policy_tokens: headline tokens of the policy's own calls to a model.
        tokens: headline tokens of the agents' calls, over all seeds.
        time_to_80: Kaplan-Meier median over seeds of the research time to a confirmed 80 % [s]; None where half never got there.
    """

    level: str
    episodes: int
    successes: int
    outcomes: list[bool | None]
    scenes: list[str | None]
    failures: dict[str, int]
    kind: str
    policy_tokens: int = 0
    tokens: int = 0
    time_to_80: float | None = None


def measure_policy(plan: Plan, level: Level) -> Measured:
    """The measurement of a policy's level: read from its file, or made and kept there. Raises UserError."""
    assert level.file is not None
    if level.measured:
        return Measured(**{**json.loads(level.file.read_text()), "level": level.name})
    condition, study = level.condition, plan.study
    assert condition.env is not None
    assert condition.policy is not None
    kwargs = dict(condition.env_kwargs)
    entry = entry_of(condition.env)
    if entry is not None and entry.scenes_argument is not None:
        kwargs.setdefault(entry.scenes_argument, str((plan.folder / "scenes").resolve()))
    result = score(
        condition.env, condition.policy, study.episodes, env_kwargs=kwargs, seed=study.seed, sandbox=plan.sandbox,
        track=condition.track_in_force, protocol=study.protocol, tools=condition.tools,
        tools_replay=condition.tools_replay, tools_url=condition.base_url,
    )  # fmt: skip
    measured = Measured(
        level.name, result["episodes"], result["successes"], result["outcomes"], result["scenes"], result["failures"],
        result["kind"], policy_tokens=result["policy_tokens"],
    )  # fmt: skip
    scratch = level.file.with_suffix(".part")
    scratch.write_text(json.dumps(asdict(measured)))
    os.replace(scratch, level.file)
    return measured


def measured_research(level: Level, by_seed: Sequence[RunOutcome | None]) -> Measured:
    """The outcomes of the answers of a level's finished runs on their held-out starts, one seed after the other. A run that is
    missing leaves its starts open, so that levels stay comparable start by start."""
    outcomes: list[bool | None] = []
    scenes: list[str | None] = []
    failures: Counter[str] = Counter()
    for planned, run in zip(level.runs, by_seed, strict=True):
        if run is None:
            outcomes += [None] * planned.config.held_out
            scenes += [None] * planned.config.held_out
            continue
        outcomes += [None if e.infrastructure else e.success for e in run.held_out]
        scenes += [e.scene for e in run.held_out]
        failures.update(run.result.held_out.failures)
    runs = [run for run in by_seed if run is not None]
    reached = time_to([run.to(0.8, "time_s") for run in runs], [run.watched("time_s") for run in runs])
    return Measured(
        level.name, len(outcomes) - outcomes.count(None), sum(map(bool, outcomes)), outcomes, scenes, dict(failures),
        statistics.mode(run.result.kind for run in runs) if runs else "sim",
        tokens=round(sum(run.spent("tokens") for run in runs)), time_to_80=reached.median if reached else None,
    )  # fmt: skip
