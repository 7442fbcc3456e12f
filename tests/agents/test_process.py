"""What the harness itself writes and reads in places that an agent could prepare."""

import os

import pytest

from autoenvbench.agents.base import Launch, json_lines
from autoenvbench.agents.limits import Limits
from autoenvbench.agents.process import AgentProcess


@pytest.fixture
def folder(tmp_path):
    for name in ("agent/workspace/data", "agent/home", "data"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def prepare(folder):
    launch = Launch(["true"], home_files={".codex/config.toml": "new"})
    AgentProcess(
        launch, folder / "agent", folder / "data", "bwrap", "open", folder / "s.sock", "token", None, Limits.default()
    )


@pytest.mark.parametrize(
    "trap", ["link", "link to nothing", "parent link", "pipe", "folder", "file for a folder", "hard link"]
)
def test_nothing_that_an_agent_left_in_its_home_is_followed(folder, trap):
    """Between two launches the harness writes the home's files anew, as the user, outside the cage."""
    home, victim = folder / "agent/home", folder / "victim"
    victim.mkdir()
    (victim / "config.toml").write_text("precious")
    if trap == "parent link":
        (home / ".codex").symlink_to(victim)
    elif trap == "file for a folder":
        (home / ".codex").write_text("x")
    else:
        (home / ".codex").mkdir()
        target = home / ".codex/config.toml"
        if trap == "link":
            target.symlink_to(victim / "config.toml")
        elif trap == "link to nothing":
            target.symlink_to(victim / "created")
        elif trap == "pipe":
            os.mkfifo(target)
        elif trap == "hard link":
            os.link(victim / "config.toml", target)
        else:
            target.mkdir()
            (target / "x").write_text("x")
    prepare(folder)
    assert (home / ".codex/config.toml").read_text() == "new"
    assert not (home / ".codex/config.toml").is_symlink()
    assert (victim / "config.toml").read_text() == "precious"
    assert sorted(p.name for p in victim.iterdir()) == ["config.toml"]


def test_journals_that_are_none_are_passed_over(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"n": 1}\nnonsense\n[2]\n{"n": ')
    os.mkfifo(tmp_path / "b.jsonl")  # would wait forever
    (tmp_path / "c.jsonl").symlink_to("/etc/passwd")
    with (tmp_path / "d.jsonl").open("wb") as file:
        file.truncate(1 << 40)
    assert list(json_lines(sorted(tmp_path.glob("*.jsonl")))) == [{"n": 1}]
