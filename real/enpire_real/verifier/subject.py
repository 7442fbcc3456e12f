"""What a task's cell lets an audit do with its verifier: one seam, which every real task implements in its `audit` module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from enpire_envs.task import Verdict

from enpire_real.tasks import load_by_name
from enpire_real.verifier.clips import Clip
from enpire_real.verifier.disturb import Disturbance


@dataclass(frozen=True, slots=True)
class Truth:
    """What a scene really is.

    Attributes:
        success: by the task's own test, of where things really are.
        margin_mm: how far that is from turning: positive for a success, negative for a failure.
    """

    success: bool
    margin_mm: float


class Subject(Protocol):
    """A task's verifier on a station, with scenes laid out for it. On a twin alone, but for `judge_clip`.

    A case is: `lay`, then `disturb` with what disturbs it, then `judge` and `truth`, then `disturb(None)`. A new task needs nothing else
    to be audited: its `TaskKit.audit` names a function from an environment that `gymnasium.make` made to its `Subject`.

    Attributes:
        tolerance_mm: of the task's threshold, in the terms of `Truth.margin_mm`.
        guard_mm: the band around the threshold that is reported apart; at most a tenth of the tolerance.
        abstentions: reasons of a failed verdict by which the verifier says that it could not see, not that it saw a failure. (The policy
            has failed all the same. A CellFault is an abstention, too.)
    """

    tolerance_mm: float
    guard_mm: float
    abstentions: tuple[str, ...]

    def lay(self, rng: np.random.Generator, *, success: bool, near: bool) -> None:
        """Bring about a final state as a policy may leave it: a success or a failure, within twice the threshold or far from it.

        What comes about may be another one: `truth` says. Raises CellFault, ResetFailed.
        """

    def disturb(self, what: Disturbance | None) -> None:
        """From now on this disturbs what the verifier sees; None: nothing does."""

    def judge(self) -> Verdict:
        """The verifier's word on the scene as it is, by its own code. Raises CellFault where it cannot say."""

    def truth(self) -> Truth:
        """What the scene really was when it was judged."""

    def look(self) -> list[float]:
        """Look at the newest frame of each of the verifier's cameras as it does for a verdict: processor time of each [ms]."""

    def judge_clip(self, clip: Clip) -> Verdict:
        """The verifier's word on a recorded clip, by the same code. Raises CellFault where it cannot say, ValueError for a clip that
        lacks something."""

    def record_clip(self) -> Clip:
        """What the verifier would look at now. Moves what has to be out of the view. Raises CellFault."""

    def close(self) -> None:
        """Let go of the station."""


def subject_of(env: gym.Env[Any, Any]) -> Subject:
    """The subject of a real environment that `gymnasium.make` made. Raises ValueError where its task brings none, or it cannot be audited so."""
    kit = getattr(env.unwrapped, "kit", None)
    if kit is None or kit.audit is None:
        raise ValueError(
            f"{env.spec.id if env.spec else env} has no verifier that can be audited: its TaskKit names no `audit`"
        )
    made: Subject = load_by_name(kit.audit)(env)
    return made
