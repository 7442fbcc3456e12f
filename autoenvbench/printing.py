"""What the command line shows: tables and progress bars (rich, imported where it is used)."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from autoenvbench.events import EpisodeEvent
from autoenvbench.ledger import Ledger

stderr = Console(stderr=True)


def print_envs(*, as_json: bool) -> None:
    from autoenvbench import ENV_IDS
    from autoenvbench.make_env import make_env

    rows = []
    for env_id in ENV_IDS:
        env = make_env(env_id)
        summary = (type(env.unwrapped).__doc__ or "").strip().split("\n")[0]
        rows.append({
            "id": env_id,
            "observation": str(getattr(env.observation_space, "shape", env.observation_space)),
            "action": str(env.action_space.shape),
            "hz": env.metadata["render_fps"],
            "steps": env.spec.max_episode_steps if env.spec else None,
            "summary": summary,
        })  # fmt: skip
        env.close()
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(box=None, header_style="bold")
    for column in ("id", "observation", "action", "Hz", "steps", "task"):
        table.add_column(column)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table)


def print_agents(*, as_json: bool) -> None:
    from autoenvbench.agents.registry import AGENTS

    rows = []
    for make in AGENTS.values():
        agent = make()
        problem, key = agent.problem(), agent.api_key
        if problem is None and key and not os.environ.get(key):
            problem = f"for live runs: export {key}=..."
        rows.append({"name": agent.name, "version": agent.version(), "ready": problem is None, "missing": problem})
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(box=None, header_style="bold")
    for column in ("agent", "version", "ready", "what is missing"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(str(row["name"]), str(row["version"]), "yes" if row["ready"] else "no", str(row["missing"] or ""))
    table.add_row("command:PROGRAM", "", "yes", "any program that works in the workspace")
    table.add_row("replay:SCRIPT", "", "yes", "shell steps from a JSON file")
    Console().print(table)


@contextmanager
def episode_progress(total: int, title: str) -> Iterator[Callable[[EpisodeEvent], None]]:
    """A progress bar on stderr; yields what to call with each episode."""
    successes = 0
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(), console=stderr, transient=True,
    ) as progress:  # fmt: skip
        bar = progress.add_task(title, total=total, rate="")

        def advance(event: EpisodeEvent) -> None:
            nonlocal successes
            successes += event.success
            done = int(progress.tasks[0].completed) + 1
            progress.update(bar, advance=1, rate=f"{successes / done:.1%} success")

        yield advance


def percent(rate: float, interval: tuple[float, float] | None = None) -> str:
    """ "87.0 %" or "87.0 % [81.6, 91.0]" (95 % Wilson interval)."""
    text = f"{100 * rate:.1f} %"
    return text if interval is None else f"{text} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def print_score(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result, indent=1))
        return
    table = Table(box=None, show_header=False)
    table.add_row("environment", result["env"])
    table.add_row("policy", result["policy"])
    table.add_row("success rate", percent(result["success_rate"], result["wilson95"]) + "  (95 % Wilson)")
    table.add_row("score", f"{result['score']:.3f}")
    table.add_row("streak", str(result["streak"]))
    if result["pass_at_8"] is not None:
        table.add_row("pass@8", percent(result["pass_at_8"]))
    table.add_row("episodes", str(result["episodes"]))
    table.add_row("s / episode", f"{result['seconds_per_episode']:.2f}")
    for reason, count in result["failures"].items():
        table.add_row("failed", f"{count} x {reason}")
        if detail := result["failure_details"].get(reason):
            table.add_row("", detail.strip().split("\n")[0])
    if result["sandbox"] == "none":
        table.add_row("sandbox", "none")
    Console().print(table)


def print_ledger(run_dir: Path, kinds: list[str], csv_path: str | None) -> None:
    ledger = Ledger(run_dir / "ledger.sqlite")
    rows = (
        [e.seq, f"{e.t_wall:.3f}", f"{e.t_run:.3f}", e.kind, e.agent or "", e.station or "",
         e.payload.model_dump_json(exclude_defaults=True)]
        for e in ledger.events(*kinds)
    )  # fmt: skip
    header = ["seq", "t_wall", "t_run", "kind", "agent", "station", "payload"]
    if csv_path:
        with open(csv_path, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(rows)
        print(csv_path)
        return
    for seq, _, t_run, kind, agent, _, payload in rows:
        print(f"{seq:>6} {float(str(t_run)):>10.2f}s {kind:<10} {agent:<10} {payload}")
