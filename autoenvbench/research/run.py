"""One research run, start to result: `autoenvbench eval` and `autoenvbench resume`.

open the ledger -> make the members' workspaces -> start the station -> open the gateways -> let the agents work
until their end or the deadline -> stop them and prove that nothing of them lives
-> score the answer on held-out starts -> result.json, report.html
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium
from enpire_envs.contract import contract_of
from enpire_envs.fingerprint import fingerprint
from enpire_envs.reference import demonstrator

from autoenvbench.agents.base import Agent
from autoenvbench.agents.registry import make_agent
from autoenvbench.agents.team import MAX_TEAM, check_models_named, parse_team, team_name
from autoenvbench.errors import UserError
from autoenvbench.gateway.upstream import Replay
from autoenvbench.make_env import ChosenStations, choose_stations, is_real, make_env
from autoenvbench.publish.report import write_report
from autoenvbench.record import results
from autoenvbench.record.answer import choose_answer
from autoenvbench.record.clock import RunClock
from autoenvbench.record.compute import compute_class, hardware
from autoenvbench.record.events import PREFLIGHT, CommitEvent, NoteEvent, RunEvent
from autoenvbench.record.ledger import Ledger, read_events
from autoenvbench.record.prices import load as load_prices
from autoenvbench.record.prices import price_of
from autoenvbench.record.regimes import REGIMES, answer_of
from autoenvbench.record.results import Result
from autoenvbench.record.run_config import RunConfig
from autoenvbench.record.starts import StartStreams
from autoenvbench.record.stations import ARGUMENT
from autoenvbench.research.agent_loop import CannotStart
from autoenvbench.research.model_access import Gateways, allowance, check_models, count_killed_calls, cross_check
from autoenvbench.research.observer import Observer
from autoenvbench.research.run_dir import exclusive, make_run_dir, unpause
from autoenvbench.research.slots import AgentSlot, Run, introduce, make_slots, name_members, name_newcomer
from autoenvbench.research.supervisor import Supervisor
from autoenvbench.research.vision import check_vision
from autoenvbench.sandbox.cage import Sandbox, choose_sandbox
from autoenvbench.station import far_place
from autoenvbench.station.client import StationClient
from autoenvbench.station.config import StationConfig
from autoenvbench.station.process import StationProcess
from autoenvbench.station.robots import PREFIX, check_robots, kwargs_here
from autoenvbench.station.script_rollout import checked_tools
from autoenvbench.workspace.bundling import send_head
from autoenvbench.workspace.experience import keep_experience, kept_experience, with_experience
from autoenvbench.workspace.make_workspace import make_workspace
from autoenvbench.workspace.team_page import write_team_page

_UNWATCHED = Observer()


#: Records the demonstrations that a run begins with: (arguments of its environment, a new folder) -> what is known of them.
Demonstrate = Callable[[dict[str, Any], Path], dict[str, Any]]


def research(
    config: RunConfig,
    out: Path,
    observer: Observer = _UNWATCHED,
    agents: Sequence[str] | None = None,
    *,
    demonstrate: Demonstrate | None = None,
) -> dict[str, Any]:
    """Make a new run in a fresh folder under `out`; returns the result. Raises UserError before anything is made.

    Args:
        agents: its members, each as `make_agent` knows it; by default those that the configuration names.
        demonstrate: for a configuration with `demos`.
    """
    members = name_members(members_of(config) if agents is None else agents)
    check_models_named(config.models, list(members.values()))
    on_record = {"agent": team_name(list(members.values())), "team": len(members)}
    config = config.model_copy(update=on_record)
    if all(_tunes_parametric(make_agent(agent), config) for agent in members.values()):
        config = config.model_copy(update={"starter": "parametric"})  # on record is what the workspaces hold
    config, experience = with_experience(config)
    sandbox, notice = preflight(config, list(members.values()))
    env = make_env(config.env, kwargs_here(config.env_kwargs, config.robots))
    here, everywhere = _circumstances(env), fingerprint(env, scene=not is_real(config.env))
    secret = StartStreams.parse_secret(config.held_out_secret) if config.held_out_secret else StartStreams.new_secret()
    stations = choose_stations(env, config.env_kwargs, config.private_stations, config.held_out, cells=config.cells)
    first_calls = check_models(config, list(members.values()))
    run_dir = make_run_dir(config, list(members), out)
    with exclusive(run_dir):
        keep_experience(run_dir, experience)
        secret_file = run_dir / "secret"
        secret_file.touch(mode=0o600)
        secret_file.write_text(secret.hex())
        clock = RunClock.stopped(config.budget_s)  # until the first agent is launched
        ledger = Ledger(run_dir / "ledger.sqlite", clock)
        ledger.append(
            RunEvent(
                phase="started", run_id=run_dir.name,
                config={**config.model_dump(exclude={"held_out_secret"}), "sandbox": sandbox}, members=members,
                secret_sha256=StartStreams(secret).commitment, known_starts=config.held_out_secret is not None,
                prices={model: asdict(price) for model, price in load_prices(config.prices).items()},
                stations=stations.source, stations_sha256=stations.private.sha256 if stations.private else None,
                **here,
            )
        )  # fmt: skip
        if notice:
            ledger.append(NoteEvent(text=notice))
        for call in first_calls:
            ledger.append(call, agent=PREFLIGHT)
        slots = make_slots(run_dir, members)
        _record_demos(run_dir, config, stations, secret, ledger, demonstrate)
        for slot in slots:
            _make_workspace(slot, members, config, env, stations, secret)
        env.close()
        run = Run(run_dir, config, slots, sandbox, clock, ledger, notice, stations=stations, fingerprint=everywhere)
        try:
            return asyncio.run(_run(run, observer))
        except CannotStart:
            ledger.close()
            shutil.rmtree(run_dir, ignore_errors=True)  # nothing happened in it
            raise


def resume(
    run_dir: Path,
    observer: Observer = _UNWATCHED,
    *,
    demonstrate: Callable[[RunConfig], Demonstrate] | None = None,
    files: Mapping[str, str | None] | None = None,
    agents: Sequence[str] | None = None,
) -> dict[str, Any] | None:
    """Go on with a run that was paused (returns None) or interrupted: its clock continues where its ledger ends.

    Args:
        files: where the user's files that its configuration names are now, by its fields, if not where they were.
        agents: its first members, in order, as they are named now: scripts of theirs may lie elsewhere, too.
    """
    reading = Ledger(run_dir / "ledger.sqlite")
    if unpause(run_dir):
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
    started = next(e.payload for e in events if e.kind == "run")
    config = RunConfig.of_ledger(started.config).model_copy(update=dict(files or {}))
    members = {name: agent for e in events if e.kind == "run" for name, agent in e.payload.members.items()}
    members |= dict(zip(members, agents or (), strict=False))
    sandbox, notice = preflight(config, list(members.values()))
    first_calls = [] if "agents_stopped" in phases else check_models(config, list(members.values()))
    with exclusive(run_dir):
        env = make_env(config.env, kwargs_here(config.env_kwargs, config.robots))
        here, everywhere = _circumstances(env), fingerprint(env, scene=not is_real(config.env))
        stations = choose_stations(env, config.env_kwargs, config.private_stations, config.held_out, cells=config.cells)
        if stations.private is not None and stations.private.sha256 != started.stations_sha256:
            raise UserError(f"{config.private_stations} no longer holds the private stations that this run began with")
        slots = make_slots(run_dir, members, events)
        clock = RunClock.stopped(config.budget_s, already)
        ledger = Ledger(run_dir / "ledger.sqlite", clock)
        ledger.append(RunEvent(phase="resumed", **here))
        secret = StartStreams.parse_secret((run_dir / "secret").read_text())
        _record_demos(run_dir, config, stations, secret, ledger, demonstrate and demonstrate(config))
        begun = {e.agent for e in events if e.kind == "agent"}  # from then on its workspace is its own affair
        for slot in slots:
            if slot.id not in begun and not (slot.workspace / ".git").exists():  # killed while it was being made
                shutil.rmtree(slot.workspace, ignore_errors=True)
                _make_workspace(slot, members, config, env, stations, secret)
        env.close()
        count_killed_calls(ledger)
        for call in first_calls:
            ledger.append(call, agent=PREFLIGHT)
        over = "agents_stopped" in phases
        run = Run(
            run_dir, config, slots, sandbox, clock, ledger, notice, research_over=over, stations=stations,
            fingerprint=everywhere,
        )  # fmt: skip
        introduce(run)  # somebody may have been joining when it was killed
        return asyncio.run(_run(run, observer))


async def _run(run: Run, observer: Observer) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="aeb-") as sockets, contextlib.ExitStack() as stack:
        admin_token = secrets.token_urlsafe(32)
        station = stack.enter_context(
            StationProcess(
                StationConfig(
                    run_dir=run.dir.resolve(), socket=Path(sockets) / "station.sock", config=run.config,
                    sandbox=run.sandbox, secret_hex=(run.dir / "secret").read_text(), clock_epoch=run.clock.epoch,
                    clock_stopped_at=run.clock.stopped_at, station_scope=run.stations.scope,
                    private_stations=run.stations.private.numbers if run.stations.private else None,
                    tokens={admin_token: "admin", **{slot.token: slot.id for slot in run.slots}}, cells=run.config.cells,
                    fingerprint=run.fingerprint,
                )
            )
        )  # fmt: skip
        admin = StationClient(str(station.socket), admin_token)
        _remember_starter(run.ledger, admin, run.slots[0].workspace)
        observer.on_start(run.dir, run.clock, run.config)
        stack.callback(observer.on_stop)
        if run.notice:
            observer.log(run.notice)
        if not run.research_over:
            allowed = allowance(run)
            async with Gateways(run, allowed, Path(sockets), observer.on_wait) as gateways:
                recruit = functools.partial(_recruit, run, admin, gateways)
                reason = await Supervisor(run, station, admin, gateways.of, allowed, observer, recruit).run()
            run.ledger.append(RunEvent(phase="agents_stopped", detail=reason))
            for slot in run.slots:
                if difference := cross_check(slot, run.ledger):
                    run.ledger.append(NoteEvent(text=difference))
                    observer.log(difference)
        answer = choose_answer(list(run.ledger.events()), run.config.min_episodes)
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
def members_of(config: RunConfig) -> list[str]:
    """The agents that a configuration names. Raises UserError."""
    return parse_team([config.agent], config.team)


def preflight(config: RunConfig, agents: Sequence[str] | None = None) -> tuple[Sandbox, str | None]:
    """Everything that can be wrong and be known now, for a run of these agents (by default the configuration's). Returns the
    sandbox to use, and what a person should know of it. Raises UserError."""
    members = {name: make_agent(name) for name in (members_of(config) if agents is None else agents)}
    if config.own_stations and config.cells < config.team:
        raise UserError(
            f"{config.team} members with robots of their own want {config.team} of them: --stations {config.team}"
        )
    if config.regime is not None and config.regime not in REGIMES:
        raise UserError(f"unknown regime {config.regime!r}; choose one of {', '.join(REGIMES)}")
    if answer_of(config.regime) == "network" and any(find_spec(name) is None for name in ("onnx", "onnxruntime")):
        raise UserError(
            f"in the regime {config.regime} the station runs the answer's network, for which onnx and onnxruntime are missing; "
            "type: pip install 'autoenvbench[train]'"
        )
    if config.canary_every and not is_real(config.env):
        raise UserError(
            f"--canary is for real stations and their twins: the verifier of {config.env} does not drift; leave it out"
        )
    checked_tools(config.tools, config.tools_replay, config.base_url)
    check_robots(config.robots, config.env, config.env_kwargs, config.ray)
    if config.ray is not None:
        far_place.check(config.ray, [robot for robot in config.robots if robot.startswith(PREFIX)])
    sandbox = choose_sandbox(config.sandbox, fallback=all(agent.trusted for agent in members.values()))
    env = make_env(config.env, kwargs_here(config.env_kwargs, config.robots))
    try:
        check_vision(config, env, sandbox[0])
        if config.demos and contract_of(env).real_cell is not None:
            raise UserError("--demos is for simulated environments: on arms, demonstrations take the robot's own time")
        if config.demos:
            demonstrator(env)
    except (LookupError, ValueError) as error:
        raise UserError(f"--demos {config.demos}: {error}") from None
    finally:
        env.close()
    if config.replay:
        Replay(Path(config.replay))
    for agent in members.values():
        agent.check(config.of_agent(agent.name))
        if problems := _problems(config, agent):
            raise UserError(f"cannot start {agent.name}: " + "; and ".join(problems))
    return sandbox


def _problems(config: RunConfig, agent: Agent) -> list[str]:
    problems = [problem] if (problem := agent.problem()) else []
    keyless = config.gateway == "replay" or config.base_url is not None  # a local server may want no key
    if agent.needs_model and not keyless and agent.api_key and not os.environ.get(agent.api_key):
        problems.append(
            f"{agent.api_key} is not set: type `export {agent.api_key}=...` (or give a script with --replay)"
        )
    model = config.of_agent(agent.name).model or agent.default_model
    if config.cost_budget and agent.needs_model and model and not price_of(model, load_prices(config.prices)):
        problems.append(
            f"--cost-budget needs a price for {model}; give one with --prices FILE, or set --token-budget instead"
        )
    return problems


# -- a member that comes later -----------------------------------------------------------------------------------------
async def _recruit(run: Run, admin: StationClient, gateways: Gateways, agent: str) -> AgentSlot:
    """Make an agent a member of a run that is under way: all that a member from the beginning has. Raises UserError."""
    slot = await asyncio.to_thread(_newcomer, run, agent)
    await gateways.open(slot)
    await asyncio.to_thread(
        admin.post, "/members", {"member": slot.id, "token": slot.token}
    )  # last: it is not taken back
    return slot


def _newcomer(run: Run, agent: str) -> AgentSlot:
    """Its place in the run's folder, and its workspace, with what was tested of it written down."""
    if run.config.own_stations:
        raise UserError("its members have robots of their own (--own-stations), and none is left")
    if is_real(run.config.env):
        raise UserError(f"{run.config.env} moves arms, which whoever comes later could not stop")
    if len(run.slots) >= MAX_TEAM:
        raise UserError(f"it has {MAX_TEAM} members already")
    (agent,) = parse_team([agent], 1)
    sandbox, _ = preflight(run.config, [agent])
    ours = all(slot.kind.trusted for slot in run.slots) and not make_agent(agent).trusted
    if sandbox != run.sandbox or (sandbox == "none" and ours):
        raise UserError(f"its members work in the sandbox {run.sandbox}, where {agent} must not")
    for call in check_models(run.config, [agent]):
        run.ledger.append(call, agent=PREFLIGHT)
    name = name_newcomer(agent, [slot.id for slot in run.slots])
    (slot,) = make_slots(run.dir, {name: agent})
    shutil.rmtree(slot.folder, ignore_errors=True)  # of one that was killed on its way in
    env = make_env(run.config.env, run.config.env_kwargs)
    try:
        secret = StartStreams.parse_secret((run.dir / "secret").read_text())
        members = {**{slot.id: slot.agent for slot in run.slots}, name: agent}
        _make_workspace(slot, members, run.config, env, run.stations, secret)
    finally:
        env.close()
    return slot


def _tunes_parametric(agent: Agent, config: RunConfig) -> bool:
    """Whether it works on the task's parametric policy here: not where the answer is a network."""
    return agent.tunes_parametric and answer_of(config.regime) == "policy"


# -- parts -----------------------------------------------------------------------------------------------------------
def _make_workspace(
    slot: AgentSlot,
    members: Mapping[str, str],
    config: RunConfig,
    env: gymnasium.Env[Any, Any],
    stations: ChosenStations,
    secret: bytes,
) -> None:
    """Its brief names the run's own station where it may be simulated: on the open track. A private one is never named."""
    starter = "parametric" if _tunes_parametric(slot.kind, config) else config.starter
    drawn = stations.drawn(secret) if stations.source == "run" and config.track == "open" else None
    make_workspace(
        slot.workspace, slot.id, config.model_copy(update={"starter": starter}), env, scope=stations.scope,
        station=None if drawn is None else drawn.of_cell(0), experience=kept_experience(slot.folder.parents[1], config),
    )  # fmt: skip
    if len(members) > 1:
        write_team_page(slot.workspace, config, slot.id, members)


def _record_demos(
    run_dir: Path,
    config: RunConfig,
    stations: ChosenStations,
    secret: bytes,
    ledger: Ledger,
    demonstrate: Demonstrate | None,
) -> None:
    """The demonstrations that every member finds in data/demos, at the run's own station, before its clock starts."""
    folder = run_dir / "data" / "demos"
    if not config.demos or folder.exists():
        return
    assert demonstrate is not None
    drawn = stations.drawn(secret)
    made = demonstrate({**config.env_kwargs, **({} if drawn is None else {ARGUMENT: drawn.of_cell(0)})}, folder)
    ledger.append(
        NoteEvent(
            text=f"data/demos holds {made['episodes']} demonstrations by the task's {made['by']} policy, which solved {made['successes']} of "
            f"{made['attempted']} starts; sha256 {made['sha256']}"
        )
    )


def _remember_starter(ledger: Ledger, admin: StationClient, workspace: Path) -> None:
    """The first commit, as the station has it: the answer of an agent that gives none."""
    if not any(e.payload.phase == "starter" for e in ledger.events("commit")):
        head = send_head(admin, workspace, starter=True)
        ledger.append(CommitEvent(phase="starter", commit=head.commit, digest=head.digest))


def _circumstances(env: gymnasium.Env[Any, Any]) -> dict[str, Any]:
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
    result = Result.from_events(read_events(run_dir / "ledger.sqlite"))
    scratch = run_dir / "result.json.tmp"
    scratch.write_text(result.model_dump_json(indent=1) + "\n")
    scratch.rename(run_dir / "result.json")
    return result
