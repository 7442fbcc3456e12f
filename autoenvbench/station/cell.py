"""A cell in this process: one environment, and beside it the policy of the batch that it runs.

take a start -> reset, verify -> report that it begins -> act until the verdict -> report the verdict -> the next start
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from enpire_envs.contract import ContractError, contract_of, step_limit
from enpire_envs.episode_file import EpisodeWriter

from autoenvbench.errors import UserError
from autoenvbench.record.events import TRIED, EpisodeEvent, InterventionEvent, NoteEvent, ResetEvent, StartEvent
from autoenvbench.record.ledger import EventSink
from autoenvbench.record.regimes import AnswerKind
from autoenvbench.sandbox.cage import Sandbox, Track
from autoenvbench.station.batch import Batch, CellResult, Film, Keep, Start, Stop
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.canary import Canary
from autoenvbench.station.codec import leaves
from autoenvbench.station.faults import BY_PERSON
from autoenvbench.station.film import Lens, write_film
from autoenvbench.station.policy_process import PolicyFault, PolicyLimits, PolicyProcess
from autoenvbench.station.rollout import NotBegun, Outcome, Policy, ResetFailed, RobotTimer, run_episode
from autoenvbench.station.script_rollout import ScriptSettings, run_script_episode
from autoenvbench.station.trajectories import Trajectories, describe, evidence_of
from autoenvbench.station.verifiers import verifier_of
from autoenvbench.station.window import Window

MAX_VIOLATIONS = 1000  # of an episode, that are on record: a list without end fits no message and no ledger
FRAMES = 9  # pictures in the file of an episode that somebody may want to look at
GIVE_UP_AFTER = 3  # episodes in a row without an answer in wall-clock time


class LocalCell:
    """Runs batches on one environment (see `Cell`). All calls from one thread: rendering contexts belong to it.

    Args:
        env: made with ``render_mode="rgb_array"``.
        pace: 1 runs in real time by sleeping, 0 as fast as possible. A simulated cell scores held-out episodes as fast as possible at any
            pace: its time stands still while a policy thinks, so that the verdicts are the same, and nobody's robot is waited for.
        scripts: how script policies are run.
        policy: drives in place of the bundle's caged process (experts, random policies, a process that outlives a batch).
        limits: of policies; None for those of the environment's task.
        answer: what is run of a bundle (see `PolicyProcess`).
        window: shows its episodes to people who look on; None: nobody can.
        canary: tries a real cell between its episodes; None: nothing does.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        *,
        sandbox: Sandbox,
        track: Track,
        pace: float = 0.0,
        scripts: ScriptSettings | None = None,
        policy: Policy | None = None,
        limits: PolicyLimits | None = None,
        answer: AnswerKind = "policy",
        name: str = "station-1",
        window: Window | None = None,
        canary: Canary | None = None,
    ) -> None:
        self.env, self.name, self.policy, self._window, self._canary = env, name, policy, window, canary
        self._judge_named = False  # in the ledger
        self._contract = contract_of(env)
        self.kind = self._contract.kind
        self.limits = limits or PolicyLimits.of(step_limit(env), self._contract.act_cpu_ms / 1000)
        self._sandbox, self._track, self._pace, self._answer = sandbox, track, pace, answer
        self._scripts = scripts or ScriptSettings()
        self._renders: bool | None = None  # not tried yet
        self._kept: dict[Keep, Trajectories] = {}  # of the whole run's folders

    @functools.cached_property
    def _about(self) -> dict[str, Any]:
        """What the files of kept episodes say of the environment."""
        return describe(self.env)

    def policy_process(self, bundle: Bundle, answer: AnswerKind | None = None) -> PolicyProcess:
        """The bundle's policy in its cage; it starts with its first episode. `answer`: what is run, if not the cell's own."""
        space = self.env.action_space
        assert isinstance(space, gym.spaces.Box)
        return PolicyProcess(
            bundle.path,
            self.env.observation_space,
            space,
            self.limits,
            self._sandbox,
            self._track,
            answer or self._answer,
        )

    def run(self, batch: Batch, sink: EventSink, stop: Stop) -> CellResult:
        """See `Cell.run`."""
        self._name_judge(batch, sink)
        if self._canary is not None and batch.purpose == "heldout":
            self._canary.catch_up(sink, stop)
        answer: AnswerKind | None = "weights" if batch.purpose == "learn" else None
        process = None if self.policy is not None else self.policy_process(batch.bundle, answer)
        extras = _Extras(batch.sheets, self._trajectories(batch.keep))
        with contextlib.ExitStack() as stack:
            if process is not None:
                stack.enter_context(process)
                stack.enter_context(self._sharing_a_core(process))
            through = self._episodes(process or self.policy, batch, sink, stop, extras)  # type: ignore[arg-type]
        full = extras.kept.full if extras.kept is not None else None
        return CellResult(through, extras.shown, full, extras.sheets)

    def _name_judge(self, batch: Batch, sink: EventSink) -> None:
        """What judges in a real cell is on record before its first verdict that counts."""
        if self._judge_named or batch.purpose in TRIED:
            return
        if (judge := verifier_of(self.env)) is not None:
            sink.append(judge.event())
        self._judge_named = True

    def _trajectories(self, keep: Keep | None) -> Trajectories | None:
        if keep is None:
            return None
        if keep.own is not None:  # others write there, too: what the member has is looked up for each of its batches
            return Trajectories(keep)
        return self._kept.setdefault(keep, Trajectories(keep))

    @contextlib.contextmanager
    def _sharing_a_core(self, process: PolicyProcess) -> Iterator[None]:
        """Cell and policy take strict turns: on one core a hand-over costs 10 us instead of the 75 us of waking an idle one.
        (Not with pixels: rendering would keep its threads off the other cores.)"""
        affinity = os.sched_getaffinity(0)
        if not process.is_script and not _has_pixels(self.env.observation_space):
            os.sched_setaffinity(0, {sorted(affinity)[os.getpid() % len(affinity)]})
        try:
            yield
        finally:
            os.sched_setaffinity(0, affinity)

    def _episodes(self, policy: Policy, batch: Batch, sink: EventSink, stop: Stop, extras: _Extras) -> bool:
        """Run the batch's episodes; returns whether it went through."""
        process = policy if isinstance(policy, PolicyProcess) and policy is not self.policy else None
        silent = 0  # episodes in a row without an answer
        lives_for = 0  # the attempt that the policy's process has been started for
        for start in batch.starts:
            if start.attempt != lives_for and process is not None:
                process.close()  # whoever comes to a start again shall not remember it
            lives_for = start.attempt
            if isinstance(policy, PolicyProcess):
                policy.seed = start.policy_seed
            refused = _load(process, start.weights)
            event = self._start_event(batch, start)
            keep = extras.kept
            record, began = keep.writer(self._contract.stages) if keep is not None else None, time.time()
            lens: Lens | None = None
            if silent >= GIVE_UP_AFTER or refused is not None:
                outcome, reruns, because = _not_run(self.kind, refused), 0, None
            else:
                if batch.film is not None and extras.wants_film(batch.film) and self._can_render(sink):
                    lens = Lens.strip(self.env) if batch.film.strip else Lens.film(self.env)
                elif extras.sheets and record is not None and self._renders is not False:
                    lens = Lens.glimpses(self.env)
                try:
                    outcome, reruns, because = self._episode(policy, batch, start, event, sink, lens, record, stop)
                except NotBegun:
                    return False
            if outcome.interrupted and batch.purpose in TRIED:
                self._unrecorded(
                    batch, sink, outcome.robot_s, f"{batch.purpose} was ended in mid-episode: {outcome.detail}"
                )
                return False
            if silent < GIVE_UP_AFTER:  # once given up on, for the rest of the batch
                silent = silent + 1 if (outcome.reason or "").endswith("_wall_limit") else 0
            judged = _judged(outcome, event, reruns, because, process, start.weights)
            if self._window is not None:
                self._window.show()
            learns = batch.purpose == "learn"  # from the file, which is there before anybody hears of the episode
            if not learns:
                sink.append(judged)
            filmed = self._film(batch, "success" if judged.success else "failure", lens, extras, sink, stop)
            if record is not None and keep is not None:
                wanted = filmed or (extras.sheets > 0 and not judged.success)
                frames = lens.choose(FRAMES) if lens is not None and wanted else []
                evidence = self._evidence(lens, frames, sink)
                extras.sheets -= extras.sheets > 0 and "frames" in evidence and not judged.success
                why_not = keep.keep(
                    f"{batch.evaluation}-{start.index}" + (f".{start.attempt}" if batch.attempts > 1 else ""), record,
                    judged, self._about, began=began, agent=batch.agent, station=self.name, evidence=evidence,
                    frames=frames if "frames" in evidence else [], calls=outcome.calls,
                )  # fmt: skip
                if why_not is not None:
                    sink.append(NoteEvent(text=why_not))
            if learns:
                sink.append(judged)
            ended = outcome.interrupted or outcome.reason == BY_PERSON
            if self._canary is not None:  # it counts the episode that a batch ends with, too
                self._canary.after(batch.purpose, sink, (lambda: "the batch has ended") if ended else stop)
            if ended:
                return False
        return True

    def _start_event(self, batch: Batch, start: Start) -> StartEvent:
        bundle = batch.bundle
        return StartEvent(
            evaluation=batch.evaluation, purpose=batch.purpose, index=start.index, attempt=start.attempt, cell=self.kind,
            commit=bundle.commit, digest=bundle.digest, content=bundle.content, seed=start.seed,
        )  # fmt: skip

    def _episode(
        self, policy: Policy, batch: Batch, start: Start, event: StartEvent, sink: EventSink, lens: Lens | None,
        record: EpisodeWriter | None, stop: Stop,
    ) -> tuple[Outcome, int, str | None]:  # fmt: skip
        """One episode, run once more if the machine is proven to have been at fault; with the number of reruns and the proof."""
        options: dict[str, Any] = {}
        if start.attempt and "attempt" in self._contract.reset_options:
            options["attempt"] = start.attempt
        if start.named is not None:
            options["start"] = self._named(start.named)
        if start.station is not None:
            if "station" not in self._contract.reset_options:
                raise UserError(f"{self.env.spec.id if self.env.spec else self.env} cannot be another station")
            options["station"] = start.station
        pace = 0.0 if batch.purpose == "heldout" and self._contract.real_cell is None else self._pace
        because, first = None, None
        for reruns in itertools.count():
            robot = RobotTimer(self.env, pace)
            if lens is not None:
                lens.clear()

            def on_begin(once: bool = reruns == 0) -> None:
                if once and batch.purpose not in TRIED:
                    sink.append(event)

            try:
                if isinstance(policy, PolicyProcess) and policy.is_script:
                    outcome = run_script_episode(
                        self.env, policy, start.seed, options, self._scripts.in_mode(batch.interactive), pace=pace,
                        lens=lens, record=record, stop=stop, on_begin=on_begin, robot=robot, window=self._window,
                    )  # fmt: skip
                else:
                    outcome = run_episode(
                        self.env, policy, start.seed, options, pace=pace, lens=lens, record=record,
                        stop=stop, on_begin=on_begin, robot=robot, window=self._window,
                    )  # fmt: skip
            except NotBegun as why:
                if robot.seconds():
                    self._unrecorded(batch, sink, robot.seconds(), f"it was not needed any more: {why}")
                raise
            except ResetFailed as error:
                self._unrecorded(batch, sink, robot.seconds(), str(error), error.attempts)
                for asked in self._contract.real_cell.take_requests() if self._contract.real_cell is not None else ():
                    sink.append(InterventionEvent(station=self.name, asked=asked, purpose=batch.purpose))
                if first is not None:  # what is known of the episode is known; there is no second try of it
                    first.interrupted = True
                    return first, 0, None
                raise UserError(
                    f"the scene could not be made ready, so no episode was begun: {error}. What ran before counts; try again, "
                    "and if it stays so the station needs a person"
                ) from None
            except ContractError as error:
                raise UserError(f"this environment breaks its contract with the station: {error}") from None
            if batch.agent is not None and (outcome.reason or "").endswith("_wall_limit"):
                outcome.infrastructure = False  # what an agent runs beside its policy is not the machine's fault
            if first is not None:
                outcome.robot_s += first.robot_s  # the robot worked twice
            if not outcome.infrastructure or reruns == 1 or outcome.reason == BY_PERSON:
                return outcome, reruns, because
            first = outcome
            because = f"{outcome.reason}: {outcome.detail}"
            if isinstance(policy, PolicyProcess):
                policy.close()  # it shall not know that it is its second try
        raise AssertionError("unreachable")

    def _unrecorded(self, batch: Batch, sink: EventSink, robot_s: float, why: str, attempts: int = 1) -> None:
        """The robot worked, and no episode says so."""
        sink.append(ResetEvent(attempts=attempts, detail=why, purpose=batch.purpose, robot_s=robot_s))

    def _named(self, start: dict[str, Any]) -> dict[str, Any]:
        if "start" not in self._contract.reset_options:
            raise UserError(
                f"{self.env.spec.id if self.env.spec else self.env} takes no named starts: it draws each from its seed, which --seed can name"
            )
        return start

    def _film(self, batch: Batch, kind: str, lens: Lens | None, extras: _Extras, sink: EventSink, stop: Stop) -> bool:
        """Write the film of an episode, if it is the batch's first success or failure; returns whether it is."""
        if batch.film is None or lens is None or not len(lens) or not extras.wants_film(batch.film, kind):
            return False
        try:
            extras.shown[kind] = write_film(batch.film, kind, lens, self._contract.control_hz, stop)
        except Exception as error:  # pictures are extras
            sink.append(NoteEvent(text=f"no pictures, they cannot be written: {error!r}"))
            return False
        return True

    def _evidence(self, lens: Lens | None, frames: Sequence[int], sink: EventSink) -> dict[str, list[bytes]]:
        try:
            return evidence_of(self.env, lens, frames)
        except Exception as error:
            self._renders = False
            sink.append(NoteEvent(text=f"no pictures, rendering fails here: {error!r}"))
            return evidence_of(self.env, None, ())

    def _can_render(self, sink: EventSink) -> bool:
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
                sink.append(NoteEvent(text=f"no pictures, rendering fails here: {error!r}"))
        return self._renders


