"""`autoenvbench replay`: an episode of a run once more, from its start and its recorded actions, and whether it went the same bit for bit.

Actions are recorded as they were executed, so that no code of an agent's runs here. Of an episode whose file is gone the bundle runs again in
a cage, where policies draw from nothing but the run's secret. Neither is possible on arms.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from enpire_envs.contract import contract_of
from enpire_envs.env import CellFault, ResetFailed
from enpire_envs.episode_file import SUFFIX, Column, Episode, EpisodeError, EpisodeWriter, read_episode
from enpire_envs.fingerprint import fingerprint

from autoenvbench.errors import UserError
from autoenvbench.make_env import choose_stations, make_env
from autoenvbench.record import metrics
from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import TRIED, EpisodeEvent
from autoenvbench.record.ledger import Event, Ledger, read_events
from autoenvbench.record.regimes import answer_of
from autoenvbench.record.results import started
from autoenvbench.record.run_config import RunConfig
from autoenvbench.record.starts import StartStreams
from autoenvbench.record.stations import ARGUMENT
from autoenvbench.record.strangers import odd_arguments, reaching_tools
from autoenvbench.sandbox.cage import Sandbox
from autoenvbench.station.batch import Batch, Film, Start
from autoenvbench.station.bundles import BundleStore
from autoenvbench.station.cell import LocalCell
from autoenvbench.station.film import Lens, write_video
from autoenvbench.station.script_rollout import script_settings

_COMPARED = ("success", "score", "stage", "violations", "steps", "scene")
_STREAM = ("reward", "terminated", "truncated")  # and all of an observation


@dataclass(slots=True)
class Replayed:
    """How an episode went once more.

    Attributes:
        recorded: what the ledger says of it.
        by: what drove it, in words.
        steps: control steps that were simulated.
        differences: in words; none where it went the same bit for bit.
        video: the film, where one was asked for.
    """

    recorded: EpisodeEvent
    by: str
    steps: int = 0
    differences: list[str] = field(default_factory=list)
    video: Path | None = None


def replay(
    run_dir: Path, name: str, *, video: Path | None = None, sandbox: Sandbox = "bwrap", trust: bool = False
) -> Replayed:
    """Simulate an episode of a run again.

    Args:
        name: as its file is called: EVALUATION-START, or EVALUATION-START.ATTEMPT.
        video: where its film goes, .mp4.
        sandbox: the cage for an agent's policy, where the actions are not recorded.
        trust: whether what the run names may be used: files and servers of this machine's network, and models at this user's cost.

    Raises UserError, which says why, where that cannot be done.
    """
    if video is not None and (video.suffix != ".mp4" or not video.parent.is_dir()):
        raise UserError(f"cannot write {video}: give --video a file whose name ends in .mp4, in a folder that is there")
    events = read_events(run_dir / "ledger.sqlite")
    first, config = started(events)
    event = find_episode(run_dir, events, name)
    episode: EpisodeEvent = event.payload
    if episode.cell not in ("sim", "stand-in"):
        where = (
            "arms" if episode.cell == "real" else "a twin of arms, where each episode begins where the one before ended"
        )
        raise UserError(
            f"{name} happened on {where}: nothing can simulate it again. Its file and pictures are in {run_dir / 'episodes'}"
        )
    file = file_of(run_dir, name, event)
    again = reaching_tools(config.tools) if file is None else None  # recorded actions ask nobody
    if (why := odd_arguments(config.env_kwargs) or again) is not None and not trust:
        raise UserError(f"{name} is not run again: {why}; where you know who made the run, add --trust")
    env = make_env(config.env, config.env_kwargs)
    try:
        if first.payload.fingerprint not in (None, here := fingerprint(env)):
            raise UserError(
                f"{name} happened in {config.env} with the fingerprint {first.payload.fingerprint}, and here it is {here}: its code, scene, "
                f"arguments or physics differ, so it would be another episode. Install what the run had ({_versions(first.payload.versions)})"
            )
        station, env = _station_of(events, config, event, env)
        if file is not None:
            return _by_actions(env, file, event, station, video)
        return _by_policy(env, run_dir, events, config, event, station, video, sandbox)
    except (ResetFailed, CellFault) as error:
        raise UserError(f"{name} cannot be simulated here: {error}") from None
    finally:
        env.close()


# -- what is known of it -------------------------------------------------------------------------------------------------
def find_episode(run_dir: Path, events: list[Event], name: str) -> Event:
    """The episode of this name in the ledger."""
    found = re.fullmatch(r"(.{1,40})-(\d{1,9})(?:\.(\d{1,3}))?", name)
    wanted = (found[1], int(found[2]), int(found[3] or 0)) if found else None
    episodes = [e for e in events if e.kind == "episode"]
    for e in episodes:
        if wanted == (e.payload.evaluation, e.payload.index, e.payload.attempt):
            return e
    some = [f"{e.payload.evaluation}-{e.payload.index}" for e in (episodes[0], episodes[-1])] if episodes else []
    raise UserError(
        f"{run_dir} has no judged episode {name!r}"
        + (
            f"; it has {len(episodes)}, from {some[0]} to {some[1]} (autoenvbench ledger {run_dir} --kind episode)"
            if some
            else ": it has none"
        )
    )


def file_of(run_dir: Path, name: str, event: Event) -> Episode | None:
    """Its file, which must tell of the episode that the ledger tells of; None where it was not kept."""
    base, p = name.partition(".")[0], event.payload
    for path in (run_dir / folder / f"{stem}{SUFFIX}" for folder in ("episodes", "data") for stem in dict.fromkeys((name, f"{base}.{p.attempt}", base if p.attempt == 0 else name))):  # fmt: skip
        if not path.is_file():
            continue
        try:
            episode = read_episode(path, mapped=False, check=True)
        except (EpisodeError, OSError) as error:
            raise UserError(f"the recorded actions cannot be read: {error}") from None
        about, verdict = episode.meta.get("provenance", {}), episode.meta.get("verdict", {})
        told = (about.get("evaluation"), about.get("index"), about.get("content"), len(episode), verdict.get("success"))
        if told != (p.evaluation, p.index, p.content, p.steps, p.success):
            raise UserError(f"{path} tells of another episode than the ledger: it was changed, or is of another run")
        return episode
    return None


def _secret(events: list[Event], config: RunConfig) -> bytes | None:
    """The run's secret once it is revealed, which must be the one that was committed to."""
    told = next((e.payload.secret for e in events if e.kind == "run" and e.payload.phase == "finished"), None)
    if (told := told or config.held_out_secret) is None:
        return None
    secret, first = StartStreams.parse_secret(told), started(events)[0].payload
    if first.secret_sha256 not in (None, StartStreams(secret).commitment):
        raise UserError(
            "the secret that this run reveals is not the one that it committed to: its starts cannot be trusted"
        )
    return secret


