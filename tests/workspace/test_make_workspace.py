"""What an agent finds in its workspace: made for its task and its run."""

import subprocess

import gymnasium as gym
import pytest

from autoenvbench.record.run_config import RunConfig
from autoenvbench.workspace.make_workspace import make_workspace


def workspace(tmp_path, env_id="ENPIRE/PushT-v0", **config):
    env = gym.make(env_id, disable_env_checker=True, **config.get("env_kwargs", {}))
    make_workspace(tmp_path / "workspace", "codex-1", RunConfig(agent="codex", env=env_id, budget_s=60, **config), env)
    env.close()
    return tmp_path / "workspace"


@pytest.mark.parametrize("name", ["PushT", "PinInsertion", "GPUInsertion", "TieZipTie", "CutZipTie"])
def test_the_recipe_is_only_where_the_run_says_so(tmp_path, name):
    made = workspace(tmp_path / "plain", f"ENPIRE/{name}-v0")
    files = subprocess.run(["git", "-C", str(made), "ls-files"], capture_output=True, text=True, check=True).stdout.split()
    assert "policy.py" in files
    assert "parametric.py" not in files
    assert not any("arametric" in (made / file).read_text() for file in files)
    assert (workspace(tmp_path / "given", f"ENPIRE/{name}-v0", starter="parametric") / "parametric.py").exists()
