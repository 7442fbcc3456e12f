"""What a run's folder has of its ideas beside the ledger: what was changed for each, and pictures of it at work.

The folder may be another's. Git reads its objects only, through an empty repository of ours: no configuration of the run's is read,
nothing is fetched, and no filter or driver runs. All is bounded in size, count and time.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from autoenvbench.evolution.tree import Idea, IdeaTree
from autoenvbench.text import html_text

_TOTAL_DIFF = 40_000  # characters of all diffs of a page, as the page writes them
_MOST_DIFF, _MOST_DIFFS = 6_000, 200  # characters of one; how many
_ALL_S = 60.0  # for all of them
_GIT_S, _GIT_MEMORY, _GIT_OUTPUT = 10.0, 1 << 30, 1 << 20
_SHA = re.compile(r"[0-9a-f]{40}")
_STRIPS, _STRIP_FRAMES, _STRIP_SIDE = 24, 5, 144  # strips of a page; pictures of each, and their side [px]
_MOST_FILM = 64 << 20  # bytes of a film that is read


def diffs(run_dir: Path, tree: IdeaTree, first: list[str]) -> dict[str, tuple[str, str]]:
    """By idea: what its last commit changed against what it was made from, and what that is, in words. Ideas whose commits the run's
    folder does not have are left out.

    Args:
        first: ideas in the order in which they are shown, as far as a page has room and Git is quick enough.
    """
    objects, until = run_dir / "bundles/objects.git/objects", time.monotonic() + _ALL_S
    bases = _bases(tree)
    wanted = {id: bases[id] for id in first if id in bases and all(map(_SHA.fullmatch, bases[id][:2]))}
    wanted = dict(islice(wanted.items(), _MOST_DIFFS))
    if not wanted or not objects.is_dir():
        return {}
    most = min(_MOST_DIFF, _TOTAL_DIFF // len(wanted))
    found = {}
    with _repository(objects) as env:
        for id, (base, commit, words) in wanted.items():
            if time.monotonic() < until and (text := _diff(env, base, commit)) is not None:
                found[id] = _cut(text, most), words
    return found


def _cut(text: str, most: int) -> str:
    """The beginning, of about `most` characters once it is escaped."""
    kept = text[:most]
    kept = kept[: most * len(kept) // max(most, len(html_text(kept, lines=True)))]
    return kept if len(kept) == len(text) else f"{kept}\n... {len(text) - len(kept):,} more characters"


def _bases(tree: IdeaTree) -> dict[str, tuple[str, str, str]]:
    """(what it was made from, its last commit, the former in words) of each idea that has a commit: its parent's last commit, or the one
    that its author evaluated before, or the commit's own parent."""
    last: dict[str | None, tuple[str, str]] = {}
    bases = {}
    for idea in tree.ideas.values():
        if not idea.commits:
            continue
        commit = idea.commits[-1]
        parent = tree.ideas.get(idea.parent or "")
        if parent is not None and parent.commits and parent.commits[-1] != commit:
            bases[idea.id] = parent.commits[-1], commit, f"its parent {parent.id}"
        elif idea.agent in last and last[idea.agent][0] != commit:
            bases[idea.id] = *last[idea.agent][:1], commit, f"{last[idea.agent][1]}, which its author evaluated before"
        else:
            bases[idea.id] = commit, commit, "the commit before it"
        last[idea.agent] = commit, idea.id
    return bases


@contextmanager
def _repository(objects: Path) -> Iterator[dict[str, str]]:
    """The environment in which Git sees these objects and nothing else of theirs."""
    with tempfile.TemporaryDirectory() as scratch:
        env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8", "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1",
               "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "",
               "GIT_NO_REPLACE_OBJECTS": "1", "GIT_DIR": scratch}  # fmt: skip
        _git(env, "init", "--quiet", "--bare", scratch)
        yield {**env, "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects.resolve())}


def _diff(env: dict[str, str], base: str, commit: str) -> str | None:
    pair = [commit] if base == commit else [base, commit]
    return _git(env, "diff-tree", "-p", "--root", "--no-commit-id", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames",
                "--unified=2", "--stat=100,60,20", "--patch", *pair)  # fmt: skip


def _git(env: dict[str, str], *args: str) -> str | None:
    """What Git prints, as far as it is bounded; None where it fails, or is not there."""
    bounds = f'ulimit -v {_GIT_MEMORY >> 10} && ulimit -t {int(_GIT_S)} && ulimit -f {_GIT_OUTPUT >> 9} && exec "$@"'
    line = ["/bin/sh", "-c", bounds, "sh", "git", "-c", "core.bigFileThreshold=1m", *args]
    with tempfile.TemporaryFile() as out:
        try:
            code = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.DEVNULL, env=env, timeout=_GIT_S).returncode  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return None
        too_long = out.tell() >= _GIT_OUTPUT
        out.seek(0)
        return out.read(_GIT_OUTPUT).decode(errors="replace") if code == 0 or too_long else None


def strips(run_dir: Path, tree: IdeaTree, first: list[str]) -> dict[str, str]:
    """By idea: a few pictures of a film of it as a JPEG's data URI, start to end; `first` as above."""
    found: dict[str, str] = {}
    for id in first:
        if len(found) == _STRIPS:
            break
        if (strip := _strip(run_dir / "data/practice", tree.ideas[id])) is not None:
            found[id] = "data:image/jpeg;base64," + base64.b64encode(strip).decode()
    return found


def _strip(folder: Path, idea: Idea) -> bytes | None:
    """Of the newest film of its practice: a success, where there is one."""
    for kind in ("success", "failure"):
        for batch in reversed(idea.tried):
            path = folder / f"{batch}-{kind}.mp4"
            if re.fullmatch(r"E\d+", batch) and path.is_file() and not path.is_symlink():
                return _frames(path)
    return None


def _frames(film: Path) -> bytes | None:
    import cv2
    import numpy as np

    if film.stat().st_size > _MOST_FILM:
        return None
    video = cv2.VideoCapture(str(film))
    shown = []
    try:
        last = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) - 1
        for k in np.linspace(0, max(last, 0), _STRIP_FRAMES).round().astype(int):
            video.set(cv2.CAP_PROP_POS_FRAMES, int(k))
            there, frame = video.read()
            if there:
                shown.append(cv2.resize(frame, (_STRIP_SIDE, _STRIP_SIDE), interpolation=cv2.INTER_AREA))
    finally:
        video.release()
    if not shown:
        return None
    _, data = cv2.imencode(".jpg", np.concatenate(shown, axis=1), [cv2.IMWRITE_JPEG_QUALITY, 70])
    return bytes(data.tobytes())
