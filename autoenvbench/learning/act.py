"""`act`: LeRobot's ACT, a transformer that predicts a chunk of actions at once (Zhao et al. 2023). Wants LeRobot in an environment of its own.

Read it from top to bottom: what can be set, LeRobot's configuration of it, and the network as it acts. The model, its loss, its optimiser and
its normalisation are LeRobot's own; the loop around them is `lerobot_train`. The backbone for images learns from scratch: LeRobot's would
be downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from autoenvbench.errors import UserError
from autoenvbench.learning.settings import knob


@dataclass(frozen=True)
class Settings:
    """Hyperparameters."""

    updates: int = knob(20_000, "gradient steps")
    batch: int = knob(64, "chunks of actions in a gradient step")
    lr: float = knob(1e-4, "learning rate of AdamW; LeRobot's own is 1e-5, for pretrained backbones and days")
    average: float = knob(0.999, "the exported weights are a moving average: how much stays at each step; 0: the last")
    chunk: int = knob(16, "actions that are predicted at once: about half a second; long chunks are blind")
    execute: int = knob(1, "how many of them are executed before the network is asked again")
    ensemble: bool = knob(True, "with execute=1, act by the mean of all chunks that speak of this moment")
    ensemble_weight: float = knob(0.01, "of the mean: above 0 older chunks weigh more, below 0 newer ones do")
    dim: int = knob(256, "width of the transformer; LeRobot's own is 512")
    heads: int = knob(8, "of attention")
    feedforward: int = knob(1024, "hidden units of each layer; LeRobot's own is 3200")
    encoder_layers: int = knob(4, "of the transformer's encoder")
    decoder_layers: int = knob(1, "of its decoder")
    latent: int = knob(32, "numbers that stand for a demonstrator's style in training; zeros act")
    kl: float = knob(10.0, "weight of what keeps them near a normal distribution")
    dropout: float = knob(0.1, "share of hidden units left out in each step")
    successes: bool = knob(True, "learn from episodes that were solved, alone")


def check(settings: Settings) -> None:
    """Raises UserError for settings that do not go together."""
    s = settings
    if not 1 <= s.execute <= s.chunk:
        raise UserError(f"execute={s.execute} of chunk={s.chunk} actions: at least 1, at most all of them")
    if s.ensemble and s.execute > 1:
        raise UserError(
            f"a mean over chunks needs an answer at each step: execute={s.execute} goes with ensemble=false"
        )
    if s.dim % (2 * s.heads):
        raise UserError(f"dim={s.dim} is no multiple of 2 x heads={s.heads}")


def configure(inputs: dict[str, Any], outputs: dict[str, Any], settings: Settings) -> Any:
    """LeRobot's configuration of these settings."""
    from lerobot.configs.types import NormalizationMode
    from lerobot.policies.act.configuration_act import ACTConfig

    s = settings
    normal = dict.fromkeys(("VISUAL", "STATE", "ENV", "ACTION"), NormalizationMode.MEAN_STD)
    return ACTConfig(
        input_features=inputs, output_features=outputs, normalization_mapping=normal, device="cpu", push_to_hub=False, pretrained_backbone_weights=None,
        chunk_size=s.chunk, n_action_steps=s.execute, temporal_ensemble_coeff=s.ensemble_weight if s.ensemble else None,
        dim_model=s.dim, n_heads=s.heads, dim_feedforward=s.feedforward, n_encoder_layers=s.encoder_layers,
        n_decoder_layers=s.decoder_layers, n_vae_encoder_layers=s.encoder_layers, latent_dim=s.latent, kl_weight=s.kl,
        dropout=s.dropout, optimizer_lr=s.lr, optimizer_lr_backbone=s.lr,
    )  # fmt: skip


class Answer(nn.Module):
    """What the trained policy answers at a step, for `lerobot_graph.Declared`: it sees one observation and remembers none."""

    noise = 0

    def __init__(self, policy: Any, settings: Settings) -> None:
        super().__init__()
        self.model = policy.model
        self.ensemble = settings.ensemble_weight if settings.ensemble else None
        self.steps = settings.chunk if settings.ensemble else settings.execute
        self.memory: dict[str, tuple[int, ...]] = {}
        if policy.config.image_features:  # where a pixel is does not depend on what it shows
            self.model.encoder_cam_feat_pos_embed = _Fixed(self.model.encoder_cam_feat_pos_embed)

    def forward(
        self, seen: dict[str, Any], told: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """(1, steps, a) normalised actions from here on, given a batch of one as the model takes it."""
        return self.model(seen)[0][:, : self.steps], {}


class _Fixed(nn.Module):
    """A function of its input's shape alone: computed at first, a constant from then on."""

    def __init__(self, of: nn.Module) -> None:
        super().__init__()
        self._of = of
        self._known: dict[tuple[int, ...], torch.Tensor] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shape = tuple(int(size) for size in x.shape)
        if shape not in self._known:
            self._known[shape] = self._of(x).detach()
        return self._known[shape]
