"""A slot for the newest picture of each robot, in the run's folder: its cell fills it while somebody looks on, a page for people reads it.

No cage has this folder, and a run that withholds pictures from its agents takes a cage, so what is here is people's alone.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path

FOLDER, WANTED = "live", "wanted"  # below the run's folder
LOOKS_ON_S = 3.0  # for so long after somebody asked
MOST = 1 << 20  # bytes of a picture
_JPEG = b"\xff\xd8\xff"


def slot(run_dir: Path, robot: str) -> Path | None:
    """Where the picture of a robot is, by its name in the ledger; None for a name that is none of a file."""
    plain = robot not in ("", ".", "..") and Path(robot).name == robot and "\0" not in robot and len(robot) <= 100
    return run_dir / FOLDER / f"{robot}.jpg" if plain else None


def ask(run_dir: Path) -> None:
    """Somebody looks on for the next `LOOKS_ON_S`. Where the folder cannot be written, there are no pictures."""
    with contextlib.suppress(OSError):
        (run_dir / FOLDER).mkdir(mode=0o700, exist_ok=True)
        file = os.open(run_dir / FOLDER / WANTED, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        try:
            os.utime(file)
        finally:
            os.close(file)


def wanted(run_dir: Path) -> bool:
    """Whether somebody looks on."""
    try:
        asked = os.lstat(run_dir / FOLDER / WANTED).st_mtime
    except OSError:
        return False
    return abs(time.time() - asked) < LOOKS_ON_S


def put(run_dir: Path, robot: str, jpeg: bytes) -> None:
    """Make this the newest picture of a robot. Raises OSError."""
    path = slot(run_dir, robot)
    if path is None or len(jpeg) > MOST:
        return
    scratch = path.with_suffix(".new")
    scratch.unlink(missing_ok=True)
    file = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(file, "wb") as out:
        out.write(jpeg)
    scratch.replace(path)


def taken(run_dir: Path, robot: str) -> float | None:
    """When the newest picture of a robot was taken, Unix time [s]; None where there is none."""
    path = slot(run_dir, robot)
    try:
        return None if path is None else os.lstat(path).st_mtime
    except OSError:
        return None


def newest(run_dir: Path, robot: str) -> bytes | None:
    """The newest picture of a robot as JPEG. A run's folder may be another's: only a small plain file that begins like one is read."""
    path = slot(run_dir, robot)
    if path is None:
        return None
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(file, "rb") as source:
            plain = stat.S_ISREG(os.fstat(file).st_mode)
            data = source.read(MOST + 1) if plain else b""
    except OSError:
        return None
    return data if data.startswith(_JPEG) and len(data) <= MOST else None
