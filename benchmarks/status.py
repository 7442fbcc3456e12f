"""How long a station takes to say how a run stands, and a ledger to be opened, after many episodes.

Writes a run's ledger with so many judged episodes in a scratch folder, then asks a station for `status` and `episodes` as its door
does, but for HTTP; and at last a real door, which a run's eight members ask over and over while another process writes.

    python benchmarks/status.py --episodes 100000
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import resource
import secrets
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import (
    ComputeEvent,
    EpisodeEvent,
    EvaluationEvent,
    IdeaEvent,
    NoteEvent,
    Payload,
    RunEvent,
    StartEvent,
    kind_of,
)
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.run_config import RunConfig
from autoenvbench.record.state import Follower
from autoenvbench.station.client import StationClient
from autoenvbench.station.config import ADMIN, StationConfig
from autoenvbench.station.fleet import Fleet
from autoenvbench.station.process import StationProcess
from autoenvbench.station.station import Station

BAR_MS = 20.0
BATCH = 20  # episodes of an evaluation
CONFIG = RunConfig(agent="cem", env="ENPIRE/PushT-v0", budget_s=8 * 3600)


def write_ledger(path: Path, episodes: int, seed: int = 0) -> None:
    """A run with this many episodes in evaluations of `BATCH`, each of a content of its own, every tenth one a confirmation."""
    rng = np.random.default_rng(seed)
    Ledger(path, RunClock.start(CONFIG.budget_s)).close()  # which makes the table
    rows: list[tuple[float, float, str, str, str, str]] = []

    def add(payload: Payload) -> None:
        t = len(rows) / 10
        rows.append((1.7e9 + t, t, kind_of(payload), "cem-1", "station-1", payload.model_dump_json()))

    add(RunEvent(phase="started", config=CONFIG.model_dump()))
    for k in range(episodes // BATCH):
        content, purpose = f"{k // 10:040x}", "confirm" if k % 10 == 9 else "evaluate"
        about = {"purpose": purpose, "commit": content, "digest": content, "content": content}
        if k % 10 == 0:
            add(IdeaEvent(id=f"I{k // 10 + 1}", title=f"the {k // 10 + 1}th idea: push harder, then look again"))
        add(ComputeEvent(cpu=0.5, station_busy=True))
        add(EvaluationEvent(phase="started", id=f"E{k + 1}", planned=BATCH, **about))
        won = rng.random(BATCH) < 0.6
        for j, success in enumerate(won.tolist()):
            one = {"evaluation": f"E{k + 1}", "index": k * BATCH + j, "seed": int(rng.integers(2**48)), **about}
            add(StartEvent(**one))
            add(EpisodeEvent(**one, success=success, score=float(success), stage="push", steps=300, sim_s=30.0, robot_s=31.0,
                             reason=None if success else "time_limit", scene=content))  # fmt: skip
        add(EvaluationEvent(phase="finished", id=f"E{k + 1}", planned=BATCH, episodes=BATCH, successes=int(won.sum()),
                            score=float(won.mean()), robot_s=31.0 * BATCH, **about))  # fmt: skip
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN")
    db.executemany("INSERT INTO event (t_wall, t_run, kind, agent, station, payload) VALUES (?, ?, ?, ?, ?, ?)", rows)
    db.execute("COMMIT")
    db.close()


class Took(NamedTuple):
    """How long a call took [ms]: by the wall clock, and of this process's processor time, which a busy machine does not change."""

    wall: float
    cpu: float


