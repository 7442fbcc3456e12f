"""A million random steps over all tasks: nothing infinite, no physics fault, no leak."""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time

os.environ.setdefault("MUJOCO_GL", "egl")

import enpire_envs
import gymnasium as gym
import numpy as np
from enpire_envs.env import CellFault

WARM_UP = 5000  # steps after which memory must no longer grow


def resident_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def soak(env_id: str, steps: int) -> bool:
    env = gym.make(env_id, disable_env_checker=True)
    rng = np.random.default_rng(0)
    shape = env.action_space.shape
    episodes = faults = infinite = 0
    baseline, began, drift = 0.0, time.perf_counter(), np.zeros(shape)  # type: ignore[arg-type]
    env.reset(seed=0)
    for step in range(steps):
        if step == min(WARM_UP, steps // 2):
            baseline = resident_mb()
        if step % 10 == 0:  # held for a third of a second, so that it goes somewhere
            drift = rng.normal(size=shape)
        try:
            observation, _, terminated, truncated, _ = env.step(np.clip(drift + 0.3 * rng.normal(size=shape), -1, 1))
        except CellFault:
            faults, terminated, observation = faults + 1, True, np.zeros(1)
        infinite += not np.isfinite(observation).all()
        if terminated or truncated:
            episodes += 1
            env.reset()
    grown = resident_mb() - baseline
    env.close()
    rate = steps / (time.perf_counter() - began)
    print(
        f"{env_id:<24} {steps} steps, {episodes} episodes, {rate:,.0f}/s   infinite {infinite}   physics faults {faults}   "
        f"memory {grown:+.1f} MB",
        flush=True,
    )
    return infinite == faults == 0 and grown < 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000, help="in all")
    steps = parser.parse_args().steps // len(enpire_envs.ENV_IDS)
    passed = [soak(env_id, steps) for env_id in enpire_envs.ENV_IDS]
    sys.exit(0 if all(passed) else 1)


main()
