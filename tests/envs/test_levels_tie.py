"""Tying's levels: they draw, sense and look as their table says, and what they change of strap, head and ratchet is physical."""

import importlib.util
import inspect

import gymnasium as gym
import numpy as np
import pytest
from enpire_envs.reference import make_reference
from enpire_envs.registry import entry_of, folder
from enpire_envs.tie_zip_tie.env import TieZipTieEnv
from enpire_envs.tie_zip_tie.levels import LEVELS
from enpire_envs.tie_zip_tie.scene import CAMERAS, HALF_Y, HALF_Z, LINK, LINKS, SLOT, SLOT_CLEARANCE, WALL
from making import make

RANKED = [level for level in LEVELS if level != "intro"]
FORWARD = np.array([1.0, 0, 0, 0, 0, 0, 1.0])


def env_of(level, **options):
    return make(f"ENPIRE/TieZipTie-{level.title()}-v0", **options)


def straight_start(**other):
    """In front of a head that is neither displaced nor turned by the episode."""
    return {"tip": [-0.006, 0, 0], "turn": [0, 0, 0], "grip": 0.04, "head": [0] * 6, **other}


def test_a_level_by_id_and_by_name_are_the_same():
    by_id, by_name = env_of("state"), gym.make("ENPIRE/TieZipTie-v0", level="state")
    assert by_id.unwrapped.limit.default == by_name.unwrapped.limit.default == 450
    rng = np.random.default_rng(0)
    assert np.array_equal(by_id.reset(seed=3)[0], by_name.reset(seed=3)[0])
    for _ in range(20):
        action = rng.uniform(-1, 1, 7)
        assert np.array_equal(by_id.step(action)[0], by_name.step(action)[0])
    with pytest.raises(ValueError, match="unknown level 'easy'; choose one of: intro, state, standard, expert, fleet"):
        gym.make("ENPIRE/TieZipTie-v0", level="easy")


def said(value: float) -> str:
    return f"{value:.6g}"


def test_the_reference_page_shows_every_level():
    """Row by row, so that a number that changes in the levels must change in the table."""
    page = inspect.getdoc(TieZipTieEnv)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    tables = [k for k, row in enumerate(rows) if row[0] == "" and "`ENPIRE/" in row[1]]
    shown = {}
    for k in tables:
        for column, title in enumerate(rows[k][1:], 1):
            shown[title.split("`")[1]] = {row[0]: row[column] for row in rows[k + 2 : k + 20] if len(row) > column}
    assert list(shown) == list(LEVELS)
    for level, numbers in LEVELS.items():
        low, high = (said(1000 * part) for part in numbers.clearance)
        assert shown[level]["time limit"] == f"{numbers.max_steps} steps ({numbers.max_steps / 30:g} s)"
        assert shown[level]["slot less strap"] == (f"{low} to {high} mm" if low != high else f"{high} mm")
        assert f"`ENPIRE/TieZipTie-{'' if level == 'intro' else level.title() + '-'}v0`" in page
    for level in ("state", "standard", "expert", "fleet"):
        metres, degrees = LEVELS[level].head
        row = shown[level]["the head" if level == "state" else "the head displaced, turned"]
        assert f"{said(1000 * metres)} mm" in row
        assert f"{said(degrees)} degrees" in row
        drag = "the ratchet's pawl holds back with" if level == "state" else "pawl"
        assert shown[level][drag] == "{} to {} N".format(*map(said, LEVELS[level].drag))
        if level != "state":
            light = "{} to {} times".format(*map(said, LEVELS[level].look.light))
            assert shown[level]["light of an episode"].startswith((light, "as `standard`"))
    for level in ("intro", "state"):
        (aside, turned), (far, further) = LEVELS[level].off, LEVELS[level].far
        row = shown[level]["tip aside of the slot, and up or down; gripper turned about y and z"]
        assert row == f"{said(1000 * aside)} mm, {said(turned)} degrees"
        assert f"{'`intro`' if level == 'intro' else 'else'} {said(1000 * far)} mm, {said(further)} deg" in page
    friction, low, high = LEVELS["state"].friction
    assert shown["state"]["friction"] == f"{said(friction * low)} to {said(friction * high)}"


