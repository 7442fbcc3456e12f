"""`autoenvbench verdict`: how an episode of a run was set up and judged, in words and pictures, by its ledger and its file alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from enpire_envs.episode_file import EncodedImages, Episode, EpisodeError

from autoenvbench.errors import UserError
from autoenvbench.record.events import EpisodeEvent
from autoenvbench.record.ledger import read_events
from autoenvbench.study.replay import file_of, find_episode

_PREFIX = "evidence."
_HEIGHT, _CAPTION, _WIDTH = 240, 24, 1400  # of each picture, of the words below it, and of the sheet at most [px]


@dataclass(slots=True)
class Verdict:
    """How an episode was judged.

    Attributes:
        event: what the ledger says.
        asked: what people were asked to do in the run before it ended.
        said: the last numbers of `info` that its file tells.
        pictures: what its file shows, in their order: words, (height, width, 3) uint8.
    """

    event: EpisodeEvent
    asked: list[str] = field(default_factory=list)
    said: dict[str, float] = field(default_factory=dict)
    pictures: list[tuple[str, np.ndarray]] = field(default_factory=list)


def verdict_of(run_dir: Path, name: str) -> Verdict:
    """What is on record of an episode that is called as its file is: EVALUATION-START, or EVALUATION-START.ATTEMPT. Raises UserError."""
    events = read_events(run_dir / "ledger.sqlite")
    event = find_episode(run_dir, events, name)
    found = Verdict(event.payload)
    found.asked = [e.payload.asked for e in events if e.kind == "intervention" and e.t_run <= event.t_run]
    file = file_of(run_dir, name, event)
    if file is None:
        return found
    for column, values in file.columns.items():
        if column.startswith("info.") and isinstance(values, np.ndarray) and len(values):
            found.said[column.removeprefix("info.")] = float(values[-1])
    try:
        found.pictures = _pictures(file)
    except EpisodeError as error:
        raise UserError(f"the pictures of {name} cannot be read: {error}") from None
    return found


def _pictures(file: Episode) -> list[tuple[str, np.ndarray]]:
    """The reset's steps, the policy's turn, the verdict, what the cameras saw then."""
    shown = {c.removeprefix(_PREFIX): v for c, v in file.columns.items() if c.startswith(_PREFIX) and isinstance(v, EncodedImages)}  # fmt: skip
    resets = [name for name in shown if name.startswith("reset_")]
    others = [name for name in shown if name not in (*resets, "frames", "verdict")]
    order = [*resets, *(name for name in ("frames", "verdict") if name in shown), *others]
    steps = list(file.meta.get("frames", []))
    found = []
    for name in order:
        for k in range(len(shown[name])):
            words = f"step {steps[k]}" if name == "frames" and k < len(steps) else name.replace("_", " ", 1)
            found.append((words, shown[name][k]))
    return found


def write_sheet(pictures: list[tuple[str, np.ndarray]], path: Path) -> None:
    """All pictures on one sheet, each with its words below it. Raises UserError."""
    rows: list[list[np.ndarray]] = [[]]
    for words, picture in pictures:
        width = min(round(picture.shape[1] * _HEIGHT / picture.shape[0]), _WIDTH)
        page = np.full((_HEIGHT + _CAPTION, width + 4, 3), 255, np.uint8)
        page[:_HEIGHT, :width] = cv2.resize(picture, (width, _HEIGHT), interpolation=cv2.INTER_AREA)
        cv2.putText(page, words[:60], (4, _HEIGHT + 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        if rows[-1] and sum(p.shape[1] for p in rows[-1]) + page.shape[1] > _WIDTH:
            rows.append([])
        rows[-1].append(page)
    sheet = np.full(
        (len(rows) * (_HEIGHT + _CAPTION), max(sum(p.shape[1] for p in row) for row in rows), 3), 255, np.uint8
    )
    for k, row in enumerate(rows):
        line = np.concatenate(row, axis=1)
        sheet[k * len(line) : (k + 1) * len(line), : line.shape[1]] = line
    try:
        written = cv2.imwrite(str(path), sheet[..., ::-1])
    except cv2.error:
        written = False
    if not written:
        raise UserError(
            f"cannot write {path}: give --out a file whose name ends in .png or .jpg, in a folder that is there"
        )
