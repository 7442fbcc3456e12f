"""Our IQL and TD3+BC beside d3rlpy's, on what Stable-Baselines3's SAC met while it learned two tasks of Gymnasium.

Data of each task: all that SAC did from its first random step to its last, so random, half-trained and trained. Every learner gets the same
data, gradient steps, widths, batches, discounts and normalised observations, and is scored without noise on the same starts. Stated before
anything was run: ours is equivalent to d3rlpy's if the 90 % interval of the difference of mean returns (Welch, over seeds) lies within a
tenth of the distance from random actions to d3rlpy's mean; it is not worse if the interval's lower end does.

d3rlpy has an environment of its own, `.venv-d3rlpy`, made on first use. Every run is a file OUT/<task>/<learner>/<seed>.json: killed
half-way, the same command goes on where it was. --minutes bounds it.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from learning_parity import STARTS, TASKS, WARM_UP, Judged, trained, verdict_of

from autoenvbench.learning import iql, td3_bc
from autoenvbench.learning.bundle.policy import Actor
from autoenvbench.learning.collect import Acts, run_episode
from autoenvbench.learning.episodes import Demonstrations, Trajectory
from autoenvbench.learning.run import Training

PEER = Path(__file__).parents[1] / ".venv-d3rlpy"
PACKAGES = ["torch==2.13.0", "d3rlpy==2.8.1", "numpy==2.4.6"]
ALGORITHMS = ("iql", "td3_bc")
#: The same for both. Rewards of these tasks are large, so a small weight makes large differences already.
WIDTH, BATCH, GAMMA, TRACKING, RATE, EXPECTILE, ADVANTAGE, CRITICS_WORD = 64, 128, 0.99, 0.005, 1e-3, 0.7, 0.5, 2.5

PEER_CODE = """
import json, sys, time
import d3rlpy, gymnasium, numpy as np, torch
about = json.loads(sys.argv[1])
torch.set_num_threads(1)
d3rlpy.seed(about["seed"])
held = np.load(about["data"])
data = d3rlpy.dataset.MDPDataset(held["observation"], held["action"], held["reward"], held["terminated"], held["truncated"])
encoder = d3rlpy.models.VectorEncoderFactory([about["width"]] * 2)
same = dict(batch_size=about["batch"], gamma=about["gamma"], tau=about["tracking"], actor_learning_rate=about["rate"],
            critic_learning_rate=about["rate"], actor_encoder_factory=encoder, critic_encoder_factory=encoder,
            observation_scaler=d3rlpy.preprocessing.StandardObservationScaler(),
            action_scaler=d3rlpy.preprocessing.MinMaxActionScaler(minimum=np.array(about["low"]), maximum=np.array(about["high"])))
if about["algorithm"] == "iql":
    config = d3rlpy.algos.IQLConfig(**same, value_encoder_factory=encoder, expectile=about["expectile"], weight_temp=about["advantage"])
else:
    config = d3rlpy.algos.TD3PlusBCConfig(**same, alpha=about["critics_word"])
learner = config.create(device="cpu")
before = time.process_time()
learner.fit(data, n_steps=about["updates"], n_steps_per_epoch=about["updates"], logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
            show_progress=False)
cpu = time.process_time() - before
env, returns = gymnasium.make(about["task"]), []
for start in about["starts"]:
    seen, over, total = env.reset(seed=start)[0], False, 0.0
    while not over:
        seen, reward, terminated, truncated, _ = env.step(learner.predict(np.asarray(seen, np.float32)[None])[0])
        total, over = total + float(reward), terminated or truncated
    returns.append(total)
