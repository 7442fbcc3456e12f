"""Push-T's section in a station file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field
from scipy.spatial.transform import Rotation

from enpire_real.kinematics import Pose
from enpire_real.station_file import Six, TaskSection

if TYPE_CHECKING:
    from enpire_real.station_file import StationFile


class PushTSection(TaskSection):
    """Where the mat lies, which arm pushes and which camera looks."""

    arm: str
    camera: str
    origin_m: Annotated[list[float], Field(min_length=2, max_length=2)]  # of the arena, in the station's frame
    yaw_deg: float
    tip_height_m: float = Field(default=0.020, gt=0)  # of the centre of the pusher's round end
    lift_height_m: float = Field(default=0.12, gt=0)
    avoid_rad: Six  # out of the camera's view

    def check_references(self, file: StationFile) -> None:
        """Raises ValueError for an arm or a camera that the station does not have."""
        for what, name, known in (("arm", self.arm, file.arms), ("camera", self.camera, file.cameras)):
            if name not in known:
                raise ValueError(
                    f"pusht.arm and pusht.camera must name an arm and a camera of this station: there is no {what} {name!r}; it "
                    f"has: {', '.join(known) or 'none'}"
                )

    @property
    def arena(self) -> Pose:
        """Pose of the arena's frame (x right, y up in the camera's image, z up) in the station's."""
        return Pose(np.array([*self.origin_m, 0.0]), Rotation.from_euler("z", self.yaw_deg, degrees=True).as_matrix())
