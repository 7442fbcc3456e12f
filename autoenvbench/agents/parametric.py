"""A task's parametric policy in a workspace: its parameters, its commits, and episodes of it in a simulator of one's own."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoenvbench.agents.lab import Lab
from autoenvbench.errors import UserError

PARAMS, POLICY = "params.json", "policy.py"
_POLICY = '''"""The parametric policy with the numbers in params.json."""

from parametric import ParametricPolicy as Policy

__all__ = ["Policy"]
'''


def load_parametric(workspace: Path) -> Any:
    """The module, with PARAMETERS (name: low, initial, high) and ParametricPolicy. Raises UserError where there is none."""
    file = workspace / "parametric.py"
    if not file.is_file():
        raise UserError(
            "there is no parametric.py with PARAMETERS and ParametricPolicy in this task's workspace, so there is nothing to tune"
        )
    spec = importlib.util.spec_from_file_location("parametric", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commit_values(lab: Lab, values: Mapping[str, float], message: str) -> None:
    """Commit the parametric policy with these numbers as HEAD."""
    (lab.workspace / PARAMS).write_text(json.dumps(values, indent=1))
    (lab.workspace / POLICY).write_text(_POLICY)
    lab.commit(message, PARAMS, POLICY)


# -- a process of a simulator's pool -----------------------------------------------------------------------------------
_worker: dict[str, Any] = {}


def start_worker(workspace: str, env_id: str, env_kwargs: dict[str, Any], nice: int = 0) -> None:
    """Make this process one that `rehearse` runs in.

    Args:
        nice: by how much it gives way to other processes, such as a station that keeps real time.
    """
    import gymnasium as gym

    import autoenvbench  # noqa: F401  (registers the environments)

    os.nice(nice)
    _worker["module"] = load_parametric(Path(workspace))
    _worker["env"] = gym.make(env_id, disable_env_checker=True, **env_kwargs)


def rehearse(values: dict[str, float], seed: int) -> tuple[float, float]:
    """Success (0 or 1) and score of one simulated episode."""
    env = _worker["env"]
    policy = _worker["module"].ParametricPolicy(env.observation_space, env.action_space, values)
    observation, info = env.reset(seed=seed)
    policy.reset(observation)
    over = False
    while not over:
        observation, _, terminated, truncated, info = env.step(policy.act(observation))
        over = terminated or truncated
    return float(info["success"]), float(info["score"])
