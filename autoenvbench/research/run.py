"""One research run, start to result: `autoenvbench eval` and `autoenvbench resume`.

open the ledger -> start the station -> make the workspace -> open the gateway -> launch the agent
-> wait for its end or the deadline -> stop it and prove that nothing of it lives
-> score its answer on held-out starts -> result.json, report.html
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium
from enpire_envs.contract import contract_of
from enpire_envs.fingerprint import fingerprint

from autoenvbench.agents.base import Agent
from autoenvbench.agents.registry import make_agent
from autoenvbench.errors import UserError
from autoenvbench.gateway.upstream import Replay
from autoenvbench.make_env import make_env
from autoenvbench.publish.report import write_report
from autoenvbench.record import results
from autoenvbench.record.clock import RunClock
from autoenvbench.record.compute import compute_class, hardware
from autoenvbench.record.events import PREFLIGHT, CommitEvent, NoteEvent, RunEvent
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.prices import load as load_prices
from autoenvbench.record.prices import price_of
from autoenvbench.record.results import Result
from autoenvbench.record.run_config import REGIMES, RunConfig
from autoenvbench.record.starts import StartStreams
from autoenvbench.research.model_access import allowance, check_model, count_killed_calls, cross_check, open_gateway
from autoenvbench.research.observer import Observer
from autoenvbench.research.research import PAUSE_FILE, CannotStart, Research, Run
from autoenvbench.sandbox.cage import Sandbox, choose_sandbox
from autoenvbench.station.client import StationClient
from autoenvbench.station.config import StationConfig
from autoenvbench.station.process import StationProcess
from autoenvbench.station.script_rollout import checked_tools
from autoenvbench.workspace.bundling import send_head
from autoenvbench.workspace.make_workspace import make_workspace

_UNWATCHED = Observer()


def research(config: RunConfig, out: Path, observer: Observer = _UNWATCHED) -> dict[str, Any]:
    """Make a new run in a fresh folder under `out`; returns the result. Raises UserError before anything is made."""
    agent, sandbox, notice = preflight(config)
    env = make_env(config.env, config.env_kwargs)
    secret = StartStreams.parse_secret(config.held_out_secret) if config.held_out_secret else StartStreams.new_secret()
    first_call = check_model(config, agent)
    run_dir = _make_run_dir(config, agent.name, out)
    with _exclusive(run_dir):
        secret_file = run_dir / "secret"
        secret_file.touch(mode=0o600)
        secret_file.write_text(secret.hex())
        clock = RunClock.stopped(config.budget_s)  # until the agent is launched
        ledger = Ledger(run_dir / "ledger.sqlite", clock)
        ledger.append(
            RunEvent(
                phase="started", run_id=run_dir.name,
                config={**config.model_dump(exclude={"held_out_secret"}), "sandbox": sandbox},
                secret_sha256=StartStreams(secret).commitment, known_starts=config.held_out_secret is not None,
                prices={model: asdict(price) for model, price in load_prices(config.prices).items()},
                **_circumstances(env, config),
            )
        )  # fmt: skip
        if notice:
            ledger.append(NoteEvent(text=notice))
        if first_call:
            ledger.append(first_call, agent=PREFLIGHT)
        make_workspace(run_dir / "agents" / agent.name / "workspace", config, env)
        env.close()
        run = Run(run_dir, config, agent, sandbox, clock, ledger, session=None, notice=notice)
        try:
            return asyncio.run(_run(run, observer))
        except CannotStart:
            ledger.close()
            shutil.rmtree(run_dir, ignore_errors=True)  # nothing happened in it
            raise


def pause(run_dir: Path) -> None:
    """Ask a run that is under way to stand still; returns when it does. Raises UserError."""
    if not (run_dir / "lock").exists():
        raise UserError(f"{run_dir} is no run's folder; runs are in runs/ unless --out said otherwise")
    if not _is_live(run_dir):
        raise UserError(f"{run_dir} is not under way; autoenvbench resume {run_dir} goes on with an interrupted run")
    reading = Ledger(run_dir / "ledger.sqlite")
    seq = max((e.seq for e in reading.events("run")), default=0)
    (run_dir / PAUSE_FILE).touch()
    for _ in range(150):
        if any(e.payload.phase == "paused" for e in reading.events("run", after=seq)):
            return
        time.sleep(0.1)
    (run_dir / PAUSE_FILE).unlink(missing_ok=True)
    raise UserError(
        f"{run_dir} did not pause: its research is over, or it is just starting; see autoenvbench ledger {run_dir}"
    )


def _is_live(run_dir: Path) -> bool:
    with (run_dir / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def resume(run_dir: Path, observer: Observer = _UNWATCHED) -> dict[str, Any] | None:
    """Go on with a run that was paused (returns None) or interrupted: its clock continues where its ledger ends."""
    reading = Ledger(run_dir / "ledger.sqlite")
    paused = (run_dir / PAUSE_FILE).exists()
    (run_dir / PAUSE_FILE).unlink(missing_ok=True)
    if paused and _is_live(run_dir):
        return None
    events = list(reading.events("run", "agent"))
    already = reading.last_t_run()
    reading.close()
    phases = [e.payload.phase for e in events if e.kind == "run"]
    if not phases:
        raise UserError(f"{run_dir} has no started run in its ledger; start one with autoenvbench eval")
    if "finished" in phases:
        raise UserError(
            f"{run_dir} is finished already; see {run_dir / 'report.html'} or autoenvbench report {run_dir}"
        )
    config = RunConfig.model_validate(next(e.payload.config for e in events if e.kind == "run"))
    agent, sandbox, notice = preflight(config)
    sessions = [e.payload.session for e in events if e.kind == "agent" and e.payload.session]
    first_call = None if "agents_stopped" in phases else check_model(config, agent)
    with _exclusive(run_dir):
        workspace = run_dir / "agents" / agent.name / "workspace"
        env = make_env(config.env, config.env_kwargs)
        here = _circumstances(env, config)
        if not (workspace / ".git").exists():  # killed while it was being made
            make_workspace(workspace, config, env)
        env.close()
        clock = RunClock.stopped(config.budget_s, already)
        ledger = Ledger(run_dir / "ledger.sqlite", clock)
        ledger.append(RunEvent(phase="resumed", **here))
        count_killed_calls(ledger)
        if first_call:
            ledger.append(first_call, agent=PREFLIGHT)
        run = Run(run_dir, config, agent, sandbox, clock, ledger, sessions[-1] if sessions else None, notice)
        run.research_over = "agents_stopped" in phases
        return asyncio.run(_run(run, observer))


async def _run(run: Run, observer: Observer) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="aeb-") as sockets, contextlib.ExitStack() as stack:
        tokens = {name: secrets.token_urlsafe(32) for name in ("admin", run.agent.name)}
        station = stack.enter_context(
            StationProcess(
                StationConfig(
                    run_dir=run.dir.resolve(), socket=Path(sockets) / "station.sock", config=run.config,
                    sandbox=run.sandbox, secret_hex=(run.dir / "secret").read_text(), clock_epoch=run.clock.epoch,
                    clock_stopped_at=run.clock.stopped_at,
                    tokens={token: name for name, token in tokens.items()},
                )
            )
        )  # fmt: skip
        admin = StationClient(str(station.socket), tokens["admin"])
        workspace = run.agent_dir / "workspace"
        _remember_starter(run.ledger, admin, workspace)
        observer.on_start(run.dir, run.clock, run.config)
        stack.callback(observer.on_stop)
        if run.notice:
            observer.log(run.notice)
        if not run.research_over:
            allowed = allowance(run)
            async with open_gateway(run, allowed, Path(sockets) / "model.sock", observer.on_wait) as gateway:
                token = tokens[run.agent.name]
                reason = await Research(run, station, admin, token, gateway, allowed, observer).supervise()
            run.ledger.append(RunEvent(phase="agents_stopped", detail=reason))
            if difference := cross_check(run):
                run.ledger.append(NoteEvent(text=difference))
                observer.log(difference)
        answer = results.choose_answer(list(run.ledger.events()), run.config.min_episodes)
        observer.on_scoring(answer)
        scored = await asyncio.to_thread(
            admin.job, "/held-out", {"digest": answer.digest}, lambda _: observer.refresh()
        )
        run.ledger.append(RunEvent(phase="scored", detail=json.dumps(scored)))
        run.ledger.append(RunEvent(phase="finished", secret=(run.dir / "secret").read_text()))
    result = write_result(run.dir)
    report = write_report(run.dir)
    observer.on_result(result, report)
    return result.model_dump(mode="json")


# -- before anything is made -----------------------------------------------------------------------------------------
def preflight(config: RunConfig) -> tuple[Agent, Sandbox, str | None]:
    """Everything that can be wrong and be known now. Raises UserError."""
    agent = make_agent(config.agent)
    if config.regime is not None and config.regime not in REGIMES:
        raise UserError(f"unknown regime {config.regime!r}; choose one of {', '.join(REGIMES)}")
    checked_tools(config.tools, config.tools_replay, config.base_url)
    make_env(config.env, config.env_kwargs).close()
    problems = [problem] if (problem := agent.problem()) else []
    keyless = config.gateway == "replay" or config.base_url is not None  # a local server may want no key
    if agent.needs_model and not keyless and agent.api_key and not os.environ.get(agent.api_key):
        problems.append(
            f"{agent.api_key} is not set: type `export {agent.api_key}=...` (or give a script with --replay)"
        )
    if config.replay:
        Replay(Path(config.replay))
    model = config.model or agent.default_model
    if config.cost_budget and agent.needs_model and model and not price_of(model, load_prices(config.prices)):
        problems.append(
            f"--cost-budget needs a price for {model}; give one with --prices FILE, or set --token-budget instead"
        )
    if problems:
        raise UserError(f"cannot start {agent.name}: " + "; and ".join(problems))
    sandbox, notice = choose_sandbox(config.sandbox, fallback=agent.trusted)
    return agent, sandbox, notice


def _make_run_dir(config: RunConfig, agent: str, out: Path) -> Path:
    task = config.env.rpartition("/")[2]
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for suffix in ("", *(f"-{k}" for k in range(2, 100))):
        path = out / f"{stamp}-{agent}-{task}-s{config.seed}{suffix}"
        try:
            path.mkdir(parents=True)
            (path / "data").mkdir()
            return path
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(
                f"cannot make a run's folder in {out}: {error.strerror}; choose another with --out"
            ) from None
    raise UserError(f"too many runs in {out} in this second; try again")


@contextlib.contextmanager
def _exclusive(run_dir: Path) -> Iterator[None]:
    """One process conducts a run at a time."""
    with (run_dir / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"{run_dir} is being conducted by another process; wait for it, or stop it first") from None
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            error.add_note(f"what the ledger has is kept: mend this, then autoenvbench resume {run_dir}")
            raise


def _remember_starter(ledger: Ledger, admin: StationClient, workspace: Path) -> None:
    """The first commit, as the station has it: the answer of an agent that gives none."""
    if not any(e.payload.phase == "starter" for e in ledger.events("commit")):
        head = send_head(admin, workspace, allow_dirty=True)
        ledger.append(CommitEvent(phase="starter", commit=head.commit, digest=head.digest))


def _circumstances(env: gymnasium.Env[Any, Any], config: RunConfig) -> dict[str, Any]:
    """What of this machine and its software a result has to say, as fields of a `RunEvent`."""
    return {
        "fingerprint": fingerprint(env),
        "cell": contract_of(env).kind,
        "versions": results.versions(),
        "hardware": hardware(),
        "compute_class": compute_class(),
    }


def write_result(run_dir: Path) -> Result:
    """A finished run's result, computed from its ledger and written to result.json. Raises UserError."""
    ledger = Ledger(run_dir / "ledger.sqlite")
    result = Result.from_events(list(ledger.events()))
    ledger.close()
    scratch = run_dir / "result.json.tmp"
    scratch.write_text(result.model_dump_json(indent=1) + "\n")
    scratch.rename(run_dir / "result.json")
    return result
