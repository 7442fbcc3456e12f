"""Writing station files: examples to start from, and calibrations into existing ones."""

from __future__ import annotations

import datetime
import os
import re
from pathlib import Path

import cv2
import yaml

from enpire_real.bringup.calibrate import HandEye
from enpire_real.perception.board import BOARD, board_image
from enpire_real.station_file import StationError, load_station
from enpire_real.tasks import find_task, known_tasks

_HERE = Path(__file__).parents[1]
_PX_PER_MM = 12  # of printed patterns


def examples() -> dict[str, Path]:
    """Station files to begin with, by the name that `autoenvbench station init --like` has for them."""
    general = {"yam-pair": _HERE / "yam_pair.yaml", "twin": _HERE / "twin.yaml"}
    return general | {name: path for task in known_tasks() for name, path in find_task(task).examples.items()}


def init(path: Path, example: str) -> None:
    """Write an example station file. Never over an existing one. Raises StationError."""
    if example not in (known := examples()):
        raise StationError(f"there is no example {example!r}; --like takes one of: {', '.join(known)}")
    if path.exists():
        raise StationError(f"{path} exists already; name a new file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(known[example].read_text())
    except OSError as error:
        raise StationError(f"cannot write {path}: {error.strerror}") from None


def write_camera(path: Path, camera: str, found: HandEye, *, with_lens: bool = False) -> Path:
    """Put a measured camera pose (and lens) into a station file, comments kept; the file as it was stays beside it.

    Returns the copy's path. Raises StationError, with the file untouched, if it could not be read back.
    """
    text = path.read_text()
    position = ", ".join(f"{v:.5f}" for v in found.camera.position)
    quat = ", ".join(f"{v:.6f}" for v in found.camera.quat())
    today = datetime.date.today().isoformat()
    note = f"{today}, {found.samples} samples, {found.residual_px:.2f} px"
    values = {"position_m": f"[{position}]", "quat_wxyz": f"[{quat}]", "calibrated": f'"{note}"'}
    if with_lens:
        (fx, _, cx), (_, fy, cy), _ = found.lens.matrix
        bent = ", ".join(f"{v:.5f}" for v in found.lens.distortion)
        values["intrinsics"] = (
            f"{{fx_px: {fx:.2f}, fy_px: {fy:.2f}, cx_px: {cx:.2f}, cy_px: {cy:.2f}, distortion: [{bent}]}}"
        )
    replaced = _set(text, camera, values)
    backup = path.with_suffix(f".before-{datetime.datetime.now():%Y%m%d-%H%M%S}.yaml")
    part = path.with_suffix(".part")
    part.write_text(replaced)
    try:
        load_station(part)
    except StationError:
        part.unlink()
        raise
    backup.write_text(text)
    os.replace(part, path)
    return backup


def _set(text: str, camera: str, values: dict[str, str]) -> str:
    """Replace keys of one camera's block, or add them to it."""
    lines = text.splitlines()
    node = yaml.compose(text)
    cameras = _child(node, "cameras")
    block = _child(cameras, camera)
    if not isinstance(block, yaml.MappingNode) or block.flow_style:
        raise StationError(f"the file has no block for camera {camera!r} that could be written to")
    start = block.value[0][0].start_mark  # its first key: an anchor may stand before that
    indent, first = " " * start.column, start.line
    last = block.value[-1][1].end_mark.line + 1
    for key, value in values.items():
        pattern = re.compile(rf"^\s*{key}:.*$")
        for k in range(first, last):
            if pattern.match(lines[k]) and len(lines[k]) - len(lines[k].lstrip()) == len(indent):
                lines[k] = f"{indent}{key}: {value}"
                break
        else:
            lines.insert(first, f"{indent}{key}: {value}")
            last += 1
    return "\n".join(lines) + "\n"


def _child(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def print_patterns(folder: Path) -> list[Path]:
    """Write what a station needs printed, as images at 12 px/mm: the calibration board, and what its tasks need.

    Returns the paths. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    side = round(BOARD.side_m * 1000)
    board = cv2.copyMakeBorder(board_image(side * _PX_PER_MM), 60, 60, 60, 60, cv2.BORDER_CONSTANT, value=255)
    patterns = {f"board_{side}mm.png": board}
    for task in known_tasks():
        if (make := find_task(task).patterns) is not None:
            patterns |= make()
    for name, image in patterns.items():
        cv2.imwrite(str(folder / name), image)
    return [folder / name for name in patterns]
