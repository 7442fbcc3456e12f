"""The adapter's side of slcan (Lawicel) over a pseudo-terminal: what a USB-CAN dongle looks like to a driver."""

from __future__ import annotations

import os
import pty
import select
import termios
import threading
import tty
from collections.abc import Callable
from pathlib import Path

from enpire_real.clock import request_real_time_priority

Answer = Callable[[int, bytes], tuple[int, bytes] | None]


class Adapter:
    """Serves one bus on `link`, a symbolic link to the terminal that a driver opens.

    Args:
        answer: called for each frame (arbitration id, data); what it returns goes back.
    """

    def __init__(self, link: Path, answer: Answer) -> None:
        self._master, self._slave = pty.openpty()
        # Raw at both ends before anybody opens it: an echo would look like frames of our own.
        tty.setraw(self._master)
        tty.setraw(self._slave, termios.TCSANOW)
        self._link, self._answer = link, answer
        link.unlink(missing_ok=True)
        link.symlink_to(os.ttyname(self._slave))
        self._open = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name=f"slcan {link.name}", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        request_real_time_priority()  # it stands for hardware
        rest = b""
        while not self._stop.is_set():
            if not select.select([self._master], [], [], 0.05)[0]:
                continue
            try:
                data = os.read(self._master, 4096)
            except OSError:
                continue
            *lines, rest = (rest + data).split(b"\r")
            out = b"".join(self._line(line) for line in lines)
            if out:
                os.write(self._master, out)
            rest = rest[-64:]  # garbage without an end does not pile up

    def _line(self, line: bytes) -> bytes:
        """What goes back for one command, its carriage returns included."""
        if line[:1] != b"t":
            if line in (b"O", b"C"):
                self._open = line == b"O"
            return {b"V": b"V1013\r", b"N": b"NTWIN\r", b"F": b"F00\r"}.get(line[:1], b"\r")
        try:
            arbitration_id, length = int(line[1:4], 16), int(line[4:5], 16)
            data = bytes.fromhex(line[5 : 5 + 2 * length].decode())
            if len(data) != length:
                raise ValueError
        except ValueError:
            return b"\x07"
        if not self._open:
            return b"\x07"
        reply = self._answer(arbitration_id, data)
        return b"" if reply is None else b"t%03X%d%s\r" % (reply[0], len(reply[1]), reply[1].hex().upper().encode())

    def close(self) -> None:
        """Pull the adapter out."""
        self._stop.set()
        self._thread.join(1.0)
        self._link.unlink(missing_ok=True)
        os.close(self._master)
        os.close(self._slave)
