"""A policy that corrects another one: the base acts, the actor adds a little to what it does, and the critics judge the sum.

Residual policy learning (Silver et al. 2018, arXiv 1812.06298; Johannink et al. 2018, arXiv 1812.03201), as PLD does it with an actor that
is told the base's action, bounded, and trained off-policy beside a base that stays as it is (Xiao et al. 2025, arXiv 2511.00091). At first
nothing is added: learning begins at what the base reaches, and exploring stays near it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from autoenvbench.errors import UserError
from autoenvbench.learning.bundle.features import Features
from autoenvbench.learning.bundle.policy import SHARPNESS
from autoenvbench.learning.networks import SquashedGaussian


class Base(nn.Module):
    """The network of a trained policy's folder: inputs (n, inputs) of its `features` -> actions (n, a) in [-1, 1].

    Raises UserError for a folder without one, or with a policy that sees images, plans chunks of actions, or is itself a correction.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        try:
            about: dict[str, Any] = json.loads((folder / "policy.json").read_text())
            with np.load(folder / "checkpoints" / "policy.npz", allow_pickle=False) as file:
                weights = {name: file[name] for name in file.files}
        except (OSError, ValueError) as error:
            raise UserError(f"base={folder} holds no policy of `autoenvbench train` ({error}); name its folder, such as runs/pin/policy") from None  # fmt: skip
        self.features = Features.restore(about["features"], weights["features.mean"], weights["features.std"])
        self.low, self.high = weights["action.low"], weights["action.high"]
        self.hold = int(about["hold"])
        if self.features.images or about["chunk"] > 1 or about["residual"]:
            raise UserError(
                f"base={folder}: a base sees numbers, answers with one action and corrects no other; train one with --set chunk=1"
            )
        self.head, self.components = str(about["head"]), int(about["components"])
        self.net = nn.Sequential(*(_layer(k, layer, weights) for k, layer in enumerate(about["networks"]["actor"])))
        self.requires_grad_(False)

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        """Its actions; of a mixture the likeliest component's, as `bundle.policy` has it."""
        out: torch.Tensor = self.net(obs)
        size = self.features.action_size
        if self.head == "mixture":
            shares = torch.softmax(SHARPNESS * out[:, : self.components], dim=1)
            centres = out[:, self.components :].reshape(len(out), self.components, size)
            out = (shares[:, None] @ centres)[:, 0]
        return torch.tanh(out[:, :size]) if self.head == "tanh" else out[:, :size].clamp(-1, 1)


class Residual(SquashedGaussian):
    """An actor of actions base + scale * tanh(...), clipped to [-1, 1]. Likelihoods are those of what it adds.

    Args:
        sizes: of its inputs, without the base's action, and hidden layers.
        scale: the most that it adds to a number of the action.
    """

    def __init__(self, base: Base, sizes: list[int], scale: float, *, std: float) -> None:
        actions = base.features.action_size
        super().__init__([sizes[0] + actions, *sizes[1:]], actions, std=std)
        self.base, self.scale = base, scale
        last: Any = self.net[-1]
        with torch.no_grad():  # nothing is added at first
            last.weight[:actions] = 0.0
            last.bias[:actions] = 0.0

    def forward(self, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, a) a sample, with gradients to the parameters, and (n,) the log-probability of what it adds."""
        base = self.base(obs)
        added, log_prob = super().forward(torch.cat([obs, base], dim=1))
        return (base + self.scale * added).clamp(-1, 1), log_prob

    def mean(self, obs: torch.Tensor) -> torch.Tensor:
        """(n, a) what it does without noise."""
        base = self.base(obs)
        return (base + self.scale * super().mean(torch.cat([obs, base], dim=1))).clamp(-1, 1)


def described(actor: SquashedGaussian) -> tuple[dict[str, nn.Sequential], dict[str, Any] | None]:
    """The networks of an actor by name, and what `export.pack` is told of the base, where it has one."""
    if not isinstance(actor, Residual):
        return {"actor": actor.net}, None
    base = actor.base
    return {"actor": actor.net, "base": base.net}, {
        "head": base.head,
        "components": base.components,
        "scale": actor.scale,
    }


def _layer(k: int, layer: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> nn.Module:
    """Layer k of the network "actor", see `bundle.policy`."""
    if layer["kind"] in ("relu", "tanh"):
        return nn.ReLU() if layer["kind"] == "relu" else nn.Tanh()
    weight, bias = (torch.from_numpy(weights[f"actor.{k}.{part}"]) for part in ("weight", "bias"))
    made: Any = (
        nn.Linear(weight.shape[1], weight.shape[0])
        if layer["kind"] == "linear"
        else nn.LayerNorm(len(weight), layer["epsilon"])
    )
    with torch.no_grad():
        made.weight.copy_(weight)
        made.bias.copy_(bias)
    return made
