"""What `autoenvbench study` shows while its runs go on."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table

from autoenvbench.cli.printing import add_plain
from autoenvbench.record.clock import format_duration
from autoenvbench.study.local import StudyObserver
from autoenvbench.study.runs import PlannedRun, result_of, standing_of
from autoenvbench.text import visible

_LINE_EVERY_S = 60.0


class StudyProgress(StudyObserver):
    """A line a run, and on a terminal a panel of those that are under way."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=1, transient=True) if self._console.is_terminal else None  # fmt: skip
        self._total = self._ended = 0
        self._next = 0.0
        self._where: dict[str, str] = {}

    def __enter__(self) -> StudyProgress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._live:
            self._live.stop()

    def log(self, text: str) -> None:
        self._console.print(visible(text), highlight=False, soft_wrap=True, markup=False)

    def on_begin(self, runs: Sequence[PlannedRun]) -> None:
        self._total = len(runs)

    def on_run(self, run: PlannedRun, where: str) -> None:
        self._where[run.key] = where
        goes_on = standing_of(run).state == "interrupted"
        self.log(f"{run.name}: {'goes on' if goes_on else 'begins'}" + (f" on {where}" if where else ""))

    def on_end(self, run: PlannedRun, problem: str | None) -> None:
        self._ended += 1
        said = problem
        if problem is None:
            run_dir = standing_of(run).run_dir
            assert run_dir is not None
            said = f"held-out {result_of(run_dir).held_out.success_rate:.1%}"
        self.log(f"[{self._ended}/{self._total}] {run.name}: {said}")

    def refresh(self, active: Sequence[PlannedRun]) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (1.0 if self._live else _LINE_EVERY_S)
        rows = []
        for run in active:
            t_run, budget = standing_of(run).t_run, run.config.budget_s
            at = f"{format_duration(t_run)} of {format_duration(budget)}" if t_run <= budget else "being scored"
            rows.append((run.name, at, self._where.get(run.key, "")))
        if self._live:
            table = Table(
                box=None, show_header=False, padding=(0, 2), title=f"{self._ended} of {self._total} runs are done"
            )
            for row in rows:
                add_plain(table, *row)
            self._live.update(table)
        elif rows:
            self.log(f"{self._ended} of {self._total} runs are done; under way: " + "; ".join(f"{name}, {at}" for name, at, _ in rows))  # fmt: skip
