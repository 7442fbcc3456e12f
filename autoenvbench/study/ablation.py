"""`autoenvbench ablate`: vary one thing at a time on matched scenes, and say what it is worth.

A study file has a base and axes; each axis has named levels, each of which changes something of the base. A level with an
`agent` is a set of research runs, any other is one policy's episodes. Every level of a study sees the same starts, so outcomes are
compared scene by scene: McNemar's exact test, and the paired difference with a bootstrap interval.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from autoenvbench.errors import UserError
from autoenvbench.make_env import default_track, is_robocasa, make_env
from autoenvbench.publish.figures import ablation_figure
from autoenvbench.record import metrics
from autoenvbench.record.clock import format_duration, parse_duration
from autoenvbench.record.run_config import RunConfig
from autoenvbench.record.statistics import mcnemar, paired_difference
from autoenvbench.sandbox.cage import Sandbox, choose_sandbox
from autoenvbench.station.bundles import policy_digest
from autoenvbench.station.script_rollout import checked_tools
from autoenvbench.study.score import BASELINES, score
from autoenvbench.study.start_sets import starts

NAMED = ("reference", "naive", "random", *BASELINES)


class Condition(BaseModel):
    """What one level of a study is made of; fields that are not given are the base's.

    Attributes:
        policy: a folder (relative to the study file), or "random", "zero-shot", "vla", "reference", "naive".
        tools: of script policies (`ToolsConfig`), merged into the base's.
        tools_replay: a script that stands in for the model behind vlm_query.
        agent: instead of a policy: who does research, for `budget`, once per seed.
        regime: the only one that the agent may work in.
        team: agents that work together.
    """

    model_config = ConfigDict(extra="forbid")

    env: str | None = None
    env_kwargs: dict[str, Any] = Field(default_factory=dict)
    policy: str | None = None
    tools: dict[str, Any] = Field(default_factory=dict)
    tools_replay: str | None = None
    agent: str | None = None
    model: str | None = None
    effort: str | None = None
    regime: str | None = None
    team: int = Field(default=1, ge=1)
    budget: str | None = None
    replay: str | None = None
    base_url: str | None = None


class Study(BaseModel):
    """A study file."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,60}$")
    episodes: int = Field(default=20, ge=1, le=1000)
    protocol: str | None = None
    seed: int = Field(default=0, ge=0)
    seeds: list[int] = Field(default=[0, 1, 2], min_length=1)  # of research runs
    base: Condition
    axes: dict[str, dict[str, Condition]] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Measured:
    """What one level came to. `outcomes` (None where the machine failed: no evidence) and `scenes` are in the order of the starts."""

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


def load(path: Path) -> Study:
    """Raises UserError, which says which line is wrong."""
    try:
        return Study.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise UserError(f"cannot read the study {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}; see examples/ablation_vision.yaml"
        ) from None


def ablate(
    path: Path, out: Path, *, sandbox: Sandbox | None, episodes: int | None, say: Callable[[str], None]
) -> list[Path]:
    """Run what is missing of a study; write a table and a figure per axis. Returns their paths.

    Levels that are measured already are read from the study's folder: an interrupted study goes on where it was.
    """
    study = load(path)
    if episodes is not None:
        study = study.model_copy(update={"episodes": episodes})
    slugs = [_slug(axis) for axis in study.axes]
    for slug in slugs:
        if slugs.count(slug) > 1:
            raise UserError(f"{path}: the names of two axes both mean {slug}.png; rename one")
    folder = out / study.name
    conditions = {
        (axis, level): _merged(study.base, change, path.parent) for axis, levels in study.axes.items() for level, change in levels.items()
    }  # fmt: skip
    cage, notice = choose_sandbox(sandbox, fallback=False)
    if notice:
        say(notice)
    tried: set[str] = set()
    for (axis, level), condition in conditions.items():  # before an hour is spent: everything that can be known now
        try:
            _check(study, condition)
            if not _file(study, condition, folder).exists():
                _try(study, condition, cage, tried)
        except UserError as error:
            raise UserError(f"{axis}: {level}: {error}") from None
    folder.mkdir(parents=True, exist_ok=True)
    measured = {
        key: _measure(study, key, condition, folder, cage, say) for key, condition in conditions.items()
    }  # fmt: skip
    written = []
    tables = [f"# {study.name}\n"]
    for axis in study.axes:
        rows = [measured[axis, level] for level in study.axes[axis]]
        tables.append(_table(axis, rows))
        figure = folder / f"{_slug(axis)}.png"
        ablation_figure(axis, [(row.level, row.successes, row.episodes) for row in rows]).savefig(figure, dpi=150)
        written.append(figure)
    table = folder / "README.md"
    table.write_text("\n".join(tables))
    (folder / "results.json").write_text(
        json.dumps(
            {axis: [asdict(measured[axis, level]) for level in levels] for axis, levels in study.axes.items()}, indent=1
        )
    )
    return [table, *written]


