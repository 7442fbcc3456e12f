"""From a workspace to a bundle the station takes: the committed HEAD and the checkpoints beside it."""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from autoenvbench.errors import UserError
from autoenvbench.record.regimes import NETWORK
from autoenvbench.station.bundles import MAX_CHECKPOINTS, bundle_digest
from autoenvbench.station.client import StationClient


@dataclass(frozen=True, slots=True)
class Head:
    """A commit that is ready to be run."""

    commit: str
    digest: str


def send_head(client: StationClient, workspace: Path, *, starter: bool = False, must_run: bool = True) -> Head:
    """Send the workspace's HEAD to the station unless it has it. Raises UserError on uncommitted changes, and where there is nothing to run.

    Args:
        starter: it is what a workspace begins with, and taken as it is.
        must_run: it is to be run; not where something else acts.
    """
    commit = git(workspace, "rev-parse", "HEAD")
    dirty = git(workspace, "status", "--porcelain", "--untracked-files=no")
    if dirty and not starter:
        files = ", ".join(line[3:] for line in dirty.splitlines()[:5])
        raise UserError(
            f"uncommitted changes in {files}: only commits are run. Type: git commit -am 'what you tried' (they are run), or git stash (HEAD is run as "
            "it is; git stash pop brings them back)"
        )
    runs = (
        "policy.py" in git(workspace, "ls-tree", "--name-only", "HEAD").splitlines() or (workspace / NETWORK).is_file()
    )
    if not runs and not starter and must_run:
        raise UserError(
            f"there is nothing to run: no policy.py at the commit's root (git add policy.py && git commit -m 'add policy'), and no {NETWORK}, "
            "which is the answer in a regime of weights"
        )
    checkpoints = workspace / "checkpoints"
    if checkpoints.is_dir():
        size = sum(p.stat().st_size for p in checkpoints.rglob("*") if p.is_file() and not p.is_symlink())
        if size > MAX_CHECKPOINTS:
            raise UserError(f"checkpoints/ holds {size >> 20} MB; at most {MAX_CHECKPOINTS >> 20} MB can be sent")
    digest = bundle_digest(commit, checkpoints)
    if client.get(f"/bundles/{digest}")["known"]:
        return Head(commit, digest)
    with tempfile.TemporaryDirectory() as scratch:
        packed = Path(scratch) / "commit.bundle"
        git(workspace, "bundle", "create", "--quiet", str(packed), "HEAD")
        upload = Path(scratch) / "upload.tar"
        with tarfile.open(upload, "w") as tar:
            tar.add(packed, "commit.bundle")
            if checkpoints.is_dir():
                tar.add(checkpoints, "checkpoints", filter=lambda m: m if m.isfile() or m.isdir() else None)
        answer = client.upload(f"/bundles?commit={commit}", upload)
    return Head(answer["commit"], answer["digest"])


def git(workspace: Path, *args: str) -> str:
    """Run git in the workspace and return what it printed. Raises UserError."""
    try:
        done = subprocess.run(["git", "-C", str(workspace), *args], capture_output=True, text=True, timeout=300)
    except FileNotFoundError:
        raise UserError("git is not installed; it is needed for workspaces (Debian, Ubuntu: apt install git)") from None
    if done.returncode != 0:
        raise UserError(f"git {' '.join(args[:2])}: {done.stderr.strip()[:300]}")
    return done.stdout.strip("\n")
