"""What a built-in researcher does in its workspace: the verbs of `aeb`, and Git beside them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from autoenvbench.errors import BudgetOver, RobotBusy
from autoenvbench.station.client import StationClient, StationGone
from autoenvbench.workspace.bundling import git, send_head

#: How a run ends while its researcher is at work.
RUN_OVER = (BudgetOver, StationGone)
_WAIT_S = (1.0, 15.0)  # between two tries for a robot that another member holds: at first, at most

T = TypeVar("T")


class Lab:
    """A workspace and its station. Every verb raises what ends a run, one of `RUN_OVER`."""

    def __init__(self, workspace: Path, client: StationClient) -> None:
        self.workspace, self._client = workspace, client

    @classmethod
    def here(cls) -> Lab:
        """Of the run that this process is part of."""
        return cls(Path.cwd(), StationClient.from_home())

    def log(self, text: str) -> None:
        """A message in the run's record of its agent."""
        print(json.dumps({"type": "message", "text": text}), flush=True)

    def left_s(self) -> float:
        """What is left of the budget [s]."""
        return float(self._client.get("/status")["budget_left_s"])

    def best_rate(self) -> float | None:
        """Success rate of the run's confirmed best; None before there is one."""
        best = self._client.get("/status")["best"]
        return None if best is None else float(best["success_rate"])

    def idea(self, title: str, regime: str, parent: str | None = None) -> str:
        """Register a hypothesis; returns its id."""
        idea = self._client.post("/ideas", {"title": title, "regime": regime, "parent": parent})
        return str(idea["id"])

    def commit(self, message: str, *files: str) -> None:
        """Commit these files as they are, and none that is not named."""
        git(self.workspace, "add", *files)
        git(self.workspace, "commit", "--quiet", "--allow-empty", "-m", message)

    def practise(self, n: int, seed: int) -> dict[str, Any]:
        """Run HEAD on `n` public starts from `seed` on; its episodes lie in data/practice then."""
        return self._job("/practice", {"digest": self._digest(), "n": n, "seed": seed})

    def evaluate(self, idea: str, n: int = 20) -> dict[str, Any]:
        """Score HEAD on fresh secret starts; the best is confirmed at once. HEAD is submitted where it leads now."""
        digest = self._digest()
        result = self._job("/evaluate", {"digest": digest, "n": n, "idea": idea})
        best = self._client.get("/status")["best"]
        if best is not None and best["commit"] == result["commit"]:
            self._client.post("/submit", {"digest": digest})
        return result

    def _digest(self) -> str:
        return send_head(self._client, self.workspace).digest

    def _job(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._when_free(lambda: self._client.job(path, body))

    def _when_free(self, ask: Callable[[], T]) -> T:
        wait, most = _WAIT_S
        while True:
            try:
                return ask()
            except RobotBusy:
                time.sleep(wait)
                wait = min(2 * wait, most)
