"""Records episodes while they run, without ever making the control loop wait.

The environment's thread hands over what it has; a thread of its own encodes and writes. Each finished episode becomes one
file, complete or not there at all, and `enpire_real.dataset` makes a LeRobotDataset of them: LeRobot itself need not be
installed where the robot runs, and a crash costs no more than the episode under way.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from enpire_real.station import Station

IMAGE_SIZE = (320, 240)  # of recorded images (width, height) [px]
_QUEUE = 64  # frames that may wait to be encoded; beyond, the episode is given up, never the robot's rhythm


class Recorder:
    """Writes `DIR/episodes/<n>.npz`: state, action, reward, done (T, ...), JPEG images per camera, and a JSON header.

    `state` is all arms' measured joints [rad] and gripper openings; `action` is the policy's. `action_source` is "policy" in
    all frames: nothing else drives an episode.
    """

    def __init__(self, folder: Path, station: Station, control_hz: float, task: str) -> None:
        self._station, self._task, self._fps = station, task, control_hz
        self._folder = folder / "episodes"
        self._folder.mkdir(parents=True, exist_ok=True)
        taken = [int(p.stem) for p in self._folder.glob("*.npz") if p.stem.isdigit()]
        self._next = max(taken, default=-1) + 1
        self._queue: queue.Queue[tuple[int, str, dict[str, Any]]] = queue.Queue(_QUEUE)
        self._episode = 0
        self._info: dict[str, Any] = {}
        self._recording = self._lost = False
        self._frame: dict[str, Any] = {}
        self.written, self.dropped = 0, 0
        self.problem: str | None = None
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    # -- the environment's side: never blocks while something moves ---------------------------------------------------
    def begin(self, info: dict[str, Any]) -> None:
        self._info = {"start": info.get("start"), "episode_seed": info.get("episode_seed"), "cell": info.get("cell"),
                      "began": time.time()}  # fmt: skip
        self._episode += 1
        self._recording, self._lost = True, False

    def before(self, action: np.ndarray) -> None:
        """What the policy saw, and its action."""
        if not self._recording or self._lost:
            return
        control = self._station.control
        state = np.concatenate([
            np.append(control.reading(name).q, control.reading(name).gripper) for name in control.arms
        ]).astype(np.float32)  # fmt: skip
        images = {}
        for name, camera in self._station.cameras.items():
            if self._station.file.cameras[name].required or self._station.kind == "real":
                images[name] = camera.latest().image
        self._frame = {"state": state, "action": np.array(action, dtype=np.float32), "images": images}

    def after(self, reward: float, done: bool, info: dict[str, Any]) -> None:
        if not self._recording:
            return
        if not self._lost:
            try:
                self._queue.put_nowait(
                    (self._episode, "frame", {**self._frame, "reward": np.float32(reward), "done": done})
                )
            except queue.Full:
                self._lost = True
        if done:
            self._recording = False
            verdict = {k: info.get(k) for k in ("success", "score", "stage", "reason")}
            try:
                if self._lost:
                    raise queue.Full
                self._queue.put((self._episode, "end", {**self._info, **verdict}), timeout=10)  # nothing moves now
            except queue.Full:
                self.dropped += 1

    def discard(self) -> None:
        """Forget an episode that was not finished."""
        self._recording = False

    def close(self) -> None:
        """Write what is left."""
        self._queue.put((-1, "stop", {}))
        self._thread.join(60)

    # -- the thread's side -------------------------------------------------------------------------------------------
    def _work(self) -> None:
        frames: list[dict[str, Any]] = []
        current = -1
        while True:
            episode, kind, what = self._queue.get()
            if kind == "stop":
                return
            if episode != current:
                frames, current = [], episode
            if kind == "frame":
                what["images"] = {name: _encode(image) for name, image in what["images"].items()}
                frames.append(what)
                continue
            try:
                self._write(frames, what)
                self.written += 1
            except OSError as error:  # a full disk costs the recording, not the run
                self.problem, self.dropped = str(error), self.dropped + 1

    def _write(self, frames: list[dict[str, Any]], verdict: dict[str, Any]) -> None:
        header = {
            "version": 1, "task": self._task, "fps": self._fps, "station": self._station.file.name,
            "kind": self._station.kind, "state_names": self._state_names(), "image_size": IMAGE_SIZE, **verdict,
        }  # fmt: skip
        columns: dict[str, Any] = {
            "header": np.array(json.dumps(header, default=str)),
            **{key: np.array([f[key] for f in frames]) for key in ("state", "action", "reward", "done")},
            "action_source": np.array(["policy"] * len(frames)),
        }
        for camera in frames[0]["images"]:
            jpegs = [f["images"][camera] for f in frames]
            columns[f"jpeg_{camera}"] = np.concatenate(jpegs)
            columns[f"jpeg_ends_{camera}"] = np.cumsum([len(j) for j in jpegs])
        part = self._folder / f"{self._next:06d}.part"
        try:
            with part.open("wb") as file:
                np.savez(file, **columns)
            part.rename(self._folder / f"{self._next:06d}.npz")
        except OSError:
            part.unlink(missing_ok=True)
            raise
        self._next += 1

    def _state_names(self) -> list[str]:
        return [
            f"{name}_{part}"
            for name, arm in self._station.control.arms.items()
            for part in (*(f"joint{k + 1}" for k in range(arm.dof)), "gripper")
        ]


def _encode(image: np.ndarray) -> np.ndarray:
    small = cv2.resize(image, IMAGE_SIZE, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    return np.asarray(jpeg).ravel()
