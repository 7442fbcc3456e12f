"""What each member of a run is doing now, as far as its ledger can tell: a fold over the events."""

from __future__ import annotations

from dataclasses import dataclass, field

from autoenvbench.record.events import NOT_AGENTS, Purpose
from autoenvbench.record.ledger import Event
from autoenvbench.record.state import Member, RunState

_AT_ROBOT: dict[Purpose, str] = {"practice": "practises", "learn": "learns at the robot", "evaluate": "evaluates", "confirm": "confirms",
                                 "compare": "compares", "heldout": "is scored", "score": "is scored"}  # fmt: skip


@dataclass(slots=True)
class _Doing:
    """Of one member: calls under way and waits for their provider, by id, with their times [s]; the job it asked for; its last event."""

    calls: dict[str, float] = field(default_factory=dict)
    waits: dict[str, tuple[float, str]] = field(default_factory=dict)
    asked: tuple[float, str] | None = None
    last: str = ""
    since: float = 0.0
    ended: str = ""


@dataclass(slots=True)
class Doings:
    """Grown by a ledger's events in their order; what is over is forgotten."""

    _of: dict[str, _Doing] = field(default_factory=dict)
    _episodes: dict[str, int] = field(default_factory=dict)  # so far, of evaluations that are open

    def add(self, event: Event) -> None:
        """Take in the ledger's next event, of any kind."""
        p = event.payload
        if event.kind == "run" and p.phase == "resumed":
            self._of.clear()  # what was under way ended with the process before
            self._episodes.clear()
        if event.kind == "evaluation":
            self._episodes.pop(p.id, None)
            if p.phase == "started":
                self._episodes[p.id] = 0
        elif event.kind == "episode" and p.evaluation in self._episodes:
            self._episodes[p.evaluation] += 1
        if event.agent is None or event.agent in NOT_AGENTS:
            return
        own = self._of.setdefault(event.agent, _Doing())
        match event.kind:
            case "call":
                own.calls[p.id] = event.t_run
            case "tokens":
                own.calls.pop(p.call or "", None)
                own.waits.pop(p.call or "", None)
            case "wait" if p.phase == "started":
                own.waits[p.call] = event.t_run, p.reason
            case "wait":
                own.waits.pop(p.call, None)
            case "job":
                own.asked = (event.t_run, p.what) if p.phase == "asked" else None
            case "agent":
                own.calls.clear()
                own.waits.clear()
                own.asked, own.ended = None, p.reason or ""
        if event.kind not in ("episode", "start", "wait"):
            own.last, own.since = event.kind, event.t_run

    def of(self, name: str, member: Member, state: RunState, *, over: bool) -> tuple[str, float]:
        """What it does, in words, and since when [s]. `over`: nothing goes on in this run any more."""
        own = self._of.get(name, _Doing())
        if over or not member.at_work:
            return (
                f"ended: {own.ended}" if own.ended else "ended"
            ) if member.exits or over else "has not begun", own.since
        words, since = list[str](), list[float]()
        for id, e in state.open_evaluations.items():
            if e.agent == name:
                words.append(
                    f"{_AT_ROBOT[e.payload.purpose]} {id} ({self._episodes.get(id, 0)} of {e.payload.planned})"
                )
                since.append(e.t_run)
        if own.asked is not None:
            words.append(f"waits for a robot{f' ({own.asked[1]})' if own.asked[1] else ''}")
            since.append(own.asked[0])
        for at, why in list(own.waits.values())[:1]:
            words.append(f"waits for its model's provider ({why})")
            since.append(at)
        if own.calls and not own.waits:
            words.append("waits for its model")
            since.append(min(own.calls.values()))
        if not words:
            words.append("reads what others do" if own.last == "look" else "works on its own machine")
            since.append(own.since)
        return ", ".join(words), max(since)
