"""A new task is one folder and one registration; the harness makes, lists, scores, briefs, hides, runs and fingerprints it.

The task is `examples/new_task`, laid out as `pip install` leaves a package; nothing else is touched.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest
from enpire_envs import registry
from enpire_envs.contract import contract_of
from enpire_envs.env import ResetFailed
from enpire_envs.fingerprint import fingerprint
from enpire_envs.reference import make_reference
from gymnasium.utils.env_checker import check_env

from autoenvbench.errors import UserError
from autoenvbench.make_env import default_track, make_env
from autoenvbench.record.results import Result
from autoenvbench.record.run_config import RunConfig
from autoenvbench.sandbox.cage import hidden_paths, runtime_paths
from autoenvbench.study.score import score
from autoenvbench.workspace.make_workspace import make_workspace

EXAMPLE = Path(__file__).parents[2] / "examples/new_task"
REACH = "Example/Reach-v0"


def test_the_harness_names_no_task():
    """Neither a task's folder nor its environments nor its simulator, but for the id that commands default to."""
    named = {"robosuite", "gym.pusht"}
    for entry in registry.entries():
        named |= {entry.package.rpartition(".")[2], entry.entry_point.rpartition(":")[2].removesuffix("Env")}
        named |= {env_id.rpartition("/")[2].removesuffix("-v0") for env_id in entry.envs}
    words = re.compile("|".join(sorted(name.replace("_", "[_ -]?") for name in named - {"simulators"})), re.IGNORECASE)
    package = Path(__file__).parents[2] / "autoenvbench"
    found = [
        f"{file.relative_to(package)}:{row}: {line.strip()}"
        for file in sorted(package.rglob("*.py"))
        for row, line in enumerate(file.read_text().splitlines(), 1)
        if words.search(line.replace('DEFAULT_ENV = "ENPIRE/PushT-v0"', ""))
    ]
    assert not found


@pytest.fixture
def installed(site, monkeypatch):
    """The same, in this process."""
    monkeypatch.setattr(registry, "_by_id", dict(registry._by_id))
    monkeypatch.setattr(registry, "problems", {})
    before = set(gym.registry)
    monkeypatch.syspath_prepend(str(site))
    registry.load_entry_points()
    yield site
    for env_id in set(gym.registry) - before:
        del gym.registry[env_id]
    for name in [name for name in sys.modules if name.partition(".")[0] == "reach"]:
        del sys.modules[name]


def autoenvbench(site, *args):
    return subprocess.run(
        [sys.executable, "-m", "autoenvbench", *map(str, args)], capture_output=True, text=True, timeout=200,
        env={**os.environ, "PYTHONPATH": str(site)},
    )  # fmt: skip


def test_gymnasium_makes_and_accepts_it(installed):
    env = gym.make(REACH, render_mode="rgb_array")
    check_env(env.unwrapped)
    assert contract_of(env) is env.unwrapped
    assert not registry.problems
    env.close()


def test_a_start_that_is_no_start_is_drawn_again_or_refused(installed):
    env = make_env(REACH, {"tolerance": 0.4})  # one draw in ten is within that
    attempts = {env.reset(seed=seed)[1]["reset_attempts"] for seed in range(60)}
    assert {1, 2} <= attempts <= {1, 2, 3}
    with pytest.raises(ResetFailed, match="on the mark already") as refused:
        env.reset(options={"start": {"tip": [0, 0], "goal": [0, 0]}})
    assert refused.value.attempts == 3


def test_the_harness_scores_it_by_its_own_policies(installed):
    rates = {policy: score(REACH, policy, 5, sandbox="none") for policy in ("reference", "scripted", "naive", "random")}
    assert [rate["successes"] for rate in rates.values()] == [5, 5, 0, 0]
    assert rates["reference"]["kind"] == "sim"
    assert rates["naive"]["failures"] == {"time_limit": 5}
    assert score(REACH, "reference", 2, protocol="corners", sandbox="none")["successes"] == 2
    for kind in ("Expert", "Scripted", "Naive"):
        assert make_reference(make_env(REACH), kind)


def test_a_script_is_given_spaces_and_no_environment(installed, monkeypatch):
    """What it is told is all that it can know: neither argument leads to the cell."""
    given = []
    monkeypatch.setattr("reach.reference.Scripted", lambda *args: given.extend(args))
    env = make_env(REACH)
    make_reference(env, "Scripted")
    assert given == [env.observation_space, env.action_space]


def test_a_task_without_a_script_says_which_have_one(installed, monkeypatch):
    monkeypatch.delattr("enpire_envs.pusht.reference.Scripted", raising=False)
    with pytest.raises(UserError, match=f"ENPIRE/PushT-v0 has no scripted policy; those that have: .*{REACH}"):
        score("ENPIRE/PushT-v0", "scripted", 1, sandbox="none")


def test_an_agent_gets_its_brief_and_its_starting_files(installed, tmp_path):
    config = RunConfig(agent="cem", env=REACH, budget_s=60, starter="parametric")
    make_workspace(tmp_path / "workspace", "cem-1", config, make_env(REACH))
    for name in ("policy.py", "parametric.py"):
        assert (tmp_path / "workspace" / name).read_text() == (EXAMPLE / "reach/template" / name).read_text()
    brief = (tmp_path / "workspace/TASK.md").read_text()
    assert "Bring a tip onto a mark" in brief
    assert "50 ms of CPU time" in brief
    assert "60 steps (6 s). Its stages, in order: start, near, success." in brief


