"""Finding the mat and the T in camera images, against the twin's truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import MakeStation, station_file
from enpire_envs.pusht.geometry import in_frame
from enpire_real.motion import JointMove
from enpire_real.perception.markers import MatLost, camera_over_mat
from enpire_real.pusht.equipment import MAT
from enpire_real.pusht.perception import TFinder
from enpire_real.station import Station


def look(make_station: MakeStation, seed: int, block: tuple[float, float, float], **twin) -> Station:
    station = make_station(station_file(cameras=("top",), seed=seed, **twin), home=False, block=block)
    away = np.array(station.file.tasks["pusht"].avoid_rad)
    for name in station.control.arms:
        station.control.move(name, JointMove([away], 2.0, 10.0))
    for name in station.control.arms:
        station.control.wait(name, 20)
    station.clock.sleep(0.3)
    return station


def off(found, truth) -> tuple[float, float]:
    dx, dy, turn = in_frame(found, truth)
    return math.hypot(dx, dy), abs(turn)


@pytest.mark.parametrize("seed", range(6))
def test_the_t_is_found_within_3_mm_and_1_degree(make_station: MakeStation, seed: int) -> None:
    """Each seed is another station: camera knocked, other light, other place and turn of the T."""
    rng = np.random.default_rng(100 + seed)
    block = (rng.uniform(-0.2, 0.2), rng.uniform(-0.13, 0.13), rng.uniform(-math.pi, math.pi))
    station = look(make_station, seed, block)
    image = station.cameras["top"].latest().image
    eye, error = camera_over_mat(image, station.lens("top"), MAT)
    assert error < 1.0
    found = TFinder(station.lens("top"), eye).find(image)
    assert found.valid
    distance, turn = off(found.pose, station.twin.truth()["block"])
    assert distance < 0.003
    assert turn < math.radians(1)


def test_an_image_without_t_or_mat_says_so(make_station: MakeStation) -> None:
    station = look(make_station, 0, (0.1, 0.0, 1.0))
    image = station.cameras["top"].latest().image
    eye, _ = camera_over_mat(image, station.lens("top"), MAT)
    gray = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    assert not TFinder(station.lens("top"), eye).find(gray).valid
    with pytest.raises(MatLost, match="0 of the mat's 4 markers"):
        camera_over_mat(np.zeros_like(image), station.lens("top"), MAT)
    noise = np.random.default_rng(0).integers(0, 256, image.shape, dtype=np.uint8)
    assert not TFinder(station.lens("top"), eye).find(noise).valid


def test_one_marker_may_be_covered(make_station: MakeStation) -> None:
    station = look(make_station, 1, (0.1, 0.0, 1.0))
    image = station.cameras["top"].latest().image.copy()
    whole, _ = camera_over_mat(image, station.lens("top"), MAT)
    corner = station.lens("top").project(whole.inverse().apply(np.array([[-0.345, 0.28, 0.0]])))[0].astype(int)
    image[max(corner[1] - 25, 0) : corner[1] + 25, max(corner[0] - 25, 0) : corner[0] + 25] = 120
    three, _ = camera_over_mat(image, station.lens("top"), MAT)
    assert np.linalg.norm(whole.position - three.position) < 0.02


def test_a_covered_t_is_not_valid_and_a_partly_covered_one_stays_right(make_station: MakeStation) -> None:
    station = look(make_station, 2, (0.0, 0.05, 0.5))
    image = station.cameras["top"].latest().image
    lens = station.lens("top")
    eye, _ = camera_over_mat(image, lens, MAT)
    truth = station.twin.truth()["block"]
    middle = lens.project(eye.inverse().apply(np.array([[truth[0], truth[1], 0.03]])))[0]
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    finder = TFinder(lens, eye)
    stripe = image.copy()
    stripe[np.abs(columns - middle[0] - 12) < 5] = 40  # an arm across it
    found = finder.find(stripe)
    assert found.valid
    assert off(found.pose, truth)[0] < 0.004
    hidden = image.copy()
    hidden[np.hypot(columns - middle[0], rows - middle[1]) < 70] = 40
    assert not finder.find(hidden).valid
    assert finder.find(image).valid  # and back


def test_a_hand_over_the_mat_hides_the_t_or_leaves_it_right(make_station: MakeStation) -> None:
    station = look(make_station, 3, (0.02, 0.0, 2.0))
    eye, _ = camera_over_mat(station.cameras["top"].latest().image, station.lens("top"), MAT)
    station.twin.faults.hand_in_view = True
    station.clock.sleep(0.2)
    image = station.cameras["top"].latest().image
    found = TFinder(station.lens("top"), eye).find(image)
    assert not found.valid or off(found.pose, station.twin.truth()["block"])[0] < 0.004
    station.twin.faults.hand_in_view = False
    station.clock.sleep(0.2)
    assert np.abs(station.cameras["top"].latest().image.astype(int) - image).max() > 60  # it was really there
    assert TFinder(station.lens("top"), eye).find(station.cameras["top"].latest().image).valid
