"""Physics of cutting: the strap parts where the blades are and nowhere else, and the verdict is about both pieces."""

import gymnasium as gym
import numpy as np
import pytest
from enpire_envs.cut_zip_tie.levels import LEVELS
from enpire_envs.cut_zip_tie.parts import KERF
from enpire_envs.cut_zip_tie.scene import PIECES, TOOTH
from enpire_envs.cut_zip_tie.task import STEP

ID = "ENPIRE/CutZipTie-v0"
TAIL = sum(PIECES) + LEVELS["intro"].tip[0]
LEVEL = {"pose": [0.007, 0.06, -0.0018, 0, 0, 0], "tail": [0.0, 0.0]}


def make(at=LEVEL, **kwargs):
    env = gym.make(ID, disable_env_checker=True, **kwargs).unwrapped
    env.reset(seed=0, options={"start": at})
    return env


def go(env, to, steps=400):
    """Move the hinge of the blades to a point [m] at full speed; returns the last step's result."""
    result = None
    for _ in range(steps):
        off = np.array(to) - env.cell.read().pivot
        if np.abs(off).max() < 0.0003 or (result is not None and result[2]):
            break
        result = env.step(np.concatenate([np.clip(0.4 * off / STEP, -1, 1), np.zeros(3), [-1.0]]))
    return result


def snip(env, steps=25):
    """Close the blades and open them again; returns the last step's result."""
    for jaw in (1.0, -1.0):
        for _ in range(steps):
            result = env.step(np.array([0, 0, 0, 0, 0, 0, jaw]))
            if result[2]:
                return result
    return result


def cut_at(x, **kwargs):
    env = make(**kwargs)
    go(env, (x, 0.03, -0.0018))
    go(env, (x, 0.009, -0.0018))
    return env, snip(env)


@pytest.mark.parametrize("x", [0.004, 0.007, 0.0105])
def test_the_tail_parts_where_the_blades_are(x):
    env, (_, reward, terminated, _, info) = cut_at(x)
    r = env.cell.read()
    assert r.stub == pytest.approx(x - KERF / 2, abs=0.0003)
    loose = np.linalg.norm(r.pieces[-1, 1] - r.pieces[1, 0])
    assert r.stub + loose == pytest.approx(TAIL - KERF, abs=0.001)  # nothing appears or vanishes but the kerf
    assert (terminated, reward, info["success"], info["stage"]) == (True, 1.0, True, "severed")
    assert r.gap > 0.005
    assert r.force < 40
    env.close()


def test_blades_that_press_too_little_cut_nothing():
    env = make()
    env.cell.model.actuator_forcerange[6] = [-0.12, 0.12]  # 17 N at 7 mm
    go(env, (0.007, 0.009, -0.0018))
    snip(env)
    r = env.cell.read()
    assert not r.severed
    assert r.stub == pytest.approx(TAIL, abs=0.0005)
    env.close()


def test_one_blade_cuts_nothing():
    """Closed blades pushed against the tail from above."""
    env = make()
    for _ in range(20):
        env.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))
    for _ in range(300):
        env.cell.apply(np.array([0, 0, 0.003, 0, 0, 0, 1.0]))
        env.cell.apply(np.array([0, -0.006, 0, 0, 0, 0, 1.0]))
    assert not env.cell.read().severed
    env.close()


def test_cutting_the_loop_is_a_failure_of_its_own():
    env = make()
    for point in ((0.007, 0.03, 0.03), (-0.018, 0.03, 0.03), (-0.018, 0.03, 0.0112)):
        go(env, point)
    go(env, (-0.018, 0.009, 0.0112))
    _, reward, terminated, _, info = snip(env)
    assert terminated
    assert (reward, info["success"], info["reason"]) == (0.0, False, "loop_cut")
    env.close()


def test_a_stub_too_short_slips_out_of_the_head():
    env, (_, _, terminated, _, info) = cut_at(0.0015)
    assert terminated
    assert info["reason"] == "cut_too_close"
    for _ in range(30):
        env.cell.apply(np.zeros(7))
    assert env.cell.read().pieces[0, 0, 0] < -0.01  # the loop's tension pulls it through
    assert env.cell.read().stub < TOOTH
    env.close()


