"""What tying brings to a real station; registered in `enpire_real/__init__.py`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from enpire_real.tasks import TaskKit
from enpire_real.tie_zip_tie.equipment import HAND, PLATE, PLATE_HALF
from enpire_real.tie_zip_tie.section import TieSection

if TYPE_CHECKING:
    from enpire_real.station import Station
    from enpire_real.tie_zip_tie.scene import TieRealScene
    from enpire_real.tie_zip_tie.twin.props import TieProps


def _scene(station: Station, control_hz: float) -> TieRealScene:
    from enpire_real.tie_zip_tie.scene import TieRealScene

    return TieRealScene(station, control_hz)


def _props(section: TieSection) -> TieProps:
    from enpire_real.tie_zip_tie.twin.props import TieProps

    return TieProps(section)


def _patterns() -> dict[str, np.ndarray]:
    from enpire_real.perception.markers import print_sheet

    return {"tie_plate_90mm.png": print_sheet(PLATE, 2 * PLATE_HALF, (0.0, 0.0), 12)}


TWIN = Path(__file__).with_name("twin.yaml")
KIT = TaskKit(
    "tie_zip_tie", TieSection, _scene, _props, (HAND,), patterns=_patterns, twin=TWIN, examples={"tie-twin": TWIN}
)
