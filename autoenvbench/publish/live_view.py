"""What the live page shows of a run: its ledger, followed as it is written, as a few sections of plain data.

Every section is bounded however long the run is, and all text that others wrote is shortened with what cannot be seen written out.
"""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from autoenvbench.evolution.tree import Evaluation, Idea, IdeaTree
from autoenvbench.publish.idea_layout import rows_of
from autoenvbench.publish.live_members import Doings
from autoenvbench.record import frame_slot
from autoenvbench.record.events import NOT_AGENTS
from autoenvbench.record.ledger import Event, Ledger
from autoenvbench.record.state import RunState
from autoenvbench.text import short

Section = Literal["head", "climb", "ideas", "members", "robots", "log"]
AT_ONCE = 4000  # events that are taken in before the page hears of it
MOST_POINTS, MOST_IDEAS, MOST_EVALUATIONS, MOST_LINES, MOST_ROBOTS = 400, 200, 300, 150, 64
_CLIMBS = ("evaluation", "comparison", "run", "agent")  # kinds after which these sections may have changed
_IDEAS = ("idea", "learned", "provenance", "evaluation", "run", "agent")
T = TypeVar("T")


class LiveView:
    """A run as its live page shows it. One thread at a time may use it.

    Args:
        run_dir: its folder. Raises UserError where there is no ledger.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir, self.name = run_dir, short(run_dir.resolve().name, 100)
        self._ledger = Ledger(run_dir / "ledger.sqlite")
        self._state, self._tree, self._doings = RunState(), IdeaTree(), Doings()
        self._config: dict[str, Any] = {}
        self._robots: dict[str, Event] = {}  # by name: the last thing that happened there
        self._log: deque[tuple[float, str, str]] = deque(maxlen=MOST_LINES)
        self._last: Event | None = None
        self._sections: dict[Section, str] = {}

    def refresh(self) -> dict[Section, str]:
        """Take in what is new, at most `AT_ONCE` events; returns the sections that changed, as JSON. Raises UserError for an event that
        cannot be read."""
        kinds, last = set[str](), self._ledger.last_seq()
        for event in self._ledger.events(after=self._state.seq, upto=self._state.seq + AT_ONCE):
            self._add(event)
            kinds.add(event.kind)
        made: dict[Section, Any] = {"robots": self._robots_now()}  # pictures come without events
        if kinds or not self._sections:
            made |= {"head": self._head(last), "members": self._members(), "log": list(self._log)}
            if not self._sections or not kinds.isdisjoint(_CLIMBS):
                made["climb"] = self._climb()
            if not self._sections or not kinds.isdisjoint(_IDEAS):
                made["ideas"] = self._ideas()
        told = {name: json.dumps(value, separators=(",", ":")) for name, value in made.items()}
        changed = {name: text for name, text in told.items() if self._sections.get(name) != text}
        self._sections |= changed
        return changed

    @property
    def behind(self) -> bool:
        """Whether the ledger has more than was taken in."""
        return self._ledger.last_seq() > self._state.seq

    @property
    def finished(self) -> bool:
        """Whether nothing comes any more."""
        return self._state.phases["finished"] > 0

    def goes_on(self, stale_s: float) -> bool:
        """Whether it is under way: it is not finished, and its last event is no older than this [s]."""
        return not self.finished and self._last is not None and time.time() - self._last.t_wall < stale_s

    def robot(self, number: int) -> str | None:
        """The name of the robot at a place in the section `robots`."""
        names = self._names()
        return names[number] if 0 <= number < len(names) else None

    def close(self) -> None:
        """Let go of the ledger."""
        self._ledger.close()

    # -- growing -----------------------------------------------------------------------------------------------------
    def _add(self, event: Event) -> None:
        if event.kind == "run" and event.payload.config and not self._config:
            self._config = event.payload.config
            self._state = RunState(_number(self._config.get("min_episodes"), 20))  # nothing was taken in before
        self._state.apply(event)
        self._tree.add(event)
        self._doings.add(event)
        self._last = event
        if event.kind in ("start", "episode", "reset"):
            name = event.station
            if name is not None and (name in self._robots or len(self._robots) < MOST_ROBOTS):
                self._robots[name] = event
        if (words := _words(event)) is not None:
            self._log.append((round(event.t_run, 1), short(event.agent or "run", 40), short(words, 300)))

    # -- sections ----------------------------------------------------------------------------------------------------
    def _head(self, last: int) -> dict[str, Any]:
        state, given = self._state, self._config
        confirmed, raw, average = state.curves.confirmed, state.curves.raw, state.team.average
        return {
            "name": self.name,
            "agent": short(str(given.get("agent", "")), 80),
            "env": short(str(given.get("env", "")), 80),
            "phase": self._phase(),
            "read": [state.seq, last],
            "t": round(state.research_s, 1),
            "wall": round(self._last.t_wall, 2) if self._last is not None else None,
            "budget_s": _number(given.get("budget_s")),
            "robot_s": round(state.robot_s, 1),
            "robot_budget_s": _number(given.get("robot_budget_s")),
            "tokens": state.agent_tokens.headline,
            "token_budget": _number(given.get("token_budget")),
            "calls": sum(m.calls for m in state.members.values()),
            "episodes": state.episodes,
            "evaluations": state.evaluations_started,
            "ideas": len(state.ideas),
            "confirmed": _rate(confirmed[-1]) if confirmed else None,
            "raw": _rate(raw[-1]) if raw else None,
            "average": round(average[-1].value, 4) if average and len(state.team.members) > 1 else None,
            "held_out": [state.held_out_successes, len(state.held_out), _number(given.get("held_out"))],
        }

    def _phase(self) -> str:
        phases = self._state.phases
        if phases["finished"]:
            return "finished"
        if phases["agents_stopped"]:
            return "scoring"
        if phases["paused"] > phases["unpaused"] + phases["resumed"]:
            return "paused"
        return "research" if phases["started"] else "starting"

    def _climb(self) -> dict[str, Any]:
        curves = self._state.curves
        average = self._state.team.average if len(self._state.team.members) > 1 else []
        ended = [e for e in self._tree.evaluations() if e.ended is not None and e.episodes]
        # Of a long run most are not shown, and so not put into words.
        newest = sorted(ended, key=lambda e: e.ended or 0.0)[-MOST_EVALUATIONS:]
        return {
            "confirmed": [[round(p.t_run, 1), *_rate(p)] for p in _thinned(curves.confirmed)],
            "raw": [[round(p.t_run, 1), *_rate(p)] for p in _thinned(curves.raw)],
            "average": [[round(p.t_run, 1), round(p.value, 4)] for p in _thinned(average)],
            "evaluations": sorted(map(_dot, newest)),
        }

    def _ideas(self) -> dict[str, Any]:
        tree = self._tree.drawn()
        rows = rows_of(tree, 0.02 * max(self._state.research_s, _number(self._config.get("budget_s")) or 0.0, 1.0))
        shown = dict(list(tree.ideas.items())[-MOST_IDEAS:])
        lanes = list(dict.fromkeys([*tree.lives, *(idea.agent or "" for idea in shown.values())]))[:MOST_ROBOTS]
        places = {name: k for k, name in enumerate(lanes)}
        numbers = {id: k for k, id in enumerate(shown)}
        return {
            "lanes": [short(name, 40) for name in lanes],
            "ideas": [_idea(idea, places.get(idea.agent or "", 0), rows[id]) for id, idea in shown.items()],
            "edges": [[numbers[e.source], numbers[e.target], e.how] for e in tree.edges if {e.source, e.target} <= numbers.keys()],
            "left_out": len(tree.ideas) - len(shown),
        }  # fmt: skip

    def _members(self) -> list[dict[str, Any]]:
        state, found = self._state, []
        for name in state.team.members[:MOST_ROBOTS]:
            member, own = state.member(name), state.of_member(name)
            doing, since = self._doings.of(name, member, state, over=self.finished)
            found.append({
                "name": short(name, 40), "at_work": member.at_work and not self.finished, "doing": short(doing, 200), "since": round(since, 1),
                "confirmed": _rate(own.confirmed[-1]) if own.confirmed else None, "ideas": state.book.words[name, "idea"],
                "episodes": own.episodes, "robot_s": round(own.robot_s, 1), "tokens": own.tokens, "calls": member.calls,
                "idea": self._newest_idea(name),
            })  # fmt: skip
        return found

    def _newest_idea(self, name: str) -> str:
        idea = self._state.ideas.get(self._state.book.newest.get(name, ""))
        return "" if idea is None else short(f"{idea.id}: {idea.title}", 160)

    def _names(self) -> list[str]:
        return sorted(
            self._robots, key=lambda name: [int(p) if p.isdecimal() else p for p in re.split(r"([0-9]+)", name)][:9]
        )

    def _robots_now(self) -> list[dict[str, Any]]:
        busy = {e.station: e for e in self._state.open_starts.values()}
        found = []
        for name in self._names():
            at, p = self._robots[name], self._robots[name].payload
            running = name in busy and not self.finished
            if running:
                words = (
                    f"{busy[name].payload.purpose} {busy[name].payload.evaluation}, start {busy[name].payload.index}"
                )
            elif at.kind == "reset":
                words = f"a reset: {p.detail}"
            elif at.kind == "start":
                words = f"{p.purpose} {p.evaluation} was interrupted"
            else:
                outcome = "succeeded" if p.success else f"failed in {p.stage or 'no stage'}: {p.reason}"
                words = f"{p.purpose} {p.evaluation}, start {p.index} {outcome}"
            open_now = p.evaluation in self._state.open_evaluations if at.kind == "episode" else running
            taken = frame_slot.taken(self.run_dir, name)
            found.append({
                "name": short(name, 40), "busy": bool(running or open_now) and not self.finished, "words": short(words, 160),
                "agent": short(at.agent or "run", 40), "t": round(at.t_run, 1), "frame": None if taken is None else round(taken, 3),
            })  # fmt: skip
        return found


# -- plain data ------------------------------------------------------------------------------------------------------------
def _number(value: Any, otherwise: Any = None) -> Any:
    """A number that a ledger's configuration says, whatever else it may hold there."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else otherwise


