"""How the starts of an environment look: one page of pictures, each from the camera that sees what its task is about."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
from enpire_envs.cell import CellFault
from enpire_envs.contract import contract_of
from enpire_envs.env import ResetFailed
from enpire_envs.tools.bodies import Body

from autoenvbench.errors import UserError
from autoenvbench.make_env import make_env
from autoenvbench.station.film import png
from autoenvbench.study.start_sets import starts
from autoenvbench.text import short

MOST = 64  # pictures
SIDE, COLUMNS, _LINE = 320, 4, 20  # [px], and pictures in a row
_HIDDEN_M = 0.15  # by which something else may be nearer than what is looked for [m]
_HAND = ("hand", "wrist")  # in names of cameras that move with the robot, and show little beside it
_DISTRACTOR = "distr"  # how names of things begin that a task is not about


def parse_seeds(text: str) -> list[int]:
    """A list such as "0-7" or "3,5,8-10". Raises UserError."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", part)
        if match is None:
            raise UserError(f"cannot read the seeds {text!r}; write them like 0-7 or 3,5,8")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise UserError(f"{part.strip()} runs backwards; write {last}-{first}")
        if last - first >= MOST:
            raise UserError(f"a gallery has {MOST} pictures at most, and {part.strip()} are more")
        seeds += range(first, last + 1)
    if not 1 <= len(seeds) <= MOST:
        raise UserError(f"a gallery has 1 to {MOST} pictures, and these are {len(seeds)}")
    return seeds


def draw_gallery(
    env_id: str, seeds: Sequence[int], out: Path, *, env_kwargs: Mapping[str, Any] | None = None, protocol: str | None = None,
    camera: str | None = None,
) -> list[str]:  # fmt: skip
    """Write the page, as PNG; returns a line about each start. Raises UserError.

    Args:
        seeds: of practice starts, as `aeb practice --seed` counts them; with a `protocol`, places in it from 0 on.
        camera: of all pictures; None: of each the one that sees most of what the task is about, and where the environment does not say
            what that is, or has one camera, its own view.
    """
    if out.suffix != ".png" or not out.parent.is_dir():
        raise UserError(f"cannot write {out}: give --out a file whose name ends in .png, in a folder that is there")
    env = make_env(env_id, dict(env_kwargs or {}))
    try:
        named = starts(env_id, protocol, max(seeds) + 1) if protocol is not None else None
        tiles, lines = [], []
        for seed in seeds:
            options = {"start": named[seed]} if named is not None else None
            _, info = env.reset(seed=seed, options=options)
            picture, seen_by = _picture(env, camera)
            start = info.get("start")
            where = (
                ", ".join(f"{k} {v}" for k, v in start.items() if k != "seed" and isinstance(v, int))
                if isinstance(start, dict)
                else ""
            )
            words = ", ".join(filter(None, (f"{protocol or 'seed'} {seed}", where, seen_by)))
            task = info.get("instruction", "")
            lines.append(short(f"{words}: {task}" if task else words))
            tiles.append(_tile(picture, words, task))
    except (ValueError, ResetFailed, CellFault) as error:
        raise UserError(f"{env_id} shows no start: {error}") from None
    finally:
        env.close()
    try:
        out.write_bytes(png(_page(tiles)))
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}; choose another file with --out") from None
    return lines


def _picture(env: gym.Env[Any, Any], camera: str | None) -> tuple[np.ndarray, str]:
    """A picture of now, and the camera's name."""
    body = contract_of(env).tools_body()
    if body is None or (camera is None and len(body.cameras) < 2):
        if camera is not None:
            raise UserError(f"this environment has no cameras to choose from; leave --camera {camera} out")
        return _own_view(env), ""
    if camera is not None and camera not in body.cameras:
        raise UserError(f"there is no camera {camera!r}; there are: {', '.join(body.cameras)}")
    chosen = camera or right_camera(body)
    return (_own_view(env), "") if chosen is None else (body.rgb(chosen, SIDE, SIDE), chosen)


def _own_view(env: gym.Env[Any, Any]) -> np.ndarray:
    view = env.render()
    assert isinstance(view, np.ndarray), "make_env asks for pictures"
    return view


def right_camera(body: Body, side: int = SIDE) -> str | None:
    """The camera that sees most of what the task is about, nothing before it and far from the picture's edge; None where nobody says what
    that is. One that moves with the hand is taken only where no other sees anything."""
    wanted = [
        np.asarray(at, float)
        for name, at in body.targets().items()
        if not name.startswith(_DISTRACTOR) and _is_point(at)
    ]
    if not wanted:
        return None
    views = {camera: sum(_seen(body, camera, at, side) for at in wanted) for camera in body.cameras}
    standing = {camera: value for camera, value in views.items() if not any(word in camera for word in _HAND)}
    best = standing if max(standing.values(), default=0.0) > 0 else views
    return max(best, key=lambda camera: best[camera])


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(isinstance(v, int | float) for v in value)


def _seen(body: Body, camera: str, point: np.ndarray, side: int) -> float:
    """How well a camera sees a point: its distance from the picture's edge as a share of its side, a quarter of it behind something, 0 outside."""
    pose, matrix = body.extrinsics(camera), body.intrinsics(camera, side, side)
    x, y, z = (point - pose[:3, 3]) @ pose[:3, :3]
    if z <= 0:
        return 0.0
    u, v = matrix[0, 0] * x / z + matrix[0, 2], matrix[1, 1] * y / z + matrix[1, 2]
    margin = min(u, v, side - 1 - u, side - 1 - v) / side
    if margin <= 0:
        return 0.0
    hidden = float(body.depth(camera, side, side)[int(v), int(u)]) < z - _HIDDEN_M
    return float(margin) * (0.25 if hidden else 1.0)


def _tile(picture: np.ndarray, *lines: str) -> np.ndarray:
    """A picture in a square, with lines of words below it."""
    scale = SIDE / max(picture.shape[:2])
    fitted = cv2.resize(
        picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    tile = np.full((SIDE + _LINE * len(lines) + 6, SIDE + 6, 3), 255, np.uint8)
    tile[: fitted.shape[0], : fitted.shape[1]] = fitted[:SIDE, :SIDE]
    for k, words in enumerate(lines):
        cv2.putText(
            tile,
            short(words, 52),
            (4, SIDE + 15 + _LINE * k),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.42,
            (0, 0, 0),
            1,
            cv2.LINE_AA,
        )
    return tile


def _page(tiles: Sequence[np.ndarray]) -> np.ndarray:
    columns = min(COLUMNS, len(tiles))
    blank = np.full_like(tiles[0], 255)
    padded = [*tiles, *[blank] * (-len(tiles) % columns)]
    rows = [np.concatenate(padded[k : k + columns], axis=1) for k in range(0, len(padded), columns)]
    return np.concatenate(rows, axis=0)
