"""Runs inside a cage: gives the agent a loopback port to the model gateway's Unix socket, and is its parent.

Run as ``python forward.py SOCKET -- COMMAND...``; SOCKET is "-" for an agent without a model. "{gateway}" in the command, the environment and the files that
AEB_GATEWAY_FILES lists becomes the base URL. Standard library only, and nothing of this package is imported: it starts
in 30 ms. SIGINT and SIGTERM are passed on to the agent.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

CANNOT_START = "cannot start "


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _serve(listener: socket.socket, path: str) -> None:
    while True:
        client, _ = listener.accept()
        upstream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            upstream.connect(path)
        except OSError:
            client.close()
            continue
        for pair in ((client, upstream), (upstream, client)):
            threading.Thread(target=_pump, args=pair, daemon=True).start()


def main() -> int:
    """Run the agent; returns its exit code, 128 + the signal that killed it as shells do, or 127 if it cannot be started."""
    path, command = sys.argv[1], sys.argv[3:]
    gateway = ""
    if path != "-":
        listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=_serve, args=(listener, path), daemon=True).start()
        gateway = f"http://127.0.0.1:{listener.getsockname()[1]}"

    def fill(text: str) -> str:
        return text.replace("{gateway}", gateway)

    largest, processes = map(int, os.environ.pop("AEB_LIMITS", "0,0").split(","))
    for kind, most in ((resource.RLIMIT_FSIZE, largest), (resource.RLIMIT_NPROC, processes), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # never above what we were given ourselves
            if most or kind == resource.RLIMIT_CORE:
                resource.setrlimit(kind, (most, most))
    for file in filter(None, os.environ.pop("AEB_GATEWAY_FILES", "").split(os.pathsep)):
        Path(file).write_text(fill(Path(file).read_text()))
    os.environ["AEB_SESSION"] = str(os.getpid())  # what an agent's queue of jobs ends with
    try:
        child = subprocess.Popen([fill(c) for c in command], env={k: fill(v) for k, v in os.environ.items()})
    except OSError as error:
        print(f"{CANNOT_START}{command[0]!r} in the cage: {error.strerror}", file=sys.stderr)
        return 127
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: child.send_signal(number))
    code = child.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
