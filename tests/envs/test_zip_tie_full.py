"""The whole zip tie: success takes a tie that is locked, tight and cut where it may be, whatever order a policy tries things in."""

import mujoco
import numpy as np
import pytest
from enpire_envs import end_effector
from enpire_envs.cut_zip_tie.parts import PIVOT
from enpire_envs.reference import make_reference
from enpire_envs.tie_zip_tie.scene import LINK, LINKS, SLOT
from enpire_envs.zip_tie_full.scene import ZipTieFullScene
from enpire_envs.zip_tie_full.task import TAIL, TIGHT
from making import make

ID = "ENPIRE/ZipTieFull-v0"
OPEN, CLOSE = np.array([0, 0, 0, 0, 0, 0, -1.0]), np.array([0, 0, 0, 0, 0, 0, 1.0])
LEVER = 0.009  # from the hinge to what is cut [m]


@pytest.fixture
def env():
    made = make(ID).unwrapped
    made.reset(seed=0)
    yield made
    made.close()


def put(env, pose):
    """Let the gripper be somewhere (6,) [m, rad], at rest."""
    cell = env.cell
    end_effector.place(cell.data, np.array(pose, dtype=float))
    cell.data.qvel[:6] = 0
    mujoco.mj_forward(cell.model, cell.data)


def thread(env, past):
    """As if a policy had pushed so much of the strap through [m] and gone away with an open gripper; below 0 it lies before the head."""
    cell = env.cell
    model, data, scene = cell.model, cell.data, cell.scene
    data.eq_active[:] = 0
    data.userdata[0] = 1.0
    at = model.joint("strap").qposadr[0]
    data.qpos[at : at + 3] = scene._head[:3] + scene._axes[:, 0] * (SLOT + past - LINKS * LINK)
    mujoco.mju_mat2Quat(data.qpos[at + 3 : at + 7], scene._axes.ravel())
    data.qpos[scene._rest] = 0
    data.qvel[:] = 0
    put(env, [0.03, 0.072, 0.02, 0, 0, 0])
    for _ in range(6):
        cell.apply(np.zeros(7))
    return cell.read()


def fetch(env):
    """Take the cutter from where it lies."""
    r = env.cell.read()
    yaw = np.arctan2(r.blades[1, 0], r.blades[0, 0])
    put(env, [*(r.pivot + PIVOT * r.blades[:, 1]), 0, 0, yaw])
    for _ in range(6):
        env.cell.apply(CLOSE)
    for _ in range(6):  # what was under way would close the jaw
        env.cell.apply(OPEN)
    return env.cell.read()


def bring(env, x, along=LEVER, spot=None):
    """Put the blades level and across the slot's axis `x` beyond the head [m], or about another point (3,) of the head's frame."""
    for _ in range(3):
        r = env.cell.read()
        at = r.in_scene(np.array([SLOT + x, 0, 0]) if spot is None else spot)
        across, now, above = r.along_blades(at)
        pose = r.pose.copy()
        off = r.blades @ r.axes.T
        pose[3:] -= np.array([off[2, 1] - off[1, 2], off[0, 2] - off[2, 0], off[1, 0] - off[0, 1]]) / 2
        pose[:3] += r.blades @ np.array([across, along - now, above - 0.0018])
        put(env, pose)


def snip(env):
    """Close the blades and open them again; the last step's result."""
    for jaw in (CLOSE, OPEN):
        for _ in range(30):
            result = env.step(jaw)
            if result[2]:
                return result
    return result


def cut(env, past, x):
    """The result of cutting at `x` beyond the head a strap of which so much is through."""
    thread(env, past)
    fetch(env)
    bring(env, x)
    return snip(env)


def test_a_tight_strap_that_is_cut_close_to_its_head_is_a_success(env):
    r = thread(env, 0.055)
    assert r.past == pytest.approx(0.055, abs=0.0005)
    assert r.past + r.loop == pytest.approx(LINKS * LINK - SLOT)
    assert fetch(env).has_cutter
    bring(env, 0.0055)
    _, reward, terminated, _, info = snip(env)
    assert (reward, terminated, info["success"], info["stage"], info["score"]) == (1.0, True, True, "success", 1.0)
    r = env.cell.read()
    assert r.severed
    assert 0.003 < r.past < 0.006
    assert info["gap"] > 0.005
    assert "reason" not in info


@pytest.mark.parametrize(
    ("past", "x", "reason"),
    [
        (0.055, 0.0012, "cut_too_close"),
        (0.055, 0.012, "cut_too_long"),
        (0.040, 0.0055, "loose"),
        (0.055, -0.030, "loop_cut"),
    ],
)
def test_the_first_cut_decides(env, past, x, reason):
    """Trimming in slices, cutting a strap that is not tight, cutting the loop."""
    _, reward, terminated, _, info = cut(env, past, x)
    assert (reward, terminated, info["success"], info["reason"]) == (0.0, True, False, reason)
    assert info["score"] < 1


