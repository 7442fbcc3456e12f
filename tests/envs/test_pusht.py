"""Push-T through its public door: the contract, the physics, the verdict."""

import itertools
import math

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from enpire_envs.pusht.geometry import clearance, coverage
from enpire_envs.reference import make_reference

ID = "ENPIRE/PushT-v0"
INFO = {"success", "is_success", "score", "stage", "violations", "time", "cell"}


def episode(env, act, seed, **options):
    observation, info = env.reset(seed=seed, options=options or None)
    trace, over = [(observation, 0.0, info)], False
    while not over:
        observation, reward, terminated, truncated, info = env.step(act(observation))
        trace.append((observation, reward, info))
        over = terminated or truncated
    return trace


def test_info_keys_on_every_step(env):
    rng = np.random.default_rng(0)
    trace = episode(env, lambda _: rng.uniform(-1, 1, 2), seed=5)
    for _, _, info in trace:
        assert info.keys() >= INFO
    assert trace[0][2].keys() >= {"reset_attempts", "reset_verified", "start"}
    assert trace[0][2]["reset_verified"] is True
    assert trace[-1][2]["reason"] in ("time_limit", "block_out_of_workspace")
    assert all(a[2]["score"] <= b[2]["score"] or b[2]["violations"] for a, b in itertools.pairwise(trace))


def test_same_seed_same_episode_bit_for_bit(env):
    def run():
        rng = np.random.default_rng(1)
        return np.array([o for o, _, _ in episode(env, lambda _: rng.uniform(-1, 1, 2), seed=42)])

    assert np.array_equal(run(), run())


def test_attempts_share_the_start_and_differ_in_sensing(env):
    first, info = env.reset(seed=9)
    again, info2 = env.reset(seed=9, options={"attempt": 1})
    assert info["start"] == info2["start"]
    assert not np.array_equal(first, again)
    assert np.array_equal(first, env.reset(seed=9, options={"attempt": 0})[0])


def test_starts_are_apart_inside_and_unsolved():
    for starts in ("id", "ood"):
        for env_id in (ID, "ENPIRE/PushTSimple-v0"):
            env = gym.make(env_id, starts=starts)
            for seed in range(60):
                _, info = env.reset(seed=seed)
                block, tip = info["start"]["block"], info["start"]["tip"]
                assert clearance(tip, block) > 0.015
                assert abs(block[0]) < 0.30
                assert abs(block[1]) < 0.235
                assert coverage(block, (0, 0, 0)) < 0.95
                if "Simple" in env_id:
                    assert abs(math.remainder(block[2] - math.pi, 2 * math.pi)) <= math.radians(
                        15 if starts == "id" else 45
                    )
            env.close()


def test_an_exact_start_is_honoured_and_a_bad_one_refused(env):
    start = {"block": [0.1, -0.05, 1.0], "tip": [-0.2, 0.1]}
    observation, info = env.reset(seed=0, options={"start": start})
    assert info["start"] == start
    assert observation[:2] == pytest.approx([-0.2, 0.1], abs=1e-6)
    assert observation[2:4] == pytest.approx([0.1, -0.05], abs=0.006)
    for bad in ({"block": [0, 0]}, {"block": [0, 0, 0], "tip": [0, 0]}, {"block": [9, 0, 0], "tip": [0, 0]},
                {"block": [math.nan, 0, 0], "tip": [0.2, 0.2]}, "here"):  # fmt: skip
        with pytest.raises(ValueError, match="bad start"):
            env.reset(options={"start": bad})
    with pytest.raises(ValueError, match="unknown reset options"):
        env.reset(options={"strat": start})


def test_bad_actions_are_refused_and_large_ones_clipped(env):
    env.reset(seed=0)
    with pytest.raises(ValueError, match="not finite"):
        env.step(np.array([np.nan, 0]))
    with pytest.raises(ValueError, match="shape"):
        env.step(np.zeros(3))
    before = env.step(np.zeros(2))[0][:2]
    after = env.step(np.array([1e9, -1e9]))[0][:2]
    assert np.abs(after - before).max() < 0.035


@pytest.mark.parametrize(
    "kwargs", [{"obs_type": "lidar"}, {"sensing": "great"}, {"arena": "moon"}, {"criterion": "luck"}]
)
def test_unknown_arguments_are_named(kwargs):
    with pytest.raises(ValueError, match="choose one of"):
        gym.make(ID, **kwargs)


def test_fingertip_moves_as_commanded_and_no_faster(env):
    env.reset(seed=0, options={"start": {"block": [0.15, 0.1, 0], "tip": [-0.2, -0.1]}})
    xs = [env.step(np.array([1.0, 0.0]))[0][0] for _ in range(5)]
    assert np.diff(xs) == pytest.approx(0.03, abs=0.003)  # 0.3 m/s at 10 Hz
    for _ in range(30):
        observation = env.step(np.array([-1.0, 0.0]))[0]
    assert observation[0] >= -0.30 - 0.002  # stays in the workspace


