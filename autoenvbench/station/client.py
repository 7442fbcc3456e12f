"""A station's client, standard library only: what `aeb`, the built-in researchers and the run itself speak."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from autoenvbench.errors import UserError, error_of

#: In an agent's home: {"socket": ..., "token": ..., "stop": the stop's own socket, or a list of those of several cells}.
CREDENTIALS = ".aeb.json"
_STOP_S = 10.0  # that a cell may take to answer a stop


def stop_socket(socket_path: Path, place: int = 0) -> Path:
    """Where the stop's door of the cell at a place is, beside a station's socket."""
    return socket_path.with_name(f"{socket_path.stem}.stop" + (f"-{place + 1}" if place else ""))


class StationGone(UserError):
    """Nobody listens at the station's socket: its run is over, or was cut off."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("station", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket; http.client calls it."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        until = time.monotonic() + (self.timeout or 0.0)
        while True:
            try:
                return self.sock.connect(self._path)
            except BlockingIOError:  # a socket with a timeout does not wait for room among those who connect
                if time.monotonic() > until:
                    raise
                time.sleep(0.005)


class StationClient:
    """Talks to one station. Every method raises the UserError that the station answered with.

    Args:
        socket_path: the station's; empty for a client that only stops.
        stop_socket: the stop's own, or those of several cells with arms.
    """

    def __init__(self, socket_path: str, token: str, stop_socket: str | Sequence[str] | None = None) -> None:
        self._socket, self._token = socket_path, token
        self._stops = [stop_socket] if isinstance(stop_socket, str) else list(stop_socket or ())

    @classmethod
    def from_home(cls) -> StationClient:
        """The station of the run this process is part of, as the run wrote it into the agent's home."""
        try:
            known = json.loads((Path.home() / CREDENTIALS).read_text())
            return cls(known["socket"], known["token"], known.get("stop"))
        except (OSError, ValueError, KeyError):
            raise UserError(
                f"there is no station here (no ~/{CREDENTIALS}): aeb works inside the workspace of a running "
                "`autoenvbench eval` only"
            ) from None

    def get(self, path: str) -> Any:
        """The JSON that the station answers."""
        return self._request("GET", path)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Send a JSON object; returns the JSON that the station answers."""
        return self._request("POST", path, json.dumps(body).encode())

    def stop(self) -> Any:
        """Stop the arms, of all cells at once, by the doors that nothing else uses where they are known. Where one does not answer, as of a
        cell that was started again, the station, which knows where each is now, stops them all."""
        if not self._stops:
            return self.post("/stop", {})
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(len(self._stops)) as together:
            outcomes = list(together.map(self._stop_at, self._stops))
        failed = [error for _, error in outcomes if error is not None]
        if failed and self._socket:
            with contextlib.suppress(StationGone):  # the door's own words say more then
                return self.post("/stop", {})
        if failed:
            raise failed[0]
        answers = [answer for answer, _ in outcomes]
        durable = [answer["durable"] for answer in answers if "durable" in answer]
        return {**answers[0], **({"durable": all(durable)} if durable else {})}

    def _stop_at(self, path: str) -> tuple[dict[str, Any], UserError | None]:
        try:
            return StationClient(path, self._token)._request("POST", "/stop", b"{}", timeout=_STOP_S), None
        except UserError as error:
            return {}, error

    def upload(self, path: str, file: Path) -> Any:
        """Send a file as it is; returns the JSON that the station answers."""
        with file.open("rb") as data:
            return self._request("POST", path, data, {"Content-Length": str(file.stat().st_size)})

    def download(self, path: str, into: Path, most: int) -> None:
        """Write what the station answers, of at most so many bytes, to a file."""
        connection = self._connect(timeout=120)
        try:
            response = self._send(connection, "GET", path, None, {})
            if response.status != 200:
                raise _error(json.loads(response.read()))
            size = int(response.headers.get("Content-Length", 0))
            if size > most:
                raise UserError(f"what the station sends is {size >> 20} MB; at most {most >> 20} MB are taken")
            with into.open("wb") as file:
                while chunk := response.read(1 << 20):
                    file.write(chunk)
            if into.stat().st_size != size:
                raise UserError("the station hung up before it had sent all; try again")
        except (OSError, http.client.HTTPException) as error:
            raise UserError(f"cannot take what the station sends: {error or type(error).__name__}") from None
        finally:
            connection.close()

    def job(
        self, path: str, body: dict[str, Any], on_episode: Callable[[dict[str, Any]], None] = lambda e: None,
        on_wait: Callable[[list[str]], None] = lambda jobs: None,
    ) -> dict[str, Any]:  # fmt: skip
        """Start a long job and follow it to its result.

        Args:
            on_episode: called with each episode as it is judged.
            on_wait: called where it waits for a robot, with the jobs of others that have them.
        """
        connection = self._connect(timeout=None)
        try:
            response = self._send(connection, "POST", path, json.dumps(body).encode(), {})
            if response.status != 200:
                raise _error(json.loads(response.read()))
            while line := response.readline():
                event = json.loads(line)
                if "episode" in event:
                    on_episode(event["episode"])
                elif "waiting" in event:
                    on_wait(event["waiting"])
                elif "result" in event:
                    result: dict[str, Any] = event["result"]
                    return result
                else:
                    raise _error(event)
            raise UserError("the station hung up before the job was done; see `aeb status`")
        finally:
            connection.close()

    def _request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, *, timeout: float = 120
    ) -> Any:
        connection = self._connect(timeout)
        try:
            response = self._send(connection, method, path, body, headers or {})
            answer = json.loads(response.read())
            if response.status != 200:
                raise _error(answer)
            return answer
        finally:
            connection.close()

    def _connect(self, timeout: float | None) -> _UnixConnection:
        return _UnixConnection(self._socket, timeout)

    def _send(
        self, connection: _UnixConnection, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        try:
            connection.request(method, path, body, {"Authorization": f"Bearer {self._token}", **headers})
            return connection.getresponse()
        except (FileNotFoundError, ConnectionRefusedError):
            raise StationGone(f"there is no station at {self._socket} any more") from None
        except (OSError, http.client.HTTPException) as error:
            raise UserError(f"cannot reach the station at {self._socket}: {error or type(error).__name__}") from None


def _error(answer: dict[str, Any]) -> UserError:
    return error_of(answer.get("exit_code", 2), answer.get("error", "the station refused"))
