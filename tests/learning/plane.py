"""A plane to learn on in seconds: from anywhere to the middle, where alone there is a reward. Transitions at once, without episodes."""

from __future__ import annotations

from collections.abc import Callable

import torch

from autoenvbench.learning.buffer import Batch

STEP, NEAR, STEPS, GAMMA = 0.3, 0.2, 6, 0.9
Policy = Callable[[torch.Tensor], torch.Tensor]


def moved(at: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """Positions (n, 2) in [-1, 1] after actions (n, 2) in [-1, 1]."""
    return (at + STEP * action).clamp(-1, 1)


def there(at: torch.Tensor) -> torch.Tensor:
    """(n,) whether these positions are the end."""
    return at.norm(dim=-1) < NEAR


def transitions(n: int, good: float = 0.0) -> Batch:
    """Steps from random positions: a share of them, `good`, towards the middle, the others anywhere."""
    at = 2 * torch.rand(n, 2) - 1
    action = torch.where(torch.rand(n, 1) < good, (-at / STEP).clamp(-1, 1), 2 * torch.rand(n, 2) - 1)
    after = moved(at, action)
    end = there(after).float()
    return Batch(at, action, end, after, GAMMA * (1 - end), torch.zeros(n, dtype=torch.int64))


def part(batch: Batch, n: int) -> Batch:
    """A random part of it."""
    rows = torch.randint(len(batch.reward), (n,))
    return Batch(*(getattr(batch, name)[rows] for name in Batch.__dataclass_fields__))


@torch.no_grad()
def solved(policy: Policy) -> float:
    """Share of 500 starts from which a policy reaches the middle in time."""
    generator = torch.Generator().manual_seed(7)
    at = 2 * torch.rand(500, 2, generator=generator) - 1
    at = at[~there(at)]
    done = torch.zeros(len(at), dtype=torch.bool)
    for _ in range(STEPS):
        at = torch.where(done[:, None], at, moved(at, policy(at).clamp(-1, 1)))
        done |= there(at)
    return done.float().mean().item()