def test_the_friction_limit_is_round(env):
    """The least force that moves the T is the same in every direction."""
    cell = env.unwrapped.cell
    limits = []
    for angle in np.radians([0, 22.5, 45, 67.5, 90, 160, 225]):
        low, high = 0.0, 3.0
        for _ in range(12):
            force = (low + high) / 2
            env.reset(seed=3, options={"start": {"block": [0, 0, 0.3], "tip": [0.28, 0.2]}})
            origin = cell.data.qpos[:2].copy()
            cell.data.qfrc_applied[:2] = force * math.cos(angle), force * math.sin(angle)
            mujoco.mj_step(cell.model, cell.data, 60)
            moved = np.linalg.norm(cell.data.qpos[:2] - origin) > 0.01
            cell.data.qfrc_applied[:] = 0
            low, high = (low, force) if moved else (force, high)
        limits.append(high)
    assert max(limits) / min(limits) < 1.05
    assert 0.9 * 0.4 * 0.2 * 9.81 < np.mean(limits) < 1.25 * 0.4 * 0.2 * 9.81


def test_physics_stays_sane_under_rough_pushing():
    env = gym.make(ID, disable_env_checker=True)
    rng = np.random.default_rng(0)
    cell = env.unwrapped.cell
    deepest, highest = 0.0, 0.0
    for seed in range(12):
        observation, _ = env.reset(seed=seed)
        over = False
        while not over:
            toward = np.clip((observation[2:4] - observation[:2]) / 0.03 + rng.normal(0, 1, 2), -1, 1)
            observation, _, terminated, truncated, info = env.step(toward)
            over = terminated or truncated
            contacts = [c.dist for c in cell.data.contact if c.geom1 >= 1 and c.exclude == 0]
            deepest = min([deepest, *contacts])
            highest = max(highest, float(np.abs(cell.data.qvel[:2]).max()))
            assert "physics" not in str(info["violations"])
    assert deepest > -0.004  # [m] fingertip into T at up to 0.42 m/s
    assert highest < 2.0  # [m/s] nothing is shot away
    env.close()


def test_a_resting_t_stays_at_rest(env):
    env.reset(seed=1, options={"start": {"block": [0.05, 0.02, 0.7], "tip": [-0.2, -0.1]}})
    before = env.unwrapped.cell.read().block
    for _ in range(100):
        env.step(np.zeros(2))
    assert env.unwrapped.cell.read().block == pytest.approx(before, abs=1e-6)


def test_noisy_sensing_is_noisy_and_ideal_is_not():
    start = {"block": [0.1, 0.05, 0.5], "tip": [-0.2, -0.1]}
    errors = []
    for sensing in ("ideal", "noisy"):
        env = gym.make(ID, sensing=sensing)
        seen, ages, valid = [], [], []
        for seed in range(40):
            env.reset(seed=seed, options={"start": start})
            for _ in range(20):
                observation = env.step(np.zeros(2))[0]
                seen.append(observation[2:4] - [0.1, 0.05])
                ages.append(observation[6])
                valid.append(observation[7])
        errors.append(np.std(seen))
        if sensing == "noisy":
            assert 0.005 < 1 - np.mean(valid) < 0.06
            assert {round(float(age), 1) for age in ages} >= {0.0, 0.1}
        env.close()
    assert errors[0] < 1e-6
    assert 0.0005 < errors[1] < 0.002


def test_pushing_the_t_off_the_workspace_is_a_violation(env):
    env.reset(seed=0, options={"start": {"block": [0.2, 0.0, 0.0], "tip": [0.05, 0.0]}})
    terminated = False
    for _ in range(40):
        _, reward, terminated, _, info = env.step(np.array([1.0, 0.0]))
        if terminated:
            break
    assert terminated
    assert reward == 0.0
    assert info["violations"] == ["block_out_of_workspace"]
    assert info["success"] is False
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.zeros(2))


def test_a_safety_check_that_fails_stops_the_robot(env, monkeypatch):
    env.reset(seed=0)
    monkeypatch.setattr(env.unwrapped.task, "violation", lambda readings: 1 / 0)
    _, reward, terminated, _, info = env.step(np.zeros(2))
    assert terminated
    assert reward == 0.0
    assert "safety_check_error" in info["violations"][0]


def test_diverging_physics_is_a_fault_and_never_a_verdict(env):
    from enpire_envs.env import CellFault

    env.reset(seed=0)
    env.unwrapped.cell.data.qvel[0] = 1e12
    with pytest.raises(CellFault, match="cannot be trusted"):
        env.step(np.zeros(2))


def near(env, offset, criterion_kwargs=None):
    """One step from a T at `offset` from its target: what the verifier says."""
    env.reset(seed=0, options={"start": {"block": list(offset), "tip": [-0.25, -0.2]}})
    return env.step(np.zeros(2))


