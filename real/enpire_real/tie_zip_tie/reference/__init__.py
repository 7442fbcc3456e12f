"""Tying's reference policy on a station: the simulated task's script, by what it observes. Nothing about it is privileged."""

from __future__ import annotations

import numpy as np
from enpire_envs.env import CellEnv
from enpire_envs.tie_zip_tie.reference import Naive, Scripted


class Expert:
    """Threads the strap by what the cameras see, as `Scripted` does."""

    def __init__(self, env: CellEnv) -> None:
        self._script = Scripted(env.observation_space, env.action_space)

    def reset(self, observation: np.ndarray) -> None:
        """A new episode, by its first observation."""
        self._script.reset(observation)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """The action for one control period (7,), within [-1, 1]."""
        return self._script.act(observation)


__all__ = ["Expert", "Naive", "Scripted"]
