"""`sac`: soft actor-critic (Haarnoja et al. 2018) of Stable-Baselines3, as it is: networks, replay and gradient steps are theirs.

Ours are the episodes, so that it sees, holds and is exported as the other algorithms are, and can be interrupted. Use it to know what
they add: it starts from nothing, and a robot's sparse reward is seldom found by chance. Demonstrations, where there are some, go into its
replay once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from autoenvbench.errors import UserError
from autoenvbench.learning.buffer import Buffer
from autoenvbench.learning.bundle.features import Features
from autoenvbench.learning.episodes import Demonstrations
from autoenvbench.learning.export import Packed, action_bounds, pack
from autoenvbench.learning.online import Explorer, Practice, vector_features
from autoenvbench.learning.run import Training
from autoenvbench.learning.settings import knob


@dataclass(frozen=True)
class Settings:
    """What can be set, and what it does."""

    hidden: int = knob(256, "width of the two hidden layers of actor and critics")
    batch: int = knob(256, "transitions that a gradient step sees")
    learning_rate: float = knob(3e-4, "of Adam, for actor, critics and temperature")
    tracking: float = knob(0.005, "share by which the target critics follow the critics at each step")
    gamma: float = knob(0.99, "discount of one decision")
    n_step: int = knob(1, "decisions whose rewards a target adds up before it asks the critics")
    hold: int = knob(1, "control steps that a decision lasts")
    history: int = knob(0, "looks back that the networks see beside the newest observation")
    stride: int = knob(15, "control steps between these looks")
    updates: float = knob(1.0, "gradient steps for each decision on the robot")
    warm_up: int = knob(1000, "control steps of random actions at the start, before anything is learnt")
    capacity: int = knob(200_000, "control steps that are kept")
    episodes: int = knob(100_000, "on the robot at most")
    record_every: int = knob(20, "episodes between two rows of the curve")


class SAC:
    """Stable-Baselines3's SAC with our replay in place of its own, which holds whole episodes and so may hold decisions."""

    def __init__(self, obs: int, actions: int, settings: Settings, replay: Buffer, rng: np.random.Generator) -> None:
        from stable_baselines3 import SAC as Theirs
        from stable_baselines3.common.logger import Logger

        s = self.settings = settings
        self.warm, self._rng, self._actions = False, rng, actions
        self.model = Theirs(
            "MlpPolicy", _Spaces(obs, actions), learning_rate=s.learning_rate, buffer_size=1, batch_size=s.batch,
            tau=s.tracking, gamma=s.gamma, policy_kwargs={"net_arch": [s.hidden, s.hidden]}, device="cpu",
        )  # fmt: skip
        assert self.model.log_ent_coef is not None  # it is adapted, since nothing else was asked for
        self._log_temperature: torch.Tensor = self.model.log_ent_coef
        self.logger = Logger(None, [])
        self.model.set_logger(self.logger)
        self.model.replay_buffer = _Replay(replay, s, rng)  # type: ignore[assignment]

    @torch.no_grad()
    def explore(self, obs: np.ndarray) -> np.ndarray:
        """An action (a,) in [-1, 1] for an input (obs,): random while nothing is learnt, then drawn from the policy."""
        if not self.warm:
            return self._rng.uniform(-1, 1, self._actions).astype(np.float32)
        action: np.ndarray = self.model.actor(torch.from_numpy(obs)[None])[0].numpy()
        return action

    def update(self, steps: int) -> dict[str, float]:
        """Their gradient steps. Returns what they measured."""
        self.model.train(gradient_steps=steps, batch_size=self.settings.batch)
        names = ("critic_loss", "actor_loss", "ent_coef")
        return {name: float(self.logger.name_to_value[f"train/{name}"]) for name in names}

    def pack(self, features: Features, low: np.ndarray, high: np.ndarray) -> Packed:
        """The policy as it is exported: without noise."""
        actor = self.model.actor
        return pack(features, {"actor": torch.nn.Sequential(*actor.latent_pi, actor.mu)}, low, high, head="tanh",
                    hold=self.settings.hold)  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """All that the next gradient step depends on, but for random numbers and the replay."""
        return {"model": self.model.get_parameters(), "temperature": self._log_temperature.detach(), "warm": self.warm}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the learner that `state` is of would have."""
        self.model.set_parameters(dict(state["model"]))
        with torch.no_grad():
            self._log_temperature.copy_(state["temperature"])
        self.warm = state["warm"]


class _Replay:
    """Our buffer, as Stable-Baselines3 asks its own for batches."""

    def __init__(self, buffer: Buffer, settings: Settings, rng: np.random.Generator) -> None:
        self._buffer, self._settings, self._rng = buffer, settings, rng

    def sample(self, batch_size: int, env: Any = None) -> Any:
        from stable_baselines3.common.type_aliases import ReplayBufferSamples

        s = self._settings
        rows = self._buffer.sample(batch_size, self._rng)
        batch = self._buffer.batch(rows, gamma=s.gamma, n_step=s.n_step, hold=s.hold)
        column = batch.discount[:, None]
        done = (column == 0).float()
        return ReplayBufferSamples(
            batch.obs, batch.action, batch.next_obs, done, batch.reward[:, None], torch.where(done > 0, s.gamma, column)
        )


class _Spaces(gym.Env[np.ndarray, np.ndarray]):
    """The sizes of inputs and actions: all that is asked of an environment here."""

    def __init__(self, obs: int, actions: int) -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (obs,), np.float32)
        self.action_space = gym.spaces.Box(-1, 1, (actions,), np.float32)


def train(env: gym.Env[Any, Any], demos: Demonstrations | None, settings: Settings, training: Training) -> Packed:
    """Learn on the environment; returns what `export.export` writes. A step of the training is an episode.

    Raises UserError for observations with images, and where Stable-Baselines3 is not installed.
    """
    s, (low, high) = settings, action_bounds(env)
    features = vector_features(env, demos, history=s.history, stride=s.stride)
    replay = Buffer(features, s.capacity, low, high)
    try:
        learner = SAC(features.size, len(low), s, replay, training.rng)
    except ImportError:
        raise UserError("sac needs Stable-Baselines3: pip install 'autoenvbench[train]'") from None
    practice = Practice(env, Explorer(learner.pack(features, low, high), learner.explore), training)
    for trajectory in demos or ():
        replay.add(trajectory)

    measured: dict[str, float] = dict.fromkeys(("critic_loss", "actor_loss", "ent_coef"), 0.0)
    for episode in training.steps(s.episodes, learner=learner, replay=replay, practice=practice):
        trajectory = practice.episode()
        replay.add(trajectory)
        learner.warm = practice.steps >= s.warm_up
        if learner.warm:
            measured = learner.update(int(np.ceil(s.updates * len(trajectory) / s.hold)))
        if episode % s.record_every == 0:
            training.record(success=practice.success, robot_steps=practice.steps, **measured)
    return learner.pack(features, low, high)
