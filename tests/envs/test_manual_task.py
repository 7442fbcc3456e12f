"""docs/add_a_task.md, as it stands: its files are written, laid out as `pip install` leaves them, and its commands run."""

import sys

import gymnasium as gym
import pytest
from conftest import lay_out
from enpire_envs import registry
from manual import run_page, write_files

PAGE = "docs/add_a_task.md"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The page's task in a folder of installed packages, known to this process; undone afterwards."""
    write_files(PAGE, tmp_path / "project")
    site = lay_out(tmp_path / "project", tmp_path / "site")
    monkeypatch.setattr(registry, "_by_id", dict(registry._by_id))
    monkeypatch.setattr(registry, "problems", {})
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.chdir(tmp_path)
    before = set(gym.registry)
    registry.load_entry_points()
    yield site
    for env_id in set(gym.registry) - before:
        del gym.registry[env_id]
    for name in [name for name in sys.modules if name.partition(".")[0] == "drawer"]:
        del sys.modules[name]


@pytest.mark.timeout(1200)  # a suite of its own runs in it
def test_a_reader_adds_a_task(installed, capsys):
    """The last of its commands is the contract of the suite's own tasks."""
    run_page(PAGE, path=str(installed))
    assert not registry.problems
    said = capsys.readouterr().out
    assert "5 of 5" in said or "100.0 %" in said
    job = [line for line in (installed / "drawer/env.py").read_text().splitlines() if line.strip()]
    assert len(job) < 60, "as the page says"
