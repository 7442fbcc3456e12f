"""The way of a stop to a cell on another machine: a wire of its own, which is cut where a stop does not get through."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

from autoenvbench.errors import StationFault, error_of
from autoenvbench.station import far_wire, messages
from autoenvbench.station.far_wire import Place

STOP_S = 2.0  # that a stop may take to the other machine and back, until the wire is taken for lost


class StopLine:
    """A wire for stops alone, of one thread: no bundle, no film and no loop is in their way. Raises OSError.

    Args:
        on_lost: called where a stop did not get there in `STOP_S`: the cell's wire is cut then, which stops the arms.
    """

    def __init__(self, place: Place, on_lost: Callable[[], None]) -> None:
        raw = socket.create_connection((place.host, place.port), far_wire.SEND_S)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._line: ssl.SSLSocket | None = place.context().wrap_socket(raw)
        self._on_lost, self._turn = on_lost, threading.Lock()
        self._line.sendall(far_wire.frame(far_wire.STOP_LINE))
        threading.Thread(target=self._beat, daemon=True, name="stop line").start()

    def stop(self, token: str) -> dict[str, Any]:
        """Ask the worker to stop its arms; what it answers. Raises UserError, StationFault where it does not answer."""
        request = f"POST /stop HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        try:
            with self._turn:
                answer = self._ask(request)
            head, _, body = answer.partition(b"\r\n\r\n")
            told = json.loads(body)
            if b" 200 " in head.split(b"\r\n")[0]:
                return told
        except (OSError, ValueError, messages.Closed) as error:
            self._on_lost()
            raise StationFault(
                f"the stop did not get to the arms' machine in {STOP_S:.0f} s ({error}), so the connection to it is cut: its arms stop when "
                "they notice, in a few seconds. In danger press the emergency stop"
            ) from None
        raise error_of(int(told.get("exit_code", 2)), str(told.get("error", "the station refused")))

    def _ask(self, request: bytes) -> bytes:
        if self._line is None:
            raise messages.Closed("the line is cut")
        deadline = time.monotonic() + STOP_S
        try:
            self._line.settimeout(STOP_S)
            self._line.sendall(far_wire.frame(far_wire.ASK, request))
            arrived = b""
            while True:
                self._line.settimeout(max(0.001, deadline - time.monotonic()))
                came = self._line.recv(1 << 16)
                if not came:
                    raise messages.Closed("the other machine hung up")
                arrived += came
                while (found := far_wire.split(arrived)) is not None:
                    kind, content, arrived = found
                    if kind == far_wire.ANSWER:
                        if not content:
                            raise messages.Closed("the worker does not answer")
                        return content
        except (OSError, messages.Closed):
            self._line = None
            raise

    def _beat(self) -> None:
        """The node hears that this line lives, and what it beats is taken from it."""
        while True:
            time.sleep(far_wire.BEAT_S)
            with self._turn:
                if self._line is None:
                    return
                try:
                    self._line.settimeout(STOP_S)
                    self._line.sendall(far_wire.frame(far_wire.BEAT))
                    self._line.settimeout(0.0)
                    with contextlib.suppress(ssl.SSLWantReadError, BlockingIOError):
                        while self._line.recv(1 << 16):
                            pass
                except OSError:
                    self._line = None
                    self._on_lost()
                    return
