"""A window on a cell: the newest picture of it for people who look on, taken where the episode does not wait for it."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from autoenvbench.record import frame_slot
from autoenvbench.station.film import jpeg

EVERY_S = 0.5  # between two pictures, at least
SHARE = 0.02  # of a cell's time that pictures may take
SIDE = 320  # pixels of a picture, at most


class Window:
    """Fills a cell's slot (`record.frame_slot`) while somebody looks on. Nobody looking costs a `stat` every `EVERY_S`.

    In a paced episode a picture is taken in the time that is left of a control period anyway, and only where twice the longest that one has
    taken lately fits. What it takes is first learnt between two episodes. One that takes longer all the same is the last one until then.

    Args:
        env: made with ``render_mode="rgb_array"``.
        robot: the cell's name in the ledger.
    """

    def __init__(self, env: gym.Env[Any, Any], run_dir: Path, robot: str) -> None:
        self._env, self._run_dir, self._robot = env, run_dir, robot
        self._cost = math.inf  # of a picture, the longest lately [s]
        self._next = 0.0  # when somebody may be asked for again [s]
        self._broken = False

    def show(self, spare_s: float = math.inf) -> None:
        """Take a picture if one is wanted and due, and `spare_s` is enough; between two episodes there is time."""
        now = time.monotonic()
        between = spare_s == math.inf
        if self._broken or now < self._next or not (between or 2 * self._cost < spare_s):
            return
        self._next = now + EVERY_S
        if not frame_slot.wanted(self._run_dir):
            return
        try:
            frame = self._env.render()
            assert isinstance(frame, np.ndarray)
            frame_slot.put(self._run_dir, self._robot, jpeg(frame, SIDE))
        except Exception:  # pictures are extras: an environment that cannot draw is not asked again
            self._broken = True
            return
        took = time.monotonic() - now
        self._cost = max(took, self._cost / 2) if math.isfinite(self._cost) else took
        if took > spare_s:
            self._cost = math.inf
        self._next = max(self._next, now + took / SHARE)
