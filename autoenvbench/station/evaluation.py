"""Batches of judged episodes of one bundle, written to the ledger one by one."""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
from enpire_envs.contract import ContractError, contract_of, step_limit
from enpire_envs.episodes import EpisodeWriter

from autoenvbench.errors import UserError
from autoenvbench.record.events import EpisodeEvent, EvaluationEvent, NoteEvent, Purpose, ResetEvent, StartEvent
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.starts import StartStreams
from autoenvbench.record.state import Follower
from autoenvbench.sandbox.cage import Sandbox, Track
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.faults import BY_PERSON
from autoenvbench.station.policy_process import PolicyLimits, PolicyProcess
from autoenvbench.station.rollout import NotBegun, Outcome, Policy, ResetFailed, Stop, run_episode
from autoenvbench.station.script_rollout import ScriptSettings, run_script_episode
from autoenvbench.station.trajectories import Trajectories, describe, evidence_of

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
    def counted(self) -> list[EpisodeEvent]:
        """Those that are evidence about the policy."""
        return [e for e in self.episodes if not e.infrastructure]

    @property
    def successes(self) -> int:
        return sum(e.success for e in self.counted)

    @property
    def rate(self) -> float:
        return self.successes / len(self.counted) if self.counted else 0.0

    @property
    def score(self) -> float:
        return sum(e.score for e in self.counted) / len(self.counted) if self.counted else 0.0


