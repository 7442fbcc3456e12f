"""`autoenvbench compare RUN_A RUN_B ...`: the answers of runs, each filmed from the same starts, in and out of distribution."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
from enpire_envs.contract import contract_of
from enpire_envs.episode_file import SUFFIX, Episode, read_episode
from enpire_envs.fingerprint import fingerprint

from autoenvbench.errors import UserError
from autoenvbench.make_env import choose_stations, is_real, make_env
from autoenvbench.publish.side_by_side import Kind, Rollout, Side, SideBySide
from autoenvbench.record import metrics
from autoenvbench.record.answer import choose_answer
from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import EpisodeEvent
from autoenvbench.record.ledger import Ledger, read_events
from autoenvbench.record.regimes import answer_of
from autoenvbench.record.results import started
from autoenvbench.record.run_config import RunConfig
from autoenvbench.record.starts import StartStreams
from autoenvbench.record.strangers import odd_arguments, reaching_tools
from autoenvbench.record.summary import summarise
from autoenvbench.sandbox.cage import Sandbox
from autoenvbench.station.batch import Batch, Film, Keep, draw_starts
from autoenvbench.station.bundles import Bundle, BundleStore
from autoenvbench.station.cell import LocalCell
from autoenvbench.station.evaluation import evaluate
from autoenvbench.station.film import jpeg
from autoenvbench.station.script_rollout import script_settings
from autoenvbench.study.score import station_of_start

LEDGER = "ledger.sqlite"  # what makes a folder a run's
_MEASURES = (
    "coverage",
    "insertion",
    "past",
    "gap",
)  # of what tasks tell of a step, what shows how far they got; else the stage
_FRAMES, _SIDE = 48, 160  # pictures of a film, and their longer side [px]: two dozen films make a page of some MB


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a run came to: the bundle that is scored, and how it is run."""

    side: Side
    config: RunConfig
    fingerprint: str | None
    bundle: Bundle


def is_run(folder: Path) -> bool:
    """Whether this is a run's folder, and no policy's."""
    return (folder / LEDGER).is_file()


def film_runs(
    run_dirs: Sequence[Path],
    starts: int,
    *,
    seed: int = 0,
    sandbox: Sandbox = "bwrap",
    trust: bool = False,
    on_episode: Callable[[EpisodeEvent], None] = lambda event: None,
) -> SideBySide:
    """Run each run's answer, in its cage, from the same `starts` starts of either distribution.

    Args:
        seed: of the starts and of what policies draw by; anybody can draw these, so that they rank nobody.
        trust: whether what the runs name may be used: files and servers of this machine's network, and models at this user's cost.

    Raises:
        UserError: runs of different environments, of arms, without a bundle to run, or that name more than is trusted.
    """
    if len({folder.resolve() for folder in run_dirs}) != len(run_dirs):
        raise UserError("a run is named twice; name each once")
    answers = [_answer(folder) for folder in run_dirs]
    first = answers[0].config
    for folder, answer in zip(run_dirs, answers, strict=True):
        if (answer.config.env, answer.config.env_kwargs) != (first.env, first.env_kwargs):
            raise UserError(
                f"{folder} is of {answer.config.env} {answer.config.env_kwargs or ''} and {run_dirs[0]} of {first.env} "
                f"{first.env_kwargs or ''}: starts can be shared by runs of one environment alone"
            )
    if is_real(first.env):
        raise UserError(f"{first.env} moves arms: nobody can put them back to the same start for every answer")
    for folder, answer in zip(run_dirs, answers, strict=True):
        why = odd_arguments(answer.config.env_kwargs) or reaching_tools(answer.config.tools)
        if why is not None and not trust:
            raise UserError(f"{folder}: {why}; where you know who made it, add --trust")
    inside = {name: value for name, value in first.env_kwargs.items() if name != "starts"}
    made = SideBySide(first.env, first.env_kwargs, seed, [answer.side for answer in answers])
    with contextlib.ExitStack() as stack:
        envs: dict[Kind, gym.Env[Any, Any]] = {"id": make_env(first.env, inside)}
        stack.callback(envs["id"].close)
        try:
            envs["ood"] = make_env(first.env, {**inside, "starts": "ood"})
            stack.callback(envs["ood"].close)
        except UserError:
            made.notes.append(f"{first.env} has no starts out of distribution.")
        here = fingerprint(envs["id"])
        for side, answer in enumerate(answers):
            if answer.fingerprint not in (None, here):
                made.notes.append(f"{answer.side.run} was made with another version of the environment.")
            for kind, env in envs.items():
                made.rollouts += _roll_out(answer, side, kind, env, starts, seed, sandbox, made, on_episode)
    return made


