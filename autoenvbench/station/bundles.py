"""Bundles: the commit and checkpoints an agent wants to see run, as the station keeps them.

The agent sends a tar of `commit.bundle` (a Git bundle) and `checkpoints/...`. The station unpacks the objects into a
repository of its own, where Git verifies every hash, and checks the commit out from there: what runs is what the
hash says, whatever happens in the workspace meanwhile, and no configuration of the agent's is ever read.

All that reads what an agent sent is a process of its own under limits of memory, time and disk: `unpack.py`, and Git.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoenvbench.errors import UserError
from autoenvbench.record.regimes import BundleContents
from autoenvbench.station import bundle_contents, unpack

MAX_BUNDLE = 600 << 20  # bytes on the wire: commit, history and checkpoints
MAX_CHECKPOINTS = 512 << 20
MAX_FILES = 20_000
MAX_TREE = 512 << 20  # bytes of a commit, unpacked
MAX_STORE = 40 << 30  # bytes of disk that all bundles of a run may take
_WALL_S = 300.0  # of each process that reads an upload
_GIT_MEMORY, _GIT_CPU_S, _GIT_FILE = (
    1 << 30,
    120,
    1 << 30,
)  # bytes of address space, seconds, bytes of a file that it writes
_MAX_LISTING = 16 << 20  # bytes of Git's list of a commit's files
_MAX_SAID = 1 << 16  # bytes that are read of what Git says otherwise
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
        sha.update(os.fsencode(file.relative_to(folder)) + b"\0")
        with file.open("rb") as data:
            sha.update(hashlib.file_digest(data, "sha256").digest())
    return sha.hexdigest()


class BundleStore:
    """Takes bundles in and hands out read-only checkouts, under one folder that only the station writes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._repo = root / "objects.git"
        if not self._repo.exists():
            root.mkdir(parents=True, exist_ok=True)
            self._git("init", "--quiet", "--bare", str(self._repo), repo=False)
            # Files are what the tree says: no commit message is written into them, none is left out.
            (self._repo / "info").mkdir(exist_ok=True)
            (self._repo / "info/attributes").write_text("* -export-subst -export-ignore\n")
        self._packed = on_disk(self._repo)
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
        if not _SHA.fullmatch(commit):
            raise UserError(f"{commit[:60]!r} is not a full commit hash")
        if self.used > MAX_STORE:
            raise UserError(f"this run's commits and checkpoints take over {MAX_STORE >> 30} GB; no more are taken in")
        with tempfile.TemporaryDirectory(dir=self._root) as scratch:
            unpacked = Path(scratch) / "unpacked"
            _unpack(archive, unpacked, MAX_BUNDLE + MAX_CHECKPOINTS)
            if not (unpacked / "commit.bundle").is_file():
                raise UserError("the upload holds no commit.bundle")
            try:
                self._git("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", str(unpacked / "commit.bundle"),
                          f"+HEAD:refs/received/{commit}")  # fmt: skip
            finally:
                self._packed = on_disk(self._repo)  # what was refused may lie there, too
            if self._git("rev-parse", f"refs/received/{commit}").strip() != commit:
                raise UserError(f"the upload's HEAD is not {commit}")
            return self.admit(commit, unpacked / "checkpoints")

    def admit(self, commit: str, checkpoints: Path) -> Bundle:
        """Make a checkout of a commit that the repository already holds."""
        digest = bundle_digest(commit, checkpoints)
        if (known := self.get(digest)) is not None:
            return known
        self._measure(commit)
        subject = " ".join(self._git("log", "-1", "--format=%s", commit).split())[:200]
        with tempfile.TemporaryDirectory(dir=self._root) as scratch:
            made = Path(scratch) / "bundle"
            (made / "tree").mkdir(parents=True)
            tree = Path(scratch) / "tree.tar"
            self._git("archive", "--format=tar", "-o", str(tree), commit)
            _unpack(tree, made / "tree", MAX_TREE)
            if checkpoints.is_dir():
                own = made / "tree" / "checkpoints"
                if own.is_file():
                    own.unlink()
                shutil.rmtree(own, ignore_errors=True)
                shutil.copytree(checkpoints, own)
            (made / "commit").write_text(f"{commit}\n{subject}")
            content = bundle_digest(self._git("rev-parse", f"{commit}^{{tree}}").strip(), checkpoints)
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
        rows = self._git(*listing, said=_MAX_LISTING).split("\0")[:-1]
        size = sum(int(words[3]) for row in rows if (words := row.split(maxsplit=4))[3].isdigit())
        if len(rows) > MAX_FILES or size > MAX_TREE:
            raise UserError(
                f"the commit holds {len(rows)} files and folders of {size >> 20} MB; at most {MAX_FILES} of {MAX_TREE >> 20} MB "
                "can be run: put weights into checkpoints/, and data nowhere"
            )

    def _git(self, *args: str, repo: bool = True, said: int = _MAX_SAID) -> str:
        where = ["--git-dir", str(self._repo)] if repo else []
        hardened = ["-c", "fetch.fsckObjects=true", "-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0", "-c", "fetch.unpackLimit=1",
                    "-c", "core.bigFileThreshold=16m", "-c", "pack.threads=1", "-c", "core.packedGitWindowSize=32m",
                    "-c", "core.packedGitLimit=256m", "-c", "core.deltaBaseCacheLimit=64m"]  # fmt: skip
        file = said if said > _MAX_SAID else _GIT_FILE
        bounds = f'ulimit -v {_GIT_MEMORY >> 10} && ulimit -t {_GIT_CPU_S} && ulimit -f {file >> 9} && ulimit -c 0 && exec "$@"'
        code, out, error = _run(["/bin/sh", "-c", bounds, "sh", "git", *where, *hardened, *args], said)
        if code != 0:
            why = _killed(code) if code < 0 else error.strip()[:300]
            raise UserError(f"git {args[0]} refused the upload: {why}")
        return out


