"""What an agent finds in its workspace: made for its task and its run."""

import re
import shutil
import subprocess

import gymnasium as gym
import pytest
from enpire_envs.tools.toolbox import _TOOLS

from autoenvbench.record.regimes import contradictions
from autoenvbench.record.run_config import RunConfig
from autoenvbench.station.bundles import Bundle, look_through
from autoenvbench.workspace import make_workspace as made_by
from autoenvbench.workspace.make_workspace import make_workspace, recipes_of


def workspace(tmp_path, env_id="ENPIRE/PushT-v0", **config):
    env = gym.make(env_id, disable_env_checker=True, **config.get("env_kwargs", {}))
    make_workspace(tmp_path / "workspace", "codex-1", RunConfig(agent="codex", env=env_id, budget_s=60, **config), env)
    env.close()
    return tmp_path / "workspace"


@pytest.mark.parametrize("name", ["PushT", "PinInsertion", "GPUInsertion", "TieZipTie", "CutZipTie"])
def test_the_recipe_is_only_where_the_run_says_so(tmp_path, name):
    made = workspace(tmp_path / "plain", f"ENPIRE/{name}-v0")
    files = subprocess.run(
        ["git", "-C", str(made), "ls-files"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "policy.py" in files
    assert "parametric.py" not in files
    assert not any("arametric" in (made / file).read_text() for file in files)
    assert (workspace(tmp_path / "given", f"ENPIRE/{name}-v0", starter="parametric") / "parametric.py").exists()


@pytest.mark.parametrize(
    ("regime", "in_task", "beside"),
    [(None, False, True), ("mixed", False, True), ("tools", True, False), ("bc", False, False)],
)
def test_the_tools_of_scripts_are_described_where_scripts_are_wanted(tmp_path, regime, in_task, beside):
    made = workspace(tmp_path, "ENPIRE/PinInsertion-v0", regime=regime)
    task = (made / "TASK.md").read_text()
    assert ("`move_eef(" in task) == in_task
    assert ("*script*" in task) == (in_task or beside)
    assert (made / "TOOLS.md").exists() == beside
    if beside:
        assert "`TOOLS.md`" in task
        assert "`move_eef(" in (made / "TOOLS.md").read_text()


@pytest.mark.parametrize(("regime", "rule"), [
    ("heuristic", "An answer holds no learned weights"), ("online-rl", "An answer is a network"), ("mixed", ""), (None, ""),
])  # fmt: skip
def test_the_brief_says_what_an_answer_of_the_regime_must_hold(tmp_path, regime, rule):
    task = (workspace(tmp_path, regime=regime) / "TASK.md").read_text()
    assert rule in task
    assert ("An answer" in task) == bool(rule)


@pytest.mark.parametrize("env_id", ["ENPIRE/PushT-v0", "ENPIRE/PinInsertion-State-v0", "ENPIRE/TieZipTie-v0"])
def test_what_a_workspace_begins_with_is_a_heuristic(tmp_path, env_id):
    made = workspace(tmp_path, env_id, starter="parametric")
    shutil.rmtree(made / ".git")
    assert contradictions("heuristic", look_through(Bundle("c", "d", "", made))) == []


def test_the_brief_names_the_sensing_in_force(tmp_path):
    noisy = (workspace(tmp_path / "a", "ENPIRE/PinInsertion-v0") / "TASK.md").read_text()
    assert "Sensing is `noisy` in every episode" in noisy
    ideal = (
        workspace(tmp_path / "b", "ENPIRE/PinInsertion-v0", env_kwargs={"sensing": "ideal"}) / "TASK.md"
    ).read_text()
    assert 'of `sensing="noisy"` does not hold' in ideal


@pytest.mark.parametrize("name", ["PushT", "PinInsertion", "GPUInsertion", "TieZipTie", "CutZipTie"])
def test_no_tool_is_named_that_is_not_listed(tmp_path, name):
    page = (workspace(tmp_path, f"ENPIRE/{name}-v0") / "TOOLS.md").read_text()
    listed = set(re.findall(r"^- `(\w+)\(", page, re.MULTILINE))
    gated = {"get_task_info", "reset_env", "reset_to_initial"}  # named as answered in practice alone
    tools = {*_TOOLS} - gated
    assert {word for word in re.findall(r"\w+", page) if word in tools} == listed


def test_how_to_compare_commits_on_equal_starts_is_said(tmp_path):
    assert "--seed 0" in (workspace(tmp_path) / "AGENTS.md").read_text()


@pytest.mark.parametrize("track", ["open", "station"])
def test_what_cannot_be_enforced_is_said_where_it_cannot_be(tmp_path, track):
    made = workspace(tmp_path, track=track)
    assert ("nobody can enforce that an idea is recorded" in (made / "TASK.md").read_text()) == (track == "open")
    assert "nothing enforces it" in (made / "AGENTS.md").read_text()


def test_the_brief_names_the_level_of_an_id_that_has_one(tmp_path):
    assert "Its level is `state`." in (workspace(tmp_path, "ENPIRE/PinInsertion-State-v0") / "TASK.md").read_text()


@pytest.mark.parametrize("env_id", ["ENPIRE/PinInsertion-v0", "ENPIRE/PinInsertion-State-v0", "ENPIRE/PushT-v0"])
def test_the_brief_has_controller_senses_and_geometry_at_the_level_in_force(tmp_path, env_id):
    page = (workspace(tmp_path, env_id) / "TASK.md").read_text()
    section = page[page.index("## Contact and controller\n") : page.index("## Description")]
    assert "### Tool and target" in section
    assert ("joint encoders: 0.3 mm backlash" in section) == ("State" in env_id)
    assert page.count("## Contact and controller\n") == 1


@pytest.mark.parametrize(
    ("regime", "track", "expected"),
    [
        (None, "open", {"bc", "iql", "td3_bc", "rlpd", "sac"}),
        (None, "station", {"bc", "iql", "td3_bc"}),
        ("bc", "station", {"bc"}),
        ("offline-rl", "open", {"iql", "td3_bc"}),
        ("online-rl", "open", {"rlpd", "sac"}),
        ("online-rl", "station", set()),
        ("heuristic", "open", set()),
        ("tools", "open", set()),
    ],
)
def test_recipes_are_those_of_the_regime_that_can_learn_on_the_track(regime, track, expected):
    config = RunConfig(agent="codex", env="ENPIRE/PushT-v0", budget_s=60, regime=regime, track=track)
    assert set(recipes_of(config)) == expected


def test_without_pytorch_there_are_no_recipes(monkeypatch):
    monkeypatch.setattr(made_by, "find_spec", lambda name: None)
    assert recipes_of(RunConfig(agent="codex", env="ENPIRE/PushT-v0", budget_s=60)) == []


def test_members_begin_with_the_same_commit_and_are_told_of_one_another_where_they_share(tmp_path):
    def first(name, **config):
        made = workspace(tmp_path / name, **config)
        commits = subprocess.run(
            ["git", "-C", made, "rev-list", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.split()
        text = (made / "AGENTS.md").read_text()
        assert text.count("## Exit codes of `aeb`") == 1
        return commits, "aeb adopt" in text

    ada, bob = first("ada", team=2), first("bob", team=2)
    assert ada == bob
    (tuned, plain), told = first("cem", team=2, starter="parametric")
    assert ([plain], told, tuned != plain) == (ada[0], True, True)
    assert not first("alone")[1]
    assert not first("apart", team=2, sharing=False)[1]
