"""The unprivileged script of pin insertion: it knows its spaces, and solves the plain level by touch."""

import gymnasium as gym
import numpy as np
import pytest
from enpire_envs.pin_insertion.reference import Scripted
from enpire_envs.pin_insertion.task import STEP
from enpire_envs.reference import make_reference

STARTS = range(7_000, 7_012)  # never used for tuning


def test_it_solves_the_plain_level_from_observations():
    env = gym.make("ENPIRE/PinInsertion-v0")
    policy, solved = Scripted(env.observation_space, env.action_space), 0
    for seed in STARTS:
        observation, info = env.reset(seed=seed)
        policy.reset(observation)
        over = False
        while not over:
            observation, _, terminated, truncated, info = env.step(policy.act(observation))
            over = terminated or truncated
        solved += info["success"]
    assert solved >= len(STARTS) - 1  # 99 % measured
    assert type(make_reference(env, "Scripted")) is Scripted


def test_it_solves_most_of_state_from_observations():
    """A slice; 200 starts are in the catalogue."""
    env = gym.make("ENPIRE/PinInsertion-State-v0", disable_env_checker=True)
    policy, solved = make_reference(env, "Scripted"), 0
    for seed in STARTS:
        observation, info = env.reset(seed=seed, options={"station": seed})
        policy.reset(observation)
        over = False
        while not over:
            action = policy.act(observation)
            assert abs(action).max() <= 1.0
            observation, _, terminated, truncated, info = env.step(action)
            over = terminated or truncated
        solved += info["success"]
    assert solved >= len(STARTS) // 2


def test_at_state_it_goes_on_from_what_was_done_instead():
    """A learner drives down half as fast as it says, and it is told."""
    env = gym.make("ENPIRE/PinInsertion-State-v0", disable_env_checker=True)
    policy = make_reference(env, "Scripted")
    observation, info = env.reset(seed=7_000, options={"station": 7_000})
    policy.reset(observation)
    done = np.zeros(3)
    for _ in range(60):
        action = policy.act(observation) / 2
        policy.did(action)
        done += action * STEP
        observation, _, terminated, _, info = env.step(action)
        assert not terminated, info
        assert env.unwrapped.cell.read().force < 25
    assert info["stage"] != "start"
    assert policy._inserting._command == pytest.approx(done)


def test_pictures_are_not_for_it():
    env = gym.make("ENPIRE/PinInsertion-Standard-v0")
    with pytest.raises(ValueError, match='obs_type="state"'):
        Scripted(env.observation_space, env.action_space)
