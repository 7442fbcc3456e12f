"""What each member's time went into, as far as a ledger can tell: intervals of research time from its own events.

Known from the ledger: when a call to the model was under way, when a job waited for a robot, when robots worked for it, and when it
looked at others: from then to its next event, and in the call that took in what it saw, it is `summarising peers`. A member may do several of these at once; a moment counts once, as the first of `ACTIVITIES` that holds. What is left is work on its own
machine, which nobody watches: it is named after the next thing that came of it. So `coding` is the work before a commit was sent or
submitted, with any training that the member did by itself; `reading` is all other: before it looked at others, wrote down an idea or
what one taught, evaluated what was there already, and at the end.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from autoenvbench.record.events import NOT_AGENTS
from autoenvbench.record.ledger import Event
from autoenvbench.record.metrics import headline_tokens

Activity = Literal[
    "training", "robot at work", "waiting for a robot", "summarising peers", "waiting for the model", "coding", "reading"
]  # fmt: skip
ACTIVITIES: tuple[Activity, ...] = (
    "training", "robot at work", "waiting for a robot", "summarising peers", "waiting for the model", "coding", "reading",
)  # fmt: skip
#: What local work was for, by the event that ends it.
_CAME_OF_IT: dict[str, Activity] = {"commit": "coding", "look": "reading", "learned": "reading", "idea": "reading",
                                    "evaluation": "reading"}  # fmt: skip

Span = tuple[float, float]  # research time [s]


@dataclass(slots=True)
class MemberTime:
    """Where one member's time went.

    Attributes:
        seconds: by activity; they add up to `alive_s`.
        alive_s: research time in which its process ran [s].
        peer_tokens: headline tokens of the calls that took in what peers do: the first one to begin after each look at them.
        tokens: headline tokens of all its calls.
        looks: at peers, their ideas and commits.
    """

    seconds: dict[Activity, float] = field(default_factory=lambda: dict.fromkeys(ACTIVITIES, 0.0))
    alive_s: float = 0.0
    peer_tokens: int = 0
    tokens: int = 0
    looks: int = 0


def time_by_activity(events: Sequence[Event], research_s: float) -> dict[str, MemberTime]:
    """What each member did, by name in the run's order.

    Args:
        research_s: research time [s]; what is later is left out.
    """
    own: dict[str, list[Event]] = {}
    resumed: list[float] = []
    pace = 0.0
    for event in events:
        if event.kind == "run":
            pace = float((event.payload.config or {}).get("pace", pace))
            own.update({name: [] for name in event.payload.members if name not in own})
            resumed += [event.t_run] if event.payload.phase == "resumed" else []
        elif event.kind == "agent" and event.agent is not None:
            own.setdefault(event.agent, []).append(event)
        elif event.agent in own and event.agent not in NOT_AGENTS:
            own[event.agent].append(event)
    return {name: _of_member(mine, resumed, research_s, pace > 0) for name, mine in own.items()}


def _of_member(events: list[Event], resumed: list[float], research_s: float, paced: bool) -> MemberTime:
    made = MemberTime()
    alive = _spans(
        [(e.t_run, "", e.payload.phase == "started") for e in events if e.kind == "agent"], resumed, research_s
    )
    made.alive_s = _length(alive)
    took_in = _took_in(events)
    asked = _spans([(e.t_run, "", e.payload.phase == "asked") for e in events if e.kind == "job"], resumed, research_s)
    at_work = _without(_at_work(events, research_s, paced), asked)
    busy: list[tuple[Activity, list[Span]]] = [
        ("training", _batches(events, resumed, research_s, {"learn"})),
        ("robot at work", at_work),
        ("waiting for a robot", _merged([*asked, *_idle(events, resumed, research_s, at_work)])),
        ("summarising peers", _on_peers(events, resumed, research_s, took_in)),
        ("waiting for the model", _calls(events, resumed, research_s)),
    ]
    left = alive
    for activity, spans in busy:
        made.seconds[activity] = _length(_both(left, spans))
        left = _without(left, spans)
    before = defaultdict[Activity, list[Span]](list)
    since = 0.0
    for e in events:
        if e.kind in _CAME_OF_IT:
            before[_CAME_OF_IT[e.kind]].append((since, e.t_run))
            since = e.t_run
    before["reading"].append((since, research_s))
    for activity, spans in before.items():
        made.seconds[activity] = _length(_both(left, _merged(spans)))
    _count_tokens(events, took_in, made)
    return made


def _took_in(events: Iterable[Event]) -> set[str | None]:
    """Calls that took in what others do: the first one to begin after each look."""
    calls, looked = set[str | None](), False
    for e in events:
        if e.kind == "look":
            looked = True
        elif e.kind == "call" and looked:
            looked = False
            calls.add(e.payload.id)
    return calls


def _count_tokens(events: Iterable[Event], took_in: set[str | None], made: MemberTime) -> None:
    for e in events:
        made.looks += e.kind == "look"
        if e.kind == "tokens" and not e.payload.in_flight:
            made.tokens += headline_tokens(e.payload)
            made.peer_tokens += headline_tokens(e.payload) if e.payload.call in took_in else 0


# -- when what was under way --------------------------------------------------------------------------------------------
def _batches(events: list[Event], resumed: list[float], research_s: float, purposes: set[str]) -> list[Span]:
    """While a batch of such a purpose was under way."""
    ends = [
        (e.t_run, e.payload.id, e.payload.phase == "started")
        for e in events if e.kind == "evaluation" and e.payload.purpose in purposes
    ]  # fmt: skip
    return _spans(ends, resumed, research_s)


def _at_work(events: list[Event], research_s: float, paced: bool) -> list[Span]:
    """While a cell had a reset or an episode of the member's under way. With a pace that is robot time, up to the verdict; as fast as
    simulation goes, from the episode's start event, or the verdict before it on this cell."""
    free: dict[tuple[str, str | None], float] = {}
    starts: dict[tuple[str, int, int], float] = {}
    spans = []
    for e in events:
        p = e.payload
        if e.kind == "start":
            starts[p.evaluation, p.index, p.attempt] = e.t_run
        elif e.kind == "evaluation" and p.phase == "started":
            free[p.id, None] = e.t_run
        elif e.kind == "reset" and paced:
            spans.append((e.t_run - p.robot_s, e.t_run))
        elif e.kind == "episode":
            since = starts.pop((p.evaluation, p.index, p.attempt), None)
            if paced:
                since = e.t_run - p.robot_s
            elif since is None:
                since = free.get((p.evaluation, e.station), free.get((p.evaluation, None), e.t_run))
            free[p.evaluation, e.station] = e.t_run
            spans.append((since, e.t_run))
    return _merged((a, min(b, research_s)) for a, b in spans)


