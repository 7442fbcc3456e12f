"""What people are shown of episodes: pictures while one runs, a video or a strip of pictures afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from autoenvbench.station.batch import Film

FRAME_EVERY = 20  # control steps between two pictures
_VIDEO_HZ = 5
_STRIP_FRAMES, _STRIP_SIDE = 6, 240  # pictures, pixels


def write_films(film: Film, shown: Mapping[str, Sequence[np.ndarray]]) -> dict[str, str]:
    """Write what is shown, (height, width, 3) uint8 RGB pictures by kind; returns file names in the film's folder."""
    film.folder.mkdir(parents=True, exist_ok=True)
    return {kind: _write(film, kind, frames) for kind, frames in shown.items()}


def _write(film: Film, kind: str, frames: Sequence[np.ndarray]) -> str:
    name = f"{film.stem}{kind}{'.jpg' if film.strip else '.mp4'}"
    path = str(film.folder / name)
    if film.strip:
        picks = sorted({round(k) for k in np.linspace(0, len(frames) - 1, min(_STRIP_FRAMES, len(frames)))})
        size = (_STRIP_SIDE, _STRIP_SIDE)
        strip = np.concatenate([cv2.resize(frames[k], size, interpolation=cv2.INTER_AREA) for k in picks], axis=1)
        cv2.imwrite(path, strip[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
        return name
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), _VIDEO_HZ, (width, height))
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return name


def png(frame: np.ndarray) -> bytes:
    """A picture (height, width, 3) uint8 RGB as PNG."""
    _, data = cv2.imencode(".png", frame[..., ::-1])
    return bytes(data.tobytes())