class Evaluator:
    """Runs batches on one environment.

    Each episode is in the ledger when it begins and when it ends, so that one which is interrupted, however, is on record and
    counts as it stands: as a failure, never run again.

    Args:
        agent: who asked, and lives while this runs; None where nobody does (held-out scoring).
        record: the run's state, where the caller follows the ledger already.
        stop: asked before each step; an answer ends the batch. Its unfinished episode is judged as it stands.
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
        record: Follower | None = None,
    ) -> None:
        self.env, self._ledger, self._streams = env, ledger, streams
        self._record = record or Follower(ledger)
        self._sandbox, self._track, self._pace, self._station = sandbox, track, pace, station
        self._scripts = scripts or ScriptSettings()
        self._contract = contract_of(env)
        self._renders: bool | None = None  # not tried yet
        self._limits = PolicyLimits.of(step_limit(env), self._contract.act_cpu_ms / 1000)

    @functools.cached_property
    def _about(self) -> dict[str, Any]:
        """What the files of kept episodes say of the environment."""
        return describe(self.env)

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
        keep: Trajectories | None = None,
        stop: Stop = lambda: None,
        on_episode: Callable[[EpisodeEvent], None] = lambda event: None,
    ) -> Tally:
        """Run the batch; `policy` replaces the bundle's caged process (experts and random policies).

        `keep`: where every episode's trajectory goes, a script's tool calls beside it.
        """
        if batch.starts and "start" not in self._contract.reset_options:
            raise UserError(f"{self.env.spec.id if self.env.spec else self.env} takes no named starts")
        tally = Tally(evaluation_id or self._new_id())
        self._log_evaluation("started", bundle, batch, tally, agent)
        process = None if policy is not None else self.policy_process(bundle)
        silent = 0
        tally.aborted = True  # until it is through
        affinity = os.sched_getaffinity(0)
        if process is not None and not process.is_script and not _has_pixels(self.env.observation_space):
            # Station and policy take strict turns, so they share one core: a hand-over then costs 10 us instead of the
            # 75 us of waking an idle one. (Rendering would keep its threads off the other cores: not with pixels.)
            os.sched_setaffinity(0, {sorted(affinity)[os.getpid() % len(affinity)]})
        try:
            lives_for = 0  # the attempt that the policy's process has been started for
            for attempt, index in itertools.product(range(batch.attempts), range(batch.first, batch.first + batch.n)):
                if (index, attempt) in batch.skip:
                    continue
                if attempt != lives_for and process is not None:
                    process.close()  # whoever comes to a start again shall not remember it
                lives_for = attempt
                seed = self._streams.seed(batch.purpose, index)
                redraws = attempt and "attempt" in self._contract.reset_options
                options: dict[str, Any] = {"attempt": attempt} if redraws else {}
                if batch.starts:
                    options["start"] = batch.starts[index]
                record, began = keep.writer() if keep is not None else None, time.time()
                start = StartEvent(
                    evaluation=tally.id, purpose=batch.purpose, index=index, attempt=attempt, cell=self._contract.kind,
                    commit=bundle.commit, digest=bundle.digest, content=bundle.content, seed=seed,
                )  # fmt: skip
                if silent >= _GIVE_UP_AFTER:
                    outcome, reruns, because = _unresponsive(self._contract.kind), 0, None
                else:
                    looking = show and len(tally.shown) < 2 and self._can_render()
                    try:
                        outcome, reruns, because = self._episode(
                            process or policy, start, agent, options, looking, record, stop, batch.interactive  # type: ignore[arg-type]
                        )  # fmt: skip
                    except NotBegun:
                        break
                if outcome.interrupted and batch.purpose == "practice":
                    break
                if silent < _GIVE_UP_AFTER:  # once given up on, for the rest of the batch
                    silent = silent + 1 if (outcome.reason or "").endswith("_wall_limit") else 0
                event = _event(outcome, start, reruns, because, process)
                self._ledger.append(event, agent=agent, station=self._station)
                tally.episodes.append(event)
                if outcome.frames:
                    tally.shown.setdefault("success" if event.success else "failure", outcome.frames)
                if record is not None and keep is not None:
                    name = f"{tally.id}-{index}" + (f".{attempt}" if batch.attempts > 1 else "")
                    why_not = keep.keep(
                        name, record, event, self._about, began=began, agent=agent, station=self._station,
                        evidence=evidence_of(self.env, outcome.frames), calls=outcome.calls,
                    )  # fmt: skip
                    if why_not is not None:
                        self._ledger.append(NoteEvent(text=why_not), station=self._station)
                on_episode(event)
                if outcome.interrupted or outcome.reason == BY_PERSON:
                    break
            else:
                tally.aborted = False
        finally:
            os.sched_setaffinity(0, affinity)
            if process is not None:
                process.__exit__()
            tally.episodes += settle(self._record, "the station failed", evaluation=tally.id)
            self._log_evaluation("aborted" if tally.aborted else "finished", bundle, batch, tally, agent)
        return tally

    def _episode(
        self,
        policy: Policy,
        start: StartEvent,
        agent: str | None,
        options: dict[str, Any],
        looking: bool,
        record: EpisodeWriter | None,
        stop: Stop,
        interactive: bool,
    ) -> tuple[Outcome, int, str | None]:
        """One episode, run once more if the machine is proven to have been at fault; with the number of reruns and the proof."""
        because, first = None, None
        for reruns in itertools.count():
            def on_begin(once: bool = reruns == 0) -> None:
                if once and start.purpose != "practice":
                    self._ledger.append(start, agent=agent, station=self._station)

            try:
                frame_every = FRAME_EVERY if looking else 0
                if isinstance(policy, PolicyProcess) and policy.is_script:
                    outcome = run_script_episode(
                        self.env, policy, start.seed, options, self._scripts.in_mode(interactive), pace=self._pace,
                        frame_every=frame_every, record=record, stop=stop, on_begin=on_begin,
                    )  # fmt: skip
                else:
                    outcome = run_episode(
                        self.env,
                        policy,
                        start.seed,
                        options,
                        pace=self._pace,
                        frame_every=frame_every,
                        record=record,
                        stop=stop,
                        on_begin=on_begin,
                    )
            except ResetFailed as error:
                self._ledger.append(ResetEvent(attempts=error.attempts, detail=str(error)), station=self._station)
                if first is not None:  # what is known of the episode is known; there is no second try of it
                    first.interrupted = True
                    return first, 0, None
                raise UserError(
                    f"the scene could not be made ready, so no episode was begun: {error}. What ran before counts; try again, "
                    "and if it stays so the station needs a person"
                ) from None
            except ContractError as error:
                raise UserError(f"this environment breaks its contract with the station: {error}") from None
            if agent is not None and (outcome.reason or "").endswith("_wall_limit"):
                outcome.infrastructure = False  # what an agent runs beside its policy is not the machine's fault
            if not outcome.infrastructure or reruns == 1 or outcome.reason == BY_PERSON:
                return outcome, reruns, because
            first = outcome
            because = f"{outcome.reason}: {outcome.detail}"
            if isinstance(policy, PolicyProcess):
                policy.close()  # it shall not know that it is its second try
        raise AssertionError("unreachable")

    def _can_render(self) -> bool:
        """Pictures are extras: without a renderer, say so once and go on without them."""
        if self._renders is None:
            if not self._contract.in_process:
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

    def _new_id(self) -> str:
        with self._record.read() as state:
            return f"E{state.evaluations_started + 1}"

    def _log_evaluation(self, phase: Any, bundle: Bundle, batch: Batch, tally: Tally, agent: str | None) -> None:
        self._ledger.append(
            EvaluationEvent(
                phase=phase, id=tally.id, purpose=batch.purpose, commit=bundle.commit, digest=bundle.digest,
                content=bundle.content, planned=batch.n * batch.attempts, idea=batch.idea, episodes=len(tally.counted),
                void=len(tally.episodes) - len(tally.counted), successes=tally.successes, score=tally.score, robot_s=sum(e.robot_s for e in tally.episodes),
                beats=batch.beats,
            ),
            agent=agent, station=self._station,
        )  # fmt: skip


def _has_pixels(space: gym.Space[Any]) -> bool:
    parts = space.spaces.values() if isinstance(space, gym.spaces.Dict) else [space]
    return any(part.dtype == np.uint8 for part in parts)


def settle(record: Follower, why: str, *, evaluation: str | None = None) -> list[EpisodeEvent]:
    """Judge the episodes that began and never ended (of one evaluation, or all) as they stand, and return them.

    They are failures, and their starts are spent: whoever ends a job when it goes badly, by whatever means, gains nothing.
    """
    with record.read() as state:
        begun = [e for e in state.open_starts.values() if evaluation in (None, e.payload.evaluation)]
    settled = []
    for e in begun:
        start: StartEvent = e.payload
        event = EpisodeEvent(
            **start.model_dump(), success=False, score=0.0, stage="", reason="interrupted", detail=why, steps=0, sim_s=0.0,
            robot_s=0.0,
        )  # fmt: skip
        record.ledger.append(event, agent=e.agent, station=e.station)
        settled.append(event)
    return settled


def close_evaluations(record: Follower) -> None:
    """End the evaluations that a killed station left open, with what they came to."""
    with record.read() as state:
        left_open = list(state.open_evaluations.values())
    for e in left_open:
        own = [p.payload for p in record.ledger.events("episode", after=e.seq) if p.payload.evaluation == e.payload.id]
        tally = Tally(e.payload.id, own)
        ended = e.payload.model_copy(
            update={
                "phase": "aborted", "episodes": len(tally.counted), "void": len(own) - len(tally.counted),
                "successes": tally.successes, "score": tally.score, "robot_s": sum(p.robot_s for p in own),
            }
        )  # fmt: skip
        record.ledger.append(ended, agent=e.agent, station=e.station)


def _event(
    outcome: Outcome, start: StartEvent, reruns: int, because: str | None, process: PolicyProcess | None
) -> EpisodeEvent:
    cpu = process.act_cpu_s / process.acts * 1000 if process is not None and process.acts else None
    return EpisodeEvent(
        **{**start.model_dump(), "cell": outcome.cell}, success=outcome.success, score=outcome.score, stage=outcome.stage,
        reason=outcome.reason, detail=outcome.detail, violations=outcome.violations, steps=outcome.steps,
        sim_s=outcome.sim_s, robot_s=outcome.robot_s, act_cpu_ms=cpu, reset_attempts=outcome.reset_attempts,
        reruns=reruns, rerun_because=because, infrastructure=outcome.infrastructure, scene=outcome.scene,
    )  # fmt: skip


def _unresponsive(cell: str) -> Outcome:
    return Outcome(
        success=False, score=0.0, stage="", reason="policy_unresponsive", violations=[], steps=0, sim_s=0.0, cell=cell,
        robot_s=0.0, reset_attempts=0, detail=f"not run: {_GIVE_UP_AFTER} episodes in a row got no answer in time",
    )  # fmt: skip


def write_video(frames: list[np.ndarray], path: Path) -> Path:
    """Five frames a second, as MP4."""
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 5, (width, height))
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path
