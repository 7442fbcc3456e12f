"""Gradient steps of `rlpd` beside those of Stable-Baselines3's SAC, and what share of the time its environment takes.

Both take batches of the same size from their own replay (random numbers of the sizes given), with networks of the same width and as many
critics, by turns, on one thread; a round's ratio compares neighbours in time, and the median over the rounds is given. CPU seconds, since
other programs may share the machine.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "egl")

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from autoenvbench.learning import rlpd
from autoenvbench.learning.buffer import Buffer, Mixture
from autoenvbench.learning.bundle.features import Features
from autoenvbench.learning.collect import Recorder
from autoenvbench.learning.episodes import Trajectory
from autoenvbench.learning.online import Practice
from autoenvbench.learning.run import Training
from autoenvbench.make_env import make_env


class Sizes(gym.Env[np.ndarray, np.ndarray]):
    """An environment of random numbers."""

    def __init__(self, obs: int, actions: int) -> None:
        self.observation_space = gym.spaces.Box(-1, 1, (obs,), np.float32)
        self.action_space = gym.spaces.Box(-1, 1, (actions,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        return self._seen(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        return self._seen(), float(self.np_random.random()), False, self._steps == 100, {}

    def _seen(self) -> np.ndarray:
        return self.np_random.uniform(-1, 1, self.observation_space.shape).astype(np.float32)


def episodes(env: Sizes, n: int) -> list[Trajectory]:
    """Random ones."""
    found = []
    for seed in range(n):
        env.action_space.seed(seed)
        observation, _ = env.reset(seed=seed)
        record, over = Recorder(observation), False
        while not over:
            action = env.action_space.sample()
            observation, reward, _, over, _ = env.step(action)
            record.step(action, observation, reward)
        found.append(record.trajectory(terminated=False, success=False, source="random"))
    return found


def theirs(env: Sizes, critics: int, hidden: int, batch: int) -> Callable[[int], None]:
    """Stable-Baselines3's gradient steps."""
    from stable_baselines3 import SAC

    kwargs = {"net_arch": [hidden, hidden], "n_critics": critics}
    model = SAC("MlpPolicy", env, learning_starts=2000, buffer_size=4000, policy_kwargs=kwargs, device="cpu", seed=0)
    model.learn(1000)
    return lambda steps: model.train(gradient_steps=steps, batch_size=batch)


def ours(env: Sizes, critics: int, hidden: int, batch: int, **more: Any) -> Callable[[int], None]:
    """The gradient steps of `rlpd`, half of each batch from demonstrations."""
    obs, actions = env.observation_space.shape[0], env.action_space.shape[0]  # type: ignore[index]
    shown, low = episodes(env, 10), -np.ones(actions)
    features = Features.of([t.observation for t in shown], actions)
    settings = rlpd.Settings(critics=critics, hidden=hidden, batch=batch, n_step=1, **more)
    halves = [Buffer.of(features, shown, low, -low) for _ in range(2)]
    mixture = Mixture({"replay": (halves[0], 0.5), "demos": (halves[1], 0.5)})
    learner, rng = rlpd.RLPD(obs, actions, settings), np.random.default_rng(0)

    def update(steps: int) -> None:
        for _ in range(steps):
            learner.update(mixture.sample(batch, rng, gamma=0.99))

    return update


def compare(args: argparse.Namespace, critics: int) -> dict[str, float]:
    """Milliseconds of CPU for a gradient step of each, and how much faster ours is."""
    env, size = Sizes(args.obs, args.actions), (critics, args.hidden, args.batch)
    steps = {
        "sb3": theirs(env, *size),
        "rlpd": ours(env, *size, layer_norm=False),
        "rlpd, layer norm": ours(env, *size),
        "rlpd, bfloat16": ours(env, *size, layer_norm=False, precision="bfloat16"),
        "rlpd, layer norm, bfloat16": ours(env, *size, precision="bfloat16"),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(args.rounds + 1):
        for name, step in steps.items():
            before = time.process_time()
            step(args.steps)
            times[name].append((time.process_time() - before) / args.steps * 1e3)
    kept = {name: values[1:] for name, values in times.items()}  # the first round warms up
    found = {f"{name} [ms]": statistics.median(values) for name, values in kept.items()}
    for name in list(steps)[1:]:
        found[f"{name}: times faster"] = statistics.median(a / b for a, b in zip(kept["sb3"], kept[name], strict=True))
    return {"critics": critics, **{name: round(value, 2) for name, value in found.items()}}


def share_of_environment(env_id: str, n: int, hold: int) -> dict[str, float]:
    """Of the CPU time of `rlpd` on an environment, what its episodes take with the policy's own computing in them."""
    spent, right = 0.0, Practice.episode

    def timed(practice: Practice) -> Trajectory:
        nonlocal spent
        before = time.process_time()
        trajectory = right(practice)
        spent += time.process_time() - before
        return trajectory

    Practice.episode = timed  # type: ignore[method-assign]
    settings = rlpd.Settings(demo_share=0.0, hold=hold, episodes=n)
    with tempfile.TemporaryDirectory() as folder:
        before = time.process_time()
        rlpd.train(make_env(env_id), None, settings, Training(Path(folder) / "run", seed=0, minutes=10))
        whole = time.process_time() - before
    return {"env": env_id, "episodes": n, "cpu_s": round(whole, 1), "environment": round(spent / whole, 3)}  # type: ignore[dict-item]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--critics", type=int, nargs="+", default=[2, 10])
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--obs", type=int, default=70)
    parser.add_argument("--actions", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=20, help="gradient steps in a round")
    parser.add_argument("--env", default="ENPIRE/PinInsertion-v0", help="whose share of the time is measured")
    parser.add_argument("--episodes", type=int, default=3, help="of it; 0: leave that out")
    parser.add_argument("--hold", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for critics in args.critics:
        print(json.dumps(compare(args, critics)), flush=True)
    if args.episodes:
        print(json.dumps(share_of_environment(args.env, args.episodes, args.hold)), flush=True)


if __name__ == "__main__":
    main()
