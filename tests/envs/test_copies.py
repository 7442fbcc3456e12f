"""Copies of a simulated environment go on exactly like the original, wherever in an episode they were made."""

import copy
import pickle

import cloudpickle
import enpire_envs
import gymnasium as gym
import numpy as np
import pytest
from enpire_envs.reference import make_reference
from hypothesis import given, settings
from hypothesis import strategies as st
from making import make

COPIERS = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda env: pickle.loads(pickle.dumps(env)),
    "cloudpickle": lambda env: pickle.loads(cloudpickle.dumps(env)),
}
OBS = ("state", "environment_state_agent_pos", "pixels", "pixels_agent_pos")


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple):
        return all(same(one, two) for one, two in zip(a, b, strict=True))
    return bool(np.array_equal(a, b)) if isinstance(a, np.ndarray) else a == b


def step_all(env: gym.Env, twins: list[gym.Env], action: np.ndarray) -> tuple:
    """One step in all of them, whose observation, reward, end and `info` must be identical: (observation, over)."""
    found = env.step(action)
    for twin in twins:
        assert same(found, twin.step(action))
    return found[0], found[2] or found[3]


@pytest.mark.parametrize("env_id", enpire_envs.ENV_IDS)
@given(seed=st.integers(0, 2**20), before=st.integers(0, 60), expert=st.booleans(), rendered=st.booleans())
@settings(max_examples=3)
def test_copies_go_on_like_the_original(env_id, seed, before, expert, rendered) -> None:
    """Each kind of copy, to the end of the episode, its verdict included, and through the start of the next one."""
    size = {"observation_width": 16, "visualization_width": 16}  # one renderer for both: it is what takes time to make
    env = make(env_id, render_mode="rgb_array", max_episode_steps=60, **size)
    rng = np.random.default_rng(seed)
    policy = make_reference(env)
    observation, _ = env.reset(seed=seed)
    policy.reset(observation)

    def action() -> np.ndarray:
        chosen = policy.act(observation) if expert else rng.uniform(-1, 1, env.action_space.shape)
        return np.clip(chosen, env.action_space.low, env.action_space.high).astype(np.float32)

    for _ in range(before):
        observation, _, terminated, truncated, _ = env.step(action())
        if terminated or truncated:
            observation, _ = env.reset()
            policy.reset(observation)
    if rendered:
        env.render()
    twins = [copied(env) for copied in COPIERS.values()]
    over = False
    while not over:
        observation, over = step_all(env, twins, action())
    picture, (first, info) = env.render(), env.reset()
    for twin in twins:
        assert np.array_equal(picture, twin.render())
        assert same((first, info), twin.reset())
    for made in (env, *twins):
        made.close()


@pytest.mark.parametrize("how", COPIERS)
@pytest.mark.parametrize("obs_type", OBS)
def test_whatever_is_observed(how: str, obs_type: str) -> None:
    env = gym.make("ENPIRE/CutZipTie-v0", obs_type=obs_type, start="table", reward_type="dense")
    env.reset(seed=3)
    rng = np.random.default_rng(0)
    for _ in range(4):
        env.step(rng.uniform(-1, 1, 7))
    twin = COPIERS[how](env)
    env.step(rng.uniform(-1, 1, 7))  # what one does is nothing to the other
    again = COPIERS[how](twin)
    for _ in range(4):
        step_all(twin, [again], rng.uniform(-1, 1, 7))
    for made in (env, twin, again):
        made.close()


@pytest.mark.parametrize("how", COPIERS)
@pytest.mark.parametrize("env_id", enpire_envs.ENV_IDS)
def test_before_and_between_episodes(env_id: str, how: str) -> None:
    env = make(env_id, max_episode_steps=3)
    fresh = COPIERS[how](env)
    assert same(env.reset(seed=4)[0], fresh.reset(seed=4)[0])
    for _ in range(3):
        step_all(env, [fresh], np.zeros(env.action_space.shape))
    ended = COPIERS[how](env)
    with pytest.raises(gym.error.ResetNeeded):
        ended.unwrapped.step(np.zeros(env.action_space.shape))
    assert same(env.reset()[0], ended.reset()[0])
    assert ended.spec == env.spec
    for made in (env, fresh, ended):
        made.close()


@pytest.mark.parametrize("how", COPIERS)
def test_several_at_once(how: str) -> None:
    envs = gym.make_vec("ENPIRE/PushT-v0", num_envs=3, max_episode_steps=12)
    envs.reset(seed=0)
    rng = np.random.default_rng(0)
    twin = None
    for k in range(30):
        actions = rng.uniform(-1, 1, (3, 2)).astype(np.float32)
        if k == 5:
            twin = COPIERS[how](envs)
        step = envs.step(actions)
        if twin is not None:
            assert all(np.array_equal(a, b) for a, b in zip(step[:4], twin.step(actions)[:4], strict=True))
    envs.close()
    twin.close()
