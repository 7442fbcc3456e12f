"""Clips of real scenes with a person's word on what they show, and a stand-in for the station that plays one to the verifier.

A folder of clips:

    labels.csv           clip,success,margin_mm,perturbation    a line a clip, with this heading
    CLIP/CAMERA-000.png  frames of each camera that the verifier looks through, in the order in which they were taken
    CLIP/readings.json   what else it goes by (joints), where it does; `autoenvbench verifier label` writes it

`success` is yes or no, by measure and not by the verifier; `margin_mm` how far that is from turning (positive for a success), empty where nobody
measured; `perturbation` what disturbs the view, `none` where nothing does.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from enpire_real.cameras import Camera, Frame, Lens
from enpire_real.clock import Clock
from enpire_real.station_file import StationFile

HEADING = ["clip", "success", "margin_mm", "perturbation"]
MOST_CLIPS, MOST_FRAMES = 100_000, 100
_STEP_S = 1 / 30


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames (height, width, 3) uint8 RGB by camera, oldest first, and what else the verifier goes by."""

    frames: dict[str, list[np.ndarray]]
    readings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Label:
    """A line of labels.csv."""

    clip: str
    success: bool
    margin_mm: float | None
    perturbation: str


class BadClips(ValueError):
    """A folder that holds no clips as they must be; says where and what to write instead."""


# -- the folder --------------------------------------------------------------------------------------------------------------
def read_labels(folder: Path) -> tuple[list[Label], str]:
    """The labels of a folder, and their SHA-256 with that of every file that they name. Raises BadClips."""
    file = folder / "labels.csv"
    try:
        text = file.read_text()
        rows = list(csv.reader(text.splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadClips(f"cannot read {file}: {error}; `autoenvbench verifier label` makes such a folder") from None
    if not rows or rows[0] != HEADING:
        raise BadClips(f"{file}: the first line must be {','.join(HEADING)}")
    if not 1 < len(rows) <= MOST_CLIPS:
        raise BadClips(f"{file} lists {len(rows) - 1} clips; 1 to {MOST_CLIPS} can be audited")
    labels = [parse_label(row, f"{file}, line {k}") for k, row in enumerate(rows[1:], 2)]
    if len({label.clip for label in labels}) < len(labels):
        raise BadClips(f"{file} lists a clip twice; each counts once")
    sha = hashlib.sha256(text.encode())
    for label in labels:
        for path in sorted((folder / label.clip).glob("*")):
            sha.update(f"{label.clip}/{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return labels, sha.hexdigest()


def parse_label(row: list[str], where: str) -> Label:
    """A line of labels.csv, its values in the order of `HEADING`. Raises BadClips."""
    if len(row) != len(HEADING):
        raise BadClips(f"{where}: {len(row)} values, expected {','.join(HEADING)}")
    clip, success, margin, perturbation = (value.strip() for value in row)
    if not clip or Path(clip).name != clip or clip.startswith("."):
        raise BadClips(f"{where}: {clip!r} is no folder beside labels.csv")
    if success not in ("yes", "no"):
        raise BadClips(f"{where}: success is {success!r}; write yes or no")
    try:
        off = float(margin) if margin else None
    except ValueError:
        off = math.nan
    if off is not None and (not math.isfinite(off) or (off and (off > 0) != (success == "yes"))):
        raise BadClips(
            f"{where}: margin_mm is {margin!r}; a success has a positive one, a failure a negative one, or leave it empty"
        )
    return Label(clip, success == "yes", off, perturbation or "none")


def read_clip(folder: Path) -> Clip:
    """One clip. Raises BadClips."""
    frames: dict[str, list[np.ndarray]] = {}
    for path in sorted(folder.glob("*-[0-9][0-9][0-9].png")):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise BadClips(f"{path} is no picture")
        frames.setdefault(path.stem[:-4], []).append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    if not frames:
        raise BadClips(f"{folder} holds no frames; they are called CAMERA-000.png, CAMERA-001.png, ...")
    try:
        file = folder / "readings.json"
        readings = json.loads(file.read_text()) if file.exists() else {}
    except (OSError, ValueError) as error:
        raise BadClips(f"cannot read {folder / 'readings.json'}: {error}") from None
    if not isinstance(readings, dict):
        raise BadClips(f"{folder / 'readings.json'} must hold an object")
    return Clip(frames, readings)


def write_clip(folder: Path, clip: Clip, label: Label) -> None:
    """Add a clip and its label to a folder, which is made where there is none. Raises OSError."""
    (folder / label.clip).mkdir(parents=True)
    for camera, images in clip.frames.items():
        for k, image in enumerate(images[:MOST_FRAMES]):
            path = folder / label.clip / f"{camera}-{k:03}.png"
            if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
                raise OSError(f"cannot write {path}")
    if clip.readings:
        (folder / label.clip / "readings.json").write_text(json.dumps(clip.readings, indent=1))
    file = folder / "labels.csv"
    if not file.exists():
        file.write_text(",".join(HEADING) + "\n")
    margin = "" if label.margin_mm is None else f"{label.margin_mm:g}"
    with file.open("a") as out:  # last: a clip without its pictures is never listed
        csv.writer(out).writerow([label.clip, "yes" if label.success else "no", margin, label.perturbation])


# -- playing one --------------------------------------------------------------------------------------------------------------
class _Clock:
    """Time that a verifier waits for, in which frames go by."""

    virtual = True

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        """Seconds since the clip began."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Let frames go by."""
        self._now += max(seconds, 0.0)


class _ClipCamera:
    """A camera that shows a clip's frames, one after the other as time passes, and again from the first one."""

    def __init__(self, name: str, images: list[np.ndarray], clock: _Clock) -> None:
        self.name, self._images, self._clock = name, images, clock

    def stamp(self) -> float:
        """Now: a clip's camera is never late."""
        return self._clock.now()

    def latest(self) -> Frame:
        """The frame of now."""
        k = int(self._clock.now() / _STEP_S) % len(self._images)
        return Frame(self._images[k], self._clock.now())


class ClipStation:
    """As much of a station as perception asks for, with a clip in place of cameras. Raises BadClips for frames that are not the station's."""

    def __init__(self, file: StationFile, clip: Clip, cameras: tuple[str, ...]) -> None:
        self.file, self.clock = file, _Clock()
        self.cameras: dict[str, _ClipCamera] = {}
        for name in cameras:
            if name not in clip.frames:
                raise BadClips(f"the clip has no frames of camera {name}, which the verifier looks through")
            config = file.cameras[name]
            for image in clip.frames[name]:
                if image.shape != (config.height_px, config.width_px, 3):
                    raise BadClips(
                        f"a frame of camera {name} is {image.shape[1]} x {image.shape[0]}; the station file says {config.width_px} x {config.height_px}"
                    )
            self.cameras[name] = _ClipCamera(name, clip.frames[name], self.clock)

    def lens(self, camera: str) -> Lens:
        """The intrinsics by the station file."""
        return Lens.of(self.file.cameras[camera])


def record_frames(cameras: dict[str, Camera], clock: Clock, n: int) -> dict[str, list[np.ndarray]]:
    """`n` frames of each camera by name, some time apart. Raises CameraLost."""
    frames: dict[str, list[np.ndarray]] = {name: [] for name in cameras}
    for _ in range(n):
        clock.sleep(0.07)
        for name, camera in cameras.items():
            frames[name].append(camera.latest().image.copy())
    return frames