@pytest.mark.parametrize("level", ["state", "expert"])
def test_every_episode_draws_another_strap_slot_ratchet_and_drive(level):
    env, numbers = env_of(level), LEVELS[level]
    cell = env.unwrapped.cell
    model, scene, drawn = cell.model, cell.scene, []
    sizes = model.geom_aabb[:, 3:].copy()
    station = scene._station
    for seed in range(60):
        _, info = env.reset(seed=seed)
        readings, start = cell.read(), info["start"]
        assert np.allclose(readings.tip, start["tip"], atol=1e-6)
        assert np.allclose(readings.pose[3:], start["turn"], atol=1e-9)
        assert np.allclose(readings.head, station.head + start["head"])
        slot = []
        for walls, axis, half in ((scene._walls[:2], 1, HALF_Y), (scene._walls[2:], 2, HALF_Z)):
            inner = np.abs(model.geom_pos[walls, axis]) - model.geom_size[walls, axis]
            outer = np.abs(model.geom_pos[walls, axis]) + model.geom_size[walls, axis]
            assert np.allclose(outer, half + WALL)
            assert (model.geom_size[walls, axis] <= sizes[walls, axis] + 1e-12).all()  # else MuJoCo would miss contacts
            slot += list(SLOT_CLEARANCE - 2 * (half - inner))
        rest = np.degrees(scene.rest(model))
        stiffness = model.actuator_gainprm[0, 0] / 1500 / station.stiffness
        assert model.actuator_biasprm[0, 1] == -model.actuator_gainprm[0, 0]
        friction = model.geom_friction[scene._walls[0], 0] / station.friction / numbers.friction[0]
        flex = model.jnt_stiffness[scene._bends[0]] / 0.02
        drawn.append([min(slot), max(slot), scene._drag / station.drag, stiffness, friction, flex, cell.data.userdata[1],
                      np.abs(rest[:, 0]).max(), np.abs(rest[:, 1]).max(), abs(start["head"][5])])  # fmt: skip
        assert {"head", "grip", "tip", "turn"} == set(start)
    bend, sway, each = numbers.curl
    lows = [numbers.clearance[0]] * 2 + [numbers.drag[0], *(pair[0] for pair in (numbers.stiffness, numbers.friction[1:], numbers.flex)), 1, 0, 0, 0]  # fmt: skip
    highs = [numbers.clearance[1]] * 2 + [numbers.drag[1], numbers.stiffness[1], numbers.friction[2], numbers.flex[1], 3,
             bend + each + numbers.kink, sway + each, np.radians(numbers.head[1])]  # fmt: skip
    least, most = np.min(drawn, axis=0), np.max(drawn, axis=0)
    span = np.subtract(highs, lows)
    assert (least >= np.array(lows) - 1e-9).all()
    assert (most <= np.array(highs) + 1e-9).all()
    assert (most > lows + 0.6 * span).all()
    assert (least < lows + 0.5 * span).all()
    env.close()


def test_a_curled_strap_starts_at_rest():
    env = env_of("expert")
    for seed in range(4):
        env.reset(seed=seed)
        cell = env.unwrapped.cell
        tip = cell.read().tip.copy()
        for _ in range(10):
            cell.apply(np.array([0, 0, 0, 0, 0, 0, 1.0]))
        assert np.abs(cell.read().tip - tip).max() < 0.0012  # it sags a little, and does not spring
    env.close()


def pushed(level="state", seed=0, **start):
    """An environment at a start, its drag and its strap's rest as drawn."""
    env = env_of(level)
    env.reset(seed=seed, options={"start": straight_start(**start)})
    return env.unwrapped


def test_the_ratchet_holds_and_counts_in_a_head_that_is_turned():
    """A reference that threads a turned head; then a pull along the slot, which is not x."""
    env = env_of("state")
    head = [0.003, -0.002, 0.003, 0, 0.1, -0.1]
    observation, _ = env.reset(seed=2, options={"start": straight_start(head=head)})
    cell, policy = env.unwrapped.cell, make_reference(env)
    policy.reset(observation)
    while cell.read().past < 0.009:
        _, _, terminated, truncated, _ = env.step(policy.act(observation))
        assert not terminated
        assert not truncated
    for _ in range(12):
        env.step(np.array([0, 0, 0, 0, 0, 0, -1.0]))
    before = cell.read()
    assert not before.held
    behind = np.flatnonzero(before.nodes[:-1, 0] + LINK / 2 < 0)[-1]
    cell.scene.pull_back(cell.model, cell.data, cell.model.body(f"link{behind}").id, 40.0, steps=20)
    assert before.past - cell.read().past <= 0.0011
    env.close()


