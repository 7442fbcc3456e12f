"""Pin insertion's section in a station file."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field
from scipy.spatial.transform import Rotation

from enpire_real.kinematics import Pose
from enpire_real.pin_insertion.equipment import PLATE_HEIGHT
from enpire_real.station_file import TaskSection

if TYPE_CHECKING:
    from enpire_real.station_file import StationFile


class PinSection(TaskSection):
    """Where the fixture stands, roughly, which arm inserts and which cameras look; who brings a new pin."""

    arm: str
    wrist_camera: str
    side_camera: str
    origin_m: Annotated[
        list[float], Field(min_length=2, max_length=2)
    ]  # of the fixture, in the station's frame; to 1 cm
    yaw_deg: float = 0.0
    supply: Literal["twin", "none"] = "none"

    def check_references(self, file: StationFile) -> None:
        """Raises ValueError for an arm or a camera that the station does not have."""
        for what, name, known in (
            ("arm", self.arm, file.arms),
            ("wrist_camera", self.wrist_camera, file.cameras),
            ("side_camera", self.side_camera, file.cameras),
        ):
            if name not in known:
                raise ValueError(f"{what}: this station has no {name!r}; it has: {', '.join(known) or 'none'}")
        if file.cameras[self.wrist_camera].mount != self.arm:
            raise ValueError(f"wrist_camera: {self.wrist_camera!r} is not mounted on the {self.arm} arm")
        if self.supply == "twin" and file.kind != "twin":
            raise ValueError("supply: only a twin has the twin's dispenser; write none")

    @property
    def fixture(self) -> Pose:
        """Nominal pose of the fixture's frame in the station's."""
        turn = Rotation.from_euler("z", math.radians(self.yaw_deg)).as_matrix()
        return Pose(np.array([*self.origin_m, PLATE_HEIGHT]), turn)
