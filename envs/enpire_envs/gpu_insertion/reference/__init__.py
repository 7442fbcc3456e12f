"""GPU insertion experts: `Expert` sees the true card, lines it up with the slot, and pushes until the latch snaps.

`Scripted` sees what policies see, and has a file of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from enpire_envs.contact import CONTROL_HZ
from enpire_envs.env import CellEnv
from enpire_envs.gpu_insertion.reference.scripted import Scripted
from enpire_envs.gpu_insertion.task import STEP, TURN

__all__ = ["Expert", "Naive", "Scripted"]

_PUSH = 40.0  # [N]
_LEAD = 0.016  # how far the commanded height may run ahead of the reached one [m]: as much, where the end effector is as stiff as usual
_STEP = np.array([*STEP, *[TURN] * 3])


class Expert:
    """Privileged GPU insertion policy. `act` ignores the observation and reads the cell."""

    def __init__(self, env: CellEnv) -> None:
        self._cell: Any = env.cell

    def reset(self, observation: object) -> None:
        pass

    def did(self, action: np.ndarray) -> None:
        """Nothing to remember: all is read anew."""

    def act(self, observation: object) -> np.ndarray:
        r = self._cell.read()
        # where the target will be once all actions have taken effect
        commanded = r.target + self._cell.scene.underway(self._cell.data) / CONTROL_HZ
        wanted = r.goal.copy()
        off = np.abs(r.pose - r.goal)
        lined_up = off[:2].max() < 0.00015 and off[3:].max() < 0.004
        wanted[2] = commanded[2]
        if lined_up or r.seated > 0.0005:
            wanted[2] = r.pose[2] - _PUSH / self._cell.model.actuator_gainprm[2, 0]
        return np.clip((wanted - commanded) / _STEP, -1, 1)


class Naive:
    """Pushes straight down where it hovers."""

    def __init__(self, env: CellEnv) -> None:
        pass

    def reset(self, observation: Any) -> None:
        self._commanded = 0.0

    def act(self, observation: Any) -> np.ndarray:
        height = observation["agent_pos"][-10] if isinstance(observation, dict) else observation[2]
        action = np.zeros(6)
        if height - self._commanded < _LEAD:
            action[2] = -1.0
            self._commanded -= STEP[2]
        return action