def test_the_pawl_holds_back_as_hard_as_it_is_drawn():
    for seed in range(3):
        env = pushed(seed=seed, grip=0.025)
        cell, scene = env.cell, env.cell.scene
        policy = make_reference(env)
        policy.reset(None)
        felt = []
        for _ in range(200):
            env.cell.apply(env.task.command(policy.act(None)))
            readings = cell.read()
            if 0.003 < readings.past < 0.008:
                felt.append(-float(readings.wrench.force[0]))
        friction = 4 * 0.225  # what rubs, at most
        assert scene._drag - 0.1 < np.median(felt) < scene._drag + friction, (scene._drag, np.median(felt))
        env.close()


def test_what_is_bent_too_far_stays_bent_and_less_springs_back():
    for level, kept in (("expert", True), ("standard", False)):
        env = pushed(level)
        cell, scene = env.cell, env.cell.scene
        joint = scene._rest[-4]
        rest = cell.model.qpos_spring[joint]
        for bent, stays in ((0.1, False), (0.6, kept)):
            cell.data.qpos[joint] = rest + bent
            scene.drive(cell.model, cell.data, np.zeros(7))
            assert cell.model.qpos_spring[joint] == pytest.approx(rest + (bent - 0.2 if stays else 0))
        env.close()


@pytest.mark.parametrize("aside", [(0.0, 0.006), (0.007, 0.0)])
def test_a_strap_beside_a_turned_head_earns_nothing(aside):
    env = env_of("state")
    env.reset(seed=0, options={"start": straight_start(tip=[-0.006, *aside], grip=0.05, head=[0, 0, 0, 0, 0.1, 0.1])})
    for _ in range(150):
        _, _, terminated, truncated, info = env.step(FORWARD)
        assert info["past"] == 0
        if terminated or truncated:
            break
    assert not info["success"]
    env.close()


# -- what is sensed ----------------------------------------------------------------------------------------------------
def test_ideal_sensing_is_exact():
    env = gym.make("ENPIRE/TieZipTie-v0", level="state", sensing="ideal", disable_env_checker=True)
    env.reset(seed=4)
    start = env.unwrapped.cell.read().pose
    for _ in range(10):
        observation = env.step(np.array([0.3, 0.2, -1.0, 0, 0.5, 0.5, 1.0]))[0]
    readings = env.unwrapped.cell.read()
    assert observation[:6] == pytest.approx(readings.pose - start, abs=1e-7)
    assert observation[8:14] == pytest.approx(readings.wrench.vector, abs=1e-4)
    assert observation[14:17] == pytest.approx(readings.head[:3] - start[:3], abs=1e-7)
    assert observation[17:20] == pytest.approx(readings.in_scene(readings.tip) - start[:3], abs=1e-7)
    assert observation[22:24] == pytest.approx(readings.head[4:], abs=1e-7)
    along = readings.axes @ (readings.nodes[-1] - readings.nodes[-2]) / LINK
    ry, rz = observation[26:28]
    assert along == pytest.approx([np.cos(ry) * np.cos(rz), np.sin(rz), -np.sin(ry) * np.cos(rz)], abs=1e-5)
    assert observation[[20, 24, 25, 28]] == pytest.approx([1, 0, 1, 0])
    env.close()


def test_the_tip_is_not_seen_inside_the_head_and_its_estimate_ages():
    env = gym.make("ENPIRE/TieZipTie-v0", level="state", sensing="ideal", disable_env_checker=True)
    observation, _ = env.reset(seed=1, options={"start": straight_start(grip=0.03)})
    policy, hidden = make_reference(env), []
    policy.reset(observation)
    while env.unwrapped.cell.read().past < 0.002:
        before, observation = observation, env.step(policy.act(observation))[0]
        if not observation[20]:
            hidden.append(observation[28])
            assert np.array_equal(observation[17:20], before[17:20])
    assert len(hidden) > 10
    assert np.allclose(np.diff(hidden), 1 / 30, atol=1e-6)
    assert observation[20] == 1
    env.close()