def _merged(base: Condition, change: Condition, beside: Path) -> Condition:
    """The base with one level's changes; dictionaries are merged, paths are found beside the study file."""
    given = {name: getattr(change, name) for name in change.model_fields_set}
    for name in ("tools", "env_kwargs"):
        given[name] = {**getattr(base, name), **given.get(name, {})}
    merged = base.model_copy(update=given)
    found: dict[str, Any] = {}
    for name in ("policy", "tools_replay", "replay"):
        value = getattr(merged, name)
        if value is not None and value not in NAMED:
            found[name] = str((beside / value).resolve())
    return merged.model_copy(update=found)


def _check(study: Study, condition: Condition) -> None:
    """Raises UserError for what a condition says and cannot mean."""
    if condition.env is None:
        raise UserError("no env; name one in `base`")
    if (condition.policy is None) == (condition.agent is None):
        raise UserError("give a policy or an agent, one of the two")
    if (
        condition.policy is not None
        and condition.policy not in NAMED
        and not (Path(condition.policy) / "policy.py").is_file()
    ):
        raise UserError(f"there is no policy.py in {condition.policy}")
    for file in (condition.tools_replay, condition.replay):
        if file is not None and not Path(file).is_file():
            raise UserError(f"there is no {file}")
    if condition.agent is not None and condition.budget is None:
        raise UserError("research needs a budget, such as 2h")
    if study.protocol is not None:
        if condition.agent is not None or not is_robocasa(condition.env):
            raise UserError(f"the protocol {study.protocol} is for policies in ENPIRE/RoboCasa-...; leave it out")
        starts(study.protocol, study.episodes)
    if condition.team > 1:
        raise UserError("teams of several agents cannot be run yet; team: 1 can")
    checked_tools(condition.tools, condition.tools_replay, condition.base_url)


def _try(study: Study, condition: Condition, cage: Sandbox, tried: set[str]) -> None:
    """Raises UserError for what this machine lacks. `tried` are the environments that were made already: some take long."""
    from autoenvbench.research.run import preflight

    env = json.dumps([condition.env, condition.env_kwargs], sort_keys=True)
    if condition.agent is not None:
        preflight(_config(study, condition, study.seeds[0], cage))
    elif env not in tried:
        make_env(str(condition.env), condition.env_kwargs).close()
    tried.add(env)


def _file(study: Study, condition: Condition, folder: Path) -> Path:
    """Where its measurement is kept: the same condition on two axes is measured once."""
    setting = {"condition": condition.model_dump(), "episodes": study.episodes, "protocol": study.protocol, "seed": study.seed,
               "seeds": study.seeds if condition.agent else None, "files": _content(condition)}  # fmt: skip
    return folder / f"level-{hashlib.sha256(json.dumps(setting, sort_keys=True).encode()).hexdigest()[:16]}.json"


def _measure(
    study: Study, key: tuple[str, str], condition: Condition, folder: Path, cage: Sandbox, say: Callable[[str], None]
) -> Measured:
    axis, level = key
    file = _file(study, condition, folder)
    if file.exists():
        say(f"{axis}: {level}: measured already")
        return Measured(**{**json.loads(file.read_text()), "level": level})
    say(f"{axis}: {level}")
    measured = (
        _research(study, level, condition, folder, cage)
        if condition.agent
        else _score(study, level, condition, folder, cage)
    )
    scratch = file.with_suffix(".part")
    scratch.write_text(json.dumps(asdict(measured)))
    os.replace(scratch, file)
    return measured


def _score(study: Study, level: str, condition: Condition, folder: Path, cage: Sandbox) -> Measured:
    assert condition.env is not None
    assert condition.policy is not None
    kwargs = dict(condition.env_kwargs)
    if is_robocasa(condition.env):
        kwargs.setdefault("snapshots", str((folder / "scenes").resolve()))
    result = score(
        condition.env, condition.policy, study.episodes, env_kwargs=kwargs, seed=study.seed, sandbox=cage,
        track=default_track(condition.env), protocol=study.protocol, tools=condition.tools,
        tools_replay=condition.tools_replay, tools_url=condition.base_url,
    )  # fmt: skip
    return Measured(
        level, result["episodes"], result["successes"], result["outcomes"], result["scenes"], result["failures"],
        result["kind"], policy_tokens=result["policy_tokens"],
    )  # fmt: skip


