"""Looks after one policy's process from outside, on a thread of its own: reads what it prints, and what memory it holds."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import threading
import time
from pathlib import Path

PERIOD_S = 0.1  # between two looks
_REST_S = 0.002  # after each reading of output, so that a policy that prints without end keeps nobody busy
_READ = 1 << 20  # bytes
_SCRATCH = ("tmp", "dev/shm", "var/tmp", "run")  # what a cage may write to
_UNNAMED = ("/dev/zero", "/memfd:", "/SYSV")  # shared memory that is no file's
MAX_THREADS = 1024
MAX_FILES = 20_000


class Output:
    """The last of what a policy printed, over all its lives. The policy writes to a pipe and can read none of it."""

    def __init__(self, limit: int) -> None:
        self._limit, self._kept, self._lock = limit, bytearray(), threading.Lock()

    def add(self, data: bytes) -> None:
        """Append, and forget what is beyond the limit."""
        with self._lock:
            self._kept += data
            del self._kept[: -self._limit]

    def text(self) -> str:
        """What is kept."""
        with self._lock:
            return self._kept.decode("utf-8", "replace")


class Watch:
    """Watches until `stop`. A process over its limit is killed, and `broken` says (reason, detail).

    Args:
        pid: of the process, as this machine numbers it.
        printed: the end to read of the pipe that it prints to; closed by `stop`.
        memory: that it may hold [bytes]: private and shared, mapped and in the files of its cage.
        scratch: that each file system which its cage may write to can hold, all of it memory [bytes]; 0 without a cage.
    """

    def __init__(self, pid: int, printed: int, output: Output, memory: int, scratch: int) -> None:
        self._pid, self._printed, self._output, self._memory, self._scratch = pid, printed, output, memory, scratch
        self.broken: tuple[str, str] | None = None
        self._reading = threading.Lock()
        self._over = threading.Event()
        os.set_blocking(printed, False)
        with contextlib.suppress(OSError):  # the system may have no more to give: it goes on in smaller pieces
            fcntl.fcntl(printed, fcntl.F_SETPIPE_SZ, _READ)
        try:
            self._handle = os.pidfd_open(pid)  # a number may be another's by the time that one kills it; this may not
        except OSError:
            self._handle = -1  # gone already
        self._thread = threading.Thread(target=self._watch, daemon=True, name="policy-watch")
        self._thread.start()

    def drain(self) -> None:
        """Take what is in the pipe now."""
        with self._reading, contextlib.suppress(OSError):
            self._output.add(os.read(self._printed, _READ))

    def stop(self) -> None:
        """Once the process is dead: take its last words and let go of everything."""
        self._over.set()
        self._thread.join()
        self.drain()
        os.close(self._printed)
        if self._handle >= 0:
            os.close(self._handle)

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._printed, select.POLLIN)
        due = 0.0
        while not self._over.is_set():
            left = due - time.monotonic()
            if left <= 0:
                due = time.monotonic() + PERIOD_S
                self._look()
                continue
            ready = poll.poll(left * 1000)
            if not ready:
                continue
            if not ready[0][1] & select.POLLIN:  # nobody is left who could print
                self._over.wait(max(0.0, left))
                continue
            self.drain()
            self._over.wait(_REST_S)

    def _look(self) -> None:
        if self.broken is not None or self._handle < 0:
            return
        try:
            self.broken = self._judge()
        except (FileNotFoundError, ProcessLookupError, KeyError):
            return  # it has ended (what has, has no memory)
        except OSError as error:
            self.broken = ("memory_limit", f"the policy's memory cannot be read: {error}")
        if self.broken is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def _judge(self) -> tuple[str, str] | None:
        proc = Path(f"/proc/{self._pid}")
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines() if ":" in line)
        # With page tables: whoever reads here and there in a mapping of a terabyte holds nothing else.
        used = sum(int(status[name].split()[0]) for name in ("RssAnon", "RssShmem", "VmPTE")) << 10
        # Of shared memory all that is mapped counts: pages that a process lets go of stay where they are.
        for line in (proc / "maps").read_text(errors="replace").splitlines():
            fields = line.split(None, 5)
            if fields[1][3] == "s" and len(fields) == 6 and fields[5].startswith(_UNNAMED):
                first, last = fields[0].split("-")
                used += int(last, 16) - int(first, 16)
        for link in (proc / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                if os.readlink(link).startswith("/memfd:"):
                    used += link.stat().st_blocks * 512
        files = 0
        for name in _SCRATCH if self._scratch else ():
            held = os.statvfs(proc / "root" / name)
            if held.f_blocks * held.f_frsize > self._scratch:
                continue  # the cage is still being made: that is this machine's own
            used += (held.f_blocks - held.f_bfree) * held.f_frsize
            files += held.f_files - held.f_ffree
        threads = int(status["Threads"])
        if used > self._memory:
            return "memory_limit", f"the policy holds {used >> 20} MB; allowed are {self._memory >> 20}"
        if threads > MAX_THREADS:
            return "process_limit", f"the policy has {threads} threads; allowed are {MAX_THREADS}"
        if files > MAX_FILES:
            return "disk_limit", f"the policy has made {files} files; allowed are {MAX_FILES}"
        return None
