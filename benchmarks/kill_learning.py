"""Kill -9 of learner, actor (the policy host) and station at random moments of one session at a station, which goes on each time.

    python benchmarks/kill_learning.py --out kills --kills 50

After each kill: every recorded episode has its file, starts are used once and none is left out, the learner's checkpoint knows no episode
twice, and the curve counts on. It stops at the first thing that is wrong, and goes on where it was if it is started again.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from autoenvbench.record.ledger import read_events

ENV = "ENPIRE/PinInsertion-v0"
SETTINGS = ["hidden=32", "critics=2", "batch=64", "clone=50", "bc_weight=1", "hold=3", "record_every=2"]
VICTIMS = {"station": b"autoenvbench", "learner": b"autoenvbench.learning.on_robot", "actor": b"policy_host"}
LATEST_S = 10.0  # after the first episode of a session
PATIENCE_S = 600.0


def descendants(pid: int) -> list[int]:
    """Of a process, those that live."""
    found = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    except OSError:
        pass  # it is gone
    return found


def heed_interrupts() -> None:
    """Also where this program runs in the background, which ignores them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def find(session: subprocess.Popen[bytes], victim: str) -> int | None:
    """The process to kill."""
    if victim == "station":
        return session.pid
    for pid in descendants(session.pid):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if VICTIMS[victim] in line and not line.startswith(b"bwrap"):
            return pid
    return None


def check(out: Path, learnt: int) -> tuple[int, int]:
    """What must hold whatever died. Returns how many episodes are recorded, and how many the learner's checkpoint knows."""
    import torch

    recorded = [e.payload for e in read_events(out / "ledger.sqlite", "episode")]
    files = {file.stem for file in (out / "episodes").glob("*.episode")}
    lost = {f"{e.evaluation}-{e.index}" for e in recorded if e.steps} - files
    assert not lost, f"recorded and not on the disk: {sorted(lost)}"
    indices = [e.index for e in recorded]
    assert indices == list(range(len(indices))), f"starts were repeated or left out: {indices}"
    assert all(len(e.weights or "") == 64 for e in recorded), "a record names no weights"
    state = torch.load(out / "live" / "checkpoint.pt", weights_only=True)
    taken = state["parts"]["arrivals"]["taken"]
    assert len(taken) == len(set(taken)), "an episode was learnt from twice"
    assert {name.removesuffix(".episode") for name in taken} <= files, "what was learnt from is not on the disk"
    assert len(taken) >= learnt, f"the learner forgot: it knew {learnt} episodes, now {len(taken)}"
    curve = (out / "live" / "curve.csv").read_text().splitlines()
    if len(curve) > 1:
        steps = [int(row.split(",")[0]) for row in curve[1:]]
        assert steps == sorted(set(steps)), f"the curve does not go on: {steps}"
    return len(recorded), len(taken)


def main() -> None:
    """Kill, check, go on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    tool = str(Path(sys.executable).with_name("autoenvbench"))
    demos, run, log = args.out / "demos", args.out / "run", args.out / "kills.jsonl"
    args.out.mkdir(parents=True, exist_ok=True)
    if not demos.exists():
        subprocess.run([tool, "demos", "--env", ENV, "-n", "5", "--out", str(demos)], check=True)
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    learnt = max((row["learnt"] for row in done), default=0)
    for k in range(len(done), args.kills):
        rng = np.random.default_rng([args.seed, k])
        victim, after = str(rng.choice(list(VICTIMS))), float(rng.uniform(0, LATEST_S))
        before = len(list((run / "episodes").glob("*.episode"))) if run.exists() else 0
        resume = ["--resume"] if (run / "station.json").exists() else []
        sets = [word for setting in SETTINGS for word in ("--set", setting)]
        line = [
            tool,
            "train",
            "rlpd",
            "--station",
            ENV,
            "--demos",
            str(demos),
            "--out",
            str(run),
            "--minutes",
            "10",
            *sets,
            *resume,
        ]
        session = subprocess.Popen(line, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec_fn=heed_interrupts)
        deadline = time.monotonic() + PATIENCE_S
        while len(list((run / "episodes").glob("*.episode"))) <= before:  # it works again
            assert session.poll() is None, f"kill {k}: the session did not begin: exit code {session.returncode}"
            assert time.monotonic() < deadline, f"kill {k}: no episode in {PATIENCE_S:.0f} s"
            time.sleep(0.1)
        time.sleep(after)
        pid = find(session, victim)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        if victim == "actor":  # the session goes on by itself: two more episodes, and then it is told to end
            there = len(list((run / "episodes").glob("*.episode")))
            while len(list((run / "episodes").glob("*.episode"))) < there + 2:
                assert session.poll() is None, f"kill {k}: the session ended with its actor"
                assert time.monotonic() < deadline, f"kill {k}: no episode after the actor's end"
                time.sleep(0.1)
            session.send_signal(signal.SIGINT)
        learner = find(session, "learner")
        code = session.wait(PATIENCE_S)
        expected = {"station": -signal.SIGKILL, "learner": 5, "actor": 130}[victim]
        assert code == expected, f"kill {k} of the {victim}: exit code {code}, expected {expected}"
        while (
            learner is not None and Path(f"/proc/{learner}").exists() and victim == "station"
        ):  # it writes down what it knows
            assert time.monotonic() < deadline, f"kill {k}: the learner outlives its station"
            time.sleep(0.1)
        recorded, learnt = check(run, learnt)
        row = {"kill": k, "victim": victim, "after_s": round(after, 2), "recorded": recorded, "learnt": learnt}
        with log.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)
    print(f"{args.kills} kills: nothing that was recorded is lost or repeated")


if __name__ == "__main__":
    main()
