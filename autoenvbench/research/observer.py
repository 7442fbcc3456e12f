"""Who watches a run: the command line shows it, a study may not care."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoenvbench.record.answer import Answer
from autoenvbench.record.clock import RunClock
from autoenvbench.record.results import Result
from autoenvbench.record.run_config import RunConfig


class Observer:
    """Told of a run as it goes; every method does nothing here. None of them may block or raise: the run waits for it."""

    def on_start(self, run_dir: Path, clock: RunClock, config: RunConfig) -> None:
        """The run's folder and ledger are there, its station is about to start."""

    def log(self, text: str) -> None:
        """Something that a person should know."""

    def on_agent_event(self, slot: str, event: dict[str, Any]) -> None:
        """An event that the member `slot` (such as codex-1) printed, in the words of its command line tool."""

    def on_wait(self, slot: str, reason: str, seconds: float) -> None:
        """A call of the member `slot` waits for its model's provider, for so long; with no reason, no longer."""

    def on_scoring(self, answer: Answer) -> None:
        """Research is over, and the answer is being scored."""

    def refresh(self) -> None:
        """Called several times a second while the run lasts."""

    def on_stop(self) -> None:
        """The work is over, well or not."""

    def on_result(self, result: Result, report: Path) -> None:
        """The run is finished."""
