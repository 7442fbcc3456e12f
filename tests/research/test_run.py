"""Whole runs, as a user starts them."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from board import refuse_every_edit
from conftest import TUNED

from autoenvbench.errors import UserError
from autoenvbench.publish import leaderboard, ranking
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.results import Result

REPLAY = Path(__file__).parents[2] / "examples/codex_replay.json"


def command(*args):
    return [sys.executable, "-m", "autoenvbench", *map(str, args)]


def run(*args, timeout=280):
    done = subprocess.run(command(*args), capture_output=True, text=True, timeout=timeout)
    return done.returncode, done.stdout, done.stderr


def cem(out, budget, *more):
    return ["eval", "--agent", "cem", "--budget", budget, "--out", out, *more]


def only(folder):
    (path,) = Path(folder).iterdir()
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A short finished run of cem."""
    out = tmp_path_factory.mktemp("runs")
    code, _, err = run(*cem(out, "25s", "--held-out", "8", "--attempts", "1"))
    assert code == 0, err
    return only(out)


def test_a_run_ends_in_a_result_a_report_and_a_row(finished, tmp_path):
    result = Result.model_validate_json((finished / "result.json").read_text())
    assert result.held_out.episodes == 8
    assert result.ideas >= 1
    assert result.episodes >= 20
    assert result.research_s == pytest.approx(25, abs=4)
    assert result.mru is None  # robot time was free
    assert result.tokens.calls == 0
    events = list(Ledger(finished / "ledger.sqlite").events())
    launched = next(e for e in events if e.kind == "agent")
    assert {e.t_run for e in events if e.seq <= launched.seq} == {0.0}  # making ready is nobody's research time
    assert launched.t_wall - events[0].t_wall > 0.5
    assert result.research_s == pytest.approx(next(e.t_wall for e in events if e.kind == "run" and e.payload.phase == "deadline")
                                              - launched.t_wall, abs=2)  # fmt: skip
    assert result.config["starter"] == "parametric"  # nobody asked for it, and it is what cem had
    assert (finished / "agents/cem-1/workspace/parametric.py").exists()  # whatever the starter, it is what cem tunes
    page = (finished / "report.html").read_text()
    for words in ("Hill climb", "held-out success", "Stages reached", "Utilisation", "Cross-entropy search", "<svg"):
        assert words in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    path = leaderboard.add(finished, tmp_path / "board").path
    assert Result.model_validate_json(path.read_text()) == result
    assert leaderboard.add(finished, tmp_path / "board").path == path
    leaderboard.build(tmp_path / "board")
    table = (tmp_path / "board/README.md").read_text()
    assert "| cem 0.1.0 | 1 |" in table
    assert "Codex (GPT-5.5 xhigh)" in table


def test_no_field_of_a_real_result_can_be_changed(finished, tmp_path):
    tried, fields = refuse_every_edit(finished, tmp_path / "copy")
    assert fields >= set(Result.model_fields)
    assert tried > 150


def test_a_run_ends_when_its_robot_time_is_used_up(tmp_path):
    code, out, err = run(*cem(tmp_path / "runs", "120s", "--robot-budget", "5m", "--held-out", "2", "--json"))
    assert code == 0, err
    result = Result.model_validate_json(out[out.index("\n{") :])
    assert result.stopped_by == "robot_budget"
    assert result.robot_budget_s == 300
    assert 300 <= result.robot_s < 300 + 30  # an episode of Push-T takes 30 s
    assert result.research_s < 100
    path = only(tmp_path / "runs")
    assert "5m 00s of robot time are used" in (path / "agents/cem-1/workspace/TASK.md").read_text()
    page = (path / "report.html").read_text()
    assert "budget 5m 00s" in page
    assert "robot time 5m 00s" in ranking.sections([result], {})[0].unranked[0].conditions


