"""Camera calibration on the twin, whose cameras are not where the file says."""

from __future__ import annotations

import math

import cv2
import mujoco
import numpy as np
import pytest
from conftest import station_file
from enpire_real.bringup.calibrate import PoorCalibration, Sample, calibrate_hand_eye, calibrate_lens
from enpire_real.bringup.file import init, write_camera
from enpire_real.bringup.procedures import calibrate_camera, calibration_plan
from enpire_real.cameras import Lens, mount_pose
from enpire_real.kinematics import Pose
from enpire_real.perception.board import BOARD, board_image, find_board
from enpire_real.station_file import load_station
from enpire_real.twin.station import Twin


def truth(file, camera: str) -> Pose:
    """Where the twin's camera really is in its mount's frame."""
    model = Twin(file).model
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)
    k = model.camera(camera).id
    eye = Pose(data.cam_xpos[k].copy(), data.cam_xmat[k].reshape(3, 3) @ np.diag((1.0, -1.0, -1.0)))
    mount = file.cameras[camera].mount
    if mount == "station":
        return eye
    body = model.body(f"{mount}_flange").id
    return Pose(data.xpos[body].copy(), data.xmat[body].reshape(3, 3).copy()).inverse() @ eye


def error(found: Pose, true: Pose) -> tuple[float, float]:
    off = true.inverse() @ found
    return float(np.linalg.norm(off.position)), float(np.linalg.norm(cv2.Rodrigues(off.rotation)[0]))


@pytest.mark.parametrize(("camera", "seed"), [("top", 0), ("top", 3), ("left_wrist", 1), ("right_wrist", 2)])
def test_hand_eye_recovers_the_true_pose(camera: str, seed: int) -> None:
    file = station_file(cameras=("top", "left_wrist", "right_wrist"), seed=seed)
    plan = calibration_plan(file, camera, None, None, 20)
    found, kept = calibrate_camera(file, None, plan, confirmed=False, on_sample=lambda n, what: None)
    assert kept is None
    assert found.samples >= 12
    # The station with the board deviates as the one without: the same seed drew both.
    arms = {name: arm.model_copy(update={"tool": "none"}) for name, arm in file.arms.items()}
    bare = file.model_copy(update={"twin": file.twin.model_copy(update={"scene": "empty"}), "arms": arms, "tasks": {}})
    true = truth(bare, camera)
    distance, turn = error(found.camera, true)
    assert distance < 0.001
    assert turn < math.radians(0.3)
    assert error(mount_pose(file.cameras[camera]), true)[0] > 2 * distance  # it was worth doing


def synthetic(
    rng: np.random.Generator, n: int, *, turn: float = 0.4, noise: float = 0.2
) -> tuple[list[Sample], Lens, Pose]:
    lens = Lens(np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]]), np.zeros(5))
    points = np.array([(x, y, 0.0) for x in np.arange(1, 5) * 0.04 for y in np.arange(1, 5) * 0.04])
    eye = Pose(np.array([0.05, 0.01, 0.08]), cv2.Rodrigues(np.array([0.1, -0.2, 0.3]))[0])
    board = Pose(np.array([0.4, 0.0, 0.0]), np.diag((1.0, -1.0, -1.0)))
    samples = []
    while len(samples) < n:
        wanted = Pose(
            np.array([0.48, -0.08, 0.45]) + rng.uniform(-0.1, 0.1, 3),
            cv2.Rodrigues(rng.uniform(-turn, turn, 3))[0] @ np.diag((1.0, -1.0, -1.0)),
        )
        arm = wanted @ eye.inverse()
        seen = (wanted.inverse() @ board).apply(points)
        samples.append(Sample(points, lens.project(seen) + rng.normal(0, noise, (16, 2)), arm))
    return samples, lens, eye


def test_hand_eye_on_made_up_views(rng: np.random.Generator) -> None:
    samples, lens, eye = synthetic(rng, 12)
    found = calibrate_hand_eye(samples, lens, on_arm=True)
    distance, turn = error(found.camera, eye)
    assert distance < 0.001
    assert turn < math.radians(0.3)
    exact, lens, eye = synthetic(rng, 12, noise=0.0)
    assert error(calibrate_hand_eye(exact, lens, on_arm=True).camera, eye)[0] < 1e-6


def test_poor_samples_are_refused(rng: np.random.Generator) -> None:
    samples, lens, _ = synthetic(rng, 11)
    with pytest.raises(PoorCalibration, match="12 or more"):
        calibrate_hand_eye(samples, lens, on_arm=True)
    samples, lens, _ = synthetic(rng, 12, turn=0.02)
    with pytest.raises(PoorCalibration, match="15 degrees"):
        calibrate_hand_eye(samples, lens, on_arm=True)
    samples, lens, _ = synthetic(rng, 12)
    slipped = [Sample(s.points, s.pixels + (0 if k < 8 else 40), s.arm) for k, s in enumerate(samples)]
    with pytest.raises(PoorCalibration, match="disagree"):
        calibrate_hand_eye(slipped, lens, on_arm=True)


def test_intrinsics_of_made_up_views(rng: np.random.Generator) -> None:
    samples, _, _ = synthetic(rng, 15, noise=0.1)
    found, residual = calibrate_lens([(s.points, s.pixels) for s in samples], 640, 480)
    assert residual < 0.3
    assert found.matrix[0, 0] == pytest.approx(600, rel=0.03)
    assert found.matrix[1, 1] == pytest.approx(600, rel=0.03)
    with pytest.raises(PoorCalibration, match="8 or more"):
        calibrate_lens([(s.points, s.pixels) for s in samples[:7]], 640, 480)


def test_the_printed_board_is_found() -> None:
    image = np.repeat(
        cv2.copyMakeBorder(board_image(600), 50, 50, 50, 50, cv2.BORDER_CONSTANT, value=255)[..., None], 3, axis=2
    )
    found = find_board(image)
    assert found is not None
    points, pixels = found
    assert len(points) == (BOARD.squares - 1) ** 2
    scale = 600 / BOARD.side_m
    assert pixels - 50 == pytest.approx(points[:, :2] * scale, abs=1.0)
    assert find_board(np.full((480, 640, 3), 127, np.uint8)) is None


def test_a_measured_pose_goes_into_the_file_and_nothing_else_changes(tmp_path, rng) -> None:
    path = tmp_path / "mine.yaml"
    init(path, "yam-pair")
    before = path.read_text()
    samples, lens, _ = synthetic(rng, 12)
    found = calibrate_hand_eye(samples, lens, on_arm=True)
    kept = write_camera(path, "top", found)
    assert kept.read_text() == before
    file = load_station(path)
    assert file.cameras["top"].position_m == pytest.approx(found.camera.position.tolist(), abs=1e-4)
    assert "12 samples" in str(file.cameras["top"].calibrated)
    changed = set(path.read_text().splitlines()) ^ set(before.splitlines())
    assert all(any(key in line for key in ("position_m", "quat_wxyz", "calibrated")) for line in changed)
    assert "# A RealSense, through LeRobot" in path.read_text()  # comments are kept
