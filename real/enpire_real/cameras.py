"""Cameras: the newest frame with its time, from OpenCV or LeRobot (the twin's are in `twin/cameras.py`)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np

from enpire_real.clock import Clock, Ticker
from enpire_real.kinematics import Pose
from enpire_real.station_file import Camera as CameraConfig
from enpire_real.station_file import StationFile


class CameraLost(RuntimeError):
    """A camera has no recent frame."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame.

    Attributes:
        image: (height, width, 3) uint8 RGB.
        time: when it was taken, as far as the driver knows [s on the station's clock].
    """

    image: np.ndarray
    time: float


class Camera(Protocol):
    """A camera of a station, whoever delivers its frames.

    Attributes:
        name: as the station file has it.
    """

    name: str

    def start(self) -> None:
        """Open the device and keep its newest frame from now on. Raises CameraLost."""

    def stamp(self) -> float:
        """When the newest frame arrived [s on the station's clock]; -inf before the first. Cheap: the safety monitor asks at every
        tick."""

    def latest(self) -> Frame:
        """The newest frame. Raises CameraLost before the first."""

    def close(self) -> None:
        """Let go of the device. Safe to call twice."""


_OLDEST_S = 0.25  # of a picture that is looked at, whatever its frame's time says; a camera at 30 Hz takes 0.06 s


class FreshFrames:
    """Newest frames of cameras, refused where they are old, or have shown the very same picture for that long: a camera that died, or hangs,
    shows no present.

    Args:
        cameras: of a station, by name.
        clock: the station's.
        file: the station's; pictures of a twin without noise may be the same to the last bit, which no sensor's are.
    """

    def __init__(self, cameras: Mapping[str, Camera], clock: Clock, file: StationFile) -> None:
        self._cameras, self._clock = cameras, clock
        self._noiseless = file.twin is not None and file.twin.noise == 0
        self._first: dict[str, Frame] = {}  # of those that were looked at and show what the newest one shows

    def newest(self, name: str) -> Frame:
        """A camera's newest frame. Raises CameraLost."""
        frame = self._cameras[name].latest()
        age = self._clock.now() - frame.time
        if not age <= _OLDEST_S:
            raise CameraLost(f"camera {name} has sent nothing for {age * 1000:.0f} ms")
        first = self._first.get(name)
        if first is None or self._noiseless or not np.array_equal(first.image, frame.image):
            self._first[name] = frame
        elif frame.time - first.time > _OLDEST_S:
            raise CameraLost(f"camera {name} sends the same picture again and again")
        return frame


@dataclass(frozen=True, slots=True)
class Lens:
    """Intrinsics.

    Attributes:
        matrix: (3, 3) focal lengths and centre [px].
        distortion: (k,) OpenCV's coefficients.
    """

    matrix: np.ndarray
    distortion: np.ndarray

    @classmethod
    def of(cls, config: CameraConfig) -> Lens:
        """The intrinsics that a station file has for a camera."""
        i = config.intrinsics
        matrix = np.array([[i.fx_px, 0, i.cx_px], [0, i.fy_px, i.cy_px], [0, 0, 1]], dtype=np.float64)
        return cls(matrix, np.array(i.distortion, dtype=np.float64))

    def project(self, points: np.ndarray) -> np.ndarray:
        """(n, 2) pixels of (n, 3) points in the optical frame [m]."""
        pixels, _ = cv2.projectPoints(
            np.asarray(points, dtype=np.float64), np.zeros(3), np.zeros(3), self.matrix, self.distortion
        )
        return pixels.reshape(-1, 2)


def mount_pose(config: CameraConfig) -> Pose:
    """Pose of a camera's optical frame (x right, y down, z forward) in its mount's frame, by the station file."""
    return Pose.from_quat(config.position_m, config.quat_wxyz)


class _Threaded:
    """Keeps the newest frame that a reader thread grabs."""

    def __init__(self, name: str, config: CameraConfig, clock: Clock) -> None:
        self.name, self._config, self._clock = name, config, clock
        self._frame: Frame | None = None
        self._problem: str | None = None
        self._ticker: Ticker | None = None

    def stamp(self) -> float:
        return self._frame.time if self._frame is not None else -np.inf

    def latest(self) -> Frame:
        if self._frame is None:
            raise CameraLost(
                f"camera {self.name} has delivered no frame yet{': ' + self._problem if self._problem else ''}"
            )
        return self._frame

    def _keep(self, image: np.ndarray) -> None:
        want = (self._config.height_px, self._config.width_px, 3)
        if image.shape != want:
            self._problem = (
                f"its frames are {image.shape[1]} x {image.shape[0]}, the station file says {want[1]} x {want[0]}"
            )
            raise CameraLost(f"camera {self.name}: {self._problem}")
        self._frame = Frame(image, self._clock.now())


class OpenCVCamera(_Threaded):
    """A V4L2 device, or a video file (which plays in a loop at its camera's rate)."""

    def start(self) -> None:
        """Raises CameraLost if the device cannot be opened or delivers another size."""
        source = self._config.source
        capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
        if not capture.isOpened():
            raise CameraLost(
                f"camera {self.name}: cannot open {source!r}; `autoenvbench station doctor` lists the devices there are"
            )
        if isinstance(source, int) or str(source).startswith("/dev/"):
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, self._config.width_px)
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self._config.height_px)
            capture.set(cv2.CAP_PROP_FPS, self._config.fps_hz)
        self._capture = capture
        self._live = isinstance(source, int) or str(source).startswith("/dev/")
        self._lock = threading.Lock()
        self._grab()
        # A device blocks until its next frame, so its reader asks a little faster than frames come.
        self._ticker = self._clock.every(
            1.0 / self._config.fps_hz * (0.5 if self._live else 1.0), self._grab, self.name
        )

    def _grab(self) -> None:
        with self._lock:
            good, image = self._capture.read()
            if not good and not self._live:
                self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
                good, image = self._capture.read()
        if good:
            self._keep(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))

    def close(self) -> None:
        """Let go of the device. Safe to call twice."""
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
            with self._lock:
                self._capture.release()


class LeRobotCamera(_Threaded):
    """Any camera that LeRobot has a driver for, RealSense among them."""

    def start(self) -> None:
        """Connect through LeRobot's driver. Raises ImportError without LeRobot, and what the driver raises."""
        from lerobot.cameras import make_cameras_from_configs
        from lerobot.cameras.configs import CameraConfig as LeRobotConfig

        assert self._config.lerobot is not None
        given: dict[str, Any] = dict(self._config.lerobot)
        kind = given.pop("type")
        import lerobot.cameras.opencv
        import lerobot.cameras.realsense  # noqa: F401
        from lerobot.utils.import_utils import register_third_party_plugins

        register_third_party_plugins()
        size = {"fps": int(self._config.fps_hz), "width": self._config.width_px, "height": self._config.height_px}
        made = LeRobotConfig.get_choice_class(kind)(**{**size, **given})
        self._camera = make_cameras_from_configs({self.name: made})[self.name]
        self._camera.connect()
        self._grab()
        self._ticker = self._clock.every(0.5 / self._config.fps_hz, self._grab, self.name)

    def _grab(self) -> None:
        try:
            self._keep(np.asarray(self._camera.async_read(timeout_ms=200)))
        except (TimeoutError, RuntimeError) as error:
            self._problem = str(error)  # the stamp grows old, and the monitor sees it

    def close(self) -> None:
        """Disconnect. Safe to call twice."""
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
            self._camera.disconnect()