def test_a_strap_cannot_be_cut_before_it_is_through(env):
    """To fetch the cutter, the fingers must let go of it."""
    thread(env, -0.02)
    for _ in range(40):
        _, reward, terminated, _, info = env.step(OPEN)
        if terminated:
            break
    assert (reward, info["violations"]) == (0.0, ["strap_dropped"])


def test_a_strap_that_is_held_aloft_and_cut_is_no_success(env):
    """The blades themselves can bear a strap that was never threaded."""
    thread(env, -0.02)
    model, data = env.cell.model, env.cell.data
    model.body_gravcomp[env.cell.scene._links] = 1.0
    data.qvel[:] = 0
    r = fetch(env)
    bring(env, 0, spot=r.nodes[8:10].mean(axis=0))
    _, reward, terminated, _, info = snip(env)
    assert terminated
    assert reward == 0.0
    assert info["reason"] == "loop_cut"
    assert data.userdata[3] == 0


def test_a_strap_beside_the_head_or_all_the_way_through_does_not_count(env):
    thread(env, 0.055)
    cell = env.cell
    at = cell.model.joint("strap").qposadr[0]
    for shift in (cell.scene._axes[:, 1] * 0.008, cell.scene._axes[:, 0] * 0.2):
        before = cell.data.qpos[at : at + 3].copy()
        cell.data.qpos[at : at + 3] += shift
        mujoco.mj_forward(cell.model, cell.data)
        r = cell.read()
        assert r.past == 0
        assert r.loop > TIGHT
        assert not env.task.candidate(r)
        cell.data.qpos[at : at + 3] = before


def test_the_tug_finds_a_head_that_does_not_hold(env, monkeypatch):
    thread(env, 0.055)
    fetch(env)
    bring(env, 0.0055)
    for _ in range(25):
        env.step(CLOSE)
    assert env.cell.read().severed

    def broken(self, model, data):
        model.tendon_range[:, 1] = 3.0

    monkeypatch.setattr(ZipTieFullScene, "_engage_ratchet", broken)
    verdict = env.task.verify(env.cell)
    assert (verdict.success, verdict.reason) == (False, "unlocked")
    assert env.cell.read().past < 0


def test_a_cutter_that_is_held_cannot_be_dropped_and_cuts_only_by_closing(env):
    thread(env, 0.055)
    fetch(env)
    for _ in range(20):
        env.cell.apply(OPEN)
    assert env.cell.read().has_cutter
    bring(env, 0.0055, along=0.015)
    for velocity in (0.05, -0.05):  # struck from below and above, harder than any policy can
        for _ in range(10):
            env.cell.apply(np.array([0, 0, velocity, 0, 0, 0, -1.0]))
    r = env.cell.read()
    assert not r.severed
    assert not r.loop_cut


def test_blades_that_press_too_little_or_over_a_joint_of_two_links(env):
    thread(env, 0.055)
    fetch(env)
    model = env.cell.model
    limits = model.actuator_forcerange[6].copy()
    model.actuator_forcerange[6] = [-0.15, 0.15]  # 17 N at this lever
    bring(env, 0.005)  # where one link ends: 105 mm are before it
    for _ in range(30):
        env.step(CLOSE)
    r = env.cell.read()
    assert not r.severed
    assert np.tan(r.jaw) * LEVER > 0.0006  # the strap is still between them, 1.4 mm thick
    for _ in range(20):
        env.step(OPEN)
    model.actuator_forcerange[6] = limits
    bring(env, 0.005)
    env.cell.data.userdata[2] = 45.0  # more than either link would feel of 60 N
    snip(env)
    assert env.cell.read().severed


def test_nothing_appears_or_vanishes_in_a_cut_but_the_kerf(env):
    thread(env, 0.055)
    fetch(env)
    bring(env, 0.0055)
    for _ in range(30):
        env.cell.apply(CLOSE)
        if env.cell.read().severed:
            break
    r, model, scene = env.cell.read(), env.cell.model, env.cell.scene
    there = model.geom_contype[scene._shown] > 0
    tail = 2 * model.geom_size[scene._shown[there], 0].sum()
    assert tail + r.past + r.loop + SLOT == pytest.approx(LINKS * LINK, abs=0.0025)
    assert tail + r.past + r.loop + SLOT < LINKS * LINK - 0.0009
    kept = model.geom_contype[scene._strap] > 0
    assert kept.sum() + there.sum() in (LINKS, LINKS + 1)
    assert 2 * model.geom_size[scene._strap[kept], 0].sum() == pytest.approx(r.past + r.loop + SLOT, abs=1e-4)


