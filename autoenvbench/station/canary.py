"""A station's canary: between episodes that count it is tried with what its operator knows the outcome of.

A round is two tries. A scene that was just reset is shown to the verifier, which must not call it a success. Then the task's reference
policy runs an episode, and must not fail more often than references do. Neither is an episode of any agent: they have a kind of their own in the
ledger, with starts that are drawn for them and robot time that is charged to nobody.

What an agent cuts short (by its stop, or with its batch) says nothing of the station and is no try. It stays owed: after the next judged
episode, and at the latest before held-out episodes, when no agent is left who could cut it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
from enpire_envs.cell import CellFault
from enpire_envs.env import ResetFailed
from enpire_envs.reference import make_reference

from autoenvbench.errors import UserError
from autoenvbench.record.canary import PROBES, CanaryWatch, Probe
from autoenvbench.record.events import TRIED, CanaryEvent, InterventionEvent, NoteEvent, Purpose
from autoenvbench.record.ledger import EventSink
from autoenvbench.station.batch import Stop
from autoenvbench.station.rollout import NotBegun, RobotTimer, begin, run_episode

_ROUND_TRIES = 3  # at a probe that does not come to a verdict


class Canary:
    """Of one real cell.

    Args:
        every: judged episodes between two rounds.
        pace: of the cell.
        station: the cell's name in the run.
        since: judged episodes that came after the last try of each probe, of a run that went on before this process; none by default.

    Raises UserError for an environment that is no real cell's, or has no reference.
    """

    def __init__(
        self, env: gym.Env[Any, Any], every: int, pace: float, *, station: str = "station-1", since: Mapping[Probe, int] | None = None
    ) -> None:  # fmt: skip
        if not hasattr(env.unwrapped, "judge_start"):
            raise UserError("--canary is for real stations and their twins: a simulated cell's verifier does not drift")
        try:
            self._reference = make_reference(env)
        except LookupError as error:
            raise UserError(f"--canary: {error}") from None
        self._env, self._every, self._pace, self._station = env, every, pace, station
        self._watch = CanaryWatch()
        self._since = {**dict.fromkeys(PROBES, 0), **(since or {})}
        self._agent_stops = 0

    def stopped_by_agent(self) -> None:
        """An agent stopped the arms, now: said from any thread."""
        self._agent_stops += 1

    def after(self, purpose: Purpose, sink: EventSink, stop: Stop) -> None:
        """An episode was judged: when it is time, run a round."""
        if purpose not in TRIED:
            self._since = {probe: n + 1 for probe, n in self._since.items()}
            self.catch_up(sink, stop)

    def catch_up(self, sink: EventSink, stop: Stop) -> None:
        """Run what is due of a round, as far as nobody stops it: the rest stays due."""
        for probe in PROBES:
            if self._since[probe] < self._every:
                continue
            for _ in range(_ROUND_TRIES):
                if stop() is not None or self._cell.stopped_by_person:
                    return
                try:
                    event = self._try(probe, stop)
                except _Cut as why:
                    sink.append(
                        NoteEvent(text=f"a try of the canary ({probe}) was cut short, and is still due: {why}"[:500])
                    )
                    return
                finally:
                    asked = self._cell.take_requests()
                    for each in asked:
                        sink.append(InterventionEvent(station=self._station, asked=each))
                sink.append(event)
                if event.success is not None:
                    break
                if asked or self._cell.stopped_by_person:
                    return  # it does not go on without a person
            self._since[probe] = 0

    @property
    def _cell(self) -> Any:
        return self._env.unwrapped.real_cell  # type: ignore[attr-defined]

    def _try(self, probe: Probe, stop: Stop) -> CanaryEvent:
        """Raises _Cut."""
        seed, robot, stops = secrets.randbelow(2**48), RobotTimer(self._env, self._pace), self._agent_stops
        success: bool | None = None
        reason: str | None = None
        try:
            if probe == "known_bad":
                begin(self._env, seed, None, stop, robot)
                success = bool(self._env.unwrapped.judge_start())  # type: ignore[attr-defined]
            else:
                outcome = run_episode(self._env, self._reference, seed, pace=self._pace, stop=stop, robot=robot)
                reason = outcome.reason
                if outcome.interrupted or outcome.reason == "stopped_by_agent":
                    raise _Cut(f"{outcome.reason}: {outcome.detail}")
                if not (outcome.infrastructure or outcome.detail):
                    success = outcome.success
                else:
                    reason = f"{outcome.reason}: {outcome.detail}"
        except NotBegun as error:
            raise _Cut(str(error)) from None
        except (ResetFailed, CellFault) as error:
            reason = str(error)
        if success is None and stops != self._agent_stops and not self._cell.stopped_by_person:
            raise _Cut(str(reason))
        return CanaryEvent(
            probe=probe, seed=seed, success=success, reason=None if reason is None else reason[:500], robot_s=robot.seconds(),
            alarm=self._watch.add(probe, success),
        )  # fmt: skip


class _Cut(Exception):
    """An agent, or the end of its batch, ended a try."""
