"""Recipes at a level that is seen by a camera: who shows how, what is learnt of it, and the network that the policy host runs."""

import json

import numpy as np
import pytest
from enpire_envs.reference import demonstrator

from autoenvbench.errors import UserError
from autoenvbench.learning import bc, dagger
from autoenvbench.learning.bundle.policy import Actor
from autoenvbench.learning.episodes import load
from autoenvbench.learning.export import action_bounds
from autoenvbench.learning.network_file import declared_network
from autoenvbench.learning.run import Training
from autoenvbench.make_env import make_env
from autoenvbench.record.run_config import RunConfig
from autoenvbench.station.networks import NetworkPolicy
from autoenvbench.study.demos import record_demos
from autoenvbench.workspace.make_workspace import brief

LEVEL = "ENPIRE/PinInsertion-Standard-v0"
QUICK = {"updates": 30, "batch": 12, "hidden": 32, "lr": 3e-3, "average": 0.9, "history": 2, "validation": 0.0}


@pytest.fixture(scope="module")
def demos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demos") / "pin"
    record_demos(LEVEL, None, 1, folder, sandbox="none")
    return folder


@pytest.fixture(scope="module")
def env():
    made = make_env(LEVEL)
    yield made
    made.close()


def test_where_no_script_reads_pictures_the_reference_shows(demos, env):
    assert demonstrator(env)[0] == "Expert"
    assert json.loads((demos / "demos.json").read_text())["by"] == "reference"
    said = brief(RunConfig(agent="recipe:bc", env=LEVEL, budget_s=60, demos=1), env)
    assert "`data/demos` holds 1 successful episodes of a policy that sees the true state" in said
    assert sum(file.stat().st_size for file in demos.iterdir()) < 8 << 20  # an episode's pictures, as PNG


def test_a_folder_holds_no_more_than_it_may(reach, tmp_path):
    with pytest.raises(UserError, match="at most 0 are kept"):
        record_demos(reach, None, 2, tmp_path / "out", most=1, sandbox="none")
    assert list(tmp_path.iterdir()) == []


def distance(actor, env, trajectory):
    """Mean squared distance of what a policy says to what was done, given what was seen and done before."""
    low, high = action_bounds(env)
    seen = [{key: part[k] for key, part in trajectory.observation.items()} for k in range(0, len(trajectory), 3)]
    actor.reset(seen[0])
    said = np.array([actor.act(step) for step in seen])
    return float((((said - trajectory.action[::3]) / ((high - low) / 2)) ** 2).mean())


@pytest.mark.parametrize("broken", [False, True], ids=["right", "the loss turned round"])
def test_bc_learns_from_a_camera_and_its_network_acts_alike(demos, env, tmp_path, monkeypatch, broken):
    if broken:
        right = bc.Cloner.loss
        monkeypatch.setattr(bc.Cloner, "loss", lambda *args: -1.0 * right(*args))
    shown = load([demos])

    def learn(name, updates):
        settings = bc.Settings(**{**QUICK, "updates": updates})
        return bc.train(env, shown, settings, Training(tmp_path / name, seed=1, minutes=1))

    packed = learn("whole", QUICK["updates"])
    before, after = (distance(Actor(*p), env, shown[0]) for p in (learn("start", 1), packed))
    assert (after < 0.6 * before) != broken
    (tmp_path / "network.onnx").write_bytes(declared_network(*packed, env.observation_space))
    network, policy = NetworkPolicy(tmp_path / "network.onnx", env.observation_space, env.action_space), Actor(*packed)
    observation, _ = env.reset(seed=3)
    for one in (network, policy):
        one.reset(observation)
    for _ in range(4):
        action = network.act(observation)
        assert action == pytest.approx(policy.act(observation), abs=1e-3)
        observation, *_ = env.step(action)


def test_dagger_asks_the_reference_where_no_script_sees(demos, env, tmp_path):
    settings = dagger.Settings(**{**QUICK, "updates": 3}, first=1, every=9, last=1.0, episodes=1, handover=1.0)
    training = Training(tmp_path / "run", seed=1, minutes=1)
    shown = load([demos])
    dagger.train(env, shown, settings, training)
    buffer = training._parts["buffer"]
    assert buffer.episodes == len(shown) + 1
    assert 0 < buffer.taught[buffer.steps[shown.steps :]].sum() <= len(buffer) - shown.steps
