"""The programs in a workspace's recipes/: each learns from the data beside it, and makes the result the policy."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest

from autoenvbench.learning import train
from autoenvbench.make_env import make_env
from autoenvbench.record.run_config import RunConfig
from autoenvbench.study.score import score
from autoenvbench.workspace.make_workspace import RECIPES, make_workspace

SMALL = ["hidden=32", "history=0", "batch=64"]
QUICK = {
    "bc": [*SMALL, "lr=0.003", "average=0.99", "updates=400"],
    "iql": [*SMALL, "learning_rate=0.003", "updates=60"],
    "td3_bc": [*SMALL, "learning_rate=0.003", "updates=60"],
    "rlpd": ["hidden=32", "batch=64", "critics=2", "episodes=2", "clone=20"],
    "sac": ["hidden=32", "batch=64", "episodes=2", "warm_up=60"],
}


@pytest.fixture
def workspace(reach, shown, tmp_path, monkeypatch):
    """Makes a workspace with demonstrations, and works in it."""

    def make(**config):
        folder = tmp_path / "workspace"
        make_workspace(
            folder, "codex-1", RunConfig(agent="codex", env=reach, budget_s=60, demos=100, **config), make_env(reach)
        )
        shutil.copytree(shown, folder / "data/demos")
        monkeypatch.chdir(folder)
        return folder

    return make


def learn(monkeypatch, name, *args):
    pairs = [part for pair in QUICK[name] for part in ("--set", pair)]
    monkeypatch.setattr(sys, "argv", [f"recipes/{name}.py", "--minutes", "1", *pairs, *args])
    runpy.run_path(f"recipes/{name}.py", run_name="__main__")


def test_what_a_recipe_learns_on_the_station_track_solves_the_task(workspace, reach, monkeypatch, capsys):
    folder = workspace(track="station")
    before = (folder / "policy.py").read_text()
    learn(monkeypatch, "bc", "--keep")
    assert (folder / "policy.py").read_text() == before
    learn(monkeypatch, "bc", "--out", "runs/again", "--seed", "1")
    assert (folder / "policy.py").read_text() != before
    assert "git add policy.py features.py policy.json" in capsys.readouterr().out
    assert score(reach, str(folder), 10, sandbox="none")["successes"] >= 5
    with pytest.raises(SystemExit, match="holds a run already; go on with it by --resume"):
        learn(monkeypatch, "bc")


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_each_recipe_learns_with_the_settings_that_it_names(workspace, monkeypatch, name):
    """In its gradient regime, where the answer is its network and nothing else."""
    folder = workspace(regime=RECIPES[name])
    assert sorted(path.stem for path in (folder / "recipes").glob("*.py")) == sorted(
        other for other in RECIPES if RECIPES[other] == RECIPES[name]
    )
    learn(monkeypatch, name)
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["network.onnx"]
    assert not (folder / "policy.py").exists()
    made = json.loads((folder / f"runs/{name}/policy/policy.json").read_text())["made_by"]
    named = runpy.run_path(f"recipes/{name}.py")["SETTINGS"]
    assert set(train.settings_of(name, named).__dict__) == set(made["settings"])
    assert made["env"] == "Example/Reach-v0"


def test_an_edited_copy_of_an_algorithm_is_learnt_with(workspace, monkeypatch):
    """As a recipe's own page tells it to be done."""
    folder = workspace(track="station")
    source = Path(train._module("bc").__file__).read_text()
    (folder / "recipes/my_bc.py").write_text(source.replace('knob(256, "width', 'knob(24, "width'))
    page = (
        (folder / "recipes/bc.py").read_text().replace("from autoenvbench.learning import bc\n", "import my_bc as bc\n")
    )
    (folder / "recipes/bc.py").write_text(page.replace('"hidden=256", ', ""))
    monkeypatch.setattr(sys, "argv", ["recipes/bc.py", "--set", "updates=5", "--set", "history=0"])
    monkeypatch.syspath_prepend(str(folder / "recipes"))
    runpy.run_path("recipes/bc.py", run_name="__main__")
    made = json.loads((folder / "policy.json").read_text())["made_by"]
    assert (made["algorithm"], made["settings"]["hidden"]) == ("my_bc", 24)