def test_several_robots_share_an_evaluation_and_each_has_its_utilisation(tmp_path):
    look = "aeb evaluate -n 2 --no-confirm && grep -c '2 robots share' TASK.md > seen && aeb evaluate -n 4 --no-confirm"
    code, out, err = run("eval", "--agent", f"command:sh -c {shlex.quote(look)}", "--stations", "2", "--pace", "1", "--env-arg", "max_episode_steps=10", "--budget", "60s",
                         "--nudges", "0", "--held-out", "2", "--sandbox", "none", "--out", tmp_path / "runs", "--json")  # fmt: skip
    assert code == 0, err
    result = Result.model_validate_json(out[out.index("\n{") :])
    path = only(tmp_path / "runs")
    assert (path / "agents/command-1/workspace/seen").read_text() == "1\n"
    events = [e for e in Ledger(path / "ledger.sqlite").events("episode") if e.payload.purpose == "evaluate"]
    assert {e.station for e in events} == {"station-1", "station-1.2"}
    assert (result.cells, result.episodes) == (2, 6)
    assert set(result.mru_of_cells) == {"station-1", "station-1.2"}
    assert 0 < result.mru == pytest.approx(sum(result.mru_of_cells.values()) / 2)
    assert 0 < result.real_time < 1.1
    refused = run("eval", "--agent", "cem", "--budget", "1m", "--env", "ENPIRE/PushT-real-v0", "--stations", "2")
    assert refused[0] == 2
    assert "moves the arms of one station. Leave --stations out" in refused[2]


_LOOKING = "ls data/demos > seen; python -c \"from enpire_envs.episodes import Episodes; print(len(Episodes('data/demos')))\" >> seen"


def test_demonstrations_lie_in_the_workspace_and_are_a_condition_of_the_run(tmp_path):
    code, _, err = run("eval", "--agent", f"command:sh -c {shlex.quote(_LOOKING)}", "--env", "ENPIRE/PinInsertion-v0", "--demos", "3",
                       "--budget", "60s", "--held-out", "1", "--sandbox", "none", "--nudges", "0", "--out", tmp_path / "runs")  # fmt: skip
    assert code in (0, 6), err  # it measures nothing
    path = only(tmp_path / "runs")
    seen = (path / "agents/command-1/workspace/seen").read_text().split()
    assert ("demos.json" in seen, seen[-1]) == (True, "3")
    made = json.loads((path / "data/demos/demos.json").read_text())
    assert (made["by"], made["episodes"], made["kept"]) == ("scripted", 3, "successes")
    task = (path / "agents/command-1/workspace/TASK.md").read_text()
    assert "`data/demos` holds 3 successful episodes" in task
    events = list(Ledger(path / "ledger.sqlite").events())
    assert events[0].payload.config["demos"] == 3
    assert any(e.kind == "note" and made["sha256"] in e.payload.text for e in events)


_TRAINING = "sed -i 's/^STEPS = .*/STEPS = 0/' train.py && python -W ignore train.py && git commit -qam trained && aeb evaluate -n 20 && aeb submit"


def test_in_a_gradient_regime_an_agent_begins_with_a_trainer_and_answers_with_its_network(tmp_path):
    code, _, err = run("eval", "--agent", f"command:sh -c {shlex.quote(_TRAINING)}", "--regime", "bc", "--budget", "4m", "--held-out", "2",
                       "--sandbox", "none", "--nudges", "0", "--out", tmp_path / "runs")  # fmt: skip
    assert code == 0, err
    path = only(tmp_path / "runs")
    result = Result.model_validate_json((path / "result.json").read_text())
    assert (result.answer.how, result.contents.network, result.held_out.episodes) == ("submitted", True, 2)
    assert not (path / "agents/command-1/workspace/policy.py").exists()
    reasons = {e.payload.reason for e in Ledger(path / "ledger.sqlite").events("episode")}
    assert "policy_load_error" not in reasons


def test_a_run_whose_agent_never_worked_is_no_zero(tmp_path):
    code, out, err = run(
        "eval", "--agent", "command:true", "--budget", "20s", "--held-out", "2", "--out", tmp_path / "runs"
    )
    assert code == 6, err
    assert "no measurement" in out
    result = Result.model_validate_json((only(tmp_path / "runs") / "result.json").read_text())
    assert "the agent never worked" in result.void_because[0]
    assert not (only(tmp_path / "runs") / "agents/command-1/workspace/parametric.py").exists()
    assert "no measurement of its agent" in (only(tmp_path / "runs") / "report.html").read_text()


