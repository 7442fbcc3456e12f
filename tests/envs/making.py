"""Environments as tests make them, whatever their level lets a policy see."""

from typing import Any

import enpire_envs  # noqa: F401
import gymnasium as gym
import numpy as np


def make(env_id: str, *, pictures: bool = True, **options: Any) -> gym.Env[Any, Any]:
    """An environment without Gymnasium's checker, whose pictures are tiny where a policy has nothing else: they are what takes time.

    Without `pictures` none are drawn at all, which changes nothing else of an episode (tests/test_audit.py).
    """
    sees = "pixels" in offered(env_id)[0]
    if sees:
        options = {"observation_width": 8, **options}
    env = gym.make(env_id, disable_env_checker=True, **options)
    if sees and not pictures:
        env.unwrapped._pixels = dict  # type: ignore[attr-defined]
    return env


def offered(env_id: str) -> tuple[str, ...]:
    """The kinds of observation that a level offers, its default first."""
    env = gym.make(env_id, disable_env_checker=True)
    kinds: tuple[str, ...] = env.unwrapped.task.obs_types  # type: ignore[attr-defined]
    env.close()
    return kinds


def nth(observations: Any, k: int) -> Any:
    """The observation of one of several environments that were stepped together."""
    if isinstance(observations, dict):
        return {key: nth(part, k) for key, part in observations.items()}
    return observations[k]


def flat(observation: Any) -> np.ndarray:
    """All numbers of an observation in a row, pictures included."""
    if isinstance(observation, dict):
        return np.concatenate([flat(observation[key]) for key in sorted(observation)])
    return np.ravel(observation).astype(np.float64)
