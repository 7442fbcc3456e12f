"""What solves it, hidden in every cage, and what shows that it needs solving."""

import gymnasium as gym
import numpy as np

from ..env import ReachEnv
from ..scene import STEP


class Expert:
    """Looks at the true state."""

    def __init__(self, env: ReachEnv) -> None:
        self._env = env

    def reset(self, observation: np.ndarray) -> None:
        pass

    def act(self, observation: np.ndarray) -> np.ndarray:
        return np.clip((self._env.goal - self._env.tip) / STEP, -1, 1)


class Scripted:
    """Sees what policies see."""

    def __init__(self, observation_space: gym.Space, action_space: gym.Space) -> None:
        pass

    def reset(self, observation: np.ndarray) -> None:
        pass

    def act(self, observation: np.ndarray) -> np.ndarray:
        return np.clip((observation[2:] - observation[:2]) / STEP, -1, 1)

    def did(self, action: np.ndarray) -> None:
        """Another drove; what this one does next follows from what it sees."""


class Naive:
    """Full speed towards the mark, which it passes without end."""

    def __init__(self, env: ReachEnv) -> None:
        pass

    def reset(self, observation: np.ndarray) -> None:
        pass

    def act(self, observation: np.ndarray) -> np.ndarray:
        return np.sign(observation[2:] - observation[:2])
