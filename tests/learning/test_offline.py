"""IQL and TD3+BC find the good actions in data of mixed quality, where cloning finds their mean; a wrong update does not."""

from dataclasses import replace

import numpy as np
import plane
import pytest
import torch
from resumed import goes_on_exactly

from autoenvbench.errors import UserError
from autoenvbench.learning import iql, td3_bc
from autoenvbench.learning.collect import Recorder
from autoenvbench.learning.episodes import load
from autoenvbench.learning.iql import IQL
from autoenvbench.learning.run import Training
from autoenvbench.learning.td3_bc import TD3BC
from autoenvbench.make_env import make_env

QUICK = {"hidden": 32, "learning_rate": 3e-3, "tracking": 0.05, "batch": 128}


def learn(kind, prepare=lambda learner: None, **settings):
    """How much of the plane a learner solves after it saw steps of which one in five is good."""
    torch.manual_seed(1)
    data, module = plane.transitions(3000, good=0.2), iql if kind is IQL else td3_bc
    learner = kind(2, 2, module.Settings(**{**QUICK, **settings}))
    prepare(learner)
    before = plane.solved(policy(learner))
    for _ in range(350):
        learner.update(plane.part(data, 128))
    return before, plane.solved(policy(learner))


def policy(learner):
    if isinstance(learner, IQL):
        return lambda at: learner.actor(at)[:, :2]
    return lambda at: torch.tanh(learner.actor(at))


def wrong_way(learner):
    learner.actor_optimiser.param_groups[0]["maximize"] = True


@pytest.mark.parametrize("kind", [IQL, TD3BC])
def test_it_finds_what_is_good_in_the_data(kind):
    before, after = learn(kind)
    assert before <= 0.2
    assert after >= 0.8


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        (IQL, {"prepare": wrong_way}),
        (IQL, {"tracking": 0.0}),
        (IQL, {"advantage_weight": 0.0}),
        (TD3BC, {"prepare": wrong_way}),
        (TD3BC, {"critic_weight": 0.0}),
    ],
    ids=["iql: wrong way", "iql: targets stand still", "iql: cloning", "td3_bc: wrong way", "td3_bc: cloning"],
)
def test_a_broken_update_is_seen(kind, broken):
    assert learn(kind, **broken)[1] <= 0.5


def test_td3_bc_stays_with_the_data_where_it_is_told_to():
    """Its other half: the critics' word alone leads to other actions than the data's."""
    distances = {}
    for weight in (0.0, 1000.0):
        torch.manual_seed(1)
        data = plane.transitions(2000, good=0.2)
        learner = TD3BC(2, 2, td3_bc.Settings(**QUICK, critic_weight=weight))
        for _ in range(200):
            measured = learner.update(plane.part(data, 128))
        distances[weight] = measured["bc_distance"]
    assert distances[0.0] < 0.7 * distances[1000.0]


def test_iql_of_a_low_expectile_expects_less():
    values = []
    for expectile in (0.5, 0.95):
        torch.manual_seed(1)
        data = plane.transitions(2000)
        learner = IQL(2, 2, iql.Settings(**QUICK, expectile=expectile))
        for _ in range(200):
            learner.update(plane.part(data, 128))
        values.append(learner.value(data.obs).mean().item())
    assert values[0] + 0.05 < values[1]


# -- the loop ----------------------------------------------------------------------------------------------------------
LOOP = {"hidden": 64, "batch": 64, "learning_rate": 1e-3, "history": 0}


@pytest.mark.parametrize("module", [iql, td3_bc])
def test_it_goes_on_exactly(module, reach, shown, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RECORD_EVERY", 5)

    def train(training, updates):
        return module.train(make_env(reach), load([shown]), module.Settings(**LOOP, updates=updates), training)

    goes_on_exactly(train, tmp_path, until=10, limit=25)


@pytest.mark.parametrize("module", [iql, td3_bc])
def test_without_episodes_it_says_what_to_type(module, reach, tmp_path):
    with pytest.raises(UserError, match="autoenvbench demos"):
        module.train(make_env(reach), None, module.Settings(), Training(tmp_path / "run", seed=1, minutes=1))


def test_images_need_an_encoder(reach, shown, tmp_path):
    record = Recorder(np.zeros((8, 8, 3), np.uint8))
    record.step(np.zeros(2), np.zeros((8, 8, 3), np.uint8), 0.0)
    seen = replace(load([shown]), trajectories=[record.trajectory(terminated=False, success=False, source="test")])
    with pytest.raises(UserError, match="obs_type=state"):
        iql.train(make_env(reach), seen, iql.Settings(**LOOP), Training(tmp_path / "run", seed=1, minutes=1))