def _idle(events: list[Event], resumed: list[float], research_s: float, at_work: list[Span]) -> list[Span]:
    """While no cell worked on a batch of the member's."""
    return _without(_batches(events, resumed, research_s, {"practice", "evaluate", "confirm", "compare"}), at_work)


def _calls(
    events: list[Event], resumed: list[float], research_s: float, only: set[str | None] | None = None
) -> list[Span]:
    """While a call to the model was under way (or one of these), waits for its provider included."""
    ends = [
        (e.t_run, e.payload.id, True) for e in events if e.kind == "call" and (only is None or e.payload.id in only)
    ]
    ends += [(e.t_run, e.payload.call, False) for e in events if e.kind == "tokens" and e.payload.call is not None]
    return _spans(sorted(ends, key=lambda end: end[0]), resumed, research_s)


def _on_peers(events: list[Event], resumed: list[float], research_s: float, took_in: set[str | None]) -> list[Span]:
    """From a look at others to the member's next event, and the calls that took in what it saw."""
    looks = [
        (e.t_run, min(after.t_run if after else research_s, research_s))
        for e, after in pairwise([*events, None]) if e is not None and e.kind == "look"
    ]  # fmt: skip
    return _merged([*looks, *_calls(events, resumed, research_s, took_in)])


# -- intervals -----------------------------------------------------------------------------------------------------------
def _spans(ends: Iterable[tuple[float, str, bool]], resumed: Sequence[float], research_s: float) -> list[Span]:
    """Spans from (time, what, whether it begins there), in order. What a kill left open ended when the run was resumed at the latest."""
    begun: dict[str, float] = {}
    spans: list[Span] = []
    kills = sorted(resumed)

    def close_all(at: float) -> None:
        spans.extend((since, at) for since in begun.values())
        begun.clear()

    for t, what, begins in ends:
        while kills and kills[0] <= t:
            close_all(kills.pop(0))
        if begins:
            begun.setdefault(what, t)
        elif what in begun:
            spans.append((begun.pop(what), t))
    close_all(min([*kills, research_s]))
    return _merged((a, min(b, research_s)) for a, b in spans)


def _merged(spans: Iterable[Span]) -> list[Span]:
    """The same moments as disjoint spans in order."""
    merged: list[Span] = []
    for a, b in sorted(spans):
        if merged and a <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], b))
        elif b > a:
            merged.append((a, b))
    return merged


def _both(some: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """Moments in both; each is disjoint and in order."""
    found, i, j = [], 0, 0
    while i < len(some) and j < len(others):
        a, b = max(some[i][0], others[j][0]), min(some[i][1], others[j][1])
        if b > a:
            found.append((a, b))
        if some[i][1] < others[j][1]:
            i += 1
        else:
            j += 1
    return found


def _without(some: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """Moments in the first and not in the second."""
    ends = [-math.inf, *(t for span in others for t in span), math.inf]
    return _both(some, list(zip(ends[::2], ends[1::2], strict=True)))


def _length(spans: Iterable[Span]) -> float:
    return sum(b - a for a, b in spans)


def team_time(times: dict[str, MemberTime]) -> MemberTime:
    """All members' time together."""
    total, seconds = MemberTime(), defaultdict[Activity, float](float)
    for one in times.values():
        for activity, spent in one.seconds.items():
            seconds[activity] += spent
        total.alive_s += one.alive_s
        total.tokens, total.peer_tokens = total.tokens + one.tokens, total.peer_tokens + one.peer_tokens
        total.looks += one.looks
    total.seconds = {activity: seconds[activity] for activity in ACTIVITIES}
    return total
