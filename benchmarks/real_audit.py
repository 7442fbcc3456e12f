"""Audit of real cells on their twins: resets from whatever was left, verdicts near their thresholds, faults in the middle of both.

What each task's episodes are is in `real_audit_pin.py` and `real_audit_pusht.py`; each is a line of the file --out, with what the cell said and
what the twin says is true. Stations and starts come from a secret that is drawn when the audit begins and stands in the file's first line: nothing
can have been tuned on them. A killed audit goes on where it was; one of other code begins again. At the end, and by --report at any time, a table.
Exit code 1 where a cell called a failure a success, began an episode that was not ready, hung or crashed.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import secrets
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")

import cv2
import gymnasium as gym
import numpy as np
import real_audit_pin
import real_audit_pusht
import yaml
from audit_rows import Row, append, rows_of
from enpire_envs.env import CellFault, ResetFailed
from enpire_envs.fingerprint import fingerprint, without_words
from enpire_envs.reference import make_reference
from enpire_real.control import Stopped
from enpire_real.pin_insertion.twin import near_misses
from enpire_real.twin import faults as injection
from enpire_real.twin.faults import FAULTS, Injection
from scipy.stats import beta

from autoenvbench.cli.arguments import Parser, path, whole
from autoenvbench.errors import UserError

SUBJECTS = {"pin": real_audit_pin.Subject, "pusht": real_audit_pusht.Subject}
PARTS = ("resets", "verdicts", "faults", "reference")
WHO = ("random", "reference", "hostile")  # whose leavings a reset begins with, in turn
ROUND = 10  # episodes that a station lives for; each of the reference has its own
CPU_S = 600.0  # of an episode, after which it counts as hanging
STOPS = (CellFault, Stopped)  # how a cell says that it cannot go on, through its environment and by its hand
UNSURE = ("not_seen", "views_disagree")  # reasons of a verdict that abstains


class Hung(Exception):
    """An episode took more processor time than any can need."""


# -- one station ------------------------------------------------------------------------------------------------------------
class Bench:
    """One twin, with the deviations of its own seed."""

    def __init__(self, task: str, seed: int) -> None:
        subject = SUBJECTS[task]
        file = yaml.safe_load(subject.twin.read_text())
        file["twin"]["seed"] = seed
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as written:
            yaml.safe_dump(file, written)
            written.flush()
            self.env = gym.make(subject.env_id, station=written.name, disable_env_checker=True)
        self.cell = self.env.unwrapped.real_cell  # type: ignore[attr-defined]
        self.station = self.cell.station
        self.subject: Any = subject(self.env)
        self.stops: list[str] = []  # of the safety monitor, since somebody last looked
        self._stopped = False
        self.station.control.observers.append(self._watch)

    def _watch(self, snapshot: Any) -> None:
        if snapshot.stop is not None and not self._stopped:
            self.stops.append(str(snapshot.stop))
        self._stopped = snapshot.stop is not None

    def reset(self, rng: np.random.Generator) -> Row:
        """Reset, and what came of it: what the cell says, and what is true."""
        self.stops.clear()
        try:
            _, info = self.env.reset(seed=int(rng.integers(2**31)))
        except ResetFailed as failed:
            parked = "arms are folded down" in str(failed) or self.cell.stopped_by_person
            return {"ready": False, "why": str(failed), "parked": parked, "stops": list(self.stops)}
        row = {"ready": True, "tries": info["reset_attempts"], "wrong": self.subject.wrong(info)}
        return {**row, "supplied": info.get("pins_supplied"), "stops": list(self.stops)}

    def recover(self, kind: str) -> None:
        """The fault is over, and a person has said so."""
        twin = self.station.twin
        twin.faults.clear()
        self.station.clock.sleep(0.5)
        if kind == "emergency_stop":
            for motors in twin.motors.values():
                for motor in motors.ids:
                    motors.reboot(motor)  # power was off
        self.cell.acknowledge("the audit")


# -- episodes of each part --------------------------------------------------------------------------------------------------
def resets(bench: Bench, k: int, rng: np.random.Generator) -> Row:
    """A reset from what somebody left."""
    who = WHO[k % len(WHO)]
    if bench.env.unwrapped._over and not (begun := bench.reset(rng))["ready"]:  # type: ignore[attr-defined]
        bench.subject.tidy()
        return {"who": who, "left": "no episode to begin with", **begun}
    try:
        left = bench.subject.leave(who, rng)
    except STOPS as fault:  # somebody had the arms stopped: that is left, too
        left = f"stopped: {fault}"[:80]
    row = {"who": who, "left": left, **bench.reset(rng)}
    if not row["ready"]:
        bench.subject.tidy()
    return row


def verdicts(bench: Bench, k: int, rng: np.random.Generator) -> Row:
    """A verdict on a scene near its threshold."""
    if not bench.subject.begun and not (begun := bench.reset(rng))["ready"]:
        return {"kind": "no episode to begin with", **begun, "truth": None, "near": False}
    try:
        scene = bench.subject.near_miss(rng)
        return {**scene, **bench.subject.judge(), "frame_ms": bench.subject.frame_ms()}
    except STOPS as fault:
        return {
            "kind": "cell fault",
            "why": str(fault),
            "truth": None,
            "near": False,
            "then": bench.reset(rng)["ready"],
        }


def faults(bench: Bench, k: int, rng: np.random.Generator) -> Row:
    """A fault in the middle of a reset or a verdict: it recovers, or ends with a reason."""
    kind, during = FAULTS[k % len(FAULTS)], ("reset", "verdict")[k // len(FAULTS) % 2]
    row: Row = {"fault": kind, "during": during}
    if (bench.env.unwrapped._over or not bench.subject.begun) and not (begun := bench.reset(rng))["ready"]:  # type: ignore[attr-defined]
        return {**row, "outcome": "no episode to begin with", **begun}
    if during == "verdict":
        try:
            row.update(bench.subject.near_miss(rng))
        except STOPS as fault:
            return {**row, "outcome": "no scene to judge", "why": str(fault), "recovers": bench.reset(rng)["ready"]}
    with Injection(bench.station, kind, rng, within=1.0 if during == "verdict" else 12.0):
        try:
            if during == "verdict":
                row.update(bench.subject.judge())
                row["outcome"] = "success" if row["verdict"] else f"no success: {row['reason']}"
            else:
                row.update(bench.reset(rng))
                row["outcome"] = "ready" if row["ready"] else "parked"
        except STOPS as fault:
            row["outcome"], row["why"] = "fault", str(fault)
    bench.recover(kind)
    again = bench.reset(rng)
    return {**row, "recovers": again["ready"] and again["wrong"] is None, "then": again.get("why")}


def reference(bench: Bench, k: int, rng: np.random.Generator) -> Row:
    """An episode of the reference policy."""
    row = bench.reset(rng)
    if not row["ready"]:
        return {**row, "success": False, "reason": "reset_failed"}
    observation = bench.env.unwrapped._observe(bench.cell.read())  # type: ignore[attr-defined]
    policy = make_reference(bench.env)
    policy.reset(observation)
    try:
        ended = False
        while not ended:
            observation, _, terminated, truncated, info = bench.env.step(policy.act(observation))
            ended = terminated or truncated
    except STOPS as fault:
        return {**row, "success": False, "reason": f"cell_fault: {fault}"}
    return {**row, "success": bool(info["success"]), "reason": info.get("reason"), "truth": bench.subject.truth()}


EPISODES: dict[str, Callable[[Bench, int, np.random.Generator], Row]] = {
    "resets": resets, "verdicts": verdicts, "faults": faults, "reference": reference,
}  # fmt: skip


# -- measuring --------------------------------------------------------------------------------------------------------------
def version(task: str) -> str:
    """Of the code that makes and judges the episodes: 8 hexadecimal digits of the cell's and of the audit's own."""
    modules = (sys.modules[__name__], sys.modules[SUBJECTS[task].__module__], near_misses, injection)
    code = [without_words(Path(str(module.__file__)).read_text()) for module in modules]
    cell = fingerprint(gym.make(SUBJECTS[task].env_id, disable_env_checker=True))
    return hashlib.sha256(b"".join([cell.encode(), *code])).hexdigest()[:8]


def generator(secret: str, *what: object) -> np.random.Generator:
    """For one thing that the secret decides."""
    digest = hashlib.sha256("/".join(map(str, (secret, *what))).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))


def measure(out: Path, task: str, wanted: dict[str, int]) -> None:
    """Append what is missing."""
    rows = rows_of(out)
    if not rows:
        rows = [{"secret": secrets.token_hex(16)}]
        append(out, rows[0])
    secret, mark = rows[0]["secret"], {"task": task, "audit": version(task)}
    done = {(row["part"], row["k"]) for row in rows[1:] if row["task"] == task and row["audit"] == mark["audit"]}
    signal.signal(signal.SIGPROF, _hung)
    for part, n in wanted.items():
        bench, at = None, None
        for k in (k for k in range(n) if (part, k) not in done):
            here = k if part == "reference" else k // ROUND
            if bench is None or here != at:
                if bench is not None:
                    bench.env.close()
                bench, at = Bench(task, int(generator(secret, part, "station", here).integers(2**31))), here
            began = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, CPU_S)
            try:
                row = EPISODES[part](bench, k, generator(secret, part, k))
            except Exception as error:  # nothing but a CellFault may come out of a cell, and that soon
                row, bench = {"broke": repr(error)}, None
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            append(out, {**mark, "part": part, "k": k, **row, "cpu_s": round(time.process_time() - began, 1)})
        if bench is not None:
            bench.env.close()


def _hung(signum: int, frame: object) -> None:
    raise Hung


# -- summing up -------------------------------------------------------------------------------------------------------------
def bound(good: int, n: int) -> str:
    """Good of n, and the one-sided 95 % lower bound of their share (Clopper and Pearson)."""
    if not n:
        return "none"
    low = float(beta.ppf(0.05, good, n - good + 1)) if good else 0.0
    return f"{good} of {n} (>= {low:.3f})"


def wrong(row: Row) -> bool:
    """Whether a cell was wrong in the way that it must never be."""
    return bool(row.get("broke") or row.get("wrong") or (row.get("verdict") and row.get("truth") is False))


def report(rows: list[Row]) -> Iterator[str]:
    """A table of every task and version, then what went wrong."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows[1:]:
        groups.setdefault((row["task"], row["audit"]), []).append(row)
    yield "| task | audit | what | measured |"
    yield "|---|---|---|---|"
    for (task, audit), group in groups.items():
        for what, said in _lines(group):
            yield f"| {task} | {audit} | {what} | {said} |"
    for row in rows[1:]:
        if wrong(row):
            yield f"wrong: {row}"


