"""Push-T speed as ratios: against gym-pusht, against the raw physics, and what a policy's own process costs.

Every pair alternates within one run, and the best of several rounds counts, because machines are noisy.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")
from raw import ROUNDS, against_raw

ROOT = Path(__file__).parents[1]
PEER = ROOT / ".venv-peer"

PEER_CODE = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import gymnasium, gym_pusht, numpy as np
env = gymnasium.make("gym_pusht/PushT-v0", obs_type=sys.argv[1])
n = int(sys.argv[2])
env.reset(seed=0)
actions = np.random.default_rng(0).uniform(0, 512, (n, 2)).astype(np.float32)
for line in sys.stdin:
    began = time.perf_counter()
    for a in actions:
        _, _, terminated, truncated, _ = env.step(a)
        if terminated or truncated:
            env.reset()
    print(json.dumps(n / (time.perf_counter() - began)), flush=True)
"""


def peer_python() -> Path:
    python = PEER / "bin" / "python"
    if not python.exists():
        print("making .venv-peer with gym-pusht 0.1.8 ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(PEER)], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "gym-pusht==0.1.8"], check=True)
    return python


def ours(obs_type: str, n: int) -> Callable[[], float]:
    import gymnasium
    import numpy as np

    import autoenvbench  # noqa: F401

    env = gymnasium.make("ENPIRE/PushT-v0", obs_type=obs_type)
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (n, 2)).astype(np.float32)

    def rate() -> float:
        began = time.perf_counter()
        for a in actions:
            _, _, terminated, truncated, _ = env.step(a)
            if terminated or truncated:
                env.reset()
        return n / (time.perf_counter() - began)

    return rate


def against_peer(obs_type: str, n: int) -> dict[str, float]:
    with subprocess.Popen(
        [peer_python(), "-c", PEER_CODE, obs_type, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL,
    ) as peer:  # fmt: skip
        assert peer.stdin
        assert peer.stdout
        mine, theirs, rate = [], [], ours(obs_type, n)
        for _ in range(ROUNDS):
            mine.append(rate())
            print(file=peer.stdin, flush=True)
            theirs.append(json.loads(peer.stdout.readline()))
        peer.stdin.close()
    return {"ours": max(mine), "gym-pusht": max(theirs), "ratio": max(mine) / max(theirs)}


def isolation() -> dict[str, float]:
    """Microseconds per step of `evaluate` that a policy's own process and cage add, over the same policy in process."""
    import gymnasium

    import autoenvbench  # noqa: F401
    from autoenvbench.record.clock import RunClock
    from autoenvbench.record.ledger import Ledger
    from autoenvbench.record.starts import StartStreams
    from autoenvbench.sandbox.cage import bwrap_problem
    from autoenvbench.station.batch import Batch, draw_starts
    from autoenvbench.station.bundles import Bundle
    from autoenvbench.station.cell import LocalCell
    from autoenvbench.station.evaluation import evaluate

    source = (
        "import numpy as np\nclass Policy:\n def __init__(self, o, a): self.a = np.zeros(2)\n"
        " def reset(self, o): pass\n def act(self, o): return self.a\n"
    )
    namespace: dict[str, type] = {}
    exec(source, namespace)
    env = gymnasium.make("ENPIRE/PushT-v0", disable_env_checker=True)
    sandbox = "none" if bwrap_problem() else "bwrap"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "policy.py").write_text(source)
        bundle = Bundle("", "", "", Path(folder))
        ledger = Ledger(Path(":memory:"), RunClock.start(3600))
        streams = StartStreams(bytes(32))

        def per_step(policy: object) -> float:
            """The fastest of a few equal episodes; the first of a process is left out, since it also starts it."""
            times = []
            for _ in range(2):
                cell = LocalCell(env, sandbox=sandbox, track="open", policy=policy)  # type: ignore[arg-type]
                batch = Batch("isolation", "score", bundle, 6, draw_starts(streams, "score", 0, 6))
                evaluate([cell], batch, ledger)
                judged = list(ledger.events("episode"))[-6:]
                for before, after in itertools.pairwise(judged):
                    times.append(1e6 * (after.t_run - before.t_run) / after.payload.steps)
            return min(times)

        pairs = [(per_step(namespace["Policy"](None, None)), per_step(None)) for _ in range(ROUNDS)]
    inside, caged = (min(p[k] for p in pairs) for k in (0, 1))
    return {"in process": inside, f"own process ({sandbox})": caged, "difference": caged - inside}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    table = {
        "state, steps/s (target ratio >= 2)": against_peer("state", 2000),
        "pixels 96 x 96, steps/s (target ratio >= 1)": against_peer("pixels", 150),
        "raw physics, steps/s (target ratio >= 0.5)": against_raw("ENPIRE/PushT-v0"),
        "isolation, us/step (target difference <= 150)": isolation(),
    }
    if args.json:
        print(json.dumps(table, indent=1))
        return
    for name, row in table.items():
        print(f"{name:<50}" + "   ".join(f"{k} {v:,.2f}" for k, v in row.items()))


if __name__ == "__main__":
    main()
