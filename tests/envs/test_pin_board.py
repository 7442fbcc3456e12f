"""The pin board: what the gripper takes, what counts as placed, what is lost, and that the whole of it can be done."""

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from enpire_envs.pin_board.scene import GRIP_HEIGHT, PINS
from enpire_envs.pin_insertion.scene import HOLE_RADIUS, PIN_LENGTH
from enpire_envs.reference import make_reference
from making import make

CLOSE, OPEN = np.array([0, 0, 0, 0, 0, 0, 0.25]), np.array([0, 0, 0, 0, 0, 0, -0.25])


@pytest.fixture
def env():
    made = make("ENPIRE/PinBoard-v0").unwrapped
    made.reset(seed=0)
    yield made
    made.close()


def put(env, tool):
    """Let the gripper be somewhere (3,) [m], upright, at rest."""
    cell = env.cell
    cell.data.qpos[:6] = cell.data.act[:6] = [*tool, 0, 0, 0]
    cell.data.qvel[:] = 0
    mujoco.mj_forward(cell.model, cell.data)


def grip(env, command):
    """Close or open for as long as that and the longest delay take."""
    for _ in range(8):
        env.cell.apply(command)
    return env.cell.read()


def take(env, pin=0, off=(0.0, 0.0, 0.0)):
    """Close where a pin of the tray stands, `off` by so much."""
    put(env, np.array([*env.cell.scene.stand(env.cell.data, pin), GRIP_HEIGHT]) + off)
    return grip(env, CLOSE)


def over(env, place, tip):
    """Put the held pin upright over a place (2,), its tip at a height `tip`."""
    model = env.cell.model
    held = model.body("held").id
    model.body_quat[held] = (1, 0, 0, 0)
    model.body_pos[held] = 0
    put(env, [*place, 0.06])
    env.cell.apply(np.zeros(7))  # the bore goes where the tip is
    put(env, [*place, tip + PIN_LENGTH])


@pytest.mark.parametrize("off", [(0.0028, 0, 0), (0, -0.0023, 0), (0, 0, 0.0028)])
def test_a_pin_within_reach_is_taken_and_sits_as_it_was_taken(env, off):
    drawn = env.cell.scene._memory(env.cell.data)[3][0].copy()
    readings = take(env, 0, off)
    assert readings.holding == 0
    assert readings.opening == pytest.approx(0.3)
    tip = readings.tip - readings.pose[:3]
    assert tip == pytest.approx([drawn[0], drawn[1] - off[1], -PIN_LENGTH - off[2]], abs=2e-4)


@pytest.mark.parametrize("off", [(0.0032, 0, 0), (0, -0.0027, 0), (0, 0, 0.0032), (0.0075, 0, 0)])
def test_a_pin_out_of_reach_is_not(env, off):
    readings = take(env, 0, off)
    assert readings.holding is None
    assert readings.opening == 0.0
    assert (readings.where == -1).all()


def test_what_is_let_go_of_deep_in_a_hole_is_placed_and_stands_in_the_way(env):
    take(env)
    over(env, env.cell.scene.holes[4], -0.0185)
    readings = grip(env, OPEN)
    assert readings.placed == 1
    assert readings.where[0] == 4
    assert readings.holding is None
    take(env, 1)
    over(env, env.cell.scene.holes[4], 0.024)
    for _ in range(60):  # pressed onto it, as far as 60 N go
        env.cell.apply(np.array([0, 0, -0.02, 0, 0, 0, 0]))
    readings = env.cell.read()
    assert readings.tip[2] > 0.02
    assert readings.force > 10
    assert grip(env, OPEN).where[1] == -3
    assert env.cell.read().placed == 1


@pytest.mark.parametrize(("aside", "tip"), [(0.0, -0.0175), (0.0, 0.002), (0.006, 0.0)])
def test_what_is_let_go_of_elsewhere_is_lost_for_good(env, aside, tip):
    take(env)
    over(env, env.cell.scene.holes[2] + (aside, 0), tip)
    readings = grip(env, OPEN)
    assert readings.where[0] == -3
    assert readings.placed == 0
    put(env, [*readings.tip[:2], GRIP_HEIGHT])
    assert grip(env, CLOSE).holding is None