@pytest.mark.parametrize("level", ["state", "standard"])
def test_no_noise_free_force_is_left_in_what_is_observed(level):
    """Commanded minus measured pose is a force where the pose is exact; here it is not known to 20 um and 0.3 mrad even with hindsight."""
    env = env_of(level)
    first = 2 if level == "standard" else 0  # x and y are not observed
    errors = []
    for seed in range(2):
        observation, _ = env.reset(seed=seed)
        start, policy, over, rows = env.unwrapped.cell.read().pose, make_reference(env), False, []
        policy.reset(observation)
        while not over:
            observation, _, terminated, truncated, _ = env.step(policy.act(observation))
            over = terminated or truncated
            sensed = observation["agent_pos"] if level == "standard" else observation
            readings = env.unwrapped.cell.read()
            wrench = sensed[-6:] if level == "standard" else sensed[8:14]
            rows.append(
                [*(sensed[: 6 - first] - (readings.pose - start)[first:]), *(wrench[:3] - readings.wrench.force)]
            )
        errors.append(
            (np.diff(rows[:-1], 2, axis=0) / np.sqrt(6)).std(axis=0)
        )  # of white noise: its own standard deviation
    least = np.min(errors, axis=0)
    assert least[: 3 - first].min() > 2e-5
    assert least[3 - first : 6 - first].min() > 3e-4
    assert least[6 - first :].min() > 0.4
    env.close()


def test_proprioception_is_sensed_once_in_a_control_period():
    """However often it is asked for, so that asking again does not average the noise away."""
    env = env_of("standard").unwrapped
    env.reset(seed=0)
    observation = env.step(np.zeros(7))[0]["agent_pos"]
    readings = env.cell.read()
    assert observation.shape == (12,)
    assert all(np.array_equal(env.task.agent_pos(readings), observation) for _ in range(3))
    env.close()


# -- what is seen ------------------------------------------------------------------------------------------------------
def pixel_of(cell, camera, point, size=96):
    """Where a point (3,) of the scene is in a camera's picture: (column, row)."""
    place, axes = cell.data.cam(camera).xpos, cell.data.cam(camera).xmat.reshape(3, 3)
    x, y, z = axes.T @ (np.asarray(point) - place)
    scale = size / 2 / np.tan(np.radians(cell.model.cam(camera).fovy[0]) / 2)
    return size / 2 - 0.5 + scale * x / -z, size / 2 - 0.5 - scale * y / -z


@pytest.mark.parametrize("level", ["standard", "fleet"])
def test_both_pictures_show_where_the_tip_is_from_the_slot(level):
    """To half the play that the strap has in the slot, by colour alone, whatever the light, the colours and the cameras are."""
    env = env_of(level, observation_width=96, sensing="ideal")
    off = []
    for seed in range(10):
        observation, _ = env.reset(seed=seed, options={"station": seed})
        cell, readings = env.unwrapped.cell, env.unwrapped.cell.read()
        for camera in CAMERAS:
            r, g, b = np.moveaxis(observation["pixels"][camera].astype(int), 2, 0)
            red, blue = np.argwhere((r > 1.5 * b) & (g - b < 0.4 * (r - b))), np.argwhere(b > 1.5 * r)
            assert len(red) > 15
            assert len(blue) > 60
            middle = readings.in_scene(np.array([SLOT / 2, 0, 0]))
            link = readings.in_scene(readings.nodes[-2:].mean(axis=0))
            for found, point in ((red, link), (blue, middle)):
                column, row = pixel_of(cell, camera, point)
                off.append((found.mean(axis=0)[::-1] - (column, row)) * 0.0005)
    assert np.abs(off).max() < 0.0006
    assert np.sqrt(np.square(off).mean()) < 0.00025
    env.close()


def test_another_zip_tie_lies_about_and_is_met_by_nothing():
    env = env_of("expert", observation_width=96)
    places, model = [], env.unwrapped.cell.model
    body = model.body("distractor").id
    for seed in range(6):
        env.reset(seed=seed)
        places.append(model.body_pos[body].copy())
    assert np.ptp(places, axis=0)[:2].min() > 0.02
    own = np.flatnonzero(model.geom_bodyid == body)
    assert len(own) == 9
    assert not model.geom_contype[own].any()
    assert not model.geom_conaffinity[own].any()
    with pytest.raises(KeyError):
        env_of("standard").unwrapped.cell.model.body("distractor")
    env.close()


