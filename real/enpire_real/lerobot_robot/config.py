"""The configuration, in a module of its own: LeRobot looks for the robot's class in the package around it."""

from __future__ import annotations

from dataclasses import dataclass

from lerobot.robots.config import RobotConfig


@RobotConfig.register_subclass("enpire_station")
@dataclass(kw_only=True)
class EnpireStationConfig(RobotConfig):
    """`station`: the station file's path; empty for AUTOENVBENCH_STATION, else the twin. `confirm_motion`: physical arms may
    move. `realtime`: the twin keeps to the wall clock, as LeRobot's loops expect."""

    station: str = ""
    confirm_motion: bool = False
    realtime: bool = True
