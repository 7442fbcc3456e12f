"""Control steps a second of robosuite's Door: through our adapter (another process, msgpack over pipes) against robosuite's own
GymWrapper in its own process. Short slices of the two alternate, in the order A B B A, so that a machine whose speed wanders
treats both alike. Needs ``autoenvbench setup robocasa``."""

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

SLICE, SLICES = 25, 8  # control steps, and how many of each side a round has
_THEIRS = """
import sys, time
import numpy as np, robosuite
from robosuite.wrappers import GymWrapper
env = GymWrapper(robosuite.make("Door", robots="Panda", has_renderer=False, has_offscreen_renderer=False, use_camera_obs=False,
                                control_freq=20, horizon=100000))
rng = np.random.default_rng(0)
for line in sys.stdin:
    if line == "reset\\n":
        env.reset()
        print("done", flush=True)
        continue
    actions = rng.uniform(-1, 1, (int(line), 7))
    began = time.perf_counter()
    for action in actions:
        env.step(action)
    print(time.perf_counter() - began, flush=True)
"""


class GymWrapper:
    """robosuite's, in a process of its own."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [str(ROBOCASA.python), "-s", "-c", _THEIRS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env={**os.environ, "MUJOCO_GL": "egl"},
        )  # fmt: skip

    def _ask(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def reset(self) -> None:
        self._ask("reset")

    def steps(self, n: int) -> float:
        """The seconds that they took."""
        return float(self._ask(str(n)))

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)


class Adapter:
    """Ours, as a user makes it."""

    def __init__(self) -> None:
        self.env = gym.make("ENPIRE/Robosuite-Door-v0", max_episode_steps=100_000, disable_env_checker=True)
        self.rng = np.random.default_rng(0)

    def reset(self) -> None:
        self.env.reset(options={"to_the_end": True})  # a door that random actions open ends no slice

    def steps(self, n: int) -> float:
        actions = self.rng.uniform(-1, 1, (n, 7))
        began = time.perf_counter()
        for action in actions:
            self.env.step(action)
        return time.perf_counter() - began

    def close(self) -> None:
        self.env.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    ours, theirs = Adapter(), GymWrapper()
    sides: tuple[Adapter, GymWrapper] = ours, theirs
    ratios, totals = [], dict.fromkeys(sides, 0.0)
    for _ in range(args.rounds):
        spent = dict.fromkeys(sides, 0.0)
        for side in sides:
            side.reset()
            side.steps(SLICE)  # warm
        for k in range(2 * SLICES):
            side = ours if k % 4 in (0, 3) else theirs
            spent[side] += side.steps(SLICE)
        ratios.append(spent[theirs] / spent[ours])
        for side in sides:
            totals[side] += spent[side]
    steps = args.rounds * SLICES * SLICE
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(
        f"ours {steps / totals[ours]:.1f}, GymWrapper {steps / totals[theirs]:.1f} control steps/s over {steps} steps each"
    )
    print(
        f"ratio {totals[theirs] / totals[ours]:.3f}; median of {args.rounds} rounds {middle:.3f}, quartiles {low:.3f} to {high:.3f}"
    )
    ours.close()
    theirs.close()


if __name__ == "__main__":
    main()
