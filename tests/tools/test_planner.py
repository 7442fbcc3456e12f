"""The motion planner of simulated arms, through the body that tools act on: paths keep clear of what they were told of."""

import numpy as np
import pytest
from enpire_envs.remote.venvs import ROBOCASA
from enpire_envs.tools.rotations import about, from_matrix, rotation_vector, to_matrix
from hypothesis import given
from hypothesis import strategies as st

from autoenvbench.make_env import make_env

needs_robocasa = pytest.mark.skipif(not ROBOCASA.installed, reason="autoenvbench setup robocasa")


@pytest.fixture(scope="module")
def lift():
    env = make_env("ENPIRE/Robosuite-Lift-v0")
    env.reset(seed=2)
    yield env
    env.close()


@pytest.fixture
def wall():
    """Points of an upright wall to the robot's left: 2 cm thick, from the table up to above the hand."""
    x, y, z = np.meshgrid(np.arange(0.30, 0.70, 0.01), [0.14, 0.15], np.arange(-0.15, 0.25, 0.01))
    return np.stack([x.ravel(), y.ravel(), z.ravel()], 1)


@needs_robocasa
def test_a_path_goes_around_a_wall_and_straight_through_it_when_told_so(lift, wall):
    call = lift.unwrapped.call
    state = call("state")
    goal = np.array([0.5, 0.32, state["position"][2]])
    assert call("set_obstacles", wall) > 0.8 * len(wall)
    around = call("plan", goal, state["quaternion"], 1, True)
    assert around["ok"], around
    assert around["why"] == "around obstacles"
    through = call("plan", goal, state["quaternion"], 1, False)
    nearest = [
        min(float(np.linalg.norm(wall - point, axis=1).min()) for point in path["positions"])
        for path in (around, through)
    ]
    assert nearest[0] > 0.03  # the hand is wider than that
    assert nearest[1] < 0.03
    for path in (around, through):
        assert np.linalg.norm(path["positions"][-1] - goal) < 0.005
        turn = to_matrix(path["quaternions"][-1]) @ to_matrix(state["quaternion"]).T
        assert np.linalg.norm(rotation_vector(turn)) < 0.02
        assert np.abs(np.diff(path["joints"], axis=0)).max() < 0.06
    again = call("plan", goal, state["quaternion"], 1, True)
    assert np.array_equal(again["joints"], around["joints"])  # a seed decides a plan
    inside = call("plan", np.array([0.5, 0.145, 0.0]), state["quaternion"], 1, True)
    assert not inside["ok"]
    assert "touches an obstacle" in inside["why"]
    far = call("plan", np.array([1.5, 0.0, 0.3]), state["quaternion"], 1, True)
    assert far == {"ok": False, "why": "the pose is out of reach"}


@needs_robocasa
def test_the_arm_is_no_obstacle_to_itself(lift):
    call = lift.unwrapped.call
    state = call("state")
    cloud = state["position"] + np.random.default_rng(0).normal(0, 0.02, (200, 3))
    assert call("set_obstacles", cloud) < 60


@needs_robocasa
def test_cameras_agree_with_the_arm_and_with_one_another(lift):
    """The cube where both cameras put it, within its own size, and near where it is."""
    from enpire_envs.tools.perception import segment, to_points

    call = lift.unwrapped.call
    truth = np.array(call("targets")["cube"])
    for camera in ("agentview", "eye_in_hand"):
        rgb, depth = call("rgb", camera, 320, 240), call("depth", camera, 320, 240)
        assert rgb.shape == (240, 320, 3)
        assert depth.shape == (240, 320)
        points = to_points(depth, call("intrinsics", camera, 320, 240), call("extrinsics", camera))
        regions = segment("red cube", rgb, points, call("robot_pixels", camera, 320, 240))
        seen = np.median(points[regions[0].mask], axis=0)
        assert np.linalg.norm(seen - truth) < 0.03


quaternions = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1).map(np.array)


@given(quaternions)
def test_quaternions_and_matrices_are_one_another(q):
    matrix = to_matrix(q)
    assert np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-9)
    assert np.isclose(np.linalg.det(matrix), 1)
    back = from_matrix(matrix)
    assert np.allclose(to_matrix(back), matrix, atol=1e-6)
    assert back[0] >= 0


@given(st.sampled_from("xyz"), st.floats(-3.1, 3.1))
def test_rotation_vectors(axis, angle):
    expected = np.zeros(3)
    expected["xyz".index(axis)] = angle
    assert np.allclose(rotation_vector(about(axis, angle)), expected, atol=1e-6)


@needs_robocasa
@pytest.mark.parametrize(
    ("env_id", "kwargs", "joints", "grips"),
    [("ENPIRE/Robosuite-Lift-v0", {"robots": "UR5e"}, 6, True), ("ENPIRE/Robosuite-Wipe-v0", {}, 7, False)],
)
def test_other_arms_and_tools_that_do_not_grip(env_id, kwargs, joints, grips):
    env = make_env(env_id, kwargs)
    env.reset(seed=0)
    call = env.unwrapped.call
    state = call("state")
    assert state["joint_positions"].shape == (joints,)
    assert env.unwrapped.about["body"]["grips"] is grips
    goal = state["position"] + np.array([0.03, 0.05, 0.05])
    assert call("plan", goal, state["quaternion"], 0, True)["ok"]
    for _ in range(25):
        env.step(call("action", goal, state["quaternion"], None, None))
    assert np.linalg.norm(call("state")["position"] - goal) < 0.01
    env.close()
