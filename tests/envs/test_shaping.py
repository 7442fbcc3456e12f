"""The dense reward pays for finishing: not for stopping part-way, going to and fro, nor failing."""

import copy
import itertools
from collections.abc import Iterable

import gymnasium as gym
import numpy as np
import pytest
from enpire_envs.env import CellEnv
from enpire_envs.reference import make_reference
from enpire_envs.shaping import PotentialShaping
from hypothesis import given
from hypothesis import strategies as st
from making import make

GAMMA = 0.99
potentials = st.floats(0, 1)


# -- by arithmetic: any paths whatever ---------------------------------------------------------------------------------
def earned(shaping: PotentialShaping, path: list[float], limit: int, end: str) -> np.ndarray:
    """Rewards of an episode along `path`, which ends in "success", "failure" or at the time "limit"."""
    shaping.begin(path[0], limit)
    rewards = [shaping.step(potential) for potential in path[1:-1]]
    rewards.append(shaping.step(path[-1] if end == "limit" else 0.0) + (end == "success"))
    return np.array(rewards)


def returns(rewards: np.ndarray, gamma: float) -> tuple[float, float]:
    """Discounted and undiscounted."""
    return float(gamma ** np.arange(len(rewards)) @ rewards), float(rewards.sum())


@st.composite
def two_episodes(draw: st.DrawFn) -> tuple[int, list[float], list[float]]:
    """A time limit, the path of an episode that succeeds within it, and that of one that does not, from the same start."""
    limit = draw(st.integers(1, 40))
    paths = [draw(st.lists(potentials, min_size=n, max_size=n)) for n in (draw(st.integers(1, limit)), limit)]
    start = draw(potentials)
    return limit, [start, *paths[0]], [start, *paths[1]]


@given(two_episodes(), st.floats(0.5, 1), st.sampled_from(["failure", "limit"]), st.integers(1, 40))
def test_success_returns_more_than_anything_else(episodes, gamma, end, failed_at):
    limit, finishing, other = episodes
    shaping = PotentialShaping(gamma)
    if end == "failure":
        other = other[: failed_at + 1]
    good, bad = (
        returns(earned(shaping, path, limit, how), gamma) for path, how in ((finishing, "success"), (other, end))
    )
    assert good[0] > bad[0]
    assert good[1] >= bad[1] + shaping.weight - 1e-9


@pytest.mark.parametrize(("gamma", "limit"), [(0.9, 60), (0.99, 600), (0.999, 3600), (1.0, 600)])
def test_the_slowest_success_returns_more_than_the_cheapest_failure(gamma, limit):
    """The worst case: a success that costs as much as can be, in its last step, beside a stall that costs nothing and ends near the goal."""
    shaping = PotentialShaping(gamma)
    slow = returns(earned(shaping, [0.0, *[1.0] * limit], limit, "success"), gamma)
    cheap = returns(earned(shaping, [*[0.0] * limit, 1.0], limit, "limit"), gamma)
    assert slow[0] > cheap[0]
    assert slow[1] > cheap[1]


@given(st.lists(potentials, min_size=1, max_size=20), st.floats(0.5, 1), st.integers(20, 600))
def test_a_loop_earns_nothing(loop, gamma, limit):
    shaping = PotentialShaping(gamma)
    shaping.begin(loop[0], limit)
    assert sum(shaping.step(potential) for potential in [*loop[1:], loop[0]]) <= 1e-12


@given(two_episodes(), st.floats(0.5, 1))
def test_the_discounted_return_of_an_episode_is_that_without_shaping_less_the_potential_of_its_start(episodes, gamma):
    limit, path, _ = episodes
    shaping = PotentialShaping(gamma)
    discounted, _ = returns(earned(shaping, path, limit, "success"), gamma)
    assert discounted == pytest.approx(gamma ** (len(path) - 2) - shaping.weight * path[0], abs=1e-12)


@pytest.mark.parametrize("gamma", [0, -0.1, 1.01, float("nan"), True, "0.99", None])
def test_a_gamma_that_is_no_discount_is_refused(gamma):
    with pytest.raises(ValueError, match="expected a discount per control step above 0 and at most 1"):
        gym.make("ENPIRE/PushT-v0", gamma=gamma)


