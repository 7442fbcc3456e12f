"""What the command line prints: tables and progress bars."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import gymnasium
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from autoenvbench.agents.base import Agent
from autoenvbench.errors import UserError
from autoenvbench.record.events import KINDS, EpisodeEvent
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.sequential import PairedTest
from autoenvbench.record.statistics import percent
from autoenvbench.text import visible

stderr = Console(stderr=True)
_LINE_EVERY_S = 15.0  # of progress where there is no terminal
_ANSWER_S = 2.5  # that programs have to tell their version in `agents`


def add_plain(table: Table, *cells: str) -> None:
    """Add a row of plain text: cells that others wrote may look like rich's markup, or hold escape sequences."""
    table.add_row(*(Text(visible(cell, lines=True)) for cell in cells))


def print_envs(*, as_json: bool) -> None:
    """Every environment with its spaces, rate [Hz] and steps; those of other interpreters only by name: they are not started."""
    from enpire_envs import registry
    from enpire_envs.contract import step_limit

    from autoenvbench.make_env import make_env

    level, gymnasium.logger.min_level = gymnasium.logger.min_level, gymnasium.logger.ERROR  # no notices about twins
    rows = []
    known = {env_id: registry.entry_of(env_id) for env_id in registry.listed_ids()}
    here = {env_id: entry for env_id, entry in known.items() if entry is not None and entry.needs is None}
    for env_id, entry in here.items():
        # Real ids are listed by their twin: a list must not depend on what stands on somebody's table.
        env = make_env(env_id, dict(entry.listed_with))
        summary = (type(env.unwrapped).__doc__ or "").strip().split("\n")[0]
        rows.append({
            "id": env_id,
            "level": _level(env_id),
            "observation": _shape(env.observation_space),
            "action": str(env.action_space.shape),
            "hz": env.metadata["render_fps"],
            "steps": step_limit(env),
            "summary": summary,
        })  # fmt: skip
        env.close()
    gymnasium.logger.min_level = level
    rows += [_simulator_row(env_id) for env_id in known if env_id not in here]
    for name, why in registry.problems.items():
        stderr.print(Text(visible(f"the task {name} could not be loaded: {why}")))
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(box=None, header_style="bold")
    for column in ("id", "level", "observation", "action", "Hz", "steps", "task"):
        table.add_column(column)
    for row in rows:
        add_plain(table, *(str(value) for value in row.values()))
    Console().print(table)


def _level(env_id: str) -> str:
    """The level that an id stands for, and whether it is ranked; nothing where a task has no levels."""
    from enpire_envs.registry import level_of

    level = level_of(env_id)
    return "" if level is None else level.name if level.ranked else f"{level.name}, never ranked"


def _shape(space: gymnasium.Space[Any]) -> str:
    if isinstance(space, gymnasium.spaces.Dict):
        return ", ".join(f"{key} {_shape(part)}" for key, part in space.spaces.items())
    return str(space.shape)


def _simulator_row(env_id: str) -> dict[str, Any]:
    """What is known of an environment of another interpreter without starting it."""
    from enpire_envs.remote.env import RemoteEnv
    from gymnasium.envs.registration import load_env_creator

    cls: Any = load_env_creator(str(gymnasium.registry[env_id].entry_point))
    assert issubclass(cls, RemoteEnv)
    missing = "" if cls.simulator.installed else f" (not installed: autoenvbench setup {cls.simulator.name})"
    summary = (cls.__doc__ or "").strip().split("\n")[0]
    return {
        "id": env_id,
        "level": _level(env_id),
        "observation": "",
        "action": "",
        "hz": "",
        "steps": "",
        "summary": summary + missing,
    }


def print_tools(env_id: str, env_kwargs: dict[str, Any], tools: dict[str, Any]) -> None:
    """What a script may call in an environment, as its brief says it. Raises UserError."""
    from enpire_envs.tools.config import ToolsConfig
    from enpire_envs.tools.toolbox import available, reference

    from autoenvbench.make_env import make_env
    from autoenvbench.station.script_rollout import tools_body

    env = make_env(env_id, env_kwargs)
    try:
        body = tools_body(env)
        print(f"frame: {body.frame}\ncameras: {', '.join(body.cameras)}\n")
        print(reference(available(body, ToolsConfig.of(tools))))
    finally:
        env.close()


def print_agents(*, as_json: bool) -> None:
    """Every agent with its version, and what is missing for it to run here."""
    from autoenvbench.agents.registry import AGENTS, WITH_ARGUMENT

    rows = _agent_rows([make() for make in AGENTS.values()])
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(box=None, header_style="bold")
    for column in ("agent", "version", "ready", "what is missing"):
        table.add_column(column, overflow="fold")
    for row in rows:
        add_plain(
            table, str(row["name"]), str(row["version"]), "yes" if row["ready"] else "no", str(row["missing"] or "")
        )
    for entry in WITH_ARGUMENT.values():
        add_plain(table, entry.usage, "", "yes", entry.summary)
    Console().print(table)


def _agent_rows(agents: list[Agent]) -> list[dict[str, Any]]:
    """Each asks programs for help and version, side by side; one that takes too long is not waited for."""
    answers: dict[tuple[str, str], Any] = {}

    def ask(agent: Agent, what: str) -> None:
        answers[agent.name, what] = getattr(agent, what)()

    threads = [
        Thread(target=ask, args=(agent, what), daemon=True) for agent in agents for what in ("problem", "version")
    ]
    for thread in threads:
        thread.start()
    until = time.monotonic() + _ANSWER_S
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    rows = []
    for agent in agents:
        problem = answers.get((agent.name, "problem"), f"gave no answer within {_ANSWER_S:g} s; try again")
        if problem is None and agent.api_key and not os.environ.get(agent.api_key):
            problem = f"for live runs: export {agent.api_key}=..."
        version = answers.get((agent.name, "version"), "?")
        rows.append({"name": agent.name, "version": version, "ready": problem is None, "missing": problem})
    return rows


