"""Push-T's script: its model of sliding, where it believes the T to be, and that it solves the task from what policies see."""

import itertools
import math

import enpire_envs  # noqa: F401
import gymnasium as gym
import numpy as np
import pytest
from enpire_envs.pusht.geometry import clearance as exact_clearance
from enpire_envs.pusht.reference import sliding
from enpire_envs.pusht.reference.scripted import Scripted, Sight
from enpire_envs.pusht.scene import STATION
from enpire_envs.reference import make_reference
from gymnasium import spaces

ID = "ENPIRE/PushT-v0"


def play(env: gym.Env, policy, seed: int, **options) -> tuple[list, list, dict]:
    """Observations, actions and the last info of an episode."""
    observation, info = env.reset(seed=seed, options=options or None)
    policy.reset(observation)
    seen, done, over = [observation], [], False
    while not over:
        action = policy.act(observation)
        assert env.action_space.contains(action.astype(np.float32))
        observation, _, terminated, truncated, info = env.step(action.astype(np.float32))
        seen.append(observation)
        done.append(action)
        over = terminated or truncated
    return seen, done, info


def made(env_id: str = ID, **options):
    env = gym.make(env_id, disable_env_checker=True, **options)
    return env, make_reference(env, "Scripted")


# -- the model ---------------------------------------------------------------------------------------------------------
def test_a_t_slides_as_the_model_says():
    env = gym.make(ID, disable_env_checker=True).unwrapped
    pose, room, errors = np.array([0.02, -0.01, 1.0]), STATION.tip_radius + 0.003, []
    policy = Scripted(env.observation_space, env.action_space)
    turn = np.array([[math.cos(1.0), math.sin(1.0)], [-math.sin(1.0), math.cos(1.0)]])
    for contact, normal in list(zip(policy._contacts, policy._normals, strict=True))[::3]:
        tip = pose[:2] + (contact + room * normal) @ turn
        if exact_clearance(tip, pose) <= STATION.tip_radius:
            continue  # in an inner corner
        env.reset(seed=0, options={"start": {"block": pose.tolist(), "tip": tip.tolist()}})
        step = -(normal @ turn) * 0.01
        for _ in range(6):
            env.step(step / 0.03)
        predicted = sliding.swept(pose[None], tip[None], 6 * step[None], STATION.tip_radius, 24)[0]
        errors.append(predicted - env.cell.read().block)
    assert len(errors) > 8
    assert np.abs(errors)[:, :2].max() < 0.008  # of 60 mm
    assert np.abs(errors)[:, 2].max() < 0.1  # of turns up to half a radian
    env.close()


def test_a_way_around_the_t_keeps_off_it_and_is_straight_where_it_can_be():
    rng, half = np.random.default_rng(0), np.array(STATION.half)
    for _ in range(30):
        pose = np.array([*rng.uniform(-0.08, 0.08, 2), rng.uniform(-math.pi, math.pi)])
        tip, to = rng.uniform(-half, half, (2, 2))
        if min(exact_clearance(p, pose) for p in (tip, to)) < 0.02:
            continue
        way = [tip, *sliding.way_around(pose, tip, to, 0.019, half)]
        assert np.array_equal(way[-1], to)
        line = [a + s * (b - a) for a, b in itertools.pairwise(way) for s in np.linspace(0, 1, 60)]
        assert min(exact_clearance(p, pose) for p in line) > 0.0175
        direct = [tip + s * (to - tip) for s in np.linspace(0, 1, 60)]
        if min(exact_clearance(p, pose) for p in direct) > 0.02:
            assert len(way) == 2


# -- where the T is ----------------------------------------------------------------------------------------------------
def state(pose, tip=(-0.2, -0.2), age=0.0, valid=1.0) -> np.ndarray:
    return np.array([*tip, *pose[:2], math.cos(pose[2]), math.sin(pose[2]), age, valid])


