"""Practice at a start that is asked for: what environments take, what reaches no cell, and what no evaluation ever hears."""

import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from enpire_envs.episodes import Episodes
from enpire_envs.registry import entries
from gymnasium.envs.classic_control.pendulum import PendulumEnv

from autoenvbench.errors import UserError
from autoenvbench.record.run_config import RunConfig
from autoenvbench.record.starts import StartStreams
from autoenvbench.station.batch import Start
from autoenvbench.station.cell import LocalCell
from autoenvbench.station.practice import MAX_SEED, Practice, takes_starts
from autoenvbench.station.rollout import run_episode
from autoenvbench.study.policies import RandomPolicy
from autoenvbench.workspace.bundling import send_head

START = {"block": [0.05, 0.02, 1.0], "tip": [-0.2, 0.1]}


def test_a_start_in_words_is_where_every_episode_begins(bench):
    code, _, err = bench.aeb("practice", "-n", "2", "--start", json.dumps(START), "--json")
    assert code == 0, err
    for episode in Episodes(bench.run_dir / "data/practice"):
        assert episode.meta["start"] == START
        assert episode["observation"][0][:2] == pytest.approx(START["tip"], abs=1e-3)
        assert episode["observation"][0][2:4] == pytest.approx(START["block"][:2], abs=0.01)
    seeds = [meta["seed"] for meta in Episodes(bench.run_dir / "data/practice").meta]
    assert seeds == [0, 1]  # sensing and physics are drawn anew at each


@pytest.mark.parametrize("bench", [{"sharing": False}], indirect=True)
def test_where_members_work_alone_each_has_the_episodes_that_it_tried_out(bench):
    assert bench.aeb("practice", "-n", "1")[0] == 0
    assert [p.relative_to(bench.run_dir).parent for p in bench.run_dir.rglob("*.episode")] == [
        Path("data/codex/practice")
    ]


REFUSED = {
    '{"block": [9, 9, 9], "tip": [0, 0]}': "outside the arena",
    '{"bloc": [0, 0, 0]}': 'expected options={"start": {"block": [x, y, yaw]',
    "here": "--start is no JSON",
    "[1, 2]": "a start is a JSON object",
    '{"tip": NaN}': "with finite numbers",
}


def test_what_is_no_start_is_refused_in_words(bench):
    for start, said in REFUSED.items():
        code, out, err = bench.aeb("practice", "-n", "1", "--start", start)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert said in err
    assert bench.aeb("practice", "-n", "1")[0] == 0  # the station goes on


@pytest.mark.parametrize(
    "bench", [{"env": "ENPIRE/PinInsertion-Standard-v0", "track": "station", "scope": "run"}], indirect=True
)
def test_where_labels_would_be_exact_no_start_is_placed(bench):
    code, out, err = bench.aeb("practice", "-n", "1", "--start", '{"tip": [0, 0, 0.0045]}')
    assert (code, out) == (2, "")
    assert "takes no --start on the track station" in err
    with pytest.raises(UserError, match="--seed N begins where"):  # whatever client asks
        bench.client().job(
            "/practice", {"digest": send_head(bench.client(), bench.repo).digest, "n": 1, "start": {"tip": [0, 0, 0]}}
        )
    assert not list(bench.ledger.events("episode"))


def test_only_the_open_track_and_tutorials_place_things():
    ranked = [(entry, env_id) for entry in entries() for env_id, level in entry.levels.items() if level.ranked]
    assert len(ranked) > 20
    for entry, env_id in ranked:
        config = RunConfig(agent="codex", env=env_id, budget_s=60, track="station")
        assert not takes_starts(config)
        assert takes_starts(config.model_copy(update={"track": "open"}))
        if not entry.levels[plain := next(iter(entry.envs))].ranked:
            assert takes_starts(config.model_copy(update={"env": plain}))
    assert takes_starts(RunConfig(agent="codex", env="ENPIRE/RoboCasa-OpenDrawer-v0", budget_s=60, track="station"))


BOMBS = [
    {}, [], "x", 7, {"a": {}}, {"a": None}, {"a": float("inf")}, {"a": [float("nan")]}, {"a": 10**400}, {"a": 2**70},
    {"a": [0] * 51}, {"a": [[[[0]]]]}, {"a" * 101: 0}, {"a": "b" * 101}, {str(k): 0 for k in range(51)},
    {"a": [[0] * 50] * 51},
]  # fmt: skip


@pytest.mark.parametrize("start", BOMBS, ids=range(len(BOMBS)))
def test_what_could_hurt_a_cell_reaches_none(start):
    with pytest.raises(UserError, match="a start is a JSON object of 1 to 50 names"):
        Practice.of({"start": start})


def test_practice_and_secret_starts_have_no_seed_in_common():
    streams = StartStreams(bytes(32))
    assert min(streams.seed(purpose, k) for purpose in ("evaluate", "heldout") for k in range(2000)) >= MAX_SEED
    assert Practice.of({"seed": MAX_SEED - 1}).seed == MAX_SEED - 1
    for seed in (MAX_SEED, 2**64, -1, True, 1.5, "1"):
        with pytest.raises(UserError, match="seed"):
            Practice.of({"seed": seed})


def test_an_evaluation_hears_of_no_start(bench):
    digest = send_head(bench.client(), bench.repo).digest
    for given in ({"start": START}, {"seed": 0}, {"start": None}):
        with pytest.raises(UserError, match="an evaluation draws its starts itself, in secret; leave out"):
            bench.client().job("/evaluate", {"digest": digest, "n": 1, **given})
    assert not list(bench.ledger.events("evaluation"))
    assert bench.aeb("evaluate", "-n", "1", "--start", json.dumps(START))[0] == 2  # no such option


class Bar(PendulumEnv):
    """It cannot be asked for a start."""


def test_an_environment_that_takes_no_start_says_so():
    env = gym.wrappers.TimeLimit(Bar(render_mode="rgb_array"), 20)
    cell = LocalCell(env, sandbox="none", track="open", policy=RandomPolicy(env.action_space, 0))
    with pytest.raises(UserError, match="takes no named starts: it draws each from its seed"):
        cell._named(Start(0, 0, 0, {"angle": 1.0}).named or {})


class Fragile(PendulumEnv):
    """It takes starts, and breaks at those that it does not foresee."""

    kind, control_hz, act_cpu_ms, stages, in_process, real_cell = "sim", 20.0, 50.0, ("start", "up"), True, None
    reset_options = ("start",)

    def identity(self):
        return {"code": [__name__]}

    def finish(self):
        return {}

    def tools_body(self):
        return None

    @property
    def limit(self):
        from enpire_envs.time_limit import StepLimit

        return StepLimit(20)

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        if options:
            self.state = np.array([options["start"]["angle"], 0.0])
        return observation, info


def test_an_environment_that_breaks_at_a_start_costs_a_sentence():
    env = gym.wrappers.TimeLimit(Fragile(render_mode="rgb_array"), 20)
    policy = RandomPolicy(env.action_space, 0)
    with pytest.raises(UserError, match=r"no possible start: KeyError\('angle'\)"):
        run_episode(env, policy, 0, {"start": {"angel": 1.0}})