def _rate(point: Any) -> list[Any]:
    """[success rate, low, high, episodes] of a curve's point."""
    return [round(point.value, 4), round(point.low, 4), round(point.high, 4), point.episodes_behind]


def _thinned(points: Sequence[T]) -> list[T]:
    """At most about `MOST_POINTS`, the newest among them."""
    step = -(-len(points) // MOST_POINTS) or 1
    return [*points[:-1:step], *points[-1:]]


def _dot(e: Evaluation) -> list[Any]:
    """[research time at its end, success rate, episodes, id, purpose, member] of a judged evaluation."""
    return [round(e.ended or 0.0, 1), round(e.successes / e.episodes, 4), e.episodes, short(e.id, 20), e.purpose, short(e.agent or "run", 40)]  # fmt: skip


def _idea(idea: Idea, lane: int, row: int) -> dict[str, Any]:
    return {
        "id": short(idea.id, 20), "title": short(idea.title, 200), "lane": lane, "row": row, "t": round(idea.t_run, 1),
        "parent": short(idea.parent or "", 20), "regime": short(idea.regime or "", 40), "practised": idea.practised,
        "evaluated": idea.evaluated, "confirmed": idea.confirmed, "learned": short(idea.learned, 300),
        "open": any(e.ended is None for e in idea.evaluations),
    }  # fmt: skip


def _words(event: Event) -> str | None:
    """What the log says of an event, if anything."""
    p = event.payload
    match event.kind:
        case "run":
            return p.phase.replace("_", " ") + (f": {p.detail}" if p.detail and p.phase == "agents_stopped" else "")
        case "agent":
            return "began" if p.phase == "started" else f"ended: {p.reason}, code {p.exit_code}"
        case "idea":
            return f"idea {p.id}: {p.title}"
        case "learned":
            return f"learnt from {p.idea}: {p.text}"
        case "look":
            return {"peers": "looks at what others do", "show": f"looks at {p.idea}", "adopt": f"adopts {p.idea}"}[
                p.what
            ]
        case "commit" if p.phase == "submitted":
            return f"submitted {p.commit[:10]}: {p.subject}"
        case "evaluation" if p.phase == "started":
            return f"{p.purpose} {p.id} began, {p.planned} episodes" + (f", for {p.idea}" if p.idea else "")
        case "evaluation":
            return f"{p.purpose} {p.id} {p.phase}: {p.successes} of {p.episodes} succeeded"
        case "comparison" if p.phase == "ended":
            return f"comparison {p.id}: {p.verdict} after {p.starts} starts"
        case "wait" if p.phase == "started":
            return f"waits for its model's provider: {p.reason}"
        case "tokens" if p.error and event.agent not in NOT_AGENTS:
            return f"a call failed: {p.error}"
        case "refusal":
            return f"{p.phase} at the gateway: {', '.join(p.names)}"
        case "question":
            return f"asked about a picture: {p.question}"
        case "reset":
            return f"a reset without an episode: {p.detail}"
        case "note":
            return str(p.text)
    return None
