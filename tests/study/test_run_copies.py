"""Copies of a run's folder: whole while it is being written, harmless whatever an agent left in it, and refused where they changed."""

import os
import subprocess
from dataclasses import replace

import pytest
from board import write_run

from autoenvbench.errors import UserError
from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import NoteEvent
from autoenvbench.record.ledger import Ledger
from autoenvbench.study import baggage
from autoenvbench.study.copies import pack, unpack


@pytest.fixture
def run_dir(tmp_path):
    return write_run(tmp_path / "run")


def _digest(folder):
    ledger = Ledger(folder / "ledger.sqlite")
    try:
        return ledger.digest()
    finally:
        ledger.close()


def test_a_copy_is_the_run_and_replaces_an_earlier_one(run_dir, tmp_path):
    workspace = run_dir / "agents" / "cem-1" / "workspace"
    workspace.mkdir(parents=True)
    (run_dir / "data").mkdir(exist_ok=True)
    (run_dir / "data" / "seen.txt").write_text("here")
    (workspace / "data").symlink_to((run_dir / "data").resolve())  # as in a run without a cage
    (workspace / "run.sh").write_text("#!/bin/sh\n")
    (workspace / "run.sh").chmod(0o755)
    subprocess.run(["git", "init", "--bare", "-q", run_dir / "objects.git"], check=True)
    at_home = unpack(pack(run_dir), tmp_path / "home")
    assert _digest(at_home) == _digest(run_dir)
    assert (at_home / "result.json").read_bytes() == (run_dir / "result.json").read_bytes()
    copied = at_home / "agents" / "cem-1" / "workspace"
    assert os.access(copied / "run.sh", os.X_OK)
    assert (copied / "data").resolve() == (at_home / "data").resolve()  # it leads into the copy, not to where it was
    assert subprocess.run(["git", "-C", at_home / "objects.git", "rev-parse", "--is-bare-repository"], check=True, capture_output=True).stdout == b"true\n"  # fmt: skip

    # The run goes on, with its ledger open and events in its write-ahead log.
    ledger = Ledger(run_dir / "ledger.sqlite", RunClock.start(10.0))
    ledger.append(NoteEvent(text="later"))
    (run_dir / "data" / "seen.txt").unlink()
    assert unpack(pack(run_dir), tmp_path / "home") == at_home
    ledger.close()
    assert _digest(at_home) == _digest(run_dir)
    assert list((at_home / "data").iterdir()) == []
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["run"]


def test_what_an_agent_left_reaches_nothing_outside_the_copy(run_dir, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("mine")
    workspace = run_dir / "workspace"
    workspace.mkdir()
    (workspace / "absolute").symlink_to(secret)
    (workspace / "relative").symlink_to("../../../secret.txt")
    (workspace / "folder").symlink_to(tmp_path)  # a way out for whatever is said to be below it
    (workspace / "loop").symlink_to("loop")
    os.mkfifo(workspace / "pipe")
    os.link(secret, workspace / "hard")
    (workspace / "long").symlink_to("x" * 200)
    home = unpack(pack(run_dir), tmp_path / "home") / "workspace"
    there = {path.name for path in home.iterdir()}
    assert not there & {"absolute", "relative", "folder", "pipe"}
    assert (home / "hard").stat().st_nlink == 1  # a copy, not the same file
    assert secret.read_text() == "mine"


def test_what_agents_fill_is_bounded_and_what_the_run_wrote_comes_home(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(baggage, "AGENT", baggage.Bound(3000, 12))
    monkeypatch.setattr(baggage, "EPISODES", baggage.Bound(2000, 12))
    monkeypatch.setattr(baggage, "LARGEST", 100_000)
    for agent, files in (("hog-1", 90), ("cem-1", 1)):
        workspace = run_dir / "agents" / agent / "workspace"
        (workspace / ".git").mkdir(parents=True)
        (workspace / ".git/HEAD").write_text("ref")
        (run_dir / "agents" / agent / "events.jsonl").write_text("{}")
        (workspace / "large").write_bytes(bytes(2999))
        for k in range(files):
            (workspace / f"{k}\n").write_text("x")
    (secret := tmp_path / "secret").mkdir()
    (secret / "key").write_text("mine")
    (run_dir / "agents/sly-1/workspace").mkdir(parents=True)
    (run_dir / "agents/sly-1/workspace/.git").symlink_to(secret)
    for k in range(4):
        (run_dir / "data/practice").mkdir(parents=True, exist_ok=True)
        (file := run_dir / f"data/practice/E{k}-0.episode").write_bytes(bytes(900))
        os.utime(file, (k, k))
    (run_dir / "bundles").mkdir(exist_ok=True)
    (run_dir / "bundles/own").write_bytes(bytes(50_000))
    (run_dir / "bundles/holes").write_bytes(bytes(100_001))
    copy = pack(run_dir)
    home = unpack(copy, tmp_path / "home")
    assert (_digest(home), (home / "bundles/own").stat().st_size) == (_digest(run_dir), 50_000)
    assert (home / "result.json").read_bytes() == (run_dir / "result.json").read_bytes()
    assert not (home / "bundles/holes").exists()
    for agent in ("hog-1", "cem-1"):
        assert (home / f"agents/{agent}/workspace/.git/HEAD").read_text() == "ref"
        assert (home / f"agents/{agent}/events.jsonl").exists()
        assert not (home / f"agents/{agent}/workspace/large").exists()
    assert b"mine" not in copy.content
    assert (home / "agents/cem-1/workspace/0\n").exists()  # however much its peer has
    assert sorted(path.name for path in (home / "data/practice").iterdir()) == ["E2-0.episode", "E3-0.episode"]
    told = (home / "stayed_behind.txt").read_text().splitlines()
    assert told == list(copy.left)
    assert [line.partition(":")[0] for line in told] == [
        "bundles/holes, a file of 0 MB", "of data, 2 of its files (0 MB)", "of agents/cem-1, 1 of its files (0 MB)",
        "of agents/hog-1, 49 of its files (0 MB)", "what else agents/hog-1 holds",
    ]  # fmt: skip
    assert set(told) <= set(pack(home).left)  # whoever goes on from it does not forget


def test_a_copy_that_changed_on_its_way_is_refused_and_the_last_one_stays(run_dir, tmp_path):
    good = pack(run_dir)
    at_home = unpack(good, tmp_path / "home")
    (at_home / "mark").touch()
    other = pack(write_run(tmp_path / "other", number=1))
    for changed, why in (
        (replace(good, content=good.content[:2048]), "changed on its way"),
        (replace(good, content=other.content), "changed on its way"),
        (replace(good, content=other.content, sha256=other.sha256), "another ledger than it left with"),
    ):
        with pytest.raises(UserError, match=why):
            unpack(changed, tmp_path / "home")
    assert (at_home / "mark").exists()
    assert _digest(at_home) == good.ledger_sha256
