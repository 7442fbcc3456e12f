"""The cage in Docker, for machines where bubblewrap may not make namespaces.

The image is empty: like bubblewrap's root, a container holds only what is mounted into it, read-only. Nothing is ever pulled.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from autoenvbench.errors import UserError

IMAGE = "autoenvbench-cage:1"
LABEL = "autoenvbench"


@functools.cache
def problem() -> str | None:
    """Why Docker cannot be used here, or None if it can. It is tried, once a process."""
    if shutil.which("docker") is None:
        return "Docker is not installed"
    if _docker("image", "inspect", IMAGE).returncode != 0:
        empty = io.BytesIO()
        tarfile.open(fileobj=empty, mode="w").close()
        made = _docker("import", "-", IMAGE, data=empty.getvalue())
        if made.returncode != 0:
            return f"Docker does not work here: {made.stderr.decode(errors='replace').strip()[:300]}"
    probe = ["run", "--rm", "--network", "none", *_system(), IMAGE, "/bin/true"]
    done = _docker(*probe)
    return (
        None
        if done.returncode == 0
        else f"Docker does not work here: {done.stderr.decode(errors='replace').strip()[:300]}"
    )


def command(
    name: str, mounts: Iterable[tuple[Path, Path, bool]], hidden: Iterable[Path], cwd: Path, env: Mapping[str, str],
    argv: Sequence[str], *, pipes: bool, tmp: int, label: str, devices: Iterable[Path] = (),
) -> list[str]:  # fmt: skip
    """The command line that runs `argv` in a container of its own.

    Args:
        name: of the container.
        mounts: (path outside, path inside, writable).
        hidden: folders inside that appear empty.
        cwd: working directory inside.
        env: environment variables of the program.
        pipes: whether the program's descriptors 3 and 4 are the client's standard input and output; its own output then goes to
            the client's standard error.
        tmp: size of /tmp and of /dev/shm [bytes of memory].
        label: of the run (see `sweep`).
        devices: of this machine that are there inside, such as a GPU's.
    """
    line = ["docker", "run", "--rm", "--name", name, "--label", f"{LABEL}={label}", "--network", "none", "--read-only",
            "--user", f"{os.getuid()}:{os.getgid()}", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
            "--hostname", "cage", "--workdir", str(cwd), "--pids-limit", "2048", *_system()]  # fmt: skip
    if pipes:
        line.append("--interactive")
    for folder, size in (("/tmp", tmp), ("/dev/shm", tmp), ("/var/tmp", tmp >> 6), ("/run", tmp >> 6)):
        line += ["--tmpfs", f"{folder}:rw,exec,size={size},mode=1777"]
    for outside, inside, writable in mounts:
        line += ["--mount", f"type=bind,src={outside.resolve()},dst={inside}" + ("" if writable else ",readonly")]
    for device in devices:
        line += ["--device", str(device)]
    for path in hidden:
        line += ["--tmpfs", f"{path}:ro,size=4096"]
    for key, value in env.items():
        line += ["--env", f"{key}={value}"]
    inside_argv = ["/bin/sh", "-c", 'exec 3<&0 4>&1 0</dev/null 1>&2; exec "$@"', "sh", *argv] if pipes else list(argv)
    return [*line, IMAGE, *inside_argv]


def init_pid(name: str, client: subprocess.Popen[bytes]) -> int:
    """PID 1 of a container that is just being started, as this machine numbers it. Raises UserError."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and client.poll() is None:
        done = _docker("inspect", "--format", "{{.State.Pid}}", name)
        if done.returncode == 0 and (pid := int(done.stdout or 0)) > 0:
            return pid
        time.sleep(0.02)
    if client.poll() is not None:
        return 0  # over already: what it said is in its output
    raise UserError("the container did not start within 30 s; see `docker ps -a`")


def kill(name: str) -> None:
    """End a container and everything in it; does nothing for one that is gone."""
    with contextlib.suppress(subprocess.TimeoutExpired):  # Docker may be slow to notice that it is over already
        _docker("kill", name, timeout=20)


def sweep(label: str) -> None:
    """End the containers that this run has left behind when it was killed."""
    left = _docker("ps", "--quiet", "--filter", f"label={LABEL}={label}").stdout.decode().split()
    if left:
        _docker("kill", *left)


def _system() -> list[str]:
    mounts = []
    for name in ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        if Path(name).is_dir():
            mounts += ["--mount", f"type=bind,src={Path(name).resolve()},dst={name},readonly"]
    return mounts


def _docker(*args: str, data: bytes | None = None, timeout: float = 60) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["docker", *args], capture_output=True, input=data, timeout=timeout)
