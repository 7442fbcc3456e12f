"""Pin insertion from observations alone: by feel where the pose is exact, as at `intro`, and by how the pin leans at `state`."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from enpire_envs.pin_insertion.reference.by_feel import ByFeel
from enpire_envs.pin_insertion.reference.by_lean import ByLean


class Scripted:
    """Unprivileged pin insertion policy: knows its spaces, then only what it observes (`obs_type="state"`).

    Args:
        observation_space: of the environment, (70,), or (73,) where the gripper turns.
        action_space: of the environment, (3,) or (6,); rotations are left alone.

    Raises:
        ValueError: observations are no vector.
    """

    def __init__(self, observation_space: spaces.Space[np.ndarray], action_space: spaces.Space[np.ndarray]) -> None:
        assert action_space.shape is not None
        if not isinstance(observation_space, spaces.Box) or len(observation_space.shape) != 1:
            raise ValueError(f'the scripted policy reads a vector, not {observation_space}: use obs_type="state"')
        self._size = action_space.shape[0]

    def reset(self, observation: np.ndarray) -> None:
        """A new episode, by its first observation: only an exact pose is nought there."""
        self._inserting: ByFeel | ByLean = ByLean() if np.any(np.asarray(observation)[:3]) else ByFeel()
        self._inserting.reset(observation)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """The action for one control period, within [-1, 1]."""
        action = self._inserting.act(np.asarray(observation, dtype=float), self._size)
        return np.concatenate([action, np.zeros(self._size - 3)])

    def did(self, action: np.ndarray) -> None:
        """After `act`: this was executed in its place, by a learner that it teaches."""
        self._inserting.did(action)
