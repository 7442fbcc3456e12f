"""Many simulated cells at once: their physics runs in threads, which MuJoCo lets go of Python's lock for."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from enpire_envs.env import CellEnv


class CellVectorEnv(SyncVectorEnv):
    """What `gymnasium.make_vec` makes by default. Bit for bit what `vectorization_mode="sync"` computes, in less time.

    Args:
        cls: class of the sub-environments.
        num_envs: how many.
        kwargs: arguments of each (see its class), with `max_episode_steps`.
    """

    def __init__(self, cls: type[CellEnv], num_envs: int, **kwargs: Any) -> None:
        self._kwargs = kwargs
        super().__init__([partial(_Concluding, cls, kwargs)] * num_envs, autoreset_mode=AutoresetMode.NEXT_STEP)
        self._start_threads()

    def _start_threads(self) -> None:
        threads = min(self.num_envs, os.cpu_count() or 1)
        # one task per thread and step, not per cell
        self._shares = [range(k, self.num_envs, threads) for k in range(threads)]
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="cell")

    def __getstate__(self) -> dict[str, Any]:
        """All but the threads: a copy goes on bit for bit, with its own."""
        return {key: value for key, value in self.__dict__.items() if key != "_pool"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start_threads()

    def step(self, actions: Any) -> Any:
        """Move all cells side by side, then judge and observe one by one. Raises ValueError before any moves."""
        actions = np.asarray(actions)
        if actions.shape != self.action_space.shape or not np.isfinite(actions).all():  # refused before any cell moves
            raise ValueError(f"actions of shape {actions.shape} that are not finite or not {self.action_space.shape}")
        list(self._pool.map(lambda share: self._advance(share, actions), self._shares))
        return super().step(actions)

    def _advance(self, share: range, actions: np.ndarray) -> None:
        for i in share:
            if not self._autoreset_envs[i]:
                self.envs[i].unwrapped.advance(actions[i])  # type: ignore[attr-defined]

    def close_extras(self, **kwargs: Any) -> None:
        """Close the environments and end the threads."""
        super().close_extras(**kwargs)
        self._pool.shutdown()


class _Concluding(gym.Wrapper[Any, Any, Any, Any]):
    """An environment whose motion was run beforehand."""

    def __init__(self, cls: type[CellEnv], kwargs: dict[str, Any]) -> None:
        super().__init__(cls(**kwargs))

    def step(self, action: Any) -> Any:
        return self.env.unwrapped.conclude()  # type: ignore[attr-defined]


def __getattr__(name: str) -> Any:
    """`enpire_envs.vector:package.module.Class` is a vector of that environment: what `registry` tells Gymnasium."""
    module, _, cls = name.rpartition(".")
    if not module:
        raise AttributeError(name)
    return partial(CellVectorEnv, getattr(import_module(module), cls))
