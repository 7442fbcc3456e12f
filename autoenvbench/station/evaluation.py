"""Batches of judged episodes of one bundle, written to the ledger one by one."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import gymnasium as gym
import numpy as np

from autoenvbench.errors import UserError
from autoenvbench.events import EpisodeEvent, EvaluationEvent, NoteEvent, Purpose, ResetEvent
from autoenvbench.ledger import Ledger
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.policy_process import PolicyLimits, PolicyProcess
from autoenvbench.station.rollout import Outcome, Policy, ResetFailed, Trajectory, run_episode
from autoenvbench.station.script_rollout import ScriptSettings, run_script_episode
from autoenvbench.station.starts import StartStreams
from autoenvbench.workspace.cage import Sandbox, Track

FRAME_EVERY = 20  # control steps between the pictures kept of shown episodes
_GIVE_UP_AFTER = 3  # episodes in a row without an answer in wall-clock time


@dataclass(slots=True)
class Batch:
    """What is asked for: `n` starts of `purpose` from `first` on, `attempts` episodes at each."""

    purpose: Purpose
    n: int
    first: int
    attempts: int = 1
    idea: str | None = None
    beats: str | None = None
    skip: frozenset[tuple[int, int]] = frozenset()  # (index, attempt) already in the ledger
    starts: Sequence[dict[str, Any]] = ()  # named ones, by index, in place of what the streams draw
    interactive: bool = False  # whether scripts may use the tools of interactive mode


@dataclass(slots=True)
class Tally:
    """The running result of a batch."""

    id: str
    episodes: list[EpisodeEvent] = field(default_factory=list)
    aborted: bool = False
    shown: dict[str, list[np.ndarray]] = field(default_factory=dict)  # "success"/"failure" -> frames

    @property
    def successes(self) -> int:
        return sum(e.success for e in self.episodes)

    @property
    def rate(self) -> float:
        return self.successes / len(self.episodes) if self.episodes else 0.0

    @property
    def score(self) -> float:
        return sum(e.score for e in self.episodes) / len(self.episodes) if self.episodes else 0.0


class Evaluator:
    """Runs batches on one environment.

    Args:
        stop: asked before each step; True ends the batch, whose unfinished episode then never happened.
        on_episode: told of each episode after the ledger has it.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        ledger: Ledger,
        streams: StartStreams,
        *,
        sandbox: Sandbox,
        track: Track,
        pace: float = 0.0,
        station: str = "station-1",
        scripts: ScriptSettings | None = None,
    ) -> None:
        self.env, self._ledger, self._streams = env, ledger, streams
        self._sandbox, self._track, self._pace, self._station = sandbox, track, pace, station
        self._scripts = scripts or ScriptSettings()
        task = getattr(env.unwrapped, "task", env.unwrapped)
        self._renders: bool | None = None  # not tried yet
        self._limits = PolicyLimits(act_cpu_s=getattr(task, "act_cpu_ms", 250.0) / 1000)

    def policy_process(self, bundle: Bundle) -> PolicyProcess:
        space = self.env.action_space
        assert isinstance(space, gym.spaces.Box)
        return PolicyProcess(bundle.path, self.env.observation_space, space, self._limits, self._sandbox, self._track)

    def run(
        self,
        bundle: Bundle,
        batch: Batch,
        *,
        agent: str | None = None,
        policy: Policy | None = None,
        evaluation_id: str | None = None,
        show: bool = False,
        practice_dir: Path | None = None,
        stop: Callable[[], bool] = lambda: False,
        on_episode: Callable[[EpisodeEvent], None] = lambda event: None,
    ) -> Tally:
        """Run the batch; `policy` replaces the bundle's caged process (experts and random policies)."""
        tally = Tally(evaluation_id or f"E{1 + sum(1 for _ in self._started())}")
        self._log_evaluation("started", bundle, batch, tally, agent)
        process = None if policy is not None else self.policy_process(bundle)
        silent = 0
        affinity = os.sched_getaffinity(0)
        if process is not None and not process.is_script and not _has_pixels(self.env.observation_space):
            # Station and policy take strict turns, so they share one core: a hand-over then costs 10 us instead of the
            # 75 us of waking an idle one. (Rendering would keep its threads off the other cores: not with pixels.)
            os.sched_setaffinity(0, {sorted(affinity)[os.getpid() % len(affinity)]})
        try:
            for index, attempt in itertools.product(range(batch.first, batch.first + batch.n), range(batch.attempts)):
                if (index, attempt) in batch.skip:
                    continue
                seed = self._streams.seed(batch.purpose, index)
                options: dict[str, Any] = {"attempt": attempt} if attempt else {}
                if batch.starts:
                    options["start"] = batch.starts[index]
                record = Trajectory() if practice_dir is not None else None
                if silent >= _GIVE_UP_AFTER:
                    outcome, reruns = _unresponsive(), 0
                else:
                    looking = show and len(tally.shown) < 2 and self._can_render()
                    outcome, reruns = self._episode(
                        process or policy, seed, options, looking, record, stop, batch.interactive  # type: ignore[arg-type]
                    )  # fmt: skip
                if outcome.reason == "cut_off":
                    tally.aborted = True
                    break
                if silent < _GIVE_UP_AFTER:  # once given up on, for the rest of the batch
                    silent = silent + 1 if (outcome.reason or "").endswith("_wall_limit") else 0
                event = _event(outcome, tally.id, batch, bundle, index, attempt, seed, reruns, process)
                self._ledger.append(event, agent=agent, station=self._station)
                tally.episodes.append(event)
                if outcome.frames:
                    tally.shown.setdefault("success" if event.success else "failure", outcome.frames)
                if record is not None and practice_dir is not None:
                    again = f".{attempt}" if batch.attempts > 1 else ""
                    _save(record, practice_dir / f"{tally.id}-{index}{again}.npz", event)
                    if outcome.calls:
                        _save_calls(outcome.calls, practice_dir / f"{tally.id}-{index}{again}.calls.jsonl")
                on_episode(event)
        finally:
            os.sched_setaffinity(0, affinity)
            if process is not None:
                process.__exit__()
        self._log_evaluation("aborted" if tally.aborted else "finished", bundle, batch, tally, agent)
        return tally

    def _episode(
        self,
        policy: Policy,
        seed: int,
        options: dict[str, Any],
        looking: bool,
        record: Trajectory | None,
        stop: Callable[[], bool],
        interactive: bool,
    ) -> tuple[Outcome, int]:
        """One episode, rerun once if the infrastructure may be to blame."""
        for reruns in itertools.count():
            if record is not None:
                record.clear()
            try:
                frame_every = FRAME_EVERY if looking else 0
                if isinstance(policy, PolicyProcess) and policy.is_script:
                    outcome = run_script_episode(
                        self.env, policy, seed, options, self._scripts.in_mode(interactive), pace=self._pace,
                        frame_every=frame_every, record=record, stop=stop,
                    )  # fmt: skip
                else:
                    outcome = run_episode(
                        self.env,
                        policy,
                        seed,
                        options,
                        pace=self._pace,
                        frame_every=frame_every,
                        record=record,
                        stop=stop,
                    )
            except ResetFailed as error:
                self._ledger.append(ResetEvent(attempts=3, detail=str(error)), station=self._station)
                raise UserError(
                    f"the scene could not be made ready, so no episode was begun: {error}. What ran before counts; try again, "
                    "and if it stays so the station needs a person"
                ) from None
            if not outcome.infrastructure or outcome.reason == "cut_off" or reruns == 1:
                return outcome, reruns
        raise AssertionError("unreachable")

    def _can_render(self) -> bool:
        """Pictures are extras: without a renderer, say so once and go on without them."""
        if self._renders is None:
            inner = self.env.unwrapped
            if getattr(getattr(inner, "cell", None), "kind", "sim") != "sim" or hasattr(inner, "about"):
                return True  # a robot is not reset for a picture, nor is a kitchen built for one
            try:
                self.env.reset(seed=0)
                self.env.render()
                self._renders = True
            except Exception as error:
                self._renders = False
                self._ledger.append(
                    NoteEvent(text=f"no pictures, rendering fails here: {error!r}"), station=self._station
                )
        return self._renders

    def _started(self) -> Iterator[EvaluationEvent]:
        for event in self._ledger.events("evaluation"):
            if event.payload.phase == "started":
                yield event.payload

    def _log_evaluation(self, phase: Any, bundle: Bundle, batch: Batch, tally: Tally, agent: str | None) -> None:
        self._ledger.append(
            EvaluationEvent(
                phase=phase, id=tally.id, purpose=batch.purpose, commit=bundle.commit, digest=bundle.digest,
                planned=batch.n * batch.attempts, idea=batch.idea, episodes=len(tally.episodes),
                successes=tally.successes, score=tally.score, robot_s=sum(e.robot_s for e in tally.episodes),
                beats=batch.beats,
            ),
            agent=agent, station=self._station,
        )  # fmt: skip


