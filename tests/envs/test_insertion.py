"""Physics of the two insertion tasks, asserted as properties: force, jams, no tunnelling, latches, safety."""

import math

import gymnasium as gym
import numpy as np
import pytest

PIN, GPU = "ENPIRE/PinInsertion-v0", "ENPIRE/GPUInsertion-v0"


def pin_push(offset=(0.0, 0.0), tilt=(0.0, 0.0), lead=0.010, steps=300, **kwargs):
    """Press straight down with a bounded lead; returns the cell's last readings and the extremes seen."""
    env = gym.make(PIN, disable_env_checker=True, **kwargs).unwrapped
    env.reset(seed=0, options={"start": {"tip": [*offset, 0.0045], "tilt": list(tilt), "hole": [1, 1]}})
    force = depth = 0.0
    for _ in range(steps):
        r = env.cell.read()
        force, depth = max(force, r.force), max(depth, r.depth)
        env.cell.apply(np.array([0, 0, -0.009 if r.pose[2] - r.target[2] < lead else 0.0, 0, 0, 0]))
    env.close()
    return env.cell.read(), force, depth


def test_an_aligned_pin_goes_in():
    r, force, depth = pin_push()
    assert r.insertion > 0.0195
    assert depth < 1e-4
    assert force < 20


@pytest.mark.parametrize("offset", [(0.0006, 0), (0, -0.0008), (0.002, 0), (0.0014, 0.0014), (-0.003, 0.001)])
def test_a_pin_beside_the_hole_neither_enters_nor_tunnels(offset):
    for lead in (0.010, 0.035):  # 15 and 52 N
        r, _, depth = pin_push(offset, lead=lead)
        assert r.insertion < 0.0007  # at most the tip's step
        assert r.tip[2] > -0.0007
        assert depth < 2e-4


def test_a_tilted_pin_jams():
    r, _, depth = pin_push(tilt=(math.radians(3), 0))
    assert 0.001 < r.insertion < 0.015  # stuck on the way
    assert abs(r.wrench.torque[0]) > 0.1  # and it shows in the torque
    assert depth < 2e-4
    assert pin_push(tilt=(math.radians(1), 0))[0].insertion > 0.018  # one degree aligns itself


def test_the_gap_decides_how_forgiving_a_hole_is():
    deep = [pin_push(tilt=(math.radians(3), 0), clearance=c)[0].insertion for c in (5e-5, 2e-4)]
    assert deep[0] < deep[1]


@pytest.mark.parametrize("seed", range(8))
def test_slamming_into_the_plate_is_a_violation_every_time(seed):
    env = gym.make(PIN)
    _, info = env.reset(seed=seed)
    if math.hypot(*info["start"]["tip"][:2]) < 0.0008:
        start = {**info["start"], "tip": [0.0015, 0.0, 0.0045]}
        env.reset(seed=seed, options={"start": start})
    terminated = truncated = False
    while not (terminated or truncated):
        _, reward, terminated, truncated, info = env.step(np.array([0, 0, -1.0]))
    assert terminated
    assert reward == 0
    assert info["violations"] == ["force_limit"]
    assert info["reason"] == "force_limit"
    env.close()


def test_leaving_the_workspace_is_a_violation():
    env = gym.make(PIN)
    env.reset(seed=0)
    terminated = False
    for _ in range(80):
        _, _, terminated, _, info = env.step(np.array([1.0, 0, 0]))
        if terminated:
            break
    assert terminated
    assert info["violations"] == ["out_of_workspace"]
    assert (info["stage"], info["score"]) == ("start", 0.0)  # how far it had come, for nothing
    env.close()


def test_a_pin_that_is_only_passing_18_mm_or_forced_is_judged_by_what_is_left_after_letting_go():
    """Deep enough and then pulled: the verdict is about the held pose."""
    env = gym.make(PIN, disable_env_checker=True).unwrapped
    env.reset(seed=0, options={"start": {"tip": [0, 0, 0.0045], "tilt": [0, 0], "hole": [0, 2]}})
    info = {}
    for _ in range(200):
        _, _, terminated, _, info = env.step(np.array([0, 0, -1.0 if env.cell.read().insertion < 0.02 else 0]))
        if terminated:
            break
    assert info["success"]
    assert env.cell.read().held[0] >= 0.018
    assert env.cell.read().held[1] < 10
    env.close()


def test_the_hole_estimate_is_as_wrong_as_promised():
    errors = {}
    for sensing in ("noisy", "ideal"):
        env = gym.make(PIN, sensing=sensing, disable_env_checker=True)
        found = []
        for seed in range(150):
            observation, info = env.reset(seed=seed)
            found.append(np.linalg.norm(observation[10:12] + np.array(info["start"]["tip"][:2])))
        errors[sensing] = np.array(found)
        env.close()
    assert errors["ideal"].max() < 1e-6
    assert errors["noisy"].max() <= 0.002 + 1e-6
    assert 0.0011 < errors["noisy"].mean() < 0.0016  # uniform in a disc: two thirds of the radius


