"""What Push-T brings to a real station; registered in `enpire_real/__init__.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from enpire_envs.pusht.scene import STATION

from enpire_real.pusht.equipment import MAT, PUSHER
from enpire_real.pusht.scene import PushTScene
from enpire_real.pusht.section import PushTSection
from enpire_real.tasks import TaskKit

if TYPE_CHECKING:
    from enpire_real.pusht.twin.props import PushTProps
    from enpire_real.station import Station

_PX_PER_MM = 12
_WHITE_PX = 144  # around a marker: 12 mm


def _scene(station: Station, control_hz: float) -> PushTScene:
    return PushTScene(station, STATION, control_hz)


def _props(section: PushTSection) -> PushTProps:
    from enpire_real.pusht.twin.props import PushTProps

    return PushTProps(section)


def _patterns() -> dict[str, np.ndarray]:
    import cv2

    from enpire_real.perception.markers import marker_image

    side = round(MAT.side_m * 1000)
    return {
        f"mat_marker_{marker}_{side}mm.png": cv2.copyMakeBorder(
            marker_image(marker, side * _PX_PER_MM),
            _WHITE_PX, _WHITE_PX, _WHITE_PX, _WHITE_PX, cv2.BORDER_CONSTANT, value=255,
        )
        for marker in MAT.centres
    }  # fmt: skip


KIT = TaskKit(
    "pusht",
    PushTSection,
    _scene,
    _props,
    (PUSHER,),
    validate="enpire_real.pusht.validate:validate",
    patterns=_patterns,
    audit="enpire_real.pusht.audit:subject",
)
