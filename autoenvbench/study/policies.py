"""Policies by name or folder: a task's own policies, a random one, scripts that ship with the package, or a user's."""

from __future__ import annotations

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


def answer_in(bundle: Bundle) -> AnswerKind:
    """What is run of a folder that no run's regime rules: its policy.py, or where it has none its declared network."""
    return "policy" if (bundle.path / "policy.py").is_file() else "network"


def resolve_policy(env: gym.Env[Any, Any], policy: str, seed: int) -> tuple[Bundle, Policy | None]:
    """The policy of this name or folder.

    Returns:
        What to run, and the object that acts where the policy is ours and needs no process and cage of its own (else None).

    Raises:
        UserError: for a folder without a policy.py, or an environment that has no such policy of its own.
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
        raise UserError(
            f"the policy folder {policy!r} {what}; give a folder whose policy.py defines "
            f"class Policy(observation_space, action_space) or run(tools), or that has a {NETWORK}, or say `reference`, `scripted`, `naive`, `random`, `zero-shot` or `vla`"
        )
    return Bundle("", policy_digest(folder), "", folder), None
