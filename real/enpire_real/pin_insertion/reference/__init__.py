"""Pin insertion's reference policy on a station: the simulated task's script, by what it observes. Nothing about it is privileged."""

from __future__ import annotations

import numpy as np
from enpire_envs.env import CellEnv
from enpire_envs.pin_insertion.reference import Naive, Scripted


class Expert:
    """Feels its way into the hole, as `Scripted` does."""

    def __init__(self, env: CellEnv) -> None:
        self._script = Scripted(env.observation_space, env.action_space)

    def reset(self, observation: np.ndarray) -> None:
        """A new episode, by its first observation."""
        self._script.reset(observation)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """The action for one control period (3,), within [-1, 1]."""
        return self._script.act(observation)


__all__ = ["Expert", "Naive", "Scripted"]
