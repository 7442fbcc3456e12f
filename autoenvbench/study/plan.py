"""The plan of a study: its levels, the file of each one's measurement, and a check that all of it can run here."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from autoenvbench.errors import UserError
from autoenvbench.make_env import default_pace, make_env
from autoenvbench.record.clock import parse_duration
from autoenvbench.record.run_config import RunConfig
from autoenvbench.sandbox.cage import Sandbox, choose_sandbox
from autoenvbench.station.bundles import policy_digest
from autoenvbench.study.spec import Condition, Study, check, load_study, merge


@dataclass(frozen=True, slots=True)
class Level:
    """One level of an axis, its condition, and the file of its measurement (which two levels of equal conditions share)."""

    axis: str
    name: str
    condition: Condition
    file: Path

    @property
    def measured(self) -> bool:
        """Whether an earlier run of the study has measured it."""
        return self.file.exists()


@dataclass(frozen=True, slots=True)
class Plan:
    """A study with all of its levels, in the order of the study file.

    Attributes:
        folder: of tables, figures, measurements and research runs.
        sandbox: that policies and agents run in.
        notice: what to say about the sandbox, if anything.
    """

    study: Study
    folder: Path
    sandbox: Sandbox
    notice: str | None
    levels: list[Level]


def make_plan(path: Path, out: Path, *, sandbox: Sandbox | None, episodes: int | None) -> Plan:
    """The plan of a study file; its folder is made below `out` when something is measured.

    Args:
        sandbox: None for the machine's best.
        episodes: in place of the file's, or None.

    Raises:
        UserError: for everything that can be known to be wrong before the first level is measured.
    """
    study = load_study(path)
    if episodes is not None:
        study = study.model_copy(update={"episodes": episodes})
    folder = out / study.name
    cage, notice = choose_sandbox(sandbox, fallback=False)
    levels: list[Level] = []
    made: set[str] = set()
    for axis, changes in study.axes.items():
        for name, change in changes.items():
            condition = merge(study.base, change, path.parent)
            try:
                check(study, condition)
                level = Level(axis, name, condition, _file(study, condition, folder))
                if not level.measured:
                    _check_machine(study, condition, cage, made)
            except UserError as error:
                raise UserError(f"{axis}: {name}: {error}") from None
            levels.append(level)
    return Plan(study, folder, cage, notice, levels)


def research_config(study: Study, condition: Condition, seed: int, sandbox: Sandbox) -> RunConfig:
    """The research run of a level with an agent, for one seed. Its held-out starts are those of every level with this seed."""
    assert condition.env is not None
    assert condition.agent is not None
    secret = hashlib.sha256(f"autoenvbench ablate {study.name} {study.seed} {seed}".encode()).hexdigest()
    track = condition.track_in_force
    return RunConfig(
        agent=condition.agent, env=condition.env, env_kwargs=condition.env_kwargs, budget_s=parse_duration(condition.budget or ""),
        robot_budget_s=parse_duration(condition.robot_budget) if condition.robot_budget else None,
        seed=seed, track=track, pace=default_pace(condition.env, condition.env_kwargs, track) if condition.pace is None else condition.pace, sandbox=sandbox, model=condition.model, effort=condition.effort,
        regime=condition.regime, starter=condition.starter, demos=condition.demos, tools=condition.tools, tools_replay=condition.tools_replay, base_url=condition.base_url,
        gateway="replay" if condition.replay else "live", replay=condition.replay, held_out_secret=secret,
        held_out=study.episodes,
    )  # fmt: skip


def _check_machine(study: Study, condition: Condition, sandbox: Sandbox, made: set[str]) -> None:
    """Raises UserError for what this machine lacks. `made` are the environments that were made already: some take long."""
    from autoenvbench.research.run import preflight

    env = json.dumps([condition.env, condition.env_kwargs], sort_keys=True)
    if condition.agent is not None:
        preflight(research_config(study, condition, study.seeds[0], sandbox))
    elif env not in made:
        make_env(str(condition.env), condition.env_kwargs).close()
    made.add(env)


def _file(study: Study, condition: Condition, folder: Path) -> Path:
    """Named by everything that changes the measurement, with the contents of the policy and of scripted models."""
    policies = [] if condition.policy_folder is None else [policy_digest(condition.policy_folder)]
    scripts = [Path(file).read_bytes() for file in (condition.tools_replay, condition.replay) if file is not None]
    setting = {"condition": condition.model_dump(), "episodes": study.episodes, "protocol": study.protocol, "seed": study.seed,
               "seeds": study.seeds if condition.agent else None,
               "files": [*policies, *(hashlib.sha256(script).hexdigest() for script in scripts)]}  # fmt: skip
    return folder / f"level-{hashlib.sha256(json.dumps(setting, sort_keys=True).encode()).hexdigest()[:16]}.json"
