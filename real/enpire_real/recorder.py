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
from gymnasium import logger

from enpire_real.station import Station

IMAGE_SIZE = (320, 240)  # of recorded images (width, height) [px]
_QUEUE = 64  # frames that may wait to be encoded; beyond, the episode is given up, never the robot's rhythm
_CLOSE_S = 60.0  # that the last episodes may take to be written


class Recorder:
    """Writes `DIR/episodes/<n>.npz`: state, action, reward, done (T, ...), JPEG images per camera, and a JSON header.

    `state` is all arms' measured joints [rad] and gripper openings; `action` is the policy's. `action_source` is "policy" in
    all frames: nothing else drives an episode. What is lost is counted (`dropped`, `dropped_frames`), and `problem` says why;
    `told` is what the environment's `info` says of it.
    """

    def __init__(self, folder: Path, station: Station, control_hz: float, task: str) -> None:
        self._station, self._task, self._fps = station, task, control_hz
        self._folder = folder / "episodes"
        self._folder.mkdir(parents=True, exist_ok=True)
        taken = [int(p.stem) for p in self._folder.glob("*.npz") if p.stem.isdigit()]
        self._next = max(taken, default=-1) + 1
        self._queue: queue.Queue[tuple[int, str, dict[str, Any]]] = queue.Queue(_QUEUE)
        self._episode, self._broken = 0, -1
        self._info: dict[str, Any] = {}
        self._recording = self._lost = False
        self._frame: dict[str, Any] = {}
        self.written, self.dropped, self.dropped_frames = 0, 0, 0
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
                self._lose("the disk was too slow: frames waited to be written")
        if self._lost:
            self.dropped_frames += 1
        if done:
            self._recording = False
            verdict = {k: info.get(k) for k in ("success", "score", "stage", "reason")}
            try:
                if self._lost:
                    raise queue.Full
                self._queue.put((self._episode, "end", {**self._info, **verdict}), timeout=10)  # nothing moves now
            except queue.Full:
                self._lose("the disk was too slow: an episode waited to be written")
                self.dropped += 1

    def told(self) -> dict[str, Any]:
        """For the environment's `info`."""
        return {"written": self.written, "dropped": self.dropped, "dropped_frames": self.dropped_frames,
                "problem": self.problem}  # fmt: skip

    def _lose(self, why: str) -> None:
        self._lost = True
        self.problem = why

    def discard(self) -> None:
        """Forget an episode that was not finished."""
        self._recording = False

    def close(self) -> None:
        """Write what is left, as far as that is possible in a minute, and say what was lost."""
        deadline = time.monotonic() + _CLOSE_S
        try:
            self._queue.put((-1, "stop", {}), timeout=_CLOSE_S)
            self._thread.join(max(deadline - time.monotonic(), 0.0))
        except queue.Full:
            pass
        if self._thread.is_alive():
            self.problem = f"the disk did not take everything in {_CLOSE_S:.0f} s; what was not written is lost"
            self.dropped += 1
        if self.dropped:
            logger.warn(
                f"{self.dropped} of {self.dropped + self.written} episodes ({self.dropped_frames} frames) were not recorded in "
                f"{self._folder}: {self.problem}"
            )

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
            if episode == self._broken:
                self.dropped_frames += kind == "frame"
                continue
            try:
                if kind == "frame":
                    what["images"] = {name: _encode(image) for name, image in what["images"].items()}
                    frames.append(what)
                else:
                    self._write(frames, what)
                    self.written += 1
            except Exception as error:  # a full disk, a picture of no size, costs the recording and not the run
                self.problem = str(error) or repr(error)
                self.dropped += 1
                self.dropped_frames += len(frames) + (kind == "frame")
                self._broken = episode  # what is left of it is no whole episode

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
        except BaseException:
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