def test_cages_show_it_and_hide_what_solves_it(installed):
    folder = installed / "reach"
    assert folder in runtime_paths()
    assert default_track(REACH) == "open"
    assert folder / "reference" in hidden_paths("open")
    assert folder not in hidden_paths("open")
    assert folder in hidden_paths("station")


def test_what_is_wrong_is_said_by_its_name(installed, monkeypatch):
    with pytest.raises(UserError, match=f"did you mean {REACH}"):
        make_env("Example/Reech-v0")
    with pytest.raises(UserError, match=f"no starts 'edges' of {REACH}; known: corners"):
        score(REACH, "reference", 1, protocol="edges", sandbox="none")
    with pytest.raises(UserError, match=f"cannot make {REACH} with .*unexpected keyword argument 'lidar'"):
        make_env(REACH, {"lidar": 1})
    with pytest.raises(ValueError, match=f"{REACH} is registered by reach and by other"):
        registry.register(registry.TaskEntry(package="other", entry_point="other:Env", envs={REACH: {}}))
    monkeypatch.setattr(sys.modules["reach.env"].ReachEnv, "kind", "robot")
    with pytest.raises(UserError, match=f"{REACH} says kind='robot', expected one of sim, twin, real, stand-in"):
        make_env(REACH)


def test_a_reference_that_could_not_be_hidden_stops_every_cage(installed):
    (installed / "solved.py").write_text("Expert = Naive = None\n")
    registry.register(
        registry.TaskEntry(
            package="reach", entry_point="reach.env:ReachEnv", envs={"Example/X-v0": {}}, reference="solved"
        )
    )
    for track in ("open", "station"):
        with pytest.raises(UserError, match="solved is a file and cannot be hidden from agents; make it a folder"):
            hidden_paths(track)


def test_a_task_that_cannot_be_loaded_stops_nobody_and_is_named(installed, monkeypatch):
    info = installed / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{registry.ENTRY_POINTS}]\nbroken = no_such_module:TASK\nother = reach:__name__\n"
    )
    registry.load_entry_points()
    shutil.rmtree(info)
    with pytest.raises(
        UserError, match=r"broken could not be loaded: ModuleNotFoundError.*other could not.*expected a TaskEntry"
    ):
        make_env("Broken/Task-v0")
    assert make_env(REACH)


@pytest.mark.parametrize(
    ("file", "old", "new", "counts"),
    [
        ("env.py", "self._steps += 1", "self._steps += 2", True),
        ("scene.py", "STEP * np", "0.9 * STEP * np", True),  # what the environment imports
        ("scene.xml", "0.08", "0.07", True),
        ("env.py", "Bring a tip", "Lead a tip", False),  # a docstring
        ("env.py", "# What a station asks.", "# What stations ask.", False),
        ("reference/__init__.py", "np.clip", "0.5 * np.clip", False),
        ("template/policy.py", "np.clip", "0.5 * np.clip", False),
        ("template/parametric.py", "20.0", "30.0", False),
        ("corners.json", "0.9", "0.8", False),
        ("__init__.py", '"corners.json"', '"corners.json", "again": "corners.json"', False),
    ],
)
def test_its_fingerprint_covers_what_changes_episodes_and_nothing_else(installed, file, old, new, counts):
    env = make_env(REACH)
    before, path = fingerprint(env), installed / "reach" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    try:
        assert (fingerprint(env) != before) == counts
    finally:
        path.write_text(text)
    assert fingerprint(env) == before
    (installed / "reach" / "README.md").write_text("# Reach\n")
    assert fingerprint(env) == before
    assert (
        fingerprint(make_env(REACH, {"tolerance": 0.05})) == before != fingerprint(make_env(REACH, {"tolerance": 0.04}))
    )


def test_the_command_lists_it(site):
    done = autoenvbench(site, "envs", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = [row for row in json.loads(done.stdout) if row["id"] == REACH]
    assert (row["hz"], row["steps"]) == (10, 60)
    assert row["summary"] == "Bring a tip onto a mark and let it rest there."
    code = autoenvbench(site, "score", "--env", REACH, "--policy", site / "reach/template", "-n", "3", "--json")
    assert json.loads(code.stdout)["episodes"] == 3, code.stderr


@pytest.mark.cage
def test_an_agent_does_research_on_it_and_its_result_is_a_row(site, tmp_path):
    """On the station track, in the cage: the task's folder is empty there, and its station still runs it."""
    look = f'test -z "$(ls -A {site / "reach"})" && echo hidden > hidden.txt'
    adopt = "printf 'from parametric import ParametricPolicy as Policy\\n' > policy.py"
    research = f"{look}; {adopt}; git add -A; git commit -qm 'Proportional control'; aeb evaluate -n 20; aeb submit"
    done = autoenvbench(
        site, "eval", "--agent", f"command:bash -c {shlex.quote(research)}", "--env", REACH, "--track", "station",
        "--budget", "40s", "--held-out", "5", "--starter", "parametric", "--out", tmp_path / "runs",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run_dir,) = (tmp_path / "runs").iterdir()
    result = Result.model_validate_json((run_dir / "result.json").read_text())
    assert result.env.id == REACH
    assert len(result.env.fingerprint) == 16
    assert (result.kind, result.track) == ("sim", "station")
    assert result.episodes >= 20
    assert (run_dir / "agents/command-1/workspace/hidden.txt").read_text() == "hidden\n"
    assert "Reach-v0" in (run_dir / "report.html").read_text()
    again = autoenvbench(site, "report", run_dir)
    assert again.returncode == 0, again.stderr
    assert autoenvbench(site, "leaderboard", "add", run_dir, "--dir", tmp_path / "board").returncode == 0
