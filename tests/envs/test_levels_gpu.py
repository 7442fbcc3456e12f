"""GPU insertion's levels draw, sense and show what their table says, and judge by the truth of a board that is not straight."""

import inspect
import re

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from enpire_envs.end_effector import angles, rotation
from enpire_envs.gpu_insertion.env import GPUInsertionEnv
from enpire_envs.gpu_insertion.levels import LEVELS
from enpire_envs.gpu_insertion.scene import CARD, DECOY, HALF_LENGTH, HALF_SLOT, HALF_THICKNESS, TUG
from enpire_envs.reference import make_reference
from hypothesis import given
from hypothesis import strategies as st

IDS = {level: f"ENPIRE/GPUInsertion-{level.title()}-v0" for level in LEVELS if level != "intro"}
RANKED = ("state", "standard", "expert", "fleet")
IMAGES = ("standard", "expert", "fleet")


def make(level: str, **options) -> gym.Env:
    return gym.make(IDS[level], disable_env_checker=True, **options)


def blind(level: str, **options):
    """The bare environment of a level, which draws no pictures: where only physics and proprioception are looked at."""
    env = make(level, **options).unwrapped
    if LEVELS[level].images:
        env._pixels = dict
    return env


def push(env, steps: int = 250, force: float = 40.0) -> None:
    """Press down on the cell itself, without a judgement."""
    cell = env.cell
    lead = force / cell.model.actuator_gainprm[2, 0]
    for _ in range(steps):
        readings = cell.read()
        cell.apply(np.array([0, 0, -0.012 if readings.pose[2] - readings.target[2] < lead else 0.0, 0, 0, 0]))


def straight(env, **added: float) -> None:
    """Put the card straight over the slot's mouth, 3 mm up; `added` moves its end effector along a scene's axis [m]."""
    goal = env.cell.read().goal
    goal += [added.get("x", 0.0), added.get("y", 0.0), 0.003, 0, 0, 0]
    data = env.cell.data
    data.qpos[:6] = data.act[:6] = goal
    data.qvel[:6] = 0
    mujoco.mj_forward(env.cell.model, data)


# -- the page ----------------------------------------------------------------------------------------------------------
def test_the_reference_page_shows_every_level():
    page = inspect.getdoc(GPUInsertionEnv).replace("\\\n", "")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    table = {row[0]: dict(zip(LEVELS, row[1:], strict=True)) for row in rows if len(row) == len(LEVELS) + 1}
    for level, numbers in LEVELS.items():
        cells = {what: row[level] for what, row in table.items()}
        assert cells[""].startswith(f"`{level}`: `ENPIRE/GPUInsertion-")
        assert cells["time limit"] == f"{numbers.max_steps} steps ({numbers.max_steps / 30:g} s)"
        assert cells["lead-in"] == f"{1000 * numbers.chamfer:g} mm"
        thicker = [numbers.station.thicker[k] + numbers.episode.thicker[k] for k in (1, 0)]
        play = [f"{round(1000 * (2 * (HALF_SLOT - HALF_THICKNESS) - value), 3):g}" for value in thicker]
        assert cells["play across the slot"] == " to ".join(dict.fromkeys(play)) + " mm"
        least, most = numbers.turn
        assert cells["gripper at the start, about each axis"].startswith(f"+- {most:g} deg")
        assert (f"at least {least:g} deg" in cells["gripper at the start, about each axis"]) == (least > 0)
        assert cells['starts that are `"ood"`'] == (f"{100 * numbers.ood:g} %" if numbers.ood else "none")
    for what, field in (("friction 0.2, times", "friction"), ("stiffness of the end effector, times", "stiffness"),
                        ("springs of the rails, times", "rails"), ("spring of the latch, times", "latch")):  # fmt: skip
        for level in ("intro", "state", "fleet"):
            told = {float(value) for value in re.findall(r"[\d.]+", table[what][level])}
            spreads = (LEVELS[level].station, LEVELS[level].episode)
            assert told | {1.0} == {value for spread in spreads for value in getattr(spread, field)} | {1.0}, what