def card_env(edge=(0, 0, 0.002), turn=(0, 0, 0), seed=0):
    env = gym.make(GPU, disable_env_checker=True).unwrapped
    env.reset(seed=seed, options={"start": {"edge": list(edge), "turn": list(turn)}})
    return env


def push_card(env, lead=0.0145, steps=300):
    """Push down; returns (depth of end a [m], upward force [N]) at each control step."""
    profile = []
    for _ in range(steps):
        r = env.cell.read()
        profile.append((-r.ends[0, 2], r.wrench.force[2]))
        env.cell.apply(np.array([0, 0, -0.012 if r.pose[2] - r.target[2] < lead else 0.0, 0, 0, 0]))
    return np.array(profile)


def test_force_profile_of_insertion_and_pull_out():
    env = card_env()
    profile = push_card(env)
    depth, force = profile.T
    on_the_way = force[depth < 0.0088]
    assert 28 <= on_the_way.max() <= 42  # the latch
    assert 14 <= force[(depth > 0.002) & (depth < 0.0045)].max() <= 26  # the rails alone
    r = env.cell.read()
    assert r.seated >= 0.0087
    assert r.latched
    assert r.depth < 2e-4
    pull = []
    for _ in range(200):
        env.cell.apply(np.array([0, 0, 0.006, 0, 0, 0]))
        r = env.cell.read()
        pull.append(-r.wrench.force[2])
        if r.ends[0, 2] > 0:
            break
    assert r.ends[0, 2] > 0  # it does come out
    assert 20 <= max(pull) <= 60
    env.close()


def test_a_soft_push_stops_at_the_rails_and_a_firmer_one_before_the_latch():
    for lead, low, high in ((0.004, 0.001, 0.0045), (0.0085, 0.004, 0.0086)):  # 10 and 21 N
        env = card_env()
        push_card(env, lead)
        r = env.cell.read()
        assert low < r.seated < high
        assert not r.latched
        assert not env.task.candidate(r)
        env.close()


def test_a_half_seated_card_is_no_success():
    """One end down and latched, the other held up: the shallower end counts."""
    env = card_env()
    push_card(env)
    for _ in range(60):
        env.cell.apply(np.array([0, 0, 0.003, 0, math.radians(3), 0]))
    r = env.cell.read()
    ends = -r.ends[:, 2]
    assert ends.max() - ends.min() > 0.0005
    assert r.seated == pytest.approx(ends.min())
    if r.seated < 0.0087:
        assert not env.task.candidate(r)
    env.close()


@pytest.mark.parametrize("edge", [(0, 0.003, 0.002), (0, -0.004, 0.002), (0.003, 0, 0.002)])
def test_a_card_beside_its_slot_does_not_go_in(edge):
    env = card_env(edge)
    push_card(env, lead=0.02)
    r = env.cell.read()
    assert r.seated < 0.001
    assert r.depth < 3e-4
    env.close()


def test_a_latch_that_does_not_hold_is_found_by_the_tug():
    env = card_env()
    push_card(env)
    assert env.task.candidate(env.cell.read())
    env.cell.model.jnt_stiffness[env.cell.model.joint("latch").id] = 0  # a broken spring
    for name in ("rail_left", "rail_right"):
        env.cell.model.jnt_stiffness[env.cell.model.joint(name).id] = 0
    verdict = env.task.verify(env.cell)
    assert not verdict.success
    assert verdict.reason in ("latch_let_go", "pulled_out")
    env.close()


def test_too_much_force_on_a_card_is_a_violation():
    env = gym.make(GPU)
    env.reset(seed=0, options={"start": {"edge": [0, 0.003, 0.002], "turn": [0, 0, 0]}})
    terminated = truncated = False
    while not (terminated or truncated):
        _, reward, terminated, truncated, info = env.step(np.array([0, 0, -1.0, 0, 0, 0]))
    assert terminated
    assert reward == 0
    assert info["violations"] == ["force_limit"]
    env.close()


@pytest.mark.parametrize("env_id", [PIN, GPU])
@pytest.mark.parametrize("start", [{}, {"tip": [0]}, {"tip": [0, 0, -1], "tilt": [0, 0], "hole": [0, 0]},
                                   {"edge": [0, 0, math.nan], "turn": [0, 0, 0]}, {"edge": [0, 0, 1], "turn": [0, 0, 0]}])  # fmt: skip
def test_bad_starts_are_refused(env_id, start):
    env = gym.make(env_id, disable_env_checker=True)
    with pytest.raises(ValueError, match="bad start"):
        env.reset(options={"start": start or {"nothing": 1}})
    env.close()
