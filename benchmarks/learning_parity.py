"""Our SAC and RLPD beside Stable-Baselines3's SAC on tasks of Gymnasium that have a known answer.

RLPD is asked to be SAC here: no demonstrations, as many critics, entropy in its targets. Every learner gets the same environment steps, a
gradient step for each, the same widths and batches, and is scored without noise on the same starts. Stated before anything was run: ours
is equivalent if the 90 % interval of the difference of mean returns (Welch, over seeds) lies within a tenth of the distance from random
actions to Stable-Baselines3's mean; it is not worse if the interval's lower end does.

Every run is a file OUT/<task>/<steps>/<learner>/<seed>.json: killed half-way, the same command goes on where it was. --minutes bounds it.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from scipy import stats

from autoenvbench.learning import rlpd, sac
from autoenvbench.learning.bundle.policy import Actor
from autoenvbench.learning.collect import Acts, run_episode
from autoenvbench.learning.run import Training

TASKS = ("Pendulum-v1", "InvertedDoublePendulum-v5")
LEARNERS = ("random", "sb3", "sac", "rlpd")
STARTS = range(90_000, 90_010)
MARGIN = 0.1  # of the distance from random actions to Stable-Baselines3's mean return
WARM_UP = 500  # steps of random actions


class Judged(gym.Wrapper[Any, Any, Any, Any]):
    """A task of Gymnasium, which knows no success, as our loop expects one."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated, {**info, "success": False}


class Policy:
    """A function of the observation."""

    def __init__(self, act: Any) -> None:
        self._act = act

    def reset(self, observation: Any) -> None:
        pass

    def act(self, observation: Any) -> np.ndarray:
        return np.asarray(self._act(observation))


def trained(learner: str, env: gym.Env[Any, Any], steps: int, seed: int) -> Acts:
    """What a learner makes of `steps` on the environment."""
    if learner == "random":
        env.action_space.seed(seed)
        return Policy(lambda observation: env.action_space.sample())
    if learner == "sb3":
        from stable_baselines3 import SAC

        model = SAC("MlpPolicy", env, learning_starts=WARM_UP, seed=seed, device="cpu").learn(steps)
        return Policy(lambda observation: model.predict(observation, deterministic=True)[0])
    with tempfile.TemporaryDirectory() as folder:
        training = Limited(Path(folder) / "run", steps, seed=seed, minutes=600)
        if learner == "sac":
            return Actor(*sac.train(env, None, sac.Settings(warm_up=WARM_UP), training))
        settings = rlpd.Settings(
            demo_share=0.0, critics=2, layer_norm=False, gamma=0.99, n_step=1, entropy_in_targets=True, entropy=-1.0,
            temperature=1.0, average=0.005,
        )  # fmt: skip
        return Actor(*rlpd.train(env, None, settings, training))


class Limited(Training):
    """Ends after so many control steps instead of after a time."""

    def __init__(self, out: Path, limit: int, **more: Any) -> None:
        super().__init__(out, checkpoint_every=1e9, **more)
        self._control_steps = limit

    @property
    def over(self) -> bool:
        practice: Any = self._parts["practice"]
        return practice.steps >= self._control_steps


def run(file: Path, task: str, learner: str, steps: int, seed: int) -> None:
    """Train and score, and write it down whole or not at all."""
    env, before = Judged(gym.make(task)), time.process_time()
    policy = trained(learner, env, steps, seed)
    cpu = time.process_time() - before
    returns = [float(run_episode(env, policy, start).reward.sum()) for start in STARTS]
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(json.dumps({"return": float(np.mean(returns)), "returns": returns, "cpu_s": round(cpu, 1)}) + "\n")
    part.replace(file)


def verdict_of(ours: list[float], theirs: list[float], random: list[float]) -> str:
    """Whether our mean return is as good as theirs, within a margin of the distance from random actions to theirs."""
    if min(len(theirs), len(ours)) < 2 or not random:
        return "needs two seeds of each"
    difference = np.mean(ours) - np.mean(theirs)
    margin = MARGIN * (np.mean(theirs) - np.mean(random))
    interval = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.9)
    within = "equivalent" if -margin < interval.low and interval.high < margin else "not worse"
    word = within if interval.low > -margin else "not shown to be as good"
    return f"difference {difference:.1f} [{interval.low:.1f}, {interval.high:.1f}], margin {margin:.1f}: {word}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--learners", nargs="+", choices=LEARNERS, default=list(LEARNERS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=120, help="after which no further run is begun")
    args = parser.parse_args()
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * args.minutes
    for seed in range(args.seeds):
        for task in args.tasks:
            for learner in args.learners:
                file = args.out / task / str(args.steps) / learner / f"{seed}.json"
                if not file.exists() and time.monotonic() < end:
                    run(file, task, learner, args.steps, seed)
                    print(f"{task} {learner} seed {seed}: {json.loads(file.read_text())['return']:.1f}", flush=True)
    for task in args.tasks:
        folder = args.out / task / str(args.steps)
        returns = {
            name: [json.loads(file.read_text())["return"] for file in sorted((folder / name).glob("*.json"))]
            for name in LEARNERS
        }
        print(task, {name: [round(value, 1) for value in values] for name, values in returns.items()})
        for name in ("sac", "rlpd"):
            print(f"  {name}: {verdict_of(returns[name], returns['sb3'], returns['random'])}")


if __name__ == "__main__":
    main()
