"""What the live page costs its computer while a team's run grows to 100,000 events: memory and processor time, in one process, without a browser.

First the ledger is taken in from its beginning, as by who opens the page late: seconds of processor time, and resident memory every tenth of the
way, which may grow by no more than --most-mb from the second tenth on. Then the run goes on for --looks looks of the server, of which each finds
what a busy team writes meanwhile: their processor time, by the rate of the looks, may be 1 % of a core. Exit code 1 where it is more.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from histories import TITLES, Author

from autoenvbench.publish.live_server import LOOK_S
from autoenvbench.publish.live_view import LiveView
from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import AgentEvent, LearnedEvent
from autoenvbench.record.ledger import Ledger

MEMBERS = [f"codex-{k + 1}" for k in range(4)]
CORE = 0.01  # of a core


def grow(author: Author, events: int) -> None:
    """A team's rounds, until there are at least so many events."""
    done = 0
    while len(author.sink.events) < events:
        name = MEMBERS[done % len(MEMBERS)]
        idea = author.idea(name, f"{TITLES[done % len(TITLES)]} ({done})") if done % 8 < 4 else f"I{author.ideas}"
        for _ in range(4):
            author.call(name, 2.0)
        author.commit(name, f"{done:040x}")
        author.batch(name, f"{done:040x}", done % 15, 20, idea, seconds=60.0, cells=4)
        author.write(LearnedEvent(idea=idea, text="what failed was the rim"), name)
        done += 1


def written(path: Path, events: int, more: int) -> list[tuple[Any, ...]]:
    """A ledger of a team's first events, by a process of its own, whose memory is not measured; returns the rows that come after them."""
    author = Author.in_memory()
    author.begin(dict.fromkeys(MEMBERS, "codex"), agent="codex", pace=1.0, cells=4, budget_s=8 * 3600.0)
    for name in MEMBERS:
        author.write(AgentEvent(phase="started", name="codex", model="m"), name)
    grow(author, events + more)
    rows = [(e.t_wall, e.t_run, e.kind, e.agent, e.station, e.payload.model_dump_json()) for e in author.sink.events]
    ledger = Ledger(path, RunClock.start(math.inf))
    write(ledger, rows[:events])
    ledger.close()
    return rows[events : events + more]


def write(ledger: Ledger, rows: Sequence[tuple[Any, ...]]) -> None:
    """All at once: what is measured is who reads them."""
    ledger._db.execute("BEGIN")
    ledger._db.executemany(
        "INSERT INTO event (t_wall, t_run, kind, agent, station, payload) VALUES (?, ?, ?, ?, ?, ?)", rows
    )
    ledger._db.execute("COMMIT")


def resident_mb() -> float:
    """Of this process, now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def main() -> int:
    """Print both, and say whether they hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--looks", type=int, default=400, help="looks at a ledger that grows (default 400)")
    parser.add_argument("--rate", type=float, default=4.0, help="events a second that a busy team writes (default 4)")
    parser.add_argument("--most-mb", type=float, default=25.0)
    args = parser.parse_args()
    each, spent = max(1, round(args.rate * LOOK_S)), 0.0
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, get_context("spawn")) as other:
        path = Path(folder) / "ledger.sqlite"
        rows = other.submit(written, path, args.events, each * args.looks).result()
        ledger = Ledger(path, RunClock.start(math.inf))
        view, held = LiveView(Path(folder)), list[float]()
        began, tenth = time.process_time(), args.events // 10
        while view.behind:
            view.refresh()
            while json.loads(view._sections["head"])["read"][0] >= tenth * (len(held) + 1):
                held.append(resident_mb())
        print(f"{args.events:,} events taken in within {time.process_time() - began:.1f} s of processor time")
        print("resident memory [MB] by tenths: " + " ".join(f"{mb:.0f}" for mb in held))
        for k in range(args.looks):
            write(ledger, rows[k * each : (k + 1) * each])
            began = time.process_time()
            view.refresh()
            spent += time.process_time() - began
        view.close()
        ledger.close()
    share, grown = spent / args.looks / LOOK_S, held[-1] - held[1]
    print(
        f"{1000 * spent / args.looks:.2f} ms of processor time a look, {1 / LOOK_S:.0f} looks a second: {share:.2%} of a core"
    )
    print(f"memory grew by {grown:.0f} MB from the second tenth on")
    return int(share > CORE or grown > args.most_mb)


if __name__ == "__main__":
    sys.exit(main())
