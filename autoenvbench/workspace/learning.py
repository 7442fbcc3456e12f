"""`aeb learn`: the robot acts by what a learner in this workspace has learned so far, until one of the two ends."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from autoenvbench.errors import UserError
from autoenvbench.station.client import StationClient
from autoenvbench.workspace.bundling import send_head
from autoenvbench.workspace.learner import LIVE, NEWEST, Learner

_SEND_S = 1.0  # between two looks for new weights


def learn(
    client: StationClient,
    workspace: Path,
    argv: Sequence[str],
    *,
    n: int,
    minutes: float,
    on_episode: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Run a learner and a session at the station beside each other; returns the session's result, and how the learner ended.

    Args:
        argv: the learner, which leaves its networks in LIVE/NEWEST of the workspace.
        n, minutes: of the session at most.

    Raises:
        UserError: what the station refuses, or a learner that writes no network.
    """
    head = send_head(client, workspace, must_run=False)
    learner = Learner(argv, workspace, workspace / LIVE / NEWEST)
    over = threading.Event()
    refused: list[str] = []
    try:
        _send(client, learner.wait_for_first())

        def beside() -> None:
            while not over.wait(_SEND_S):
                if (why := learner.ended()) is not None:
                    with contextlib.suppress(UserError):  # the session may not have begun yet, or be over
                        client.post("/learn/end", {"why": why})
                elif (data := learner.newest()) is not None:
                    try:
                        _send(client, data)
                    except UserError as error:
                        refused.append(str(error))

        sending = threading.Thread(target=beside, daemon=True)
        sending.start()
        try:
            result = client.job("/learn", {"digest": head.digest, "n": n, "minutes": minutes}, on_episode)
        finally:
            over.set()
            sending.join()
        ended, failed = learner.ended(), learner.failed
    finally:
        learner.stop()
    return {
        **result,
        "learner": ended or "the learner was told to end",
        "learner_failed": failed,
        "refused": refused[-1:],
    }


def _send(client: StationClient, data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        client.upload("/learn/weights", Path(file.name))
