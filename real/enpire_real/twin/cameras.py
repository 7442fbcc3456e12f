"""The twin's cameras: frames with noise, exposure and latency, rendered when they are read.

A capture keeps the scene's state, not its picture: a frame that is not read is never rendered, and what is rendered later shows
the moment of the capture all the same.
"""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path

import cv2
import mujoco
import numpy as np

from enpire_real.cameras import CameraLost, Frame
from enpire_real.clock import Clock, Ticker
from enpire_real.station_file import Camera as CameraConfig
from enpire_real.twin.frames import FrameReader
from enpire_real.twin.station import Twin

_OPTICAL = np.diag([1.0, -1.0, -1.0])  # MuJoCo's cameras look along -z, optical frames along +z


class TwinCamera:
    """A simulated camera. `latest` must always be called from the same thread (a renderer belongs to one).

    Args:
        name: of the camera in the twin's model.
        noise: standard deviation of each pixel [grey levels].
        latency: from capture to delivery [s].
    """

    def __init__(
        self, name: str, config: CameraConfig, clock: Clock, twin: Twin, *, noise: float, latency: float, seed: int
    ) -> None:
        self.name, self._config, self._clock, self._twin = name, config, clock, twin
        self._noise, self._latency = noise, latency
        self._rng = np.random.default_rng(seed)
        gain = 1.0 + 0.03 * self._rng.uniform(-1, 1)
        self._exposure = np.clip(np.arange(256) * gain, 0, 255).astype(np.uint8)
        self._captures: deque[tuple[float, np.ndarray]] = deque()
        self._shown: tuple[float, np.ndarray] | None = None
        self._drawn: Frame | None = None
        self._renderer: mujoco.Renderer | None = None
        self._data = mujoco.MjData(twin.model)
        self._hand = int(twin.model.body("hand").mocapid[0])
        self._lock = threading.Lock()  # captures come on one thread, the safety monitor asks on another
        self._sheet: np.ndarray | None = None
        self._ticker: Ticker | None = None

    def start(self) -> None:
        """Capture from now on."""
        self._ticker = self._clock.every(1.0 / self._config.fps_hz, self._capture, self.name)

    def _capture(self) -> None:
        faults = self._twin.faults
        if self.name in faults.frozen_cameras or (faults.lost_frames and self._rng.random() < faults.lost_frames):
            return
        with self._twin.lock:
            self._captures.append((self._clock.now(), self._twin.data.qpos.copy()))
        self._deliver()

    def _deliver(self) -> None:
        with self._lock:
            while self._captures and self._captures[0][0] + self._latency <= self._clock.now() + 1e-9:
                self._shown = self._captures.popleft()

    def stamp(self) -> float:
        """When the newest frame was delivered [s on the station's clock]; -inf before the first."""
        self._deliver()
        return self._shown[0] + self._latency if self._shown is not None else -np.inf

    def latest(self) -> Frame:
        """The newest frame, rendered now if it has not been read yet. Raises CameraLost before the first."""
        self._deliver()
        shown = self._shown
        if shown is None:
            raise CameraLost(f"camera {self.name} has delivered no frame yet")
        if self._drawn is None or self._drawn.time != shown[0]:
            drawn = self._drawn if self.name in self._twin.faults.stuck_cameras else None
            self._drawn = Frame(self._draw(shown[1]) if drawn is None else drawn.image, shown[0])
        return self._drawn

    def _draw(self, qpos: np.ndarray) -> np.ndarray:
        model, data, faults = self._twin.model, self._data, self._twin.faults
        if self._renderer is None:
            self._renderer = mujoco.Renderer(model, self._config.height_px, self._config.width_px)
            self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False  # 45 ms a frame on a CPU
            self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        data.qpos[:] = qpos
        data.mocap_pos[self._hand] = faults.hand_at if faults.hand_in_view else (0, 0, -1.5)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        if (knock := faults.knocked_cameras.get(self.name)) is not None:
            camera = model.camera(self.name).id
            turn = data.cam_xmat[camera].reshape(3, 3) @ _OPTICAL
            data.cam_xpos[camera] += turn @ knock.position
            data.cam_xmat[camera] = (turn @ knock.rotation @ _OPTICAL).ravel()
        self._renderer.update_scene(data, self.name)
        image = self._renderer.render()
        overlay = self._twin.faults.overlay
        if overlay is not None:
            image = overlay(self.name, image)
        if not self._noise:
            return image.copy()
        return np.asarray(cv2.add(cv2.LUT(image, self._exposure), self._grain(image.shape), dtype=cv2.CV_8U))

    def _grain(self, shape: tuple[int, ...]) -> np.ndarray:
        """Noise of one frame: one big sheet, cut out at random places. Independent enough for any threshold, and cheap."""
        size = shape[0] * shape[1] * shape[2]
        if self._sheet is None:
            self._sheet = np.rint(self._rng.normal(0.0, self._noise, 2 * size)).astype(np.int16)
        start = int(self._rng.integers(size))
        return self._sheet[start : start + size].reshape(shape)

    def close(self) -> None:
        """Stop capturing and let go of the renderer. Safe to call twice."""
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


class LinkedCamera:
    """A camera of a twin that runs in another process on this machine."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self._path = name, folder / f"{name}.frame"
        self._reader: FrameReader | None = None

    def start(self) -> None:
        """Raises CameraLost if no twin serves this camera."""
        try:
            self._reader = FrameReader(self._path)
        except (OSError, ValueError):
            raise CameraLost(
                f"no twin serves {self._path}; start one: autoenvbench station twin {self._path.parent}"
            ) from None

    def stamp(self) -> float:
        """When the newest frame was delivered [s on the machine's clock]; -inf before the first."""
        return self._reader.stamp() if self._reader is not None else -np.inf

    def latest(self) -> Frame:
        """The newest frame. Raises CameraLost before the first."""
        reply = self._reader.read() if self._reader is not None else None
        if reply is None:
            raise CameraLost(f"camera {self.name} has delivered no frame yet")
        return Frame(*reply)

    def close(self) -> None:
        """Let go of the mapped file. Safe to call twice."""
        self._reader = None
