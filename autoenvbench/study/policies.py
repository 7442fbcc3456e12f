"""Policies by name or folder: a task's own policies, a random one, scripts that ship with the package, or a user's."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from enpire_envs.reference import NAMES, Kind, make_reference

from autoenvbench.errors import UserError
from autoenvbench.record.regimes import NETWORK, AnswerKind
from autoenvbench.station.bundles import Bundle, policy_digest
from autoenvbench.station.rollout import Policy

#: Script policies that ship with the package: one written without having seen a scene, one that asks a policy server.
BASELINES = {"zero-shot": "zero_shot", "vla": "vla"}
#: A task's own policies, by the names of their classes: they run in this process.
OWN: dict[str, Kind] = {name: kind for kind, name in NAMES.items()}
#: Those that need no cage.
TRUSTED = (*OWN, "random")
#: Policies that are given by name; any other is a folder.
NAMED_POLICIES = (*TRUSTED, *BASELINES)


class NoPolicy(UserError):
    """What was given is neither a policy's name nor its folder."""


class RandomPolicy:
    """Uniform actions of an action space, seeded."""

    def __init__(self, space: gym.Space[Any], seed: int) -> None:
        self._space, self._seed = space, seed
        self._space.seed(seed)

    def reset(self, observation: Any) -> None:
        """Nothing to forget between episodes."""

    def act(self, observation: Any) -> np.ndarray:
        """An action of the space's shape, whatever is seen."""
        return np.asarray(self._space.sample())


class NoisyPolicy:
    """A policy that is interrupted by bursts of one random action each, as a half-trained one is by its mistakes.

    Args:
        policy: which, if it can be told (`did`), knows what was done in place of what it said.
        share: of the control steps that are spent in bursts, in the long run; 0 <= share < 1.
        seed: of when and where to.
    """

    BURST = 15  # control steps: long enough to lead somewhere else

    def __init__(self, policy: Policy, space: gym.Space[Any], share: float, seed: int) -> None:
        self._policy, self._space = policy, space
        self._starts = share / (self.BURST * (1 - share))  # chance that a burst begins, at a step outside one
        self._rng = np.random.default_rng(seed)
        self._did: Callable[[np.ndarray], None] = getattr(policy, "did", lambda action: None)

    def reset(self, observation: Any) -> None:
        """No burst outlasts its episode."""
        self._policy.reset(observation)
        self._left = 0

    def act(self, observation: Any) -> np.ndarray:
        """What the policy says, or the burst's action."""
        action = np.asarray(self._policy.act(observation))
        if not self._left and self._rng.random() < self._starts:
            self._left = self.BURST
            self._burst = self._rng.uniform(self._space.low, self._space.high).astype(action.dtype)  # type: ignore[attr-defined]
        if not self._left:
            return action
        self._left -= 1
        self._did(self._burst)
        return self._burst


def answer_in(bundle: Bundle) -> AnswerKind:
    """What is run of a folder that no run's regime rules: its policy.py, or where it has none its declared network."""
    return "policy" if (bundle.path / "policy.py").is_file() else "network"


def resolve_policy(env: gym.Env[Any, Any], policy: str, seed: int) -> tuple[Bundle, Policy | None]:
    """The policy of this name or folder.

    Returns:
        What to run, and the object that acts where the policy is ours and needs no process and cage of its own (else None).

    Raises:
        NoPolicy: for a folder without a policy.py.
        UserError: for an environment that has no such policy of its own.
    """
    if policy in OWN:
        try:
            return Bundle(policy, policy, "", Path()), make_reference(env, OWN[policy])
        except (LookupError, ValueError) as error:
            raise UserError(str(error)) from None
    if policy in BASELINES:
        folder = Path(str(resources.files("autoenvbench.study") / "baselines" / BASELINES[policy]))
        return Bundle(policy, policy_digest(folder), "", folder), None
    if policy == "random":
        return Bundle("random", "random", "", Path()), RandomPolicy(env.action_space, seed)
    folder = Path(policy)
    if not (folder / "policy.py").is_file() and not (folder / NETWORK).is_file():
        what = "has no policy.py" if folder.is_dir() else "does not exist"
        raise NoPolicy(
            f"the policy folder {policy!r} {what}; give a folder whose policy.py defines "
            f"class Policy(observation_space, action_space) or run(tools), or that has a {NETWORK}, or say `reference`, `scripted`, `naive`, `random`, `zero-shot` or `vla`"
        )
    return Bundle("", policy_digest(folder), "", folder), None
