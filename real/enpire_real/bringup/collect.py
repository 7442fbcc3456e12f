"""Takes the samples of a calibration: moves an arm through poses and looks for the board at each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from enpire_real.bringup.calibrate import Sample
from enpire_real.cameras import mount_pose
from enpire_real.kinematics import Pose
from enpire_real.motion import JointMove
from enpire_real.perception.board import BOARD, BOARD_ON_FLANGE, BOARD_ON_FLANGE_QUAT, BOARD_ON_TABLE, find_board
from enpire_real.station import Station
from enpire_real.yam import HOME, LOWER, UPPER

SPEED, ACCELERATION = 1.0, 5.0
SETTLE_S = 0.4
#: Poses around which samples are taken, by what the camera is on.
_CENTRES = {
    # The hand lifts the board before the top camera, near and far: distance is what a small board tells least about.
    "station": (np.array([0.0, 0.9, 1.3, -0.2, 0.0, 0.0]), np.array([0.0, 1.25, 1.15, -0.2, 0.0, 0.0])),
    "arm": (np.array([0.0, 1.65, 1.30, -0.75, 0.0, 0.0]),),  # the wrist camera looks down at the table
}


def poses(on_arm: bool, rng: np.random.Generator, bearing: float = 0.0) -> Iterator[np.ndarray]:
    """Joint poses without end that turn the hand about all axes."""
    spread = np.array([0.25, 0.20, 0.18, 0.50, 0.45, 0.55])
    for centre in itertools.cycle(_CENTRES["arm" if on_arm else "station"]):
        pose = centre + spread * rng.uniform(-1, 1, 6)
        pose[0] += bearing
        yield np.clip(pose, LOWER + 0.05, UPPER - 0.05)


def collect(
    station: Station, arm: str, camera: str, *, count: int, seed: int = 0, bearing: float = 0.0,
    on_sample: Callable[[int, str], None] = lambda n, what: None,
) -> list[Sample]:  # fmt: skip
    """Up to `count` samples. A pose that would leave the limits or come too close to something is not taken.

    Raises Stopped if the station stops on the way.
    """
    control = station.control
    on_arm = station.file.cameras[camera].mount == arm
    base = Pose(np.array(station.file.arms[arm].base_m), np.eye(3))
    samples: list[Sample] = []
    control.move(arm, JointMove([HOME], SPEED, ACCELERATION))
    control.wait(arm, 20)
    tried = skipped = 0
    for pose in poses(on_arm, np.random.default_rng(seed), bearing):
        if len(samples) >= count or tried >= 4 * count:
            break
        if not (_in_view(station, arm, camera, pose) and _clear(station, arm, pose)):
            skipped += 1
            if skipped > 200 * count:
                break
            continue
        tried += 1
        control.move(arm, JointMove([pose], SPEED, ACCELERATION))
        control.wait(arm, 20)
        control.clock.sleep(SETTLE_S)
        found = find_board(station.cameras[camera].latest().image)
        if found is None:
            on_sample(len(samples), "the board is not in view here")
            continue
        flange = base @ control.arms[arm].model.flange(control.reading(arm).q)
        samples.append(Sample(*found, flange))
        on_sample(len(samples), f"{len(found[0])} corners")
    return samples


def _in_view(station: Station, arm: str, camera: str, pose: np.ndarray) -> bool:
    """Whether the camera should see the whole board from there, by the numbers in the station file."""
    config = station.file.cameras[camera]
    flange = Pose(np.array(station.file.arms[arm].base_m), np.eye(3)) @ station.control.arms[arm].model.flange(pose)
    if config.mount == arm:
        camera_pose, board = flange @ mount_pose(config), Pose(np.array(BOARD_ON_TABLE), np.eye(3))
    else:
        camera_pose, board = mount_pose(config), flange @ Pose.from_quat(BOARD_ON_FLANGE, BOARD_ON_FLANGE_QUAT)
    half = BOARD.side_m / 2
    corners = camera_pose.inverse().apply(
        board.apply(half * np.array([(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)]))
    )
    towards = (camera_pose.position - board.position) @ board.rotation[:, 2]
    if (corners[:, 2] < 0.1).any() or towards < 0.5 * np.linalg.norm(camera_pose.position - board.position):
        return False  # behind the camera, or seen too flatly
    size, room = np.array([config.width_px, config.height_px]), 0.04
    pixels = station.lens(camera).project(corners) / size
    return bool(((pixels > room) & (pixels < 1 - room)).all())


def _clear(station: Station, arm: str, pose: np.ndarray) -> bool:
    """Whether the way there from here stays within the monitor's limits, as far as a straight line in joints tells."""
    control = station.control
    monitor = control.monitor
    start = np.concatenate([control.commanded(name) for name in control.arms])
    goal = start.copy()
    goal[control.rows(arm)] = pose
    folded = set(monitor.collision.too_close(start))  # another arm at rest lies on itself
    for share in np.linspace(0, 1, 12):
        if set(monitor.collision.too_close(start + share * (goal - start))) - folded:
            return False
        low, high = monitor.workspace[arm]
        tip = monitor.collision.tip(arm)
        if not ((tip >= low) & (tip <= high)).all():
            return False
    return True
