"""What the kernel refuses a policy's process from the moment on that its code is loaded, for good (a seccomp filter).

- It stays one process, of as many threads as it likes: so its CPU clock and its memory are those of all that it does.
- Memory that belongs to no mapping of its own (shared mappings of no file, in-memory files, System V segments
  and queues, file systems of its own) is not to be had. Where
  there is a GPU its driver may need in-memory files: there the station counts them (`watch`).
- What other cages could see, or make it see, through the read-only files that all of them read: locks, leases, watches, the page
  cache and the free space of the disk; and the keyring, which comes from whoever started the station.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from dataclasses import dataclass
from pathlib import Path

_CLONE_THREAD = 0x10000
_SHARED_UNNAMED = 0x01 | 0x20  # MAP_SHARED, MAP_ANONYMOUS
_LOCKS = (5, 6, 7, 36, 37, 38, 1024, 1025, 1026)  # fcntl: locks of processes and of open files, leases, watches
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NO_NEW_PRIVILEGES, _FILTER, _ALL_THREADS = 38, 1, 1

_REFUSED = (
    "flock", "inotify_init", "inotify_init1", "inotify_add_watch", "fanotify_init",  # what is done to files that others see
    "mincore", "cachestat", "preadv2", "statfs", "fstatfs",  # preadv2 can ask what is in the page cache, too
    "add_key", "request_key", "keyctl",
    "memfd_create", "memfd_secret", "shmget", "msgget", "semget", "mq_open", "io_uring_setup",  # memory, and system calls, that nobody would count
    "unshare", "setns", "mount", "fsopen", "fsmount", "open_tree", "move_mount",
    "bpf", "perf_event_open", "userfaultfd",
)  # fmt: skip
_COMMON = {"io_uring_setup": 425, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsmount": 432, "clone3": 435,
           "memfd_secret": 447, "cachestat": 451}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Machine:
    """Numbers of system calls, and what the kernel calls the machine."""

    audit: int
    numbers: dict[str, int]


_MACHINES = {
    "x86_64": _Machine(0xC000003E, _COMMON | {
        "clone": 56, "fork": 57, "vfork": 58, "fcntl": 72, "flock": 73, "mmap": 9, "mincore": 27, "shmget": 29, "semget": 64, "msgget": 68, "mq_open": 240, "preadv2": 327, "statfs": 137, "fstatfs": 138,
        "mount": 165, "add_key": 248, "request_key": 249, "keyctl": 250, "inotify_init": 253, "inotify_add_watch": 254,
        "unshare": 272, "inotify_init1": 294, "perf_event_open": 298, "fanotify_init": 300, "setns": 308, "seccomp": 317,
        "memfd_create": 319, "bpf": 321, "userfaultfd": 323,
    }),
    "aarch64": _Machine(0xC00000B7, _COMMON | {
        "fcntl": 25, "inotify_init1": 26, "inotify_add_watch": 27, "flock": 32, "mount": 40, "statfs": 43, "fstatfs": 44,
        "unshare": 97, "mq_open": 180, "msgget": 186, "semget": 190, "shmget": 194, "mmap": 222, "preadv2": 286, "add_key": 217, "request_key": 218, "keyctl": 219, "clone": 220, "mincore": 232,
        "perf_event_open": 241, "fanotify_init": 262, "setns": 268, "seccomp": 277, "memfd_create": 279, "bpf": 280,
        "userfaultfd": 282,
    }),
}  # fmt: skip


def confine() -> None:
    """Refuse these to this process from now on. Raises OSError where the kernel or the machine cannot."""
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        raise OSError(f"policies run on {' and '.join(_MACHINES)}, not on {platform.machine()}")
    code = _program(machine)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.syscall(
        ctypes.c_long(machine.numbers["seccomp"]), ctypes.c_long(_FILTER), ctypes.c_long(_ALL_THREADS), program
    ):
        number = ctypes.get_errno()
        raise OSError(
            number, f"this kernel takes no filter of system calls, which policies need: {os.strerror(number)}"
        )


def _program(machine: _Machine) -> bytes:
    """The filter, in the kernel's own language."""
    numbers = dict(machine.numbers)
    if any(Path("/dev").glob("nvidia*")) or Path("/dev/dri").exists():
        del numbers["memfd_create"]
    steps = [_load(4), _equal(machine.audit, 1, 0), _return(_KILL), _load(0)]
    if machine.audit == 0xC000003E:
        steps += [_step(0x35, 0, 1, 0x40000000), _return(_ERRNO | errno.ENOSYS)]  # the same calls under other numbers
    for name in _REFUSED:
        if name in numbers:
            steps += [
                _equal(numbers[name], 0, 1),
                _return(_ERRNO | (errno.ENOLCK if name == "flock" else errno.ENOSYS)),
            ]
    for name in ("fork", "vfork"):
        if name in numbers:
            steps += [_equal(numbers[name], 0, 1), _return(_ERRNO | errno.EPERM)]
    steps += [
        _equal(numbers["clone3"], 0, 1),
        _return(_ERRNO | errno.ENOSYS),
    ]  # libraries then use clone, which says what it makes
    steps += [_equal(numbers["clone"], 0, 4), _load(16), _step(0x45, 1, 0, _CLONE_THREAD), _return(_ERRNO | errno.EPERM),
              _return(_ALLOW)]  # fmt: skip
    # Shared memory of no file: what a process unmaps of it stays where it is, and no list of mappings shows it.
    steps += [_equal(numbers["mmap"], 0, 5), _load(40), _step(0x54, 0, 0, _SHARED_UNNAMED), _equal(_SHARED_UNNAMED, 0, 1),
              _return(_ERRNO | errno.EPERM), _return(_ALLOW)]  # fmt: skip
    locks = [step for command in _LOCKS for step in (_equal(command, 0, 1), _return(_ERRNO | errno.ENOLCK))]
    steps += [_equal(numbers["fcntl"], 0, len(locks) + 1), _load(24), *locks]
    return b"".join([*steps, _return(_ALLOW)])


def _step(code: int, yes: int, no: int, k: int) -> bytes:
    return struct.pack("<HBBI", code, yes, no, k)


def _load(at: int) -> bytes:
    return _step(0x20, 0, 0, at)


def _equal(k: int, yes: int, no: int) -> bytes:
    return _step(0x15, yes, no, k)


def _return(k: int) -> bytes:
    return _step(0x06, 0, 0, k)
