"""Kill -9 of two members, one cell worker and the run itself, half-way through a team's work: `python benchmarks/kill_team.py --out killed`.

    python benchmarks/kill_team.py --out killed                                          # eight `evolve` on eight paced Push-T cells
    python benchmarks/kill_team.py --out twin --env ENPIRE/PushT-real-v0 --team 4        # and four on a station's twin

What was on record when something died must be on record at the end, unchanged; a judged start has one episode; the resumed run ends by
itself, its result is borne out by its ledger, and every idea is in the tree. The moments come from --seed. A run that is finished is only
checked again.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from kill_learning import descendants, heed_interrupts

from autoenvbench.evolution.tree import IdeaTree
from autoenvbench.publish.leaderboard import check_run
from autoenvbench.record.clock import format_duration, parse_duration
from autoenvbench.record.ledger import Event, read_events

MEMBER, CELL = b"autoenvbench.agents.evolver", b"autoenvbench.station.cell_worker"
PATIENCE_S = 300.0  # for the first episode, and beyond the budget for the end


def processes(run: subprocess.Popen[bytes], program: bytes) -> list[int]:
    """Of a run, those that run this module, and not those that only pass its name on."""
    found = []
    for pid in descendants(run.pid):
        try:
            words = (Path("/proc") / str(pid) / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if program in words and b"--" not in words:
            found.append(pid)
    return found


def written(out: Path) -> list[Event]:
    """What is on record of the newest run in this folder."""
    ledgers = sorted(out.glob("*/ledger.sqlite"))
    return read_events(ledgers[-1]) if ledgers else []


def wait_until(run: subprocess.Popen[bytes], out: Path, t_run: float, patience_s: float) -> None:
    """Until this much research time [s] and an episode are on record."""
    deadline = time.monotonic() + patience_s
    while True:
        events = written(out)
        if events and events[-1].t_run >= t_run and any(e.kind == "episode" for e in events):
            return
        assert run.poll() is None, f"the run ended by itself, with exit code {run.returncode}"
        assert time.monotonic() < deadline, f"no episode at {t_run:.0f} s of research"
        time.sleep(0.5)


def kill_all(args: argparse.Namespace) -> list[list[Event]]:
    """The run to the kill of itself; what was on record before each kill."""
    budget_s, rng = parse_duration(args.budget), random.Random(args.seed)
    run = subprocess.Popen(
        [sys.executable, "-m", "autoenvbench", "eval", "--agent", "evolve", "--team", str(args.team), "--env", args.env, "--pace", "1",
         "--budget", args.budget, "--held-out", "20", "--seed", str(args.seed), "--out", str(args.out)], preexec_fn=heed_interrupts,
    )  # fmt: skip
    known = []
    try:
        for share, victim in ((0.2, MEMBER), (0.3, MEMBER), (0.4, CELL), (0.5, None)):
            wait_until(run, args.out, budget_s * (share + rng.uniform(-0.04, 0.04)), PATIENCE_S + budget_s)
            known.append(written(args.out))
            pid = run.pid if victim is None else rng.choice(processes(run, victim))
            os.kill(pid, signal.SIGKILL)
            name = "the run" if victim is None else victim.decode()
            print(f"{known[-1][-1].t_run:.0f} s of research: kill -9 of {name}, process {pid}", flush=True)
    finally:
        run.kill()
        run.wait()
    return known


def check(out: Path, known: list[list[Event]]) -> None:
    """What must hold whatever died."""
    events = written(out)
    for before in known:
        assert events[: len(before)] == before, "what was on record is no longer there, or is not what it was"
    judged = [e.payload for e in events if e.kind == "start"]
    starts = Counter((p.purpose, p.index, p.attempt, p.evaluation) for p in judged)
    assert max(starts.values()) == 1, f"judged twice: {[k for k, n in starts.items() if n > 1]}"
    held = {(p.evaluation, p.index, p.attempt) for p in judged}
    episodes = [
        e.payload for e in events if e.kind == "episode" and e.payload.purpose in ("evaluate", "confirm", "heldout")
    ]
    results = Counter((p.evaluation, p.index, p.attempt) for p in episodes if not p.infrastructure)
    assert max(results.values()) == 1, "a start has two episodes"
    assert results.keys() <= held, "an episode without a start"
    tree = IdeaTree.of(events)
    ideas = [e.payload.id for e in events if e.kind == "idea"]
    assert sorted(tree.ideas) == sorted(ideas), "an idea is not in the tree"
    (run,) = out.glob("*/result.json")
    result, why = check_run(run.parent)
    print(
        f"{run.parent}: ended by {result.stopped_by} after {format_duration(result.research_s or 0)}, {result.disturbances.resumes} times resumed; "
        f"{len(events)} events, {len(results)} judged episodes, {len(ideas)} ideas, {len(tree.edges)} edges; held out {result.held_out.successes} of "
        f"{result.held_out.episodes}; nothing on record was lost, none judged twice" + (f"; {'; '.join(why)}" if why else "")
    )  # fmt: skip


def main() -> None:
    """Kill, resume, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the run; one that is finished is only checked"
    )
    parser.add_argument("--env", default="ENPIRE/PushT-v0")
    parser.add_argument("--team", type=int, default=8)
    parser.add_argument("--budget", default="6m")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    known = [] if list(args.out.glob("*/ledger.sqlite")) else kill_all(args)
    (ledger,) = args.out.glob("*/ledger.sqlite")
    if not ledger.with_name("result.json").exists():
        subprocess.run([sys.executable, "-m", "autoenvbench", "resume", str(ledger.parent)], check=True)
    check(args.out, known)


if __name__ == "__main__":
    main()
