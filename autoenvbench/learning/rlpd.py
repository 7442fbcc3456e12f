"""`rlpd`: soft actor-critic that learns from its own steps and from demonstrations, half and half (Ball et al. 2023, arXiv 2302.02948).

Three things keep it stable where plain SAC with demonstrations is not: an ensemble of critics with layer normalisation, targets from
the smaller of two random members, and batches of which a fixed share comes from the demonstrations. What a robot adds:

    BC term      the actor is also pulled towards the demonstrations' actions (ENPIRE, arXiv 2606.19980), less and less
    targets      clipped to the returns that are possible at all
    temperature  bounded from below: where rewards are rare it falls until nothing new is tried
    lead         commands that run ahead of a controller that follows them late
    warm-up      the critics learn from what the cloned actor does before it follows them (Zhou et al. 2024, arXiv 2412.07762)
    base         a trained policy that acts, of which the actor changes little (PLD, arXiv 2511.00091; see `residual`)
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch

from autoenvbench.errors import UserError
from autoenvbench.learning.buffer import Batch, Buffer, Mixture
from autoenvbench.learning.bundle.features import Features
from autoenvbench.learning.episodes import Demonstrations
from autoenvbench.learning.export import Packed, action_bounds, pack
from autoenvbench.learning.networks import EnsembleCritic, SquashedGaussian, track
from autoenvbench.learning.online import Explorer, Practice, vector_features
from autoenvbench.learning.residual import Base, Residual, described
from autoenvbench.learning.run import Training
from autoenvbench.learning.settings import knob


@dataclass(frozen=True)
class Settings:
    """What can be set, and what it does."""

    hidden: int = knob(256, "width of the two hidden layers of actor and critics")
    critics: int = knob(10, "members of the ensemble: more of them make targets more cautious where data are few")
    target_critics: int = knob(2, "random members whose minimum is the target: fewer are less pessimistic")
    layer_norm: bool = knob(True, "of the critics: what they say of unseen actions stays bounded")
    batch: int = knob(256, "transitions that a gradient step sees")
    demo_share: float = knob(0.5, "share of each batch that comes from the demonstrations")
    learning_rate: float = knob(3e-4, "of Adam, for actor, critics and temperature")
    tracking: float = knob(0.005, "share by which the target critics follow the critics at each step")
    gamma: float = knob(0.985, "discount of one decision: about 1 / (1 - gamma) decisions count")
    n_step: int = knob(3, "decisions whose rewards a target adds up before it asks the critics")
    hold: int = knob(1, "control steps that a decision lasts: longer ones explore further and are fewer to learn")
    lead: float = knob(
        0.0, "control steps by which commands run ahead of a controller that follows displacements late; 0: as decided"
    )
    history: int = knob(0, "looks back that the networks see beside the newest observation")
    stride: int = knob(15, "control steps between these looks")
    updates: float = knob(1.0, "gradient steps of the critics for each decision on the robot")
    warm_up: int = knob(0, "gradient steps of the critics before the actor moves: young critics lead a clone astray")
    critic_steps: int = knob(1, "gradient steps of the critics for each one of the actor")
    entropy_in_targets: bool = knob(False, "whether being random counts as reward: not where the reward is a success")
    entropy: float = knob(-0.5, "that the actor should have, per number of an action: lower is more deterministic")
    noise: float = knob(0.22, "standard deviation of what it tries at first, before it is squashed into -1 to 1")
    temperature: float = knob(0.1, "weight of the entropy at first; it is adapted until the actor has its entropy")
    min_temperature: float = knob(0.0, "below which it never falls")
    target_low: float = knob(-1e9, "returns below this there are none: targets are clipped")
    target_high: float = knob(1e9, "returns above this there are none: targets are clipped")
    clone: int = knob(0, "gradient steps of behaviour cloning before the first episode")
    bc_weight: float = knob(0.0, "weight of the actor's squared distance from the demonstrated actions, at first")
    bc_final: float = knob(0.0, "the same in the end")
    bc_steps: int = knob(30_000, "gradient steps over which it goes from one to the other")
    base: str = knob("", "folder of a trained policy that the actor corrects, on its history and stride; empty: none")
    residual: float = knob(0.2, "the most that the actor adds to the base's action, of half its range")
    precision: Literal["float32", "bfloat16"] = knob(
        "float32", "of the critics' hidden layers; bfloat16: half their time on processors with AMX, three digits"
    )
    average: float = knob(0.001, "share by which the policy that is exported follows the actor at each of its steps")
    imitate_own: bool = knob(False, "whether its own successes join the demonstrations, the oldest of which make room")
    episodes: int = knob(100_000, "on the robot at most")
    robot_minutes: float = knob(1e9, "on the robot at most, resets aside")
    capacity: int = knob(200_000, "control steps of its own that are kept")
    record_every: int = knob(20, "episodes between two rows of the curve")


class RLPD:
    """Actor, critics and temperature, with the update that improves them. Random numbers are torch's own.

    Args:
        obs, actions: numbers in an input and in an action.
        base: what the actor corrects; None: it acts by itself.
    """

    def __init__(self, obs: int, actions: int, settings: Settings, base: Base | None = None) -> None:
        s, sizes = settings, [obs, settings.hidden, settings.hidden]
        self.settings = settings
        self.actor = (
            Residual(base, sizes, s.residual, std=s.noise) if base else SquashedGaussian(sizes, actions, std=s.noise)
        )
        self.critic, self.target = (
            EnsembleCritic(s.critics, obs, actions, [s.hidden] * 2, layer_norm=s.layer_norm, precision=s.precision)
            for _ in range(2)
        )
        self.target.load_state_dict(self.critic.state_dict())
        self.average = copy.deepcopy(self.actor).requires_grad_(
            False
        )  # what is exported: it does not jump from step to step
        self.log_temperature = torch.tensor(math.log(s.temperature), requires_grad=True)
        self.actor_optimiser = torch.optim.Adam(self.actor.parameters(), s.learning_rate, fused=True)
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), s.learning_rate, fused=True)
        self.temperature_optimiser = torch.optim.Adam([self.log_temperature], s.learning_rate)
        self.target_entropy = s.entropy * actions
        self.steps = 0  # gradient steps of the critics
        self._measured = dict.fromkeys(("critic_loss", "value", "entropy", "temperature", "bc_distance"), math.nan)

    # -- acting ----------------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def explore(self, obs: np.ndarray) -> np.ndarray:
        """An action (a,) in [-1, 1] for an input (obs,), drawn from the policy."""
        return self.actor(torch.from_numpy(obs)[None])[0][0].numpy()

    # -- learning --------------------------------------------------------------------------------------------------------
    def update(self, batch: Batch, shown: Batch | None = None) -> dict[str, float]:
        """One gradient step on a batch of replay and demonstrations; `shown` are those of the demonstrations, for the BC term."""
        self._measured |= self.update_critic(batch)
        if self.steps > self.settings.warm_up and self.steps % self.settings.critic_steps == 0:
            self._measured |= self.update_actor(batch, shown)
        return self._measured

    def clone(self, shown: Batch) -> float:
        """One gradient step of behaviour cloning. Returns the squared distance from the demonstrated actions."""
        distance = (self.actor.mean(shown.obs) - shown.action).square().mean()
        self.actor_optimiser.zero_grad()
        distance.backward()
        self.actor_optimiser.step()
        self.average.load_state_dict(self.actor.state_dict())
        return distance.item()

    def update_critic(self, batch: Batch) -> dict[str, float]:
        """Move all critics towards the reward plus what the policy will earn from what is seen next."""
        s = self.settings
        with torch.no_grad():
            action, log_prob = self.actor(batch.next_obs)
            chosen = torch.randperm(s.critics)[: s.target_critics]
            following = self.target(batch.next_obs, action, chosen).amin(0)
            if s.entropy_in_targets:
                following = following - self.temperature * log_prob
            wanted = (batch.reward + batch.discount * following).clamp(s.target_low, s.target_high)
        values = self.critic(batch.obs, batch.action)
        loss = (values - wanted).square().mean()
        self.critic_optimiser.zero_grad()
        loss.backward()
        self.critic_optimiser.step()
        track(self.target, self.critic, s.tracking)
        self.steps += 1
        return {"critic_loss": loss.item(), "value": values.mean().item()}

    def update_actor(self, batch: Batch, shown: Batch | None = None) -> dict[str, float]:
        """Move the actor towards what the critics prefer and towards what was demonstrated; adapt the temperature."""
        action, log_prob = self.actor(batch.obs)
        # The weights of the critics need no gradients here, which would cost as much again.
        self.critic.requires_grad_(False)
        values = self.critic(batch.obs, action).mean(0)
        self.critic.requires_grad_(True)
        loss = (self.temperature * log_prob - values).mean()
        measured = {"entropy": -log_prob.mean().item(), "temperature": self.temperature, "bc_distance": math.nan}
        if shown is not None and (weight := self.bc_weight):
            distance = (self.actor.mean(shown.obs) - shown.action).square().mean()
            loss = loss + weight * distance
            measured["bc_distance"] = distance.item()
        self.actor_optimiser.zero_grad()
        loss.backward()
        self.actor_optimiser.step()
        track(self.average, self.actor, self.settings.average)
        self._adapt_temperature(log_prob.detach().mean())
        return measured

    def _adapt_temperature(self, log_prob: torch.Tensor) -> None:
        """Up where the actor is more deterministic than wanted, down where it is less; never below its bound."""
        loss = -self.log_temperature * (log_prob + self.target_entropy)
        self.temperature_optimiser.zero_grad()
        loss.backward()
        self.temperature_optimiser.step()
        if self.settings.min_temperature > 0:
            with torch.no_grad():
                self.log_temperature.clamp_(min=math.log(self.settings.min_temperature))

    @property
    def temperature(self) -> float:
        return math.exp(self.log_temperature.item())

    @property
    def bc_weight(self) -> float:
        """Weight of the BC term at this step: a straight line from the first to the last, and then the last."""
        s = self.settings
        return s.bc_weight + (s.bc_final - s.bc_weight) * min(self.steps / s.bc_steps, 1.0)

    def pack(self, features: Features, low: np.ndarray, high: np.ndarray, *, newest: bool = False) -> Packed:
        """The policy as it is exported: without noise, averaged over the last steps, or the `newest` one."""
        networks, residual = described(self.actor if newest else self.average)
        return pack(features, networks, low, high, head="tanh", hold=self.settings.hold, residual=residual)

    # -- checkpoints -----------------------------------------------------------------------------------------------------
    _PARTS = ("actor", "average", "critic", "target", "actor_optimiser", "critic_optimiser", "temperature_optimiser")

    def state_dict(self) -> dict[str, Any]:
        """All that the next update depends on, but for torch's random numbers."""
        parts = {name: getattr(self, name).state_dict() for name in self._PARTS}
        numbers = {"log_temperature": self.log_temperature.detach(), "steps": self.steps, "measured": self._measured}
        return {**parts, **numbers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the learner that `state` is of would have."""
        for name in self._PARTS:
            getattr(self, name).load_state_dict(state[name])
        with torch.no_grad():
            self.log_temperature.copy_(state["log_temperature"])
        self.steps, self._measured = state["steps"], dict(state["measured"])


def learner_of(env: gym.Env[Any, Any], demos: Demonstrations | None, settings: Settings) -> tuple[Features, RLPD]:
    """What is seen, and who learns: from nothing, or as a correction of the base. Raises UserError for a base that does not fit."""
    s, (low, high) = settings, action_bounds(env)
    if s.lead < 0:
        raise UserError(f"lead={s.lead:g}: a controller runs 0 or more control steps behind what it is told")
    features = vector_features(env, demos, history=s.history, stride=s.stride, lead=s.lead)
    if not s.base:
        return features, RLPD(features.size, len(low), s)
    base = Base(Path(s.base))
    if (
        base.features.keys != features.keys
        or base.features.mean.shape != features.mean.shape
        or not np.array_equal([base.low, base.high], [low, high])
    ):
        raise UserError(f"base={s.base} was trained on other observations or actions than this environment has")
    if base.hold != s.hold:
        raise UserError(
            f"base={s.base} holds an action for {base.hold} control steps; train with --set hold={base.hold}"
        )
    if base.features.lead != s.lead:
        raise UserError(
            f"base={s.base} was trained with lead={base.features.lead:g}; say --set lead={base.features.lead:g}"
        )
    return base.features, RLPD(base.features.size, len(low), s, base)


def train(env: gym.Env[Any, Any], demos: Demonstrations | None, settings: Settings, training: Training) -> Packed:
    """Learn from demonstrations and on the environment; returns what `export.export` writes. A step of the training is an episode.

    Raises UserError where demonstrations are needed and there are none, and for observations with images.
    """
    s, (low, high) = settings, action_bounds(env)
    if not demos and (s.demo_share or s.clone or s.bc_weight):
        raise UserError(
            "rlpd needs demonstrations: make some with `autoenvbench demos` and give --demos DIR, or do without by "
            "--set demo_share=0 --set clone=0 --set bc_weight=0"
        )
    features, learner = learner_of(env, demos, s)
    room = sum(len(t) + 1 for t in demos or ()) + s.capacity * s.imitate_own
    shown, replay = Buffer(features, room, low, high), Buffer(features, s.capacity, low, high)
    for demonstration in demos or ():
        shown.add(demonstration)
    mixture = Mixture({"replay": (replay, 1 - s.demo_share), "demos": (shown, s.demo_share)})
    practice = Practice(env, Explorer(learner.pack(features, low, high), learner.explore), training)
    decisions: dict[str, Any] = {"gamma": s.gamma, "n_step": s.n_step, "hold": s.hold}

    def demonstrated() -> Batch:
        return shown.batch(shown.sample(s.batch, training.rng), **decisions)

    for episode in training.steps(s.episodes, learner=learner, replay=replay, shown=shown, practice=practice):
        if practice.minutes >= s.robot_minutes:
            break
        if episode == 1:  # start as what behaviour cloning makes of the demonstrations
            for _ in range(s.clone):
                learner.clone(demonstrated())
        trajectory = practice.episode()
        replay.add(trajectory)
        if s.imitate_own and trajectory.success:
            shown.add(trajectory)
        for _ in range(math.ceil(s.updates * len(trajectory) / s.hold)):
            batch = mixture.sample(s.batch, training.rng, **decisions)
            measured = learner.update(batch, demonstrated() if s.bc_weight or s.bc_final else None)
        if episode % s.record_every == 0:
            training.record(
                success=practice.success, robot_steps=practice.steps, updates=learner.steps, bc_weight=learner.bc_weight,
                **measured,
            )  # fmt: skip
    return learner.pack(features, low, high)
