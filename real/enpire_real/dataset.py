"""Episodes as a LeRobotDataset (v3), and back: run here, or in an interpreter of its own that has LeRobot.

`to_lerobot` makes these features of an episode's columns (see `enpire_envs.episode_file`):

    observation            -> observation.state, and without images observation.environment_state, which LeRobot's policies ask for then
    observation.agent_pos  -> observation.state       as LeRobot itself calls it
    observation.KEY        -> observation.KEY, of images (height, width, 3) observation.images.KEY; pixels.KEY is KEY
    action                 -> action
    reward, terminated, truncated  ->  next.reward, next.terminated, next.truncated, with next.done and next.success beside them
    time, source, late, ...        ->  the same

A LeRobot episode has one row a step and no last observation. What has no place there (each episode's description, its last
observation, the evidence of its verdict, episodes without a step) lies beside it in `enpire/NAME.episode`: the same episode without
its steps. So `from_lerobot` gives back what was there: all numbers and descriptions bit for bit; images pixel for pixel where they
were kept as images, and about so where they were made a video.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from enpire_envs import episode_file
from enpire_envs.episode_file import (
    STEP_COLUMNS,
    Column,
    EncodedImages,
    Episode,
    EpisodeError,
    Source,
    encode_png,
    read_episode,
    write_episode,
)
from enpire_envs.episodes import Episodes

BESIDE = "enpire"  # the folder of what LeRobot has no place for
_NEXT = {"reward": "next.reward", "terminated": "next.terminated", "truncated": "next.truncated"}
_DERIVED = {"next.done", "next.success"}
STATE, ENVIRONMENT_STATE = "observation.state", "observation.environment_state"  # as LeRobot calls them
#: LeRobot's lists hold no larger integers, and its statistics fail on halves: the same bits, and the same numbers.
_INSTEAD: dict[np.dtype[Any], np.dtype[Any]] = {
    np.dtype(np.uint64): np.dtype(np.int64),
    np.dtype(np.float16): np.dtype(np.float32),
}
_COUNTERS = {"timestamp", "frame_index", "episode_index", "index", "task_index"}


class NoLeRobot(ImportError):
    """LeRobot is not installed in the interpreter that was asked for."""


def convert(source: Path, out: Path, python: str | None = None, *, video: bool = True) -> dict[str, Any]:
    """Make the LeRobotDataset at `out` of the episodes in `source`, or the episodes of a LeRobotDataset.

    Args:
        source: a folder of episodes, or one with `episodes/`, or a LeRobotDataset.
        python: an interpreter that has LeRobot; None for this one.
        video: images become videos, which loses a little; False: PNG, which loses nothing.

    Returns how much there is. Raises FileNotFoundError without episodes, FileExistsError if `out` is there, EpisodeError, NoLeRobot
    with what to do.
    """
    back = (source / "meta" / "info.json").is_file()
    if not back:
        source = source / "episodes" if (source / "episodes").is_dir() else source
        if not any(source.glob("*.episode")):
            raise FileNotFoundError(f"there are no recorded episodes in {source}; record with record={source}")
    if out.exists():
        raise FileExistsError(f"{out} exists already; name a new folder")
    if python is not None and Path(python).absolute() != Path(sys.executable).absolute():
        return _elsewhere(source, out, python, "from" if back else "to", video)
    if importlib.util.find_spec("lerobot") is None:
        raise NoLeRobot(
            "LeRobot is not installed here, and it wants an older torch than training does: make it an environment of its own "
            "(python -m venv lerobot_env && lerobot_env/bin/pip install 'autoenvbench[lerobot]'), then add "
            "--python lerobot_env/bin/python"
        )
    return from_lerobot(source, out) if back else to_lerobot(source, out, video=video)


#: Runs this file where our packages are not installed: two modules of the suite's folder, without the package's own start.
_ALONE = """
import runpy, sys
suite = type(sys)("enpire_envs")
suite.__path__ = [sys.argv[1]]
sys.modules["enpire_envs"] = suite
runpy.run_path(sys.argv[2], run_name="__main__")
"""


def _elsewhere(source: Path, out: Path, python: str, way: str, video: bool) -> dict[str, Any]:
    done = subprocess.run(
        [python, "-c", _ALONE, str(Path(episode_file.__file__).parent), __file__, way, str(source.resolve()), str(out.resolve()), str(int(video))],
        capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise NoLeRobot(f"{python} could not make {out}: {last}")
    made: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return made


# -- there -------------------------------------------------------------------------------------------------------------
def to_lerobot(source: Path, out: Path, *, video: bool = True) -> dict[str, Any]:
    """Make the LeRobotDataset at `out`; see `convert`. Raises EpisodeError where episodes do not go together."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    episodes = Episodes(source)
    with_steps = next((episode for episode in episodes if len(episode)), None)
    if with_steps is None:
        raise EpisodeError(f"{source}: no episode has a step; LeRobot has no place for empty ones")
    features = _features(with_steps, video)
    dataset = LeRobotDataset.create(
        repo_id=f"autoenvbench/{with_steps.meta.get('provenance', {}).get('station') or out.name}",
        fps=round(with_steps.meta.get("control_hz") or 30), features=copy.deepcopy(features), root=out, robot_type="enpire_station",
        use_videos=any(feature["dtype"] == "video" for feature in features.values()), vcodec="h264",
    )  # fmt: skip
    (out / BESIDE).mkdir()
    made = 0
    for path in episodes.paths:
        episode = read_episode(path, check=True)
        if _features(episode, video) != features:
            raise EpisodeError(
                f"{path} has other columns than {with_steps.path}: {_difference(_features(episode, video), features)}"
            )
        _write_beside(out / BESIDE / path.name, episode, made if len(episode) else None)
        if len(episode):
            for frame in _frames(episode, features):
                dataset.add_frame(frame)
            dataset.save_episode()
            made += 1
    dataset.finalize()
    cameras = [key.removeprefix("observation.images.") for key in features if key.startswith("observation.images.")]
    return {"dataset": str(out), "episodes": made, "frames": episodes.steps, "cameras": sorted(cameras)}


