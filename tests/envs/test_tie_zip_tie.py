"""Physics of tying: the ratchet holds, what runs beside the head does not count, grasps come and go."""

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from enpire_envs.tie_zip_tie.scene import LINK, LINKS, SLOT, past_head

ID = "ENPIRE/TieZipTie-v0"
FORWARD = np.array([0.0075, 0, 0, 0, 0, 0, 1.0])


def threaded(past=0.012, grip=0.035):
    """An environment whose strap has been pushed straight through."""
    env = gym.make(ID, disable_env_checker=True).unwrapped
    env.reset(seed=0, options={"start": {"tip": [-0.006, 0, 0], "turn": [0, 0, 0], "grip": grip}})
    for _ in range(300):
        if env.cell.read().past >= past:
            break
        env.cell.apply(FORWARD)
    assert env.cell.read().past >= past
    return env


def run(cell, steps, command=None):
    for _ in range(steps):
        cell.apply(np.zeros(7) if command is None else command)


@pytest.mark.parametrize("force", [10.0, 40.0])
def test_the_ratchet_holds_with_at_most_a_tooth_of_slip(force):
    env = threaded()
    cell = env.cell
    run(cell, 20, np.array([0, 0, 0, 0, 0, 0, -1.0]))  # let go
    assert not cell.read().held
    before = cell.read().past
    starts = cell.data.xpos[[cell.model.body(f"link{k}").id for k in range(LINKS)]]
    pulled = cell.model.body(f"link{int(np.flatnonzero(starts[:, 0] + LINK / 2 < 0)[-1])}").id
    cell.scene.pull_back(cell.model, cell.data, pulled, force, steps=30)
    assert before - cell.read().past <= 0.0011
    env.close()


def test_without_its_ratchet_the_strap_slides_out_and_the_verifier_says_so(monkeypatch):
    env = threaded(past=0.017)
    assert env.task.candidate(env.cell.read())
    monkeypatch.setattr(
        type(env.cell.scene),
        "_engage_ratchet",
        lambda self, model, data: model.tendon_range.__setitem__((slice(None), 1), 3.0),
    )
    verdict = env.task.verify(env.cell)
    assert not verdict.success
    assert verdict.reason in ("pulled_out", "too_short")
    env.close()


def test_the_strap_still_goes_forward_through_the_ratchet():
    env = threaded(past=0.006)
    before = env.cell.read().past
    run(env.cell, 40, FORWARD)
    assert env.cell.read().past > before + 0.008
    env.close()


def straight(y=0.0, z=0.0, tip=0.03):
    x = np.linspace(tip - LINKS * LINK, tip, LINKS + 1)
    return np.stack([x, np.full_like(x, y), np.full_like(x, z)], axis=1)


def test_length_past_the_head_is_measured_along_a_strap_that_runs_through_it():
    assert past_head(straight(tip=0.03)) == pytest.approx(0.03 - SLOT)
    assert past_head(straight(tip=0.004)) == 0
    for beside in (straight(y=0.004), straight(z=0.003), straight(z=-0.01)):
        assert past_head(beside) == 0
    folded = straight(tip=0.04)
    folded[-2:] = folded[-3] + [[0, 0.004, 0.009], [-0.006, 0.004, 0.017]]  # the end folds back and up
    assert past_head(folded) > 0.02


def test_a_strap_pushed_beside_the_head_earns_nothing():
    env = gym.make(ID)
    env.reset(seed=0, options={"start": {"tip": [-0.006, 0.0, 0.006], "turn": [0, 0, 0], "grip": 0.05}})
    for _ in range(200):
        _, _, terminated, truncated, info = env.step(np.array([1.0, 0, 0, 0, 0, 0, 1.0]))
        if terminated or truncated:
            break
    assert not info["success"]
    assert info["past"] == 0
    assert info["score"] == 0
    env.close()


def test_grasps_are_where_the_fingers_are():
    env = threaded(past=0.008)
    cell = env.cell
    run(cell, 10, np.array([0, 0, 0, 0, 0, 0, -1.0]))
    assert (cell.read().opening, cell.read().held) == (1.0, False)
    run(cell, 15, np.array([0, 0, -0.012, 0, 0, 0, -1.0]))  # the free end sags: 6 mm down
    run(cell, 10, np.array([0, 0, 0, 0, 0, 0, 1.0]))
    assert (cell.read().opening, cell.read().held) == (0.0, True)
    run(cell, 10, np.array([0, 0, 0, 0, 0, 0, -1.0]))
    run(cell, 40, np.array([0, 0, 0.012, 0, 0, 0, -1.0]))  # 16 mm up: nothing there to hold
    run(cell, 10, np.array([0, 0, 0, 0, 0, 0, 1.0]))
    assert not cell.read().held
    env.close()


def test_a_dropped_strap_ends_the_episode():
    env = gym.make(ID)
    env.reset(seed=0)
    for _ in range(200):
        _, reward, terminated, _, info = env.step(np.array([0, 0, 0, 0, 0, 0, -1.0]))
        if terminated:
            break
    assert terminated
    assert reward == 0
    assert info["violations"] == ["strap_dropped"]
    env.close()


def test_every_grip_can_be_tied_because_of_the_regrasp():
    from enpire_envs.reference import make_reference

    env = gym.make(ID, disable_env_checker=True)
    expert = make_reference(env)
    for grip in (0.021, 0.03, 0.055):
        observation, _ = env.reset(
            seed=1, options={"start": {"tip": [-0.006, 0.0005, -0.0008], "turn": [0, 0.03, -0.04], "grip": grip}}
        )
        expert.reset(observation)
        over, regrasped = False, False
        while not over:
            action = expert.act(observation)
            regrasped |= action[6] < 0
            observation, _, terminated, truncated, info = env.step(action)
            over = terminated or truncated
        assert info["success"], (grip, info)
        assert regrasped == (grip < 0.03)
    env.close()


def test_mutations_of_the_model_do_not_leak_into_the_next_episode():
    env = threaded()
    model = env.cell.model
    assert (model.tendon_range[:, 1] < 2).any()
    env.reset(seed=5)
    assert (model.tendon_range[:, 1] == 3.0).all()
    fresh = gym.make(ID, disable_env_checker=True).unwrapped
    fresh.reset(seed=5)
    for _ in range(20):
        a, b = env.step(np.full(7, 0.5))[0], fresh.step(np.full(7, 0.5))[0]
    assert np.array_equal(a, b)
    assert mujoco.mj_versionString()
    env.close()
    fresh.close()


def test_a_picture_is_made_of_what_can_be_seen():
    """Tendons are drawn segment by segment, also those without any opacity: they would be most of a picture's cost."""
    env = gym.make(ID, disable_env_checker=True).unwrapped
    env.reset(seed=0)
    scene = mujoco.MjvScene(env.cell.model, 1000)
    seen, camera = mujoco.mjtCatBit.mjCAT_ALL, mujoco.MjvCamera()
    mujoco.mjv_updateScene(env.cell.model, env.cell.data, mujoco.MjvOption(), None, camera, seen, scene)
    assert scene.ngeom == env.cell.model.ngeom
    env.close()