def test_success_is_verified_coverage(env):
    _, reward, terminated, truncated, info = near(env, (0.001, 0.0, 0.0))
    assert (reward, terminated, truncated) == (1.0, True, False)
    assert info["success"] is info["is_success"] is True
    assert info["score"] == 1.0
    assert info["stage"] == "success"
    _, reward, terminated, _, info = near(env, (0.01, 0.0, 0.0))
    assert (reward, terminated, info["success"]) == (0.0, False, False)


def test_sweeping_the_t_across_its_target_does_not_count(env):
    passed = 0.0
    for y in np.linspace(-0.115, -0.085, 7):  # so that some step ends with the T close to its target
        env.reset(seed=0, options={"start": {"block": [0.0, y, 0.0], "tip": [0.0, y - 0.095]}})
        for _ in range(8):
            _, _, terminated, truncated, info = env.step(np.array([0.0, 1.0]))
            passed = max(passed, info["coverage"])
            assert not info["success"]
            if terminated or truncated:
                break
    assert passed > 0.8


@pytest.mark.parametrize(
    ("criterion", "good", "bad"),
    [
        ("pose", (0.015, 0.0, math.radians(4)), (0.0, 0.0, math.radians(12))),
        ("simple", (0.015, 0.005, math.radians(8)), (0.0, 0.022, 0.0)),
        ("coverage", (0.0, 0.0, math.radians(1.5)), (0.0, 0.0, math.radians(5))),
    ],
)
def test_each_criterion(criterion, good, bad):
    env = gym.make(ID, criterion=criterion)
    assert near(env, good)[4]["success"]
    assert not near(env, bad)[4]["success"]
    env.close()


def test_dense_reward_is_shaped_by_coverage():
    env = gym.make(ID, reward_type="dense", gamma=0.9)
    shaping = env.unwrapped._shaping
    _, reward, _, _, info = near(env, (0.03, 0.02, 0.2))
    began = env.unwrapped.task.potential(env.unwrapped.cell.read())  # the T has not moved
    assert began == pytest.approx(min(info["coverage"] / 0.95, 1.0))
    assert 0 < began < 1
    assert shaping.weight == pytest.approx(1 / (2 + 0.1 * 300))
    assert reward == pytest.approx((0.9 - 1) * began * shaping.weight)
    env.close()


def test_stages_are_climbed_in_order(env):
    _, _, _, _, info = near(env, (0.01, 0.0, 0.05))  # stands well, but nobody moved it
    assert info["stage"] == "start"
    assert info["score"] == 0.0
    expert = make_reference(env)
    observation, info = env.reset(seed=11)
    expert.reset(observation)
    stages = [info["stage"]]
    over = False
    while not over:
        _, _, terminated, truncated, info = env.step(expert.act(observation))
        stages.append(info["stage"])
        over = terminated or truncated
    order = ["start", "first_move", "range_ok", "orientation_ok", "success"]
    ranks = [order.index(s) for s in stages]
    assert ranks == sorted(ranks)
    assert stages[-1] == "success"


def test_time_limit(env):
    trace = episode(env, lambda _: np.zeros(2), seed=0)
    assert len(trace) == 301
    assert trace[-1][2]["reason"] == "time_limit"
    assert trace[-1][2]["time"] == pytest.approx(30.0)


def test_pictures_show_block_target_and_fingertip():
    env = gym.make(ID, obs_type="pixels_agent_pos", render_mode="rgb_array")
    observation, _ = env.reset(seed=3)
    assert observation["pixels"].shape == (96, 96, 3)
    frame = env.render().astype(int)
    assert frame.shape == (640, 640, 3)
    red, green, blue = frame[..., 0], frame[..., 1], frame[..., 2]
    assert ((red > 150) & (green < 80)).mean() > 0.02
    assert ((green > red + 30) & (green > blue + 20)).mean() > 0.01
    assert ((blue > red + 20) & (blue > 40)).sum() > 100
    assert (frame.min(axis=2) > 250).mean() < 0.01  # not overexposed
    env.close()


def test_absolute_control_in_the_gym_pusht_arena():
    env = gym.make(ID, arena="gym-pusht", control="absolute", disable_env_checker=True)
    goal = np.array([0.1, -0.2])
    observation, _ = env.reset(seed=2, options={"start": {"block": [-0.2, 0.2, 0], "tip": [0.3, 0.3]}})
    for _ in range(25):
        observation = env.step(goal)[0]
    assert observation[:2] == pytest.approx(goal, abs=2e-3)
    env.close()


@pytest.mark.parametrize("kwargs", [{}, {"starts": "ood"}, {"arena": "gym-pusht", "control": "absolute"}])
def test_the_reference_policy_solves_it(kwargs):
    env = gym.make(ID, disable_env_checker=True, **kwargs)
    expert = make_reference(env)
    solved = 0
    for seed in range(12):
        observation, _ = env.reset(seed=500 + seed)
        expert.reset(observation)
        over = False
        while not over:
            observation, _, terminated, truncated, info = env.step(expert.act(observation))
            over = terminated or truncated
        solved += info["success"]
    assert solved >= 11
    env.close()
