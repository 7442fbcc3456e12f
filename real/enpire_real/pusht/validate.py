"""Push-T's check after calibration: is the camera where the mat's markers say, and does the pusher meet the table where it should?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from enpire_envs.pusht.scene import STATION
from enpire_envs.pusht.task import PushT

from enpire_real.bringup.doctor import Finding
from enpire_real.bringup.touch import TOLERANCE_M, touch, touch_station
from enpire_real.cameras import Lens
from enpire_real.perception.markers import MatLost, camera_over_mat
from enpire_real.pusht.equipment import MAT, PUSHER
from enpire_real.pusht.scene import PushTScene
from enpire_real.pusht.section import PushTSection
from enpire_real.station_file import StationFile

_POINTS = ((0.20, -0.12), (-0.20, 0.12), (0.20, 0.12), (-0.20, -0.12))  # to touch, in the arena's frame [m]
_TOUCHES = 3
_MAX_CAMERA_ERROR_M = 0.006  # that the camera's calibrated and mat-derived positions may differ


def validate(file: StationFile) -> Iterator[Finding]:
    """Look at the mat, then touch the table at three points of it that the T leaves free. Raises what the drivers raise."""
    section = file.section("pusht", PushTSection)
    station = touch_station(file, section.arm, PUSHER.tip_radius)
    with station:
        scene = PushTScene(station, STATION, PushT.control_hz)
        scene.home()
        scene.avoid()
        station.clock.sleep(0.5)
        yield _camera_finding(
            station.cameras[section.camera].latest().image, station.lens(section.camera), file, section
        )
        points = [p for p in _POINTS if scene.is_free(p)][:_TOUCHES]
        for point in points:
            scene.arm.hover(point)
            assert scene.arm.servo is not None
            height = touch(station, section.arm, scene.arm.servo, PUSHER.tip_radius)
            scene.arm.lift()
            good = height is not None and abs(height) <= TOLERANCE_M
            where = (
                "met nothing" if height is None else f"met the table {height * 1000:+.1f} mm from where it should be"
            )
            yield Finding(
                f"touch at {point} m", "ok" if good else "fail", f"{where} (allowed {TOLERANCE_M * 1000:.0f})"
            )
        scene.home()


def _camera_finding(image: np.ndarray, lens: Lens, file: StationFile, section: PushTSection) -> Finding:
    """Whether the file's position of the camera agrees with the one that follows from the mat's markers."""
    config = file.cameras[section.camera]
    try:
        camera, error = camera_over_mat(image, lens, MAT)
    except MatLost as lost:
        return Finding("mat", "fail", str(lost))
    off = float(np.linalg.norm((section.arena @ camera).position - np.array(config.position_m)))
    detail = f"its markers fit to {error:.2f} px; by them the camera is {off * 1000:.1f} mm from where the file has it"
    if config.calibrated is None:
        return Finding("mat", "warn" if off > _MAX_CAMERA_ERROR_M else "ok", detail + " (nominal: not calibrated yet)")
    return Finding("mat", "fail" if off > _MAX_CAMERA_ERROR_M else "ok", detail)
