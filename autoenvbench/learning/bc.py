"""`bc`: behaviour cloning. A network learns to do what the demonstrations did, given what they saw (Pomerleau 1988).

Read `train` from top to bottom; `Cloner` is the network and its loss, which `dagger` trains as well. Three things decide whether it works:
what the network sees (a policy that searches by touch needs `history`), who shows (an expert that sees what the policy cannot see teaches
nothing), and how many episodes there are. See Ross and Bagnell 2010 for why errors add up, Florence et al. 2022 and Chi et al. 2023 for
demonstrations that differ at one state (head=mixture), Zhao et al. 2023 for chunks of actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from autoenvbench.errors import UserError
from autoenvbench.learning.buffer import Buffer
from autoenvbench.learning.bundle.features import Features
from autoenvbench.learning.episodes import Demonstrations
from autoenvbench.learning.export import action_bounds, pack
from autoenvbench.learning.networks import encoder, gaussian_nll, mixture_nll, mlp
from autoenvbench.learning.run import Training
from autoenvbench.learning.settings import knob

MAX_SHIFT = 4  # of images, to and fro [px]
RECORD_EVERY = 200  # updates


@dataclass(frozen=True)
class Settings:
    """Hyperparameters."""

    updates: int = knob(12_000, "gradient steps; the learning rate falls to 0 over them, so the time should suffice")
    batch: int = knob(256, "actions (chunks of them) in a gradient step")
    lr: float = knob(1e-3, "learning rate of AdamW at the start")
    weight_decay: float = knob(1e-4, "pull of the weights towards 0, relative to the learning rate")
    average: float = knob(0.999, "the exported weights are a moving average: how much of it stays at each step")
    hidden: int = knob(256, "width of the hidden layers")
    layers: int = knob(2, "how many there are")
    layer_norm: bool = knob(True, "normalise the sums before each ReLU: steadier with many inputs")
    dropout: float = knob(0.0, "share of hidden units left out in each step")
    head: Literal["gaussian", "mixture"] = knob(
        "gaussian", "gaussian: one action; mixture: several, where demonstrations differ"
    )
    components: int = knob(5, "of a mixture")
    std: float = knob(0.1, "standard deviation of a mixture's components, in units of half the action's range")
    history: int = knob(12, "looks back that the network is given beside what is seen now")
    stride: int = knob(5, "control steps between two looks back; 12 x 5 at 30 Hz are 2 s")
    actions: bool = knob(True, "whether it is told what it did, too; it may learn to copy that instead of looking")
    chunk: int = knob(1, "actions that are predicted at once")
    execute: int = knob(1, "how many of them are executed before the network is asked again")
    successes: bool = knob(True, "learn from episodes that were solved, alone")
    validation: float = knob(0.05, "share of the episodes that are kept aside, to see the loss on what was not learnt")


class Cloner(nn.Module):
    """A policy network and the loss that makes it act as a buffer's episodes did."""

    def __init__(self, features: Features, shapes: dict[str, Sequence[int]], settings: Settings) -> None:
        super().__init__()
        self.features, self.settings = features, settings
        self.encoders = nn.ModuleList(encoder(shapes[key], 64) for key in features.images)
        size = settings.chunk * features.action_size
        out = 2 * size if settings.head == "gaussian" else settings.components * (1 + size)
        inputs = features.size + 64 * len(features.images)
        hidden = [settings.hidden] * settings.layers
        self.actor = mlp([inputs, *hidden, out], layer_norm=settings.layer_norm, dropout=settings.dropout)

    def loss(self, buffer: Buffer, rows: np.ndarray, rng: np.random.Generator | None = None) -> torch.Tensor:
        """Mean negative log-likelihood of what was done from these rows on; images are shifted a little by `rng`."""
        seen = [torch.from_numpy(buffer.inputs(rows))]
        for key, network in zip(self.features.images, self.encoders, strict=True):
            images = buffer.images[key][rows] if rng is None else _shifted(buffer.images[key], rows, rng)
            seen.append(network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255))
        out = self.actor(torch.cat(seen, dim=1))
        actions, there = buffer.chunks(rows, self.settings.chunk)
        action = torch.from_numpy(actions).flatten(1)
        weight = torch.from_numpy(np.repeat(there, self.features.action_size, axis=1)).float()
        if self.settings.head == "gaussian":
            return gaussian_nll(out, action, weight)
        return mixture_nll(out, action, weight, self.settings.components, self.settings.std)

    def packed(self, low: np.ndarray, high: np.ndarray) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """See `export.pack`."""
        images = {f"image.{key}": network for key, network in zip(self.features.images, self.encoders, strict=True)}
        s = self.settings
        return pack(
            self.features, {"actor": self.actor, **images}, low, high,  # type: ignore[dict-item]
            head=s.head, components=s.components, chunk=s.chunk, execute=s.execute,
        )  # fmt: skip


