"""Shared fixtures. Everything a test starts lives on loopback, Unix sockets and pipes, and is stopped by the test."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")
for key in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "MOONSHOT_API_KEY"):  # tests never use a real key
    os.environ.pop(key, None)

import gymnasium as gym
import pytest

import autoenvbench  # noqa: F401  (registers the environments)
from autoenvbench.agents.codex import Codex
from autoenvbench.clock import RunClock
from autoenvbench.ledger import Ledger
from autoenvbench.workspace.cage import bwrap_problem

ZERO_POLICY = """
import numpy as np

class Policy:
    def __init__(self, observation_space, action_space):
        self.shape = action_space.shape
    def reset(self, observation):
        pass
    def act(self, observation):
        return np.zeros(self.shape)
"""


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cage") and (problem := bwrap_problem()):
        pytest.skip(problem)
    if item.get_closest_marker("codex") and Codex().command() is None:
        pytest.skip("the Codex CLI is not installed: npm install --prefix .tools @openai/codex")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite", RunClock.start(3600))


@pytest.fixture
def policy_dir(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a folder with the given policy.py."""

    def make(source: str) -> Path:
        folder = tmp_path / f"policy{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / "policy.py").write_text(source)
        return folder

    return make


@pytest.fixture(scope="module")
def env() -> gym.Env:
    made = gym.make("ENPIRE/PushT-v0", render_mode="rgb_array", disable_env_checker=True)
    yield made
    made.close()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A workspace-like Git repository with a policy."""
    path = tmp_path / "repo"
    path.mkdir()
    (path / "policy.py").write_text(ZERO_POLICY)
    for args in (["init", "-q", "-b", "main"], ["config", "user.name", "t"], ["config", "user.email", "t@t.invalid"],
                 ["add", "."], ["commit", "-qm", "zero policy"]):  # fmt: skip
        subprocess.run(["git", "-C", str(path), *args], check=True)
    return path
