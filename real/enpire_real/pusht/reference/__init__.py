"""Push-T's reference policy on a station: the simulated task's planner, on what perception says, and a step aside when the arm
hides the T. Nothing about it is privileged but the planner's knowledge of the T's shape and friction."""

from __future__ import annotations

import numpy as np
from enpire_envs.env import CellEnv
from enpire_envs.pusht.reference import Expert as Planner
from enpire_envs.pusht.reference import Naive

from enpire_real.pusht.task import RealPushTReadings

_BLIND_S = 0.4


class Expert:
    """Plans pushes while the T is seen; steps sideways off it until it is."""

    def __init__(self, env: CellEnv) -> None:
        self._env, self._planner = env, Planner(env)
        self._blind = False

    def reset(self, observation: object) -> None:
        """A new episode."""
        self._planner.reset(observation)
        self._blind = False

    def act(self, observation: object) -> np.ndarray:
        """The next action (2,); reads the cell, not the observation."""
        readings = self._env.cell.read()
        assert isinstance(readings, RealPushTReadings)
        if readings.age > _BLIND_S or (self._blind and not readings.valid):
            self._blind = True
            self._planner.reset(observation)
            away = 1.0 if readings.tip[0] >= readings.block[0] else -1.0
            return np.array([away, 0.0])
        self._blind = False
        return self._planner.act(observation)


__all__ = ["Expert", "Naive"]
