"""Cutting's levels draw and sense what their table says, and nothing of an observation tells more."""

import inspect
from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest
from enpire_envs.cut_zip_tie.env import CutZipTieEnv
from enpire_envs.cut_zip_tie.levels import LEVELS
from enpire_envs.cut_zip_tie.parts import AXIS, BLADE, PIVOT
from enpire_envs.cut_zip_tie.scene import JAW_STEP
from enpire_envs.cut_zip_tie.task import STEP
from enpire_envs.reference import make_reference

RANKED = [level for level in LEVELS if level != "intro"]
#: A start with the cutter held, whose blades are across the tail.
BESIDE = {"pose": [0.005, 0.06, -0.0018, 0, 0, 0], "tail": [0, 0], "tie": [0.0] * 6}


def make(level, **options):
    env = gym.make(f"ENPIRE/CutZipTie-{level.title()}-v0", disable_env_checker=True, **options).unwrapped
    if LEVELS[level].images:  # what cameras see is drawn where a test is about that
        env._pixels = lambda: None
    return env


def act(env, *, to=None, jaw=-1.0):
    """One step towards a place of the hinge [m]."""
    move = np.zeros(3) if to is None else np.clip(0.4 * (np.array(to) - env.cell.read().pivot) / STEP, -1, 1)
    return env.step(np.array([*move, 0, 0, 0, jaw]))


def cut(env, x, z=-0.0018):
    """Go to x along the tail, close, and open; the last step's result."""
    for y in (0.03, 0.009):
        for _ in range(150):
            result = act(env, to=(x, y, z))
            if result[2] or np.abs(np.array((x, y, z)) - env.cell.read().pivot).max() < 0.0004:
                break
    for jaw in (1.0, -1.0):
        for _ in range(30):
            result = act(env, jaw=jaw)
            if result[2]:
                return result
    return result


def test_the_reference_page_shows_every_level():
    page = inspect.getdoc(CutZipTieEnv)
    header = next(line for line in page.splitlines() if line.startswith("| | `intro`"))
    assert all(f"`{level}`: `ENPIRE/CutZipTie-" in header for level in LEVELS)
    for level, numbers in LEVELS.items():
        assert f"{numbers.max_steps} steps ({numbers.max_steps / 30:g} s)" in page, level
        assert f"2 to {1000 * numbers.longest:g} mm" in page, level
        assert (
            f"{'{:g} to {:g}'.format(*numbers.cut_force) if numbers.bend else numbers.cut_force[0]:} N".replace(
                ".0 N", " N"
            )
            in page
        )
        assert f'"{level}"' in page


@pytest.mark.parametrize("level", RANKED)
def test_a_policy_has_what_its_robot_may_have_and_no_more(level):
    env = make(level)
    assert env.task.obs_types == (
        ("pixels_agent_pos",) if LEVELS[level].images else ("state", "environment_state_agent_pos")
    )
    with pytest.raises(ValueError, match="unknown obs_type"):
        make(level, obs_type="pixels")
    if LEVELS[level].images:
        assert set(env.observation_space["pixels"]) == {"side", "wrist"}
        assert env.observation_space["agent_pos"].shape == (13,)
    env.close()


@pytest.mark.parametrize("level", RANKED)
def test_every_episode_draws_within_its_ranges(level):
    numbers, env, drawn = LEVELS[level], make(level), []
    station, model = numbers.station, env.cell.model
    was = {name: getattr(model, name).copy() for name in ("geom_friction", "actuator_gainprm")}
    for seed in range(60):
        _, info = env.reset(seed=seed, options={"station": seed % 6})
        data, start = env.cell.data, info["start"]
        pieces = env.cell.read().pieces
        directions = [(b - a) / np.linalg.norm(b - a) for a, b in pieces]
        bends = [np.degrees(np.arccos(min(1.0, a @ b))) for a, b in pairwise(directions)]
        slip = np.concatenate(
            [
                model.body_pos[env.cell.scene._cutter],
                [2 * np.degrees(np.arccos(min(1, model.body_quat[env.cell.scene._cutter, 0])))],
            ]
        )
        drawn.append({
            "tie": np.abs(start["tie"][:3]), "yaw": abs(np.degrees(start["tie"][5])), "bend": max(bends),
            "length": np.linalg.norm(pieces[:, 1] - pieces[:, 0], axis=1).sum(), "slip": np.abs(slip[:3]).max(), "turned": slip[3],
            "friction": model.geom_friction[0, 0] / was["geom_friction"][0, 0], "force": data.userdata[4], "delay": data.userdata[5],
            "stiffness": model.actuator_gainprm[0, 0] / was["actuator_gainprm"][0, 0],
        })  # fmt: skip
        assert np.allclose(pieces[0, 0], start["tie"][:3], atol=1e-5)
        assert np.allclose(pieces[1:, 0], pieces[:-1, 1], atol=1e-6)
    most = {key: np.max([row[key] for row in drawn], axis=0) for key in drawn[0]}
    least = {key: np.min([row[key] for row in drawn], axis=0) for key in drawn[0]}
    spread = numbers.wide if numbers.wild else numbers.usual
    assert (most["tie"] <= np.add(spread.tie, station.tie) + 1e-9).all()
    assert most["yaw"] <= spread.tie_turn[2] + station.tie_yaw + 1e-9
    assert 0.5 * numbers.bend < most["bend"] <= 1.45 * numbers.bend
    assert 0.04 + numbers.tip[0] - 1e-9 <= least["length"] < most["length"] <= 0.04 + numbers.tip[1] + 1e-9
    assert most["slip"] <= numbers.slip[0] + station.slip[0] + 1e-9
    assert 1.0 < most["turned"] <= 1.8 * (numbers.slip[1] + station.slip[1])
    for key, *factors in (
        ("friction", numbers.friction, station.friction),
        ("stiffness", numbers.stiffness, station.stiffness),
    ):
        assert np.prod([f[0] for f in factors]) <= least[key] < 1 < most[key] <= np.prod([f[1] for f in factors])
    assert numbers.cut_force[0] <= least["force"] < most["force"] <= numbers.cut_force[1]
    assert numbers.delay[0] <= least["delay"] < most["delay"]
    assert numbers.delay[1] <= most["delay"] <= numbers.delay[1] + station.delay
    env.close()