print(json.dumps({"return": float(np.mean(returns)), "returns": returns, "cpu_s": round(cpu, 1)}))
"""


def peer_python() -> Path:
    """The interpreter that has d3rlpy."""
    python = PEER / "bin" / "python"
    if not python.exists():
        print(f"making {PEER.name} with {' '.join(PACKAGES)} (1 GB) ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(PEER)], check=True)
        for package in PACKAGES:  # torch first: a range could bring gigabytes of CUDA
            subprocess.run([python, "-m", "pip", "install", "--quiet", package], check=True)
    return python


def record(file: Path, task: str, steps: int) -> None:
    """What SAC meets in so many steps, episodes end to end."""
    from stable_baselines3 import SAC

    model = SAC("MlpPolicy", gym.make(task), learning_starts=WARM_UP, seed=0, device="cpu", buffer_size=steps).learn(
        steps
    )
    buffer: Any = model.replay_buffer
    last = buffer.dones[:, 0].astype(bool)
    cut = (buffer.timeouts[:, 0] > 0) | (np.arange(steps) == steps - 1)  # the newest episode is cut, not over
    space: Any = model.action_space
    action = space.low + (buffer.actions[:, 0] + 1) / 2 * (space.high - space.low)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part.npz")
    np.savez(
        part, observation=buffer.observations[:, 0].astype(np.float32), next=buffer.next_observations[:, 0].astype(np.float32),
        action=action.astype(np.float32), reward=buffer.rewards[:, 0], terminated=last & ~cut, truncated=cut,
    )  # fmt: skip
    part.replace(file)


def episodes(file: Path, task: str) -> Demonstrations:
    """The same for our learners."""
    held = dict(np.load(file))
    ends = np.flatnonzero(held["terminated"] | held["truncated"]) + 1
    trajectories = [
        Trajectory(
            np.concatenate([held["observation"][a:b], held["next"][b - 1 : b]]), held["action"][a:b], held["reward"][a:b],
            bool(held["terminated"][b - 1]), False, "sac",
        )
        for a, b in zip([0, *ends[:-1]], ends, strict=True)
    ]  # fmt: skip
    return Demonstrations(trajectories, task, {}, None, {}, {})


def ours(algorithm: str, env: gym.Env[Any, Any], data: Demonstrations, updates: int, seed: int) -> Acts:
    """Our learner's policy."""
    same: dict[str, Any] = {
        "updates": updates, "history": 0, "hidden": WIDTH, "batch": BATCH, "gamma": GAMMA, "tracking": TRACKING, "learning_rate": RATE,
        "layer_norm": False,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        training = Training(Path(folder) / "run", seed=seed, minutes=600, checkpoint_every=1e9)
        if algorithm == "iql":
            settings = iql.Settings(**same, average=0.0, expectile=EXPECTILE, advantage_weight=ADVANTAGE)
            return Actor(*iql.train(env, data, settings, training))
        return Actor(*td3_bc.train(env, data, td3_bc.Settings(**same, critic_weight=CRITICS_WORD), training))


def run(file: Path, task: str, learner: str, data: Path, updates: int, seed: int) -> None:
    """Train and score, and write it down whole or not at all."""
    env = Judged(gym.make(task))
    space: Any = env.action_space
    whose, _, algorithm = learner.rpartition("-")
    if whose == "d3rlpy":
        about = {
            "algorithm": algorithm, "task": task, "data": str(data), "seed": seed, "updates": updates, "starts": list(STARTS), "width": WIDTH,
            "batch": BATCH, "gamma": GAMMA, "tracking": TRACKING, "rate": RATE, "expectile": EXPECTILE, "advantage": ADVANTAGE,
            "critics_word": CRITICS_WORD, "low": space.low.tolist(), "high": space.high.tolist(),
        }  # fmt: skip
        done = subprocess.run(
            [peer_python(), "-c", PEER_CODE, json.dumps(about)],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        result = json.loads(done.stdout.strip().splitlines()[-1])
    else:
        before = time.process_time()
        policy = (
            trained("random", env, 0, seed)
            if learner == "random"
            else ours(algorithm, env, episodes(data, task), updates, seed)
        )
        cpu = time.process_time() - before
        returns = [float(run_episode(env, policy, start).reward.sum()) for start in STARTS]
        result = {"return": float(np.mean(returns)), "returns": returns, "cpu_s": round(cpu, 1)}
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(result) + "\n")
    part.replace(file)


def main() -> None:
    """Run what is not there yet, and print the verdicts."""
    learners = ["random", *(f"{whose}-{algorithm}" for algorithm in ALGORITHMS for whose in ("d3rlpy", "ours"))]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--learners", nargs="+", choices=learners, default=learners)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5_000, help="of SAC, all of which are the data")
    parser.add_argument("--updates", type=int, default=5_000)
    parser.add_argument("--minutes", type=float, default=120, help="after which no further run is begun")
    args = parser.parse_args()
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * args.minutes
    for task in args.tasks:
        data = args.out / task / f"sac-{args.steps}.npz"
        if not data.exists():
            record(data, task, args.steps)
        sums = [t.reward.sum() for t in episodes(data, task)]
        print(
            f"{task}: {len(sums)} episodes, returns of each fifth {[round(float(part.mean())) for part in np.array_split(sums, min(5, len(sums)))]}",
            flush=True,
        )
    for seed in range(args.seeds):
        for task in args.tasks:
            for learner in args.learners:
                file = args.out / task / f"{args.steps}-{args.updates}" / learner / f"{seed}.json"
                if not file.exists() and time.monotonic() < end:
                    run(file, task, learner, args.out / task / f"sac-{args.steps}.npz", args.updates, seed)
                    print(f"{task} {learner} seed {seed}: {json.loads(file.read_text())['return']:.1f}", flush=True)
    for task in args.tasks:
        folder = args.out / task / f"{args.steps}-{args.updates}"
        returns = {
            name: [json.loads(file.read_text())["return"] for file in sorted((folder / name).glob("*.json"))]
            for name in learners
        }
        print(task, {name: [round(value, 1) for value in values] for name, values in returns.items()})
        for name in ALGORITHMS:
            print(f"  {name}: {verdict_of(returns[f'ours-{name}'], returns[f'd3rlpy-{name}'], returns['random'])}")


if __name__ == "__main__":
    main()
