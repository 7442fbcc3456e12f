"""What of a run's folder travels: all that the run itself wrote (ledger, result, bundles), and of what its agents filled, a bounded part."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG

from autoenvbench.text import short

LARGEST = 1 << 30  # bytes of a file that travels; the run's own are smaller, but what an agent sent may be one of holes
LEFT = "stayed_behind.txt"  # says what did not travel
LEDGER = "ledger.sqlite"
#: Not of the run but of the process that holds it, or written for each copy.
_LEFT_OUT = {LEDGER, f"{LEDGER}-wal", f"{LEDGER}-shm", "lock", LEFT}
_EPISODES = ("data", "episodes")
_LOOKS = 5  # times as many entries are looked at as travel


@dataclass(frozen=True, slots=True)
class Bound:
    """So many bytes, and so many files, links and folders."""

    size: int
    number: int


AGENT = Bound(512 << 20, 20_000)  # of one agent's workspace and home
EPISODES = Bound(2 << 30, 50_000)  # of a folder of episodes, which no figure needs


@dataclass(frozen=True, slots=True)
class _Entry:
    path: Path
    size: int  # bytes; 0 for a link or a folder
    is_folder: bool
    changed: float


def choose(run_dir: Path) -> tuple[list[Path], list[str]]:
    """The files, links and folders of a run that travel, and in words what does not."""
    paths, said = _run_itself(run_dir)
    parts = [
        (EPISODES, folder, _entries(folder), _newest_first) for folder in _folders(run_dir) if folder.name in _EPISODES
    ]
    parts += [(AGENT, folder, _of_agent(folder), _repository_first) for folder in _folders(run_dir / "agents")]
    for bound, folder, entries, order in parts:
        more, left = _within(bound, folder, str(folder.relative_to(run_dir)), entries, order)
        paths += more
        said += left
    return paths, said


def _run_itself(run_dir: Path) -> tuple[list[Path], list[str]]:
    """What no agent fills: all of it, but for a file that cannot be the run's."""
    paths, said = [], []
    others = {run_dir / name for name in ("agents", *_EPISODES)}
    for entry in _entries(run_dir, others.__contains__):
        if entry.path.parent == run_dir and entry.path.name in _LEFT_OUT:
            continue
        if entry.size > LARGEST:
            said.append(
                f"{_name(entry.path, run_dir)}, a file of {entry.size >> 20} MB: none above {LARGEST >> 20} travels"
            )
        else:
            paths.append(entry.path)
    return paths, said


def _within(
    bound: Bound, folder: Path, name: str, entries: Iterator[_Entry], order: Callable[[Path, _Entry], tuple[float, ...]]
) -> tuple[list[Path], list[str]]:
    """What of a folder travels, the first of an order, until one bound is reached; smaller files take the place of what is too large."""
    seen = list(itertools.islice(entries, _LOOKS * bound.number + 1))
    paths, left, size = [folder], list[_Entry](), 0
    for entry in sorted(seen[: _LOOKS * bound.number], key=lambda each: (*order(folder, each), str(each.path))):
        if len(paths) < bound.number and entry.size <= LARGEST and size + entry.size <= bound.size:
            paths.append(entry.path)
            size += entry.size
        else:
            left.append(entry)
    said = []
    if left:
        largest = max(left, key=lambda each: each.size)
        said.append(
            f"of {name}, {len(left)} of its files ({sum(each.size for each in left) >> 20} MB): at most {bound.number} of {bound.size >> 20} MB travel "
            f"(the largest left is {_name(largest.path, folder)})"
        )
    if len(seen) > _LOOKS * bound.number:
        said.append(
            f"what else {name} holds: it has more than {_LOOKS * bound.number} files, and no more are looked at"
        )
    return paths, said


def _repository_first(folder: Path, entry: _Entry) -> tuple[float, ...]:
    """What the run wrote of an agent, then its repository, without which nothing goes on, then what is small."""
    parts = entry.path.relative_to(folder).parts
    return (0 if len(parts) == 1 else 1 if parts[:2] == ("workspace", ".git") else 2, entry.size)


def _newest_first(folder: Path, entry: _Entry) -> tuple[float, ...]:
    return (not entry.is_folder, -entry.changed)


def _of_agent(folder: Path) -> Iterator[_Entry]:
    """Its entries in an order in which no number of files hides what the run wrote, or the repository."""
    repository = folder / "workspace/.git"
    yield from _entries(folder, lambda path: True)
    if all(S_ISDIR(_mode(path)) for path in (repository.parent, repository)):  # and no link out of the run
        yield from _entries(repository)
    yield from (e for e in _entries(folder, repository.__eq__) if e.is_folder or e.path.parent != folder)


def _entries(folder: Path, but: Callable[[Path], bool] = lambda path: False) -> Iterator[_Entry]:
    """Files, links and folders below, but for some folders; what is none of these is not there."""
    for where, folders, names in os.walk(folder):
        here = Path(where)
        folders[:] = [name for name in folders if not but(here / name)]
        for path in (here / name for name in (*names, *folders)):
            try:
                stat = path.lstat()
            except OSError:  # an agent deletes files while we look
                continue
            if S_ISDIR(stat.st_mode) or S_ISREG(stat.st_mode) or S_ISLNK(stat.st_mode):
                size = stat.st_size if S_ISREG(stat.st_mode) else 0
                yield _Entry(path, size, S_ISDIR(stat.st_mode), stat.st_mtime)


def _folders(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.iterdir() if S_ISDIR(_mode(path))) if S_ISDIR(_mode(folder)) else ()


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except OSError:
        return 0


def _name(path: Path, folder: Path) -> str:
    return short(str(path.relative_to(folder)), 100)
