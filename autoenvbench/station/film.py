"""What people are shown of episodes: pictures while one runs, a film, a strip or a few pictures of it afterwards."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
from enpire_envs.contract import contract_of, moments_of, step_limit

from autoenvbench.station.batch import Film, Stop

MOST_LOOKS = 900  # of one episode; a longer one is filmed at a lower rate
_SELDOM = 20  # control steps between two pictures
_GLIMPSES = 64  # moments of an episode among which a few are chosen when its end is known
_STRIP_FRAMES, _STRIP_SIDE = 6, 240  # pictures, pixels


class Lens:
    """Looks at one episode: at its first moment, every so many steps, and at its last one, however it ended.

    Where the environment can go back to a moment, nothing is drawn before somebody wants to see it; elsewhere a picture is taken at
    once. Pictures are extras: one that cannot be made is left out.

    Args:
        env: made with ``render_mode="rgb_array"``.
        every: control steps between two looks.
    """

    def __init__(self, env: gym.Env[Any, Any], every: int) -> None:
        self._env, self.every, self._moments = env, every, moments_of(env)
        self._seen: list[tuple[int, Any]] = []  # (step, a moment or a JPEG)

    @classmethod
    def film(cls, env: gym.Env[Any, Any]) -> Lens:
        """Every step, as far as that can be kept; now and then where a simulator must draw each picture at once."""
        costly = moments_of(env) is None and contract_of(env).real_cell is None
        return cls(env, max(-(-step_limit(env) // MOST_LOOKS), _SELDOM if costly else 1))

    @classmethod
    def strip(cls, env: gym.Env[Any, Any]) -> Lens:
        """As often as a few pictures of an episode of any length need."""
        return cls(env, -(-step_limit(env) // _GLIMPSES))

    @classmethod
    def glimpses(cls, env: gym.Env[Any, Any]) -> Lens | None:
        """A few moments, or None where even these would cost too much: a simulator that can only draw what is now."""
        return None if moments_of(env) is None and contract_of(env).real_cell is None else cls.strip(env)

    def look(self, step: int, *, last: bool = False) -> None:
        """The scene before step number `step`, or at the episode's end."""
        if self._seen and step % self.every and not last:
            return
        with contextlib.suppress(Exception):
            seen = self._moments.keep() if self._moments is not None else _encoded(self._env.render())
            if self._seen and self._seen[-1][0] == step:
                self._seen.pop()
            self._seen.append((step, seen))

    def clear(self) -> None:
        """Forget the episode: it begins anew."""
        self._seen.clear()

    def choose(self, most: int) -> list[int]:
        """Steps of up to `most` looks, evenly over the episode, its first and last one among them."""
        last = len(self._seen) - 1
        picks = sorted({round(k) for k in np.linspace(0, last, min(most, last + 1))})
        return [self._seen[k][0] for k in picks]

    def pictures(self, steps: Iterable[int] | None = None) -> Iterator[np.ndarray]:
        """What was seen, (height, width, 3) uint8: all of it, or at these steps. Raises what drawing raises."""
        wanted = None if steps is None else set(steps)
        for step, seen in self._seen:
            if wanted is None or step in wanted:
                yield self._moments.draw(seen).copy() if self._moments is not None else _decoded(seen)

    def __len__(self) -> int:
        """Looks so far."""
        return len(self._seen)


def write_film(film: Film, kind: str, lens: Lens, hz: float, stop: Stop) -> str:
    """Write what a lens saw; returns the file's name in the film's folder. Raises what drawing raises, OSError.

    Args:
        hz: rate of control steps; a film runs as fast as the episode did.
        stop: asked before each picture of a film, which an answer ends.
    """
    film.folder.mkdir(parents=True, exist_ok=True)
    name = f"{film.stem}{kind}{'.jpg' if film.strip else '.mp4'}"
    path = str(film.folder / name)
    if film.strip:
        size = (_STRIP_SIDE, _STRIP_SIDE)
        shown = lens.pictures(lens.choose(_STRIP_FRAMES))
        strip = np.concatenate([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in shown], axis=1)
        cv2.imwrite(path, strip[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
        return name
    write_video(path, lens, hz, stop)
    return name


def write_video(path: str, lens: Lens, hz: float, stop: Stop = lambda: None) -> None:
    """Write what a lens saw as a film, MP4 (see `write_film`). Raises what drawing raises; OSError where there is no picture."""
    writer: cv2.VideoWriter | None = None
    for frame in itertools.takewhile(lambda _: stop() is None, lens.pictures()):
        if writer is None:
            height, width = frame.shape[:2]
            # MPEG-4 Part 2: what OpenCV writes without further libraries, and OpenCV and ffmpeg read
            writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), hz / lens.every, (width, height))
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    if writer is None:
        raise OSError("no picture could be made")
    writer.release()


def png(frame: np.ndarray) -> bytes:
    """A picture (height, width, 3) uint8 RGB as PNG."""
    _, data = cv2.imencode(".png", frame[..., ::-1])
    return bytes(data.tobytes())


def jpeg(frame: np.ndarray, side: int | None = None) -> bytes:
    """A picture (height, width, 3) uint8 RGB as JPEG, its longer side at most `side` pixels."""
    largest = max(frame.shape[:2])
    if side is not None and largest > side:
        frame = cv2.resize(frame, None, fx=side / largest, fy=side / largest, interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1])


def _encoded(picture: Any) -> bytes:
    assert isinstance(picture, np.ndarray), 'the station makes its environments with render_mode="rgb_array"'
    return jpeg(picture)


def _decoded(picture: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None, "a JPEG of our own"
    return np.ascontiguousarray(image[..., ::-1])
