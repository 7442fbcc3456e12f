"""The cage: everything that an agent or a policy runs, runs inside bubblewrap (or Docker).

Inside there is an allow-listed read-only root, private network, PID, IPC and UTS namespaces, and nothing is writable but what
is bound so. Agents get a workspace, a home and two sockets; policies get a read-only checkout and two pipes.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from enpire_envs import registry
from enpire_envs.remote.venvs import simulators_dir

from autoenvbench.errors import UserError
from autoenvbench.sandbox import docker

Sandbox = Literal["bwrap", "docker", "none"]
Track = Literal["open", "station"]

#: Placeholders in a command line for the descriptors of the program's two pipes.
PIPES = ("{read}", "{write}")
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
_ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "ssl", "ca-certificates", "passwd", "group",
        "nsswitch.conf", "localtime", "gitconfig")  # fmt: skip
_GPU = Path("/dev")
_TMP = 2 << 30  # bytes


@functools.cache
def bwrap_problem() -> str | None:
    """Why bubblewrap cannot be used here, or None if it can. It is tried, once a process."""
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed (Debian, Ubuntu: apt install bubblewrap)"
    probe = ["bwrap", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--unshare-all", "--unshare-user",
             "--uid", "1000", "true"]  # fmt: skip
    done = subprocess.run(probe, capture_output=True, text=True, timeout=20)
    return None if done.returncode == 0 else f"bubblewrap does not work here: {done.stderr.strip()[:300]}"


def choose_sandbox(wanted: Sandbox | None, *, fallback: bool) -> tuple[Sandbox, str | None]:
    """The sandbox to use, and a notice to print where it is no cage.

    Args:
        wanted: None for bubblewrap.
        fallback: whether to go on without a cage where bubblewrap is missing (only for researchers whose code is ours).

    Raises:
        UserError: where the sandbox cannot be used here.
    """
    if wanted == "none":
        return "none", "running without a cage (--sandbox none): agent and policy can read and change this machine"
    if wanted == "docker":
        if (problem := docker.problem()) is not None:
            raise UserError(
                f"{problem}; use --sandbox bwrap, or --sandbox none to run without a cage (the result will say so)"
            )
        return "docker", None
    problem = bwrap_problem()
    if problem is None:
        return "bwrap", None
    if wanted is None and fallback:
        return "none", f"{problem}; going on without a cage, and the result says so"
    raise UserError(
        f"{problem}; or say --sandbox docker, or --sandbox none to run without a cage (the result will say so)"
    )


@dataclass(frozen=True, slots=True)
class Bind:
    """A host path made visible inside."""

    outside: Path
    inside: Path
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Caged:
    """A program that runs in its cage.

    Attributes:
        process: what was started: the program itself, bubblewrap, or Docker's client.
        init: PID outside of the namespace's first process (without a cage, of the program).
        namespace: the PID namespace, or None without a cage.
        container: its name in Docker, or None.
    """

    process: subprocess.Popen[bytes]
    init: int
    namespace: str | None
    container: str | None = None

    def kill(self) -> None:
        """End everything in the cage; without one, what is left of the program's process group."""
        if self.namespace is None and self.container is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()  # bubblewrap's --die-with-parent takes the whole namespace along
        self.process.wait()
        if self.container is not None:
            if self.namespace is not None and namespace_of(self.init) == self.namespace:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(self.init, signal.SIGKILL)  # at once, and the namespace with it
            docker.kill(self.container)


