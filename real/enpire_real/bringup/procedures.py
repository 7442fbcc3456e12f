"""The procedures behind `autoenvbench station calibrate, validate and home`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from enpire_real.bringup.calibrate import MIN_SAMPLES, HandEye, calibrate_hand_eye, calibrate_lens
from enpire_real.bringup.collect import collect
from enpire_real.bringup.doctor import Finding
from enpire_real.bringup.file import write_camera
from enpire_real.bringup.moves import move_to, require_motion
from enpire_real.build import build_station
from enpire_real.station_file import EMPTY_TABLE, StationError, StationFile, YamArm, with_scene
from enpire_real.tasks import find_task, load_by_name
from enpire_real.yam import HOME


@dataclass(frozen=True, slots=True)
class Plan:
    """A camera calibration that was checked against the station file."""

    camera: str
    arm: str
    bearing: float  # [rad]
    samples: int
    instructions: str


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
    instructions = (
        f"{camera}: put the 200 mm board {board}; the {arm} arm then takes {samples} poses around joint 1 = "
        f"{math.degrees(bearing):.0f} deg, slowly. The other arms stay folded"
    )
    return Plan(camera, arm, bearing, samples, instructions)


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
                "twin": file.twin.model_copy(update={"board": board, "scene": EMPTY_TABLE}),
                "arms": arms,
                "tasks": {},
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
    """The checks of each task that the file has a section for; they move the arms. Raises what the drivers raise."""
    if not file.tasks:
        yield Finding("tasks", "skip", "the file has no section under `tasks`")
    for name in file.tasks:
        check = find_task(name).validate
        if check is None:
            yield Finding(name, "skip", "this task has no check of its own")
        elif file.kind == "physical" and not motion:
            yield Finding(f"{name}: mat and touch", "skip", "moves the arms; ask for it with --confirm-motion")
        else:
            yield from load_by_name(check)(with_scene(file, name))


def home(file: StationFile, *, confirmed: bool) -> None:
    """Switch on, go home, fold down, switch off."""
    require_motion(file, confirmed, "homing")
    with build_station(file) as station:
        move_to(station, dict.fromkeys(file.arms, HOME))