def timed(what: Callable[[], object], repeats: int) -> list[Took]:
    """How long each call takes."""
    took = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        what()
        took.append(Took((time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000))
    return took


def show(name: str, took: list[Took], cpu: float | None = None) -> None:
    """One line: median and 99th percentile by the wall clock, and the mean of processor time, or what was measured of it elsewhere [ms]."""
    wall, own = zip(*took, strict=True)
    spent = np.mean(own) if cpu is None else cpu
    print(
        f"{name:<46} median {np.median(wall):8.3f} ms   p99 {np.percentile(wall, 99):8.3f} ms   CPU {spent:8.3f} ms a call"
    )


def ask_over_and_over(socket: str, token: str, repeats: int, rest_s: float, together: Any, done: Any) -> None:
    """A member that asks for `status` every now and then: how long it waited each time [ms].

    It begins when all are there: eight interpreters that start at once are no load of the door's.
    """
    client = StationClient(socket, token)
    client.get("/status")
    took = []
    together.wait()
    for _ in range(repeats):
        took += timed(lambda: client.get("/status"), 1)
        time.sleep(rest_s)
    done.put(took)


def read_on_and_on(socket: str, token: str) -> None:
    """A member that asks for 5000 episodes, again and again, until it is ended."""
    client = StationClient(socket, token)
    while True:
        client.get("/episodes?limit=5000")


def at_the_door(
    folder: Path, ledger: Ledger, clock: RunClock, members: int, repeats: int, rest_s: float, *, reader: bool
) -> None:
    """So many members at a real door, each a process of its own, while another process than the door writes 20 events a second.

    `reader`: beside them, one asks for 5000 episodes without a rest.
    """
    tokens = {secrets.token_hex(8): f"cem-{k + 1}" for k in range(members)}
    with tempfile.TemporaryDirectory(prefix="aeb-") as short:  # a socket's path may not be long
        config = StationConfig(run_dir=folder, socket=Path(short) / "s.sock", sandbox="none", secret_hex="00" * 32,
                               tokens=tokens | {"admin": ADMIN, "reader": "reader"}, config=CONFIG, clock_epoch=clock.epoch)  # fmt: skip
        spawning = multiprocessing.get_context("spawn")
        done, together = spawning.Queue(), spawning.Barrier(members)
        with StationProcess(config) as station:
            asking = [
                spawning.Process(target=ask_over_and_over, args=(str(config.socket), token, repeats, rest_s, together, done))
                for token in tokens
            ]
            reading = spawning.Process(target=read_on_and_on, args=(str(config.socket), "reader"))
            if reader:
                reading.start()
            before = psutil.Process(station._process.pid).cpu_times().user
            for process in asking:
                process.start()
            took: list[Took] = []
            for k in itertools.count():
                if len(took) == members * repeats:
                    break
                ledger.append(NoteEvent(text=f"note {k}"))
                time.sleep(0.05)
                while not done.empty():
                    took += done.get()
            for process in asking:
                process.join()
            cpu = (psutil.Process(station._process.pid).cpu_times().user - before) / len(took) * 1000
            if reader:
                reading.kill()
                reading.join()
        name = f"status at the door, {members} members" + (", one more reads 5000" if reader else "")
        show(name, took, cpu)  # the door's, with what else it did
        print(f"{'':<46} bar: p99 below {BAR_MS:g} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=500)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--rest", type=float, default=0.25, help="of a member between two looks [s]")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        writer = multiprocessing.Process(target=write_ledger, args=(path, args.episodes))
        writer.start()  # in a process of its own, so that its memory is not counted below
        writer.join()
        print(f"{args.episodes} episodes, ledger of {path.stat().st_size / 2**20:.0f} MiB")
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        opening = time.perf_counter()
        with Follower(Ledger(path)).read() as state:
            print(f"opening: {time.perf_counter() - opening:.2f} s for {state.seq} events, peak memory "
                  f"{(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024:+.0f} MiB")  # fmt: skip
        clock = RunClock.start(CONFIG.budget_s)
        config = StationConfig(run_dir=Path(folder), socket=Path(folder) / "s.sock", sandbox="none", secret_hex="00" * 32,
                               tokens={}, config=CONFIG, clock_epoch=clock.epoch)  # fmt: skip
        ledger = Ledger(path, clock)
        station = Station(config, ledger, Fleet(config, ledger, print))
        other = Ledger(path, clock)  # as the run's own process writes
        show("status, nothing new", timed(lambda: json.dumps(station.status(ADMIN)), args.repeats))
        fresh: list[Took] = []
        for k in range(args.repeats):
            other.append(NoteEvent(text=f"note {k}"))
            fresh += timed(lambda: station.status(ADMIN), 1)
        show("status, one new event of another process", fresh)
        show("episodes, the newest 50", timed(lambda: station.episodes(ADMIN, None, 50), args.repeats // 5))
        show("episodes, the newest 5000", timed(lambda: station.episodes(ADMIN, None, 5000), 5))
        show("episodes of the first evaluation", timed(lambda: station.episodes(ADMIN, "E1", 50), args.repeats // 5))
        for reader in (False, True):
            at_the_door(Path(folder), other, clock, args.members, args.repeats // 5, args.rest, reader=reader)


if __name__ == "__main__":
    main()
