"""Records episodes while they run, without ever making the control loop wait.

The environment's thread hands over what it has; a thread of its own encodes and writes. Each finished episode becomes one
file, complete or not there at all, and `enpire_real.dataset` makes a LeRobotDataset of them: LeRobot itself need not be
installed where the robot runs, and a crash costs no more than the episode under way.
"""

from __future__ import annotations

import queue
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
from enpire_envs.episode_file import SUFFIX, EpisodeWriter, describe_space
from gymnasium import logger

from enpire_real.station import Station

IMAGE_SIZE = (320, 240)  # of recorded images (width, height) [px]
_QUEUE = 64  # frames that may wait to be encoded; beyond, the episode is given up, never the robot's rhythm
_CLOSE_S = 60.0  # that the last episodes may take to be written


class Recorder:
    """Writes `DIR/episodes/<n>.episode` (see `enpire_envs.episode_file`), with what the hardware saw as observations:

    `state`, all arms' measured joints [rad] and gripper openings (0..1), and `images.CAMERA`, small JPEGs; the last images in full
    size are the evidence of the verdict. Actions are the policy's: nothing else drives an episode. What is lost is counted
    (`dropped`, `dropped_frames`), and `problem` says why; `told` is what the environment's `info` says of it.
    """

    def __init__(self, folder: Path, station: Station, control_hz: float, task: str) -> None:
        self._station, self._task, self._fps = station, task, control_hz
        self._folder = folder / "episodes"
        self._folder.mkdir(parents=True, exist_ok=True)
        taken = [int(p.stem) for p in self._folder.glob(f"*{SUFFIX}") if p.stem.isdigit()]
        self._next = max(taken, default=-1) + 1
        self._queue: queue.Queue[tuple[int, str, dict[str, Any]]] = queue.Queue(_QUEUE)
        self._episode, self._broken = 0, -1
        self._meta: dict[str, Any] = {}
        self._began = 0.0
        self._recording = self._lost = False
        self._frame: dict[str, Any] = {}
        self.written, self.dropped, self.dropped_frames = 0, 0, 0
        self.problem: str | None = None
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    # -- the environment's side: never blocks while something moves ---------------------------------------------------
    def begin(self, info: dict[str, Any], env: gym.Env[Any, Any]) -> None:
        """The arms stand at a verified start: `info` of the reset, and the environment that was reset."""
        spec = env.spec
        self._meta = {
            "env": spec.id if spec else None,
            "env_kwargs": {k: v for k, v in spec.kwargs.items() if k != "record"} if spec else {},
            "control_hz": self._fps, "task": self._task, "action_space": describe_space(env.action_space),
            "names": {"observation.state": self._state_names()}, "start": info.get("start"),
            "episode_seed": info.get("episode_seed"),
            "provenance": {
                "collector": "recorder", "station": self._station.file.name, "kind": self._station.kind, "began": time.time()
            },
        }  # fmt: skip
        self._began = self._station.clock.now()
        self._episode += 1
        self._recording, self._lost = True, False

    def before(self, action: np.ndarray) -> None:
        """What is to be seen when the policy's action comes, and the action."""
        if self._recording and not self._lost:
            now = self._station.clock.now() - self._began
            self._frame = {"seen": self._look(), "action": np.array(action, np.float32), "time": now}

    def after(self, reward: float, terminated: bool, truncated: bool, info: dict[str, Any]) -> None:
        """What became of it."""
        if not self._recording:
            return
        done = terminated or truncated
        if not self._lost:
            judged = {
                "reward": reward,
                "terminated": terminated,
                "truncated": truncated,
                "late": bool(info.get("late")),
            }
            try:
                self._queue.put_nowait((self._episode, "frame", {**self._frame, **judged}))
            except queue.Full:
                self._lose("the disk was too slow: frames waited to be written")
        if self._lost:
            self.dropped_frames += 1
        if done:
            self._recording = False
            verdict = {k: info.get(k) for k in ("success", "score", "stage", "reason", "violations")}
            try:
                if self._lost:
                    raise queue.Full
                end = {"seen": self._look(), "meta": {**self._meta, "verdict": verdict}}
                self._queue.put((self._episode, "end", end), timeout=10)  # nothing moves now
            except queue.Full:
                self._lose(self.problem if self._lost else "the disk was too slow: an episode waited to be written")
                self.dropped += 1
            except Exception as error:  # the verdict stands, whatever a camera says now
                self._lose(f"the end of an episode could not be seen: {error}")
                self.dropped += 1

    def _look(self) -> dict[str, Any]:
        """Joints and images, now."""
        control = self._station.control
        state = np.concatenate([
            np.append(control.reading(name).q, control.reading(name).gripper) for name in control.arms
        ]).astype(np.float32)  # fmt: skip
        images = {}
        for name, camera in self._station.cameras.items():
            if self._station.file.cameras[name].required or self._station.kind == "real":
                images[name] = camera.latest().image
        return {"state": state, "images": images}

    def told(self) -> dict[str, Any]:
        """For the environment's `info`."""
        return {"written": self.written, "dropped": self.dropped, "dropped_frames": self.dropped_frames,
                "problem": self.problem}  # fmt: skip

    def _lose(self, why: str | None) -> None:
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
        writer = EpisodeWriter()
        current = -1
        while True:
            episode, kind, what = self._queue.get()
            if kind == "stop":
                return
            if episode != current:
                writer, current = EpisodeWriter(), episode
            if episode == self._broken:
                self.dropped_frames += kind == "frame"
                continue
            try:
                if kind == "frame":
                    _add(writer, what)
                else:
                    self._write(writer, what)
                    self.written += 1
            except Exception as error:  # a full disk, a picture of no size, costs the recording and not the run
                self.problem = str(error) or repr(error)
                self.dropped += 1
                self.dropped_frames += len(writer) + (kind == "frame")
                self._broken = episode  # what is left of it is no whole episode

    def _write(self, writer: EpisodeWriter, end: dict[str, Any]) -> None:
        writer.see_again(_observation(end["seen"]))
        evidence = {name: [_jpeg(image)] for name, image in end["seen"]["images"].items()}
        writer.write(self._folder / f"{self._next:06d}{SUFFIX}", end["meta"], evidence=evidence)
        self._next += 1

    def _state_names(self) -> list[str]:
        return [
            f"{name}_{part}"
            for name, arm in self._station.control.arms.items()
            for part in (*(f"joint{k + 1}" for k in range(arm.dof)), "gripper")
        ]


def _add(writer: EpisodeWriter, frame: dict[str, Any]) -> None:
    """Add a step. What it led to is what the next one, or the end, will have seen."""
    seen = _observation(frame["seen"])
    if len(writer):
        writer.see_again(seen)
    else:
        writer.begin(seen)
    writer.step(
        frame["action"],
        seen,
        frame["reward"],
        frame["terminated"],
        frame["truncated"],
        time=frame["time"],
        late=frame["late"],
    )


def _observation(seen: dict[str, Any]) -> dict[str, Any]:
    return {"state": seen["state"], **{f"images.{name}": _encode(image) for name, image in seen["images"].items()}}


def _encode(image: np.ndarray) -> bytes:
    return _jpeg(cv2.resize(image, IMAGE_SIZE, interpolation=cv2.INTER_AREA))


def _jpeg(image: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1])
