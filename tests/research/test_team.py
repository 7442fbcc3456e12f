"""Two members in one run with one station: two plain programs that ask one scripted model each, by one budget and one clock."""

import functools
import gzip
import json
import shlex
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from autoenvbench.agents import process
from autoenvbench.errors import UserError
from autoenvbench.publish.leaderboard import check_run
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.results import Result
from autoenvbench.record.run_config import RunConfig
from autoenvbench.research.observer import Observer
from autoenvbench.research.run import research, resume
from autoenvbench.research.run_dir import pause, unpause
from autoenvbench.sandbox.limits import Limits

ASK = """
import json, os, subprocess, sys, time, urllib.request
def ask():
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": sys.argv[1]}]}).encode()
    url = os.environ["AEB_GATEWAY"] + "/v1/chat/completions"
    urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})).read()
"""
LOOK = """
seen = [os.path.join(folder, name) for top in ("/home", "/run", "/tmp", "/workspace", sys.argv[2])
        for folder, folders, files in os.walk(top) for name in folders + files]
open("seen", "w").write("\\n".join(seen))
os.symlink(sys.argv[2], "way-out")
"""
WORK = """
ask()
print(json.dumps({"text": "I am " + sys.argv[1]}), flush=True)
subprocess.run(["aeb", "idea", "The idea of " + sys.argv[1]], check=True)
subprocess.run(["git", "commit", "-q", "--allow-empty", "-m", sys.argv[1]], check=True)
while subprocess.run(["aeb", "evaluate", "-n", "2"]).returncode == 4:  # the robot is busy with the other's
    time.sleep(0.2)
"""
LAST = 'subprocess.run(["aeb", "submit"], check=True)\n'
BEAT = """
while True:
    open("beat", "w").write(str(time.time()))
    time.sleep(0.05)
"""
BUDGET_S = 25.0


def note_threads(monkeypatch, owner, name, noted):
    """Make a slow function note the threads in which it is called."""
    slow = getattr(owner, name)

    @functools.wraps(slow)
    def noting(*args, **kwargs):
        noted.setdefault(name, set()).add(threading.current_thread().name)
        return slow(*args, **kwargs)

    monkeypatch.setattr(owner, name, noting)


def program(source, *args):
    return "command:" + shlex.join([sys.executable, "-c", source, *args])


class Watcher(Observer):
    """Remembers what it was told, and on which thread."""

    def __init__(self):
        self.words, self.lines, self.threads, self.run_dir = [], [], set(), None

    def on_start(self, run_dir, clock, config):
        self.run_dir = run_dir

    def on_agent_event(self, slot, event):
        self.words.append((slot, event["text"]))
        self.threads.add(threading.current_thread())

    def log(self, text):
        self.lines.append(text)


def script(folder, usage):
    path = folder / "script.json"
    path.write_text(json.dumps({"steps": [{"text": "hello", "usage": usage}]}))
    return str(path)


def config(out, agent, **more):
    return RunConfig(agent=agent, env="ENPIRE/PushT-v0", held_out=1, replay=script(out, {"input": 100, "output": 10}),
                     gateway="replay", **{"budget_s": BUDGET_S, **more})  # fmt: skip


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    """A run of two, paused once in its middle: the first leaves after its work, the second is ended by the deadline."""
    out = tmp_path_factory.mktemp("team")
    agents = [program(ASK + LOOK + WORK + LAST, "Ada", str(out)), program(ASK + LOOK + WORK + BEAT, "Bob", str(out))]
    watcher, results, threads = Watcher(), [], {}
    monkeypatch = pytest.MonkeyPatch()
    for owner, name in (
        (Ledger, "append"),
        (Ledger, "events"),
        (gzip, "open"),
        (process, "members"),
        (Limits, "overfull"),
    ):
        note_threads(monkeypatch, owner, name, threads)

    def work():
        results.append(research(config(out, agents[0]), out / "runs", watcher, agents))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        while not (watcher.run_dir and (watcher.run_dir / "agents/command-2/workspace/beat").exists()):
            assert thread.is_alive()
            time.sleep(0.1)
        serving = "model-gateways" in {t.name for t in threading.enumerate()}
        pause(watcher.run_dir)
        time.sleep(0.3)
        beat = watcher.run_dir / "agents/command-2/workspace/beat"
        before = beat.read_text()
        time.sleep(1.5)
        stood = beat.read_text() == before
    finally:
        if watcher.run_dir:
            unpause(watcher.run_dir)
        thread.join(180)
        monkeypatch.undo()
    (result,) = results
    events = list(Ledger(watcher.run_dir / "ledger.sqlite").events())
    return {
        "dir": watcher.run_dir,
        "result": result,
        "events": events,
        "watcher": watcher,
        "stood": stood,
        "thread": thread,
        "threads": threads,
        "serving": serving,
    }


