"""Copies of a run's folder that travel between machines: packed while the run goes on, checked by digest where they arrive.

A copy is whole as of the moment in which its ledger was read: what the ledger names was on the disk before, and is packed after.
The folder holds what agents wrote: of that a bounded part travels (see `baggage`), and no link that leads out of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import sqlite3
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from autoenvbench.errors import UserError
from autoenvbench.record.ledger import Ledger
from autoenvbench.study.baggage import LEDGER, LEFT, choose


@dataclass(frozen=True, slots=True)
class Copy:
    """A run's folder.

    Attributes:
        name: of the folder.
        content: a tar archive, and `sha256` its digest.
        ledger_sha256: digest of the ledger in it, as it was where it was made.
        left: what of the folder is not in it, in words.
    """

    name: str
    content: bytes
    sha256: str
    ledger_sha256: str
    left: tuple[str, ...] = ()


def pack(run_dir: Path) -> Copy:
    """Copy a run's folder, also while the run is under way. Raises UserError for a ledger that cannot be read, OSError."""
    with tempfile.TemporaryDirectory(prefix="aeb-copy-") as scratch:
        snapshot = Path(scratch) / LEDGER
        with contextlib.closing(sqlite3.connect(run_dir / LEDGER, timeout=30.0)) as source, contextlib.closing(sqlite3.connect(snapshot)) as target:  # fmt: skip
            source.backup(target)
        ledger = Ledger(snapshot)
        digest = ledger.digest()
        ledger.close()
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.add(snapshot, LEDGER)
            paths, left = choose(run_dir)
            for path in sorted(paths, key=_last_objects):
                with contextlib.suppress(
                    FileNotFoundError, PermissionError
                ):  # agents delete files while we look, and lock them
                    _add(tar, path, run_dir)
            if left := _with_earlier(run_dir, left):
                (listed := Path(scratch) / LEFT).write_text("".join(f"{line}\n" for line in left))
                tar.add(listed, LEFT)
    content = buffer.getvalue()
    return Copy(run_dir.name, content, hashlib.sha256(content).hexdigest(), digest, tuple(left))


def unpack(copy: Copy, folder: Path) -> Path:
    """Put a copy below `folder`, in place of an earlier one of the same run; returns its folder there.

    Raises:
        UserError: what arrived is not what was sent. What was there before stays.
    """
    if hashlib.sha256(copy.content).hexdigest() != copy.sha256:
        raise UserError(f"the copy of {copy.name} was changed on its way")
    folder.mkdir(parents=True, exist_ok=True)
    part, old, run_dir = (folder / f"{prefix}{copy.name}" for prefix in (".part-", ".old-", ""))
    for left in (part, old):
        shutil.rmtree(left, ignore_errors=True)
    part.mkdir()
    with tarfile.open(fileobj=io.BytesIO(copy.content)) as tar:
        tar.extractall(part, filter=_harmless)
    ledger = Ledger(part / LEDGER)
    digest = ledger.digest()
    ledger.close()
    if digest != copy.ledger_sha256:
        shutil.rmtree(part)
        raise UserError(f"the copy of {copy.name} arrived with another ledger than it left with: SHA-256 {digest} is not {copy.ledger_sha256}")  # fmt: skip
    if run_dir.exists():
        run_dir.rename(old)
    part.rename(run_dir)
    shutil.rmtree(old, ignore_errors=True)
    return run_dir


def _with_earlier(run_dir: Path, left: list[str]) -> list[str]:
    """With what an earlier copy, from which this run went on, did not bring."""
    file = run_dir / LEFT
    return list(dict.fromkeys([*(file.read_text().splitlines() if file.is_file() else ()), *left]))


def _last_objects(path: Path) -> tuple[bool, str]:
    """What Git's references name was written before them: they are read first, and the objects after."""
    return "objects" in path.parts, str(path)


def _add(tar: tarfile.TarFile, path: Path, run_dir: Path) -> None:
    name = str(path.relative_to(run_dir))
    if path.is_symlink():
        target = Path(os.readlink(path))
        if (
            target.is_absolute()
        ):  # of a workspace without a cage, to its data: it must lead there on the other machine, too
            if not target.is_relative_to(run_dir.resolve()):
                return
            target = Path(os.path.relpath(target, path.parent.resolve()))
        info = tarfile.TarInfo(name)
        info.type, info.linkname = tarfile.SYMTYPE, str(target)
        tar.addfile(info)
    elif path.is_dir():
        tar.add(path, name, recursive=False)
    elif path.is_file():
        info = tar.gettarinfo(path, name)
        info.type, info.linkname = tarfile.REGTYPE, ""  # no hard links: both names travel whole
        with path.open("rb") as file:
            content = file.read(info.size)  # it may have grown since it was chosen
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))


def _harmless(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
    try:
        return tarfile.data_filter(member, path)
    except tarfile.FilterError:
        return None