# -- what is drawn -----------------------------------------------------------------------------------------------------
def drawn(env) -> np.ndarray:
    """(18,) of the model in force: factors, thickness [m], lateness [m], the card in the gripper (6,), the board (6,) [m, rad]."""
    model, scene = env.cell.model, env.cell.scene
    factors = [
        model.geom_friction[scene._tongue, 0] / 0.2,
        model.actuator_gainprm[0, 0] / 2500,
        *(model.jnt_stiffness[scene._springs[1:]] / [8000, 2500]),
    ]
    card, slot = model.body("card"), model.body("slot")
    askew = []
    for body, arm in ((card, (0.0, 0.0, CARD)), (slot, (0.0, 0.0, 0.0))):
        mujoco.mju_quat2Mat(matrix := np.zeros(9), body.quat)
        turned = matrix.reshape(3, 3)
        askew += [*(body.pos + arm - turned @ arm), *angles(turned)]
    return np.array(
        [
            *factors,
            2 * (model.geom_size[scene._tongue, 1] - HALF_THICKNESS),
            0.0049 - model.body("latch").pos[2],
            *askew,
        ]
    )


@pytest.mark.parametrize("level", RANKED)
def test_a_station_keeps_its_own_draws_and_every_episode_draws_on_top(level):
    env, numbers = blind(level), LEVELS[level]
    seen: dict[int, np.ndarray] = {}
    delays = set()
    for station in range(12):
        rows = []
        for seed in range(12):
            env.reset(seed=100 * station + seed, options={"station": station})
            rows.append(drawn(env))
            delays.add(int(env.cell.data.userdata[0]))
        seen[station] = np.array(rows)

    def bounds(k: int) -> tuple[np.ndarray, np.ndarray]:
        station, episode = numbers.station, numbers.episode
        factors = [getattr(station, f)[k] * getattr(episode, f)[k] for f in ("friction", "stiffness", "rails", "latch")]
        added = [getattr(station, f)[k] + getattr(episode, f)[k] for f in ("thicker", "late")]
        off = np.concatenate([np.add(station.grip, episode.grip), np.add(station.board, episode.board)])
        off[[3, 4, 5, 9, 10, 11]] = np.radians(off[[3, 4, 5, 9, 10, 11]])
        return np.array(factors + added), off

    (low, off), (high, _) = bounds(0), bounds(1)
    low, high = np.concatenate([low, -off]), np.concatenate([high, off])
    everything = np.concatenate(list(seen.values()))
    assert (everything >= low - 1e-9).all()
    assert (everything <= high + 1e-9).all()
    assert (np.ptp(everything, axis=0) >= 0.4 * (high - low)).all()
    assert delays == set(range(numbers.episode.delay[0], numbers.station.delay[1] + numbers.episode.delay[1] + 1))
    # a board that lies 3 mm off at a station stays about there: stations differ by more than their episodes do
    middles = np.array([rows[:, 12:14].mean(axis=0) for rows in seen.values()])
    assert (middles.std(axis=0) > 2 * np.mean([rows[:, 12:14].std(axis=0) for rows in seen.values()], axis=0)).all()
    env.reset(seed=3, options={"station": 4})
    once = drawn(env)
    env.reset(seed=3, options={"station": 5})
    assert not np.allclose(drawn(env), once)
    env.reset(seed=3, options={"station": 4})
    assert np.array_equal(drawn(env), once)


def test_starts_are_turned_as_far_as_the_level_says_and_touch_nothing():
    for level in RANKED:
        env, (least, most) = blind(level), LEVELS[level].turn
        turns, offsets = [], []
        for seed in range(60):
            _, info = env.reset(seed=seed, options={"station": seed})
            turns.append(np.degrees(info["start"]["turn"]))
            offsets.append(info["start"]["edge"][:2])
            assert info["reset_attempts"] == 1
            assert env.cell.read().depth == 0
            assert env.cell.read().ends.mean(axis=0) == pytest.approx(info["start"]["edge"], abs=1e-6)
            assert env.cell.read().ends[:, 2].min() > 0
        wide = 1.5 if LEVELS[level].ood else 1.0
        assert np.linalg.norm(turns, axis=1).min() >= least - 1e-9
        assert 0.8 * most < np.abs(turns).max() <= wide * most
        assert (np.abs(offsets).max() > 0.003) == (wide > 1)


def test_an_action_waits_for_its_delay():
    env = blind("fleet")
    for seed in range(6):
        env.reset(seed=seed, options={"station": seed})
        periods, targets = int(env.cell.data.userdata[0]), [env.cell.read().target[0]]
        for _ in range(7):
            env.step(np.array([1.0, 0, 0, 0, 0, 0]))
            targets.append(env.cell.read().target[0])
        moved = np.diff(targets)
        assert np.allclose(moved[:periods], 0)
        assert np.allclose(moved[periods:], 0.00025)