def test_the_secret_is_committed_to_revealed_and_replays_the_starts(finished, tmp_path):
    import hashlib

    result = json.loads((finished / "result.json").read_text())
    ledger = Ledger(finished / "ledger.sqlite")
    events = list(ledger.events())
    started = next(e.payload for e in events if e.kind == "run")
    assert hashlib.sha256(bytes.fromhex(result["held_out_secret"])).hexdigest() == started.secret_sha256
    held = [e.payload for e in events if e.kind == "episode" and e.payload.purpose == "heldout"]
    tree = finished / "bundles" / result["answer"]["digest"] / "tree"
    code, out, err = run("score", "--policy", tree, "-n", "8", "--held-out-secret", result["held_out_secret"], "--json",
                         *(["--sandbox", "none"] if result["sandbox"] == "none" else []))  # fmt: skip
    assert code == 0, err
    again = json.loads(out)
    assert again["successes"] == sum(e.success for e in held)
    assert again["stages"] == {s: sum(e.stage == s for e in held) for s in {e.stage for e in held}}
    assert again["fingerprint"] == result["env"]["fingerprint"]


def test_kill_9_then_resume_loses_nothing(tmp_path):
    out = tmp_path / "runs"
    process = subprocess.Popen(command(*cem(out, "30s", "--held-out", "5")), stderr=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    deadline = time.monotonic() + 60
    while not (out.exists() and list(out.iterdir()) and (only(out) / "ledger.sqlite").exists()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    path = only(out)
    while True:
        try:
            seen = list(Ledger(path / "ledger.sqlite").events("episode"))
        except UserError:
            seen = []
        if len(seen) >= 7:
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = Ledger(path / "ledger.sqlite").last_t_run()
    code, _, err = run("resume", path)
    assert code == 0, err
    events = list(Ledger(path / "ledger.sqlite").events())
    kept = [e for e in events if e.kind == "episode"][: len(seen)]
    assert [(e.seq, e.payload) for e in kept] == [(e.seq, e.payload) for e in seen]
    resumed = next(e for e in events if e.kind == "run" and e.payload.phase == "resumed")
    assert before <= resumed.t_run < before + 3  # the time it lay dead is not research time
    result = Result.model_validate_json((path / "result.json").read_text())
    assert result.held_out.episodes == 5
    assert leaderboard.check_run(path)[0] == result  # an interruption is stated, and no contradiction
    assert result.disturbances.resumes == 1
    judged = [e.payload.index for e in events if e.kind == "episode" and e.payload.purpose in ("evaluate", "confirm")]
    assert len(judged) == len(set(judged))  # no start twice, across the interruption
    code, _, err = run("resume", path)
    assert code == 2
    assert "finished already" in err


_LEAVING = f"""
import pathlib, subprocess
pathlib.Path("policy.py").write_text('''from parametric import ParametricPolicy

class Policy(ParametricPolicy):
    def __init__(self, observation_space, action_space):
        super().__init__(observation_space, action_space, {TUNED!r})
''')
subprocess.run(["git", "commit", "-qam", "tuned"], check=True)
asking = subprocess.Popen(["aeb", "evaluate", "-n", "20"], stdout=subprocess.PIPE, text=True)
next(line for line in asking.stdout if "confirm" in line)
"""


def test_a_confirmation_outlives_its_agent(tmp_path):
    """An agent that leaves when the confirmation begins: the station finishes it, and the run waits for that."""
    agent = shlex.join([sys.executable, "-c", _LEAVING])
    code, _, err = run("eval", "--agent", f"command:{agent}", "--budget", "4m", "--held-out", "1", "--sandbox", "none",
                       "--starter", "parametric", "--out", tmp_path / "runs")  # fmt: skip
    assert code == 0, err
    path = only(tmp_path / "runs")
    events = list(Ledger(path / "ledger.sqlite").events())
    exited = next(e.seq for e in events if e.kind == "agent" and e.payload.phase == "exited")
    confirmed = next(
        e for e in events if e.kind == "evaluation" and (e.payload.purpose, e.payload.phase) == ("confirm", "finished")
    )
    stopped = next(e.seq for e in events if e.kind == "run" and e.payload.phase == "agents_stopped")
    assert exited < confirmed.seq < stopped
    assert confirmed.payload.episodes == 50
    result = Result.model_validate_json((path / "result.json").read_text())
    assert result.answer.how == "confirmed best"
    assert result.best_confirmed == confirmed.payload.successes / 50
    assert result.disturbances.interrupted == 0


@pytest.mark.codex
@pytest.mark.cage
def test_the_real_codex_in_its_cage_against_a_replayed_model(tmp_path):
    code, _out, err = run("eval", "--agent", "codex", "--replay", REPLAY, "--starter", "parametric", "--budget", "4m", "--held-out", "10",
                         "--nudges", "0", "--out", tmp_path / "runs", "--json")  # fmt: skip
    assert code == 0, err
    path = only(tmp_path / "runs")
    result = Result.model_validate_json((path / "result.json").read_text())
    assert result.answer.how == "submitted"
    assert result.sandbox == "bwrap"
    assert result.gateway == "replay"
    assert result.held_out.success_rate >= 0.4
    assert result.ideas == 2
    assert "codex" in (result.agent.version or "")
    steps = json.loads(REPLAY.read_text())["steps"]
    tokens = result.tokens
    assert tokens.calls == len(steps)
    assert tokens.input == sum(s["usage"]["input"] for s in steps)
    assert tokens.cached_input == sum(s["usage"].get("cached_input", 0) for s in steps)
    assert tokens.headline == tokens.input - tokens.cached_input + tokens.output
    # The CLI's own count, as a cross-check of the gateway's.
    events = [json.loads(line) for line in (path / "agents/codex-1/events.jsonl").read_text().splitlines()]
    usage = next(e["usage"] for e in events if e["type"] == "turn.completed")
    assert usage["input_tokens"] == tokens.input
    assert usage["output_tokens"] == tokens.output
    ledger = list(Ledger(path / "ledger.sqlite").events())
    ideas = [e.payload for e in ledger if e.kind == "idea"]
    assert ideas[1].parent == "I1"
    evaluations = [e.payload for e in ledger if e.kind == "evaluation" and e.payload.phase == "finished"]
    assert evaluations[-2].successes > evaluations[0].successes  # it improved


@pytest.mark.codex
@pytest.mark.cage
def test_the_deadline_ends_codex_and_all_it_started(tmp_path):
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"steps": [
        {"shell": "(setsid sh -c 'while true; do date >> still_alive; sleep 0.1; done' &) ; aeb status; sleep 100"},
        {"shell": "sleep 100"},
    ]}))  # fmt: skip
    code, _, err = run("eval", "--agent", "codex", "--replay", script, "--budget", "12s", "--held-out", "3",
                       "--out", tmp_path / "runs")  # fmt: skip
    assert code == 0, err
    path = only(tmp_path / "runs")
    alive = path / "agents/codex-1/workspace/still_alive"
    size = alive.stat().st_size
    assert size > 0
    time.sleep(1)
    assert alive.stat().st_size == size
    events = list(Ledger(path / "ledger.sqlite").events("agent", "run"))
    assert [e.payload.reason for e in events if e.kind == "agent" and e.payload.phase == "exited"] == ["deadline"]
    result = Result.model_validate_json((path / "result.json").read_text())
    assert result.answer.how == "starter"
    assert result.research_s < 12 + 3


