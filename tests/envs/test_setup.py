"""`autoenvbench setup`: says what is there, refuses what cannot be, and leaves nothing half-made in use."""

import json

import pytest
from enpire_envs.remote import setup as setup_simulators
from enpire_envs.remote import venvs
from enpire_envs.remote.env import missing_assets, official_assets
from enpire_envs.remote.venvs import NotInstalled, SetupFailed, Simulator

from autoenvbench.cli.main import main


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("AUTOENVBENCH_SIMULATORS", str(tmp_path / "simulators"))
    monkeypatch.delenv("ROBOCASA_ASSETS_PATH", raising=False)
    return tmp_path / "simulators"


def pretend(home, **about):
    """An environment that looks installed."""
    folder = home / "robocasa"
    folder.mkdir(parents=True)
    (folder / "about.json").write_text(json.dumps({"requirements": list(venvs.ROBOCASA.requirements), **about}))


def test_it_says_what_is_installed_and_what_to_type(home, capsys):
    assert main(["setup"]) == 0
    assert "robocasa   not installed; autoenvbench setup robocasa" in capsys.readouterr().out
    pretend(home, tasks=["OpenDrawer", "OpenFridge"])
    main(["setup"])
    assert f"installed in {home / 'robocasa'}" in capsys.readouterr().out
    assert main(["setup", "--tasks"]) == 0
    assert capsys.readouterr().out.split() == ["OpenDrawer", "OpenFridge"]


def test_another_version_does_not_count_as_installed(home):
    pretend(home)
    assert venvs.ROBOCASA.installed
    (home / "robocasa" / "about.json").write_text('{"requirements": ["robosuite==1.0"]}')
    with pytest.raises(NotInstalled, match="another version"):
        venvs.ROBOCASA.about()


def test_a_setup_that_was_killed_before_the_kitchen_was_made(home, capsys):
    pretend(home)
    assert main(["score", "--env", "ENPIRE/RoboCasa-OpenDrawer-v0", "--policy", "random", "-n", "1"]) == 2
    assert "there is no kitchen yet; type: autoenvbench setup robocasa" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["setup", "robosuite"], "unknown simulator 'robosuite'; known: robocasa, gym-pusht"),
        (["setup", "gym-pusht", "--assets", "."], "--assets belongs to robocasa"),
        (["setup", "robocasa", "--assets", "."], "lacks textures, fixtures/sinks"),
        (["setup", "--tasks"], "type: autoenvbench setup robocasa"),
    ],
)
def test_wrong_use(home, capsys, args, complaint):
    assert main(args) == 2
    assert complaint in capsys.readouterr().err
    assert not (home / "robocasa").exists()


def test_a_folder_that_cannot_be_made(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AUTOENVBENCH_SIMULATORS", str(tmp_path / "file" / "x"))
    with pytest.raises(SetupFailed, match="export AUTOENVBENCH_SIMULATORS"):
        setup_simulators.setup("robocasa", assets=None, say=print)


def test_official_assets_are_taken_where_they_are_whole(home, tmp_path, monkeypatch):
    assets = tmp_path / "assets"
    for part in missing_assets(assets):
        (assets / part).mkdir(parents=True)
        assert part in missing_assets(assets)  # an empty folder is no download
        (assets / part / "model.xml").write_text("<mujoco/>")
    assert missing_assets(assets) == []
    pretend(home)
    assert official_assets() is None
    monkeypatch.setenv("ROBOCASA_ASSETS_PATH", str(assets))
    assert official_assets() == assets
    monkeypatch.delenv("ROBOCASA_ASSETS_PATH")
    (home / "robocasa" / "about.json").write_text(
        json.dumps({"requirements": list(venvs.ROBOCASA.requirements), "assets": str(assets)})
    )
    assert official_assets() == assets
    assert "RoboCasa's own kitchens" in setup_simulators.kitchens({})


def test_what_fails_half_way_is_not_used(home, monkeypatch):
    broken = Simulator("broken", ("autoenvbench-has-no-such-package==1.0",))
    monkeypatch.setitem(setup_simulators.SIMULATORS, "broken", broken)
    said = []
    with pytest.raises(SetupFailed, match="autoenvbench-has-no-such-package"):
        setup_simulators.setup("broken", assets=None, say=said.append)
    assert not broken.installed
    assert said == [f"making {home / 'broken'} (a minute or two)"]
