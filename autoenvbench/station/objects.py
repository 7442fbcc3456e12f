"""The station's Git repository: what members sent, and all that Git is asked about it.

What an agent sent is read by processes under limits of memory, time and disk. No configuration, hook or attribute of an agent's is
ever obeyed: Git here knows this bare repository, its own arguments and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from autoenvbench.errors import UserError

WALL_S = 300.0  # of each process that reads an upload
SAID = 1 << 16  # bytes that are read of what a process says, unless more is asked for
_MEMORY, _CPU_S, _FILE = 1 << 30, 120, 1 << 30  # bytes of address space, seconds, bytes of a file that it writes
MAX_HISTORY = 20_000  # commits behind one
_SHA = re.compile(r"[0-9a-f]{40}")
_MEMBER = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?")
_ENV = {"PATH": "/usr/bin:/bin:/usr/local/bin", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0", "GIT_NO_REPLACE_OBJECTS": "1", "HOME": "/nonexistent", "LANG": "C.UTF-8"}  # fmt: skip
_HARDENED = ["-c", "fetch.fsckObjects=true", "-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0", "-c", "fetch.unpackLimit=1",
             "-c", "core.bigFileThreshold=16m", "-c", "pack.threads=1", "-c", "core.packedGitWindowSize=32m",
             "-c", "core.packedGitLimit=256m", "-c", "core.deltaBaseCacheLimit=64m", "-c", "core.quotePath=true",
             "-c", "core.commitGraph=false"]  # fmt: skip


class Objects:
    """A bare repository that only the station writes; made where there is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _check(*_run_git(["init", "--quiet", "--bare", str(path)]), "init")
            # Files are what the tree says: no commit message is written into them, none is left out.
            (path / "info").mkdir(exist_ok=True)
            (path / "info/attributes").write_text("* -export-subst -export-ignore\n")

    def take_in(self, packed: Path, commit: str) -> None:
        """The objects of a Git bundle whose HEAD is this commit. Raises UserError, and names nothing, where it is another one.

        They are looked at under a name of this upload's own: the name of a commit that somebody else sent is never at stake.
        """
        if not _SHA.fullmatch(commit):
            raise UserError(f"{commit[:60]!r} is not a full commit hash")
        incoming = f"refs/incoming/{secrets.token_hex(16)}"
        try:
            self.git("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", str(packed), f"+HEAD:{incoming}")
            if self.git("rev-parse", incoming, f"{incoming}^{{commit}}").split() != [commit, commit]:
                raise UserError(f"the upload's HEAD is not {commit}")
            behind = int(self.git("rev-list", "--count", f"--max-count={MAX_HISTORY + 1}", commit))
            if behind > MAX_HISTORY:
                raise UserError(
                    f"there are over {MAX_HISTORY} commits behind this one; join them: git reset --soft, then git commit"
                )
            self.git("update-ref", f"refs/received/{commit}", commit)
        finally:
            _run_git(["--git-dir", str(self.path), *_HARDENED, "update-ref", "-d", incoming])

    def move(self, member: str, commit: str) -> None:
        """Let a member's branch, which nobody else moves, stand at a commit that it sent."""
        if _MEMBER.fullmatch(member):
            self.git("update-ref", f"refs/members/{member}", commit)

    def pack(self, commit: str, into: Path) -> None:
        """A commit with its history as a Git bundle, whose HEAD it is. Raises UserError."""
        name = f"refs/received/{commit}"
        if self.git("rev-parse", "--verify", "--quiet", name).strip() != commit:
            raise UserError(f"{commit[:12]} is not what its name says; nothing is handed out")
        self.git("bundle", "create", "--quiet", str(into), name)

    def git(
        self, *args: str, said: int = SAID, cpu_s: int = _CPU_S, wall_s: float = WALL_S, stdin: str = "", cut: bool = False
    ) -> str:  # fmt: skip
        """What Git prints, of at most so many bytes. Raises UserError where it fails or is ended by its limits.

        Args:
            said: bytes; with `cut`, what comes after them is left out and no error.
            cpu_s, wall_s: seconds of CPU time and of wall-clock.
        """
        line = ["--git-dir", str(self.path), *_HARDENED, *args]
        code, out, error = _run_git(line, said=said, cpu_s=cpu_s, wall_s=wall_s, stdin=stdin, cut=cut)
        return out if cut and code == -signal.SIGXFSZ else _check(code, out, error, args[0])

    def patch_ids(self, commits: Sequence[str], *, cpu_s: int, wall_s: float) -> dict[str, str]:
        """A hash of each commit's changes, whatever their line numbers and the commit's message, by commit; merges and commits without
        changes have none. Raises UserError."""
        git = ["git", "--git-dir", str(self.path), *_HARDENED]
        show = [*git, "diff-tree", "--stdin", "-p", "--no-ext-diff", "--no-textconv", "--no-renames", "--no-color"]
        # The pipe ends by what its first part ended by; without bash's pipefail that takes two more descriptors.
        pipe = f"exec 3>&1; code=$({{ {{ {_quoted(show)}; echo $? >&4; }} | {_quoted([*git, 'patch-id', '--stable'])} >&3; }} 4>&1)"
        line = ["/bin/sh", "-c", f"{_bounds(_FILE, cpu_s)} && {{ {pipe}; exit $code; }}"]
        code, out, error = run(line, said=1 << 20, wall_s=wall_s, stdin="".join(f"{c}\n" for c in commits))
        _check(128 - code if code > 128 else code, out, error, "diff-tree")
        rows = [line.split() for line in out.splitlines()]
        return {commit: patch for patch, commit in (row for row in rows if len(row) == 2)}


def _run_git(
    args: Sequence[str], *, said: int = SAID, cpu_s: int = _CPU_S, wall_s: float = WALL_S, stdin: str = "", cut: bool = False
) -> tuple[int, str, str]:  # fmt: skip
    file = said if said > SAID or cut else _FILE
    return run(
        ["/bin/sh", "-c", f'{_bounds(file, cpu_s)} && exec "$@"', "sh", "git", *args], said, wall_s=wall_s, stdin=stdin
    )


def _bounds(file: int, cpu_s: int) -> str:
    return f"ulimit -v {_MEMORY >> 10} && ulimit -t {cpu_s} && ulimit -f {file >> 9} && ulimit -c 0"


def _quoted(line: Sequence[str]) -> str:
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in line)


def _check(code: int, out: str, error: str, verb: str) -> str:
    if code != 0:
        why = killed(code) if code < 0 else error.strip()[:300]
        raise UserError(f"git {verb} refused it: {why}")
    return out


def run(line: Sequence[str], said: int, *, wall_s: float = WALL_S, stdin: str = "") -> tuple[int, str, str]:
    """Exit code (negative: the signal) and the first bytes of both outputs, which go to disk and not into memory. Raises UserError."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        given.write(stdin.encode())
        given.seek(0)
        process = subprocess.Popen(line, stdin=given, stdout=out, stderr=error, env=_ENV, start_new_session=True)
        try:
            code = process.wait(wall_s)
        except subprocess.TimeoutExpired:
            raise UserError(f"the upload is not read after {wall_s:.0f} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # Git's helpers, too
            process.wait()
        out.seek(0)
        error.seek(0)
        return code, out.read(said).decode(errors="replace"), error.read(SAID).decode(errors="replace")


def killed(code: int) -> str:
    """Why a process that ended by a signal did."""
    limits = {
        signal.SIGXCPU: "it takes too much time",
        signal.SIGXFSZ: "it is too large",
        signal.SIGKILL: "it takes too much time",
    }
    return limits.get(signal.Signals(-code), f"it ended by signal {-code}")
