"""The procedures behind `autoenvbench station calibrate, validate and home`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from enpire_envs.pusht.scene import STATION
from enpire_envs.pusht.task import PushT

from enpire_real.bringup.calibrate import MIN_SAMPLES, HandEye, calibrate_hand_eye, calibrate_lens
from enpire_real.bringup.collect import collect
from enpire_real.bringup.doctor import Finding
from enpire_real.bringup.file import write_camera
from enpire_real.bringup.moves import go, require_motion
from enpire_real.bringup.touch import TOLERANCE_M, touch, touch_station
from enpire_real.kinematics import Pose
from enpire_real.perception import MatLost, camera_in_arena
from enpire_real.pusht.scene import PushTScene
from enpire_real.station import build_station
from enpire_real.station_file import StationError, StationFile, YamArm
from enpire_real.yam import HOME

_TOUCHES = ((0.20, -0.12), (-0.20, 0.12), (0.20, 0.12), (-0.20, -0.12))
_MAT_OFF_M = 0.006  # that the camera's calibrated and mat-derived positions may differ


@dataclass(frozen=True, slots=True)
class Plan:
    """A camera calibration that was checked against the station file."""

    camera: str
    arm: str
    bearing: float  # [rad]
    samples: int
    words: str


def calibration_plan(file: StationFile, camera: str, arm: str | None, bearing_deg: float | None, samples: int) -> Plan:
    """Raises StationError for what the station does not have."""
    if camera not in file.cameras:
        raise StationError(f"{file.name} has no camera {camera!r}; it has: {', '.join(file.cameras) or 'none'}")
    if samples < MIN_SAMPLES:
        raise StationError(f"--samples {samples}: at least {MIN_SAMPLES} are needed")
    mount = file.cameras[camera].mount
    arm = arm or (mount if mount != "station" else next(iter(file.arms)))
    if arm not in file.arms or not isinstance(file.arms[arm], YamArm):
        raise StationError(f"{arm!r} is no YAM arm of {file.name}; it has: {', '.join(file.arms)}")
    on_arm = mount == arm
    # Toward the middle of the table, where the board lies or the camera looks.
    side = -1.0 if file.arms[arm].base_m[1] > 0 else 1.0
    bearing = math.radians(bearing_deg) if bearing_deg is not None else side * (0.7 if on_arm else 0.1)
    board = "flat on the table between the arms" if on_arm else f"in the {arm} hand, face up when the hand is level"
    words = (
        f"{camera}: put the 200 mm board {board}; the {arm} arm then takes {samples} poses around joint 1 = "
        f"{math.degrees(bearing):.0f} deg, slowly. The other arms stay folded"
    )
    return Plan(camera, arm, bearing, samples, words)


def calibrate_camera(
    file: StationFile,
    path: Path | None,
    plan: Plan,
    *,
    confirmed: bool,
    on_sample: Callable[[int, str], None],
    lens: bool = False,
) -> tuple[HandEye, Path | None]:
    """Take the samples, solve, write. Returns the result and the path of the file as it was (None: nothing written).

    `lens`: measure the intrinsics from the same views first, instead of taking the file's.

    A twin is given its board and bare hands first, as a person would do it. Raises PoorCalibration, Stopped, ....
    """
    require_motion(file, confirmed, "calibrating")
    on_arm = file.cameras[plan.camera].mount == plan.arm
    used = file
    if file.twin is not None and file.twin.link is None:
        board = "table" if on_arm else plan.arm
        arms = {name: arm.model_copy(update={"tool": "none"}) for name, arm in file.arms.items()}
        used = file.model_copy(
            update={
                "twin": file.twin.model_copy(update={"board": board, "scene": "empty"}),
                "arms": arms,
                "pusht": None,
            }
        )
    station = build_station(used)
    with station:
        samples = collect(station, plan.arm, plan.camera, count=plan.samples, bearing=plan.bearing, on_sample=on_sample)
        optics = station.lens(plan.camera)
        if lens:
            config = file.cameras[plan.camera]
            views = [(sample.points, sample.pixels) for sample in samples]
            optics, _ = calibrate_lens(views, config.width_px, config.height_px)
        found = calibrate_hand_eye(samples, optics, on_arm=on_arm, free_lens=lens)
    return found, write_camera(path, plan.camera, found, with_lens=lens) if path is not None else None


def validate(file: StationFile, *, motion: bool) -> Iterator[Finding]:
    """Does the camera see the mat where the file says, and does the tip meet the table where it should?"""
    if file.pusht is None:
        yield Finding("pusht", "skip", "the file has no `pusht` section")
        return
    if file.kind == "physical" and not motion:
        yield Finding("mat and touch", "skip", "moves the arms; ask for it with --confirm-motion")
        return
    station = touch_station(file)
    with station:
        scene = PushTScene(station, STATION, PushT.control_hz)
        scene.home()
        scene.avoid()
        station.clock.sleep(0.5)
        yield _mat(station.cameras[file.pusht.camera].latest().image, station.lens(file.pusht.camera), file)
        points = [p for p in _TOUCHES if scene.is_free(p)][:3]
        for point in points:
            felt = touch(station, scene, point)
            where = (
                "met nothing"
                if felt.height is None
                else f"met the table {felt.height * 1000:+.1f} mm from where it should be"
            )
            yield Finding(
                f"touch at {point} m", "ok" if felt.good else "fail", f"{where} (allowed {TOLERANCE_M * 1000:.0f})"
            )
        scene.home()


def _mat(image: np.ndarray, lens: object, file: StationFile) -> Finding:
    assert file.pusht is not None
    config = file.cameras[file.pusht.camera]
    try:
        eye, error = camera_in_arena(image, lens)  # type: ignore[arg-type]
    except MatLost as lost:
        return Finding("mat", "fail", str(lost))
    yaw = math.radians(file.pusht.yaw_deg)
    turn = np.array([[math.cos(yaw), -math.sin(yaw), 0], [math.sin(yaw), math.cos(yaw), 0], [0, 0, 1]])
    arena = Pose(np.array([*file.pusht.origin_m, 0.0]), turn)
    off = float(np.linalg.norm((arena @ eye).position - np.array(config.position_m)))
    detail = f"its markers fit to {error:.2f} px; by them the camera is {off * 1000:.1f} mm from where the file has it"
    if config.calibrated is None:
        return Finding("mat", "warn" if off > _MAT_OFF_M else "ok", detail + " (nominal: not calibrated yet)")
    return Finding("mat", "fail" if off > _MAT_OFF_M else "ok", detail)


def home(file: StationFile, *, confirmed: bool) -> None:
    """Switch on, go home, fold down, switch off."""
    require_motion(file, confirmed, "homing")
    with build_station(file) as station:
        go(station, dict.fromkeys(file.arms, HOME))
