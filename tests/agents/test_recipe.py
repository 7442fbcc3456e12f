"""`recipe:ALGORITHM`: research by an algorithm of the learning room, under an agent's clock and rules."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from enpire_envs.episode_file import describe_space, plain
from gymnasium import spaces

from autoenvbench.agents import evolver
from autoenvbench.agents.lab import Lab
from autoenvbench.agents.learner import Attempt, Attempts, Learner
from autoenvbench.agents.recipe import PLANS, Recipe
from autoenvbench.agents.registry import make_agent
from autoenvbench.errors import UserError
from autoenvbench.learning.task_file import SpacesOnly, open_task, space_of
from autoenvbench.learning.train import ALGORITHMS, settings_of
from autoenvbench.make_env import make_env
from autoenvbench.publish import leaderboard, ranking
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.results import Result
from autoenvbench.record.run_config import RunConfig
from autoenvbench.workspace import jobs
from autoenvbench.workspace.make_workspace import make_workspace

#: Settings under which the example task is learnt in a second.
QUICK = {
    "bc": ["hidden=64", "history=0", "batch=128", "lr=0.003", "average=0.99", "updates=300"],
    "dagger": ["hidden=64", "history=0", "batch=128", "lr=0.003", "average=0.99", "updates=300", "first=100", "every=50", "episodes=4"],
    "iql": ["hidden=64", "history=0", "batch=128", "learning_rate=0.003", "average=0.99", "updates=300"],
    "td3_bc": ["hidden=64", "history=0", "batch=128", "learning_rate=0.003", "updates=300", "critic_weight=0.1"],
    "rlpd": ["hidden=32", "critics=2", "batch=64", "episodes=4", "clone=600", "learning_rate=0.003", "average=1.0", "bc_weight=10.0", "bc_final=10.0"],
    "sac": ["hidden=32", "batch=64", "episodes=4", "warm_up=60"],
}  # fmt: skip


class Killed(BaseException):
    """The program ended here, as by `kill -9`: nothing of it runs any more."""


class Doomed(Lab):
    """A lab in which the program is killed when it is about to do something for the first time."""

    victim = ""

    def _dies(self, name):
        if self.victim == name:
            self.victim = ""
            raise Killed

    def log(self, text):
        if "episodes, " in text:
            self._dies("training begins")

    def commit(self, message, *files):
        super().commit(message, *files)
        self._dies("committed")

    def practise(self, n, seed):
        self._dies("practise")
        return super().practise(n, seed)

    def evaluate(self, idea, n=20):
        result = super().evaluate(idea, n)
        self._dies("evaluated")
        return result


@pytest.fixture
def workspace(request, bench, site, reach, shown, monkeypatch):
    """Makes the workspace of a station of the example task: (further fields of its run's configuration) -> its lab."""

    def make(**config):
        config = RunConfig(agent="recipe:bc", env=reach, budget_s=600, demos=100, **config)
        folder = bench.home.with_name("workspace")
        make_workspace(folder, "recipe-1", config, make_env(reach))
        shutil.copytree(shown, folder / "data/demos")
        (bench.run_dir / "data/practice").mkdir(exist_ok=True)
        (folder / "data/practice").symlink_to(bench.run_dir / "data/practice")
        return Doomed(folder, bench.client())

    return make


@pytest.fixture
def on_reach(site, monkeypatch):
    """The station's process knows the example task."""
    monkeypatch.setenv("PYTHONPATH", str(site))


def told(algorithm, regime=None, settings=None):
    given = QUICK[algorithm] if settings is None else settings
    return {"algorithm": algorithm, "seed": 0, "regime": regime, "settings": given, "demos": 100}


REACH = {"env": "Example/Reach-v0"}
reach_station = pytest.mark.parametrize("bench", [REACH], indirect=True)


# -- before a run is made --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("algorithm", "config", "words"),
    [
        ("bc", {}, "learns from demonstrations, and this run has none; say --demos 100"),
        ("bc", {"demos": 5, "regime": "heuristic"}, "works in the regime bc, not in heuristic"),
        ("iql", {"demos": 5, "regime": "bc"}, "works in the regime offline-rl, not in bc"),
        ("bc", {"demos": 5, "agent_args": ["hiden=5"]}, "did you mean hidden"),
        ("rlpd", {"demos": 5, "track": "station"}, "say --track open, or choose one that learns from data: recipe:bc"),
        ("rlpd", {}, "say --demos 100"),
        ("dagger", {"demos": 5}, "every cage hides that; say --sandbox none"),
    ],
)
def test_what_it_cannot_do_is_said_before_a_run_is_made(algorithm, config, words):
    with pytest.raises(UserError, match=words.replace("(", r"\(")):
        Recipe(algorithm).check(
            RunConfig(**{"agent": f"recipe:{algorithm}", "env": "ENPIRE/PushT-v0", "budget_s": 60, **config})
        )


