"""RoboCasa (in the stand-in kitchen), robosuite and gym-pusht: the suite's contract, through another interpreter."""

import copy
import json
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cloudpickle
import enpire_envs
import gymnasium as gym
import numpy as np
import pytest
from enpire_envs import ROBOCASA_TASKS
from enpire_envs.cell import CellFault
from enpire_envs.contract import contract_of, step_limit
from enpire_envs.env import ResetFailed
from enpire_envs.fingerprint import fingerprint
from enpire_envs.remote.venvs import GYM_PUSHT, ROBOCASA, STANDIN, NotInstalled

from autoenvbench.errors import UserError
from autoenvbench.make_env import make_env
from autoenvbench.study.gallery import right_camera
from autoenvbench.study.score import score
from autoenvbench.study.start_sets import starts

needs_robocasa = pytest.mark.skipif(not ROBOCASA.installed, reason="autoenvbench setup robocasa")
needs_pusht = pytest.mark.skipif(not GYM_PUSHT.installed, reason="autoenvbench setup gym-pusht")
DRAWER = "ENPIRE/RoboCasa-OpenDrawer-v0"
ROBOSUITE = ("Lift", "Door", "Stack", "NutAssemblySquare")
IDS = [
    *(f"ENPIRE/RoboCasa-{task}-v0" for task in ROBOCASA_TASKS),
    *(f"ENPIRE/Robosuite-{task}-v0" for task in ROBOSUITE),
]
INFO = {"success", "is_success", "score", "stage", "violations", "time", "cell"}


@pytest.fixture(scope="module")
def lift():
    env = make_env("ENPIRE/Robosuite-Lift-v0", {"max_episode_steps": 30})
    yield env
    env.close()


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory):
    env = make_env(DRAWER, {"snapshots": str(tmp_path_factory.mktemp("scenes"))})
    yield env
    env.close()


def scored(env_id):
    return score(env_id, "random", 1, env_kwargs={"max_episode_steps": 4}, sandbox="none")


@needs_robocasa
def test_each_runs_through_score():
    """Two at a time: the work is in other processes."""
    with ThreadPoolExecutor(2) as pool:
        results = dict(zip(IDS, pool.map(scored, IDS), strict=True))
    for env_id, result in results.items():
        assert result["episodes"] == 1, env_id
        assert result["kind"] == ("stand-in" if "RoboCasa" in env_id else "sim"), env_id
        assert result["failures"] == {"time_limit": 1}, env_id


