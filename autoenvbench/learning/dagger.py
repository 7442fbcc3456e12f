"""`dagger`: the learner drives, the teacher says what it would have done (Ross, Gordon and Bagnell 2011).

Cloning fails where the learner's own errors lead: no demonstration was ever there. Here the learner drives some episodes, again and again,
and what the task's script would have done at each step of them is added to what is learnt. In half of them the script takes over at a
random step, so that there are ends to learn from as well. The script sees what the learner sees, so it can be asked everywhere. No script reads
pictures: there the task's reference teaches, which sees the true state (as in Chen et al. 2019, arXiv 1912.12294), where it can look on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from enpire_envs.contract import step_limit
from enpire_envs.reference import NAMES, Teacher, demonstrator
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from autoenvbench.errors import UserError
from autoenvbench.learning import bc
from autoenvbench.learning.buffer import Buffer
from autoenvbench.learning.bundle.policy import Actor
from autoenvbench.learning.collect import Recorder, run_episode
from autoenvbench.learning.episodes import Demonstrations, Trajectory
from autoenvbench.learning.export import action_bounds
from autoenvbench.learning.run import Training
from autoenvbench.learning.settings import knob


@dataclass(frozen=True)
class Settings(bc.Settings):
    """Hyperparameters: those of `bc`, and when the learner drives."""

    updates: int = knob(8_000, "gradient steps; the learning rate falls to 0 over them, so the time should suffice")
    first: int = knob(1_000, "gradient steps before the learner drives for the first time")
    every: int = knob(250, "gradient steps between two rounds")
    last: float = knob(0.8, "share of the gradient steps after which nothing is collected any more")
    episodes: int = knob(16, "episodes of a round")
    handover: float = knob(0.875, "share of them in which the script takes over at a random step")
    labels: Literal["takeover", "all"] = knob(
        "takeover", "what is learnt of them: what the script did from where it took over, or what it said at all steps"
    )
    begin: int = knob(20, "episodes of the script to begin with, where no demonstrations are given")


def train(env: gym.Env[Any, Any], demos: Demonstrations | None, settings: Settings, training: Training) -> Any:
    """Learn from demonstrations and from the script's word; returns what `export.export` writes. Raises UserError."""
    # The teacher, and what it shows by itself.
    low, high = action_bounds(env)
    teacher = teacher_of(env)
    shown = [t for t in demos or () if t.success or not settings.successes]
    if not shown:
        seeds = np.random.default_rng(1).integers(2**32, size=settings.begin)
        shown = [run_episode(env, teacher, int(seed), "scripted") for seed in seeds]
    features, shapes = bc.features_of(shown, settings)

    # All that is learnt from: the demonstrations, and room for each episode that will be collected.
    rounds = range(settings.first, int(settings.last * settings.updates) + 1, settings.every)
    room = sum(len(t) + 1 for t in shown) + len(rounds) * settings.episodes * (step_limit(env) + 1)
    buffer = Buffer(features, room, low, high)
    for trajectory in shown:
        buffer.add(trajectory)

    # As in `bc`; every now and then the average of the weights drives.
    net = bc.Cloner(features, shapes, settings)
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(settings.average))
    optimiser, schedule = bc.optimiser_of(net, settings, settings.updates)
    trained: Any = average.module
    parts = {"net": net, "average": average, "optimiser": optimiser, "schedule": schedule, "buffer": buffer}
    for step in training.steps(settings.updates, **parts):
        loss = net.loss(buffer, buffer.sample(settings.batch, training.rng), training.rng)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        average.update_parameters(net)
        if step in rounds:
            learner = Actor(*trained.packed(low, high))
            solved = []
            for k in range(settings.episodes):
                alone = k >= settings.handover * settings.episodes
                until = None if alone else int(training.rng.integers(1, 1 + 2 * mean_length(shown)))
                trajectory = drive(env, learner, teacher, int(training.rng.integers(2**32)), until)
                if settings.labels == "takeover" and trajectory.label is not None:
                    trajectory.label[:until] = np.nan
                buffer.add(trajectory)
                solved += [trajectory.success] * alone
            training.record(
                loss=loss.item(), success=float(np.mean(solved)) if solved else float("nan"), steps=len(buffer)
            )
    return trained.packed(low, high)


def teacher_of(env: gym.Env[Any, Any]) -> Teacher:
    """The task's script, or its reference where only pictures are seen. Raises UserError where there is none that can look on."""
    try:
        kind, found = demonstrator(env)
    except LookupError as error:
        raise UserError(f"dagger needs a teacher: {error}") from None
    teacher: Any = found
    if not hasattr(teacher, "did"):
        raise UserError(
            f"the {NAMES[kind]} policy of {env.spec.id if env.spec else env} cannot look on while another drives: it has no did(action)"
        )
    return teacher


def mean_length(shown: list[Trajectory]) -> int:
    """Steps of a demonstration, on average."""
    return round(float(np.mean([len(t) for t in shown])))


def drive(env: gym.Env[Any, Any], learner: Actor, teacher: Teacher, seed: int, until: int | None) -> Trajectory:
    """One episode of the learner, up to step `until`, from where on the teacher drives (None: to its end), with the teacher's word for
    every step."""
    observation, info = env.reset(seed=seed)
    learner.reset(observation)
    teacher.reset(observation)
    record, over, terminated = Recorder(observation), False, False
    labels: list[np.ndarray] = []
    while not over:
        label = np.array(teacher.act(observation), np.float32)
        if until is None or len(labels) < until:
            action = learner.act(observation)
            teacher.did(action)
        else:
            action = label
        labels.append(label)
        observation, reward, terminated, truncated, info = env.step(action)
        record.step(action, observation, float(reward))
        over = terminated or truncated
    trajectory = record.trajectory(terminated=terminated, success=bool(info["success"]), source="learner")
    return replace(trajectory, label=np.stack(labels))
