"""Networks: plain stacks of layers that `export` can write down, heads that say what their outputs mean, critics in one multiplication."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

LOG_STD = (-3.0, 0.5)  # of Gaussian heads: data that repeats itself must not make a likelihood infinite


def mlp(sizes: Sequence[int], *, layer_norm: bool = False, dropout: float = 0.0) -> nn.Sequential:
    """Linear layers of these widths, (n, sizes[0]) -> (n, sizes[-1]), with ReLU between them; `layer_norm` before each ReLU."""
    layers: list[nn.Module] = []
    for k, (before, after) in enumerate(itertools.pairwise(sizes)):
        layers.append(nn.Linear(before, after))
        if k < len(sizes) - 2:
            layers += [nn.LayerNorm(after)] * layer_norm + [nn.ReLU()] + [nn.Dropout(dropout)] * (dropout > 0)
    return nn.Sequential(*layers)


def encoder(shape: Sequence[int], features: int) -> nn.Sequential:
    """Three convolutions and a linear layer: images (n, channels, height, width) in [0, 1] -> (n, features). `shape`: of one image."""
    height, width, channels = shape
    stack = nn.Sequential(
        nn.Conv2d(channels, 32, 6, 3), nn.ReLU(), nn.Conv2d(32, 32, 4, 2), nn.ReLU(), nn.Conv2d(32, 32, 3, 1), nn.ReLU(),
        nn.Flatten(),
    )  # fmt: skip
    with torch.no_grad():
        size = stack(torch.zeros(1, channels, height, width)).shape[1]
    return nn.Sequential(*stack, nn.Linear(size, features), nn.LayerNorm(features), nn.Tanh())


# -- heads: what a policy's outputs mean ---------------------------------------------------------------------------------------
def gaussian_nll(out: torch.Tensor, action: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mean negative log-likelihood of actions under Gaussians.

    Args:
        out: (n, 2 k) means, then logarithms of standard deviations.
        action: (n, k).
        weight: (n, k) 0 for actions that do not count.
    """
    mean, log_std = out.chunk(2, dim=-1)
    log_std = log_std.clamp(*LOG_STD)
    nll = 0.5 * ((action - mean) / log_std.exp()) ** 2 + log_std
    return (nll * weight).sum() / weight.sum().clamp(min=1)


def mixture_nll(
    out: torch.Tensor, action: torch.Tensor, weight: torch.Tensor, components: int, std: float
) -> torch.Tensor:
    """Mean negative log-likelihood under mixtures of Gaussians of one standard deviation.

    Args:
        out: (n, components + components k) scores of the components, then their means.
        action, weight: (n, k) as in `gaussian_nll`.
    """
    scores = F.log_softmax(out[:, :components], dim=-1)
    means = out[:, components:].reshape(len(out), components, -1)
    distance = (((action[:, None] - means) / std) ** 2 * weight[:, None]).sum(dim=-1)
    return -torch.logsumexp(scores - 0.5 * distance, dim=-1).mean()


class SquashedGaussian(nn.Module):
    """The actor of maximum-entropy methods: a Gaussian through tanh, actions in (-1, 1). `std`: about what it has at first, before tanh."""

    def __init__(
        self, sizes: Sequence[int], actions: int, *, layer_norm: bool = False, std: float = math.exp(-1.5)
    ) -> None:
        super().__init__()
        self.net = mlp([*sizes, 2 * actions], layer_norm=layer_norm)
        with torch.no_grad():
            bias: torch.Tensor = self.net[-1].bias  # type: ignore[assignment]
            bias[actions:] += math.atanh((math.log(std) + 5.0) / 3.5 - 1)  # see forward

    def forward(self, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, a) a sample, with gradients to the parameters, and (n,) its log-probability."""
        mean, log_std = self.net(obs).chunk(2, dim=-1)
        log_std = -5.0 + 3.5 * (1 + torch.tanh(log_std))  # from -5 to 2
        raw = mean + log_std.exp() * torch.randn_like(mean)
        log_prob = -0.5 * ((raw - mean) / log_std.exp()) ** 2 - log_std - 0.5 * math.log(2 * math.pi)
        log_prob = log_prob - 2 * (math.log(2) - raw - F.softplus(-2 * raw))  # of tanh, without overflow
        return torch.tanh(raw), log_prob.sum(dim=-1)

    def mean(self, obs: torch.Tensor) -> torch.Tensor:
        """(n, a) what it does without noise."""
        return torch.tanh(self.net(obs).chunk(2, dim=-1)[0])


# -- critics -------------------------------------------------------------------------------------------------------------------
class EnsembleLinear(nn.Module):
    """`members` linear layers in one batched multiplication: (members, n, before) -> (members, n, after)."""

    def __init__(self, members: int, before: int, after: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(before)
        self.weight = nn.Parameter(torch.empty(members, before, after).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, after).uniform_(-bound, bound))

    def forward(self, x: torch.Tensor, chosen: torch.Tensor | None = None) -> torch.Tensor:
        weight, bias = (self.weight, self.bias) if chosen is None else (self.weight[chosen], self.bias[chosen])
        return torch.baddbmm(bias, x, weight)


class EnsembleCritic(nn.Module):
    """`members` Q functions of the same shape, (n, obs) and (n, a) -> (members, n).

    `layer_norm` normalises each hidden layer before its ReLU, without gain or shift, of which the next layer has enough: it bounds what
    they say of actions that no data show. With `precision="bfloat16"` hidden layers are computed in that, and the parameters and values stay
    float32: half the memory moves, and processors with AMX multiply several times faster.
    """

    def __init__(
        self, members: int, obs: int, actions: int, hidden: Sequence[int], *, layer_norm: bool = True,
        precision: Literal["float32", "bfloat16"] = "float32",
    ) -> None:  # fmt: skip
        super().__init__()
        sizes = [obs + actions, *hidden, 1]
        self.members, self.layer_norm, self.precision = members, layer_norm, precision
        self.layers = nn.ModuleList(EnsembleLinear(members, n, m) for n, m in itertools.pairwise(sizes))

    def forward(self, obs: torch.Tensor, action: torch.Tensor, chosen: torch.Tensor | None = None) -> torch.Tensor:
        """Values of all members, or (len(chosen), n) of those of these indices alone."""
        x = torch.cat([obs, action], dim=-1)
        x = x.expand(self.members if chosen is None else len(chosen), *x.shape)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bfloat16"):
            for layer in self.layers[:-1]:
                x = layer(x, chosen)
                x = F.relu_(F.layer_norm(x, x.shape[-1:]) if self.layer_norm else x)
        out: torch.Tensor = self.layers[-1](x.float(), chosen)
        return out.squeeze(-1)


def track(target: nn.Module, source: nn.Module, share: float) -> None:
    """Move the weights of `target` by this share of the way towards those of `source`."""
    with torch.no_grad():
        torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), share)
