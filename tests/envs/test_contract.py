"""What every environment of the suite promises, checked for each of them, or for the ids that `--env` names."""

import enpire_envs
import gymnasium as gym
import mujoco
import numpy as np
import pytest
from enpire_envs.reference import make_reference
from gymnasium.utils.env_checker import check_env
from making import flat, make, nth, offered

INFO = {"success", "is_success", "score", "stage", "violations", "time", "cell"}
PLAIN = {env_id for env_id in enpire_envs.ENV_IDS if env_id.count("-") == 1}
#: Successes of 12 that a naive policy may have: about 40 % of ties need no more than a push, pins nearly none.
NAIVE_AT_MOST = {"PinInsertion": 3, "TieZipTie": 9}
TYPES = {
    "success": bool, "is_success": bool, "score": float, "stage": str, "violations": list, "time": float, "cell": str,
}  # fmt: skip


def pytest_generate_tests(metafunc):
    metafunc.parametrize("env_id", metafunc.config.getoption("--env") or enpire_envs.ENV_IDS)


def walk(env, seed, n=120, scale=1.0, attempt=0):
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed, options={"attempt": attempt})
    trace = [(observation, 0.0, False, info)]
    for _ in range(n):
        action = scale * rng.uniform(-1, 1, env.action_space.shape)
        observation, reward, terminated, truncated, info = env.step(action)
        trace.append((observation, reward, terminated, info))
        if terminated or truncated:
            break
    return trace


@pytest.mark.parametrize("obs_type", ["state", "environment_state_agent_pos", "pixels", "pixels_agent_pos"])
@pytest.mark.filterwarnings("error", "ignore:.*needs a display.*")
@pytest.mark.usefixtures("gymnasium_warns")
def test_gymnasium_accepts_it(env_id, obs_type):
    """Without a warning, but that a window needs a display; what a level does not offer is refused by name."""
    if obs_type not in offered(env_id):
        with pytest.raises(
            ValueError, match=f"unknown obs_type '{obs_type}'; choose one of: {', '.join(offered(env_id))}"
        ):
            gym.make(env_id, obs_type=obs_type)
        return
    env = gym.make(env_id, obs_type=obs_type, render_mode="rgb_array")
    check_env(env.unwrapped)
    env.close()


@pytest.mark.usefixtures("gymnasium_warns")
def test_render_modes_are_checked_and_named(env_id):
    with pytest.raises(ValueError, match="unknown render_mode 'ascii'; choose one of: rgb_array, human"):
        gym.make(env_id, render_mode="ascii")
    env = gym.make(env_id)
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="without specifying any render mode"):
        assert env.render() is None
    env.close()


def test_stable_baselines_accepts_it(env_id):
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    for obs_type in {"state", "pixels_agent_pos"} & {*offered(env_id)}:
        env = gym.make(env_id, obs_type=obs_type)
        checker.check_env(env.unwrapped, warn=False)
        env.close()


def test_info_and_observations_hold_what_is_promised(env_id):
    env = make(env_id)
    for seed in range(3):
        trace = walk(env, seed)
        assert trace[0][3].keys() >= {"reset_attempts", "reset_verified", "start", "episode_seed"}
        for observation, reward, _, info in trace:
            assert env.observation_space.contains(observation), observation
            assert info.keys() >= INFO
            assert all(isinstance(info[key], kind) for key, kind in TYPES.items())
            assert 0 <= info["score"] <= 1
            assert 0 <= reward <= 1
            assert info["cell"] == "sim"
    env.close()


def test_same_seed_same_episode_bit_for_bit_across_environments(env_id):
    runs = []
    for _ in range(2):
        env = make(env_id)
        walk(env, 5, 10)  # what came before must not matter
        runs.append(np.array([flat(step[0]) for step in walk(env, 7)]))
        env.close()
    assert np.array_equal(*runs)


def test_attempts_share_the_start_only(env_id):
    env = make(env_id)
    one, two = walk(env, 3), walk(env, 3, attempt=1)
    assert one[0][3]["start"] == two[0][3]["start"]
    assert not all(np.array_equal(flat(a[0]), flat(b[0])) for a, b in zip(one, two, strict=False))
    env.close()


def test_snapshots_replay_bit_for_bit(env_id):
    """In contact, and in another cell of the same scene whose last episode was a different one."""
    env, other = (make(env_id) for _ in range(2))
    expert = make_reference(env)
    observation, _ = env.reset(seed=1)
    expert.reset(observation)
    for _ in range(30):
        observation, _, terminated, truncated, _ = env.step(expert.act(observation))
        if terminated or truncated:
            break
    cell, twin = env.unwrapped.cell, other.unwrapped.cell
    other.reset(seed=99)
    snapshot = cell.snapshot()
    rng = np.random.default_rng(0)
    commands = [env.unwrapped.task.command(rng.uniform(-1, 1, env.action_space.shape)) for _ in range(40)]
    ends = []
    for body in (cell, cell, twin):
        body.restore(snapshot)
        for command in commands:
            body.apply(command)
        ends.append(body.data.qpos.copy())
    assert np.array_equal(ends[0], ends[1])
    assert np.array_equal(ends[0], ends[2])
    env.close()
    other.close()


