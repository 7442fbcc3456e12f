"""Pin insertion by what the paper's robot had: a camera on the wrist, height, rotation, gripper and a felt wrench; no x, no y, no pose."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from enpire_envs.contact import ROTATION_NAMES, WRENCH_NAMES
from enpire_envs.end_effector import rotation
from enpire_envs.pin_insertion.levels import PinLevel
from enpire_envs.pin_insertion.scene import PinReadings
from enpire_envs.pin_insertion.task import PinInsertion
from enpire_envs.pin_insertion.view import CAMERA

HEIGHT, ROTATION, GRIPPER, WRENCH = 0, slice(1, 7), 7, slice(8, 14)  # where what is in `agent_pos`
_SIZE = 14


class PinInsertionByImage(PinInsertion):
    """The same job, starts, danger and verdict, seen otherwise. See `PinInsertionEnv`, "Observation space"."""

    cameras: tuple[str, ...] = (CAMERA,)

    def __init__(self, level: PinLevel, sensing: str, tilt: str) -> None:
        super().__init__(level, sensing, tilt)
        self.obs_types, self._senses_angles = ("pixels_agent_pos",), True
        high = np.array([0.1, *[1.1] * 6, 1.0, *[100.0] * 3, *[5.0] * 3], np.float32)
        self.agent_pos_space = spaces.Box(-high, high, dtype=np.float32)
        self.agent_pos_names = ["z", *ROTATION_NAMES, "gripper", *WRENCH_NAMES]

    def agent_pos(self, readings: PinReadings) -> np.ndarray:
        """(14,) float32: height above the start [m], rotation (two columns of its matrix), gripper (closed: 0), wrench [N, Nm]."""
        self._sense(readings)
        sensed = np.zeros(_SIZE, np.float32)
        sensed[HEIGHT] = self._moved[2]
        sensed[ROTATION] = rotation(self._moved[3:])[:, :2].T.ravel()
        sensed[WRENCH] = self._felt
        return sensed
