"""How observations become the input of a network. Training and the exported policy run this same file, which needs NumPy only.

An observation is its *numbers* (the vector, or a dictionary's vectors end to end in the order of `keys`) and its *images*. The input of a
network at step t is, end to end:

    numbers(t), normalised                                   what is seen now
    numbers(t - stride), numbers(t - 2 stride), ...          `history` of them: what was seen; before the first step, the first
    mean action since t - stride, and of the stride before   `history` of them, if `actions`: what was done; nothing before the start

A policy that searches by touch must know what it tried before: one look does not say which way it was going.

A controller follows its commands late. With `lead`, actions are what a controller makes of commands that runs so many steps behind them, as a
first-order lag does, and the policy commands what makes it do what it wants at once (`followed` and `ahead`). What was done is that, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

_MIN_STD = 1e-4  # of a number that hardly varies in the data: it must not become huge elsewhere
_CLIP = 10.0  # standard deviations


@dataclass(frozen=True, eq=False)
class Features:
    """What is taken of an observation, and how.

    Attributes:
        keys: of the dictionary's vectors; () where an observation is one array.
        images: keys of its images, (height, width, channels) uint8; "" where the observation is itself one.
        history: looks back; stride: steps between them; actions: whether what was done is looked back at, too.
        action_size: numbers of an action.
        mean, std: (numbers,) over the data.
        lead: control steps that the controller runs behind displacements that it is told; 0: at once.
    """

    keys: tuple[str, ...]
    images: tuple[str, ...]
    history: int
    stride: int
    actions: bool
    action_size: int
    mean: np.ndarray
    std: np.ndarray
    lead: float = 0.0

    @classmethod
    def of(
        cls, observations: Sequence[Any], action_size: int, *, history: int = 0, stride: int = 1, actions: bool = True,
        lead: float = 0.0,
    ) -> Features:  # fmt: skip
        """Normalised over these episodes' observations, each (T+1, ...) or a dictionary of such."""
        first = observations[0]
        parts = dict(first) if isinstance(first, Mapping) else {"": first}
        images = tuple(key for key, part in parts.items() if _is_image(np.asarray(part)[0]))
        keys = tuple(key for key in parts if key and key not in images)
        plain = cls(
            keys, images, history, stride, actions, action_size, np.zeros(0, np.float32), np.ones(0, np.float32)
        )
        rows = np.concatenate([plain.raw_numbers(observation) for observation in observations]).astype(np.float64)
        std = np.maximum(rows.std(axis=0), _MIN_STD)
        mean = rows.mean(axis=0).astype(np.float32)
        return cls(keys, images, history, stride, actions, action_size, mean, std.astype(np.float32), lead)

    @property
    def size(self) -> int:
        """Numbers of an input, images aside."""
        return len(self.mean) * (1 + self.history) + self.action_size * self.history * self.actions

    def describe(self) -> dict[str, Any]:
        """As JSON has it, but for the arrays `mean` and `std`."""
        return {name: value for name, value in asdict(self).items() if name not in ("mean", "std")}

    @classmethod
    def restore(cls, described: Mapping[str, Any], mean: np.ndarray, std: np.ndarray) -> Features:
        """What `describe` said, with its arrays."""
        known = {field.name: described[field.name] for field in fields(cls) if field.name in described}
        return cls(**{**known, "keys": tuple(known["keys"]), "images": tuple(known["images"])}, mean=mean, std=std)

    # -- parts of an observation, or of many (leading axes are kept) ----------------------------------------------------
    def raw_numbers(self, observation: Any) -> np.ndarray:
        """(..., numbers) float32."""
        if not isinstance(observation, Mapping):
            if "" in self.images:
                return np.zeros((*np.shape(observation)[:-3], 0), np.float32)
            return np.asarray(observation, np.float32)
        if not self.keys:
            return np.zeros((*np.shape(observation[self.images[0]])[:-3], 0), np.float32)
        return np.concatenate([np.asarray(observation[key], np.float32) for key in self.keys], axis=-1)

    def numbers(self, observation: Any) -> np.ndarray:
        """(..., numbers) float32, normalised."""
        return np.clip((self.raw_numbers(observation) - self.mean) / self.std, -_CLIP, _CLIP)

    def image(self, observation: Any, key: str) -> np.ndarray:
        """(..., height, width, channels) uint8."""
        return np.asarray(observation[key] if isinstance(observation, Mapping) else observation)

    # -- actions, (..., a) in [-1, 1] -------------------------------------------------------------------------------------
    def followed(self, before: np.ndarray, command: np.ndarray) -> np.ndarray:
        """What the controller does by a command, after it did `before`."""
        return (command + self.lead * before) / (1 + self.lead)

    def ahead(self, before: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """The command by which it does what is wanted, as far as commands go."""
        return np.clip(wanted + self.lead * (wanted - before), -1, 1)

    # -- inputs -----------------------------------------------------------------------------------------------------------
    def inputs(self, numbers: np.ndarray, done: np.ndarray, rows: np.ndarray, first: np.ndarray) -> np.ndarray:
        """(n, size) inputs at some rows of episodes that lie end to end.

        Args:
            numbers: (rows, numbers) normalised, T+1 of each episode.
            done: (rows, a) float64 the sum of the episode's actions before each row.
            rows: (n,) wanted.
            first: (n,) the first row of the episode of each.
        """
        if not self.history:
            return numbers[rows]
        back = rows[:, None] - self.stride * np.arange(self.history + 1)
        back = np.maximum(back, first[:, None])
        seen = numbers[back].reshape(len(rows), -1)
        if not self.actions:
            return seen
        moved = (done[back[:, :-1]] - done[back[:, 1:]]) / self.stride
        return np.concatenate([seen, moved.reshape(len(rows), -1).astype(np.float32)], axis=1)


class History:
    """What one episode was so far: `begin`, then `did` and `see` by turns; `input` at any time.

    Attributes:
        moving: (a,) what the controller did last.
    """

    def __init__(self, features: Features) -> None:
        self._features = features
        self._reach = 1 + features.history * features.stride

    def begin(self, observation: Any) -> None:
        """A new episode, by its first observation."""
        self._numbers = [self._features.numbers(observation)]
        self._done = [np.zeros(self._features.action_size)]
        self.moving = np.zeros(self._features.action_size, np.float32)

    def did(self, action: np.ndarray) -> None:
        """The command that is executed now, (a,) in [-1, 1]."""
        self.moving = self._features.followed(self.moving, np.asarray(action, np.float32))
        self._done.append(self._done[-1] + self.moving)

    def see(self, observation: Any) -> None:
        """What it led to."""
        self._numbers.append(self._features.numbers(observation))
        if len(self._numbers) > 4 * self._reach:  # what no input looks back to
            del self._numbers[: -self._reach], self._done[: -self._reach]

    def input(self) -> np.ndarray:
        """(size,) the input now."""
        at = len(self._numbers) - 1
        used = slice(max(at + 1 - self._reach, 0), at + 1)
        numbers, done = np.stack(self._numbers[used]), np.stack(self._done[used])
        return self._features.inputs(numbers, done, np.array([len(numbers) - 1]), np.array([0]))[0]


def _is_image(value: np.ndarray) -> bool:
    return value.dtype == np.uint8 and value.ndim == 3


def flat(observation: Any) -> Any:
    """An array as it is, and nested dictionaries as one with dotted keys, such as `pixels.side`: as files of episodes name the parts."""
    if not isinstance(observation, Mapping):
        return observation
    parts: dict[str, Any] = {}
    for key, part in observation.items():
        inner = flat(part)
        parts |= {f"{key}.{name}": value for name, value in inner.items()} if isinstance(inner, dict) else {key: inner}
    return parts
