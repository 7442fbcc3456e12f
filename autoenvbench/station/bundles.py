"""Bundles: the commit and checkpoints an agent wants to see run, as the station keeps them.

The agent sends a tar of `commit.bundle` (a Git bundle) and `checkpoints/...`. The station unpacks the objects into a
repository of its own, where Git verifies every hash, and checks the commit out from there: what runs is what the
hash says, whatever happens in the workspace meanwhile, and no configuration of the agent's is ever read.

All that reads what an agent sent is a process of its own under limits of memory, time and disk: `unpack.py`, and Git (`objects`).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autoenvbench.errors import UserError
from autoenvbench.station import bundle_contents, unpack
from autoenvbench.station.objects import SAID, Objects, killed, run

if TYPE_CHECKING:
    from autoenvbench.record.contents import BundleContents

MAX_BUNDLE = 600 << 20  # bytes on the wire: commit, history and checkpoints
MAX_CHECKPOINTS = 512 << 20
MAX_FILES = 20_000
MAX_TREE = 512 << 20  # bytes of a commit, unpacked
MAX_STORE = 40 << 30  # bytes of disk that all bundles of a run may take
_MAX_LISTING = 16 << 20  # bytes of Git's list of a commit's files


@dataclass(frozen=True, slots=True)
class Bundle:
    """A runnable checkout. `digest` covers the commit and every checkpoint's content; `content` the tree in place of the commit:
    commits of equal files and weights are one candidate."""

    commit: str
    digest: str
    subject: str
    path: Path
    content: str = ""


def bundle_digest(commit: str, checkpoints: Path) -> str:
    """SHA-256 of the hash of a commit (or tree) and of each checkpoint file's name and content, in order."""
    return _digest(commit, checkpoints, checkpoints.rglob("*") if checkpoints.is_dir() else ())


def policy_digest(folder: Path) -> str:
    """SHA-256 of the files of a policy that is in no repository; what Python compiled of them aside."""
    return _digest("", folder, (p for p in folder.rglob("*") if "__pycache__" not in p.parts))


def _digest(first: str, folder: Path, paths: Iterable[Path]) -> str:
    sha = hashlib.sha256(first.encode())
    for file in sorted(p for p in paths if p.is_file() and not p.is_symlink()):
        sha.update(os.fsencode(file.relative_to(folder)) + b"\0")
        with file.open("rb") as data:
            sha.update(hashlib.file_digest(data, "sha256").digest())
    return sha.hexdigest()


class BundleStore:
    """Takes bundles in and hands out read-only checkouts, under one folder that only the station writes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.objects = Objects(root / "objects.git")
        self._packed = on_disk(self.objects.path)
        self._made = on_disk(root) - self._packed

    def get(self, digest: str) -> Bundle | None:
        """The bundle with this digest, if it was taken in before."""
        path = self._root / digest
        if not re.fullmatch(r"[0-9a-f]{64}", digest) or not (path / "commit").is_file():
            return None
        commit, subject = (path / "commit").read_text().split("\n", 1)
        content = (path / "content").read_text() if (path / "content").is_file() else ""
        return Bundle(commit, digest, subject, path / "tree", content)

    def receive(self, archive: Path, commit: str) -> Bundle:
        """Take in a tar as described above. Raises UserError if it is not what it should be."""
        if self.used > MAX_STORE:
            raise UserError(f"this run's commits and checkpoints take over {MAX_STORE >> 30} GB; no more are taken in")
        with tempfile.TemporaryDirectory(dir=self._root) as scratch:
            unpacked = Path(scratch) / "unpacked"
            unpack_archive(archive, unpacked, MAX_BUNDLE + MAX_CHECKPOINTS)
            if not (unpacked / "commit.bundle").is_file():
                raise UserError("the upload holds no commit.bundle")
            try:
                self.objects.take_in(unpacked / "commit.bundle", commit)
            finally:
                self._packed = on_disk(self.objects.path)  # what was refused may lie there, too
            return self.admit(commit, unpacked / "checkpoints")

    def admit(self, commit: str, checkpoints: Path) -> Bundle:
        """Make a checkout of a commit that the repository already holds."""
        digest = bundle_digest(commit, checkpoints)
        if (known := self.get(digest)) is not None:
            return known
        self._measure(commit)
        subject = " ".join(self.objects.git("log", "-1", "--format=%s", commit).split())[:200]
        with tempfile.TemporaryDirectory(dir=self._root) as scratch:
            made = Path(scratch) / "bundle"
            (made / "tree").mkdir(parents=True)
            tree = Path(scratch) / "tree.tar"
            self.objects.git("archive", "--format=tar", "-o", str(tree), commit)
            unpack_archive(tree, made / "tree", MAX_TREE)
            if checkpoints.is_dir():
                own = made / "tree" / "checkpoints"
                if own.is_file():
                    own.unlink()
                shutil.rmtree(own, ignore_errors=True)
                shutil.copytree(checkpoints, own)
            (made / "commit").write_text(f"{commit}\n{subject}")
            content = bundle_digest(self.objects.git("rev-parse", f"{commit}^{{tree}}").strip(), checkpoints)
            (made / "content").write_text(content)
            self._made += on_disk(made)
            os.rename(made, self._root / digest)  # all or nothing
        bundle = self.get(digest)
        assert bundle is not None
        return bundle

    @property
    def used(self) -> int:
        """What lies on disk [bytes], not what was sent: zeros pack a thousandfold."""
        return self._packed + self._made

    def _measure(self, commit: str) -> None:
        """Refuse a commit too large to unpack, before it fills the disk. Folders count, too: they need no files to be many."""
        listing = ("ls-tree", "-r", "-t", "-l", "-z", "--full-tree", commit)
        rows = self.objects.git(*listing, said=_MAX_LISTING).split("\0")[:-1]
        size = sum(int(words[3]) for row in rows if (words := row.split(maxsplit=4))[3].isdigit())
        if len(rows) > MAX_FILES or size > MAX_TREE:
            raise UserError(
                f"the commit holds {len(rows)} files and folders of {size >> 20} MB; at most {MAX_FILES} of {MAX_TREE >> 20} MB "
                "can be run: put weights into checkpoints/, and data nowhere"
            )


def look_through(bundle: Bundle) -> BundleContents:
    """What a bundle holds that could be weights, found by a process of its own. Raises UserError where it could not be looked through."""
    from autoenvbench.record.contents import BundleContents

    line = [sys.executable, "-I", "-S", str(Path(bundle_contents.__file__).resolve()), str(bundle.path)]
    code, said, error = run(line, SAID)
    if code != 0:
        why = killed(code) if code < 0 else error.strip()[-300:]
        raise UserError(f"cannot look through the commit and its checkpoints: {why}")
    return BundleContents.model_validate_json(said)


def on_disk(folder: Path) -> int:
    """Bytes that a folder's files take there."""
    return sum(p.lstat().st_blocks * 512 for p in folder.rglob("*"))


def unpack_archive(archive: Path, into: Path, max_bytes: int) -> None:
    """Extract regular files and folders only, within bounds, by a process of its own. Raises UserError."""
    into.mkdir(exist_ok=True)
    line = [
        sys.executable,
        "-I",
        "-S",
        str(Path(unpack.__file__).resolve()),
        str(archive),
        str(into),
        str(MAX_FILES),
        str(max_bytes),
    ]
    code, _, error = run(line, SAID)
    if code != 0:
        raise UserError(f"cannot unpack the upload: {killed(code) if code < 0 else error.strip()[-300:]}")