def feature_name(column: str, shape: tuple[int, ...], dtype: Any) -> str:
    """What LeRobot calls a column, given the shape and type of its rows."""
    if column in ("observation", "observation.agent_pos") and not _is_camera(shape, dtype):
        return STATE
    if column.startswith("observation") and _is_camera(shape, dtype):
        key = (
            column.removeprefix("observation").removeprefix(".").removeprefix("images.").removeprefix("pixels.")
            or "pixels"
        )
        return f"observation.images.{key}"
    return _NEXT.get(column, column)


def _is_camera(shape: tuple[int, ...], dtype: Any) -> bool:
    return dtype == np.uint8 and len(shape) == 3 and shape[2] == 3


def _kind(column: Column) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of a column's rows."""
    return (column.shape, np.dtype(np.uint8)) if isinstance(column, EncodedImages) else (column.shape[1:], column.dtype)


def _features(episode: Episode, video: bool) -> dict[str, Any]:
    features: dict[str, Any] = {}
    names = episode.meta.get("names", {})
    for column, shape, dtype in _told(episode):
        feature = feature_name(column, shape, dtype)
        if feature in features or feature in _COUNTERS | _DERIVED:
            raise EpisodeError(
                f"{episode.path}: {column} would be LeRobot's {feature}, which is taken: give it another name"
            )
        if _is_camera(shape, dtype):
            features[feature] = {
                "dtype": "video" if video else "image",
                "shape": shape,
                "names": ["height", "width", "channels"],
            }
        else:
            features[feature] = {
                "dtype": str(_INSTEAD.get(dtype, dtype)),
                "shape": (math.prod(shape),),
                "names": names.get(column),
            }
    if "observation" in episode.columns and STATE in features and not any("images" in key for key in features):
        features.setdefault(ENVIRONMENT_STATE, features[STATE])
    for derived in sorted(_DERIVED):
        features[derived] = {"dtype": "bool", "shape": (1,), "names": None}
    return features