def test_the_gripper_takes_one_thing_at_a_time(env):
    r = env.cell.read()
    assert (r.held, r.has_cutter) == (True, False)
    put(env, [*(r.pivot + PIVOT * r.blades[:, 1]), 0, 0, 0])
    for _ in range(8):
        env.cell.apply(CLOSE)
    assert not env.cell.read().has_cutter  # fingers that are closed on a strap are not open for a cutter
    thread(env, 0.055)
    fetch(env)
    for _ in range(20):
        env.cell.apply(CLOSE)
    r = env.cell.read()
    assert (r.held, r.has_cutter, r.opening) == (False, True, 0.5)


def test_the_reference_reaches_every_sub_goal_in_order():
    env = make(ID)
    policy, scores, ended = make_reference(env), [0.0], False
    observation, _ = env.reset(seed=5, options={"station": 3})
    policy.reset(observation)
    while not ended:
        observation, reward, terminated, truncated, info = env.step(policy.act(observation))
        ended = terminated or truncated
        scores.append(info["score"])
    assert info["success"]
    assert reward == 1.0
    assert sorted(set(scores)) == pytest.approx(np.arange(8) / 7)
    assert (np.diff(scores) >= 0).all()
    assert env.observation_space.contains(observation)
    env.close()


def test_a_reset_brings_strap_and_cutter_back_whatever_has_been_cut(env):
    before, info = env.reset(seed=9)
    snapshot = env.cell.snapshot()
    cut(env, 0.055, 0.0055)
    assert env.task.ready(env.cell.read(), info["start"]) == "the strap has been cut already"
    again, _ = env.reset(seed=9)
    assert np.array_equal(before, again)
    for name, value in env.cell.snapshot().items():
        assert np.array_equal(value, snapshot[name]), name


def test_what_is_sensed_of_the_strap_and_the_cutter():
    env = make(ID, sensing="ideal").unwrapped
    _, info = env.reset(seed=1)
    names, start = env.task.state_names, env.cell.read().pose[:3].copy()
    o = dict(zip(names, env.task.observe(env.cell.read()), strict=True))
    r = env.cell.read()
    assert [o["slot_x"], o["slot_y"], o["slot_z"]] == pytest.approx(r.head[:3] - start, abs=1e-6)
    assert [o["tip_x"], o["tip_y"], o["tip_z"]] == pytest.approx(r.in_scene(r.tip) - start, abs=1e-6)
    handle = r.pivot + PIVOT * r.blades[:, 1]
    assert [o["handle_x"], o["handle_y"], o["handle_z"]] == pytest.approx(handle - start, abs=1e-6)
    assert handle == pytest.approx(np.add(env.cell.scene.cutter, (*info["start"]["cutter"][:2], 0)), abs=1e-6)
    assert (o["has_strap"], o["has_cutter"], o["tip_valid"], o["cutter_valid"]) == (1, 0, 1, 1)
    thread(env, TAIL)
    fetch(env)
    o = dict(zip(names, env.task.observe(env.cell.read()), strict=True))
    assert (o["has_strap"], o["has_cutter"], o["gripper"]) == (0, 1, 0.5)
    assert o["past"] == pytest.approx(TAIL, abs=0.0005)
    assert o["jaw"] > 0.4
    bring(env, 0.0055)
    for _ in range(25):
        env.step(CLOSE)
    o = dict(zip(names, env.task.observe(env.cell.read()), strict=True))
    assert o["tip_valid"] == 0
    assert o["past"] < 0.01
    assert o["jaw_torque"] < 0
    env.close()


def test_stations_put_head_and_cutter_elsewhere_within_their_ranges(env):
    cutters = []
    for station in range(40):
        _, info = env.reset(seed=0, options={"station": station})
        cutters.append(env.cell.scene.cutter[:2] - (0.030, 0.072))
        assert env.cell.read().head[:3] == pytest.approx(env.cell.scene._station.head[:3] + info["start"]["head"][:3])
    most = np.abs(cutters).max(axis=0)
    assert (most <= (0.008, 0.004)).all()
    assert (most > (0.006, 0.003)).all()


@pytest.mark.parametrize("cutter", [[0.05, 0, 0], [0, 0.02, 0], [0, 0, 0.6]])
def test_a_cutter_that_would_not_lie_on_its_post_is_refused(env, cutter):
    start = env.task.sample_start(np.random.default_rng(0), "id")
    with pytest.raises(ValueError, match="the cutter must be within"):
        env.reset(options={"start": {**start, "cutter": cutter}})
