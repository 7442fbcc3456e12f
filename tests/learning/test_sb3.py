"""The scripts of `examples/sb3` train, and leave a policy that acts as what they trained."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from stable_baselines3.common.base_class import BaseAlgorithm

SCRIPTS = Path(__file__).parents[2] / "examples/sb3"


@pytest.mark.parametrize(("name", "steps"), [("sac", 510), ("td3", 510), ("ppo", 2048)])
def test_the_script_leaves_a_policy_that_was_trained(name, steps, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", str(steps)])
    model = runpy.run_path(str(SCRIPTS / f"{name}.py"))["model"]
    assert isinstance(model, BaseAlgorithm)
    assert (model.num_timesteps, model._n_updates > 0) == (steps, True)
    policy = runpy.run_path(f"runs/sb3_{name}/policy.py")["Policy"](model.observation_space, model.action_space)
    observation = model.observation_space.sample()
    policy.reset(observation)
    np.testing.assert_array_equal(policy.act(observation), model.predict(observation, deterministic=True)[0])
