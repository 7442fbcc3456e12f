"""The touch check: does the tool meet the table where the model says that the table is?

The tool is lowered until it stays behind its command. Kinematics, the arm's zeros and the height of its foot all have to be right for
that to happen at the right height.
"""

from __future__ import annotations

import numpy as np

from enpire_real.build import build_station
from enpire_real.motion import ToolServo
from enpire_real.station import Station
from enpire_real.station_file import StationFile

GAP_M = 0.004  # by which the tip stays behind its command when something is in its way
BELOW_M = 0.010  # how far under the table's nominal top the tool may be sent
TOLERANCE_M = 0.003
_SPEED, _FREE_M = 0.01, 0.025  # of lowering [m/s]; where it begins, above the table


def touch_station(file: StationFile, arm: str, tip_radius: float) -> Station:
    """The station with one arm's limits lowered as far as the touch needs; nothing is opened yet.

    `tip_radius`: how far the tool reaches beyond its tip [m].
    """
    safety = file.safety
    box = safety.workspace[arm]
    low = [*box.low_m[:2], tip_radius - BELOW_M - 0.002]
    workspace = {**safety.workspace, arm: box.model_copy(update={"low_m": low})}
    relaxed = safety.model_copy(update={"workspace": workspace, "tool_table_margin_m": 0.0})
    station = build_station(file.model_copy(update={"safety": relaxed}))
    station.control.monitor.collision.allow_tool_below(BELOW_M + 0.002)
    return station


def touch(station: Station, arm: str, servo: ToolServo, tip_radius: float) -> float | None:
    """Lower an arm's tool over a free point of the table until it meets something; the servo stays there.

    Returns how high the tool's lowest point was then [m, over the table's nominal top], or None if it met nothing. Raises Stopped.
    """
    clock, control = station.clock, station.control
    foot = station.file.arms[arm].base_m[2]

    def tip_height() -> float:
        """Over the table, by the measured joints [m]."""
        return float(control.arms[arm].model.forward(control.reading(arm).q).position[2] + foot)

    def command(height: float) -> float:
        """Send the tip there; how far above that it is."""
        target = servo.target.copy()
        target[2] = height - foot
        servo.target = target
        clock.sleep(control.period)
        control.check()
        return tip_height() - height

    while servo.at[2] + foot > _FREE_M + 1e-4:
        command(_FREE_M)
    clock.sleep(2.0)
    usual = command(_FREE_M)
    for height in np.arange(_FREE_M, tip_radius - BELOW_M, -_SPEED * control.period):
        if command(float(height)) - usual > GAP_M:
            return tip_height() - tip_radius
    return None
