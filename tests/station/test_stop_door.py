"""The stop's own door answers as soon as it knows who asks, and its answer arrives however slowly the asker goes on."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoenvbench.errors import UserError
from autoenvbench.station.client import StationClient
from autoenvbench.station.stop_door import StopDoor


@pytest.fixture
def stopped_by() -> list[str]:
    return []


@pytest.fixture
def path(stopped_by: list[str]) -> Iterator[Path]:
    def stop(client: str) -> dict[str, bool]:
        stopped_by.append(client)
        if client == "guest":
            raise UserError("guests stop nothing")
        return {"stopped": True}

    with tempfile.TemporaryDirectory(prefix="aeb-", dir="/tmp") as folder:
        path = Path(folder) / "s.stop"
        door = StopDoor(path, {"a": "admin", "g": "guest"}, stop, urgent=False)
        yield path
        door.close()


@pytest.mark.parametrize(("token", "status"), [("a", b"200"), ("g", b"400"), ("nobody", b"401")])
def test_an_answer_survives_a_body_that_comes_after_it(
    path: Path, stopped_by: list[str], token: str, status: bytes
) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5.0)
        connection.connect(str(path))
        connection.sendall(b"POST /stop HTTP/1.1\r\nAuthorization: Bearer %s\r\n\r\n" % token.encode())
        time.sleep(0.1)  # the answer is out; a client such as http.client writes its body only now
        connection.sendall(b"{}")
        answer = b""
        while came := connection.recv(4096):
            answer += came
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert len(stopped_by) == (status != b"401")


def test_what_comes_after_a_stop_is_no_second_one(path: Path, stopped_by: list[str]) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b"POST /stop HTTP/1.1\r\nAuthorization: Bearer a\r\n\r\n" * 3)
        connection.sendall(b"POST /stop HTTP/1.1\r\nAuthorization: Bearer a\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass
    assert stopped_by == ["admin"]


def test_two_hundred_stops_are_two_hundred_answers(path: Path, stopped_by: list[str]) -> None:
    client = StationClient(str(path), "a", str(path))
    assert all(client.stop() == {"stopped": True} for _ in range(200))
    assert stopped_by == ["admin"] * 200


def test_a_stop_waits_for_room_where_many_connect_at_once(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        first = socket.socket(socket.AF_UNIX)
        first.connect(str(path))
        second = socket.socket(socket.AF_UNIX)
        second.settimeout(1)
        with pytest.raises(BlockingIOError):  # there is no room
            second.connect(str(path))

        def serve() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                connection.settimeout(10)
                with connection, contextlib.suppress(OSError):
                    if connection.recv(4096):
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        late = threading.Timer(0.3, serve)
        late.start()
        threading.Timer(0.4, first.close).start()
        assert StationClient(str(path), "a", str(path)).stop() == {}
        late.join()
        second.close()


def test_silent_connections_keep_no_stop_waiting(path: Path, stopped_by: list[str]) -> None:
    silent = [socket.socket(socket.AF_UNIX) for _ in range(300)]
    try:
        for connection in silent:
            connection.connect(str(path))
        assert StationClient(str(path), "a", str(path)).stop() == {"stopped": True}
    finally:
        for connection in silent:
            connection.close()
