"""What the harness adds to the time of a team's robots: eight scripted members on eight paced cells, who evaluate and practise without a pause.

    python benchmarks/team_overhead.py                # ENPIRE/PushT-v0, episodes of 3 s, 10 a job, 110 s of research

Members think for no time, so whatever a cell does beside episodes and resets is the harness's: starting policies, handing cells over, `aeb`
itself, the record. Short episodes and short jobs make it look worse than it is in a run whose episodes take half a minute. Where the
machine cannot simulate all cells as fast as they would move, episodes take longer: that is said apart, and is not the harness's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("MUJOCO_GL", "egl")

from autoenvbench.record.ledger import Event, read_events
from autoenvbench.record.metrics import robot_seconds, robot_use
from autoenvbench.record.run_config import RunConfig
from autoenvbench.research.run import research

HZ = 10
BAR = 0.05
WORK = "command:sh -c 'aeb idea \"The starter, for its time alone\"; while :; do aeb evaluate -n {n} --no-confirm; aeb practice -n {n}; done'"


class Span(NamedTuple):
    """Research time in which somebody did something [s], for a batch where it was a cell."""

    who: str
    began: float
    ended: float
    batch: str = ""
    beside: float = 0.0  # robot time beside the episode's own: its reset, and before its first step the policy's start


def robot_spans(events: Sequence[Event]) -> Iterator[Span]:
    """Every cell's episodes and resets of research, those among them that its end cut, which are on record a moment later."""
    for e in events:
        if e.kind in ("episode", "reset") and e.payload.purpose != "heldout" and (seconds := robot_seconds(e)):
            batch, own = ("", seconds) if e.kind == "reset" else (e.payload.evaluation, e.payload.sim_s)
            yield Span(e.station or "", e.t_run - seconds, e.t_run, batch, max(0.0, seconds - own))


def job_spans(events: Sequence[Event], until: float) -> Iterator[Span]:
    """Every member's jobs, from when each had a cell to its end."""
    began: dict[str, float] = {}
    for e in events:
        if e.kind == "job" and e.agent is not None:
            if e.payload.phase == "began":
                began[e.agent] = e.t_run
            elif e.payload.phase == "ended" and e.agent in began:
                yield Span(e.agent, began.pop(e.agent), e.t_run)
    yield from (Span(agent, t, until) for agent, t in began.items())


def starts(robots: Sequence[Span]) -> tuple[list[float], list[float]]:
    """What each policy's start took, and how long cells stood between two episodes of a batch [s]. A start is what the first episode of a
    batch on a cell has beside its own time, above what the others have: resets, and what the machine cannot simulate in time."""
    began, others, between = list[float](), list[float](), list[float]()
    for name in {span.who for span in robots}:
        own = sorted((span for span in robots if span.who == name and span.batch), key=lambda span: span.began)
        for before, span in zip([None, *own], own, strict=False):
            if before is not None and before.batch == span.batch:
                others.append(span.beside)
                between.append(span.began - before.ended)
            else:
                began.append(span.beside)
    usual = statistics.median(others) if others else 0.0
    return [max(0.0, beside - usual) for beside in began], between


def within(spans: Sequence[Span], first: float, last: float) -> float:
    """Their time in a window, all together [s]."""
    return sum(max(0.0, min(span.ended, last) - max(span.began, first)) for span in spans)


def main() -> int:
    """One run; returns 1 where it adds more than the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="ENPIRE/PushT-v0")
    parser.add_argument("--team", type=int, default=8, help="members, and as many cells")
    parser.add_argument("--seconds", type=float, default=3.0, help="of an episode")
    parser.add_argument("--episodes", type=int, default=10, help="of a job")
    parser.add_argument("--budget", type=float, default=110.0, help="of research [s]")
    parser.add_argument("--own-stations", action="store_true", help="a cell for each member alone")
    args = parser.parse_args()
    work = WORK.format(n=args.episodes)
    config = RunConfig(
        agent=work, env=args.env, env_kwargs={"max_episode_steps": round(args.seconds * HZ)}, budget_s=args.budget, pace=1.0, cells=args.team,
        team=args.team, own_stations=args.own_stations, sandbox="none", nudges=0, held_out=1,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        research(config, Path(folder), agents=[work] * args.team)
        (ledger,) = Path(folder).glob("*/ledger.sqlite")
        events = read_events(ledger)
    jobs, robots = list(job_spans(events, args.budget)), list(robot_spans(events))
    # From when each member has had its first cell: before that they are all being started at once.
    first = max(
        min((span.began for span in jobs if span.who == who), default=args.budget) for who in {j.who for j in jobs}
    )
    whole = args.team * (args.budget - first)
    ran = [span for span in robots if span.began >= first]
    (began, between), in_jobs = starts(ran), within(jobs, first, args.budget)
    busy = within(robots, first, args.budget) - sum(began)
    use = robot_use(events, args.budget, args.team, config.pace)
    added = whole / busy - 1 if busy > 0 else float("inf")
    print(
        f"{args.team} members, {args.team} cells, {len(ran)} episodes and resets; {args.budget - first:.0f} s after all had begun"
    )
    print(
        f"cells in episodes and resets {busy / whole:.1%} of that time: the harness adds {added:.1%} to them (bar {BAR:.0%})"
    )
    print(f"of it between a member's jobs {(whole - in_jobs) / busy:.1%}; in {len(began)} starts of policies {sum(began) / busy:.1%}, between two "
          f"episodes {sum(between) / busy:.1%}")  # fmt: skip
    print(
        f"real-time factor {(use and use.real_time) or 0:.2f}: below 1, the machine simulates the cells slower than they would move, or starts policies"
    )
    return int(added > BAR)


if __name__ == "__main__":
    sys.exit(main())