def test_each_algorithm_has_one_spelling():
    assert set(PLANS) == set(ALGORITHMS)
    for name in ALGORITHMS:
        agent = make_agent(f"recipe:{name}")
        assert agent.name == f"recipe-{name.replace('_', '-')}"
        assert not agent.tunes_parametric
    assert make_agent("cem").tunes_parametric
    with pytest.raises(UserError, match="say --agent cem"):
        make_agent("recipe:cem")
    with pytest.raises(UserError, match=r"no recipe '\.\./bc'; choose one of recipe:bc"):
        make_agent("recipe:../bc")


def test_plans_name_settings_that_there_are():
    for name, plan in PLANS.items():
        settings_of(name, plan.base)
        for change in plan.changes:
            settings_of(name, change.split())
        assert hasattr(settings_of(name, []), "updates") or not plan.fits


# -- what it knows of its environment --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (3,), np.float32),
        spaces.Box(np.float32([-1, 0]), np.float32([1, 10])),
        spaces.Box(np.float32([0, -np.inf]), np.float32([1, np.inf])),
        spaces.Box(-np.inf, np.inf, (2, 3), np.float64),
        spaces.Box(np.array([-1, -np.inf, 0]), np.array([1, np.inf, 2.5]), dtype=np.float64),
        spaces.Dict(
            {
                "pixels": spaces.Dict({"top": spaces.Box(0, 255, (4, 5, 3), np.uint8)}),
                "pos": spaces.Box(-np.inf, np.inf, (2,)),
            }
        ),
    ],
)
def test_a_space_is_what_its_description_says(space):
    assert space_of(json.loads(json.dumps(plain(describe_space(space))))) == space


def test_on_the_station_track_spaces_are_all_that_is_known(reach, tmp_path):
    env = make_env(reach)
    for track, station in (("open", 5), ("station", None)):
        config = RunConfig(agent="codex", env=reach, budget_s=60, track=track, env_kwargs={"tolerance": 0.04})
        make_workspace(tmp_path / track, "codex-1", config, env, station=station)
    task = json.loads((tmp_path / "open/task.json").read_text())
    assert task["env_kwargs"] == {"tolerance": 0.04, "station_seed": 5}
    assert "station_seed" not in (tmp_path / "station/task.json").read_text()
    known = open_task(tmp_path / "station")
    assert isinstance(known, SpacesOnly)
    assert (known.observation_space, known.action_space) == (env.observation_space, env.action_space)
    with pytest.raises(UserError, match="nothing but the station runs episodes"):
        known.reset(seed=1)
    (tmp_path / "station/task.json").write_text("{}")
    with pytest.raises(UserError, match=r"git checkout task\.json"):
        open_task(tmp_path / "station")