def test_one_wild_estimate_is_not_believed_and_three_are():
    there, wild = np.array([0.0, 0.0, 0.5]), np.array([0.06, 0.0, 0.5])
    sight = Sight(state(there), STATION.tip_radius)
    target = np.array([-0.2, -0.2])
    assert sight.update(state(there), target) == pytest.approx(there)
    assert sight.update(state(wild), target) == pytest.approx(there)
    for _ in range(8):
        believed = sight.update(state(wild), target)
    assert believed == pytest.approx(wild, abs=0.01)


def test_what_is_pushed_unseen_is_believed_to_move_until_one_must_look():
    tip, sight = np.array([-0.1, -0.034]), Sight(state((0, 0, 0), (-0.1, -0.034)), STATION.tip_radius)
    lost = []
    for _ in range(8):
        tip = tip + np.array([0.01, 0.0])
        believed = sight.update(state((0, 0, 0), tip, age=0.5, valid=0.0), tip)
        lost.append(sight.lost(0.1))
    assert believed[0] > 0.03
    assert lost == sorted(lost)
    assert not lost[0]
    assert lost[-1]
    sight.update(state(believed, tip), tip)
    assert not sight.lost(0.1)


# -- the script --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("env_id", "options", "episodes"),
    [
        (ID, {}, 8),
        (ID, {"obs_type": "environment_state_agent_pos", "starts": "ood"}, 3),
        (ID, {"control": "absolute"}, 3),
        (ID, {"arena": "gym-pusht"}, 3),
        (ID, {"criterion": "pose"}, 2),
        ("ENPIRE/PushTSimple-v0", {}, 2),
    ],
)
def test_it_solves_the_task_from_what_policies_see(env_id, options, episodes):
    env, policy = made(env_id, **options)
    ends = [play(env, policy, seed)[2] for seed in range(episodes)]
    assert [info["success"] for info in ends] == [True] * episodes
    env.close()


def test_it_solves_most_of_state_where_the_arm_hides_the_t_and_estimates_lie():
    env, policy = made("ENPIRE/PushT-State-v0")
    ends = [play(env, policy, seed, station=seed)[2] for seed in range(6)]
    assert sum(info["success"] for info in ends) >= 5
    env.close()


def test_it_does_the_same_whenever_it_sees_the_same():
    """Nothing but observations reaches it: neither chance nor the environment that they came from."""
    env, policy = made("ENPIRE/PushT-State-v0")
    seen, done, _ = play(env, policy, 3)
    again = Scripted(env.observation_space, env.action_space)
    again.reset(seen[0])
    assert np.array_equal([again.act(observation) for observation in seen[:-1]], done)
    env.close()


@pytest.mark.parametrize("options", [{}, {"control": "absolute"}])
def test_it_can_look_on_while_another_drives(options):
    """As a teacher does: it knows what was done in its place, and ends what another began."""
    env, policy = made(**options)
    rng, ends = np.random.default_rng(0), []
    for seed in range(3):
        observation, info = env.reset(seed=seed)
        policy.reset(observation)
        for k in range(300):
            action = policy.act(observation)
            if k < 30:
                action = np.clip(
                    rng.normal(action, 0.5 * env.action_space.high), env.action_space.low, env.action_space.high
                )
                policy.did(action)
            before = policy._target
            observation, _, terminated, truncated, info = env.step(action)
            assert env.unwrapped.cell.read().tip_target == pytest.approx(before, abs=1e-6)
            if terminated or truncated:
                break
        ends.append(info["success"])
    assert ends == [True] * 3
    env.close()


def test_what_shows_no_pose_is_refused():
    env = gym.make(ID, obs_type="pixels", disable_env_checker=True)
    with pytest.raises(ValueError, match="show no pose of the T; expected Push-T's state"):
        Scripted(env.observation_space, env.action_space)
    with pytest.raises(ValueError, match="expected Push-T's state"):
        Scripted(spaces.Box(-1, 1, (3,)), env.action_space)
    env.close()