# -- the truth, where nothing is straight -------------------------------------------------------------------------------
@given(st.lists(st.floats(-0.5, 0.5), min_size=3, max_size=3))
def test_angles_are_the_inverse_of_a_rotation(turn):
    assert angles(rotation(np.array(turn))) == pytest.approx(turn, abs=1e-12)


@pytest.mark.parametrize("level", RANKED)
def test_at_its_goal_the_card_stands_straight_at_the_mouth(level):
    env = blind(level)
    for seed in range(20):
        env.reset(seed=seed, options={"station": seed})
        straight(env)
        ends = env.cell.read().ends
        assert ends == pytest.approx(np.array([[-HALF_LENGTH, 0, 0.003], [HALF_LENGTH, 0, 0.003]]), abs=3e-4)
        # and a card that is held well would stand so at `mouth`: the estimate is off by what nobody can see
        mouth, goal = env.cell.read().mouth, env.cell.read().goal
        spreads = (LEVELS[level].station, LEVELS[level].episode)
        worst = np.sum([spread.grip for spread in spreads], axis=0)
        assert np.abs(mouth - goal)[:3].max() <= worst[0] + CARD * 2 * np.radians(worst[3]) + 1e-9


@pytest.mark.parametrize("level", ["state", "expert", "fleet"])
def test_a_card_in_the_gap_beside_the_frame_of_the_end_effector_is_judged_in_the_frame_of_the_slot(level):
    """The board is off by millimetres and degrees; depth, latch and verdict go by the slot itself."""
    env = blind(level)
    for seed in range(3):
        env.reset(seed=seed, options={"station": seed})
        straight(env)
        push(env)
        readings = env.cell.read()
        assert readings.seated > 0.0087
        assert readings.latched
        assert env.task.candidate(readings)
        assert env.task.verify(env.cell).success
        assert np.abs(env.cell.model.body("slot").pos[:2]).max() > 1e-4  # it was not where it should be


@pytest.mark.parametrize("level", ["state", "fleet"])
def test_the_verifier_pulls_as_hard_however_stiff_the_end_effector_is(level):
    env, pulled = blind(level), []
    for seed in range(5):
        env.reset(seed=seed, options={"station": seed})
        straight(env)
        push(env)
        env.task.verify(env.cell)
        pulled.append(-env.cell.read().wrench.force[2])
        assert env.cell.model.actuator_gainprm[2, 0] != 2500
    assert max(pulled) < TUG + 0.1
    assert min(pulled) > TUG - 1.3  # the card gives way by a fraction of a millimetre, until the latch holds it


def test_a_worn_latch_snaps_later_and_holds_less():
    deep, most = {}, {}
    for level in ("standard", "expert"):
        env = blind(level)
        deep[level], most[level] = [], []
        for seed in range(4):
            env.reset(seed=seed, options={"station": seed})
            straight(env)
            push(env)
            assert env.cell.read().latched
            lead, pull = 0.0, []
            for _ in range(150):  # out again
                env.cell.apply(np.array([0, 0, 0.006, 0, 0, 0]))
                pull.append(-env.cell.read().wrench.force[2])
                if not env.cell.read().latched and not lead:
                    lead = env.cell.read().seated
                if env.cell.read().ends[:, 2].max() > 0:
                    break
            deep[level].append(lead)
            most[level].append(max(pull))
    assert np.mean(deep["expert"]) > np.mean(deep["standard"]) + 5e-5
    assert min(most["expert"]) > 1.3 * TUG
    assert np.mean(most["expert"]) < 0.8 * np.mean(most["standard"])


def test_a_card_in_the_second_slot_is_no_success():
    """It goes in there as deep as in the right one, and does not count: the latch is not over its tab but beside it."""
    env = blind("expert")
    sides = set()
    for seed in range(4):
        env.reset(seed=seed, options={"station": seed})
        at = env.cell.data.body("decoy").xpos - env.cell.data.body("slot").xpos
        sides.add(np.sign(at[1]))
        assert DECOY[0] - 1e-6 <= np.linalg.norm(at) <= DECOY[1] + 1e-6
        straight(env, x=at[0], y=at[1])
        env.cell.data.qpos[2] += at[2]
        env.cell.data.act[2] += at[2]
        push(env)
        readings = env.cell.read()
        assert readings.ends[:, 2].max() < -0.005
        assert readings.seated == 0
        assert not env.task.candidate(readings)
        assert env.task.update(readings).stage in ("start", "contact")
    assert len(sides) == 2