def test_random_actions_upset_nothing(env_id):
    """No MuJoCo warning (a CellFault), nothing infinite, bounded speed and energy."""
    env = make(env_id, pictures=False)
    model, data = env.unwrapped.cell.model, env.unwrapped.cell.data
    momentum = np.zeros(model.nv)
    for seed in range(12):
        walk(env, seed, n=300)
        assert np.isfinite(data.qpos).all()
        mujoco.mj_mulM(model, data, momentum, data.qvel)
        kinetic = 0.5 * float(data.qvel @ momentum)
        assert kinetic < 0.5  # [J]: half a kilogram at 1.4 m/s
    env.close()


def test_the_reference_solves_it_and_the_naive_policy_does_not(env_id):
    """On 12 starts of a task, 6 of each of its levels and one where an episode is long."""
    env = make(env_id, pictures="PushT" in env_id)  # the naive policy of Push-T looks at them
    n = 1 if env.unwrapped.limit.default > 600 else 12 if env_id in PLAIN else 6
    solved = {}
    for kind in ("Expert", "Naive"):
        policy, wins = make_reference(env, kind), 0
        for seed in range(n):
            observation, _ = env.reset(seed=700 + seed)
            policy.reset(observation)
            over = False
            while not over:
                observation, _, terminated, truncated, info = env.step(policy.act(observation))
                over = terminated or truncated
            wins += info["success"]
        solved[kind] = wins
    env.close()
    assert solved["Expert"] >= n - n // 12
    assert solved["Naive"] <= NAIVE_AT_MOST.get(env.unwrapped.task.name, 5) * n // 12


def test_workspace_template_matches_the_environment(env_id):
    """The starter and the parametric policy run, and the latter's initial numbers are inside their bounds."""
    import importlib.util

    from autoenvbench.workspace.make_workspace import template_for

    env = make(env_id)
    template = template_for(env)
    assert template is not None
    for name, cls in (("policy", "Policy"), ("parametric", "ParametricPolicy")):
        spec = importlib.util.spec_from_file_location(f"{template.name}_{name}", template / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        policy = getattr(module, cls)(env.observation_space, env.action_space)
        observation, _ = env.reset(seed=0)
        policy.reset(observation)
        for _ in range(20):
            action = policy.act(observation)
            assert np.shape(action) == env.action_space.shape
            observation, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                break
        if name == "parametric":
            assert all(low <= initial <= high for low, initial, high in module.PARAMETERS.values())
    env.close()


def test_vectorised(env_id):
    """The default path (threads) computes what the plain one does, bit for bit, through ends and automatic resets."""
    several = [
        gym.make_vec(env_id, num_envs=3, vectorization_mode=mode, max_episode_steps=25) for mode in (None, "sync")
    ]
    rng = np.random.default_rng(0)
    actions = [rng.uniform(-1, 1, several[0].action_space.shape).astype(np.float32) for _ in range(60)]
    traces = []
    for envs in several:
        first, info = envs.reset(seed=[4, 5, 6])
        assert info["reset_verified"].all()
        trace = [[flat(first)]]
        for action in actions:
            observations, rewards, terminated, truncated, info = envs.step(action)
            # Gymnasium's TimeLimit also calls an episode truncated that ends by itself in its last step
            trace.append([flat(observations), rewards, terminated, truncated & ~terminated])
        traces.append(trace)
        assert info["score"].shape == (3,)
        envs.close()
    assert all(np.array_equal(a, b) for one, two in zip(*traces, strict=True) for a, b in zip(one, two, strict=True))
    assert sum(np.any(step[2:]) for step in traces[0][1:]) >= 2  # episodes ended on the way
    single = gym.make(env_id)
    assert np.array_equal(flat(nth(first, 1)), flat(single.reset(seed=5)[0]))
    single.close()


def test_a_bad_action_spoils_nothing(env_id):
    """Refused before anything moves, alone and among others."""
    env, envs = make(env_id), gym.make_vec(env_id, num_envs=2)
    env.reset(seed=0)
    before = env.unwrapped.cell.snapshot()["state"]
    bad = np.full(env.action_space.shape, np.nan)
    for wrong, complaint in ((bad, "not finite"), (np.zeros(9), "shape")):
        with pytest.raises(ValueError, match=complaint):
            env.unwrapped.step(wrong)
    assert np.array_equal(before, env.unwrapped.cell.snapshot()["state"])
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="not finite"):
        envs.step(np.stack([np.zeros_like(bad), bad]))
    env.close()
    envs.close()
