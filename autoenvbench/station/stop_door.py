"""The stop's own door: a socket and a thread that share nothing with uploads, jobs, pauses or the disk.

It understands `POST /stop` with a bearer token and answers as soon as the headers are there. Connections are read as they come, so
that a slow one keeps nobody waiting.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enpire_real.clock import request_real_time_priority

from autoenvbench.errors import StationFault, UserError

_MOST = 256  # connections; beyond, the one that has been silent for longest is closed
_PATIENCE_S, _LONGEST = 5.0, 8192
_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 500: "Internal Server Error"}


@dataclass
class _Request:
    since: float  # time.monotonic()
    received: bytes = b""
    answered: bool = False


class StopDoor:
    """Listens until `close`. `stop` is called with the client's name and must not block.

    `urgent`: where there are arms to stop, this thread goes before all others that the machine lets it precede.
    """

    def __init__(
        self, path: Path, tokens: dict[str, str], stop: Callable[[str], dict[str, Any]], *, urgent: bool
    ) -> None:
        self._path, self._tokens, self._stop, self._urgent = path, tokens, stop, urgent
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        os.chmod(path, 0o600)
        self._listener.listen(_MOST)
        self._listener.setblocking(False)
        self._requests: dict[socket.socket, _Request] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stop", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no more; the socket is removed."""
        self._closed.set()
        self._thread.join(2.0)
        self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        if self._urgent:
            request_real_time_priority()
        while not self._closed.is_set():
            for key, _ in self._selector.select(0.5):
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                try:
                    self._accept() if connection is self._listener else self._read(connection)
                except OSError:
                    self._hang_up(connection)
            for connection in [c for c, r in self._requests.items() if time.monotonic() - r.since > _PATIENCE_S]:
                self._hang_up(connection)
        for connection in list(self._requests):
            self._hang_up(connection)
        self._listener.close()
        self._selector.close()

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.setblocking(False)
        if len(self._requests) >= _MOST:
            self._hang_up(next(iter(self._requests)))
        self._requests[connection] = _Request(time.monotonic())
        self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, connection: socket.socket) -> None:
        came = connection.recv(_LONGEST)
        request = self._requests[connection]
        if not request.answered:
            request.received += came
            if b"\r\n\r\n" in request.received or not came or len(request.received) > _LONGEST:
                request.answered = True
                self._reply(connection, *self._answer(request.received))
        # Whoever still sends a body must not find the line cut before reading the answer: the client hangs up first.
        if not came:
            self._hang_up(connection)

    def _reply(self, connection: socket.socket, status: int, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode()
        head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\n"
        with contextlib.suppress(OSError):
            connection.send(f"{head}Content-Length: {len(text)}\r\nConnection: close\r\n\r\n".encode() + text)
            connection.shutdown(socket.SHUT_WR)

    def _answer(self, received: bytes) -> tuple[int, dict[str, Any]]:
        first, *lines = received.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if first.split(" ")[:2] != ["POST", "/stop"]:
            return 404, {"error": "here is POST /stop and nothing else", "exit_code": 2}
        given = headers.get("authorization", "").removeprefix("Bearer ").encode()
        names = [name for token, name in self._tokens.items() if hmac.compare_digest(token.encode(), given)]
        if not names:
            return 401, {"error": "this station does not know you: no valid bearer token", "exit_code": 2}
        try:
            return 200, self._stop(names[0])
        except UserError as error:
            return 400, {"error": str(error), "exit_code": error.exit_code}
        except Exception as error:
            told = StationFault.of(error)
            return 500, {"error": str(told), "exit_code": told.exit_code}

    def _hang_up(self, connection: socket.socket) -> None:
        if self._requests.pop(connection, None) is not None:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(connection)
            connection.close()