def test_a_card_is_as_thick_as_it_is_drawn_in_every_contact():
    """Also where MuJoCo's bounds are those of the thickest: a straight card in the slot touches once it is off by half its play."""
    env = blind("standard")
    for seed in range(10):
        env.reset(seed=seed, options={"station": seed})
        model, data = env.cell.model, env.cell.data
        play = HALF_SLOT - model.geom_size[env.cell.scene._tongue, 1]
        for body in ("card", "slot", "springs"):
            model.body(body).pos[:] = 0
            model.body(body).quat[:] = (1, 0, 0, 0)
        model.geom_contype[[model.geom(name).id for name in ("rail_left", "rail_right", "latch")]] = 0
        model.geom_conaffinity[[model.geom(name).id for name in ("rail_left", "rail_right", "latch")]] = 0
        for off in (play - 5e-6, play + 5e-6):
            data.qpos[:6] = (0, off, CARD - 0.006, 0, 0, 0)
            mujoco.mj_forward(model, data)
            assert (data.ncon > 0) == (off > play)
        model.geom_contype[:] = env.cell.scene.build().geom_contype
        model.geom_conaffinity[:] = env.cell.scene.build().geom_conaffinity


def test_a_snapshot_carries_all_that_was_drawn_to_another_cell():
    one, two = blind("expert"), blind("expert")
    one.reset(seed=1, options={"station": 1})
    two.reset(seed=2, options={"station": 2})
    for _ in range(5):
        one.step(np.array([0.3, -0.2, -1.0, 0.1, 0.5, -0.4]))
    two.cell.restore(one.cell.snapshot())
    for _ in range(30):
        command = np.array([0.001, 0.0, -0.012, 0.01, 0.0, 0.0])
        one.cell.apply(command)
        two.cell.apply(command)
    for field in ("pose", "target", "ends", "mouth", "goal", "seated", "latched"):
        assert np.array_equal(getattr(one.cell.read(), field), getattr(two.cell.read(), field)), field


# -- what is sensed ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("level", IMAGES)
def test_a_level_with_images_offers_what_its_robot_has_and_nothing_else(level):
    env = make(level)
    assert set(env.observation_space.spaces) == {"agent_pos", "pixels"}
    assert set(env.observation_space["pixels"].spaces) == {"side", "wrist"}
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space
    assert observation["agent_pos"].shape == (10,)
    for obs_type in ("state", "environment_state_agent_pos", "pixels"):
        with pytest.raises(ValueError, match=f"unknown obs_type '{obs_type}'; choose one of: pixels_agent_pos"):
            make(level, obs_type=obs_type)
    env.close()
    with pytest.raises(ValueError, match="unknown obs_type 'pixels'; choose one of: state"):
        make("state", obs_type="pixels")


def test_proprioception_is_height_rotation_and_wrench_index_by_index():
    env = blind("standard", sensing="ideal")
    env.reset(seed=1)
    start = env.cell.read().pose
    for _ in range(40):
        observation = env.step(np.array([0.4, -0.3, -1.0, 0.2, -0.3, 0.1]))[0]
    readings = env.cell.read()
    told = np.concatenate([(readings.pose - start)[2:], readings.wrench.vector])
    assert observation["agent_pos"] == pytest.approx(told, abs=1e-4)
    assert readings.force > 1


@pytest.mark.parametrize("level", ["state", "standard"])
def test_no_noise_free_force_is_left_in_what_is_observed(level):
    """Commanded minus measured pose is a force where the pose is exact; here neither is known to 30 um (0.3 mrad, 0.4 N) even with
    hindsight."""
    env = blind(level)
    for seed in range(4):
        observation, _ = env.reset(seed=seed, options={"station": seed})
        start, policy, errors, over = env.cell.read().pose, make_reference(make_spec(env), "Expert"), [], False
        while not over:
            observation, _, terminated, truncated, _ = env.step(policy.act(observation))
            over = terminated or truncated
            readings = env.cell.read()
            sensed = observation["agent_pos"] if level == "standard" else observation[2:12]
            errors.append(sensed - np.concatenate([(readings.pose - start)[2:], readings.wrench.vector]))
        second = np.diff(errors[:-1], 2, axis=0) / np.sqrt(6)  # of white noise: its own standard deviation
        z, *turn = second[:, :4].std(axis=0)
        assert z > 3e-5
        assert min(turn) > 3e-4
        assert second[:, 4:7].std(axis=0).min() > 0.4
        assert second[:, 7:].std(axis=0).min() > 0.015


