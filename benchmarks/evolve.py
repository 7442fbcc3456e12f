"""How much of a paced robot's time `evolve` uses, and what that gains: `python benchmarks/evolve.py --out evolve --budget 5m`.

MRU counts robot time of the whole research; what was spent on a commit after its member's confirmation had shown 100 % is taken out.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from autoenvbench.record import metrics
from autoenvbench.record.events import TRIED
from autoenvbench.record.ledger import Event, read_events
from autoenvbench.record.results import Result


def wasted(events: list[Event]) -> float:
    """Robot time of practice and evaluations of commits that were confirmed at 100 % when they began [s]."""
    perfect: set[tuple[str | None, str]] = set()
    again: set[str] = set()
    seconds = 0.0
    for event in events:
        p = event.payload
        if event.kind == "evaluation" and p.purpose in (*TRIED, "evaluate") and p.phase == "started":
            if (event.agent, p.content or p.digest) in perfect:
                again.add(p.id)
        elif event.kind == "evaluation" and p.purpose == "confirm" and p.phase == "finished":
            perfect |= {(event.agent, p.content or p.digest)} if p.episodes and p.successes == p.episodes else set()
        elif event.kind == "episode" and p.evaluation in again:
            seconds += metrics.robot_seconds(event)
    return seconds


def main() -> int:
    """One run, or what a run shows; returns 1 where MRU is below the bar."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the run; one that is finished is not repeated"
    )
    parser.add_argument("--env", default="ENPIRE/PushT-v0")
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--held-out", type=int, default=50)
    parser.add_argument("--bar", type=float, default=0.9, help="MRU that is asked for (default 0.9)")
    args = parser.parse_args()
    if not list(args.out.glob("*/result.json")):
        subprocess.run(
            [sys.executable, "-m", "autoenvbench", "eval", "--agent", "evolve", "--env", args.env, "--pace", "1", "--budget", args.budget,
             "--held-out", str(args.held_out), "--out", str(args.out)], check=True,
        )  # fmt: skip
    file = sorted(args.out.glob("*/result.json"))[-1]
    result = Result.model_validate_json(file.read_text())
    events = read_events(file.with_name("ledger.sqlite"))
    mru = (result.robot_s - wasted(events)) / (result.cells * (result.research_s or 1.0))
    print(f"MRU {mru:.3f}, {result.real_time or 0:.2f} simulated seconds per second of robot time; held out {result.held_out.successes} of "
          f"{result.held_out.episodes}, {result.episodes} episodes of research")  # fmt: skip
    return int(mru < args.bar)


if __name__ == "__main__":
    sys.exit(main())