def _answer(folder: Path) -> _Answer:
    """A run's answer by its ledger. Raises UserError."""
    events = read_events(folder / LEDGER)
    first, config = started(events)
    answer = choose_answer(events, config.min_episodes)
    store = folder / "bundles"
    bundle = BundleStore(store).get(answer.digest) if (store / answer.digest).is_dir() else None
    if bundle is None:
        raise UserError(
            f"the answer {answer.commit[:12]} of {folder} is not in {store}: without it nothing can be run again"
        )
    held, name = metrics.heldout_episodes(events), first.payload.run_id or folder.resolve().name
    rate = summarise(held) if held else None
    return _Answer(Side(name, config.agent, answer.commit, rate), config, first.payload.fingerprint, bundle)


def _roll_out(
    answer: _Answer, side: int, kind: Kind, env: gym.Env[Any, Any], n: int, seed: int, sandbox: Sandbox,
    made: SideBySide, on_episode: Callable[[EpisodeEvent], None],
) -> list[Rollout]:  # fmt: skip
    """One answer's films from the starts of one distribution."""
    secret = hashlib.sha256(f"autoenvbench compare runs {seed}".encode()).digest()
    station = station_of_start(choose_stations(env, answer.config.env_kwargs, None, n), secret, "score")
    ledger, config = Ledger(Path(":memory:"), RunClock.start(float("inf"))), answer.config
    rollouts = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        scripts = stack.enter_context(script_settings(config.tools, None, None, ledger))
        cell = LocalCell(env, sandbox=sandbox, track=config.track, scripts=scripts, answer=answer_of(config.regime))
        cell.policy = stack.enter_context(cell.policy_process(answer.bundle))  # one process for all starts
        for k in range(n):
            keep = Keep(folder / f"{k}", secret=False, insight="all")
            batch = Batch(
                f"{kind}-{k}", "score", answer.bundle, 1, draw_starts(StartStreams(secret), "score", k, 1, station=station),
                keep=keep, film=Film(folder, f"{k}-"),
            )  # fmt: skip
            tally = evaluate([cell], batch, ledger, on_episode=on_episode)
            (event,) = tally.episodes
            files = sorted(keep.folder.glob(f"*{SUFFIX}"))
            episode = read_episode(files[0], mapped=False) if files else None
            name, values = _measure(episode)
            made.measure = name if values else made.measure
            video = folder / next(iter(tally.shown.values())) if tally.shown else None
            seconds = event.steps / contract_of(env).control_hz
            rollouts.append(
                Rollout(
                    side=side, kind=kind, index=k, success=event.success, reason=event.reason,
                    score=event.score, steps=event.steps, seconds=seconds, values=values, frames=_frames(video),
                )
            )  # fmt: skip
    return rollouts


def _measure(episode: Episode | None) -> tuple[str, list[float]]:
    """What the task tells of its progress after each step (a coverage, a depth), else the stage reached."""
    if episode is None:
        return "stage", []
    name = next((f"info.{name}" for name in _MEASURES if f"info.{name}" in episode.columns), "stage")
    return name.removeprefix("info."), [float(value) for value in episode.columns.get(name, ())]


def _frames(video: Path | None) -> list[bytes]:
    """Pictures of a film as JPEG, evenly from its first to its last."""
    if video is None:
        return []
    reader, seen = cv2.VideoCapture(str(video)), []
    while True:
        more, frame = reader.read()
        if not more:
            break
        seen.append(frame)
    reader.release()
    picks = sorted({round(k) for k in np.linspace(0, len(seen) - 1, min(_FRAMES, len(seen)))}) if seen else []
    return [jpeg(np.ascontiguousarray(seen[k][..., ::-1]), _SIDE) for k in picks]
