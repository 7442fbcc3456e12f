"""What a hostile agent tries from inside its cage, one file for each thing that is attacked.

The files are one program: `test_hostile_agent.py` joins them, this one first and run.py last, because nothing but its command line
reaches the cage (`--agent command:...`). It writes evidence.json.

Each attempt returns what it got hold of, or None. The first line of its docstring says what it tries, the second what stops it;
both make the table in README.md.
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

ATTEMPTS = {}
HOST = json.loads(sys.argv[1]) if __name__ == "__main__" else {}


def attempt(function):
    ATTEMPTS[function.__name__] = function
    return function


def shell(command, timeout=60, **more):
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=timeout, **more)
    return done.returncode, done.stdout + done.stderr


def files(pattern, roots=("/",), limit=400_000):
    """Files anywhere that match, without /proc and /sys."""
    found, seen = [], 0
    for root in roots:
        for folder, folders, names in os.walk(root):
            folders[:] = [f for f in folders if os.path.join(folder, f) not in ("/proc", "/sys", "/dev")]
            seen += len(names)
            found += [os.path.join(folder, n) for n in names if re.search(pattern, os.path.join(folder, n))]
            if seen > limit:
                return found
    return found


def write_to(path):
    """Whether a file could be changed."""
    try:
        with open(path, "a") as file:
            file.write("\n# changed\n")
        return f"changed {path}"
    except OSError:
        return None


def package(name):
    import importlib.util

    return Path(importlib.util.find_spec(name).origin).parent


def station(path, body=None, token=None):
    credentials = json.loads((Path.home() / ".aeb.json").read_text())
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(credentials["socket"])
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (
        f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Authorization: Bearer {token or credentials['token']}\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(head.encode() + data)
    answer = b""
    with contextlib.suppress(OSError):
        while chunk := connection.recv(1 << 16):
            answer += chunk
    return int(answer.split(b" ", 2)[1]) if answer else 0, answer.decode(errors="replace")
