"""A million random steps over all tasks, each level's share the same: nothing infinite, no physics fault, no leak.

Of a level that is seen by cameras the first --pictures steps are with its pictures, and the rest without: drawing changes no physics and takes ten
times as long. A part of 5,000 steps is a line of the file --out, from a seed of its own, so that a killed soak goes on where it was; memory may
not grow from the second part on that one process makes of a level. Exit code 1 where something failed.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")

import gymnasium as gym
import numpy as np
from audit_rows import Row, append, rows_of
from enpire_envs import ENV_IDS
from enpire_envs.env import CellFault
from enpire_envs.fingerprint import fingerprint

from autoenvbench.cli.arguments import Parser, path, whole
from autoenvbench.errors import UserError

PART = 5000  # steps
GROWN_MB = 10.0  # what memory may grow by


def parts_of(steps: int, pictured: int) -> Iterator[tuple[int, int, bool]]:
    """(number, steps, whether with pictures) of each part of a level."""
    k = 0
    for total, pictures in ((min(pictured, steps), True), (steps - min(pictured, steps), False)):
        for first in range(0, total, PART):
            yield k, min(PART, total - first), pictures
            k += 1


def resident_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def numbers(observation: Any) -> Iterator[np.ndarray]:
    """The arrays of an observation."""
    if isinstance(observation, dict):
        for part in observation.values():
            yield from numbers(part)
    else:
        yield observation


def soak(env: gym.Env[Any, Any], seed: int, steps: int) -> dict[str, int]:
    """Random steps, each direction held for a third of a second so that it goes somewhere. Counts of what happened."""
    rng, shape = np.random.default_rng(seed), env.action_space.shape
    episodes = faults = infinite = 0
    drift = np.zeros(shape)  # type: ignore[arg-type]
    env.reset(seed=seed)
    for step in range(steps):
        if step % 10 == 0:
            drift = rng.normal(size=shape)
        try:
            observation, _, terminated, truncated, _ = env.step(np.clip(drift + 0.3 * rng.normal(size=shape), -1, 1))
        except CellFault:
            faults, terminated, observation = faults + 1, True, {}
        infinite += not all(np.isfinite(part).all() for part in numbers(observation))
        if terminated or truncated:
            episodes += 1
            env.reset()
    return {"steps": steps, "episodes": episodes, "infinite": infinite, "faults": faults}


def measure(out: Path, ids: Sequence[str], steps: int, pictured: int) -> None:
    """Append the parts that are missing of `steps` for each environment."""
    done = {(row["env"], row["fingerprint"], row["part"], row["steps"]) for row in rows_of(out)}
    for env_id in ids:
        env = gym.make(env_id, disable_env_checker=True)
        inner: Any = env.unwrapped
        mark, baseline, pixels = fingerprint(env), None, inner._pixels
        seen = "pixels" in inner.task.obs_types[0]
        for part, n, pictures in parts_of(steps, pictured if seen else 0):
            if (env_id, mark, part, n) in done:
                continue
            inner._pixels = pixels if pictures else dict
            began = time.process_time()
            row = {"env": env_id, "fingerprint": mark, "part": part, "pictures": pictures, **soak(env, part, n)}
            now = resident_mb()
            grown = 0.0 if baseline is None else now - baseline
            baseline = now if baseline is None else baseline
            append(out, {**row, "grown_mb": round(grown, 1), "cpu_s": round(time.process_time() - began, 1)})
        env.close()


def report(rows: list[Row]) -> Iterator[str]:
    """A line for each version of each environment, and one for all."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["env"], row["fingerprint"]].append(row)
    groups["all", ""] = rows
    for (env_id, mark), group in groups.items():
        steps, drawn, episodes, infinite, faults = (
            sum(row[name] for row in part)
            for part, name in ((group, "steps"), ([r for r in group if r["pictures"]], "steps"), (group, "episodes"), (group, "infinite"), (group, "faults"))
        )  # fmt: skip
        grown, cpu = max(row["grown_mb"] for row in group), sum(row["cpu_s"] for row in group)
        yield (
            f"{env_id:<34} {mark:<16} {steps} steps ({drawn} with pictures), {episodes} episodes   infinite {infinite}   physics faults {faults}   "
            f"memory {grown:+.1f} MB   {cpu:.0f} s CPU"
        )


def main() -> int:
    """Soak what is missing and print what the file says."""
    parser = Parser(prog="soak.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=path, required=True, help="the JSON-lines file, new or begun")
    add("--steps", type=whole(1, 10**9), default=1_000_000, help="in all, spread evenly (default 1000000)")
    add("--pictures", type=whole(0, 10**9), default=2000, metavar="N", help="of a level with cameras (default 2000)")
    args = parser.parse_args()
    measure(args.out, ENV_IDS, -(-args.steps // len(ENV_IDS)), args.pictures)
    rows = rows_of(args.out)
    print("\n".join(report(rows)))
    return int(any(row["infinite"] or row["faults"] or row["grown_mb"] > GROWN_MB for row in rows))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"soak: {error}", file=sys.stderr)
        sys.exit(2)
