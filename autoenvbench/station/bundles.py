"""Bundles: the commit and checkpoints an agent wants to see run, as the station keeps them.

The agent sends a tar of `commit.bundle` (a Git bundle) and `checkpoints/...`. The station unpacks the objects into a
repository of its own, where Git verifies every hash, and checks the commit out from there: what runs is what the
hash says, whatever happens in the workspace meanwhile, and no configuration of the agent's is ever read.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from autoenvbench.errors import UserError

MAX_BUNDLE = 600 << 20  # bytes on the wire: commit, history and checkpoints
MAX_CHECKPOINTS = 512 << 20
MAX_FILES = 20_000
MAX_TREE = 512 << 20  # bytes of a commit, unpacked
MAX_STORE = 40 << 30  # bytes that all bundles of a run may take
_SHA = re.compile(r"[0-9a-f]{40}")
_GIT_ENV = {"PATH": "/usr/bin:/bin:/usr/local/bin", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0", "HOME": "/nonexistent", "LANG": "C.UTF-8"}  # fmt: skip


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
        sha.update(str(file.relative_to(folder)).encode() + b"\0")
        with file.open("rb") as data:
            sha.update(hashlib.file_digest(data, "sha256").digest())
    return sha.hexdigest()


class BundleStore:
    """Takes bundles in and hands out read-only checkouts, under one folder that only the station writes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._repo = root / "objects.git"
        self._received = sum(p.stat().st_size for p in root.rglob("*") if p.is_file()) if root.exists() else 0
        if not self._repo.exists():
            root.mkdir(parents=True, exist_ok=True)
            self._git("init", "--quiet", "--bare", str(self._repo), repo=False)

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
        if not _SHA.fullmatch(commit):
            raise UserError(f"{commit[:60]!r} is not a full commit hash")
        if self._received > MAX_STORE:
            raise UserError(f"this run's commits and checkpoints take over {MAX_STORE >> 30} GB; no more are taken in")
        self._received += archive.stat().st_size
        with tempfile.TemporaryDirectory(dir=self._root) as scratch:
            unpacked = Path(scratch) / "unpacked"
            _unpack(archive, unpacked)
            if not (unpacked / "commit.bundle").is_file():
                raise UserError("the upload holds no commit.bundle")
            self._git("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", str(unpacked / "commit.bundle"),
                      f"+HEAD:refs/received/{commit}")  # fmt: skip
            if self._git("rev-parse", f"refs/received/{commit}").strip() != commit:
                raise UserError(f"the upload's HEAD is not {commit}")
            return self.admit(commit, unpacked / "checkpoints")

    def admit(self, commit: str, checkpoints: Path) -> Bundle:
        """Make a checkout of a commit that the repository already holds."""
        digest = bundle_digest(commit, checkpoints)
        if (known := self.get(digest)) is not None:
            return known
        self._measure(commit)
        subject = self._git("log", "-1", "--format=%s", commit).strip()[:200]
        with tempfile.TemporaryDirectory(dir=self._root) as scratch:
            made = Path(scratch) / "bundle"
            (made / "tree").mkdir(parents=True)
            tree = Path(scratch) / "tree.tar"
            self._git("archive", "--format=tar", "-o", str(tree), commit)
            _unpack(tree, made / "tree")
            if checkpoints.is_dir():
                shutil.rmtree(made / "tree" / "checkpoints", ignore_errors=True)
                shutil.copytree(checkpoints, made / "tree" / "checkpoints")
            (made / "commit").write_text(f"{commit}\n{subject}")
            content = bundle_digest(self._git("rev-parse", f"{commit}^{{tree}}").strip(), checkpoints)
            (made / "content").write_text(content)
            os.rename(made, self._root / digest)  # all or nothing
        bundle = self.get(digest)
        assert bundle is not None
        return bundle

    def _measure(self, commit: str) -> None:
        """Refuse a commit too large to unpack, before it fills the disk: zeros pack a thousandfold."""
        rows = self._git("ls-tree", "-r", "-l", "--full-tree", commit).splitlines()
        size = sum(int(words[3]) for row in rows if (words := row.split(maxsplit=4))[3].isdigit())
        if len(rows) > MAX_FILES or size > MAX_TREE:
            raise UserError(
                f"the commit holds {len(rows)} files of {size >> 20} MB; at most {MAX_FILES} files of {MAX_TREE >> 20} MB "
                "can be run: put weights into checkpoints/, and data nowhere"
            )

    def _git(self, *args: str, repo: bool = True) -> str:
        where = ["--git-dir", str(self._repo)] if repo else []
        hardened = ["-c", "fetch.fsckObjects=true", "-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0"]
        done = subprocess.run(
            ["git", *where, *hardened, *args], capture_output=True, text=True, env=_GIT_ENV, timeout=300
        )
        if done.returncode != 0:
            raise UserError(f"git {args[0]} refused the upload: {done.stderr.strip()[:300]}")
        return done.stdout


def _unpack(archive: Path, into: Path) -> None:
    """Extract regular files and folders only, within bounds."""
    into.mkdir(exist_ok=True)
    total = 0
    try:
        with tarfile.open(archive) as tar:
            for count, member in enumerate(tar):
                total += member.size
                if count >= MAX_FILES or total > MAX_BUNDLE + MAX_CHECKPOINTS:
                    raise UserError(
                        f"a bundle may hold {MAX_FILES} files and {MAX_CHECKPOINTS >> 20} MB of checkpoints"
                    )
                if member.isfile() or member.isdir():
                    tar.extract(member, into, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise UserError(f"cannot unpack the upload: {error}") from None