def features_of(demos: Sequence[Any], settings: Settings) -> tuple[Features, dict[str, Sequence[int]]]:
    """What the network sees, normalised over these episodes, and the shapes of images."""
    features = Features.of(
        [t.observation for t in demos], demos[0].action.shape[1],
        history=settings.history, stride=settings.stride, actions=settings.actions,
    )  # fmt: skip
    return features, {key: features.image(demos[0].observation, key).shape[1:] for key in features.images}


def optimiser_of(net: nn.Module, settings: Settings, updates: int) -> tuple[torch.optim.Optimizer, Any]:
    """AdamW, and the schedule that lets its learning rate fall to 0 along half a cosine."""
    adam = torch.optim.AdamW(net.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    return adam, torch.optim.lr_scheduler.CosineAnnealingLR(adam, updates)


def train(env: gym.Env[Any, Any], demos: Demonstrations | None, settings: Settings, training: Training) -> Any:
    """Learn from demonstrations; returns what `export.export` writes. Raises UserError where there are none."""
    if not 1 <= settings.execute <= settings.chunk:
        raise UserError(
            f"execute={settings.execute} of chunk={settings.chunk} actions: at least 1, at most all of them"
        )
    # What to learn from. Some episodes are kept aside: their loss shows when the network learns the others by heart.
    low, high = action_bounds(env)
    shown = [t for t in demos or () if t.success or not settings.successes]
    if not shown:
        raise UserError(
            "bc needs demonstrations that were solved: make some with `autoenvbench demos`, and give --demos DIR"
        )
    features, shapes = features_of(shown, settings)
    aside = np.random.default_rng(0).permutation(len(shown)) < int(settings.validation * len(shown))
    learnt, kept = (
        Buffer.of(features, (t for t, a in zip(shown, aside, strict=True) if a == which), low, high)
        for which in (False, True)
    )
    if not len(learnt):
        raise UserError(f"validation={settings.validation} leaves nothing to learn from {len(shown)} episodes")

    # Gradient steps on random actions of random episodes; what acts in the end is the average of the weights on the way.
    net = Cloner(features, shapes, settings)
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(settings.average))
    optimiser, schedule = optimiser_of(net, settings, settings.updates)
    for step in training.steps(settings.updates, net=net, average=average, optimiser=optimiser, schedule=schedule):
        loss = net.loss(learnt, learnt.sample(settings.batch, training.rng), training.rng)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        average.update_parameters(net)
        if step % RECORD_EVERY == 0:
            training.record(loss=loss.item(), validation=loss_on(average.module, kept))
    trained: Any = average.module
    return trained.packed(low, high)


def loss_on(net: Any, buffer: Buffer) -> float:
    """The loss over (at most 2,000 steps of) a buffer; NaN for an empty one."""
    if not len(buffer):
        return float("nan")
    net.eval()
    with torch.no_grad():
        loss: float = net.loss(buffer, buffer.steps[:: max(len(buffer) // 2000, 1)]).item()
    net.train()
    return loss


def _shifted(images: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n, height, width, channels) each moved by up to `MAX_SHIFT` pixels, its edge repeated: a camera that is not quite where it was."""
    _, height, width, _ = images.shape
    by = rng.integers(-MAX_SHIFT, MAX_SHIFT + 1, (2, len(rows), 1))
    y = np.clip(np.arange(height) + by[0], 0, height - 1)
    x = np.clip(np.arange(width) + by[1], 0, width - 1)
    return images[rows[:, None, None], y[:, :, None], x[:, None, :]]
