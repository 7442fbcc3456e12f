"""What a run shows while it works: a live panel on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from enpire_envs.registry import level_of
from rich.console import Console
from rich.live import Live
from rich.table import Table

from autoenvbench.cli.live import LivePage
from autoenvbench.cli.printing import add_plain
from autoenvbench.publish import levels
from autoenvbench.publish.ranking import unranked_because
from autoenvbench.record.answer import Answer
from autoenvbench.record.clock import RunClock, format_duration
from autoenvbench.record.compute import compute_class
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.results import Result
from autoenvbench.record.run_config import RunConfig
from autoenvbench.record.standing import crowding
from autoenvbench.record.state import RunState
from autoenvbench.record.statistics import percent
from autoenvbench.research.observer import Observer
from autoenvbench.text import visible

_LINE_EVERY_S = 15.0


class RunProgress(Observer):
    """Reads the ledger and tells how the run stands.

    Args:
        page: the run's live page, where there is to be one.
    """

    def __init__(self, page: LivePage | None = None) -> None:
        self._page = page
        self._console = Console(stderr=True)
        self._phase = "research"
        self._last_word: tuple[str, str] | None = None  # slot, what it said
        self._waiting: dict[str, str] = {}  # slots, and for what
        self._next_line = 0.0
        self._next_read = 0.0
        self._live = (
            Live(console=self._console, refresh_per_second=2, transient=True) if self._console.is_terminal else None
        )

    def on_start(self, run_dir: Path, clock: RunClock, config: RunConfig) -> None:
        self._clock, self._config, self._state = clock, config, RunState(config.min_episodes)
        self._ledger = Ledger(run_dir / "ledger.sqlite")
        team = f", a team of {config.team}" if config.team > 1 else ""
        self.log(f"run {run_dir}  ({config.agent}{team} on {config.env}, {format_duration(config.budget_s)})")
        self.log(_rules(config))
        crowded = crowding(config, compute_class())
        for reason in [*levels.unranked_because(config.env, config.env_kwargs), *([crowded] if crowded else [])]:
            self.log(f"this run takes no rank: {reason}")
        if self._page is not None:
            self._page.open(run_dir, self.log)
        if self._live:
            self._live.start()

    def on_stop(self) -> None:
        if self._live:
            self._live.stop()
        self._ledger.close()

    def log(self, text: str) -> None:
        self._console.print(visible(text, lines=True), highlight=False, soft_wrap=True, markup=False)

    def on_agent_event(self, slot: str, event: dict[str, Any]) -> None:
        """The last message or command of any of them is shown."""
        item = event.get("item") if isinstance(event.get("item"), dict) else event
        word = (item or {}).get("text") or (item or {}).get("command")
        if isinstance(word, str) and word.strip():
            self._last_word = slot, word.strip().split("\n")[0][:100]

    def on_wait(self, slot: str, reason: str, seconds: float) -> None:
        if reason and slot not in self._waiting:
            self.log(f"{slot}: waiting for the model's provider ({reason}); next try in {format_duration(seconds)}")
        self._waiting.pop(slot, None)
        if reason:
            self._waiting[slot] = f"{slot} for its model, {format_duration(seconds)}: {reason}"[:120]

    def on_scoring(self, answer: Answer) -> None:
        self._phase = "scoring"
        self.log(
            f"research is over; scoring {answer.commit[:12]} ({answer.how}) on {self._config.held_out} held-out starts"
        )
        self._next_line = 0.0

    def refresh(self) -> None:
        now = time.monotonic()
        if now < self._next_read:
            return
        self._next_read = now + 0.5
        self._state.catch_up(self._ledger)
        if self._live:
            self._live.update(self._panel())
        elif now >= self._next_line:
            self._next_line = now + _LINE_EVERY_S
            self.log("  ".join(f"{k} {v}" for k, v in self._rows()))

    def on_result(self, result: Result, report: Path) -> None:
        """The closing table, on standard output."""
        held = result.held_out
        table = Table(box=None, show_header=False)
        add_plain(
            table, "held-out success", percent(held.success_rate, held.wilson95) + f"  ({held.episodes} episodes)"
        )
        if (fixed := result.corrected) is not None:
            add_plain(
                table, "corrected", percent(fixed.success_rate, fixed.interval95) + "  (for its verifier's errors)"
            )
        add_plain(table, "score", f"{held.score:.3f}   streak {held.streak}"
                      + (f"   pass@8 {percent(held.pass_at_8)}" if held.pass_at_8 is not None else ""))  # fmt: skip
        add_plain(table, "answer", f"{result.answer.commit[:12]} ({result.answer.how})")
        best = "none" if result.best_confirmed is None else percent(result.best_confirmed)
        add_plain(table, "confirmed best", best)
        if len(result.members) > 1:
            average = "none" if result.team_average is None else percent(result.team_average)
            add_plain(table, "team average", average)
            for member in result.members:
                best = (
                    "none confirmed" if member.best_confirmed is None else f"{percent(member.best_confirmed)} confirmed"
                )
                tokens = f", {member.tokens} tokens in {member.calls} calls" if member.calls else ""
                add_plain(table, member.id, f"{best}, {member.ideas} ideas, {member.evaluations} evaluations{tokens}")
        for threshold, spent in result.to_threshold.items():
            if spent is not None:
                add_plain(
                    table,
                    f"to {threshold}",
                    f"{format_duration(spent['time_s'])}, {spent['tokens']:.0f} tokens, {spent['episodes']:.0f} episodes",
                )
        add_plain(table, "research", f"{format_duration(result.research_s or 0)}, {result.evaluations} evaluations, "
                      f"{result.episodes} episodes, {result.ideas} ideas")  # fmt: skip
        add_plain(table, "robot time", format_duration(result.robot_s)
                      + (f" of {format_duration(result.robot_budget_s)}" if result.robot_budget_s else ""))  # fmt: skip
        if (v := result.vision) is not None:
            add_plain(
                table, "questions", f"{v.questions} to {v.model}, which sees pictures: {v.tokens} tokens of its own"
            )
        if (t := result.tokens) and t.calls:
            add_plain(table, "tokens", f"{t.headline} (fresh input + output), {t.all} with cache reads, {t.calls} calls, "
                          f"{result.mtu or 0:.0f} per minute")  # fmt: skip
            if result.cost_usd:
                add_plain(table, "cost", f"{result.cost_usd:.2f} dollars by the price table")
        if result.void_because:
            add_plain(table, "no measurement", "; ".join(result.void_because))
        if reasons := unranked_because(result):
            add_plain(table, "unranked", "; ".join(reasons))
        add_plain(table, "report", str(report))
        Console().print(table)

    def _rows(self) -> list[tuple[str, str]]:
        """What the panel says now: names and values."""
        state, rows = self._state, []
        if self._phase == "research":
            rows.append(("left", format_duration(self._clock.remaining())))
            if (granted := self._config.robot_budget_s) is not None:
                rows.append(("robot time left", format_duration(max(0.0, granted - state.robot_s))))
            rows.append(("robot", "busy" if state.last_compute and state.last_compute.station_busy else "idle"))
        else:
            asked = self._config.held_out * self._config.attempts
            rows.append(("held-out", f"{len(state.held_out)}/{asked}, {state.held_out_successes} succeeded"))
        confirmed, raw = state.curves.confirmed, state.curves.raw
        rows.append(("best", f"{confirmed[-1].value:.0%} confirmed" if confirmed else "none confirmed"))
        if raw:
            rows.append(("best single", f"{raw[-1].value:.0%}"))
        rows.append(("episodes", str(state.episodes)))
        if state.agent_tokens.headline:
            rows.append(("tokens", f"{state.agent_tokens.headline:,}"))
        if len(state.team.members) > 1:
            average = state.team.average
            rows.append(("team average", f"{average[-1].value:.0%}" if average else "none confirmed"))
            rows += [(name, _member_words(name, state)) for name in state.team.members]
        if self._waiting and self._phase == "research":
            rows.append(("waiting", "; ".join(self._waiting.values())))
        if self._last_word and self._phase == "research":
            slot, word = self._last_word
            rows.append((f"{slot}:", word))
        return rows

    def _panel(self) -> Table:
        table = Table(box=None, show_header=False, padding=(0, 2))
        for key, value in self._rows():
            add_plain(table, key, value)
        return table


def _member_words(name: str, state: RunState) -> str:
    """How one member stands: its own best, and what it did and spent."""
    member, own = state.member(name), state.of_member(name)
    best = f"{own.confirmed[-1].value:.0%} confirmed" if own.confirmed else "none confirmed"
    ideas = state.book.words[name, "idea"]
    words = [best, f"{ideas} idea{'s' * (ideas != 1)}", f"{own.episodes} episodes"]
    if own.tokens:
        words.append(f"{own.tokens:,} tokens")
    if not member.at_work:
        words.append("ended" if member.exits else "not begun")
    return ", ".join(words)


def _rules(config: RunConfig) -> str:
    """On which board a run is: its track and pace, and whether they are its level's own."""
    level = level_of(config.env)
    own = level is not None and level.track == config.track
    other = {"open": "station", "station": "open"}[config.track]
    track = f"{config.track} track: " + (
        "the simulator is hidden" if config.track == "station" else "the task may be simulated"
    )
    if level is not None and level.track == "station":
        track += f" ({f'as the level {level.name} is by default' if own else f'not the track of the level {level.name}'}; --track {other} is another board)"
    pace = (
        "in real time"
        if config.pace == 1
        else f"at pace {config.pace:g}"
        if config.pace
        else "simulation as fast as it goes"
    )
    robot = f"; robot time {format_duration(config.robot_budget_s)}" if config.robot_budget_s else ""
    cells = f"; {config.cells} cells" if config.cells > 1 else ""
    owned = ", each of one member alone" if config.own_stations else ""
    alone = "; members work alone" if config.team > 1 and not config.sharing else ""
    return f"{track}; {pace}{robot}{cells}{owned}{alone}"