def test_a_tail_cut_too_long_may_be_cut_again():
    env, (_, _, terminated, _, _) = cut_at(0.016)
    assert not terminated
    assert env.cell.read().severed
    assert not env.task.candidate(env.cell.read())
    go(env, (0.016, 0.03, -0.0018))
    go(env, (0.006, 0.03, -0.0018))
    go(env, (0.006, 0.009, -0.0018))
    _, _, terminated, _, info = snip(env)
    assert terminated
    assert info["success"]
    assert env.cell.read().stub == pytest.approx(0.0055, abs=0.0005)
    env.close()


def test_nothing_is_done_before_the_blades_are_open_again():
    env = make()
    go(env, (0.007, 0.009, -0.0018))
    for _ in range(25):
        _, _, terminated, _, info = env.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))
    assert not terminated
    assert env.cell.read().severed
    assert info["stage"] == "closed"
    assert info["gap"] > 0.005
    env.close()


def test_the_tug_finds_a_head_that_does_not_hold():
    env = make()
    go(env, (0.007, 0.009, -0.0018))
    snip(env, steps=19)
    model = env.cell.model
    model.jnt_range[model.joint("through").id, 0] = -0.03  # a broken tooth
    verdict = env.task.verify(env.cell)
    assert (verdict.success, verdict.reason) == (False, "unlocked")
    env.close()


def lying(pose=(0.0, 0.072, 0.01, 0, 0, 0), yaw=0.0):
    return {"pose": list(pose), "tail": [0, 0], "cutter": [0.0, 0.072, yaw]}


@pytest.mark.parametrize(
    ("aside", "yaw", "held"), [(0, 0, True), (0.003, 0.1, True), (0.006, 0, False), (0, 0.3, False)]
)
def test_the_cutter_is_grasped_where_the_fingers_are(aside, yaw, held):
    env = make(lying((aside, 0.072, 0.0, 0, 0, 0), yaw), start="table")
    rest = env.cell.read().pivot[2]
    while env.cell.read().pose[2] > rest + 0.0005:
        env.step(np.array([0, 0, -1.0, 0, 0, 0, -1.0]))
    for _ in range(6):
        env.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))
    assert env.cell.read().held == held
    for _ in range(40):
        _, _, _, _, info = env.step(np.array([0, 0, 1.0, 0, 0, 0, -1.0]))
    assert (env.cell.read().pivot[2] > rest + 0.012) == held
    assert (info["stage"] == "grasped") == held
    env.close()


def test_slamming_into_the_bench_is_a_violation():
    env = make({**LEVEL, "pose": [0.03, 0.08, -0.0018, 0, 0, 0]})
    terminated = False
    for _ in range(300):
        _, reward, terminated, _, info = env.step(np.array([0, 0, -1.0, 0, 0, 0, 0]))
        if terminated:
            break
    assert terminated
    assert (reward, info["violations"]) == (0.0, ["force_limit"])
    env.close()


def test_cuts_do_not_leak_into_the_next_episode():
    env, _ = cut_at(0.007)
    fresh = gym.make(ID, disable_env_checker=True).unwrapped
    a, b = env.reset(seed=5)[0], fresh.reset(seed=5)[0]
    assert np.array_equal(a, b)
    assert env.cell.read().stub == pytest.approx(TAIL, abs=1e-6)
    for _ in range(40):
        a, b = env.step(np.full(7, 0.5))[0], fresh.step(np.full(7, 0.5))[0]
    assert np.array_equal(a, b)
    env.close()
    fresh.close()


@pytest.mark.parametrize("start", [{}, {"pose": [0] * 6}, {**LEVEL, "pose": [0.0] * 6}, {**LEVEL, "tail": [0, np.nan]}])
def test_bad_starts_are_refused(start):
    env = gym.make(ID, disable_env_checker=True)
    with pytest.raises(ValueError, match="bad start"):
        env.reset(options={"start": start or {"nothing": 1}})
    env.close()
