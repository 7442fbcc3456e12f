"""Audit: one `ArmModel` and one `CollisionModel` under several threads, as a wall-clock station has them.

Each call's answer is compared, bit for bit, with what a model of that thread's own says. It goes on where an earlier
run with the same `--state` ended, and prints its numbers as one JSON line at the end:

    python benchmarks/safety_threads.py --calls 10000000 --state threads.json
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from enpire_real.collision import Body, CollisionModel
from enpire_real.kinematics import ArmModel
from enpire_real.tasks import find_tool

KINDS = ("forward", "torque", "jacobian", "inverse", "collision")
_POSES = 512  # different questions of each kind


def make_collision() -> CollisionModel:
    bases = {"left": Body((0.0, 0.305, 0.0), find_tool("pusher")), "right": Body((0.0, -0.305, 0.0))}
    return CollisionModel(bases, arm_margin=0.008, table_margin=0.02, tool_table_margin=0.002)


def _questions(arm: ArmModel, collision: CollisionModel, seed: int) -> list[tuple[str, Callable[[], np.ndarray]]]:
    """Calls whose answers depend on their arguments alone."""
    rng = np.random.default_rng(seed)
    made: list[tuple[str, Callable[[], np.ndarray]]] = []
    for _ in range(_POSES):
        q, dq, ddq = rng.uniform(arm.lower, arm.upper), rng.normal(0, 1, arm.dof), rng.normal(0, 5, arm.dof)
        both = np.concatenate([q, rng.uniform(arm.lower, arm.upper)])
        target = arm.forward(np.clip(q + 0.05, arm.lower, arm.upper))

        def close(both: np.ndarray = both) -> np.ndarray:
            found = collision.too_close(both)
            pairs = [value for pair, distance in sorted(found.items()) for value in (*pair, distance)]
            return np.concatenate([pairs, collision.tip("left"), collision.tip("right")])

        made += [
            ("forward", lambda q=q: arm.forward(q).position),
            ("torque", lambda q=q, dq=dq, ddq=ddq: arm.torque(q, dq, ddq)),
            ("torque", lambda q=q: arm.torque(q)),
            ("jacobian", lambda q=q: arm.jacobian(q).ravel()),
            ("inverse", lambda q=q, target=target: arm.inverse(target, q, iterations=3)[0]),
            ("collision", close),
        ]
    return made


def audit(calls: int, threads: int, seed: int) -> dict[str, dict[str, int]]:
    """{"calls": {kind: n}, "wrong": {kind: n}} over about `calls` calls by `threads` threads at once."""
    shared = (ArmModel.yam(find_tool("pusher"), wrist_camera=True), make_collision())
    counts = [dict.fromkeys(KINDS, 0) for _ in range(threads)]
    wrong = [dict.fromkeys(KINDS, 0) for _ in range(threads)]
    ready = threading.Barrier(threads)
    failed: list[BaseException] = []

    def work(k: int) -> None:
        try:
            own = (ArmModel.yam(find_tool("pusher"), wrist_camera=True), make_collision())
            expected = [(kind, ask()) for kind, ask in _questions(*own, seed * 1000 + k)]
            asked = _questions(*shared, seed * 1000 + k)
            ready.wait()
            for n in range(calls // threads):
                kind, ask = asked[n % len(asked)]
                counts[k][kind] += 1
                wrong[k][kind] += not np.array_equal(ask(), expected[n % len(asked)][1])
        except BaseException as error:
            failed.append(error)
            ready.abort()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # threads change places as often as they can
    try:
        workers = [threading.Thread(target=work, args=(k,)) for k in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(before)
    if failed:
        raise failed[0]
    return {
        "calls": {kind: sum(c[kind] for c in counts) for kind in KINDS},
        "wrong": {kind: sum(w[kind] for w in wrong) for kind in KINDS},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000_000)
    parser.add_argument("--threads", type=int, default=3)
    parser.add_argument("--state", type=Path, help="where it keeps how far it is")
    args = parser.parse_args()
    state = {"seed": 0, "calls": dict.fromkeys(KINDS, 0), "wrong": dict.fromkeys(KINDS, 0), "seconds": 0.0}
    if args.state and args.state.exists():
        state = json.loads(args.state.read_text())
    while sum(state["calls"].values()) < args.calls:
        began = time.monotonic()
        part = audit(
            min(200_000, args.calls - sum(state["calls"].values()) + args.threads), args.threads, state["seed"]
        )
        state["seed"] += 1
        state["seconds"] += time.monotonic() - began
        for key in ("calls", "wrong"):
            state[key] = {kind: state[key][kind] + part[key][kind] for kind in KINDS}
        if args.state:
            args.state.write_text(json.dumps(state))
        print(f"{sum(state['calls'].values()):>10} calls, {sum(state['wrong'].values())} wrong", file=sys.stderr)
    total = {"calls": sum(state["calls"].values()), "wrong": sum(state["wrong"].values()), "threads": args.threads}
    print(json.dumps({**total, "by_kind": {k: [state["wrong"][k], state["calls"][k]] for k in KINDS}}))


if __name__ == "__main__":
    main()
