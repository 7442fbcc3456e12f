"""Force and torque on a tool, as simulated and real cells report it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Wrench(NamedTuple):
    """What the surroundings exert on a tool, at the tool's reference point.

    Attributes:
        vector: (6,) force [N], then torque [Nm].
        frame: whose axes it is in, such as "arm base".
    """

    vector: np.ndarray
    frame: str

    @property
    def force(self) -> np.ndarray:
        """(3,) [N]."""
        return self.vector[:3]

    @property
    def torque(self) -> np.ndarray:
        """(3,) [Nm]."""
        return self.vector[3:]
