"""A trained policy: weights from checkpoints/policy.npz, run with NumPy. `policy.json` says how they are put together:

    networks   name -> layers; the weights of layer k are `NAME.k.weight` and `NAME.k.bias`
    head       what the outputs of the network "actor" mean, see `Actor._decide`; `components` of a mixture
    chunk      actions that one answer of the network holds
    execute    how many of them are executed before it is asked again
    hold       control steps that each action is held for
    residual   null, or how the network "base" answers (`head`, `components`), which the actor corrects by `scale` times its answer
    features   see features.py

The input of "actor" is what `features.History.input` gives, with the outputs of the network `image.KEY` of each image behind it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from autoenvbench.learning.bundle.features import Features, History, flat

#: By which the scores of a mixture's components are multiplied before their softmax: the likeliest acts alone, unless two are as good as equal.
SHARPNESS = 1e6


class Actor:
    """Networks that act.

    Args:
        about: what `policy.json` says.
        weights: arrays by name, with `features.mean`, `features.std`, and the action space's bounds `action.low`, `action.high`.
    """

    def __init__(self, about: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> None:
        self._about, self._weights = about, weights
        self._features = Features.restore(about["features"], weights["features.mean"], weights["features.std"])
        self._history = History(self._features)
        low, high = weights["action.low"], weights["action.high"]
        self._middle, self._half = (high + low) / 2, (high - low) / 2

    def reset(self, observation: Any) -> None:
        """Begin an episode with its first observation, which the first `act` brings again."""
        self._history.begin(flat(observation))
        self._plan: list[np.ndarray] = []
        self._begun = False

    def act(self, observation: Any) -> np.ndarray:
        """The action (a,) for one control period."""
        observation = flat(observation)
        self.look(observation)
        if not self._plan:
            actions = self._decide(observation)[: self._about["execute"]]
            self._plan = [action for action in actions for _ in range(self._about["hold"])]
        command = self._features.ahead(self._history.moving, self._plan.pop(0))
        action = self._middle + self._half * command
        self.did(action)
        return np.asarray(action)

    def look(self, observation: Any) -> None:
        """See without acting: somebody else drives."""
        if self._begun:
            self._history.see(flat(observation))
        self._begun = True

    def did(self, action: np.ndarray) -> None:
        """What was done with what it saw last, (a,) in the action space's own numbers."""
        self._history.did(np.clip((action - self._middle) / self._half, -1, 1))

    def _decide(self, observation: Any) -> np.ndarray:
        """(chunk, a) actions in [-1, 1]."""
        seen = [self._history.input()]
        for key in self._features.images:
            image = self._features.image(observation, key).astype(np.float32).transpose(2, 0, 1) / 255
            seen.append(self._run(f"image.{key}", image))
        x, about = np.concatenate(seen), self._about
        size, residual = about["chunk"] * self._features.action_size, about["residual"]
        if residual is None:
            actions = _answer(self._run("actor", x), size, about)
        else:  # the base acts, and the actor, which is told how, corrects it
            base = _answer(self._run("base", x), size, residual)
            added = _answer(self._run("actor", np.concatenate([x, base])), size, about)
            actions = np.clip(base + residual["scale"] * added, -1, 1)
        return actions.reshape(-1, self._features.action_size)

    def _run(self, name: str, x: np.ndarray) -> np.ndarray:
        for k, layer in enumerate(self._about["networks"][name]):
            weight: Any = self._weights.get(f"{name}.{k}.weight")
            bias: Any = self._weights.get(f"{name}.{k}.bias")
            if layer["kind"] == "linear":
                x = weight @ x + bias
            elif layer["kind"] == "layer_norm":
                x = (x - x.mean()) / np.sqrt(x.var() + layer["epsilon"]) * weight + bias
            elif layer["kind"] == "convolution":
                x = _convolve(x, weight, layer["stride"]) + np.reshape(bias, (-1, 1, 1))
            elif layer["kind"] == "relu":
                x = np.maximum(x, 0)
            elif layer["kind"] == "tanh":
                x = np.tanh(x)
            elif layer["kind"] == "flatten":
                x = x.reshape(-1)
            else:
                raise ValueError(f"policy.json has a layer {layer['kind']!r} that this file does not know")
        return x


class Policy(Actor):
    """What the station runs."""

    def __init__(self, observation_space: Any, action_space: Any) -> None:
        here = Path(__file__).resolve().parent
        with np.load(here / "checkpoints" / "policy.npz", allow_pickle=False) as file:
            weights = {name: file[name] for name in file.files}
        super().__init__(json.loads((here / "policy.json").read_text()), weights)


def _answer(out: np.ndarray, size: int, about: Mapping[str, Any]) -> np.ndarray:
    """(size,) actions in [-1, 1] that the outputs of a network mean by its head."""
    if about["head"] == "mixture":  # scores of the components, then the means of each: the likeliest one acts
        n = about["components"]
        shares = np.exp(SHARPNESS * (out[:n] - out[:n].max()))
        out = shares / shares.sum() @ out[n:].reshape(n, size)
    return np.tanh(out[:size]) if about["head"] == "tanh" else np.clip(out[:size], -1, 1)


def _convolve(x: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    """(out, h, w) of an image (in, h, w) by filters (out, in, k, k), without padding."""
    size = weight.shape[-1]
    patches = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    return np.asarray(np.tensordot(weight, patches, axes=((1, 2, 3), (0, 3, 4))))
