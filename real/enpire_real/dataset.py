"""Recorded episodes as a LeRobotDataset (v3): run here, or in an interpreter of its own that has LeRobot.

Columns: `observation.state` (all arms' joints [rad] and grippers), `action` (the policy's), `action_source` (0 policy),
`next.reward`, `next.done`, `next.success`, and a video per camera, with the task's name as LeRobot's `task`.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

SOURCES = {"policy": 0, "human": 1}


class NoLeRobot(ImportError):
    """LeRobot is not installed in the interpreter that was asked for."""


def convert(folder: Path, out: Path, python: str | None = None) -> dict[str, Any]:
    """Make the dataset at `out` of the episodes in `folder`; returns how much there is.

    Raises FileNotFoundError without episodes, FileExistsError if `out` is there, NoLeRobot with what to do.
    """
    episodes = sorted((folder / "episodes").glob("*.npz"))
    if not episodes:
        raise FileNotFoundError(f"there are no recorded episodes in {folder}/episodes; record with record={folder}")
    if out.exists():
        raise FileExistsError(f"{out} exists already; name a new folder")
    if python is not None and Path(python).absolute() != Path(sys.executable).absolute():
        return _elsewhere(folder, out, python)
    if importlib.util.find_spec("lerobot") is None:
        raise NoLeRobot(
            "LeRobot is not installed here, and it wants an older torch than training does: make it an environment of its own "
            "(python -m venv lerobot_env && lerobot_env/bin/pip install 'autoenvbench[lerobot]'), then add "
            "--python lerobot_env/bin/python"
        )
    return _write(episodes, out)


def _elsewhere(folder: Path, out: Path, python: str) -> dict[str, Any]:
    # This file alone, by path: the other interpreter needs LeRobot and OpenCV, not us.
    done = subprocess.run(
        [python, str(Path(__file__)), str(folder.resolve()), str(out.resolve())], capture_output=True, text=True
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise NoLeRobot(f"{python} could not make the dataset: {last}")
    told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return told


def _write(episodes: list[Path], out: Path) -> dict[str, Any]:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    with np.load(episodes[0]) as first:
        header = json.loads(str(first["header"]))
        cameras = sorted(key.removeprefix("jpeg_ends_") for key in first.files if key.startswith("jpeg_ends_"))
        actions = first["action"].shape[1]
    width, height = header["image_size"]
    features: dict[str, Any] = {
        "observation.state": {
            "dtype": "float32",
            "shape": (len(header["state_names"]),),
            "names": header["state_names"],
        },
        "action": {"dtype": "float32", "shape": (actions,), "names": [f"action{k}" for k in range(actions)]},
        "action_source": {"dtype": "int64", "shape": (1,), "names": None},
        "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
        "next.done": {"dtype": "bool", "shape": (1,), "names": None},
        "next.success": {"dtype": "bool", "shape": (1,), "names": None},
    }
    for camera in cameras:
        features[f"observation.images.{camera}"] = {
            "dtype": "video", "shape": (height, width, 3), "names": ["height", "width", "channels"]
        }  # fmt: skip
    dataset = LeRobotDataset.create(
        repo_id=f"autoenvbench/{header['station']}", fps=round(header["fps"]), features=features, root=out,
        robot_type="enpire_station", use_videos=bool(cameras), vcodec="h264",
    )  # fmt: skip
    frames = 0
    for path in episodes:
        with np.load(path) as episode:
            frames += _add(dataset, episode, cameras)
        dataset.save_episode()
    dataset.finalize()
    return {"dataset": str(out), "episodes": len(episodes), "frames": frames, "cameras": cameras}


def _add(dataset: Any, episode: Any, cameras: list[str]) -> int:
    header = json.loads(str(episode["header"]))
    length = len(episode["action"])
    videos = {camera: np.split(episode[f"jpeg_{camera}"], episode[f"jpeg_ends_{camera}"][:-1]) for camera in cameras}
    for k in range(length):
        last = k == length - 1
        frame: dict[str, Any] = {
            "observation.state": episode["state"][k], "action": episode["action"][k],
            "action_source": np.array([SOURCES[str(episode["action_source"][k])]], dtype=np.int64),
            "next.reward": np.array([episode["reward"][k]], dtype=np.float32), "next.done": np.array([last]),
            "next.success": np.array([last and bool(header.get("success"))]), "task": header["task"],
        }  # fmt: skip
        for camera in cameras:
            image = cv2.imdecode(videos[camera][k], cv2.IMREAD_COLOR)
            frame[f"observation.images.{camera}"] = np.ascontiguousarray(np.asarray(image)[..., ::-1])
        dataset.add_frame(frame)
    return length


if __name__ == "__main__":
    made = _write(sorted((Path(sys.argv[1]) / "episodes").glob("*.npz")), Path(sys.argv[2]))
    print(json.dumps(made))