def _lines(group: list[Row]) -> Iterator[tuple[str, object]]:
    by = {part: [row for row in group if row["part"] == part and "broke" not in row] for part in PARTS}
    if made := by["resets"]:
        yield "resets ready within 3 tries, lower bound 95 %", bound(sum(r["ready"] for r in made), len(made))
        for who in WHO:
            these = [r for r in made if r["who"] == who]
            yield f"... after {who}", bound(sum(r["ready"] for r in these), len(these))
        yield "episodes begun from an unverified scene", sum(bool(r.get("wrong")) for r in made)
        yield "safety stops by the reset", sum(len(r["stops"]) for r in made)
        failed = [r for r in made if not r["ready"]]
        yield "ResetFailed that parks", f"{sum(r['parked'] for r in failed)} of {len(failed)}"
    if made := by["verdicts"]:
        known = [r for r in made if r["truth"] is not None]
        yield "verdicts with near misses", f"{len(made)}, {sum(r['near'] for r in made) / len(made):.0%} of them near"
        for name, truth in (("true positives", True), ("true negatives", False)):
            these = [r for r in known if r["truth"] is truth]
            yield name + ", lower bound 95 %", bound(sum(r["verdict"] is truth for r in these), len(these))
        inside = [r for r in made if r["truth"] is None]
        yield (
            "in the guard band",
            f"{len(inside)}, {sum(r.get('verdict', False) for r in inside)} of them called a success",
        )
        yield "abstentions", sum(r.get("reason") in UNSURE for r in made)
        times = [t for r in made for t in r.get("frame_ms", [])]
        yield "perception, p95 of a frame", f"{np.percentile(times, 95):.1f} ms of CPU" if times else "-"
    if made := by["faults"]:
        yield "faults injected", len(made)
        yield "... outcomes", ", ".join(f"{n} {what}" for what, n in Counter(r["outcome"] for r in made).most_common())
        yield "... and the next reset is ready", bound(sum(r.get("recovers", False) for r in made), len(made))
    if made := by["reference"]:
        yield "reference solves, each on a station of its own", bound(sum(r["success"] for r in made), len(made))
        reasons = Counter(r["reason"] for r in made if not r["success"])
        yield "... reasons of failures", ", ".join(f"{n} {why}" for why, n in reasons.most_common()) or "none"
    yield "false successes, unready starts, hangs and crashes", sum(map(wrong, group))
    yield "processor time", f"{math.fsum(r['cpu_s'] for r in group) / 60:.1f} min"


def main() -> int:
    """Measure what is missing and print what the file says."""
    parser = Parser(prog="real_audit.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=path, required=True, help="the JSON-lines file, new or begun")
    add("--task", choices=SUBJECTS, default="pin")
    for part in PARTS:
        add(f"--{part}", type=whole(0, 10**6), default=0, metavar="N", help=f"episodes of {part} (default 0)")
    add("--report", action="store_true", help="measure nothing")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # that it is a twin is known
    cv2.setNumThreads(1)
    if not args.report:
        measure(args.out, args.task, {part: getattr(args, part) for part in PARTS})
    rows = rows_of(args.out)
    print("\n".join(report(rows)))
    return 1 if any(map(wrong, rows[1:])) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"real_audit: {error}", file=sys.stderr)
        sys.exit(2)
