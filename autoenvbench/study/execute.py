"""Measures one level of a study: a policy's episodes, or the held-out episodes of research runs."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass

from enpire_envs.registry import entry_of

from autoenvbench.errors import UserError
from autoenvbench.record import metrics
from autoenvbench.record.ledger import Ledger
from autoenvbench.research.run import research
from autoenvbench.study.demos import of_a_run
from autoenvbench.study.plan import Level, Plan, research_config
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
        time_to_80: median over seeds of the research time to a confirmed 80 % [s]; None where most never got there.
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


def measure(plan: Plan, level: Level) -> Measured:
    """The level's measurement: read from its file, or made and kept there. Raises UserError for research that measured nothing."""
    if level.measured:
        return Measured(**{**json.loads(level.file.read_text()), "level": level.name})
    measured = _measure_research(plan, level) if level.condition.agent else _measure_policy(plan, level)
    scratch = level.file.with_suffix(".part")
    scratch.write_text(json.dumps(asdict(measured)))
    os.replace(scratch, level.file)
    return measured


def _measure_policy(plan: Plan, level: Level) -> Measured:
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
    return Measured(
        level.name, result["episodes"], result["successes"], result["outcomes"], result["scenes"], result["failures"],
        result["kind"], policy_tokens=result["policy_tokens"],
    )  # fmt: skip


def _measure_research(plan: Plan, level: Level) -> Measured:
    """One run per seed; the outcomes of their answers on the seeds' held-out starts, one seed after the other."""
    outcomes: list[bool | None] = []
    scenes: list[str | None] = []
    failures: Counter[str] = Counter()
    tokens, times, kind = 0, [], "sim"
    for seed in plan.study.seeds:
        config = research_config(plan.study, level.condition, seed, plan.sandbox)
        result = research(config, plan.folder / "runs", demonstrate=of_a_run(config))
        run_dir = plan.folder / "runs" / result["run_id"]
        if result["void_because"]:
            raise UserError(
                f"the run {run_dir} of level {level.name} measured nothing: {'; '.join(result['void_because'])}. "
                "Mend that and start the study again: it goes on where it was"
            )
        ledger = Ledger(run_dir / "ledger.sqlite")
        episodes = metrics.heldout_episodes(ledger.events("episode"))
        ledger.close()
        outcomes += [None if e.infrastructure else e.success for e in episodes]
        scenes += [e.scene for e in episodes]
        failures.update(result["held_out"]["failures"])
        tokens += int(result["tokens"].get("headline", 0))
        reached = result["to_threshold"].get("0.8")
        times.append(reached["time_s"] if reached else None)
        kind = result["kind"]
    known = [t for t in times if t is not None]
    return Measured(
        level.name, len(outcomes) - outcomes.count(None), sum(map(bool, outcomes)), outcomes, scenes, dict(failures), kind,
        tokens=tokens, time_to_80=sorted(known)[len(times) // 2] if len(known) > len(times) // 2 else None,
    )  # fmt: skip
