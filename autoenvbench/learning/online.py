"""What algorithms share that learn while the robot works: what they see, how they explore, how often they succeed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
from enpire_envs.contract import contract_of

from autoenvbench.errors import UserError
from autoenvbench.learning.bundle.features import Features, flat
from autoenvbench.learning.bundle.policy import Actor
from autoenvbench.learning.collect import run_episode
from autoenvbench.learning.episodes import Demonstrations, Trajectory
from autoenvbench.learning.export import Packed, action_bounds
from autoenvbench.learning.run import Training


def vector_features(env: gym.Env[Any, Any], demos: Demonstrations | None, **looks: Any) -> Features:
    """Observations of numbers, normalised over the demonstrations; as they are where there are none.

    Args:
        looks: `history`, `stride` and so on, see `Features.of`.

    Raises UserError for observations with images, which need an encoder.
    """
    low, _ = action_bounds(env)
    if demos:
        features = Features.of([t.observation for t in demos], len(low), **looks)
    else:
        one = flat(env.observation_space.sample())
        rows = {key: part[None] for key, part in one.items()} if isinstance(one, dict) else one[None]
        features = Features.of([rows], len(low), **looks)
        features = replace(features, mean=np.zeros_like(features.mean), std=np.ones_like(features.std))
    if features.images:
        raise UserError(
            f"this algorithm learns from numbers, and the observations hold images ({', '.join(features.images) or 'alone'}); "
            "choose an environment with obs_type=state, or an algorithm that sees: bc, dagger"
        )
    return features


class Explorer(Actor):
    """A policy that is asked anew for every decision, with what it was seen and done before it as a packed policy has it.

    Args:
        packed: the policy as it is exported: its features, action bounds and holding are used.
        decide: an action (a,) in [-1, 1] for an input (inputs,).
    """

    def __init__(self, packed: Packed, decide: Callable[[np.ndarray], np.ndarray]) -> None:
        super().__init__(*packed)
        self._decision = decide

    def _decide(self, observation: Any) -> np.ndarray:
        return self._decision(self._history.input())[None]


class Practice:
    """Episodes of an explorer, from starts that the training draws, and a tally of them."""

    RECENT = 50  # episodes that the success rate is of

    def __init__(self, env: gym.Env[Any, Any], explorer: Explorer, training: Training) -> None:
        self._env, self._explorer, self._training = env, explorer, training
        self._recent: deque[bool] = deque(maxlen=self.RECENT)
        self.steps = 0  # of control

    def episode(self) -> Trajectory:
        """The next one."""
        trajectory = run_episode(self._env, self._explorer, int(self._training.rng.integers(2**31)))
        self._recent.append(trajectory.success)
        self.steps += len(trajectory)
        return trajectory

    @property
    def minutes(self) -> float:
        """On the robot, resets aside."""
        return self.steps / contract_of(self._env).control_hz / 60

    @property
    def success(self) -> float:
        """Share of the recent episodes that succeeded, with what they tried out."""
        return float(np.mean(self._recent))

    def state_dict(self) -> dict[str, Any]:
        """What it counted."""
        return {"recent": list(self._recent), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Count on from there."""
        self._recent = deque(state["recent"], maxlen=self.RECENT)
        self.steps = state["steps"]
