"""Debian's Chromium without a window, driven through a pipe: pages are opened, clicked, measured, and nothing listens on a port."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium")
WITHOUT = "Chromium is not installed (Debian: apt install chromium; Ubuntu has it as a snap alone, so put a `chromium` on PATH)"
SHOTS = os.environ.get("AUTOENVBENCH_SCREENSHOTS")  # a folder, to look at what is drawn
AXE = Path(__file__).parents[1] / ".tools/node_modules/axe-core/axe.min.js"
_WAIT_S = 120.0  # a busy machine starts it slowly


class Chromium:
    """One browser with one page; `said` is what the page wrote to its console, what its policy refused, and dialogs that it opened."""

    def __init__(self, profile: Path) -> None:
        assert PROGRAM is not None
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        given = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (theirs_in, theirs_out)]  # away from 3 and 4
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{given[0]} 4>&{given[1]}', "bash", PROGRAM, "--headless=new", "--no-sandbox", "--disable-gpu",
             "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions", "--disable-background-networking",
             "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"],
            pass_fds=given, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for fd in (theirs_in, theirs_out, *given):
            os.close(fd)
        self._out, self._in, self._rest, self._number = ours_out, ours_in, b"", 0
        self._events: list[dict[str, Any]] = []
        self._session: str | None = None
        page = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.said: list[str] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the Chrome DevTools Protocol, and what it returns."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        os.write(
            self._out, json.dumps(message | ({"sessionId": self._session} if self._session else {})).encode() + b"\0"
        )
        while (answer := self._read()).get("id") != self._number:
            self._events.append(answer)
        assert "error" not in answer, answer
        return dict(answer["result"])

    def _read(self) -> dict[str, Any]:
        until = time.monotonic() + _WAIT_S
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0.0, until - time.monotonic()))
            assert ready, "the browser does not answer"
            more = os.read(self._in, 1 << 16)
            assert more, "the browser has ended"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        if found.get("method") in (
            "Runtime.consoleAPICalled",
            "Runtime.exceptionThrown",
            "Log.entryAdded",
            "Page.javascriptDialogOpening",
        ):
            self.said.append(json.dumps(found["params"]))
        return found

    def open(self, page: Path | str, width: int = 1280, dark: bool = False, fragment: str = "") -> None:
        """Load a page from disk, or by its address, in a window so wide [CSS pixels]."""
        self.look(width, dark)
        self.call("Page.navigate", url="about:blank")
        self._events.clear()
        self.call("Page.navigate", url=page if isinstance(page, str) else page.resolve().as_uri() + fragment)
        assert self.run(
            "new Promise(done => document.readyState === 'complete' ? done(true) : addEventListener('load', () => done(true)))"
        )

    def look(self, width: int, dark: bool) -> None:
        """A window so wide [CSS pixels], a phone's if it is narrow, and light or dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 700
        )
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, expression: str) -> Any:
        """The value of an expression once it is true."""
        until = time.monotonic() + _WAIT_S
        while not (value := self.run(expression)):
            assert time.monotonic() < until, (
                f"{expression} is never so: {self.run('document.body.innerText')} {self.said}"
            )
            time.sleep(0.05)
        return value

    def press(self, key: str, text: str = "") -> None:
        """A key by its name, down and up; `text`: what it types."""
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                **({"text": text} if text and kind == "keyDown" else {}),
            )

    def shoot(self, name: str) -> None:
        """The whole page as a picture, where pictures are asked for."""
        if SHOTS:
            data = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
            Path(SHOTS, f"{name}.png").write_bytes(base64.b64decode(data))

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            os.write(self._out, b'{"id":0,"method":"Browser.close"}\0')
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)
