"""Pin insertion against robosuite's insertion tasks: control steps per second, no rendering, random actions.

robosuite 1.5.2 runs in an environment of its own (it needs an older MuJoCo and NumPy), at its default control rate of 20 Hz;
pin insertion runs at 30 Hz. The two alternate within one run, and the best of several rounds counts. Target: 8 times.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")
from raw import ROUNDS

PEER = Path(__file__).parents[1] / ".venv-robosuite"
PACKAGES = ["robosuite==1.5.2", "mujoco==3.8.1", "numpy==1.26.4", "h5py"]
STEPS = {"TwoArmPegInHole": 200, "NutAssemblySquare": 200}

PEER_CODE = """
import json, sys, time
import numpy as np, robosuite
name, n = sys.argv[1], int(sys.argv[2])
robots = ["Panda", "Panda"] if name.startswith("TwoArm") else "Panda"
env = robosuite.make(name, robots=robots, has_renderer=False, has_offscreen_renderer=False, use_camera_obs=False,
                     horizon=10**9, ignore_done=True)
env.reset()
low, high = env.action_spec
actions = np.random.default_rng(0).uniform(low, high, (n, len(low)))
print("ready", flush=True)
for line in sys.stdin:
    env.reset()
    began = time.perf_counter()
    for a in actions:
        env.step(a)
    print(json.dumps(n / (time.perf_counter() - began)), flush=True)
"""


def peer_python() -> Path:
    python = PEER / "bin" / "python"
    if not python.exists():
        print(f"making {PEER.name} with {' '.join(PACKAGES)} (1.5 GB) ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(PEER)], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def pin_rate(n: int) -> float:
    import gymnasium
    import numpy as np

    import autoenvbench  # noqa: F401

    env = gymnasium.make("ENPIRE/PinInsertion-v0")
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (n, 3)).astype(np.float32)
    began = time.perf_counter()
    for a in actions:
        _, _, terminated, truncated, _ = env.step(a)
        if terminated or truncated:
            env.reset()
    return n / (time.perf_counter() - began)


def main() -> None:
    python = peer_python()
    for name, n in STEPS.items():
        with subprocess.Popen(
            [python, "-W", "ignore", "-c", PEER_CODE, name, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        ) as peer:  # fmt: skip
            assert peer.stdin
            assert peer.stdout
            while (line := peer.stdout.readline()).strip() != "ready":
                if not line:
                    sys.exit(f"robosuite did not start; look at: {python} -c 'import robosuite'")
            mine, theirs = [], []
            for _ in range(ROUNDS):
                mine.append(pin_rate(1500))
                peer.stdin.write("\n")
                peer.stdin.flush()
                theirs.append(json.loads(peer.stdout.readline()))
            peer.stdin.close()
        print(
            f"PinInsertion {max(mine):,.0f}   robosuite {name} {max(theirs):,.0f}   ratio {max(mine) / max(theirs):.1f}"
        )


main()