@dataclass(slots=True)
class _Extras:
    """What a batch leaves beside its verdicts.

    Attributes:
        sheets: failures that may still leave pictures in their files.
        kept: the folder of its episodes, if they are kept.
        shown: "success"/"failure" -> file name of the film.
    """

    sheets: int
    kept: Trajectories | None
    shown: dict[str, str] = field(default_factory=dict)

    def wants_film(self, film: Film, *kinds: str) -> bool:
        """Whether one of these is still to be filmed."""
        return any(kind not in self.shown and kind not in film.done for kind in kinds or ("success", "failure"))


def _has_pixels(space: gym.Space[Any]) -> bool:
    return any(box.dtype == np.uint8 for _, box in leaves(space))


def _judged(
    outcome: Outcome,
    start: StartEvent,
    reruns: int,
    because: str | None,
    process: PolicyProcess | None,
    weights: Path | None,
) -> EpisodeEvent:
    cpu = process.act_cpu_s / process.acts * 1000 if process is not None and process.acts else None
    return EpisodeEvent(
        **{**start.model_dump(), "cell": outcome.cell}, success=outcome.success, score=outcome.score, stage=outcome.stage,
        reason=outcome.reason, detail=outcome.detail, violations=outcome.violations[:MAX_VIOLATIONS], steps=outcome.steps,
        sim_s=outcome.sim_s, robot_s=outcome.robot_s, act_cpu_ms=cpu, reset_attempts=outcome.reset_attempts,
        reruns=reruns, rerun_because=because, infrastructure=outcome.infrastructure, scene=outcome.scene,
        weights=None if weights is None else weights.stem,
    )  # fmt: skip


def _load(process: PolicyProcess | None, weights: Path | None) -> PolicyFault | None:
    """Have a policy's process act by these weights, before the robot moves. Returns what is wrong with them."""
    try:
        if process is not None and weights is not None:
            process.load(weights)
    except PolicyFault as fault:
        return fault
    return None


def _not_run(cell: str, fault: PolicyFault | None) -> Outcome:
    """An episode that never began: its weights are none, or nobody answers any more."""
    unresponsive = f"not run: {GIVE_UP_AFTER} episodes in a row got no answer in time"
    reason, detail = (fault.reason, fault.detail) if fault is not None else ("policy_unresponsive", unresponsive)
    return Outcome(
        success=False, score=0.0, stage="", reason=reason, violations=[], steps=0, sim_s=0.0, cell=cell, robot_s=0.0,
        reset_attempts=0, detail=detail,
    )  # fmt: skip