def of(team, kind):
    return [(e.agent, e.payload) for e in team["events"] if e.kind == kind]


@pytest.mark.cage
def test_each_member_has_a_place_of_its_own(team):
    folders = sorted(p.name for p in (team["dir"] / "agents").iterdir())
    assert folders == ["command-1", "command-2"]
    for name in folders:
        folder = team["dir"] / "agents" / name
        author = subprocess.run(
            ["git", "-C", folder / "workspace", "log", "-1", "--format=%an"], capture_output=True, text=True
        )
        assert author.stdout.strip() == name
        assert (folder / "transcript.jsonl.gz").exists()
    tokens = [json.loads((team["dir"] / "agents" / name / "home/.aeb.json").read_text())["token"] for name in folders]
    assert tokens[0] != tokens[1]


@pytest.mark.cage
def test_a_member_finds_nothing_of_its_peer(team):
    for own, other in (("command-1", "command-2"), ("command-2", "command-1")):
        workspace = team["dir"] / "agents" / own / "workspace"
        seen = (workspace / "seen").read_text().splitlines()
        assert "/workspace/policy.py" in seen
        assert [path for path in seen if path.endswith(".aeb.json")] == ["/home/agent/.aeb.json"]
        assert not [path for path in seen if other in path or str(team["dir"]) in path]


@pytest.mark.cage
def test_the_ledger_tells_the_members_apart(team):
    assert of(team, "run")[0][1].members.keys() == {"command-1", "command-2"}
    assert {(agent, p.title) for agent, p in of(team, "idea")} == {
        ("command-1", "The idea of Ada"), ("command-2", "The idea of Bob"),
    }  # fmt: skip
    assert {p.name for _, p in of(team, "agent")} == {"command"}
    assert sorted(agent for agent, _ in of(team, "tokens")) == ["command-1", "command-2"]
    assert {agent for agent, p in of(team, "evaluation") if p.phase == "finished" and p.purpose == "evaluate"} == {
        "command-1", "command-2",
    }  # fmt: skip
    starts = [p.index for _, p in of(team, "episode") if p.purpose in ("evaluate", "confirm")]
    assert len(starts) == len(set(starts))  # one station, and no start twice
    assert {slot for slot, _ in team["watcher"].words} == {"command-1", "command-2"}
    assert team["watcher"].threads == {team["thread"]}


@pytest.mark.cage
def test_one_leaves_alone_and_the_clock_ends_the_other(team):
    exits = {agent: p.reason for agent, p in of(team, "agent") if p.phase == "exited"}
    assert exits == {"command-1": "agent_ended", "command-2": "deadline"}
    assert ("command-1", "has ended: agent_ended") in [(agent, p.text) for agent, p in of(team, "note")]
    phases = [p.phase for _, p in of(team, "run")]
    assert phases.count("deadline") == 1
    assert [p.detail for _, p in of(team, "run") if p.phase == "agents_stopped"] == ["deadline"]
    beat = team["dir"] / "agents/command-2/workspace/beat"
    stopped = next(e for e in team["events"] if e.kind == "run" and e.payload.phase == "agents_stopped")
    assert beat.stat().st_mtime <= stopped.t_wall


@pytest.mark.cage
def test_what_is_slow_is_done_in_other_threads_than_the_one_that_serves_models(team):
    """Appends with their fsync, reads of the whole ledger, gzip, looks into /proc, walks over disks."""
    assert team["serving"]
    assert team["threads"].keys() == {"append", "events", "open", "members", "overfull"}
    for name, threads in team["threads"].items():
        assert "model-gateways" not in threads, name
    assert len(team["threads"]["append"]) >= 3  # the run's own, the heartbeat's, and those of the gateways


