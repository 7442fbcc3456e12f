"""What a built-in researcher does in its workspace: the verbs of `aeb`, and Git beside them."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from autoenvbench.errors import BudgetOver, RobotBusy, UserError
from autoenvbench.station.client import StationClient, StationGone
from autoenvbench.workspace.bundling import git, send_head
from autoenvbench.workspace.sharing import Adopted, adopt

#: How a run ends while its researcher is at work.
RUN_OVER = (BudgetOver, StationGone)
_WAIT_S = (1.0, 15.0)  # between two tries for a robot that another member holds: at first, at most

T = TypeVar("T")
#: Hears of each judged episode of a job, as the station tells it.
OnEpisode = Callable[[dict[str, Any]], None]


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
        """Success rate of its own confirmed best; None before there is one."""
        best = self._client.get("/status")["best"]
        return None if best is None else float(best["success_rate"])

    def left_robot_s(self) -> float:
        """What is left of the robot time that the run grants [s]; infinite where nothing limits it."""
        status = self._client.get("/status")
        granted = status["robot_budget_s"]
        return math.inf if granted is None else float(granted) - float(status["robot_s"])

    def idea(self, title: str, regime: str | None, parent: str | None = None, inspired_by: Sequence[str] = ()) -> str:
        """Register a hypothesis; returns its id."""
        idea = self._client.post(
            "/ideas", {"title": title, "regime": regime, "parent": parent, "inspired_by": list(inspired_by)}
        )
        return str(idea["id"])

    def learned(self, idea: str, text: str) -> None:
        """Write down what an idea of its own has taught."""
        self._client.post(f"/ideas/{idea}/learned", {"text": text})

    def peers(self) -> list[dict[str, Any]]:
        """The run's members: `agent`, whether it is `you`, its confirmed `best` (success_rate, episodes) and `best_idea`. Raises UserError
        where members work alone."""
        return list(self._client.get("/peers"))

    def adopt(self, idea: str) -> Adopted:
        """Take a peer's idea over into HEAD. Raises UserError."""
        return adopt(self._client, self.workspace, idea, theirs=True, checkpoints=True)

    def commit(self, message: str, *files: str) -> None:
        """Commit these files as they are, and none that is not named."""
        git(self.workspace, "add", *files)
        git(self.workspace, "commit", "--quiet", "--allow-empty", "-m", message)

    def send(self) -> str:
        """Send HEAD, to be run later; returns the digest by which it is asked for."""
        return send_head(self._client, self.workspace).digest

    def practise(
        self, n: int, seed: int, digest: str | None = None, on_episode: OnEpisode = lambda episode: None
    ) -> dict[str, Any]:
        """Run HEAD, or what was sent, on `n` public starts from `seed` on; its episodes lie in data/practice then."""
        return self._job("/practice", {"digest": digest or self.send(), "n": n, "seed": seed}, on_episode)

    def evaluate(
        self, idea: str, n: int = 20, digest: str | None = None, on_episode: OnEpisode = lambda episode: None
    ) -> dict[str, Any]:
        """Score HEAD, or what was sent, on fresh secret starts; the best is confirmed at once. It is submitted where it leads now."""
        digest = digest or self.send()
        result = self._job("/evaluate", {"digest": digest, "n": n, "idea": idea}, on_episode)
        best = self._client.get("/status")["best"]
        if best is not None and best["commit"] == result["commit"]:
            self.submit(digest)
        return result

    def submit(self, digest: str) -> None:
        """Make what was sent its answer."""
        self._client.post("/submit", {"digest": digest})

    def _job(self, path: str, body: dict[str, Any], on_episode: OnEpisode) -> dict[str, Any]:
        return self._when_free(lambda: self._client.job(path, body, on_episode))

    def _when_free(self, ask: Callable[[], T]) -> T:
        wait, most = _WAIT_S
        while True:
            try:
                return ask()
            except RobotBusy:
                time.sleep(wait)
                wait = min(2 * wait, most)


def work(research: Callable[[Lab, dict[str, Any]], None]) -> None:
    """A built-in researcher as a program: research in the working folder, by what the command line tells it as JSON, until the run is over."""
    try:
        lab = Lab.here()
        try:
            research(lab, json.loads(sys.argv[1]))
        except RUN_OVER as over:
            lab.log(str(over))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:  # the deadline
        os._exit(130)
