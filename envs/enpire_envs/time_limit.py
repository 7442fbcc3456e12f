"""The time limit of an episode: the task's default, what the environment was asked for, and Gymnasium's `TimeLimit`s."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import gymnasium as gym
from gymnasium.wrappers import TimeLimit

#: `info["reason"]` of an episode that a time limit ended.
REASON = "time_limit"


@dataclass(slots=True)
class StepLimit:
    """An environment's own time limit [control steps].

    Attributes:
        default: holds where nobody asks for another one.
        own: what the environment's `max_episode_steps` says, or None.
    """

    default: int
    own: int | None = None

    def __post_init__(self) -> None:
        if self.own is not None and not (isinstance(self.own, int) and self.own > 0):
            raise ValueError(f"max_episode_steps is {self.own!r}; expected a whole number of at least 1, or None")

    def within(self, outer: Iterable[int]) -> int:
        """The limit in force inside of `TimeLimit`s: the smallest that anybody asked for, else the default."""
        return min([*outer, *([self.own] if self.own is not None else [])], default=self.default)


def limits_around(env: gym.Env[Any, Any]) -> list[int]:
    """The `TimeLimit`s around an environment [control steps], asked for inside its own `reset`.

    `TimeLimit` tells the environment under it nothing, and `gymnasium.make` keeps `max_episode_steps` to itself. But the
    environment must know its last step to judge it, to say why it ended and to finish a recording; so it looks among those
    who called its `reset`.
    """
    limits = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code is TimeLimit.reset.__code__ and frame.f_locals["self"].unwrapped is env:
            limits.append(frame.f_locals["self"]._max_episode_steps)
        frame = frame.f_back
    return limits
