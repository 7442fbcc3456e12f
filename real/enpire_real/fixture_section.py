"""What a task at a fixture with a wrist and a side camera says in a station file: which arm works, which cameras look, where the fixture stands."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy.spatial.transform import Rotation

from enpire_real.kinematics import Pose
from enpire_real.station_file import TaskSection

if TYPE_CHECKING:
    from enpire_real.station_file import StationFile


class FixtureSection(TaskSection):
    """Where a fixture stands, roughly, which arm works at it and which cameras look; who brings new things.

    Attributes:
        HEIGHT: of the fixture's top over the table [m].
    """

    HEIGHT: ClassVar[float]

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
        return Pose(np.array([*self.origin_m, self.HEIGHT]), turn)
