"""Control steps a second of robosuite's Door: through our adapter (another process, msgpack over pipes) against robosuite's own
GymWrapper in its own process, alternating in one run. Needs ``autoenvbench setup robocasa``."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import time

import gymnasium as gym
import numpy as np
from enpire_envs.remote.venvs import ROBOCASA

import autoenvbench  # noqa: F401  (registers the environments)

_THEIRS = """
import sys, time
import numpy as np, robosuite
from robosuite.wrappers import GymWrapper
env = GymWrapper(robosuite.make("Door", robots="Panda", has_renderer=False, has_offscreen_renderer=False, use_camera_obs=False,
                                control_freq=20, horizon=100000))
rng = np.random.default_rng(0)
for line in sys.stdin:
    n = int(line)
    env.reset()
    actions = rng.uniform(-1, 1, (n, 7))
    began = time.perf_counter()
    for action in actions:
        env.step(action)
    print(n / (time.perf_counter() - began), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=300, help="control steps a round")
    parser.add_argument("--rounds", type=int, default=8)
    args = parser.parse_args()
    theirs = subprocess.Popen(
        [str(ROBOCASA.python), "-s", "-c", _THEIRS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, env={**os.environ, "MUJOCO_GL": "egl"},
    )  # fmt: skip
    assert theirs.stdin is not None
    assert theirs.stdout is not None
    env = gym.make("ENPIRE/Robosuite-Door-v0", max_episode_steps=100_000, disable_env_checker=True)
    rng, rates = np.random.default_rng(0), []
    for k in range(args.rounds):
        theirs.stdin.write(f"{args.n}\n")
        theirs.stdin.flush()
        other = float(theirs.stdout.readline())
        env.reset(seed=k)
        actions, done = rng.uniform(-1, 1, (args.n, 7)), 0
        began = time.perf_counter()
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            done += 1
            if terminated or truncated:
                break
        ours = done / (time.perf_counter() - began)
        rates.append((ours, other))
        print(f"ours {ours:6.1f}  GymWrapper {other:6.1f} steps/s  ratio {ours / other:.3f}", flush=True)
    print(
        f"median ratio {statistics.median(a / b for a, b in rates):.3f}  (fastest of each {max(a for a, _ in rates):.1f}, {max(b for _, b in rates):.1f})"
    )
    theirs.stdin.close()
    theirs.wait(20)
    env.close()


if __name__ == "__main__":
    main()