def _told(episode: Episode) -> Iterator[tuple[str, tuple[int, ...], np.dtype[Any]]]:
    """The columns that LeRobot is told, with the kind of their rows; not those in which there is nothing."""
    for name, column in episode.columns.items():
        shape, dtype = _kind(column)
        if not name.startswith("evidence.") and 0 not in shape:
            yield name, shape, dtype


def _frames(episode: Episode, features: dict[str, Any]) -> Iterator[dict[str, Any]]:
    import PIL.Image

    task = str(episode.meta.get("task") or episode.meta.get("env") or "")
    for k in range(len(episode)):
        last = k == len(episode) - 1
        frame: dict[str, Any] = {
            "next.done": np.array([last]), "next.success": np.array([last and episode.success]), "task": task
        }  # fmt: skip
        for name, shape, dtype in _told(episode):
            feature, row = feature_name(name, shape, dtype), episode.columns[name][k]
            if _is_camera(shape, dtype):
                frame[feature] = PIL.Image.fromarray(row)
            else:
                numbers = np.asarray(row).reshape(features[feature]["shape"])
                kept = _INSTEAD.get(dtype, dtype)
                frame[feature] = numbers.astype(kept)
        if ENVIRONMENT_STATE in features:
            frame.setdefault(ENVIRONMENT_STATE, frame[STATE])
        yield frame


def _write_beside(path: Path, episode: Episode, index: int | None) -> None:
    rest = {
        name: column if name.startswith("evidence.") else _rows(column, len(episode))
        for name, column in episode.columns.items()
    }
    write_episode(path, {**episode.meta, "lerobot_episode": index}, rest)


def _rows(column: Column, first: int) -> Column:
    """A column from a row on."""
    if isinstance(column, np.ndarray):
        return column[first:]
    kept = EncodedImages.of([column.encoded(k) for k in range(first, len(column))])
    return EncodedImages(kept.data, kept.ends, column.codec, column.shape)


def _difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    keys = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
    return "; ".join(f"{key}: {one.get(key)} and {other.get(key)}" for key in keys)


# -- and back ----------------------------------------------------------------------------------------------------------
def from_lerobot(source: Path, out: Path) -> dict[str, Any]:
    """Write the episodes of a LeRobotDataset into the folder `out`: those that `to_lerobot` was given, or of anybody's.

    What a stranger's dataset lacks is said in the description: its last observation is the one before it (`last_observation`:
    "repeated"), and who chose the actions is unknown. It was a success if its `next.success` ever says so.
    """
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset(f"autoenvbench/{source.name}", root=source, video_backend="pyav")
    table = dataset.hf_dataset.data.table
    beside = {path.name: read_episode(path) for path in sorted((source / BESIDE).glob("*.episode"))}
    known = {episode.meta.get("lerobot_episode"): name for name, episode in beside.items()}
    out.mkdir(parents=True)
    steps = 0
    for index, row in enumerate(dataset.meta.episodes):
        begin, end = row["dataset_from_index"], row["dataset_to_index"]
        steps += end - begin
        part = {
            key: _values(dataset, table, key, begin, end) for key in dataset.features if key not in _COUNTERS | _DERIVED
        }
        if index in known:
            rest = beside.pop(known[index])
            columns = {name: _joined(name, column, part, end - begin) for name, column in rest.columns.items()}
            write_episode(out / known[index], _without_index(rest.meta), columns)
        else:
            ends, won = (
                _values(dataset, table, key, begin, end) if key in dataset.features else None
                for key in ("next.done", "next.success")
            )
            write_episode(out / f"{index:06d}.episode", *_strangers(dataset, part, end - begin, row, ends, won))
    for name, episode in beside.items():  # those without a step
        write_episode(out / name, _without_index(episode.meta), episode.columns)
    return {"episodes": len(list(out.iterdir())), "frames": steps, "folder": str(out)}


