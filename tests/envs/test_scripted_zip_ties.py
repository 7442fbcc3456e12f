"""The unprivileged scripts of tying and cutting: they know their spaces, and solve `intro` and `state` by light barrier and by touch."""

import inspect

import gymnasium as gym
import numpy as np
import pytest
from enpire_envs.cut_zip_tie.reference import Scripted as Cutting
from enpire_envs.reference import make_reference
from enpire_envs.scripting import Average, Drive, Load
from enpire_envs.tie_zip_tie.reference import Scripted as Tying

STARTS = range(31_000, 31_006)  # never used for tuning


@pytest.mark.parametrize(
    ("env_id", "least"),
    [("ENPIRE/TieZipTie-v0", 5), ("ENPIRE/CutZipTie-v0", 5), ("ENPIRE/TieZipTie-State-v0", 4), ("ENPIRE/CutZipTie-State-v0", 4)],
)  # fmt: skip
def test_it_solves_what_it_is_for_from_observations(env_id, least):
    """A slice; 200 starts are in the catalogue."""
    env = gym.make(env_id, disable_env_checker=True)
    policy, solved = make_reference(env, "Scripted"), 0
    for seed in STARTS:
        observation, info = env.reset(seed=seed, options={"station": seed} if "State" in env_id else {})
        policy.reset(observation)
        over = False
        while not over:
            action = policy.act(observation)
            assert np.abs(action).max() <= 1.0
            observation, _, terminated, truncated, info = env.step(action)
            over = terminated or truncated
        solved += info["success"]
    assert solved >= least
    env.close()


@pytest.mark.parametrize("script", [Tying, Cutting])
def test_a_script_is_made_from_spaces_alone(script):
    assert list(inspect.signature(script).parameters) == ["observation_space", "action_space"]


@pytest.mark.parametrize("env_id", ["ENPIRE/TieZipTie-Standard-v0", "ENPIRE/CutZipTie-Standard-v0"])
def test_pictures_are_not_for_it(env_id):
    env = gym.make(env_id, disable_env_checker=True)
    with pytest.raises(ValueError, match="obs_type='state'"):
        make_reference(env, "Scripted")
    env.close()


@pytest.mark.parametrize("env_id", ["ENPIRE/TieZipTie-State-v0", "ENPIRE/CutZipTie-State-v0"])
def test_what_a_script_remembers_ends_with_the_episode(env_id):
    env = gym.make(env_id, disable_env_checker=True)
    used, fresh = make_reference(env, "Scripted"), make_reference(env, "Scripted")
    observation, _ = env.reset(seed=3)
    used.reset(observation)
    for _ in range(90):
        observation, *_ = env.step(used.act(observation))
    observation, _ = env.reset(seed=4)
    for policy in (used, fresh):
        policy.reset(observation)
    for _ in range(60):
        action = fresh.act(observation)
        np.testing.assert_array_equal(used.act(observation), action)
        observation, *_ = env.step(action)
    env.close()


@pytest.mark.parametrize("env_id", ["ENPIRE/TieZipTie-v0", "ENPIRE/CutZipTie-v0"])
def test_it_goes_on_from_where_a_learner_has_led(env_id):
    """Half of what a script said is executed, and it is told; then it drives."""
    env = gym.make(env_id, disable_env_checker=True)
    policy = make_reference(env, "Scripted")
    observation, info = env.reset(seed=31_100)
    policy.reset(observation)
    over, steps = False, 0
    while not over:
        action = policy.act(observation)
        if steps < 40:
            action = action * np.array([0.5] * 6 + [1.0])
            policy.did(action)
        observation, _, terminated, truncated, info = env.step(action)
        over, steps = terminated or truncated, steps + 1
    assert info["success"]
    env.close()


# -- what they share ---------------------------------------------------------------------------------------------------
def test_an_average_is_the_mean_and_an_outlier_moves_it_little():
    average, rows = Average(2, most=0.5), np.array([[1.0, 2.0], [1.2, 2.2], [0.8, 1.8], [1.0, 2.0]])
    for row in rows:
        average.add(row)
    assert average.value == pytest.approx([1.0, 2.0])
    average.add(np.array([11.0, -8.0]))
    assert average.value == pytest.approx([1.1, 1.9])


def test_a_drive_counts_what_is_under_way_and_what_was_done_instead():
    drive = Drive(np.array([0.1] * 3 + [0.2] * 3), gain=0.5, late=2)
    pose, goal = np.zeros(6), np.array([1.0, 0.5, 0, 0, 0, 0.1])
    action = drive.towards(goal, pose)
    assert action == pytest.approx([1, 0.5, 0, 0, 0, 0.25])  # straight, at full speed
    assert drive.expected(pose) == pytest.approx([0.1, 0.05, 0, 0, 0, 0.05])
    drive.did(np.array([0, -2.0, 0, 0, 0, 0]))
    assert drive.expected(pose) == pytest.approx([0, -0.1, 0, 0, 0, 0])
    assert drive.commanded == pytest.approx([0, -0.1, 0, 0, 0, 0])
    for _ in range(2):
        drive.towards(goal, pose)
        drive.did(np.zeros(6))
    assert drive.expected(pose) == pytest.approx(pose)  # what arrived is forgotten
    slow = Drive(np.array([0.1] * 6), gain=0.5, late=0).towards(goal, pose, speed=0.4)
    assert np.abs(slow[:3]).max() == pytest.approx(0.4)


def test_a_load_is_what_differs_from_what_is_usual():
    load = Load(quick=0.5, slow=0.01)
    for _ in range(20):
        load.feel(np.array([3.0, -1.0, 0.0]))  # a bias
    assert load.rise == pytest.approx([0, 0, 0])
    usual = load.usual.copy()
    for _ in range(10):
        load.feel(np.array([5.0, -1.0, 0.0]))
    assert load.rise[0] == pytest.approx(2.0, abs=0.25)
    assert load.over(usual)[0] == pytest.approx(2.0, abs=0.01)
    assert load.over(usual)[1:] == pytest.approx([0, 0])
