"""The unprivileged script of pin insertion: it knows its spaces, and solves the plain level by touch."""

import gymnasium as gym
import pytest
from enpire_envs.pin_insertion.reference import Scripted
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


def test_pictures_are_not_for_it():
    env = gym.make("ENPIRE/PinInsertion-Standard-v0")
    with pytest.raises(ValueError, match='obs_type="state"'):
        Scripted(env.observation_space, env.action_space)
