"""The plan of a study: its levels, what is to be run for each, and a check that all of it can run here."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from autoenvbench.agents.team import parse_models, team_name
from autoenvbench.errors import UserError
from autoenvbench.make_env import default_pace, make_env
from autoenvbench.record.clock import parse_duration
from autoenvbench.record.run_config import RunConfig
from autoenvbench.sandbox.cage import Sandbox, choose_sandbox
from autoenvbench.station.bundles import policy_digest
from autoenvbench.study.runs import PlannedRun, run_key, standing_of
from autoenvbench.study.spec import GRID, Condition, Control, Study, check, control_of, grid_levels, load_study, merge


@dataclass(frozen=True, slots=True)
class Level:
    """One level of an axis and its condition.

    Attributes:
        file: of a policy's measurement, which two levels of equal conditions share; None for research.
        runs: of research, one per seed; likewise shared.
        team: the name of the level that this one is a control of, and `control` which; None for a level of the study file.
    """

    axis: str
    name: str
    condition: Condition
    file: Path | None = None
    runs: list[PlannedRun] = field(default_factory=list)
    team: str | None = None
    control: Control | None = None

    @property
    def measured(self) -> bool:
        """Whether an earlier start of the study has measured it."""
        if self.file is not None:
            return self.file.exists()
        return all(standing_of(run).state == "finished" for run in self.runs)


@dataclass(frozen=True, slots=True)
class Plan:
    """A study with all of its levels, in the order of the study file; the controls of a team follow it.

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

    @property
    def runs(self) -> list[PlannedRun]:
        """Every research run, once, in the order in which they are begun: seed by seed, so that an unfinished study has something
        of each level."""
        found = {run.key: run for level in self.levels for run in level.runs}
        return sorted(found.values(), key=lambda run: self.study.seeds.index(run.config.seed))


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
    axes = dict(study.axes)
    if study.grid:
        axes[GRID] = grid_levels(study)
    levels: list[Level] = []
    made: set[str] = set()
    for axis, changes in axes.items():
        for name, change in changes.items():
            try:
                condition = merge(study.base, change, path.parent)
                found = [_level(study, axis, name, condition, folder, cage)]
                if condition.agent is not None and len(condition.members) > 1:
                    found += [
                        _level(
                            study,
                            axis,
                            f"{name} ({control})",
                            control_of(control, condition),
                            folder,
                            cage,
                            name,
                            control,
                        )
                        for control in study.controls
                    ]
                for level in found:
                    if not level.measured:
                        _check_machine(level, made)
            except UserError as error:
                raise UserError(f"{axis}: {name}: {error}") from None
            levels += found
    if study.controls and not any(level.control for level in levels):
        raise UserError(
            f"{path}: controls: {', '.join(study.controls)} are run beside teams, and no level has one; say team: 4"
        )
    return Plan(study, folder, cage, notice, levels)


def _level(
    study: Study, axis: str, name: str, condition: Condition, folder: Path, sandbox: Sandbox, team: str | None = None,
    control: Control | None = None,
) -> Level:  # fmt: skip
    check(study, condition)
    if condition.agent is None:
        return Level(axis, name, condition, _file(study, condition, folder))
    runs = []
    for seed in study.seeds:
        config, agents = research_config(study, condition, seed, sandbox), condition.members
        runs.append(PlannedRun(name=f"{name}, seed {seed}", agents=agents, config=config, folder=(folder / "runs" / run_key(config, agents)).resolve()))  # fmt: skip
    return Level(axis, name, condition, None, runs, team, control)


def research_config(study: Study, condition: Condition, seed: int, sandbox: Sandbox) -> RunConfig:
    """The research run of a level with an agent, for one seed. Its held-out starts are those of every level with this seed."""
    assert condition.env is not None
    assert condition.agent is not None
    secret = hashlib.sha256(f"autoenvbench study {study.name} {study.seed} {seed}".encode()).hexdigest()
    track, members = condition.track_in_force, condition.members
    model, models = parse_models(condition.model, members)
    return RunConfig(
        agent=team_name(members), team=len(members), sharing=condition.sharing, own_stations=condition.own_stations, vision=condition.vision, vision_model=condition.vision_model, vision_url=condition.vision_url, env=condition.env, env_kwargs=condition.env_kwargs, budget_s=parse_duration(condition.budget or ""),
        robot_budget_s=parse_duration(condition.robot_budget) if condition.robot_budget else None, token_budget=condition.token_budget,
        seed=seed, track=track, pace=default_pace(condition.env, condition.env_kwargs, track) if condition.pace is None else condition.pace,
        cells=condition.cells, sandbox=sandbox, model=model, models=models, effort=condition.effort,
        regime=condition.regime, starter=condition.starter, demos=condition.demos, experience=condition.experience, tools=condition.tools, tools_replay=condition.tools_replay,
        base_url=condition.base_url, goal=condition.goal,
        gateway="replay" if condition.replay else "live", replay=condition.replay, held_out_secret=secret,
        held_out=study.episodes,
    )  # fmt: skip


def _check_machine(level: Level, made: set[str]) -> None:
    """Raises UserError for what this machine lacks. `made` are the environments that were made already: some take long."""
    from autoenvbench.research.run import preflight

    condition = level.condition
    env = json.dumps([condition.env, condition.env_kwargs], sort_keys=True)
    if level.runs:
        preflight(level.runs[0].config, level.runs[0].agents)
    elif env not in made:
        make_env(str(condition.env), condition.env_kwargs).close()
    made.add(env)


def _file(study: Study, condition: Condition, folder: Path) -> Path:
    """Named by everything that changes a policy's measurement, with the contents of the policy and of scripted models."""
    policies = [] if condition.policy_folder is None else [policy_digest(condition.policy_folder)]
    scripts = [Path(condition.tools_replay).read_bytes()] if condition.tools_replay is not None else []
    setting = {"condition": condition.model_dump(), "episodes": study.episodes, "protocol": study.protocol, "seed": study.seed,
               "files": [*policies, *(hashlib.sha256(script).hexdigest() for script in scripts)]}  # fmt: skip
    return folder / f"level-{hashlib.sha256(json.dumps(setting, sort_keys=True).encode()).hexdigest()[:16]}.json"
