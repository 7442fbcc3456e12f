"""Episodes by a policy, in this process."""

from __future__ import annotations

from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from autoenvbench.learning.bundle.features import flat
from autoenvbench.learning.episodes import Trajectory


class Acts(Protocol):
    """A policy."""

    def reset(self, observation: Any) -> None:
        """Begin an episode."""

    def act(self, observation: Any) -> np.ndarray:
        """(a,)"""


class Recorder:
    """Collects an episode step by step."""

    def __init__(self, observation: Any) -> None:
        self._seen, self._actions, self._rewards = [_copied(observation)], [], []  # type: ignore[var-annotated]

    def step(self, action: np.ndarray, observation: Any, reward: float) -> None:
        """An action, and what it led to."""
        self._seen.append(_copied(observation))
        self._actions.append(np.array(action, np.float32))
        self._rewards.append(reward)

    def trajectory(self, *, terminated: bool, success: bool, source: str) -> Trajectory:
        """The whole episode."""
        return Trajectory(
            _stacked(self._seen), np.stack(self._actions), np.array(self._rewards, np.float32), terminated, success, source
        )  # fmt: skip


def run_episode(env: gym.Env[Any, Any], policy: Acts, seed: int, source: str = "") -> Trajectory:
    """One episode of a policy from the start that this seed draws."""
    observation, info = env.reset(seed=seed)
    policy.reset(observation)
    record, over, terminated = Recorder(observation), False, False
    while not over:
        action = policy.act(observation)
        observation, reward, terminated, truncated, info = env.step(action)
        record.step(action, observation, float(reward))
        over = terminated or truncated
    return record.trajectory(terminated=terminated, success=bool(info["success"]), source=source)


def success_rate(env: gym.Env[Any, Any], policy: Acts, seeds: range) -> float:
    """Share of these starts that a policy solves."""
    return float(np.mean([run_episode(env, policy, seed).success for seed in seeds]))


def _copied(observation: Any) -> Any:
    """Environments may use their arrays again."""
    observation = flat(observation)
    if isinstance(observation, dict):
        return {key: np.array(part) for key, part in observation.items()}
    return np.array(observation)


def _stacked(seen: list[Any]) -> Any:
    if isinstance(seen[0], dict):
        return {key: np.stack([part[key] for part in seen]) for key in seen[0]}
    return np.stack(seen)