# -- in the environments: the reference beside every other way to spend an episode --------------------------------------
#: For each task, a start and an action that breaks a rule of safety if it is repeated from there.
UNSAFE = {
    "PushT": ({"block": [0.2, 0.0, 0.0], "tip": [0.05, 0.0]}, [1, 0]),
    "PinInsertion": ({"tip": [0.0015, 0, 0.0045], "tilt": [0, 0], "hole": [1, 1]}, [0, 0, -1]),
    "PinBoard": (None, [0, 0, -1, 0]),
    "GPUInsertion": ({"edge": [0, 0.003, 0.002], "turn": [0, 0, 0]}, [0, 0, -1, 0, 0, 0]),
    "TieZipTie": (None, [0, 0, 0, 0, 0, 0, -1]),
    "ZipTieFull": (None, [0, 0, 0, 0, 0, 0, -1]),
    "CutZipTie": ({"pose": [0.03, 0.08, -0.0018, 0, 0, 0], "tail": [0, 0]}, [0, 0, -1, 0, 0, 0, 0]),
}


def spend(env: CellEnv, actions: Iterable[np.ndarray]) -> tuple[list[float], dict]:
    """Rewards until the episode or the actions end, and the last info."""
    rewards, info = [], {}
    for action in actions:
        _, reward, terminated, truncated, info = env.step(action)
        rewards.append(reward)
        if terminated or truncated:
            break
    return rewards, info


@pytest.fixture(scope="module", autouse=True)
def blind():
    """Rewards need no pictures, which take time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CellEnv, "_pixels", lambda env: None)
        yield


@pytest.fixture(scope="module", params=UNSAFE)
def finished(request):
    """The reference's rewards, and (rewards so far, a copy of the environment) at the start and at every new stage but the last."""
    made = make(f"ENPIRE/{request.param}-v0", reward_type="dense", gamma=GAMMA)
    env, policy = made.unwrapped, make_reference(made)
    observation, info = env.reset(seed=3)
    policy.reset(observation)
    rewards, stopped, over = [], [([], copy.deepcopy(env))], False
    while not over:
        stage = info["stage"]
        action = np.clip(policy.act(observation), env.action_space.low, env.action_space.high)
        observation, reward, terminated, truncated, info = env.step(action)
        rewards.append(reward)
        over = terminated or truncated
        if info["stage"] != stage and not over:
            stopped.append((list(rewards), copy.deepcopy(env)))
    assert info["success"]
    yield rewards, stopped
    for _, one in [([], env), *stopped]:
        one.close()


def most(stopped: list) -> list:
    """Where to stop: all stages of most tasks, the first and the last of one with many."""
    return stopped[1:] if len(stopped) < 6 else stopped[-1:]


def test_finishing_returns_more_than_stopping_at_any_stage(finished):
    rewards, stopped = finished
    best, stalls = returns(np.array(rewards), GAMMA), 0
    for before, original in most(stopped):
        env = copy.deepcopy(original)
        stopping, info = spend(env, itertools.repeat(np.zeros(env.action_space.shape)))
        if not info["success"]:  # the little that was left may happen by itself
            others = returns(np.array(before + stopping), GAMMA)
            assert best[0] > others[0]
            assert best[1] > others[1] + env._shaping.weight
            stalls += 1
    assert stalls


def test_finishing_returns_more_than_going_to_and_fro_which_earns_nothing(finished):
    rewards, stopped = finished
    before, original = stopped[1]
    env = copy.deepcopy(original)
    phi = env._shaping._phi
    there = 0.3 * env.action_space.high * np.eye(len(env.action_space.high))[0]
    dithering, info = spend(env, itertools.cycle([there, -there]))
    assert not info["success"]
    assert sum(dithering) <= env._shaping._phi - phi + 1e-12  # all of it is how far the job has come meanwhile
    best, others = (returns(np.array(r), GAMMA) for r in (rewards, before + dithering))
    assert best[0] > others[0]
    assert best[1] > others[1] + env._shaping.weight


@pytest.mark.parametrize("task", UNSAFE)
def test_a_violation_pays_back_all_that_was_earned(task):
    env = make(f"ENPIRE/{task}-v0", reward_type="dense", gamma=GAMMA).unwrapped
    start, action = UNSAFE[task]
    env.reset(seed=0, options={"start": start} if start else None)
    phi, weight, limit = env._shaping._phi, env._shaping.weight, env.task.max_steps
    rewards, info = spend(env, itertools.repeat(np.array(action, float)))
    assert info["violations"]
    discounted, undiscounted = returns(np.array(rewards), GAMMA)
    assert discounted == pytest.approx(-phi, abs=1e-12)
    assert undiscounted < 1 - phi - (1 - GAMMA) * weight * (limit - 1)  # the least that a success returns from there
    env.close()


def test_a_success_earns_one_beside_the_shaping_which_telescopes(finished):
    rewards, stopped = finished
    discounted, _ = returns(np.array(rewards), GAMMA)
    assert discounted == pytest.approx(GAMMA ** (len(rewards) - 1) - stopped[0][1]._shaping._phi)
