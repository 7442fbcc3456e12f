"""Cameras that are not simulated: a video file stands for a device."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from enpire_real.cameras import CameraLost, OpenCVCamera
from enpire_real.clock import WallClock
from enpire_real.station_file import Camera, Intrinsics


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Thirty frames, each redder than the last."""
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (160, 120))
    for k in range(30):
        writer.write(np.full((120, 160, 3), (0, 0, 8 * k), np.uint8))
    writer.release()
    return path


def config(source: Path | str, **changes: int) -> Camera:
    size = {"width_px": 160, "height_px": 120, **changes}
    return Camera(
        type="opencv", source=str(source), fps_hz=30, position_m=[0, 0, 1], quat_wxyz=[0, 1, 0, 0],
        intrinsics=Intrinsics(fx_px=100, fy_px=100, cx_px=79.5, cy_px=59.5), **size,
    )  # fmt: skip


@pytest.mark.real_time
def test_frames_are_rgb_and_new_ones_keep_coming(film: Path) -> None:
    camera = OpenCVCamera("eye", config(film), WallClock())
    assert camera.stamp() == -np.inf
    camera.start()
    first = camera.latest()
    assert first.image.shape == (120, 160, 3)
    time.sleep(0.4)
    later = camera.latest()
    assert later.time > first.time
    assert later.image[..., 0].mean() > first.image[..., 0].mean() + 20  # red is the first channel
    assert later.image[..., 2].mean() < 20
    time.sleep(1.0)  # past its end: it plays in a loop
    assert time.monotonic() - camera.stamp() < 0.3
    camera.close()
    camera.close()


def test_what_cannot_be_used_says_why(film: Path, tmp_path: Path) -> None:
    with pytest.raises(CameraLost, match="cannot open"):
        OpenCVCamera("eye", config(tmp_path / "missing.avi"), WallClock()).start()
    with pytest.raises(CameraLost, match="160 x 120, the station file says 640 x 480"):
        OpenCVCamera("eye", config(film, width_px=640, height_px=480), WallClock()).start()
    with pytest.raises(CameraLost, match="no frame yet"):
        OpenCVCamera("eye", config(film), WallClock()).latest()