@pytest.mark.codex
@pytest.mark.cage
def test_what_codex_can_reach_from_its_cage(tmp_path):
    script = tmp_path / "script.json"
    probe = (
        "{ echo home $(ls -A /root 2>&1 | tr '\\n' ' '); echo runs $(ls " + str(tmp_path) + " 2>&1); "
        "echo reference $(python -c \"import enpire_envs, os; print(os.listdir(os.path.dirname(enpire_envs.__file__) + '/pusht/reference'))\"); "
        "echo keys $(env | grep -c -e _KEY=); echo data $(touch data/x 2>&1); "
        "echo procs $(ls /proc | grep -c '^[0-9]'); echo sockets $(ls /run/aeb | tr '\\n' ' '); } > seen"
    )
    script.write_text(json.dumps({"steps": [{"shell": probe}, {"text": "done"}]}))
    code, _, err = run("eval", "--agent", "codex", "--replay", script, "--budget", "60s", "--held-out", "2",
                       "--nudges", "0", "--out", tmp_path / "runs")  # fmt: skip
    assert code == 0, err
    text = (only(tmp_path / "runs") / "agents/codex-1/workspace/seen").read_text()
    seen = dict(line.partition(" ")[::2] for line in text.splitlines())
    assert "ssh" not in seen["home"]
    assert "No such file" in seen["runs"]
    assert seen["reference"] == "[]"
    assert seen["keys"] == "0"
    assert "Read-only" in seen["data"]
    assert int(seen["procs"]) < 15
    assert set(seen["sockets"].split()) == {"model.sock", "station.sock", "station.stop"}
