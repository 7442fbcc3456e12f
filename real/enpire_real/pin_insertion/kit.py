"""What pin insertion brings to a real station; registered in `enpire_real/__init__.py`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from enpire_real.pin_insertion.equipment import FACE, HAND, PLATE, PLATE_HALF, PLATE_HEIGHT
from enpire_real.pin_insertion.section import PinSection
from enpire_real.tasks import TaskKit

if TYPE_CHECKING:
    from enpire_real.pin_insertion.scene import PinRealScene
    from enpire_real.pin_insertion.twin.props import PinProps
    from enpire_real.station import Station


def _scene(station: Station, control_hz: float) -> PinRealScene:
    from enpire_real.pin_insertion.scene import PinRealScene

    return PinRealScene(station, control_hz)


def _props(section: PinSection) -> PinProps:
    from enpire_real.pin_insertion.twin.props import PinProps

    return PinProps(section)


def _patterns() -> dict[str, np.ndarray]:
    from enpire_real.perception.markers import print_sheet

    side = 2 * PLATE_HALF
    return {
        "pin_plate_90mm.png": print_sheet(PLATE, side, (0.0, 0.0), 12),
        "pin_face_90mm.png": print_sheet(FACE, side, (0.0, -PLATE_HEIGHT / 2), 12),
    }


TWIN = Path(__file__).with_name("twin.yaml")
EXAMPLES = {"pin-cell": TWIN.with_name("pin_cell.yaml"), "pin-twin": TWIN}
KIT = TaskKit("pin_insertion", PinSection, _scene, _props, (HAND,), patterns=_patterns, twin=TWIN, examples=EXAMPLES)
