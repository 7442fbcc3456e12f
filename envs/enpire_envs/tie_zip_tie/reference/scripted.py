"""Tying from observations alone: by a light barrier at `intro`, by touch at `state`."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from enpire_envs.tie_zip_tie.reference.by_light import ByLight
from enpire_envs.tie_zip_tie.reference.by_touch import ByTouch
from enpire_envs.tie_zip_tie.reference.tying import Tying

_BY: dict[tuple[int, ...] | None, type[Tying]] = {
    (22,): ByLight,
    (29,): ByTouch,
}  # shape of the observation -> what finds the slot


class Scripted:
    """Ties by what policies see; raises ValueError for an observation without estimates."""

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        by = _BY.get(observation_space.shape)
        if by is None:
            raise ValueError(
                "the tying script reads estimates, which this observation has not; use obs_type='state' at the levels `intro` and `state`"
            )
        self._tying = by()

    def reset(self, observation: np.ndarray) -> None:
        """A new episode."""
        self._tying.reset(observation)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """The action (7,) for one control period."""
        return self._tying.act(observation)

    def did(self, action: np.ndarray) -> None:
        """After `act`: this was executed in its place, by a learner that it teaches."""
        self._tying.did(action)