@pytest.mark.cage
def test_a_pause_stops_all_of_them(team):
    assert team["stood"]
    at = {e.payload.phase: e for e in team["events"] if e.kind == "run"}
    assert at["unpaused"].t_wall - at["paused"].t_wall > 1.5
    assert at["unpaused"].t_run - at["paused"].t_run < 1
    assert at["deadline"].t_run == pytest.approx(BUDGET_S, abs=1.5)


@pytest.mark.cage
def test_a_teams_result_is_borne_out_by_its_ledger(team):
    result = Result.model_validate(team["result"])
    assert result.team_size == 2
    assert result.answer.how == "submitted"
    assert result.tokens.calls == 2
    assert result.ideas == 2
    assert check_run(team["dir"])[0] == result


@pytest.mark.cage
def test_a_budget_is_spent_by_all_and_ends_all(tmp_path):
    """Each of the two could ask three times; together they may not."""
    asking = ASK + "while True:\n    ask()\n    time.sleep(0.3)\n"
    agents = [program(asking, "Ada"), program(asking, "Bob")]
    began = time.monotonic()
    result = research(config(tmp_path, agents[0], budget_s=60, token_budget=400), tmp_path / "runs", agents=agents)
    assert result["stopped_by"] == "token_budget"
    assert time.monotonic() - began < 50
    assert 400 <= result["tokens"]["headline"] <= 510
    (run,) = (tmp_path / "runs").iterdir()
    exits = [e.payload.reason for e in Ledger(run / "ledger.sqlite").events("agent") if e.payload.phase == "exited"]
    assert exits == ["token_budget"] * 2


@pytest.mark.cage
def test_a_program_that_is_not_there_ends_the_run_before_it_is_kept(tmp_path):
    agents = ["command:sleep 60", "command:/nope"]
    with pytest.raises(UserError, match="cannot start '/nope' in the cage"):
        research(config(tmp_path, agents[0]), tmp_path / "runs", agents=agents)
    assert list((tmp_path / "runs").iterdir()) == []


# -- runs made before there were members -------------------------------------------------------------------------------
def as_made_before(run):
    """Turn a run of one into what an earlier version left: it is called by its agent's kind."""
    (run / "agents/command-1").rename(run / "agents/command")
    db = sqlite3.connect(run / "ledger.sqlite")
    db.executescript("DROP TRIGGER event_frozen; DROP TRIGGER event_kept")
    db.execute("UPDATE event SET agent = 'command' WHERE agent = 'command-1'")
    db.execute(
        "UPDATE event SET payload = json_set(json_remove(payload, '$.members'), '$.version', 1) WHERE kind = 'run'"
    )
    db.commit()
    db.close()


@pytest.mark.cage
def test_a_run_of_before_is_resumed_under_its_own_names(tmp_path):
    """Killed in its middle: the same folder, the same column, and a result that is borne out."""
    agent = program("import json, os, subprocess, sys, time\n" + WORK.replace("ask()\n", "") + BEAT, "Ada")
    process = subprocess.Popen(
        [sys.executable, "-m", "autoenvbench", "eval", "--agent", agent, "--budget", "18s", "--held-out", "1",
         "--out", tmp_path / "runs"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        beat = None
        while beat is None:
            assert process.poll() is None
            time.sleep(0.1)
            beat = next(Path(tmp_path).glob("runs/*/agents/command-1/workspace/beat"), None)
    finally:
        process.kill()
        process.wait()
    (run,) = (tmp_path / "runs").iterdir()
    as_made_before(run)
    result = resume(run)
    assert [p.name for p in (run / "agents").iterdir()] == ["command"]
    events = list(Ledger(run / "ledger.sqlite").events())
    assert {e.agent for e in events} == {None, "admin", "command"}
    assert [e.payload.reason for e in events if e.kind == "agent" and e.payload.phase == "exited"] == ["deadline"]
    assert result["ideas"] >= 2  # one in each life
    assert result["disturbances"]["resumes"] == 1
    assert check_run(run)[0] == Result.model_validate(result)
