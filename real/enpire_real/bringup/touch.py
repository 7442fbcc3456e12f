"""The touch check: does the tip meet the table where the model says that the table is?

The pusher is lowered over points of the mat until it stays behind its command. Kinematics, the arm's zeros and the height of
its foot all have to be right for that to happen at the right height.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from enpire_real.motion import ToolServo
from enpire_real.pusht.scene import PushTScene
from enpire_real.station import Station, build_station
from enpire_real.station_file import StationFile
from enpire_real.yam import PUSHER_RADIUS

GAP_M = 0.004  # by which the tip stays behind its command when something is in its way
BELOW_M = 0.010  # how far under the table's nominal top the tip may be sent
TOLERANCE_M = 0.003
_SPEED, _FREE_M = 0.01, 0.025


@dataclass(frozen=True, slots=True)
class Touch:
    """A point (x, y) of the mat and how high the tip's lowest point was when it met something; None: nothing met [m]."""

    point: tuple[float, float]
    height: float | None

    @property
    def good(self) -> bool:
        return self.height is not None and abs(self.height) <= TOLERANCE_M


def touch_station(file: StationFile) -> Station:
    """The station with its limits lowered as far as the touch needs."""
    assert file.pusht is not None
    safety = file.safety
    box = safety.workspace[file.pusht.arm]
    low = [*box.low_m[:2], PUSHER_RADIUS - BELOW_M - 0.002]
    workspace = {**safety.workspace, file.pusht.arm: box.model_copy(update={"low_m": low})}
    relaxed = safety.model_copy(update={"workspace": workspace, "tool_table_margin_m": 0.0})
    station = build_station(file.model_copy(update={"safety": relaxed}))
    station.control.monitor.collision.allow_tool_below(BELOW_M + 0.002)
    return station


def touch(station: Station, scene: PushTScene, point: tuple[float, float]) -> Touch:
    """Lower the tip over a free point of the mat until it meets something. Raises Stopped."""
    clock, control = station.clock, station.control
    scene.hover(point)
    servo = scene.servo
    assert isinstance(servo, ToolServo)
    foot = station.file.arms[scene.arm].base_m[2]

    def command(height: float) -> float:
        """Send the tip there; how far above that it is."""
        target = servo.target.copy()
        target[2] = height - foot
        servo.target = target
        clock.sleep(control.period)
        control.check()
        return scene.tip_height() - height

    while servo.at[2] + foot > _FREE_M + 1e-4:
        command(_FREE_M)
    clock.sleep(2.0)
    usual, met = command(_FREE_M), None
    for height in np.arange(_FREE_M, PUSHER_RADIUS - BELOW_M, -_SPEED * control.period):
        if command(float(height)) - usual > GAP_M:
            met = scene.tip_height() - PUSHER_RADIUS
            break
    scene.lift()
    return Touch(point, met)
