"""What an agent's cage may use, watched from outside: memory, processes and disk."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_MAX_FILES = 200_000  # a walk ends here: so many files are over any limit


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one agent.

    Attributes:
        memory: private memory of all its processes together [bytes].
        processes: how many may live at once.
        disk: what its workspace and home may hold together [bytes]; also the largest file.
    """

    memory: int
    processes: int
    disk: int

    @classmethod
    def default(cls) -> Limits:
        """Three quarters of the machine's memory, 1024 processes, 20 GB."""
        return cls(int(0.75 * _PAGE * os.sysconf("SC_PHYS_PAGES")), 1024, 20 << 30)

    def broken(self, pids: Iterable[int]) -> str | None:
        """The limit that these processes exceed ("memory_limit: ..."), or None."""
        pids = list(pids)
        if len(pids) > self.processes:
            return f"process_limit: {len(pids)} processes, allowed are {self.processes}"
        used = sum(map(_private, pids))
        if used > self.memory:
            return f"memory_limit: {used >> 20} MB, allowed are {self.memory >> 20}"
        return None

    def overfull(self, folders: Iterable[Path]) -> str | None:
        """The same for the files in these folders ("disk_limit: ..."). It walks them, which takes time: call it in a thread."""
        used = files = 0
        pending = [str(f) for f in folders]
        while pending and files < _MAX_FILES:
            try:
                with os.scandir(pending.pop()) as entries:
                    for entry in entries:
                        files += 1
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(entry.path)
                        else:
                            used += entry.stat(follow_symlinks=False).st_blocks * 512
            except OSError:
                continue  # gone meanwhile, or not readable
        if files >= _MAX_FILES:
            return f"disk_limit: over {_MAX_FILES} files"
        return f"disk_limit: {used >> 20} MB, allowed are {self.disk >> 20}" if used > self.disk else None


def _private(pid: int) -> int:
    """Resident memory that is not shared [bytes]."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return (int(fields[1]) - int(fields[2])) * _PAGE