@needs_robocasa
def test_goals_brought_about_are_seen_and_seeds_decide_the_start():
    """In the simulators' own interpreter: each predicate is false at the start, true at the goal; seeds repeat and differ."""
    names = [*(f"robosuite:{task}" for task in ROBOSUITE), *ROBOCASA_TASKS]

    def ask(some):
        done = subprocess.run(
            [str(ROBOCASA.python), "-s", str(Path(__file__).with_name("goals.py")), str(Path(enpire_envs.__file__).parent), *some],
            capture_output=True, text=True, timeout=280,
            env={**os.environ, "MUJOCO_GL": "egl", "ROBOCASA_ASSETS_PATH": str(ROBOCASA.path / STANDIN)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    with ThreadPoolExecutor(2) as pool:
        rows = [row for half in pool.map(ask, (names[:7], names[7:])) for row in half]
    assert [row["task"] for row in rows] == names
    for row in rows:
        assert not row["before"], row
        assert row["after"] or row["held"], row
        assert row["repeats"], row
        assert row["others"], row
        assert row["limits"], row


@needs_robocasa
def test_the_contract(lift):
    observation, info = lift.reset(seed=3)
    assert info.keys() >= INFO | {"start", "episode_seed", "reset_attempts", "reset_verified"}
    assert lift.observation_space.contains(observation)
    rng = np.random.default_rng(0)
    over, steps = False, 0
    while not over:
        observation, reward, terminated, truncated, info = lift.step(rng.uniform(-1, 1, 7))
        assert lift.observation_space.contains(observation)
        assert info.keys() >= INFO
        over, steps = terminated or truncated, steps + 1
    assert (steps, truncated, reward) == (30, True, 0.0)
    assert info["reason"] == lift.unwrapped.finish()["reason"] == "time_limit"
    assert info["time"] == pytest.approx(1.5)
    lift.reset(seed=3)
    lift.step(np.zeros(7))
    assert lift.unwrapped.finish()["reason"] == "predicate"
    with pytest.raises(gym.error.ResetNeeded):
        lift.unwrapped.step(np.zeros(7))  # judged is over
    lift.reset(seed=3)
    for wrong, complaint in ((np.full(7, np.nan), "not finite"), (np.zeros(3), "shape")):
        with pytest.raises(ValueError, match=complaint):
            lift.unwrapped.step(wrong)
    with pytest.raises(ValueError, match="unknown reset options"):
        lift.reset(options={"strat": {}})
    assert lift.render().shape == (480, 480, 3)


@needs_robocasa
def test_equal_seeds_give_equal_episodes_and_attempts_another_posture(lift):
    rng = np.random.default_rng(1)
    actions = rng.uniform(-1, 1, (10, 7))

    def run(**options):
        first, info = lift.reset(seed=8, options=options or None)
        return info["start"], np.array([first, *(lift.step(action)[0] for action in actions)])

    one = run()
    lift.reset(seed=99)
    two, again = run(), run(attempt=1)
    assert one[0] == two[0] == again[0]
    assert np.array_equal(one[1], two[1])
    assert not np.array_equal(one[1], again[1])
    cube = slice(0, 3)  # robosuite's object state begins with where the cube is
    assert np.array_equal(one[1][0, cube], again[1][0, cube])


@needs_robocasa
def test_a_kitchen_by_its_triplet_is_the_same_scene_in_another_process(kitchen):
    """The protocol's first start: restored here after another one, and in a second process from the notes of the first."""
    triplet = starts(DRAWER, "robocasa-40", 1)[0]
    assert triplet == {"seed": 478163327, "layout": 36, "style": 15}
    scenes = []
    for start in (triplet, None, triplet):
        observation, info = kitchen.reset(seed=1, options={"start": start} if start else None)
        scenes.append((info["scene"], observation.tobytes()))
    assert scenes[0] == scenes[2] != scenes[1]
    assert info["start"] == triplet
    assert info["cell"] == "stand-in"
    folder = Path(kitchen.unwrapped._kwargs["snapshots"])
    note = next(folder.glob("*478163327*.npz"))
    kept = note.read_bytes()
    with np.load(note) as data:
        np.savez_compressed(note, scene="0" * 64, state=data["state"])  # as if RoboCasa had compiled another kitchen
    other = make_env(DRAWER, {"snapshots": str(folder)})
    with pytest.raises(ResetFailed, match="compiled differently"):
        other.reset(options={"start": triplet})
    note.write_bytes(kept)
    observation, info = other.reset(options={"start": triplet})
    other.close()
    assert (info["scene"], observation.tobytes()) == scenes[0]
    with pytest.raises(ValueError, match="layouts and styles go from 1 to 60"):
        kitchen.reset(options={"start": {"seed": 1, "layout": 61, "style": 1}})


@needs_robocasa
def test_a_gallery_shows_a_drawer_from_its_own_side(kitchen):
    chosen = {}
    for seed in range(2):
        kitchen.reset(seed=seed)
        body = contract_of(kitchen).tools_body()
        chosen["left" if "left" in body.instruction() else "right"] = right_camera(body)
    assert chosen == {"left": "agentview_left", "right": "agentview_right"}


@needs_robocasa
def test_a_simulator_that_dies_is_a_fault_of_the_cell_and_starts_anew():
    env = make_env("ENPIRE/Robosuite-Lift-v0", {"max_episode_steps": 5})
    env.reset(seed=0)
    env.unwrapped._process.kill()
    with pytest.raises(CellFault, match="died"):
        env.step(np.zeros(7))
    assert env.reset(seed=0)[0].shape == env.observation_space.shape
    process = env.unwrapped._process
    env.close()
    assert process.poll() is not None


@needs_robocasa
def test_fingerprints_know_code_versions_and_kitchens(lift):
    assert fingerprint(lift) == fingerprint(lift)
    before = fingerprint(lift)
    about = lift.unwrapped.about
    assert about["arguments"]["obs_type"] == "state"  # a default, as the other side knows it
    about["arguments"]["snapshots"] = "here"
    assert fingerprint(lift) == before
    del about["arguments"]["snapshots"]
    for name, value in {"obs_type": "pixels_agent_pos", "robots": "Sawyer"}.items():
        about["arguments"][name], kept = value, about["arguments"][name]
        assert fingerprint(lift) != before
        about["arguments"][name] = kept
    about["versions"]["mujoco"], kept = "0.0.0", about["versions"]["mujoco"]
    assert fingerprint(lift) != before
    about["versions"]["mujoco"] = kept


@needs_pusht
def test_gym_pusht_counts_its_own_success_and_its_own_seeds():
    assert scored("ENPIRE/GymPushT-v0")["failures"] == {"time_limit": 1}
    env = make_env("ENPIRE/GymPushT-v0", {"obs_type": "pixels_agent_pos"})
    first, info = env.reset(seed=4)
    assert env.observation_space.contains(first)
    assert 0 <= info["score"] < 1
    again, _ = env.reset(seed=4)
    assert all(np.array_equal(first[key], again[key]) for key in first)
    env.close()


@needs_pusht
@pytest.mark.parametrize("asked", [None, 7, 320])
def test_the_limit_asked_for_is_in_force_over_there(asked):
    env = gym.make("ENPIRE/GymPushT-v0", max_episode_steps=asked)
    assert step_limit(env) == (asked or 300)
    observation, _ = env.reset(seed=4)
    truncated, steps = False, 0
    while not truncated:
        *_, terminated, truncated, info = env.step(observation[:2])
        steps += 1
        assert not terminated
    assert (steps, info["reason"]) == (asked or 300, "time_limit")
    env.close()


@needs_pusht
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(cloudpickle.dumps(env))])
def test_a_copy_is_a_fresh_one_that_draws_the_same_starts(duplicate):
    env = gym.make("ENPIRE/GymPushT-v0", render_mode="rgb_array")
    env.reset(seed=4)
    env.render()
    twin = duplicate(env)
    assert twin.spec == env.spec
    with pytest.raises(CellFault, match=r"reset\(\) starts it"):
        twin.unwrapped.step(np.zeros(2))
    assert np.array_equal(env.reset()[0], twin.reset()[0])
    assert twin.unwrapped._process.pid != env.unwrapped._process.pid
    env.close()
    assert twin.step(np.zeros(2))[0].shape == (5,)
    twin.close()


