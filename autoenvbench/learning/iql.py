"""`iql`: offline learning that never asks a critic about an action that is not in the data (Kostrikov et al. 2022, arXiv 2110.06169).

    V(s)     an upper expectile of Q(s, a) over the data's actions: what the better ones of them are worth
    Q(s, a)  reward plus V of what is seen next
    actor    imitates the data, each action weighted by how much better than V it is

Where data are of mixed quality this imitates the good parts, also of episodes that failed in the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from autoenvbench.errors import UserError
from autoenvbench.learning.buffer import Batch, Buffer
from autoenvbench.learning.episodes import Demonstrations
from autoenvbench.learning.export import Packed, action_bounds, pack
from autoenvbench.learning.networks import LOG_STD, EnsembleCritic, mlp, track
from autoenvbench.learning.online import vector_features
from autoenvbench.learning.run import Training
from autoenvbench.learning.settings import knob

RECORD_EVERY = 200  # updates


@dataclass(frozen=True)
class Settings:
    """Hyperparameters of IQL."""

    updates: int = knob(50_000, "gradient steps")
    history: int = knob(12, "looks back that the networks see beside the newest observation")
    stride: int = knob(5, "control steps between these looks")
    hold: int = knob(1, "control steps that a decision lasts")
    hidden: int = knob(256, "width of the two hidden layers of all networks")
    critics: int = knob(2, "members whose minimum is Q")
    layer_norm: bool = knob(True, "of critics and values: sparse rewards are few, and both must not overshoot")
    actor_layer_norm: bool = knob(False, "of the actor: steadier with many inputs")
    batch: int = knob(256, "transitions that a gradient step sees")
    learning_rate: float = knob(3e-4, "of Adam, for all networks")
    average: float = knob(0.999, "the exported actor is a moving average: how much of it stays at each step")
    tracking: float = knob(0.005, "share by which the target critics follow the critics at each step")
    gamma: float = knob(0.99, "discount of one decision")
    n_step: int = knob(
        1, "decisions whose rewards a target adds up: above 1 it takes the data's policy as given that long"
    )
    expectile: float = knob(0.8, "0.5 is the mean of the data's actions, towards 1 the best of them")
    advantage_weight: float = knob(
        10.0, "of an advantage in the actor's weights exp(. A): 0 is cloning; hundreds where all there is to earn is 1"
    )
    max_weight: float = knob(100.0, "that one action can have")


class IQL:
    """Actor, critics and values, with the update that improves them."""

    def __init__(self, obs: int, actions: int, settings: Settings) -> None:
        s = self.settings = settings
        self.actor = mlp([obs, s.hidden, s.hidden, 2 * actions], layer_norm=s.actor_layer_norm)
        self.average = AveragedModel(self.actor, multi_avg_fn=get_ema_multi_avg_fn(s.average))
        self.critic = EnsembleCritic(s.critics, obs, actions, [s.hidden] * 2, layer_norm=s.layer_norm)
        self.target = EnsembleCritic(s.critics, obs, actions, [s.hidden] * 2, layer_norm=s.layer_norm)
        self.target.load_state_dict(self.critic.state_dict())
        self.value = mlp([obs, s.hidden, s.hidden, 1], layer_norm=s.layer_norm)
        self.actor_optimiser, self.critic_optimiser, self.value_optimiser = (
            torch.optim.Adam(network.parameters(), s.learning_rate, fused=True)
            for network in (self.actor, self.critic, self.value)
        )
        self.steps = 0

    def update(self, batch: Batch) -> dict[str, float]:
        """One gradient step of values, actor and critics."""
        s = self.settings
        with torch.no_grad():
            worth = self.target(batch.obs, batch.action).amin(0)
            following = self.value(batch.next_obs)[:, 0]

        value = self.value(batch.obs)[:, 0]
        advantage = worth - value
        share = torch.where(advantage > 0, s.expectile, 1 - s.expectile)
        value_loss = (share * advantage.square()).mean()
        _step(self.value_optimiser, value_loss)

        weight = (s.advantage_weight * advantage.detach()).exp().clamp(max=s.max_weight)
        mean, log_std = self.actor(batch.obs).chunk(2, dim=-1)
        log_std = log_std.clamp(*LOG_STD)
        nll = (0.5 * ((batch.action - mean) / log_std.exp()).square() + log_std).sum(-1)
        actor_loss = (weight * nll).mean()
        _step(self.actor_optimiser, actor_loss)
        self.average.update_parameters(self.actor)

        wanted = batch.reward + batch.discount * following
        values = self.critic(batch.obs, batch.action)
        critic_loss = (values - wanted).square().mean()
        _step(self.critic_optimiser, critic_loss)
        track(self.target, self.critic, s.tracking)
        self.steps += 1
        return {
            "value_loss": value_loss.item(), "critic_loss": critic_loss.item(), "actor_loss": actor_loss.item(),
            "value": value.mean().item(), "weight": weight.mean().item(),
        }  # fmt: skip

    # -- checkpoints -----------------------------------------------------------------------------------------------------
    _PARTS = (
        "actor", "average", "critic", "target", "value", "actor_optimiser", "critic_optimiser", "value_optimiser",
    )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """All that the next update depends on."""
        return {**{name: getattr(self, name).state_dict() for name in self._PARTS}, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the learner that `state` is of would have."""
        for name in self._PARTS:
            getattr(self, name).load_state_dict(state[name])
        self.steps = state["steps"]


def _step(optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def train(env: gym.Env[Any, Any], demos: Demonstrations | None, settings: Settings, training: Training) -> Packed:
    """Learn from episodes of any quality; returns what `export.export` writes. Raises UserError where there are none, or images."""
    s, (low, high) = settings, action_bounds(env)
    if not demos:
        raise UserError(
            "iql learns from episodes alone: make some with `autoenvbench demos --all` and give --demos DIR"
        )
    features = vector_features(env, demos, history=s.history, stride=s.stride)
    data = Buffer.of(features, demos, low, high)
    learner = IQL(features.size, len(low), s)
    for step in training.steps(s.updates, learner=learner):
        rows = data.sample(s.batch, training.rng)
        measured = learner.update(data.batch(rows, gamma=s.gamma, n_step=s.n_step, hold=s.hold))
        if step % RECORD_EVERY == 0:
            training.record(**measured)
    acts: Any = learner.average.module
    return pack(features, {"actor": acts}, low, high, head="gaussian", hold=s.hold)
