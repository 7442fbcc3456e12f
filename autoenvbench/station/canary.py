"""A station's canary: between episodes that count it is tried with what its operator knows the outcome of.

A round is two tries. A scene that was just reset is shown to the verifier, which must not call it a success. Then the task's reference
policy runs an episode, and must not fail more often than references do. Neither is an episode of any agent: they have a kind of their own in the
ledger, with starts that are drawn for them and robot time that is charged to nobody.
"""

from __future__ import annotations

import secrets
from typing import Any

import gymnasium as gym
from enpire_envs.cell import CellFault
from enpire_envs.env import ResetFailed
from enpire_envs.reference import make_reference

from autoenvbench.errors import UserError
from autoenvbench.record.canary import CanaryWatch
from autoenvbench.record.events import TRIED, CanaryEvent, Purpose
from autoenvbench.record.ledger import EventSink
from autoenvbench.station.batch import Stop
from autoenvbench.station.rollout import NotBegun, RobotTimer, begin, run_episode

_ROUND_TRIES = 3  # at a probe that does not come to a verdict


class Canary:
    """Of one real cell.

    Args:
        every: judged episodes between two rounds.
        pace: of the cell.

    Raises UserError for an environment that is no real cell's, or has no reference.
    """

    def __init__(self, env: gym.Env[Any, Any], every: int, pace: float) -> None:
        if not hasattr(env.unwrapped, "judge_start"):
            raise UserError("--canary is for real stations and their twins: a simulated cell's verifier does not drift")
        try:
            self._reference = make_reference(env)
        except LookupError as error:
            raise UserError(f"--canary: {error}") from None
        self._env, self._every, self._pace = env, every, pace
        self._watch = CanaryWatch()
        self._judged = 0

    def after(self, purpose: Purpose, sink: EventSink, stop: Stop) -> None:
        """An episode was judged: when it is time, run a round."""
        self._judged += purpose not in TRIED
        if self._judged < self._every or purpose in TRIED or stop() is not None:
            return
        self._judged = 0
        for probe in ("known_bad", "reference"):
            for _ in range(_ROUND_TRIES):
                event = self._try(probe, stop)
                sink.append(event)
                by_person = self._env.unwrapped.real_cell.stopped_by_person  # type: ignore[attr-defined]
                if event.success is not None or by_person or stop() is not None:
                    break

    def _try(self, probe: Any, stop: Stop) -> CanaryEvent:
        seed, robot = secrets.randbelow(2**48), RobotTimer(self._env, self._pace)
        success: bool | None = None
        reason: str | None = None
        try:
            if probe == "known_bad":
                begin(self._env, seed, None, stop, robot)
                success = bool(self._env.unwrapped.judge_start())  # type: ignore[attr-defined]
            else:
                outcome = run_episode(self._env, self._reference, seed, pace=self._pace, stop=stop, robot=robot)
                reason = outcome.reason
                if not (outcome.interrupted or outcome.infrastructure or outcome.detail):
                    success = outcome.success
                else:
                    reason = f"{outcome.reason}: {outcome.detail}"
        except (NotBegun, ResetFailed, CellFault) as error:
            reason = str(error)
        return CanaryEvent(
            probe=probe, seed=seed, success=success, reason=None if reason is None else reason[:500], robot_s=robot.seconds(),
            alarm=self._watch.add(probe, success),
        )  # fmt: skip