@needs_pusht
@pytest.mark.usefixtures("gymnasium_warns")
def test_render_modes_are_checked_and_named():
    with pytest.raises(ValueError, match="unknown render_mode 'ascii'; choose one of: rgb_array"):
        gym.make("ENPIRE/GymPushT-v0", render_mode="ascii")
    env = gym.make("ENPIRE/GymPushT-v0")
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="without specifying any render mode"):
        assert env.render() is None
    env.close()


def test_wrong_use_says_what_to_type(monkeypatch, tmp_path):
    for env_id, kwargs in (
        ("ENPIRE/Robosuite-Lift-v0", {"obs_type": "stat"}),
        (DRAWER, {"kitchen": "mine"}),
    ):
        if ROBOCASA.installed:
            with pytest.raises(UserError, match=r"obs_type is one of|choose one of"):
                make_env(env_id, kwargs)
    monkeypatch.setenv("AUTOENVBENCH_SIMULATORS", str(tmp_path))
    with pytest.raises(UserError, match="autoenvbench setup robocasa"):
        make_env(DRAWER)
    with pytest.raises(NotInstalled):
        gym.make("ENPIRE/GymPushT-v0")
    with pytest.raises(UserError, match="robocasa-40"):
        starts(DRAWER, "robocasa", 3)
    with pytest.raises(UserError, match="40 starts"):
        starts(DRAWER, "robocasa-40", 41)


def test_nothing_here_imports_a_simulator():
    code = "import sys, autoenvbench, enpire_envs.remote.env; print([m for m in ('robosuite', 'robocasa', 'gym_pusht') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


@needs_robocasa
def test_what_the_stand_in_kitchen_has_not_it_says():
    with pytest.raises((UserError, ResetFailed), match="takes RoboCasa's own assets"):
        make_env("ENPIRE/RoboCasa-TurnOnMicrowave-v0").reset(seed=1)