def look_through(bundle: Bundle) -> BundleContents:
    """What a bundle holds that could be weights, found by a process of its own. Raises UserError where it could not be looked through."""
    line = [sys.executable, "-I", "-S", str(Path(bundle_contents.__file__).resolve()), str(bundle.path)]
    code, said, error = _run(line, _MAX_SAID)
    if code != 0:
        why = _killed(code) if code < 0 else error.strip()[-300:]
        raise UserError(f"cannot look through the commit and its checkpoints: {why}")
    return BundleContents.model_validate_json(said)


def on_disk(folder: Path) -> int:
    """Bytes that a folder's files take there."""
    return sum(p.lstat().st_blocks * 512 for p in folder.rglob("*"))


def _unpack(archive: Path, into: Path, max_bytes: int) -> None:
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
    code, _, error = _run(line, _MAX_SAID)
    if code != 0:
        raise UserError(f"cannot unpack the upload: {_killed(code) if code < 0 else error.strip()[-300:]}")


def _run(line: Sequence[str], said: int) -> tuple[int, str, str]:
    """Exit code (negative: the signal) and the first bytes of both outputs, which go to disk and not into memory. Raises UserError."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=out, stderr=error, env=_GIT_ENV, start_new_session=True
        )
        try:
            code = process.wait(_WALL_S)
        except subprocess.TimeoutExpired:
            raise UserError(f"the upload is not unpacked after {_WALL_S:.0f} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # Git's helpers, too
            process.wait()
        out.seek(0)
        error.seek(0)
        return code, out.read(said).decode(errors="replace"), error.read(_MAX_SAID).decode(errors="replace")


def _killed(code: int) -> str:
    limits = {
        signal.SIGXCPU: "it takes too much time",
        signal.SIGXFSZ: "it is too large",
        signal.SIGKILL: "it takes too much time",
    }
    return limits.get(signal.Signals(-code), f"it ended by signal {-code}")
