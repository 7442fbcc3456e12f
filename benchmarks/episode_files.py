"""Episodes on disk: writing, opening and loading 10^5 steps, beside other ways to keep them.

A hundred thousand steps in 500 episodes (8 numbers seen, 2 done), loaded as flat arrays (observations, next observations, actions,
rewards, terminated): the files of `enpire_envs.episode_file`, NumPy's `.npz` (plain and compressed), one `.npy` a column, and, with
`--lerobot PYTHON`, an interpreter that has LeRobot, the LeRobotDataset made of the same episodes. Cold: after the kernel has been asked
to forget the files. Also what keeping its episodes costs a station.

    python benchmarks/episode_files.py [--lerobot .tools/lerobot/bin/python]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from enpire_envs.episode_file import EpisodeWriter, describe_space, read_episode
from enpire_envs.episodes import Episodes

EPISODES, STEPS = 500, 200
Columns = dict[str, np.ndarray]


def write_ours(folder: Path, episodes: list[Columns]) -> None:
    env = gym.make("ENPIRE/PushT-v0")
    about = {
        "env": "ENPIRE/PushT-v0", "env_kwargs": {"variant": "full"}, "fingerprint": "0" * 16, "control_hz": 10.0,
        "task": "Push the T.", "observation_space": describe_space(env.observation_space),
        "action_space": describe_space(env.action_space), "start": {"block": [0.1, 0.2, 0.3], "tip": [0.0, 0.1]},
        "verdict": {"success": False, "score": 0.5, "stage": "range_ok", "reason": "time_limit", "violations": []},
        "provenance": {"station": "station-1", "kind": "sim", "agent": "codex-1", "commit": "c" * 40, "content": "d" * 40},
    }  # fmt: skip
    for k, columns in enumerate(episodes):
        writer = EpisodeWriter()
        writer.begin(columns["observation"][0])
        for t in range(STEPS):
            writer.step(columns["action"][t], columns["observation"][t + 1], 0.0, False, t == STEPS - 1, time=t / 10)
        writer.write(folder / f"E1-{k:04d}.episode", {**about, "seed": k})


def load_ours(folder: Path) -> int:
    episodes = Episodes(folder)
    held = (episodes.observation, episodes.next_observation, episodes.action, episodes.reward, episodes.terminated)
    return len(held[0])


def write_npz(folder: Path, episodes: list[Columns], save: Callable[..., None] = np.savez) -> None:
    for k, columns in enumerate(episodes):
        save(folder / f"{k:04d}.npz", **columns)


def load_npz(folder: Path) -> int:
    files = [np.load(path) for path in sorted(folder.iterdir())]
    return _flat([{name: file[name] for name in file.files} for file in files])


def write_npy(folder: Path, episodes: list[Columns]) -> None:
    for k, columns in enumerate(episodes):
        (folder / f"{k:04d}").mkdir()
        for name, column in columns.items():
            np.save(folder / f"{k:04d}" / f"{name}.npy", column)


def load_npy(folder: Path) -> int:
    return _flat(
        [{file.stem: np.load(file, mmap_mode="r") for file in path.iterdir()} for path in sorted(folder.iterdir())]
    )


def _flat(episodes: list[Columns]) -> int:
    for name in ("action", "reward", "terminated"):
        np.concatenate([episode[name] for episode in episodes])
    np.concatenate([episode["observation"][1:] for episode in episodes])
    return len(np.concatenate([episode["observation"][:-1] for episode in episodes]))


LEROBOT = """
import sys, time
began = time.perf_counter()
from lerobot.datasets.lerobot_dataset import LeRobotDataset
imported = time.perf_counter()
data = LeRobotDataset("a/b", root=sys.argv[1])
opened = time.perf_counter()
flat = data.hf_dataset.with_format("numpy")[:]
print(imported - began, opened - imported, time.perf_counter() - opened, len(flat["action"]))
"""


def forget(folder: Path) -> None:
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def timed(run: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    began = clock()
    run()
    return clock() - began


def station_cost() -> tuple[float, float]:
    """Milliseconds of CPU time of a Push-T episode of 300 steps, and of keeping it."""
    from autoenvbench.station.trajectories import describe

    env = gym.make("ENPIRE/PushT-v0")
    about = describe(env)
    played, kept = [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(10):
            began = time.process_time()
            observation, _ = env.reset(seed=seed)
            seen = [observation]
            for _ in range(300):
                observation, _, terminated, truncated, _ = env.step(np.zeros(2))
                seen.append(observation)
            played.append(time.process_time() - began)
            began = time.process_time()
            writer = EpisodeWriter(images="png")
            writer.begin(seen[0])
            for k, observation in enumerate(seen[1:]):
                writer.step(np.zeros(2), observation, 0.0, terminated, truncated, time=k / 10)
            writer.write(Path(folder) / f"{seed}.episode", about)
            kept.append(time.process_time() - began)
    return 1000 * statistics.median(played), 1000 * statistics.median(kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lerobot", metavar="PYTHON", help="an interpreter that has LeRobot")
    parser.add_argument("--folder", type=Path, help="where to write (default: the system's temporary folder)")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    episodes = [
        {
            "observation": np.cumsum(rng.normal(0, 0.01, (STEPS + 1, 8)), axis=0).astype(np.float32),
            "action": rng.uniform(-1, 1, (STEPS, 2)), "reward": np.zeros(STEPS), "terminated": np.zeros(STEPS, bool),
            "truncated": np.arange(STEPS) == STEPS - 1, "time": np.arange(STEPS) / 10, "source": np.zeros(STEPS, np.uint8),
            "late": np.zeros(STEPS, bool),
        }
        for _ in range(EPISODES)
    ]  # fmt: skip
    ways: dict[str, tuple[Callable[[Path, list[Columns]], None], Callable[[Path], int]]] = {
        ".episode": (write_ours, load_ours),
        ".npz": (write_npz, load_npz),
        ".npz, compressed": (lambda folder, made: write_npz(folder, made, np.savez_compressed), load_npz),
        ".npy a column": (write_npy, load_npy),
    }
    steps = EPISODES * STEPS
    print(
        f"{steps:,} steps in {EPISODES} episodes | write [us/step] | bytes/step | load: cold [ms] | warm [ms] | of CPU [ms] (medians of 7)"
    )
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        for name, (write, load) in ways.items():
            folder = Path(scratch) / name
            folder.mkdir()
            wrote = timed(lambda write=write, folder=folder: write(folder, episodes))
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            forget(folder)
            assert load(folder) == steps
            forget(folder)
            cold = timed(lambda load=load, folder=folder: load(folder))
            warm, cpu = (
                1000 * statistics.median(timed(lambda load=load, folder=folder: load(folder), clock) for _ in range(7))
                for clock in (time.perf_counter, time.process_time)
            )
            print(
                f"{name:32} | {1e6 * wrote / steps:15.1f} | {size / steps:10.1f} | {1000 * cold:15.0f} | {warm:9.0f} | {cpu:11.0f}"
            )
        ours = Path(scratch) / ".episode"
        paths = sorted(ours.iterdir())
        mapped = timed(lambda: [read_episode(path) for path in paths]) / EPISODES
        checked = timed(lambda: [read_episode(path, mapped=False, check=True) for path in paths]) / EPISODES
        print(f"one episode: mapped in {1e6 * mapped:.0f} us, read with its checksum in {1e6 * checked:.0f} us")
        if args.lerobot:
            from enpire_real.dataset import convert

            out = Path(scratch) / "lerobot"
            made = timed(lambda: convert(ours, out, args.lerobot))
            size = sum(path.stat().st_size for path in (out / "data").rglob("*") if path.is_file())
            forget(out)
            done = subprocess.run(
                [args.lerobot, "-W", "ignore", "-c", LEROBOT, str(out)], capture_output=True, text=True, check=True,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(Path(scratch) / "hf")},
            )  # fmt: skip
            imported, opened, flat, _ = (float(x) for x in done.stdout.split()[-4:])
            print(
                f"LeRobotDataset of the same: converted in {made:.0f} s, {size / steps:.1f} bytes/step; opened in {1000 * opened:.0f} ms "
                f"(after {imported:.1f} s of imports), all columns as NumPy in {1000 * flat:.0f} ms"
            )
    played, kept = station_cost()
    print(f"a Push-T episode of 300 steps takes {played:.0f} ms of CPU without its policy, keeping it {kept:.1f} ms")


if __name__ == "__main__":
    main()
