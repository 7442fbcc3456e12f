"""Taking another member's idea over: its commit is joined with HEAD in a scratch clone, and only a whole result reaches the workspace.

What another member wrote may be hostile. It is fetched with Git's checks on and hooks off, nothing of it is run, and files that steer an
agent or its tools (briefs, dot files) stay the adopter's own. What is left is code for its adopter to read before running it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from autoenvbench.errors import UserError
from autoenvbench.station.bundles import (
    MAX_BUNDLE,
    MAX_CHECKPOINTS,
    MAX_FILES,
    bundle_digest,
    unpack_archive,
)
from autoenvbench.station.client import StationClient
from autoenvbench.station.provenance import TRAILER
from autoenvbench.text import short
from autoenvbench.workspace.bundling import git

CHECKPOINTS = "checkpoints"
_TAR = 2048 * MAX_FILES  # bytes of headers, beside what the files hold
#: What an agent reads by itself, wherever it lies, as its instructions.
_BRIEFS = {
    "agents.md",
    "agents.override.md",
    "claude.md",
    "claude.local.md",
    "gemini.md",
    "kimi.md",
    "task.md",
    "team.md",
    "tools.md",
    "task.json",
}
#: Git obeys no hook, monitor, driver or remote helper while somebody else's objects are at hand.
_SAFE = ["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "fetch.fsckObjects=true", "-c", "gc.auto=0",
         "-c", "submodule.recurse=false", "-c", "protocol.allow=never", "-c", "protocol.file.allow=always", "-c", "core.symlinks=false",
         "-c", "init.templateDir=", "-c", "commit.gpgSign=false", "-c", "merge.autoStash=false"]  # fmt: skip
_OWN_CONFIG = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class Adopted:
    """An idea that was taken over.

    Attributes:
        agent, commit: whose, and which of its commits.
        head: the workspace's HEAD, which has it now.
        files: that it changed; `left_out`: that it would have changed, if files that steer agents and their tools were taken.
        checkpoints: whether its checkpoints lie in checkpoints/ now.
    """

    idea: str
    agent: str
    commit: str
    head: str
    files: list[str]
    left_out: list[str]
    checkpoints: bool


def adopt(
    client: StationClient, workspace: Path, idea: str, *, pick: bool = False, theirs: bool = False, checkpoints: bool = False
) -> Adopted:  # fmt: skip
    """Take an idea's commit over into HEAD. Raises UserError, and leaves the workspace as it was, where that cannot be done.

    Args:
        pick: the change that its last commit makes, and not all that led to it.
        theirs: where both changed the same lines, take the other's.
        checkpoints: its checkpoints as well, where it has any.
    """
    own = git(workspace, "rev-parse", "HEAD")
    if git(workspace, "status", "--porcelain", "--untracked-files=no"):
        raise UserError(
            "there are uncommitted changes here. Type: git commit -am 'what you tried' (or git stash), then adopt again"
        )
    source = client.post(f"/adopt/{quote(idea, safe='')}", {})
    commit, agent = str(source["commit"]), str(source["agent"])
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise UserError(f"the station named no commit of {idea}")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        weights = (
            _fetch_checkpoints(client, workspace, source, scratch) if checkpoints and source["checkpoints"] else None
        )
        client.download(f"/commits/{commit}", scratch / "commit.bundle", MAX_BUNDLE)
        clone = _Clone.of(workspace, own, scratch)
        clone.take(scratch / "commit.bundle", commit)
        if clone.asks("merge-base", "--is-ancestor", commit, own):
            head, files, left_out = own, list[str](), list[str]()
        else:
            clone.join(idea, commit, pick=pick, theirs=theirs)
            left_out = clone.leave_out_what_steers(own)
            files = clone.changed(own)
            words = f"Adopt {idea} of {agent}: {short(str(source['title']), 120)}\n\n{TRAILER}: {idea} {commit} by {agent}\n"
            head = clone.commit(words)
            _safe(
                workspace,
                "fetch",
                "--quiet",
                "--no-tags",
                "--no-write-fetch-head",
                "--no-recurse-submodules",
                str(clone.path),
                "HEAD",
            )
            _safe(workspace, "merge", "--quiet", "--ff-only", head)
        if weights is not None:
            shutil.rmtree(workspace / CHECKPOINTS, ignore_errors=True)
            shutil.copytree(weights, workspace / CHECKPOINTS)
    return Adopted(idea, agent, commit, head, files, left_out, weights is not None)


class _Clone:
    """A clone that shares the workspace's objects and nothing else, in which two histories are joined."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, workspace: Path, head: str, scratch: Path) -> _Clone:
        clone = cls(scratch / "clone")
        _safe(scratch, "clone", "--quiet", "--shared", "--no-checkout", "--no-tags", str(workspace), str(clone.path))
        for key in ("user.name", "user.email"):
            clone._git("config", key, git(workspace, "config", key))
        clone._git("checkout", "--quiet", "--detach", head)
        return clone

    def take(self, packed: Path, commit: str) -> None:
        """Fetch a commit, and see that it is the one."""
        self._git("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", str(packed),
                  f"+refs/received/{commit}:refs/adopted")  # fmt: skip
        if self._git("rev-parse", "refs/adopted^{commit}") != commit:
            raise UserError(f"what the station sent is not {commit[:12]}")

    def join(self, idea: str, commit: str, *, pick: bool, theirs: bool) -> None:
        """Bring a commit into the index and the files. Raises UserError where both sides changed the same lines."""
        favour = ["-X", "theirs"] if theirs else []
        if pick:
            parents = self._git("rev-list", "--parents", "-n", "1", commit).split()[1:]
            verb = ["cherry-pick", "--no-commit", *favour, *(["-m", "1"] if len(parents) > 1 else []), commit]
        else:
            verb = ["merge", "--quiet", "--no-commit", "--no-ff", "--allow-unrelated-histories", *favour, commit]
        done = _run(self.path, *verb)
        if done.returncode == 0:
            return
        names = self._git("diff", "--name-only", "--diff-filter=U", "-z").split("\0")
        if not any(names):
            raise UserError(f"git {verb[0]}: {done.stderr.strip()[:300]}")
        listed = ", ".join(short(name, 80) for name in names[:5] if name)
        others = [f"aeb adopt {idea} {flag}{why}" for flag, why, used in (
            ("--theirs", " (its lines where both changed the same)", theirs), ("--pick", " (its last commit's change alone)", pick)) if not used]  # fmt: skip
        raise UserError(
            f"{idea} and HEAD both changed {listed}; your workspace is as it was. Type: {', or '.join([*others, f'aeb show {idea}'])}"
            " and write what you want of it yourself"
        )

    def leave_out_what_steers(self, own: str) -> list[str]:
        """Take back changes of files that steer an agent or its tools; which ones they were."""
        steering = [name for name in self.changed(own) if steers(name)]
        for k in range(0, len(steering), 500):
            self._git("reset", "--quiet", own, "--", *(f":(literal){name}" for name in steering[k : k + 500]))
        return steering

    def changed(self, own: str) -> list[str]:
        return [
            name for name in self._git("diff", "--cached", "--no-renames", "--name-only", "-z", own).split("\0") if name
        ]

    def commit(self, words: str) -> str:
        """Commit what is in the index; returns the commit."""
        self._git("commit", "--quiet", "--no-verify", "--allow-empty", "-m", words)
        return self._git("rev-parse", "HEAD")

    def asks(self, *args: str) -> bool:
        """Whether Git says yes."""
        return _run(self.path, *args).returncode == 0

    def _git(self, *args: str) -> str:
        return _safe(self.path, *args)