def make_spec(env):
    """The bare environment with the name under which its reference is found."""
    return type("Named", (), {"spec": env.spec, "unwrapped": env})()


def test_a_pose_is_sensed_once_in_a_control_period():
    env = blind("standard")
    env.reset(seed=0)
    told = env.step(np.zeros(6))[0]["agent_pos"]
    readings = env.cell.read()
    assert all(np.array_equal(env.task.agent_pos(readings), told) for _ in range(3))


def test_encoders_have_more_play_at_some_stations_than_at_others():
    env, plays = blind("fleet"), []
    for station in range(30):
        env.reset(seed=0, options={"station": station})
        linear, angular = env.task._encoders
        plays.append(linear.backlash / 1e-4)
        assert angular.backlash / 1e-3 == pytest.approx(plays[-1])
        assert 5e4 / linear.stiffness == pytest.approx(plays[-1])
    low, high = LEVELS["fleet"].play
    assert low <= min(plays) < low + 0.3
    assert high - 0.3 < max(plays) <= high


# -- what is seen ------------------------------------------------------------------------------------------------------
def looks(env, seed: int, station: int, **start) -> dict[str, np.ndarray]:
    observation, _ = env.reset(seed=seed, options={"station": station, **start})
    return observation["pixels"]


def test_a_picture_shows_the_error_across_the_slot():
    """Half a millimetre across moves the card's end against the mouth: the pictures of the same episode differ there, and only there."""
    env = make("standard", sensing="ideal")
    for camera in ("side", "wrist"):
        edge = {"edge": [0.0, 0.0, 0.008], "turn": [0.0, 0.0, 0.0]}
        other = {"edge": [0.0, 0.0005, 0.008], "turn": [0.0, 0.0, 0.0]}
        one, two = (looks(env, 5, 0, start=start)[camera].astype(int) for start in (edge, other))
        changed = (np.abs(one - two).max(axis=2) > 12).sum()
        assert 30 < changed < 2500, camera
    env.close()


def test_lights_and_cameras_differ_between_stations_and_less_between_episodes():
    env = blind("standard")

    def state(seed, station):
        env.reset(seed=seed, options={"station": station})
        model = env.cell.model
        return model.cam_pos.copy(), model.light_diffuse.copy(), model.mat_rgba.copy()

    (cams, light, paint), (same_cams, other_light, same_paint) = state(1, 1), state(2, 1)
    knock = LEVELS["standard"].episode.look.camera[0]
    assert 0 < np.abs(cams - same_cams).max() <= 2 * knock + 1e-9
    assert np.array_equal(paint, same_paint)
    assert not np.array_equal(light, other_light)
    other_cams, _, other_paint = state(1, 2)
    assert np.abs(cams - other_cams).max() > 2 * knock
    assert not np.array_equal(paint, other_paint)


def test_the_experts_cameras_are_knocked_between_episodes():
    env = blind("expert")
    places = []
    for seed in range(40):
        env.reset(seed=seed, options={"station": 3})
        places.append(env.cell.model.cam_pos.copy())
    moved = np.ptp(places, axis=0)
    assert (moved > 0.004).all()
    assert (moved <= 0.006 + 1e-9).all()


# -- difficulty --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("level", RANKED)
def test_the_reference_solves_it_and_the_naive_one_does_not(level):
    env = blind(level)
    won = {"Expert": 0, "Naive": 0}
    for kind in won:
        for seed in range(8):
            observation, _ = env.reset(seed=seed, options={"station": seed})
            policy, over = make_reference(make_spec(env), kind), False
            policy.reset(observation)
            while not over:
                observation, _, terminated, truncated, info = env.step(policy.act(observation))
                over = terminated or truncated
            won[kind] += info["success"]
    assert won["Expert"] == 8
    assert won["Naive"] <= 2
