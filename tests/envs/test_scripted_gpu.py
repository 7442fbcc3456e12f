"""The unprivileged script of GPU insertion: it knows its spaces, and solves the plain level by touch."""

import inspect

import gymnasium as gym
import numpy as np
import pytest
from enpire_envs.gpu_insertion.reference import Scripted
from enpire_envs.pin_insertion.reference import Scripted as ScriptedPin
from enpire_envs.reference import make_reference

ID = "ENPIRE/GPUInsertion-v0"
STARTS = range(7_000, 7_010)  # never used for tuning


def test_it_solves_the_plain_level_from_observations():
    env = gym.make(ID)
    policy, solved = make_reference(env, "Scripted"), 0
    assert type(policy) is Scripted
    for seed in STARTS:
        observation, info = env.reset(seed=seed)
        policy.reset(observation)
        over = False
        while not over:
            action = policy.act(observation)
            assert np.abs(action).max() <= 1.0
            observation, _, terminated, truncated, info = env.step(action)
            over = terminated or truncated
        solved += info["success"]
    assert solved >= len(STARTS) - 1  # 99 % measured


@pytest.mark.parametrize("script", [Scripted, ScriptedPin])
def test_a_script_is_made_from_spaces_alone(script):
    assert list(inspect.signature(script).parameters) == ["observation_space", "action_space"]


@pytest.mark.parametrize("env_id", [ID, "ENPIRE/PinInsertion-v0"])
def test_what_a_script_remembers_ends_with_the_episode(env_id):
    env = gym.make(env_id)
    used, fresh = make_reference(env, "Scripted"), make_reference(env, "Scripted")
    observation, _ = env.reset(seed=3)
    used.reset(observation)
    for _ in range(60):
        observation, *_ = env.step(used.act(observation))
    observation, _ = env.reset(seed=4)
    for policy in (used, fresh):
        policy.reset(observation)
    for _ in range(60):
        action = fresh.act(observation)
        np.testing.assert_array_equal(used.act(observation), action)
        observation, *_ = env.step(action)


def test_pictures_are_not_for_it():
    env = gym.make(ID, obs_type="pixels_agent_pos")
    with pytest.raises(ValueError, match='obs_type="state"'):
        Scripted(env.observation_space, env.action_space)
