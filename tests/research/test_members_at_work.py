"""A team as a user starts it, on two cells: one member is killed and launched again, another joins late, the run itself is killed, and
all of them go on to the end."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autoenvbench.errors import UserError
from autoenvbench.publish.leaderboard import check_run
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.results import Result
from autoenvbench.research.joining import join
from autoenvbench.research.run import resume

#: Works in its first life, submits and ends in the one that it is told to be its last, and else waits to be killed.
WORK = """
import os, subprocess, sys, time
if os.path.exists("away.git"):
    os.rename("away.git", ".git")
me, last = sys.argv[1], int(sys.argv[2])
with open("lives", "a") as lives:
    lives.write("x")
life = len(open("lives").read())
if life == 1:
    subprocess.run(["aeb", "idea", "The idea of " + me], check=True)
    subprocess.run(["git", "commit", "-q", "--allow-empty", "-m", me], check=True)
    while subprocess.run(["aeb", "evaluate", "-n", "1", "--no-confirm"]).returncode == 4:
        time.sleep(0.2)
    subprocess.run("aeb peers --json > peers", shell=True, check=True)
if life == last:
    subprocess.run(["aeb", "submit"], check=True)
    sys.exit()
open("ready" + str(life), "w").close()
time.sleep(600)
"""


def program(name, last):
    return "command:" + shlex.join([sys.executable, "-c", WORK, name, str(last)])


def until(ready, process, seconds=200):
    """Wait for it, for as long as a loaded machine may need."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def kill_program(name):
    """`kill -9` of a member's own process, in its cage."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                argv = (entry / "cmdline").read_bytes().split(b"\0")
                if argv[1:2] == [b"-c"] and argv[3:4] == [name.encode()]:
                    os.kill(int(entry.name), signal.SIGKILL)
                    return
    raise AssertionError(f"{name} is not at work")


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    """Run, result and events."""
    out, name = tmp_path_factory.mktemp("team"), f"Ada{os.getpid()}"
    process = subprocess.Popen(
        [sys.executable, "-m", "autoenvbench", "eval", "--agent", program(name, 3), "--agent", program("Bob", 2), "--stations", "2",
         "--budget", "300s", "--held-out", "1", "--env-arg", "max_episode_steps=10", "--out", out],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:

        def ready(member, life):
            return lambda: any(out.glob(f"*/agents/{member}/workspace/ready{life}"))

        until(ready("command-1", 1), process)
        until(ready("command-2", 1), process)
        (run,) = out.iterdir()
        kill_program(name)
        until(ready("command-1", 2), process)
        for agent, why in (("command:/nope -c 'x", "cannot read the command"), ("nobody", "unknown agent")):
            with pytest.raises(UserError, match=why):
                join(run, agent)
        assert join(run, program("Cid", 2)) == "command-3"
        until(ready("command-3", 1), process)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    with pytest.raises(UserError, match="not under way"):
        join(run, "cem")
    bobs = run / "agents/command-2/workspace"
    (bobs / ".git").rename(bobs / "away.git")  # what a member does to its own repository keeps no run from going on
    result = Result.model_validate(resume(run))
    return run, result, list(Ledger(run / "ledger.sqlite").events())


@pytest.mark.cage
def test_all_members_end_as_they_were_to_whatever_was_killed(team):
    run, result, events = team
    assert [m.id for m in result.members] == ["command-1", "command-2", "command-3"]
    lives = [(run / "agents" / m.id / "workspace/lives").read_text() for m in result.members]
    assert lives == ["xxx", "xx", "xx"]
    exits = [(e.agent, e.payload.exit_code) for e in events if e.kind == "agent" and e.payload.phase == "exited"]
    assert exits[0] == ("command-1", 128 + signal.SIGKILL)
    assert sorted(exits[1:]) == [("command-1", 0), ("command-2", 0), ("command-3", 0)]  # the kill of the run wrote none
    assert any("killed" in e.payload.text and e.agent == "command-1" for e in events if e.kind == "note")
    assert [e.payload.members for e in events if e.kind == "run" and e.payload.phase == "joined"] == [
        {"command-3": program("Cid", 2)}
    ]
    joined = next(e.seq for e in events if e.kind == "run" and e.payload.phase == "joined")
    assert joined < min(e.seq for e in events if e.agent == "command-3")  # killed in between, a resumed run knows it
    assert len(list((run / "agents").iterdir())) == 3  # nothing is left of those who were refused
    assert {m.ideas for m in result.members} == {1}
    assert {m.evaluations for m in result.members} == {1}
    assert all(m.submitted for m in result.members)
    assert result.disturbances.resumes == 1


@pytest.mark.cage
def test_its_result_says_who_worked_and_is_borne_out_by_the_ledger(team):
    run, result, _ = team
    assert (result.team_size, result.cells, result.config["team"], result.stopped_by) == (3, 2, 2, "agent_ended")
    assert result.answer.how == "submitted"
    assert result.team_average is None  # nothing was confirmed
    assert "somebody joined it late" in result.unranked_because
    assert check_run(run)[0] == result
    tokens = [json.loads((run / f"agents/{m.id}/home/.aeb.json").read_text())["token"] for m in result.members]
    assert len(set(tokens)) == 3
    assert "command-3" in (run / "report.html").read_text()
    peers = json.loads((run / "agents/command-3/workspace/peers").read_text())
    assert [(row["agent"], row["you"], row["ideas"]) for row in peers] == [
        ("command-1", False, 1), ("command-2", False, 1), ("command-3", True, 1),
    ]  # fmt: skip


@pytest.mark.cage
def test_each_member_is_told_who_it_is_and_in_no_commit(team):
    run, result, _ = team
    for m in result.members:
        workspace = run / "agents" / m.id / "workspace"
        page = (workspace / "TEAM.md").read_text()
        assert page.startswith(f"# You are `{m.id}`")
        assert "One of 3 members" in page  # also where it began before the third had joined
        assert all(f"`{other.id}`" in page for other in result.members)
        assert "You share 2 robots" in page
        assert "one of 2 members" in (workspace / "TASK.md").read_text()
        tracked = subprocess.run(
            ["git", "-C", workspace, "ls-files"], capture_output=True, text=True, check=True
        ).stdout
        assert "TEAM.md" not in tracked
