"""Hostile policies against their host and their limits, each in its cage. What one gets hold of it raises as GOT."""

import fcntl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from autoenvbench.sandbox.cage import Cage, members, python_path
from autoenvbench.station.policy_process import PolicyFault, PolicyLimits, PolicyProcess

pytestmark = pytest.mark.cage
LIMITS = PolicyLimits(act_cpu_s=3.0, act_wall_s=20.0, episode_wall_s=60.0, memory_mb=600)

HEAD = """
import contextlib, ctypes, fcntl, mmap, os, socket, subprocess, sys, threading, time
import numpy as np
libc = ctypes.CDLL(None, use_errno=True)

class Policy:
    def __init__(self, observation_space, action_space):
        self.shape, self.held = action_space.shape, []
    def reset(self, observation):
        pass
    def act(self, observation):
        found = self.attempt()
        if found is not None:
            raise RuntimeError("GOT " + str(found)[:300])
        return np.zeros(self.shape)
    def attempt(self):
"""
#: name -> (what, what stops it, body of `attempt`, the reason its episode may end with, None for none)
ATTACKS = {
    "fork": ("Compute in forked processes, whose time no clock of the policy's shows", "a filter of system calls: a policy stays one process", """
        for fork in (os.fork, lambda: libc.syscall(56, 17, 0, 0, 0, 0), lambda: libc.syscall(57), lambda: libc.syscall(58),
                     lambda: subprocess.run(["true"]).pid, lambda: os.posix_spawn("/bin/true", ["true"], {}),
                     lambda: libc.syscall(435, ctypes.create_string_buffer(88), 88)):
            with contextlib.suppress(OSError, AttributeError):
                pid = fork()
                if pid == 0:
                    time.sleep(77777)
                if pid > 0:
                    return f"child {pid}\"""", None),
    "other-abi": ("Fork through the 32-bit system calls", "the filter ends a process that makes one", """
        code = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
                         prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(b"\\xb8\\x02\\x00\\x00\\x00\\xcd\\x80\\xc3")  # mov eax, 2 (fork); int 0x80; ret
        pid = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
        return f"child {pid}" if pid > 0 else None""", "policy_exited"),
    "shared": ("Take memory in shared mappings of no file, which RLIMIT_DATA does not count", "refused by the filter", """
        for flags in (0x01 | mmap.MAP_ANONYMOUS, 0x03 | mmap.MAP_ANONYMOUS):
            with contextlib.suppress(OSError):
                return mmap.mmap(-1, 1 << 20, flags=flags)""", None),
    "zero": ("The same through /dev/zero", "policies have none", """
        with contextlib.suppress(OSError, ValueError):
            return mmap.mmap(os.open("/dev/zero", os.O_RDWR), 1 << 20)""", None),
    "hidden": ("Fill the folders that are hidden, which are file systems in memory", "they are read-only, in every cage", """
        for line in open("/proc/self/mounts"):
            where = line.split()[1]
            if line.startswith("tmpfs") and where not in ("/tmp", "/dev/shm", "/var/tmp", "/run"):
                with contextlib.suppress(OSError):
                    open(where + "/hoard", "wb").write(bytes(1 << 20))
                    return where""", None),
    "queues": ("Leave words, or memory, in System V and POSIX queues", "refused by the filter", """
        for call in (lambda: libc.msgget(0, 0o1666), lambda: libc.semget(0, 100, 0o1666), lambda: libc.syscall(240, b"q", 0o102, 0o666, 0)):
            if call() >= 0:
                return "a queue\"""", None),
    "cached": ("See in the page cache which file an agent has read, by a read that would not wait", "refused by the filter", """
        with contextlib.suppress(OSError):
            return os.preadv(os.open(SHARED, os.O_RDONLY), [bytearray(64)], 1 << 20, os.RWF_NOWAIT)""", None),
    "page-tables": ("Take the kernel's memory with page tables, by reading here and there in a mapping of a terabyte", "page tables count", """
        self.held.append(mmap.mmap(-1, 1 << 40, flags=mmap.MAP_PRIVATE | 0x4000, prot=mmap.PROT_READ))
        np.frombuffer(self.held[0], np.uint8)[: 500 << 30 : 2 << 20].max()
        time.sleep(1)""", "memory_limit"),
    "scratch": ("Take memory as files in /tmp, /dev/shm and /run", "they hold 256 MB each, and count as memory", """
        for folder in ("/tmp", "/dev/shm", "/var/tmp", "/run"):
            for n in range(20):
                with contextlib.suppress(OSError), open(f"{folder}/{n}", "wb") as file:
                    file.write(bytes(60 << 20))
        self.held = [np.ones(20 << 20)]
        time.sleep(1)""", "memory_limit"),
    "dev": ("Take memory as files in /dev, whose size nobody bounds", "/dev is read-only, in every cage", """
        with contextlib.suppress(OSError), open("/dev/hoard", "wb") as file:
            file.write(bytes(1 << 20))
            return "a file in /dev\"""", None),
    "nameless": ("Take memory that belongs to no mapping: in-memory files, System V segments", "refused by the filter", """
        for take in (lambda: os.memfd_create("x"), lambda: libc.shmget(0, 1 << 30, 0o1666)):
            with contextlib.suppress(OSError):
                got = take()
                if got >= 0:
                    return got""", None),
    "own-namespace": ("Mount a file system of one's own in a new user namespace, and fill it", "new namespaces and mounts are refused by the filter", """
        if libc.unshare(0x10000000 | 0x00020000) == 0:
            return "a user namespace\"""", None),
    "files": ("Take the kernel's memory with a hundred thousand empty files", "the files in the cage are counted", """
        for n in range(30_000):
            os.close(os.open(f"/tmp/{n}", os.O_CREAT | os.O_WRONLY))
        time.sleep(1)""", "disk_limit"),
    "threads": ("Start thousands of threads", "counted from outside", """
        threading.stack_size(32 << 10)
        def sleep(): time.sleep(77777)
        for _ in range(2000): threading.Thread(target=sleep, daemon=True).start()
        time.sleep(1)""", "process_limit"),
    "asleep": ("Take almost the longest allowed for every answer, for hours", "a limit of what the station waits for a policy in an episode", """
        time.sleep(0.4)""", "episode_wall_limit"),
    "between": ("Compute between two answers, when no clock runs", "the clock runs on: what is used since an answer counts for the next", """
        def burn():
            while True: pass
        thread = threading.Thread(target=burn, daemon=True)
        thread.start()
        time.sleep(0.01)""", "act_cpu_limit"),
    "own-output": ("Learn from one's own output that this is the second try", "output goes into a pipe that only the station reads, a new one for each process", """
        for read in (lambda: os.pread(1, 99, 0), lambda: os.pread(2, 99, 0), lambda: os.lseek(1, 0, 0), lambda: os.read(1, 9)):
            with contextlib.suppress(OSError):
                return read()
        again = os.open("/proc/self/fd/1", os.O_RDONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            got = os.read(again, 99)
            if b"earlier" in got:
                return got
        print("an earlier life was here", flush=True)
        os._exit(0)""", "policy_exited"),
    "flood": ("Fill the station's disk with output", "64 KB of it are kept, in memory", """
        for _ in range(20):
            os.write(1, bytes(1 << 20))
        """, None),
    "locks": ("Read what an agent says by locking files that every cage reads", "locks, leases and watches are refused by the filter, and /proc/locks cannot be opened", """
        file = open(SHARED, "rb")
        for ask in (lambda: fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB), lambda: fcntl.lockf(open(SHARED), fcntl.LOCK_SH | fcntl.LOCK_NB),
                    lambda: fcntl.fcntl(file, fcntl.F_GETLK, bytes(32)), lambda: fcntl.fcntl(file, 36, bytes(32)),
                    lambda: fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK), lambda: fcntl.fcntl(file, fcntl.F_NOTIFY, 1)):
            try:
                ask()
                return "an answer"
            except OSError as error:
                if error.errno != 37:
                    return error
        with contextlib.suppress(OSError):
            return open("/proc/locks").read()
        if libc.inotify_init1(0) >= 0 or libc.inotify_init() >= 0:
            return "a watch\"""", None),
    "keyring": ("Read what an agent left in the keyring that all of the station's children inherit", "the keyring's calls are refused by the filter", """
        for keyring in (-3, -4, -5):
            if libc.syscall(250, 0, keyring, 1) >= 0 or libc.syscall(248, b"user", b"word", b"x", 1, keyring) >= 0:
                return f"keyring {keyring}\"""", None),
    "free-space": ("Read what an agent says by filling the disk, or the page cache", "the free space, and what is cached of a file, are not told", """
        with contextlib.suppress(OSError):
            return os.statvfs("/usr").f_bavail
        page = mmap.mmap(os.open(SHARED, os.O_RDONLY), 4096, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE)
        seen = ctypes.create_string_buffer(1)
        address = np.frombuffer(page, np.uint8).ctypes.data
        if libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(4096), seen) == 0:
            return "what is cached\"""", None),
    "read-times": ("Leave a mark for the next policy in the times at which shared files were read", "read-only mounts keep none", """
        before = os.stat(SHARED)
        os.read(os.open(SHARED, os.O_RDONLY), 1 << 16)
        with contextlib.suppress(OSError):
            os.utime(SHARED)
            return "a time set"
        after = os.stat(SHARED)
        if (after.st_atime_ns, after.st_mtime_ns) != (before.st_atime_ns, before.st_mtime_ns):
            return "a time changed\"""", None),
}  # fmt: skip
LIMITS_OF = {
    "asleep": PolicyLimits(act_cpu_s=3.0, act_wall_s=20.0, episode_wall_s=1.5),
    "between": PolicyLimits(act_cpu_s=0.15),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_on_the_host_fails(env, policy_dir, name):
    _, _, body, reason = ATTACKS[name]
    folder = policy_dir(HEAD + body.replace("SHARED", repr(np.__file__)) + "\n")
    observation, _ = env.reset(seed=0)
    with (
        open(np.__file__) as shared,
        PolicyProcess(
            folder, env.observation_space, env.action_space, LIMITS_OF.get(name, LIMITS), "bwrap", "open"
        ) as process,
    ):
        fcntl.flock(shared, fcntl.LOCK_EX)  # as an agent in its cage could
        for _ in range(2 if reason in ("policy_exited", "memory_limit") else 1):  # the second with a new process
            ended = None
            try:
                process.reset(observation)
                for _ in range(4):
                    process.act(observation)
                    assert len(members(process._caged.namespace)) == 1
                    time.sleep(0.1 if name != "between" else 0.9)
            except PolicyFault as fault:
                ended = fault
                process.close()
            assert "GOT" not in str(ended), ended
            assert (ended.reason if ended else None) == reason, ended
            assert ended is None or not ended.infrastructure
        assert len(process.output()) <= 64 << 10


def test_nothing_in_a_checkout_stands_in_for_the_host_or_what_it_imports(env, policy_dir):
    """And a policy still finds the modules of its own."""
    folder = policy_dir(
        HEAD.replace("import contextlib", "import helper, autoenvbench.station.policy_host as host, numpy, msgpack, json\nimport contextlib")
        + "        return None if helper.OURS else 'no helper'\nprint('limits', __import__('resource').getrlimit(2))\n"
    )  # fmt: skip
    (folder / "helper.py").write_text("OURS = True\n")
    for name in ("autoenvbench/__init__.py", "autoenvbench/station/__init__.py", "autoenvbench/station/policy_host.py", "numpy.py",
                 "json.py", "sitecustomize.py", "usercustomize.py", "msgpack/__init__.py", "enpire_envs/__init__.py", "encodings.py",
                 "random.py", "checkpoints/numpy.py", "checkpoints/sitecustomize.py", "pyvenv.cfg", "python311.zip"):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("import os\nos.write(2, b'SHADOWED ' + __file__.encode())\nraise SystemExit(3)\n")
    observation, _ = env.reset(seed=0)
    for sandbox in ("bwrap", "none"):
        with PolicyProcess(folder, env.observation_space, env.action_space, LIMITS, sandbox, "open") as process:
            process.reset(observation)
            process.act(observation)
            assert "SHADOWED" not in process.output()
            assert f"limits ({600 << 20}, {600 << 20})" in process.output()


def test_locks_that_others_hold_are_listed_in_no_cage():
    """Locks of open files belong to no process, so the kernel lists them in every PID namespace: the list is hidden."""
    holder = f"import fcntl, struct, time; f = open({np.__file__!r}); fcntl.fcntl(f, 37, struct.pack('hhqqi4x', 0, 0, 0, 0, 0)); print('held', flush=True); time.sleep(60)"
    look = f"open({str(Path('/proc/locks'))!r}).read()"
    other = subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"held\n"
        assert " OFDLCK " in Path("/proc/locks").read_text()
        cage = Cage("bwrap", "open", cwd=Path("/tmp"))
        with tempfile.TemporaryFile() as said:
            caged = cage.start([python_path(), "-I", "-c", look], outside=Path("/"), stdout=said, stderr=said)
            code = caged.process.wait(30)
            said.seek(0)
            assert code != 0
            assert b"PermissionError" in said.read()
    finally:
        other.kill()
        other.wait()


def test_what_is_not_covered_how_busy_the_machine_is(env, policy_dir):
    """README: load, memory and what is in the page cache can be measured by whoever shares a machine."""
    folder = policy_dir(
        HEAD + "        print(open('/proc/stat').read()[:4], open('/proc/meminfo').read()[:8], flush=True)\n"
    )
    with PolicyProcess(folder, env.observation_space, env.action_space, LIMITS, "bwrap", "open") as process:
        observation, _ = env.reset(seed=0)
        process.reset(observation)
        process.act(observation)
        assert process.output().split() == ["cpu", "MemTotal"]


def test_a_policy_that_prints_does_not_keep_its_watch_busy(env, policy_dir):
    folder = policy_dir(HEAD + "        pass\n" + "def flood():\n    while True: os.write(1, bytes(1 << 16))\n"
                        "threading.Thread(target=flood, daemon=True).start()\n")  # fmt: skip
    with PolicyProcess(folder, env.observation_space, env.action_space, LIMITS, "bwrap", "open") as process:
        process.reset(env.reset(seed=0)[0])
        watch = next(thread for thread in threading.enumerate() if thread.name == "policy-watch")
        clock = time.pthread_getcpuclockid(watch.ident)
        began, used = time.monotonic(), time.clock_gettime(clock)
        time.sleep(1.0)
        assert (time.clock_gettime(clock) - used) / (time.monotonic() - began) < 0.5


def test_the_table_in_the_readme_lists_every_attack():
    table = (Path(__file__).parent / "README.md").read_text()
    for what, how, _, _ in ATTACKS.values():
        assert f"| {what} | {how} |" in table, what