def _has_pixels(space: gym.Space[Any]) -> bool:
    parts = space.spaces.values() if isinstance(space, gym.spaces.Dict) else [space]
    return any(part.dtype == np.uint8 for part in parts)


def _event(
    outcome: Outcome, evaluation: str, batch: Batch, bundle: Bundle, index: int, attempt: int, seed: int, reruns: int,
    process: PolicyProcess | None,
) -> EpisodeEvent:  # fmt: skip
    cpu = process.act_cpu_s / process.acts * 1000 if process is not None and process.acts else None
    return EpisodeEvent(
        evaluation=evaluation, purpose=batch.purpose, index=index, attempt=attempt, cell=outcome.cell, commit=bundle.commit,
        digest=bundle.digest, seed=seed, success=outcome.success, score=outcome.score, stage=outcome.stage,
        reason=outcome.reason, detail=outcome.detail, violations=outcome.violations, steps=outcome.steps,
        sim_s=outcome.sim_s, robot_s=outcome.robot_s, act_cpu_ms=cpu, reset_attempts=outcome.reset_attempts,
        reruns=reruns, scene=outcome.scene,
    )  # fmt: skip


def _unresponsive() -> Outcome:
    return Outcome(
        success=False, score=0.0, stage="", reason="policy_unresponsive", violations=[], steps=0, sim_s=0.0,
        robot_s=0.0, reset_attempts=0, detail=f"not run: {_GIVE_UP_AFTER} episodes in a row got no answer in time",
    )  # fmt: skip


def _save_calls(calls: list[dict[str, Any]], path: Path) -> None:
    """A script's tool calls, one JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(call) + "\n" for call in calls))


def _save(record: Trajectory, path: Path, event: EpisodeEvent) -> None:
    """Observations (T+1, ...), actions (T, n), rewards (T,) and the verdict, as .npz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first = record.observations[0]
    columns: dict[str, Any] = {
        "action": np.array(record.actions),
        "reward": np.array(record.rewards),
        **event.model_dump(include={"success", "score", "seed"}),
        "reason": event.reason or "",
    }
    if isinstance(first, dict):
        columns |= {f"observation.{key}": np.stack([o[key] for o in record.observations]) for key in first}
    else:
        columns["observation"] = np.stack(record.observations)
    scratch = path.with_suffix(f".{time.monotonic_ns()}.tmp")
    with scratch.open("wb") as file:
        np.savez_compressed(file, **columns)
    scratch.rename(path)


def write_video(frames: list[np.ndarray], path: Path) -> Path:
    """Five frames a second, as MP4."""
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 5, (width, height))
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path