def _station_of(
    events: list[Event], config: RunConfig, event: Event, env: gym.Env[Any, Any]
) -> tuple[int | None, gym.Env[Any, Any]]:
    """The number that the episode's reset is told, where its station is no cell's; and the environment of its cell."""
    chosen = choose_stations(env, config.env_kwargs, config.private_stations, config.held_out, cells=config.cells)
    if chosen.scope is None:
        return None, env
    secret = _secret(events, config)
    if secret is None:
        raise UserError("stations differ here, and which ones this run had is secret until it is finished")
    stations, place = chosen.drawn(secret), re.search(r"\.(\d+)$", event.station or "")
    assert stations is not None
    cell = stations.of_cell(int(place[1]) - 1 if place else 0)
    env.close()
    made = make_env(config.env, {**config.env_kwargs, ARGUMENT: cell})
    return (stations.of_held_out(event.payload.index) if event.payload.purpose == "heldout" else None), made


def _versions(versions: dict[str, str]) -> str:
    return (
        ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) or "its versions are not on record"
    )


# -- by its recorded actions -----------------------------------------------------------------------------------------------
def _by_actions(
    env: gym.Env[Any, Any], file: Episode, event: Event, station: int | None, video: Path | None
) -> Replayed:
    p: EpisodeEvent = event.payload
    contract = contract_of(env)
    options: dict[str, Any] = {} if station is None else {"station": station}
    if p.attempt and "attempt" in contract.reset_options:
        options["attempt"] = p.attempt
    script = (
        file.path is not None and file.path.with_name(f"{file.path.name.removesuffix(SUFFIX)}.calls.jsonl").is_file()
    )
    if script and "to_the_end" in contract.reset_options:
        options["to_the_end"] = True
    made = Replayed(p, f"{p.steps} recorded actions")
    record, lens = EpisodeWriter(images="raw"), Lens.film(env) if video is not None else None
    observation, info = env.reset(seed=p.seed, options=options or None)
    record.begin(observation)
    start = file.meta.get("start")
    if p.purpose in TRIED and start is not None and "start" in contract.reset_options and _first_difference(file, record.columns(file["action"].shape[1:])):  # fmt: skip
        try:
            observation, info = env.reset(seed=p.seed, options={**options, "start": start})  # an agent named it
        except ValueError as error:
            raise UserError(f"the start in the episode's file is none: {error}") from None
        record.begin(observation)
    terminated = truncated = False
    for k, action in enumerate(file["action"]):
        if terminated or truncated:
            made.differences.append(f"it ends after {k} steps; on record are {p.steps}")
            break
        if lens is not None:
            lens.look(k)
        observation, reward, terminated, truncated, info = env.step(action)
        record.step(action, observation, float(reward), terminated, truncated, time=0.0)
        made.steps += 1
    if script or (truncated and not {"reason", "success"} & {key for key, value in info.items() if value}):
        info = {**info, **contract.finish()}
    if lens is not None:
        lens.look(made.steps, last=True)
    if found := _first_difference(file, record.columns(file["action"].shape[1:])):
        made.differences.append(found)
    now = {
        "success": bool(info.get("success")) and not p.infrastructure and p.detail is None, "score": float(info.get("score", bool(info.get("success")))),
        "stage": str(info.get("stage", "")), "violations": list(info.get("violations", [])), "steps": made.steps, "scene": info.get("scene"),
    }  # fmt: skip
    made.differences += _unlike(p, now)
    if video is not None and lens is not None:
        made.video = _film(video, lens, contract.control_hz)
    return made


