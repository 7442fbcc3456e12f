"""Pin insertion experts: `Expert` sees the true hole, moves onto its axis (and upright, where it may turn), and pushes gently.

`Scripted` sees what policies see, and has a file of its own.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from enpire_envs.contact import CONTROL_HZ
from enpire_envs.env import CellEnv
from enpire_envs.pin_insertion.reference.scripted import Scripted
from enpire_envs.pin_insertion.scene import PIN_LENGTH
from enpire_envs.pin_insertion.task import STEP, TURN

__all__ = ["Expert", "Naive", "Scripted"]

_LEAD = 0.009  # how far the commanded height runs ahead of the reached one [m]: about 14 N
_UPRIGHT_GAIN = 0.15  # share of the upper end's distance from the hole's axis that is corrected per step


class Expert:
    """Privileged pin insertion policy. `act` ignores the observation and reads the cell."""

    def __init__(self, env: CellEnv) -> None:
        self._cell: Any = env.cell
        self._size = env.task.action_space.shape[0]
        self._step = np.array([*STEP, *[TURN] * 3])[: self._size]

    def reset(self, observation: object) -> None:
        pass

    def did(self, action: np.ndarray) -> None:
        """Nothing to remember: all is read anew."""

    def act(self, observation: object) -> np.ndarray:
        r = self._cell.read()
        # where the target will be once all actions have taken effect
        commanded = (r.target + self._cell.scene.underway(self._cell.data) / CONTROL_HZ)[: self._size]
        wanted = commanded.copy()
        if r.insertion <= 0.0005:
            # Where the tip comes to rest once the end effector has caught up with its target: without feedback, which a delay would
            # make swing.
            wanted[:2] = r.pose[:2] - r.tip[:2]
        else:
            # A tilted pin is put upright from its upper end: pushing on would wedge it between two edges of the hole.
            wanted[:2] -= _UPRIGHT_GAIN * (r.tip + PIN_LENGTH * r.axis)[:2]
        if self._size == 6:
            upright = np.array([r.axis[1], -r.axis[0]])  # the small turn that puts the pin upright [rad]
            wanted[3:5] = r.pose[3:5] + upright
        if r.insertion > 0.0005 or math.hypot(*r.tip[:2]) < 0.0002:
            wanted[2] = r.pose[2] - _LEAD
        return np.clip((wanted - commanded) / self._step, -1, 1)


class Naive:
    """Pushes straight down where it hovers."""

    def __init__(self, env: CellEnv) -> None:
        self._size = env.task.action_space.shape[0]

    def reset(self, observation: Any) -> None:
        self._commanded = 0.0

    def act(self, observation: Any) -> np.ndarray:
        action = np.zeros(self._size)
        height = observation["agent_pos"][0] if isinstance(observation, dict) else observation[2]
        if height - self._commanded < _LEAD:
            action[2] = -1.0
            self._commanded -= STEP[2]
        return action
