"""Tying's section in a station file."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field
from scipy.spatial.transform import Rotation

from enpire_real.kinematics import Pose
from enpire_real.station_file import TaskSection
from enpire_real.tie_zip_tie.equipment import PLATE_HEIGHT

if TYPE_CHECKING:
    from enpire_real.station_file import StationFile


class TieSection(TaskSection):
    """Where the fixture stands, roughly, which arm ties and which two cameras look; who brings new straps."""

    arm: str
    cameras: Annotated[
        list[str], Field(min_length=2, max_length=2)
    ]  # broadside of the slot, from its left and its right
    origin_m: Annotated[
        list[float], Field(min_length=2, max_length=2)
    ]  # of the fixture, in the station's frame; to 5 mm
    yaw_deg: float = 0.0
    supply: Literal["twin", "none"] = "none"

    def check_references(self, file: StationFile) -> None:
        """Raises ValueError for an arm or a camera that the station does not have."""
        named: list[tuple[str, str, Iterable[str]]] = [("arm", self.arm, file.arms)]
        named += [("cameras", camera, file.cameras) for camera in self.cameras]
        for what, name, known in named:
            if name not in known:
                raise ValueError(f"{what}: this station has no {name!r}; it has: {', '.join(known) or 'none'}")
        if len(set(self.cameras)) != 2:
            raise ValueError("cameras: two views must agree, so write two different cameras")
        if self.supply == "twin" and file.kind != "twin":
            raise ValueError("supply: only a twin has the twin's feeder; write none")

    @property
    def fixture(self) -> Pose:
        """Nominal pose of the fixture's frame in the station's."""
        turn = Rotation.from_euler("z", math.radians(self.yaw_deg)).as_matrix()
        return Pose(np.array([*self.origin_m, PLATE_HEIGHT]), turn)