@dataclass
class Cage:
    """How to run one program apart from everything else.

    Attributes:
        sandbox: "bwrap", "docker", or "none" for no isolation at all.
        track: "station" also hides the task's simulator.
        cwd: working directory inside.
        binds: what is visible beside the system and Python; later ones may lie inside earlier ones.
        env: all environment variables of the program.
        tmp: size of /tmp and of /dev/shm [bytes of memory].
    """

    sandbox: Sandbox
    track: Track
    cwd: Path
    binds: list[Bind] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    tmp: int = _TMP

    def start(
        self, argv: Sequence[str], *, outside: Path, stdout: IO[bytes], stderr: IO[bytes], pipes: tuple[int, int] | None = None,
        as_pid_1: bool = False, label: str = "",
    ) -> Caged:  # fmt: skip
        """Run `argv` in this cage.

        Args:
            outside: working directory where there is no cage.
            pipes: descriptors to read from and to write to; `PIPES` in `argv` become their numbers inside.
            as_pid_1: make it the first process of its namespace, with no supervisor above it.
            label: of the run, by which `docker.sweep` finds containers that a killed run has left.

        Raises:
            UserError: where Docker starts no container. (A program that bubblewrap cannot start is one that exits.)
        """
        if self.sandbox == "docker":
            return self._start_docker(argv, stdout, stderr, pipes, label)
        info_read, info_write = os.pipe()
        inherited = (*(pipes or ()), info_write)
        if pipes:
            argv = [part.format(read=pipes[0], write=pipes[1]) if part in PIPES else part for part in argv]
        process = subprocess.Popen(
            self._command(argv, as_pid_1=as_pid_1, info_fd=info_write), stdin=subprocess.DEVNULL, stdout=stdout,
            stderr=stderr, pass_fds=inherited, start_new_session=True, env=self.env,
            cwd="/" if self.sandbox == "bwrap" else outside,
        )  # fmt: skip
        os.close(info_write)
        with os.fdopen(info_read) as info:
            found = info.read() if self.sandbox == "bwrap" else ""
        init = int(json.loads(found)["child-pid"]) if found else process.pid
        return Caged(process, init, namespace_of(init) if found else None)

    def _start_docker(
        self, argv: Sequence[str], stdout: IO[bytes], stderr: IO[bytes], pipes: tuple[int, int] | None, label: str
    ) -> Caged:
        name = f"autoenvbench-{uuid.uuid4().hex}"
        mounts = [(Path(f"/etc/{n}"), Path(f"/etc/{n}"), False) for n in _ETC if Path(f"/etc/{n}").exists()]
        mounts += [(path, path, False) for path in runtime_paths()]
        mounts += [(bind.outside, bind.inside, bind.writable) for bind in self.binds]
        argv = [part.format(read=3, write=4) if part in PIPES else part for part in argv]
        line = docker.command(name, mounts, hidden_paths(self.track), self.cwd, self.env, argv, pipes=pipes is not None,
                              tmp=self.tmp, label=label, devices=gpu_devices())  # fmt: skip
        process = subprocess.Popen(
            line, stdin=pipes[0] if pipes else subprocess.DEVNULL, stdout=pipes[1] if pipes else stdout,
            stderr=stderr, start_new_session=True,
        )  # fmt: skip
        init = docker.init_pid(name, process)
        return Caged(process, init, namespace_of(init), name)

    def _command(self, argv: Sequence[str], *, as_pid_1: bool, info_fd: int) -> list[str]:
        if self.sandbox == "none":
            return list(argv)
        line = ["bwrap", "--die-with-parent", "--new-session", "--unshare-all", "--unshare-user",
                "--uid", "1000", "--gid", "1000", "--hostname", "cage", "--clearenv"]  # fmt: skip
        if as_pid_1:
            line.append("--as-pid-1")
        line += ["--info-fd", str(info_fd)]
        for name in _SYSTEM:
            path = Path(name)
            if path.is_symlink():
                line += ["--symlink", os.readlink(path), name]
            elif path.is_dir():
                line += ["--ro-bind", name, name]
        for name in _ETC:
            line += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
        line += [
            "--dev",
            "/dev",
            "--proc",
            "/proc",
            "--ro-bind",
            "/dev/null",
            "/proc/locks",
        ]  # it shows locks of other cages
        for device in gpu_devices():
            line += ["--dev-bind", str(device), str(device), "--ro-bind-try", "/sys", "/sys"]
        for name, size in (
            ("/tmp", self.tmp),
            ("/dev/shm", self.tmp),
            ("/var/tmp", self.tmp >> 6),
            ("/run", self.tmp >> 6),
        ):
            line += ["--size", str(size), "--tmpfs", name]  # of memory: a file there must not fill it
        for path in runtime_paths():
            line += ["--ro-bind", str(path), str(path)]
        for path in hidden_paths(self.track):
            line += ["--tmpfs", str(path)]
        for bind in self.binds:
            line += ["--bind" if bind.writable else "--ro-bind", str(bind.outside), str(bind.inside)]
        for key, value in self.env.items():
            line += ["--setenv", key, value]
        for path in hidden_paths(self.track):
            line += ["--remount-ro", str(path)]  # an empty folder, not one to fill
        return [*line, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", str(self.cwd), "--", *argv]


def gpu_devices() -> list[Path]:
    """What a GPU is reached by, of all there are here. Its libraries lie in the system's folders."""
    return [*_GPU.glob("nvidia*"), *_GPU.glob("dri")]


def python_path() -> str:
    """Path of this interpreter: it runs training and policies, too."""
    return sys.executable


def runtime_paths() -> list[Path]:
    """What Python needs inside, and nothing beside it: the interpreter, its libraries, our packages."""
    paths = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.base_prefix).resolve()}
    packages = {"autoenvbench", *(entry.package.partition(".")[0] for entry in registry.entries())}
    paths.update(path for package in packages if (path := registry.find_folder(package)) is not None)
    system = tuple(Path(name) for name in _SYSTEM)
    outside = [p for p in paths if not any(p.is_relative_to(s) for s in system)]
    return sorted(p for p in outside if not any(p != q and p.is_relative_to(q) for q in outside))


def shown_in_cages(path: Path) -> bool:
    """Whether what lies there can be read in every cage, unless it is hidden."""
    return any(path.resolve().is_relative_to(shown.resolve()) for shown in (*runtime_paths(), *map(Path, _SYSTEM)))


def hidden_paths(track: Track) -> list[Path]:
    """What no agent or policy may see, of any registered task: what would solve it; on the station track, the simulators too.

    Raises UserError for what cannot be hidden.
    """
    try:
        hidden = registry.hidden_folders(simulators=track == "station")
    except LookupError as error:
        raise UserError(f"a registered task cannot be kept from agents: {error}") from None
    if track == "station" and any(simulators_dir().is_relative_to(path) for path in runtime_paths()):
        hidden += [simulators_dir()] if simulators_dir().is_dir() else []
    return sorted(p for p in set(hidden) if not any(p != q and p.is_relative_to(q) for q in hidden))


def namespace_of(pid: int) -> str | None:
    """The PID namespace of a process, or None if it is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return None


def members(namespace: str) -> list[int]:
    """PIDs of the processes in a PID namespace, as this machine numbers them."""
    return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and namespace_of(int(p.name)) == namespace]
