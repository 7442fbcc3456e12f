"""The robot: LeRobot's three verbs over a station."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from lerobot.robots.robot import Robot

from enpire_real.build import build_station
from enpire_real.lerobot_robot.config import EnpireStationConfig
from enpire_real.motion import JointFollow, require_finite
from enpire_real.station import Station
from enpire_real.station_file import default_station, load_station


class EnpireStation(Robot):
    """Keys: `<arm>_joint<k>.pos` [rad], `<arm>_gripper.pos` (0 closed, 1 open), and one image per camera."""

    config_class = EnpireStationConfig
    name = "enpire_station"

    def __init__(self, config: EnpireStationConfig) -> None:
        super().__init__(config)
        self.config = config
        file = load_station(Path(config.station) if config.station else default_station())
        if file.kind == "physical" and not config.confirm_motion:
            raise ValueError(
                f"connecting switches on the arms of {file.name!r}: clear the workspace and set confirm_motion=true"
            )
        if file.twin is not None and config.realtime and file.twin.link is None:
            file = file.model_copy(update={"twin": file.twin.model_copy(update={"time": "real"})})
        self._file = file
        self._station: Station | None = None
        self._follow: dict[str, JointFollow] = {}

    @property
    def cameras(self) -> dict[str, Any]:
        """The station's, by name; empty while it is not connected."""
        return dict(self._station.cameras) if self._station is not None else {}

    @cached_property
    def _joints(self) -> dict[str, type]:
        return {
            f"{arm}_{part}.pos": float
            for arm in self._file.arms
            for part in (*(f"joint{k}" for k in range(1, 7)), "gripper")
        }

    @cached_property
    def observation_features(self) -> dict[str, Any]:
        """Key -> float for joints [rad] and grippers, (height, width, 3) for cameras."""
        return {**self._joints, **{n: (c.height_px, c.width_px, 3) for n, c in self._file.cameras.items()}}

    @cached_property
    def action_features(self) -> dict[str, Any]:
        """Key -> float, for joints [rad] and grippers."""
        return dict(self._joints)

    @property
    def is_connected(self) -> bool:
        """Whether the arms are on."""
        return self._station is not None

    @property
    def is_calibrated(self) -> bool:
        """Always: a station is calibrated by `autoenvbench station calibrate`."""
        return True  # zeros live in the motors, camera poses in the station file

    def connect(self, calibrate: bool = True) -> None:
        """Switch on and hold. Raises what the drivers raise."""
        station = build_station(self._file)
        station.start()
        limits = station.control.monitor.limits
        for name in station.control.arms:
            rows = station.control.rows(name)
            self._follow[name] = JointFollow(
                station.control.commanded(name), 0.5 * limits.velocity[rows], 0.15 * limits.acceleration[rows],
                limits.lower[rows], limits.upper[rows],
            )  # fmt: skip
            station.control.move(name, self._follow[name])
        self._station = station

    def calibrate(self) -> None:
        """Nothing to do; see `is_calibrated`."""

    def configure(self) -> None:
        """Nothing to do: the station file says it all."""

    def get_observation(self) -> dict[str, Any]:
        """Raises Stopped if the safety monitor has stopped the arms."""
        station = self._require_station()
        station.control.check()
        observation: dict[str, Any] = {}
        for name in station.control.arms:
            reading = station.control.reading(name)
            observation.update({f"{name}_joint{k + 1}.pos": float(q) for k, q in enumerate(reading.q)})
            observation[f"{name}_gripper.pos"] = float(np.clip(reading.gripper, 0, 1))
        observation.update({name: camera.latest().image for name, camera in station.cameras.items()})
        return observation

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        """Move toward the given positions at limited speed; returns them clipped to the limits. Raises Stopped, ValueError."""
        station = self._require_station()
        station.control.check()
        goals, openings = {}, {}
        for name, follow in self._follow.items():  # all are looked at before any is sent
            goal = [float(action.get(f"{name}_joint{k + 1}.pos", follow.target[k])) for k in range(6)]
            goals[name] = require_finite(f"the {name} arm's joint positions", goal)
            opening = action.get(f"{name}_gripper.pos", station.control.arms[name].opening)
            openings[name] = float(require_finite(f"the {name} gripper's position", opening))
        sent: dict[str, Any] = {}
        for name, follow in self._follow.items():
            follow.aim(goals[name])
            sent.update({f"{name}_joint{k + 1}.pos": float(v) for k, v in enumerate(follow.target)})
            station.control.arms[name].opening = openings[name]
            sent[f"{name}_gripper.pos"] = station.control.arms[name].opening
        return sent

    def disconnect(self) -> None:
        """Park and switch off."""
        if self._station is not None:
            self._station.close()
            self._station = None

    def _require_station(self) -> Station:
        if self._station is None:
            raise ConnectionError("the station is not connected: connect() first")
        return self._station