# -- research --------------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("on_reach")
@pytest.mark.parametrize("victim", ["training begins", "committed", "practise", "evaluated"])
@reach_station
def test_a_researcher_that_is_killed_goes_on_where_it_was(workspace, bench, victim):
    lab = workspace(track="station")
    lab.victim = victim
    with pytest.raises(Killed):
        Learner(lab, told("bc")).research()
    Learner(lab, told("bc")).research()  # to the end: every confirmation episode succeeded
    ideas = [e.payload for e in bench.ledger.events("idea")]
    assert [idea.title.partition(" (")[0] for idea in ideas] == ["bc: a quick first look"]
    (attempt,) = Attempts.load(lab.workspace / "runs").rows
    if victim != "evaluated":  # or else it leads with a flawless record, and is left at that
        assert attempt.wins == attempt.episodes >= 30
    head = subprocess.run(
        ["git", "-C", lab.workspace, "rev-parse", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    status = bench.client().get("/status")
    assert (status["submitted"], status["best"]["commit"]) == (head, head)
    recipe = json.loads((lab.workspace / "recipe.json").read_text())
    assert (recipe["algorithm"], recipe["given"], recipe["demos"]) == ("bc", QUICK["bc"], 100)


@pytest.mark.usefixtures("on_reach")
@pytest.mark.parametrize("bench", [{**REACH, "regime": "bc"}], indirect=True)
def test_in_a_gradient_regime_it_answers_with_its_network_and_no_code(workspace, bench):
    lab = workspace(track="station", regime="bc")
    Learner(lab, told("bc", "bc")).research()
    files = subprocess.run(["git", "-C", lab.workspace, "ls-files"], capture_output=True, text=True).stdout.split()
    assert "policy.py" not in files
    assert os.listdir(lab.workspace / "checkpoints") == ["network.onnx"]
    assert bench.client().get("/status")["best"]["success_rate"] == 1.0


@pytest.mark.usefixtures("on_reach")
@pytest.mark.parametrize("bench", [{**REACH, "regime": "bc", "members": ("evolve-2",)}], indirect=True)
def test_evolve_varies_a_recipe_beside_the_robot_and_goes_on_with_a_training_that_was_cut(
    workspace, bench, monkeypatch
):
    folder = workspace(track="station", regime="bc").workspace
    lab = Lab(folder, bench.client())
    about = {
        "env": REACH["env"], "env_kwargs": {}, "seed": 0, "track": "station", "pace": 0.0, "regime": "bc", "alone": True, "demos": 100,
        "settings": ["training=0.5"], "recipes": ["bc"], "given": {"bc": QUICK["bc"]}, "missing": None,
    }  # fmt: skip

    def die(seconds):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(evolver, "time", SimpleNamespace(sleep=die, monotonic=time.monotonic))
        with pytest.raises(Killed):  # while it waits for what is learned
            evolver.Evolver(lab, about).research()
    assert json.loads((folder / "runs/evolve.json").read_text())["trainings"]["under_way"]["number"] == 1
    evolver.Evolver(lab, about).research()  # to the end: every confirmation episode succeeded

    idea = next(e.payload for e in bench.ledger.events("idea"))
    assert (idea.id, idea.title, idea.regime) == ("I1", "bc, as it comes", "bc")
    states = [(job.name, job.status()["state"]) for job in jobs.listed(folder, ["evolve-bc-001*"])]
    assert states[1:] == [("evolve-bc-001-2", "done")]
    status = bench.client().get("/status")
    assert status["best"]["success_rate"] == 1.0
    assert status["submitted"] == status["best"]["commit"]
    files = subprocess.run(
        ["git", "-C", folder, "ls-tree", "-r", "--name-only", status["submitted"]], capture_output=True, text=True
    ).stdout.split()
    assert "recipe.json" in files
    assert not {"policy.py", "parametric.py", "params.json"} & set(files)  # the answer is a network, and no code
    learned = [e.payload.text for e in bench.ledger.events("learned")]
    assert any("raised my best from nothing" in text and "settings of bc: stride=" in text for text in learned)

    # a peer takes the network over, at its place among the variants, and measures it anew
    theirs = folder.with_name("theirs")
    make_workspace(
        theirs,
        "evolve-2",
        RunConfig(agent="evolve", env=REACH["env"], budget_s=600, track="station", regime="bc"),
        make_env(REACH["env"]),
    )
    peer = evolver.Evolver(Lab(theirs, bench.client(bench.tokens["evolve-2"])), about | {"alone": False, "demos": 0})
    peer.research()
    (adopted,), (filed,) = peer.population.ideas, peer.record.filed
    source = next(e.payload for e in bench.ledger.events("idea") if e.payload.id == filed.source)
    assert (adopted.family, adopted.confirmed.wins) == ("bc", 4)
    assert adopted.point is not None
    assert source.title.startswith("bc, ")
    assert os.listdir(theirs / "checkpoints") == ["network.onnx"]


@pytest.mark.usefixtures("on_reach")
@pytest.mark.parametrize("algorithm", sorted(PLANS.keys() - {"bc", "act", "diffusion"}))  # LeRobot: see below
@reach_station
def test_every_algorithm_does_research(workspace, bench, algorithm):
    """One attempt each, for a second: what it learnt is committed, practised and evaluated."""
    lab = workspace()
    learner = Learner(lab, told(algorithm))
    learner.attempts.rows = []
    attempt = learner.attempts.next(learner.plan, learner.told)
    assert learner._plan_time(attempt)
    learner._train(attempt)
    assert attempt.why_not is None
    learner._judge(attempt)
    assert attempt.episodes >= 30
    if algorithm != "sac":  # which learns from nothing, and not in a second
        assert attempt.rate >= 0.3, attempt
    policy = json.loads((lab.workspace / "policy.json").read_text())
    assert policy["made_by"]["algorithm"] == algorithm


def test_lerobots_policies_are_learnt_in_its_environment_or_it_is_said_what_to_type(tmp_path, monkeypatch):
    config = RunConfig(agent="recipe:act", env="ENPIRE/PushT-v0", budget_s=60, demos=5)
    python = tmp_path / "env/bin/python"
    python.parent.mkdir(parents=True)
    monkeypatch.setenv("AUTOENVBENCH_LEROBOT", str(python))
    for name in ("act", "diffusion"):
        assert re.search(r"make \.tools/\.lerobot.*pip install", make_agent(f"recipe:{name}").problem())
    python.write_text(f"#!/bin/sh\necho {tmp_path}/env\necho {sys.base_prefix}\n")
    python.chmod(0o755)
    launch = make_agent("recipe:act").launch(config, "", None)
    assert launch.env["AUTOENVBENCH_LEROBOT"] == str(python)
    assert launch.read_only == [tmp_path / "env"]  # in every cage is the other Python already
    assert make_agent("recipe:bc").launch(config, "", None).read_only == []


def attempts(tmp_path, *rates):
    """Attempts that were run, with these rates of twenty."""
    rows = [
        Attempt(k, "", [f"hidden={k}"], 0, done=True, wins=int(20 * rate), episodes=20) for k, rate in enumerate(rates)
    ]
    return Attempts(tmp_path, rows)


def test_a_change_is_made_to_the_best_and_one_after_the_other(tmp_path):
    plan, given = PLANS["bc"], told("bc", "bc", [])
    assert attempts(tmp_path).next(plan, given).change == "a quick first look"
    second = attempts(tmp_path, 0.5).next(plan, given)
    assert (second.change, second.parent, second.settings) == ("as it comes", 0, ["hidden=0"])
    third = attempts(tmp_path, 0.5, 0.4).next(plan, given)
    assert (third.change, third.parent, third.settings) == ("history=24", 0, ["hidden=0", "history=24"])
    known = len(plan.changes) + 2
    later = attempts(tmp_path, *[0.1] * (known - 1), 0.9).next(plan, given)
    assert (later.again, later.own, later.seed, later.parent, later.change) == (1, True, 1, known - 1, "learnt anew")
    fixed = attempts(tmp_path, 0.5, 0.4).next(plan, told("bc", "bc", ["history=3"]))
    assert fixed.settings == ["hidden=0"]  # what the run has set stays set


def test_an_attempt_that_failed_is_never_the_best(tmp_path):
    rows = attempts(tmp_path, 0.2, 0.9, 0.2)
    rows.rows[1].why_not = "no network"
    assert rows.best() is rows.rows[2]


@pytest.mark.cage
def test_a_whole_run_is_a_row_under_its_name_and_settings(site, tmp_path):
    """In the cage, on the station track, in a gradient regime."""
    done = subprocess.run(
        [sys.executable, "-m", "autoenvbench", "eval", "--agent", "recipe:bc", "--env", "Example/Reach-v0", "--track", "station", "--regime",
         "bc", "--demos", "40", "--agent-args", " ".join(QUICK["bc"]), "--budget", "90s", "--goal", "success>=0.8", "--held-out", "10", "--out", tmp_path / "runs"],
        capture_output=True, text=True, timeout=250, env={**os.environ, "PYTHONPATH": str(site)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    result = Result.model_validate_json((run / "result.json").read_text())
    assert (result.agent.name, result.contents.network) == ("recipe-bc", True)
    assert result.answer.how in (
        "submitted",
        "confirmed best",
    )  # the goal is reached before it could submit, or just after
    assert result.held_out.successes >= 8
    assert result.stopped_by == "goal"
    assert ranking.who(result)["agent"] == "recipe:bc"
    (section,) = ranking.sections([result], {})
    assert section.unranked[0].agent == f"recipe-bc {result.agent.version} ({' '.join(QUICK['bc'])} bc)"
    assert "demos 40" in section.unranked[0].conditions
    other = result.model_copy(update={"config": {**result.config, "agent_args": []}})
    assert ranking.who(other) != ranking.who(result)
    assert leaderboard.check_run(run)[0] == result
    assert Path(run / "agents/recipe-bc-1/workspace/recipe.json").exists()
    assert any(e.payload.regime == "bc" for e in Ledger(run / "ledger.sqlite").events("idea"))
