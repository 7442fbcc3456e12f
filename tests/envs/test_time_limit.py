"""The time limit that is asked for is the one in force, whoever asks for it, and the last step says so."""

import enpire_envs
import gymnasium as gym
import numpy as np
import pytest
from enpire_envs.contract import step_limit
from enpire_envs.pusht.env import PushTEnv
from gymnasium.wrappers import OrderEnforcing, TimeLimit
from hypothesis import given, settings
from hypothesis import strategies as st
from making import make

DEFAULTS = (
    {"PushT": 300, "PushTSimple": 300, "PinBoard": 3600, "ZipTieFull": 3000}
    | dict.fromkeys(("PinInsertion", "GPUInsertion", "TieZipTie", "CutZipTie"), 600)
    | {f"PushT-{level}": 300 for level in ("State", "Standard", "Expert", "Fleet")}
    | {f"PinInsertion-{level}": 240 for level in ("State", "Standard", "Expert", "Fleet")}
    | {f"GPUInsertion-{level}": 360 for level in ("State", "Standard", "Expert", "Fleet")}
    | {f"CutZipTie-{level}": 450 for level in ("State", "Standard", "Expert", "Fleet")}
    | {f"TieZipTie-{level}": 450 for level in ("State", "Standard", "Expert", "Fleet")}
)


def idle(env: gym.Env) -> tuple[int, dict]:
    """Steps and last `info` of an episode in which nothing is done."""
    env.reset(seed=0)
    action, steps = np.zeros(env.action_space.shape, np.float32), 0
    while True:
        *_, terminated, truncated, info = env.step(action)
        steps += 1
        assert not terminated
        if truncated:
            return steps, info
        assert "reason" not in info


@pytest.mark.parametrize("env_id", enpire_envs.ENV_IDS)
def test_make_is_obeyed(env_id: str) -> None:
    default = DEFAULTS[env_id.removeprefix("ENPIRE/").removesuffix("-v0")]
    wider = ((default + 300, default + 300), (-1, default)) if default <= 600 else ()
    for asked, expected in ((None, default), (7, 7), *wider):
        env = make(env_id, max_episode_steps=asked)
        assert step_limit(env) == expected
        steps, info = idle(env)
        assert (steps, info["reason"], info["success"]) == (expected, "time_limit", False)
        with pytest.raises(gym.error.ResetNeeded):
            env.unwrapped.step(np.zeros(env.action_space.shape))
        env.close()


@given(own=st.none() | st.integers(1, 40), outer=st.lists(st.integers(1, 40), max_size=3))
@settings(max_examples=30)
def test_of_several_limits_the_smallest_holds(own: int | None, outer: list[int]) -> None:
    env: gym.Env = PushTEnv(max_episode_steps=own)
    for limit in outer:
        env = TimeLimit(OrderEnforcing(env), limit)
    asked = [*outer, *([own] if own else [])]
    assert step_limit(env) == min(asked, default=300)
    if asked:
        steps, info = idle(env)
        assert (steps, info["reason"]) == (min(asked), "time_limit")
    env.close()


def test_a_limit_around_one_environment_is_none_of_another() -> None:
    """Also where one environment is reset while another one's reset is under way."""
    inner = PushTEnv(max_episode_steps=9)

    class Nested(PushTEnv):
        def reset(self, **kwargs):
            inner.reset(seed=0)
            return super().reset(**kwargs)

    idle(TimeLimit(Nested(), 4))
    assert idle(inner)[0] == 9


@pytest.mark.parametrize("bad", [0, -3, 2.5, "many"])
def test_what_is_no_limit_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match=r"max_episode_steps is .* expected a whole number of at least 1"):
        PushTEnv(max_episode_steps=bad)


def test_an_environment_without_a_limit_says_how_to_give_it_one() -> None:
    with pytest.raises(ValueError, match="register it with max_episode_steps"):
        step_limit(gym.make("CartPole-v1").unwrapped)
    assert step_limit(gym.make("CartPole-v1")) == 500


@pytest.mark.parametrize("mode", [None, "sync", "async"])
def test_several_at_once(mode: str | None) -> None:
    for asked, expected in ((None, 300), (25, 25), (320, 320)):
        kwargs = {} if asked is None else {"max_episode_steps": asked}
        envs = gym.make_vec("ENPIRE/PushT-v0", num_envs=2, vectorization_mode=mode, **kwargs)
        envs.reset(seed=0)
        for step in range(1, expected + 1):
            *_, truncated, info = envs.step(np.zeros((2, 2), np.float32))
            assert truncated.all() == (step == expected)
        assert list(info["reason"]) == ["time_limit"] * 2
        envs.close()