def steers(path: str) -> bool:
    """Whether a file tells an agent, or a tool that it uses, what to do without being run: briefs and settings."""
    parts = PurePosixPath(path).parts
    return any(part.startswith(".") for part in parts) or parts[-1].casefold() in _BRIEFS


def _fetch_checkpoints(client: StationClient, workspace: Path, source: Mapping[str, Any], scratch: Path) -> Path:
    """The other's checkpoints in a scratch folder, known by their digest. Raises UserError, also where they would replace one's own."""
    mine = workspace / CHECKPOINTS
    if mine.is_symlink() or (mine.exists() and any(mine.iterdir())):
        raise UserError(
            f"{CHECKPOINTS}/ holds files of yours; move them away first: mv {CHECKPOINTS} {CHECKPOINTS}.mine"
        )
    client.download(f"/bundles/{source['digest']}/checkpoints", scratch / "checkpoints.tar", MAX_CHECKPOINTS + _TAR)
    unpack_archive(scratch / "checkpoints.tar", scratch / "unpacked", MAX_CHECKPOINTS)
    found = scratch / "unpacked" / CHECKPOINTS
    if bundle_digest(str(source["commit"]), found) != source["digest"]:
        raise UserError("the checkpoints that the station sent are not those that were tested")
    return found


def _safe(folder: Path, *args: str) -> str:
    done = _run(folder, *args)
    if done.returncode != 0:
        raise UserError(f"git {args[0]}: {done.stderr.strip()[:300]}")
    return done.stdout.strip("\n")


def _run(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["git", "-C", str(folder), *_SAFE, *args], capture_output=True, text=True, errors="replace",
                              env={**os.environ, **_OWN_CONFIG}, stdin=subprocess.DEVNULL, timeout=300)  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UserError(f"git {args[0]} took over 300 s; what was sent is too large to be taken over") from None