def test_a_pin_beside_its_hole_or_aslant_in_it_is_not_placed(env):
    """Deep enough at its tip, which no contact allows; then its tip is where it should be, but it enters the plate beside the hole."""
    take(env)
    cell = env.cell
    over(env, cell.scene.holes[2] + (HOLE_RADIUS + 1e-4, 0), -0.0185)
    assert cell.scene._left_at(cell.data, np.zeros(7)) == -3
    over(env, cell.scene.holes[2], -0.0185)
    assert cell.scene._left_at(cell.data, np.zeros(7)) == 2
    cell.model.body_quat[cell.model.body("held").id] = (np.cos(0.1), np.sin(0.1), 0, 0)
    mujoco.mj_forward(cell.model, cell.data)
    shift = cell.scene.holes[2] - cell.data.site("tip").xpos[:2]
    put(env, np.add(cell.data.qpos[:3], [*shift, -0.0185 - cell.data.site("tip").xpos[2]]))
    assert cell.scene._left_at(cell.data, np.zeros(7)) == -3


def test_a_pin_can_be_put_back_into_the_tray(env):
    readings = take(env)
    put(env, [*readings.pose[:2], 0.05])
    put(env, readings.pose[:3])
    assert grip(env, OPEN).where[0] == -1
    assert take(env).holding == 0


def test_the_reference_fills_the_board_pin_by_pin(env):
    policy, scores, ended, force = make_reference(gym.make("ENPIRE/PinBoard-v0")), [], False, 0.0
    policy._cell = env.cell
    observation, _ = env.reset(seed=2, options={"station": 2})
    policy.reset(observation)
    while not ended:
        observation, reward, terminated, truncated, info = env.step(policy.act(observation))
        ended = terminated or truncated
        scores.append(info["score"])
        force = max(force, info["force"])
    assert info["success"]
    assert reward == 1.0
    assert sorted(set(scores)) == pytest.approx(np.arange(PINS + 1) / PINS)
    assert (np.diff(scores) >= 0).all()
    assert sorted(env.cell.read().where) == list(range(PINS))
    assert force < 30


def test_eight_pins_are_no_success(env):
    where = env.cell.scene._memory(env.cell.data)[2]
    where[:] = [0, 1, 2, 3, 4, 5, 6, 7, -3]
    _, reward, terminated, _, info = env.step(np.zeros(4))
    assert (reward, terminated, info["success"]) == (0.0, False, False)
    assert info["score"] == pytest.approx(8 / 9)
    assert info["stage"] == "placed_8"


def test_stations_lay_board_and_tray_out_within_their_ranges():
    env, pitches = make("ENPIRE/PinBoard-v0").unwrapped, []
    for station in range(60):
        env.reset(seed=0, options={"station": station})
        scene = env.cell.scene
        assert np.abs(scene.holes[4] - (0.028, 0)).max() <= 0.002
        assert np.abs(scene.pockets[4] - (-0.040, 0)).max() <= 0.002
        along = scene.holes[7] - scene.holes[4]
        pitches.append(np.hypot(*along))
        assert abs(np.degrees(np.arctan2(along[1], along[0]))) <= 20
        seen = env.cell.model.geom_pos[[env.cell.model.geom(f"hole{k}").id for k in range(PINS)], :2]
        assert np.allclose(seen, scene.holes)
    assert 0.013 <= min(pitches) < 0.0135
    assert 0.0165 < max(pitches) <= 0.017
    env.close()


def test_the_wrench_is_tared_when_a_pin_is_taken_or_let_go_of(env):
    task, sensors = env.task, []
    for holding in (None, 0, 0, None):
        readings = env.cell.read()
        readings.holding, readings.time = holding, readings.time + len(sensors) + 1
        task.agent_pos(readings)
        sensors.append(task._torques)
    assert sensors[1] is sensors[2]
    assert len({id(sensor) for sensor in sensors}) == 3


def test_a_wrench_that_has_drifted_holds_no_pin_back_for_good(env):
    """The guard takes a drifted wrench for contact; risen above all that stands about, the robot tares it again."""
    policy = make_reference(gym.make("ENPIRE/PinBoard-v0"))
    policy._cell = env.cell
    observation, _ = env.reset(seed=2, options={"station": 2})
    policy.reset(observation)
    drifted = False
    for _ in range(1200):
        observation, _, terminated, _, info = env.step(policy.act(observation))
        if not drifted and env.cell.read().tip[2] < 0.003 and env.cell.read().holding is not None:
            env.task._torques._bias[2], drifted = 8.0, True
        if info["placed"] or terminated:
            break
    assert drifted
    assert info["placed"] == 1
