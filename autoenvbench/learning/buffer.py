"""Replay: episodes end to end in memory, sampled with exact shares of several sources, with n-step returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from autoenvbench.errors import UserError
from autoenvbench.learning.bundle.features import Features
from autoenvbench.learning.episodes import Trajectory


@dataclass
class Batch:
    """Transitions, as float32 tensors.

    Attributes:
        obs, next_obs: (n, inputs) inputs of a network (`Features.inputs`) at the step and where its return is cut off.
        action: (n, a) in [-1, 1].
        reward: (n,) the discounted sum until there.
        discount: (n,) of the value of `next_obs`: 0 where the episode was terminated. A time limit is no termination.
        source: (n,) which source each is from, by its place in `Mixture.shares`; 0 in a batch of one buffer.
    """

    obs: torch.Tensor
    action: torch.Tensor
    reward: torch.Tensor
    next_obs: torch.Tensor
    discount: torch.Tensor
    source: torch.Tensor


class Buffer:
    """Whole episodes, the oldest of which make room for new ones.

    Args:
        features: how an observation becomes an input.
        capacity: rows; an episode of T steps takes T + 1.
        low, high: (a,) bounds of the action space, which are scaled to [-1, 1].
    """

    def __init__(self, features: Features, capacity: int, low: np.ndarray, high: np.ndarray) -> None:
        self.features, self.capacity = features, capacity
        self._middle, self._half = (high + low) / 2, (high - low) / 2
        self.numbers = np.zeros((capacity, len(features.mean)), np.float32)
        self.done = np.zeros((capacity, features.action_size))
        self.label = np.zeros(
            (capacity, features.action_size), np.float32
        )  # to imitate: what was done, or a teacher's word
        self.taught = np.zeros(capacity, np.bool_)  # whether it is to be imitated
        self.reward = np.zeros(capacity, np.float32)
        self.first = np.zeros(capacity, np.int64)  # row of the episode's start
        self.last = np.zeros(capacity, np.int64)  # and of its last observation
        self.terminated = np.zeros(capacity, np.bool_)  # whether the episode was, at all of its rows
        self.images: dict[str, np.ndarray] = {}
        self._episodes: list[tuple[int, int]] = []  # (first row, row behind the last), oldest first
        self._next = 0
        self._steps = np.zeros(0, np.int64)  # rows with an action

    @classmethod
    def of(cls, features: Features, trajectories: Iterable[Trajectory], low: np.ndarray, high: np.ndarray) -> Buffer:
        """Just large enough for these episodes."""
        held = list(trajectories)
        buffer = cls(features, sum(len(t) + 1 for t in held), low, high)
        for trajectory in held:
            buffer.add(trajectory)
        return buffer

    def __len__(self) -> int:
        """Steps."""
        return len(self._steps)

    @property
    def steps(self) -> np.ndarray:
        """(steps,) rows with an action, oldest first."""
        return self._steps

    @property
    def episodes(self) -> int:
        return len(self._episodes)

    def add(self, trajectory: Trajectory) -> None:
        """Append an episode. Raises UserError for one that is longer than the buffer."""
        rows = len(trajectory) + 1
        if rows > self.capacity:
            raise UserError(f"an episode of {rows - 1} steps does not fit into a buffer of {self.capacity}; enlarge it")
        begin = self._next
        if begin + rows > self.capacity:  # what is left of the end is older than what stands at the beginning
            self._episodes = [e for e in self._episodes if e[1] <= begin]
            begin = 0
        span = slice(begin, begin + rows)
        self._episodes = [e for e in self._episodes if e[1] <= begin or e[0] >= begin + rows]
        action = self._followed(self._scaled(trajectory.action))
        label = action if trajectory.label is None else self._scaled(trajectory.label)
        taught = np.isfinite(label).all(axis=1)
        self.numbers[span] = self.features.numbers(trajectory.observation)
        self.done[span] = np.concatenate([np.zeros((1, action.shape[1])), np.cumsum(action, axis=0, dtype=np.float64)])
        self.label[span] = np.concatenate([np.nan_to_num(label), np.zeros_like(label[:1])])
        self.taught[span] = np.append(taught, False)
        self.reward[span] = np.append(trajectory.reward, 0.0)
        self.first[span], self.last[span] = begin, begin + rows - 1
        self.terminated[span] = trajectory.terminated
        for key in self.features.images:
            images = self.features.image(trajectory.observation, key)
            held = self.images.setdefault(key, np.zeros((self.capacity, *images.shape[1:]), np.uint8))
            held[span] = images
        self._episodes.append((begin, begin + rows))
        self._next = begin + rows
        self._steps = np.concatenate([np.arange(a, b - 1) for a, b in self._episodes])

    def _scaled(self, action: np.ndarray) -> np.ndarray:
        return np.clip((action - self._middle) / self._half, -1, 1).astype(np.float32)

    def _followed(self, commands: np.ndarray) -> np.ndarray:
        """(T, a) what the controller made of an episode's commands."""
        if not self.features.lead:
            return commands
        moving, found = np.zeros(commands.shape[1], np.float32), []
        for command in commands:
            found.append(moving := self.features.followed(moving, command))
        return np.stack(found)

    # -- reading ---------------------------------------------------------------------------------------------------------
    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """(n,) rows, uniform over all steps, with replacement."""
        return self._steps[rng.integers(len(self._steps), size=n)]

    def inputs(self, rows: np.ndarray) -> np.ndarray:
        """(n, inputs) float32."""
        return self.features.inputs(self.numbers, self.done, rows, self.first[rows])

    def chunks(self, rows: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """(n, length, a) the actions to imitate from each row on, and (n, length) which of them the episode still had, and are to be imitated."""
        ahead = rows[:, None] + np.arange(length)
        there = ahead < self.last[rows][:, None]
        ahead = np.minimum(ahead, self.last[rows][:, None] - 1)
        return self.label[ahead], there & self.taught[ahead]

    def batch(self, rows: np.ndarray, *, gamma: float, n_step: int = 1, hold: int = 1, source: int = 0) -> Batch:
        """Transitions from these rows on.

        Args:
            gamma: discount of a decision.
            n_step: decisions until the value of what is seen then is taken in place of further rewards.
            hold: control steps that a decision lasts; the action of one is the mean over them.
        """
        last = self.last[rows]
        ahead = rows[:, None] + np.arange(n_step * hold)
        there = ahead < last[:, None]
        weights = gamma ** (np.arange(n_step * hold) // hold)
        reward = (self.reward[np.minimum(ahead, last[:, None])] * weights * there).sum(axis=1)
        end = np.minimum(rows + n_step * hold, last)
        decisions = -(-(end - rows) // hold)
        over = (end == last) & self.terminated[rows]
        held = np.minimum(rows + hold, last)
        action = (self.done[held] - self.done[rows]) / (held - rows)[:, None]
        return Batch(
            obs=_tensor(self.inputs(rows)),
            action=_tensor(action),
            reward=_tensor(reward),
            next_obs=_tensor(self.inputs(end)),
            discount=_tensor(np.where(over, 0.0, gamma**decisions)),
            source=torch.full((len(rows),), source),
        )

    # -- to go on after an interruption ----------------------------------------------------------------------------------
    _HELD = ("numbers", "done", "label", "taught", "reward", "first", "last", "terminated")

    def state_dict(self) -> dict[str, Any]:
        """All that it holds, as tensors and numbers."""
        used = max((behind for _, behind in self._episodes), default=0)
        return {
            **{name: torch.from_numpy(getattr(self, name)[:used]) for name in self._HELD},
            "images": {key: torch.from_numpy(value[:used]) for key, value in self.images.items()},
            "episodes": [list(episode) for episode in self._episodes],
            "next": self._next,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Hold what was held when `state_dict` was called."""
        for name in self._HELD:
            getattr(self, name)[: len(state[name])] = state[name].numpy()
        for key, value in state["images"].items():
            self.images[key] = np.zeros((self.capacity, *value.shape[1:]), np.uint8)
            self.images[key][: len(value)] = value.numpy()
        self._episodes = [(first, behind) for first, behind in state["episodes"]]
        self._next = state["next"]
        parts = [np.arange(a, b - 1) for a, b in self._episodes]
        self._steps = np.concatenate(parts) if parts else np.zeros(0, np.int64)


class Mixture:
    """Several buffers, of which every batch has exact shares.

    Args:
        shares: name -> (buffer, share); shares are taken relative to one another. What a share leaves over of a whole number of
            transitions goes to the first sources, so that a batch always has the same of each.

    Raises:
        UserError: for shares that are none.
    """

    def __init__(self, shares: Mapping[str, tuple[Buffer, float]]) -> None:
        if (
            not shares
            or any(not 0 <= share < float("inf") for _, share in shares.values())
            or not sum(s for _, s in shares.values())
        ):
            raise UserError("shares of sources must be at least 0, and one of them more: replay=0.5 demos=0.5")
        self.shares = dict(shares)

    def counts(self, n: int) -> dict[str, int]:
        """How many of a batch of n are from each source."""
        total = sum(share for _, share in self.shares.values())
        exact = {name: n * share / total for name, (_, share) in self.shares.items()}
        counts = {name: int(value) for name, value in exact.items()}
        for name in sorted(exact, key=lambda name: counts[name] - exact[name])[: n - sum(counts.values())]:
            counts[name] += 1
        return counts

    def sample(self, n: int, rng: np.random.Generator, *, gamma: float, n_step: int = 1, hold: int = 1) -> Batch:
        """Transitions of all sources, source after source. Raises UserError for an empty source that has a share."""
        batches = []
        for place, (name, count) in enumerate(self.counts(n).items()):
            buffer, _ = self.shares[name]
            if count and not len(buffer):
                raise UserError(f"there is nothing in {name} yet, which has a share of each batch")
            if count:
                batches.append(
                    buffer.batch(buffer.sample(count, rng), gamma=gamma, n_step=n_step, hold=hold, source=place)
                )
        if len(batches) == 1:
            return batches[0]
        return Batch(*(torch.cat([getattr(b, name) for b in batches]) for name in Batch.__dataclass_fields__))


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
