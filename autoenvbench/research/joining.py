"""A member joins a run that is under way: whoever asks leaves a request in the run's folder, and the run answers beside it."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoenvbench.errors import UserError
from autoenvbench.research.run_dir import PAUSE_FILE, is_live

FOLDER = "join"
ANSWERS_WITHIN_S = 180.0  # a call of its model, and a workspace, come before the answer


@dataclass(frozen=True, slots=True)
class Request:
    """That an agent, as `--agent` names it, may join."""

    agent: str
    answer: Path

    def accept(self, member: str) -> None:
        """It works in the run from now on, under this name."""
        _write(self.answer, {"member": member})

    def refuse(self, why: str) -> None:
        """It does not."""
        _write(self.answer, {"error": why})


def join(run_dir: Path, agent: str) -> str:
    """Ask a run that is under way to take in one more member; returns its name. Raises UserError with the run's reason."""
    if not (run_dir / "lock").exists():
        raise UserError(f"{run_dir} is no run's folder; runs are in runs/ unless --out said otherwise")
    if not is_live(run_dir):
        raise UserError(
            f"{run_dir} is not under way; nobody can join it. autoenvbench resume {run_dir} goes on with it"
        )
    if (run_dir / PAUSE_FILE).exists():
        raise UserError(f"{run_dir} is paused; first: autoenvbench resume {run_dir}")
    folder, name = run_dir / FOLDER, secrets.token_hex(8)
    folder.mkdir(mode=0o700, exist_ok=True)
    request, answer = folder / f"{name}.request", folder / f"{name}.answer"
    _write(request, {"agent": agent})
    until = time.monotonic() + ANSWERS_WITHIN_S
    try:
        while time.monotonic() < until and is_live(run_dir):
            if answer.exists():
                told = json.loads(answer.read_text())
                if "error" in told:
                    raise UserError(f"{agent} did not join {run_dir}: {told['error']}")
                return str(told["member"])
            time.sleep(0.1)
    finally:
        for file in (request, answer):
            file.unlink(missing_ok=True)
    raise UserError(
        f"{run_dir} gave no answer: its research is over, or it is just starting; see autoenvbench ledger {run_dir}"
    )


def requests(run_dir: Path) -> Iterator[Request]:
    """Those that nobody has answered yet, each once."""
    folder = run_dir / FOLDER
    if not folder.exists():
        return
    for file in sorted(folder.glob("*.request")):
        try:
            agent = str(json.loads(file.read_text())["agent"])
            file.unlink()
        except (OSError, ValueError, KeyError, TypeError):
            continue  # whoever asked has gone
        yield Request(agent, file.with_suffix(".answer"))


def _write(file: Path, content: dict[str, Any]) -> None:
    """All of it or nothing: somebody waits for the file."""
    scratch = file.with_suffix(".tmp")
    scratch.write_text(json.dumps(content))
    os.replace(scratch, file)