def test_an_action_waits_for_its_delay():
    env = make("state", start="held")
    for seed in range(5):
        env.reset(seed=seed)
        periods, targets, jaws = int(env.cell.data.userdata[5]), [env.cell.read().target[0]], [env.cell.data.act[6]]
        for _ in range(5):
            env.step(np.array([1.0, 0, 0, 0, 0, 0, 1.0]))
            targets.append(env.cell.read().target[0])
            jaws.append(env.cell.data.act[6])
        for row, step in ((targets, STEP), (jaws, -JAW_STEP)):
            assert np.allclose(np.diff(row)[:periods], 0)
            assert np.allclose(np.diff(row)[periods:], step)
    env.close()


def test_a_station_is_a_place_of_its_own_and_draws_the_rest_anew():
    env = make("standard")
    ties = {
        k: np.array([env.reset(seed=s, options={"station": k})[1]["start"]["tie"] for s in range(12)]) for k in (1, 2)
    }
    means = [rows.mean(axis=0) for rows in ties.values()]
    assert np.linalg.norm(np.subtract(*means)[:3]) > 0.003
    again = env.reset(seed=0, options={"station": 1})[1]["start"]["tie"]
    assert again == ties[1][0].tolist()
    env.close()


@pytest.mark.parametrize(("x", "reason"), [(0.005, None), (0.0105, "cut_too_long"), (0.0018, "cut_too_close")])
def test_the_first_cut_decides(x, reason):
    """At `intro` a tail may be trimmed from its tip inwards until what is left happens to be right."""
    env = make("state", start="held")
    env.reset(seed=1, options={"start": BESIDE})
    middle = env.cell.data.body("piece0").xpos + 0.005 * env.cell.data.body("piece0").xmat[::3]
    z = middle[2] - 0.0018
    _, reward, terminated, _, info = cut(env, x, z)
    assert terminated
    assert (info["success"], info.get("reason"), reward) == (reason is None, reason, float(reason is None))
    env.close()


def test_another_strap_must_stay():
    env = make("expert", start="held")
    env.reset(seed=0, options={"start": BESIDE})
    model = env.cell.model
    decoy, main = model.body("decoy0").id, model.geom("main0").id
    model.body_pos[decoy], model.body_quat[decoy] = AXIS, (1, 0, 0, 0)  # where the other one would be
    model.geom_contype[main] = model.geom_conaffinity[main] = 0
    _, reward, terminated, _, info = cut(env, 0.005)
    assert terminated
    assert (info["success"], info["reason"], reward) == (False, "wrong_strap_cut", 0.0)
    env.close()


def test_a_decoy_is_of_another_colour_and_not_in_the_way():
    env = make("expert")
    for seed in range(10):
        env.reset(seed=seed)
        model, data = env.cell.model, env.cell.data
        strap, decoy = (model.material(name).rgba[:3] for name in ("strap", "decoy"))
        assert np.abs(strap - decoy).max() > 0.2
        tie = data.body("tie").xmat.reshape(3, 3)
        sides = [(tie.T @ (data.body(f"decoy{k}").xpos - data.body("tie").xpos))[1] for k in range(2)]
        assert min(sides) < -0.01
        assert max(sides) > 0.01
    env.close()