def _first_difference(file: Episode, columns: dict[str, Column]) -> str | None:
    """Where the observations, rewards or ends of an episode first differ from its file, as far as both go; None: nowhere."""
    firsts = []
    for name, now in columns.items():
        if name not in _STREAM and name.partition(".")[0] != "observation":
            continue
        if name not in file.columns:
            return f"its file has no {name}"
        was = file[name]
        wrong = (k for k in range(min(len(was), len(now))) if not _same(was[k], now[k]))
        firsts += [(k, name) for k in [next(wrong, None)] if k is not None]
    return f"{min(firsts)[1]} differs from step {min(firsts)[0]} on" if firsts else None


def _same(was: Any, now: Any) -> bool:
    """Whether two rows are the same to the bit; NaN is NaN."""
    was, now = np.asarray(was), np.asarray(now)
    return was.dtype == now.dtype and was.shape == now.shape and was.tobytes() == now.tobytes()


def _unlike(p: EpisodeEvent, now: dict[str, Any]) -> list[str]:
    """How an outcome differs from what is on record."""
    return [
        f"{name} is {now[name]}; on record is {getattr(p, name)}" for name in _COMPARED if now[name] != getattr(p, name)
    ]


def _film(video: Path, lens: Lens, hz: float) -> Path:
    try:
        write_video(str(video), lens, hz)
    except Exception as error:  # a renderer that is not there raises whatever it likes
        raise UserError(f"no film can be made here: {error}") from None
    return video


# -- by its policy ---------------------------------------------------------------------------------------------------------
def _by_policy(
    env: gym.Env[Any, Any], run_dir: Path, events: list[Event], config: RunConfig, event: Event, station: int | None,
    video: Path | None, sandbox: Sandbox,
) -> Replayed:  # fmt: skip
    """Run the episode's bundle again from its start, in a cage."""
    p: EpisodeEvent = event.payload
    why = "its actions were not kept, so its policy would have to run again"
    if p.purpose in TRIED:
        raise UserError(f"{why}, and practice may have begun where its agent said, which the ledger does not say")
    if p.infrastructure or p.reruns or p.reason == "interrupted":
        raise UserError(
            f"{why}, and it was ended or disturbed from outside ({p.rerun_because or p.detail or p.reason})"
        )
    if metrics.token_totals(events, 1.0, of_policies=True).calls:
        raise UserError(f"{why}, and policies of this run ask a model, whose answers nobody can repeat")
    if (secret := _secret(events, config)) is None:
        raise UserError(f"{why}, and what policies draw from is secret until the run is finished")
    store = run_dir / "bundles"
    bundle = BundleStore(store).get(p.digest) if (store / p.digest).is_dir() else None
    if bundle is None:
        raise UserError(f"{why}, and the bundle {p.digest[:12]} is no more in {store}")
    start = Start(p.index, p.attempt, p.seed, None, station, StartStreams(secret).policy_seed(p.purpose, p.index, p.attempt))  # fmt: skip
    ledger = Ledger(Path(":memory:"), RunClock.start(float("inf")))
    with tempfile.TemporaryDirectory() as folder, script_settings(config.tools, None, None, ledger) as scripts:
        film = None if video is None else Film(Path(folder), "")
        batch = Batch(p.evaluation, p.purpose, bundle, 1, iter([start]), attempts=p.attempt + 1, film=film)
        cell = LocalCell(env, sandbox=sandbox, track=config.track, scripts=scripts, answer=answer_of(config.regime))
        shown = cell.run(batch, ledger, lambda: None).shown
        (again,) = (e.payload for e in ledger.events("episode"))
        made = Replayed(p, f"its bundle {p.digest[:12]} in a cage ({sandbox})", again.steps)
        made.differences = _unlike(p, {name: getattr(again, name) for name in (*_COMPARED, "reason")})
        if video is not None:
            if not shown:
                raise UserError("no film can be made here: " + "; ".join(e.payload.text for e in ledger.events("note")))
            video.write_bytes((Path(folder) / next(iter(shown.values()))).read_bytes())
            made.video = video
    return made
