"""`td3_bc`: TD3 on fixed data, whose actor is also asked to do what the data did (Fujimoto & Gu 2021, arXiv 2106.06860).

Offline, an actor that only listens to its critics soon finds actions that are worth nothing but were never tried. The squared distance
from the data's action keeps it near; the critics' share is scaled by the size of their values, so that one weight suits all rewards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch

from autoenvbench.errors import UserError
from autoenvbench.learning.buffer import Batch, Buffer
from autoenvbench.learning.episodes import Demonstrations
from autoenvbench.learning.export import Packed, action_bounds, pack
from autoenvbench.learning.networks import EnsembleCritic, mlp, track
from autoenvbench.learning.online import vector_features
from autoenvbench.learning.run import Training
from autoenvbench.learning.settings import knob

RECORD_EVERY = 200  # updates


@dataclass(frozen=True)
class Settings:
    """Hyperparameters of TD3+BC."""

    updates: int = knob(50_000, "gradient steps")
    history: int = knob(12, "looks back that the networks see beside the newest observation")
    stride: int = knob(5, "control steps between these looks")
    hold: int = knob(1, "control steps that a decision lasts")
    hidden: int = knob(256, "width of the two hidden layers of all networks")
    critics: int = knob(2, "members whose minimum is the target")
    layer_norm: bool = knob(False, "of the critics")
    batch: int = knob(256, "transitions that a gradient step sees")
    learning_rate: float = knob(3e-4, "of Adam, for actor and critics")
    tracking: float = knob(0.005, "share by which both targets follow at each step of the actor")
    gamma: float = knob(0.99, "discount of one decision")
    n_step: int = knob(1, "decisions whose rewards a target adds up")
    critic_weight: float = knob(2.5, "of the critics' word beside the data's: 0 is behaviour cloning")
    actor_every: int = knob(2, "gradient steps of the critics for each one of the actor")
    target_noise: float = knob(0.2, "standard deviation of what is added to the targets' actions: no peak is exploited")
    target_clip: float = knob(0.5, "and how much is added at most")


class TD3BC:
    """Actor and critics, with the update that improves them."""

    def __init__(self, obs: int, actions: int, settings: Settings) -> None:
        s = self.settings = settings
        self.actor, self.target_actor = (mlp([obs, s.hidden, s.hidden, actions]) for _ in range(2))
        self.critic, self.target_critic = (
            EnsembleCritic(s.critics, obs, actions, [s.hidden] * 2, layer_norm=s.layer_norm) for _ in range(2)
        )
        self.target_actor.load_state_dict(self.actor.state_dict())
        self.target_critic.load_state_dict(self.critic.state_dict())
        self.actor_optimiser = torch.optim.Adam(self.actor.parameters(), s.learning_rate, fused=True)
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), s.learning_rate, fused=True)
        self.steps = 0
        self._measured: dict[str, float] = {}

    def update(self, batch: Batch) -> dict[str, float]:
        """One gradient step of the critics, and at each `actor_every`-th of the actor."""
        s = self.settings
        with torch.no_grad():
            noise = (torch.randn_like(batch.action) * s.target_noise).clamp(-s.target_clip, s.target_clip)
            action = (torch.tanh(self.target_actor(batch.next_obs)) + noise).clamp(-1, 1)
            wanted = batch.reward + batch.discount * self.target_critic(batch.next_obs, action).amin(0)
        values = self.critic(batch.obs, batch.action)
        critic_loss = (values - wanted).square().mean()
        self.critic_optimiser.zero_grad()
        critic_loss.backward()
        self.critic_optimiser.step()
        self._measured |= {"critic_loss": critic_loss.item(), "value": values.mean().item()}
        self.steps += 1
        if self.steps % s.actor_every == 0:
            self._measured |= self._update_actor(batch)
        return self._measured

    def _update_actor(self, batch: Batch) -> dict[str, float]:
        s = self.settings
        action = torch.tanh(self.actor(batch.obs))
        self.critic.requires_grad_(False)
        values = self.critic(batch.obs, action, torch.tensor([0]))[0]
        self.critic.requires_grad_(True)
        distance = (action - batch.action).square().mean()
        actor_loss = distance - s.critic_weight * values.mean() / values.detach().abs().mean().clamp(min=1e-6)
        self.actor_optimiser.zero_grad()
        actor_loss.backward()
        self.actor_optimiser.step()
        track(self.target_actor, self.actor, s.tracking)
        track(self.target_critic, self.critic, s.tracking)
        return {"bc_distance": distance.item(), "actor_loss": actor_loss.item()}

    # -- checkpoints -----------------------------------------------------------------------------------------------------
    _PARTS = ("actor", "target_actor", "critic", "target_critic", "actor_optimiser", "critic_optimiser")

    def state_dict(self) -> dict[str, Any]:
        """All that the next update depends on, but for torch's random numbers."""
        return {
            **{name: getattr(self, name).state_dict() for name in self._PARTS},
            "steps": self.steps,
            "measured": self._measured,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the learner that `state` is of would have."""
        for name in self._PARTS:
            getattr(self, name).load_state_dict(state[name])
        self.steps, self._measured = state["steps"], dict(state["measured"])


def train(env: gym.Env[Any, Any], demos: Demonstrations | None, settings: Settings, training: Training) -> Packed:
    """Learn from episodes of any quality; returns what `export.export` writes. Raises UserError where there are none, or images."""
    s, (low, high) = settings, action_bounds(env)
    if not demos:
        raise UserError(
            "td3_bc learns from episodes alone: make some with `autoenvbench demos --all` and give --demos DIR"
        )
    features = vector_features(env, demos, history=s.history, stride=s.stride)
    data = Buffer.of(features, demos, low, high)
    learner = TD3BC(features.size, len(low), s)
    for step in training.steps(s.updates, learner=learner):
        rows = data.sample(s.batch, training.rng)
        measured = learner.update(data.batch(rows, gamma=s.gamma, n_step=s.n_step, hold=s.hold))
        if step % RECORD_EVERY == 0:
            training.record(**measured)
    return pack(features, {"actor": learner.actor}, low, high, head="tanh", hold=s.hold)