def _research(study: Study, level: str, condition: Condition, folder: Path, cage: Sandbox) -> Measured:
    """One research run per seed; the outcomes of all their answers on the same held-out starts, one after the other."""
    from autoenvbench.record.ledger import Ledger
    from autoenvbench.research.run import research

    outcomes: list[bool | None] = []
    scenes: list[str | None] = []
    failures: dict[str, int] = {}
    tokens, times, kind = 0, [], "sim"
    for seed in study.seeds:
        result = research(_config(study, condition, seed, cage), folder / "runs")
        if result["void_because"]:
            raise UserError(
                f"the run {folder / 'runs' / result['run_id']} of level {level} measured nothing: "
                f"{'; '.join(result['void_because'])}. Mend that and start the study again: it goes on where it was"
            )
        ledger = Ledger(folder / "runs" / result["run_id"] / "ledger.sqlite")
        episodes = metrics.heldout_episodes(ledger.events("episode"))
        ledger.close()
        outcomes += [None if e.infrastructure else e.success for e in episodes]
        scenes += [e.scene for e in episodes]
        for reason, count in result["held_out"]["failures"].items():
            failures[reason] = failures.get(reason, 0) + count
        tokens += int(result["tokens"].get("headline", 0))
        reached = result["to_threshold"].get("0.8")
        times.append(reached["time_s"] if reached else None)
        kind = result["kind"]
    known = [t for t in times if t is not None]
    return Measured(
        level, len(outcomes) - outcomes.count(None), sum(map(bool, outcomes)), outcomes, scenes, failures, kind, tokens=tokens,
        time_to_80=sorted(known)[len(times) // 2] if len(known) > len(times) // 2 else None,
    )  # fmt: skip


def _config(study: Study, condition: Condition, seed: int, cage: Sandbox) -> RunConfig:
    assert condition.env is not None
    assert condition.agent is not None
    secret = hashlib.sha256(f"autoenvbench ablate {study.name} {study.seed} {seed}".encode()).hexdigest()
    return RunConfig(
        agent=condition.agent, env=condition.env, env_kwargs=condition.env_kwargs, budget_s=parse_duration(condition.budget or ""),
        seed=seed, track=default_track(condition.env), sandbox=cage, model=condition.model, effort=condition.effort,
        regime=condition.regime, tools=condition.tools, tools_replay=condition.tools_replay, base_url=condition.base_url,
        gateway="replay" if condition.replay else "live", replay=condition.replay, held_out_secret=secret,
        held_out=study.episodes,
    )  # fmt: skip


def _content(condition: Condition) -> list[str]:
    """Digests of the policy's files and of the scripts that stand in for models: they are part of the condition."""
    folders = [] if condition.policy is None or condition.policy in NAMED else [policy_digest(Path(condition.policy))]
    scripts = [Path(file).read_bytes() for file in (condition.tools_replay, condition.replay) if file is not None]
    return [*folders, *(hashlib.sha256(script).hexdigest() for script in scripts)]


def _table(axis: str, rows: list[Measured]) -> str:
    """Markdown: rates with intervals, and each level against the first on the scenes that both saw."""
    baseline = rows[0]
    timed = any(row.time_to_80 is not None for row in rows)  # of research: the median over its seeds
    heads = [axis, "success", "95 % (Wilson)", "episodes", f"against {baseline.level} (95 %)", "p (McNemar)", "tokens",
             *(["time to 80 %"] if timed else []), "failures"]  # fmt: skip
    lines = [f"## {axis}\n", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        low, high = metrics.wilson(row.successes, row.episodes)
        versus, p = "", ""
        if row is not baseline:
            pairs = matched(baseline, row)
            difference, below, above = paired_difference(*pairs)
            versus = f"{100 * difference:+.1f} [{100 * below:+.1f}, {100 * above:+.1f}] on {len(pairs[0])} scenes"
            p = f"{mcnemar(*pairs):.3g}"
        why = ", ".join(f"{count} {reason}" for reason, count in row.failures.items())
        tokens = row.tokens + row.policy_tokens
        cells = [row.level, f"{100 * row.successes / max(row.episodes, 1):.1f} %", f"{100 * low:.1f} to {100 * high:.1f} %",
                 str(row.episodes), versus, p, str(tokens or "")]  # fmt: skip
        if timed:
            cells.append("not reached" if row.time_to_80 is None else format_duration(row.time_to_80))
        lines.append(f"| {' | '.join([*cells, why])} |")
    kinds = {row.kind for row in rows}
    if "stand-in" in kinds:
        lines.append("\nIn the stand-in kitchen: these are not RoboCasa scores.")
    return "\n".join(lines) + "\n"


def matched(one: Measured, two: Measured) -> tuple[list[bool], list[bool]]:
    """Outcomes on the scenes that both saw: the same start, and the same digest of the scene where there is one."""
    pairs = [
        (first, second)
        for first, second, seen, seen_too in zip(one.outcomes, two.outcomes, one.scenes, two.scenes, strict=False)
        if first is not None and second is not None and (seen is None or seen_too is None or seen == seen_too)
    ]
    return [first for first, _ in pairs], [second for _, second in pairs]


def _slug(axis: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in axis.lower())
