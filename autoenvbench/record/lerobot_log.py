"""The robot time that a LeRobotDataset tells of, from its own files alone: `meta/info.json` and the `timestamp` of each frame in `data/`.

LeRobot counts `timestamp` from the begin of each episode, so a dataset says how long a robot worked and not how long it stood still
between two episodes: the wall-clock is for its owner to say. Where `timestamp` is Unix time instead, the dataset says that as well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from autoenvbench.errors import UserError
from autoenvbench.record.robot_log import Collected, RobotLog
from autoenvbench.text import short

MOST_FILES, MOST_EPISODES = 100_000, 1_000_000
_MAX_INFO = 16 << 20  # bytes
_UNIX = 1e9  # from this on, a timestamp is the time of a clock [s]


def is_lerobot(folder: Path) -> bool:
    """Whether the folder looks like a LeRobotDataset."""
    return (folder / "meta" / "info.json").is_file()


def of_lerobot(folder: Path, *, robots: int | None = None, wall_s: float | None = None) -> RobotLog:
    """The log of a LeRobotDataset (of version 2 or 3).

    Args:
        robots, wall_s: as of `robot_log.read_log`; without Unix times a wall-clock is needed, and episodes are laid end to end.

    Raises UserError for what cannot be read or counted.
    """
    fps, robot = _info(folder)
    episodes: dict[int, tuple[float, float]] = {}  # first and last time of each [s]
    for file, numbers, times in _frames(folder):
        edges = np.flatnonzero(np.diff(numbers)) + 1
        for own, its in zip(np.split(numbers, edges), np.split(times, edges), strict=True):
            number = int(own[0])
            first, last = episodes.get(number, (float(its[0]), -math.inf))
            if not np.isfinite(its).all():
                raise UserError(f"{file}: episode {number} has a timestamp that is no number")
            if its[0] < last or (np.diff(its) < 0).any():
                raise UserError(f"{file}: the timestamps of episode {number} go back in time; was a clock set back?")
            episodes[number] = (first, float(its[-1]))
        if len(episodes) > MOST_EPISODES:
            raise UserError(f"{folder} has more than {MOST_EPISODES:,} episodes; give a part of it")
    if not episodes:
        raise UserError(f"{folder} holds no frames: there is no data/**/*.parquet with any")
    told = {begin >= _UNIX for begin, _ in episodes.values()}
    if len(told) > 1:
        raise UserError(f"{folder}: some episodes have Unix times and others begin at 0; they are of two clocks")
    if not told.pop() and wall_s is None:
        raise UserError(
            f"the timestamps of {folder} begin anew with each episode, so it does not say how long the robot stood still between them; say "
            "how long it all took, like --wall 2h30m"
        )
    return _laid_out(folder, robot, fps, episodes).log(robots, wall_s)


def _laid_out(folder: Path, robot: str, fps: float, episodes: dict[int, tuple[float, float]]) -> Collected:
    """Episodes where their clock has them, or end to end from 0 on. The last frame of an episode lasts as long as the others."""
    collected, at = Collected(folder), 0.0
    for number, (first, last) in sorted(episodes.items()):
        seconds = last - first + 1 / fps
        begin = first if first >= _UNIX else at
        collected.busy(number, robot, begin, begin + seconds, "episode")
        at += seconds
    return collected


def _info(folder: Path) -> tuple[float, str]:
    """Frames a second, and what kind of robot it is."""
    path = folder / "meta" / "info.json"
    try:
        with path.open("rb") as file:
            info: Any = json.loads(file.read(_MAX_INFO))
    except (ValueError, RecursionError):
        info = None
    fps = info.get("fps") if isinstance(info, dict) else None
    if not isinstance(fps, int | float) or isinstance(fps, bool) or not 0 < fps < 1e6:
        raise UserError(f"{path} is no LeRobotDataset's: it has no `fps`, the frames a second")
    return float(fps), str(info.get("robot_type") or "robot")[:100]


def _frames(folder: Path) -> Iterator[tuple[Path, np.ndarray, np.ndarray]]:
    """Of each file, (n,) the episode of each frame and its timestamp [s]."""
    import pandas as pd

    for k, file in enumerate(sorted((folder / "data").rglob("*.parquet"))):
        if k >= MOST_FILES:
            raise UserError(f"{folder} has more than {MOST_FILES:,} files; give a part of it")
        try:
            table = pd.read_parquet(file, columns=["episode_index", "timestamp"], engine="pyarrow")
            numbers, times = table["episode_index"].to_numpy(np.int64), table["timestamp"].to_numpy(np.float64)
        except ImportError:
            raise UserError(
                "a LeRobotDataset is read with pyarrow, which is not installed; type: pip install 'autoenvbench[parquet]'"
            ) from None
        except (OSError, ValueError, KeyError, TypeError, NotImplementedError) as error:
            why = short(str(error) or type(error).__name__)
            raise UserError(f"{file} has no frames of a LeRobotDataset: {why}") from None
        if len(numbers):
            yield file, numbers, times