@contextmanager
def episode_progress(total: int | None, title: str) -> Iterator[Callable[[EpisodeEvent], None]]:
    """A progress bar on stderr, or a line now and then without a terminal; yields what to call with each episode."""
    successes, next_line = 0, time.monotonic() + _LINE_EVERY_S
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(), console=stderr, transient=True, disable=not stderr.is_terminal,
    ) as progress:  # fmt: skip
        bar = progress.add_task(title, total=total, rate="")

        def advance(event: EpisodeEvent) -> None:
            nonlocal successes, next_line
            successes += event.success
            done = int(progress.tasks[0].completed) + 1
            progress.update(bar, advance=1, rate=f"{successes / done:.1%} success")
            if not stderr.is_terminal and time.monotonic() >= next_line:
                next_line = time.monotonic() + _LINE_EVERY_S
                of = "episodes" if total is None else f"of {total}"
                stderr.print(f"{title}: {done} {of}, {successes / done:.1%} success", highlight=False, soft_wrap=True)

        yield advance


def print_score(result: dict[str, Any], *, as_json: bool) -> None:
    """What `study.score.score` returned, as a table or as it is."""
    if as_json:
        print(json.dumps(result, indent=1))
        return
    table = Table(box=None, show_header=False)
    add_plain(table, "environment", result["env"])
    add_plain(table, "policy", result["policy"])
    add_plain(table, "success rate", percent(result["success_rate"], result["wilson95"]) + "  (95 % Wilson)")
    if (outside := result["out_of_distribution"]) is not None:
        add_plain(
            table,
            "out of distribution",
            percent(outside["success_rate"], outside["wilson95"]) + f"  ({outside['episodes']} episodes)",
        )
    add_plain(table, "score", f"{result['score']:.3f}")
    add_plain(table, "streak", str(result["streak"]))
    if result["pass_at_8"] is not None:
        add_plain(table, "pass@8", percent(result["pass_at_8"]))
    add_plain(table, "episodes", str(result["episodes"]))
    add_plain(table, "s / episode", f"{result['seconds_per_episode']:.2f}")
    for reason, count in result["failures"].items():
        add_plain(table, "failed", f"{count} x {reason}")
        if detail := result["failure_details"].get(reason):
            add_plain(table, "", detail.strip().split("\n")[0])
    if result["sandbox"] == "none":
        add_plain(table, "sandbox", "none")
    Console().print(table)


@contextmanager
def comparison_progress(most: int) -> Iterator[Callable[[PairedTest], None]]:
    """The same for a comparison: starts done, and how many of them only one policy won; yields what to call after each start."""
    next_line = time.monotonic() + _LINE_EVERY_S
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=stderr, transient=True, disable=not stderr.is_terminal,
    ) as progress:  # fmt: skip
        bar = progress.add_task("comparing", total=most)

        def on_start(test: PairedTest) -> None:
            nonlocal next_line
            told = f"only the first {test.wins}, only the second {test.losses}"
            progress.update(bar, completed=test.starts, description=told)
            if not stderr.is_terminal and time.monotonic() >= next_line:
                next_line = time.monotonic() + _LINE_EVERY_S
                stderr.print(f"{test.starts} of at most {most} starts: {told}", highlight=False, soft_wrap=True)

        yield on_start


def print_comparison(result: dict[str, Any], *, as_json: bool) -> None:
    """What `study.compare.compare` returned, as a table or as it is."""
    if as_json:
        print(json.dumps(result, indent=1))
        return
    table = Table(box=None, show_header=False)
    add_plain(table, "environment", result["env"])
    for side in result["policies"]:
        add_plain(table, side["policy"], percent(side["success_rate"], tuple(side["wilson95"])) + "  (95 % Wilson)")
    low, high = result["difference95"]
    add_plain(
        table, "second - first", f"{100 * result['difference']:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
    )
    add_plain(table, "starts", f"{result['starts']} of at most {result['most']}; only the first won {result['only_first']}, "
                               f"only the second {result['only_second']}")  # fmt: skip
    if result["void"]:
        add_plain(table, "left out", f"{result['void']} starts that the machine spoilt")
    if result["better"] is not None:
        add_plain(table, "better", f"{result['better']}  (sequential exact McNemar, p = {result['p_value']:.3g})")
    else:
        why = "interrupted" if result["interrupted"] else "give a larger -n to tell smaller differences"
        add_plain(table, "better", f"undecided at alpha {result['alpha']:g}: {why}")
    Console().print(table)


def print_ledger(run_dir: Path, kinds: list[str], csv: Path | None, parquet: Path | None) -> None:
    """Events as lines, or as tables in files. Raises UserError."""
    from autoenvbench.record.export import write_csv, write_parquet

    if unknown := sorted(set(kinds) - set(KINDS)):
        raise UserError(f"there is no kind of event {unknown[0]!r}; choose from {', '.join(KINDS)}")
    ledger = Ledger(run_dir / "ledger.sqlite")
    if csv is not None or parquet is not None:
        table = ledger.frame(*kinds)
        for path, write in ((csv, write_csv), (parquet, write_parquet)):
            if path is not None:
                write(table, path)
                print(path)
        return
    for e in ledger.events(*kinds):
        text = e.payload.model_dump_json(exclude_defaults=True)
        print(visible(f"{e.seq:>6} {e.t_run:>10.2f}s {e.kind:<10} {e.agent or '':<10} {text}"))