def _values(dataset: Any, table: Any, key: str, begin: int, end: int) -> Any:
    """The rows of a feature: an array, or image files; None for texts."""
    feature = dataset.features[key]
    if feature["dtype"] == "video":
        frames = (dataset[k][key].numpy() for k in range(begin, end))
        return [encode_png(np.ascontiguousarray((f.transpose(1, 2, 0) * 255).round().astype(np.uint8))) for f in frames]
    column = table.column(key).slice(begin, end - begin).combine_chunks()
    if feature["dtype"] == "image":
        return [bytes(image["bytes"]) for image in column.to_pylist()]
    if feature["dtype"] == "string":
        return None
    while hasattr(column, "storage") or column.type.num_fields:
        column = column.storage if hasattr(column, "storage") else column.flatten()
    return np.array(column.to_numpy(zero_copy_only=False), feature["dtype"]).reshape(end - begin, *feature["shape"])


def _without_index(meta: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in meta.items() if key != "lerobot_episode"}


def _joined(name: str, rest: Column, part: dict[str, Any], steps: int) -> Column:
    """A column as it was: its steps from LeRobot, and the rest from beside it."""
    shape, dtype = _kind(rest)
    found = part.get(feature_name(name, shape, dtype))
    if name.startswith("evidence."):
        return rest
    if found is None:  # there is nothing in its rows
        return np.zeros((steps + len(rest), *shape), dtype)
    if isinstance(rest, EncodedImages):
        if isinstance(found, np.ndarray):  # grey
            found = [encode_png(image) for image in found.reshape(-1, *shape)]
        return EncodedImages.of([*found, *(encode_png(image) for image in rest)], name)
    if isinstance(found, list):
        found = np.stack(list(EncodedImages.of(found, name)))
    return np.concatenate([found.reshape(-1, *shape).astype(dtype), rest])


def _strangers(
    dataset: Any, part: dict[str, Any], steps: int, row: dict[str, Any], done: np.ndarray | None, won: np.ndarray | None
) -> tuple[dict[str, Any], dict[str, Column]]:
    meta = {
        "control_hz": dataset.fps, "task": "; ".join(row["tasks"]), "last_observation": "repeated",
        "names": {key: feature["names"] for key, feature in dataset.features.items() if key in part and feature.get("names")},
        "provenance": {"collector": f"LeRobotDataset {dataset.repo_id}", "robot": dataset.meta.robot_type},
        **({} if won is None else {"verdict": {"success": bool(won.any())}}),
    }  # fmt: skip
    columns: dict[str, Column] = {
        "reward": np.zeros(steps), "terminated": np.zeros(steps, bool) if done is None else done.reshape(-1),
        "truncated": np.zeros(steps, bool), "time": np.arange(steps) / dataset.fps,
        "source": np.full(steps, Source.UNKNOWN, np.uint8), "late": np.zeros(steps, bool),
    }  # fmt: skip
    ours = {feature: name for name, feature in _NEXT.items()}
    for key, values in part.items():
        name = ours.get(key, key)
        if values is None:
            continue
        if isinstance(values, list):
            columns[name] = EncodedImages.of([*values, values[-1]], name)
        elif name.startswith("observation"):
            columns[name] = np.concatenate([values, values[-1:]])
        else:
            columns[name] = values.reshape(-1) if name in STEP_COLUMNS and name != "action" else values
    return meta, columns


if __name__ == "__main__":
    way, given, wanted, as_video = sys.argv[-4:]
    report = (
        from_lerobot(Path(given), Path(wanted))
        if way == "from"
        else to_lerobot(Path(given), Path(wanted), video=as_video == "1")
    )
    print(json.dumps(report))
