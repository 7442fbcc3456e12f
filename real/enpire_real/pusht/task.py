"""Push-T's job on a real cell: the same verdict, with what perception says in place of what a simulator knows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from enpire_envs.pusht.geometry import clearance, in_frame
from enpire_envs.pusht.scene import Arena, PushTReadings
from enpire_envs.pusht.task import Control, Criterion, PushT
from enpire_envs.task import Start

#: How far from the start that was asked for the T may lie when an episode begins; pushing is no finer than that.
START_DISTANCE, START_ANGLE = 0.025, math.radians(12)
TIP_DISTANCE = 0.004
TIP_ROOM = 0.008  # between pusher and T when it comes down [m]
MAX_LATE = 10  # actions in a row


@dataclass(slots=True)
class RealPushTReadings(PushTReadings):
    """PushTReadings as a real cell has them.

    Attributes:
        age: seconds since the image of the T's pose was taken.
        valid: whether that image showed the T; if not, `block` is the last pose that was seen.
        late: how many actions in a row came after their control period.
    """

    age: float = 0.0
    valid: bool = True
    late: int = 0


class RealPushT(PushT):
    """Push-T where perception is real, not modelled: estimates are passed on as they are."""

    def __init__(self, arena: Arena, criterion: Criterion, control: Control, variant: str) -> None:
        super().__init__(arena, criterion, control, "ideal", variant)

    def ready(self, readings: PushTReadings, start: Start) -> str | None:
        """Why an episode may not begin here, or None: a T pushed to within 25 mm and 12 degrees of its start is near enough."""
        dx, dy, turn = in_frame(readings.block, start["block"])
        if math.hypot(dx, dy) > START_DISTANCE or abs(turn) > START_ANGLE:
            return f"the T is {math.hypot(dx, dy) * 1000:.0f} mm and {math.degrees(turn):.0f} deg from its start"
        if self._solved(readings.block):
            return "the T lies on the target already"
        taken = clearance(start["tip"], readings.block) < self.arena.tip_radius + TIP_ROOM + 0.001
        if (
            math.dist(readings.tip, start["tip"]) > TIP_DISTANCE and not taken
        ):  # where the T lies, the tip begins beside it
            return f"the fingertip is {math.dist(readings.tip, start['tip']) * 1000:.0f} mm from its start"
        return None

    def begin(self, start: Start, readings: PushTReadings, rng: np.random.Generator) -> None:
        """As `PushT.begin`, from where the T really lies."""
        # Progress counts from where the T really lies.
        super().begin({**start, "block": list(readings.block)}, readings, rng)

    def observe(self, readings: PushTReadings) -> np.ndarray:
        """The observation of `PushT`, with what perception says of the T as it is."""
        assert isinstance(readings, RealPushTReadings)
        self._tip_target = readings.tip_target
        x, y, yaw = readings.block
        age = min(readings.age, self.max_steps / self.control_hz)
        return np.array((*readings.tip, x, y, math.cos(yaw), math.sin(yaw), age, readings.valid), dtype=np.float32)

    def violation(self, readings: PushTReadings) -> str | None:
        """As `PushT.violation`, and `late_actions` after ten late actions in a row."""
        assert isinstance(readings, RealPushTReadings)
        if readings.late >= MAX_LATE:
            return "late_actions"
        return super().violation(readings)

    def extras(self, readings: PushTReadings) -> dict[str, float]:
        assert isinstance(readings, RealPushTReadings)
        return {**super().extras(readings), "late": float(readings.late)}

    def candidate(self, readings: PushTReadings) -> bool:
        """As `PushT.candidate`, if the newest image shows the T."""
        assert isinstance(readings, RealPushTReadings)
        return readings.valid and super().candidate(readings)