def test_cameras_are_knocked_between_episodes_and_further_at_expert():
    for level in ("standard", "expert"):
        env, knock = env_of(level), LEVELS[level].look.camera[0]
        model, seen = env.unwrapped.cell.model, []
        for seed in range(8):
            env.reset(seed=seed)
            seen.append(model.cam_pos[[model.cam(name).id for name in CAMERAS]].copy())
        env.reset(seed=0, options={"station": 9})
        other = model.cam_pos[[model.cam(name).id for name in CAMERAS]]
        assert knock < np.ptp(seen, axis=0).max() <= 2 * knock
        assert not np.allclose(seen[0], other)
        env.close()


# -- stations and starts -----------------------------------------------------------------------------------------------
def test_stations_differ_within_their_ranges_and_more_at_fleet():
    ranges = {}
    for level in ("state", "fleet"):
        env, spec = env_of(level).unwrapped, LEVELS[level].station
        drawn = []
        for seed in range(60):
            env._install(seed)
            station = env.cell.scene._station
            drawn.append([station.friction, station.drag, station.stiffness, env.task._backlash, *np.abs(station.head[:3]), *station.head[4:]])  # fmt: skip
        least, most = np.min(drawn, axis=0), np.max(drawn, axis=0)
        for k, pair in enumerate((spec.friction, spec.drag, spec.stiffness, spec.backlash)):
            assert pair[0] <= least[k] < most[k] <= pair[1]
        assert most[4:7].max() <= spec.head[0]
        assert np.degrees(np.abs(most[7:])).max() <= spec.head[1]
        ranges[level] = most - least
        env.close()
    assert (ranges["fleet"] > ranges["state"]).all()


def test_a_quarter_of_the_experts_starts_are_from_the_wider_range():
    task = env_of("expert").unwrapped.task
    (aside, _), (wider, _) = LEVELS["expert"].off, LEVELS["expert"].far
    beyond = 0.25 * (1 - (aside / wider) ** 2)  # the others of that quarter lie in the usual square
    assert beyond > 0.15
    starts = [task.sample_start(np.random.default_rng(seed), "id") for seed in range(600)]
    far = np.mean([max(map(abs, start["tip"][1:])) > aside for start in starts])
    assert beyond - 0.05 < far < beyond + 0.05


@pytest.mark.parametrize("level", RANKED)
def test_the_reference_ties_and_pushing_straight_ahead_does_not(level):
    """A slice; 200 starts of each are in the catalogue."""
    env = env_of(level)
    done = {}
    for kind, seeds in (("Expert", range(3)), ("Naive", range(2))):
        done[kind] = []
        for seed in seeds:
            observation, _ = env.reset(seed=seed, options={"station": seed})
            policy, over = make_reference(env, kind), False
            policy.reset(observation)
            while not over:
                observation, _, terminated, truncated, info = env.step(policy.act(observation))
                over = terminated or truncated
            done[kind].append(info["success"])
    assert all(done["Expert"])
    assert not any(done["Naive"])
    env.close()


@pytest.mark.parametrize("env_id", ["ENPIRE/TieZipTie-v0", "ENPIRE/TieZipTie-State-v0", "ENPIRE/TieZipTie-Expert-v0"])
@pytest.mark.parametrize("name", ["policy.Policy", "parametric.ParametricPolicy"])
def test_the_starters_run_at_every_level(env_id, name):
    file, cls = name.split(".")
    spec = importlib.util.spec_from_file_location(file, folder(entry_of(env_id).template) / f"{file}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    env = make(env_id, observation_width=96)
    observation, _ = env.reset(seed=0)
    policy = getattr(module, cls)(env.observation_space, env.action_space)
    policy.reset(observation)
    for _ in range(20):
        action = policy.act(observation)
        assert action.shape == (7,)
        assert np.isfinite(action).all()
        observation = env.step(action)[0]
    assert env.unwrapped.cell.read().nodes.shape == (LINKS + 1, 3)
    env.close()