def test_ideal_sensing_is_exact_at_every_level():
    for level in RANKED:
        env = make(level, sensing="ideal")
        observation, _ = env.reset(seed=4)
        start = env.cell.read().pose
        for _ in range(20):
            observation = env.step(np.array([0.3, 0.2, -0.5, 0, 0, 0.4, 0]))[0]
        r, images = env.cell.read(), LEVELS[level].images
        sensed = observation["agent_pos"] if images else observation[2:15]
        assert sensed == pytest.approx([*(r.pose - start)[2:], r.jaw, r.torque, r.opening, *r.wrench.vector], abs=1e-4)
        if not images:
            along = r.blades[:, 1]
            places = np.concatenate([r.pivot + PIVOT * along, r.pivot - BLADE / 2 * along, r.pieces[0, 0], r.tip])
            assert observation[15:27] == pytest.approx(places - np.tile(start[:3], 4), abs=1e-4)
        env.close()


def test_no_noise_free_force_or_place_is_left_in_what_is_observed():
    """Commanded minus measured pose is a force where the pose is exact, and so is the jaw's angle under its torque."""
    env = make("state")
    left = []
    for seed in range(3):
        observation, _ = env.reset(seed=seed)
        start, policy, over, errors = (
            env.cell.read().pose,
            make_reference(gym.make("ENPIRE/CutZipTie-State-v0")),
            False,
            [],
        )
        policy = type(policy)(env)
        policy.reset(observation)
        while not over:
            observation, _, terminated, truncated, _ = env.step(policy.act(observation))
            over = terminated or truncated
            r = env.cell.read()
            errors.append(np.concatenate([observation[:6] - (r.pose - start), [observation[6] - r.jaw, observation[7] - r.torque],
                                          observation[9:12] - r.wrench.force]))  # fmt: skip
        second = np.diff(errors[:-1], 2, axis=0) / np.sqrt(6)  # of white noise: its own standard deviation
        left.append(
            [second[:, k].std(axis=0).min() for k in (slice(0, 3), slice(3, 6), slice(6, 7), slice(7, 8), slice(8, 11))]
        )
    assert (np.min(left, axis=0) > [4e-5, 4e-4, 2e-3, 8e-3, 0.4]).all()
    env.close()


def test_a_place_is_sensed_once_in_a_control_period():
    for level in ("state", "standard"):
        env = make(level)
        env.reset(seed=0)
        observation = env.step(np.zeros(7))[0]
        readings, seen = env.cell.read(), observation["agent_pos"] if level == "standard" else observation[:15]
        assert all(np.array_equal(env.task.agent_pos(readings), seen) for _ in range(3))
        env.close()


def test_a_grasp_is_kept_as_it_was_and_slips():
    """Where the blades are in the gripper depends on how it was closed, and by more than is sensed."""
    env = make("state", sensing="ideal")
    found = []
    for aside in (-0.002, 0.002):
        start = {"pose": [aside, 0.072, 0.0, 0, 0, 0], "tail": [0, 0], "cutter": [0, 0.072, 0], "tie": [0.0] * 6}
        env.reset(seed=5, options={"start": start})
        for _ in range(120):
            down = env.cell.read().pose[2] > -0.0288
            env.step(np.array([0, 0, -1.0 if down else 0.0, 0, 0, 0, -1.0 if down else 1.0]))
            if env.cell.read().held:
                break
        r = env.cell.read()
        found.append(r.pivot[0] - r.pose[0])
        assert r.opening == 0.5
    assert found[0] - found[1] == pytest.approx(0.004, abs=2e-4)
    assert abs(np.mean(found)) > 1e-4
    env.close()


@pytest.mark.parametrize("level", ["state", "expert", "fleet"])
def test_the_reference_solves_it_and_going_straight_does_not(level):
    env = make(level)
    outcomes = {"Expert": [], "Naive": []}
    for kind, done in outcomes.items():
        for seed in range(3):
            observation, _ = env.reset(seed=seed, options={"station": seed})
            policy = type(make_reference(gym.make("ENPIRE/CutZipTie-State-v0"), kind))(env)
            policy.reset(observation)
            over = False
            while not over:
                observation, _, terminated, truncated, info = env.step(policy.act(observation))
                over = terminated or truncated
            done.append(info["success"])
    assert outcomes == {"Expert": [True] * 3, "Naive": [False] * 3}
    env.close()


def test_cameras_see_what_is_to_be_cut():
    """The stub's place shows: a cut 6 mm nearer the head is another image in both cameras, and not by noise."""
    env = gym.make("ENPIRE/CutZipTie-Standard-v0", disable_env_checker=True, start="held").unwrapped
    seen = []
    for x in (0.005, 0.011, 0.005):
        start = {"pose": [x, 0.0485, -0.0018, 0, 0, 0], "tail": [0, 0], "tie": [0.0] * 6}
        seen.append(env.reset(seed=3, options={"start": start})[0]["pixels"])
    for camera in ("side", "wrist"):
        assert np.array_equal(seen[0][camera], seen[2][camera])
        changed = np.abs(seen[0][camera].astype(int) - seen[1][camera]).max(axis=2) > 30
        assert changed.sum() > 40
    env.close()
