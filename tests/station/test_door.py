"""The station as its clients meet it: a real door and its cell worker, the real `aeb`, a real repository."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import TUNED, ZERO_POLICY
from enpire_envs.episodes import Episodes

from autoenvbench.errors import UserError
from autoenvbench.record import metrics
from autoenvbench.station.client import CREDENTIALS
from autoenvbench.workspace.bundling import send_head

NUDGE = ZERO_POLICY.replace(
    "return np.zeros(self.shape)", "return np.clip((observation[2:4] - observation[:2]) / 0.03, -1, 1)"
)


def test_a_session_with_aeb(bench):
    code, out, _ = bench.aeb("status")
    assert code == 0
    assert "budget left" in out
    code, out, _ = bench.aeb("idea", "Push straight at the T", "--regime", "heuristic", "--json")
    assert (code, json.loads(out)["id"]) == (0, "I1")
    with pytest.raises(UserError, match="3 to 200 characters, this one has 300"):
        bench.client().post("/ideas", {"title": "x" * 300})
    assert bench.aeb("idea", "Refine that", "--parent", "I9")[0] == 2

    (bench.repo / "policy.py").write_text(NUDGE)
    code, _, err = bench.aeb("evaluate", "-n", "3")
    assert code == 2
    assert "git commit" in err
    bench.commit(NUDGE)
    code, out, _ = bench.aeb("practice", "-n", "2", "--video", "--json")
    practised = json.loads(out)
    assert code == 0
    assert practised["episodes"] == 2
    practice = Episodes(bench.run_dir / "data/practice")
    assert practised["trajectories"] == f"data/practice/{practised['evaluation']}-*.episode"
    assert len(practice) == 2
    assert [meta["seed"] for meta in practice.meta] == [0, 1]
    assert (bench.run_dir / practised["videos"][0]).stat().st_size > 1000
    code, out, _ = bench.aeb("evaluate", "-n", "3", "--json")
    evaluated = json.loads(out)
    assert (code, evaluated["episodes"]) == (0, 3)
    judged = Episodes(bench.run_dir / "episodes")  # where no agent sees them
    assert (len(judged), len(Episodes(bench.run_dir / "data/practice"))) == (3, 2)
    assert not any("seed" in meta for meta in judged.meta)
    rows = json.loads(bench.aeb("episodes", evaluated["evaluation"], "--json")[1])
    assert len(rows) == 3
    assert "seed" not in rows[0]
    assert "seed" in json.loads(bench.aeb("episodes", practised["evaluation"], "--json")[1])[0]
    assert bench.aeb("note", "pushing is hard")[0] == 0
    assert bench.aeb("submit")[0] == 0
    assert "policy" not in json.loads(bench.aeb("status", "--json")[1]).get("error", "")
    kinds = [e.kind for e in bench.ledger.events()]
    assert {"idea", "commit", "episode", "evaluation", "note"} <= set(kinds)
    assert next(e.payload.idea for e in bench.ledger.events("evaluation") if e.payload.purpose == "evaluate") == "I1"
    assert bench.aeb("idea", "\x1b]0;owned\x07 \u202e a title")[0] == 0
    code, out, _ = bench.aeb("status")
    assert code == 0
    assert "\\x1b]0;owned\\x07 \\u202e a title" in out  # one agent's words do nothing on another's terminal


def test_a_broken_policy_is_told_with_its_traceback(bench):
    bench.commit(ZERO_POLICY.replace("return np.zeros(self.shape)", "return undefined_name"))
    code, out, _ = bench.aeb("practice", "-n", "2")
    assert code == 5
    assert "undefined_name" in out
    assert "policy_error" in out


def test_without_policy_or_station_the_message_says_what_to_type(bench, tmp_path):
    subprocess.run(["git", "-C", str(bench.repo), "rm", "-q", "policy.py"], check=True)
    subprocess.run(["git", "-C", str(bench.repo), "commit", "-qm", "gone"], check=True)
    code, _, err = bench.aeb("evaluate")
    assert code == 2
    assert "git add policy.py" in err
    (bench.home / CREDENTIALS).unlink()
    code, _, err = bench.aeb("status")
    assert code == 2
    assert "autoenvbench eval" in err


def test_who_may_do_what(bench):
    with pytest.raises(UserError, match="does not know you"):
        bench.client("wrong").get("/status")
    with pytest.raises(UserError, match="does not know you"):
        bench.client("").get("/status")
    for path in ("/halt", "/held-out"):
        with pytest.raises(UserError, match="not for agents"):
            bench.client().post(path, {"digest": "x"})
    with pytest.raises(UserError, match="does not have this commit"):
        bench.client().job("/evaluate", {"digest": "f" * 64, "n": 3})
    for body in ({"n": -1}, {"n": "many"}, {"n": True}, {"n": 10**9}):
        with pytest.raises(UserError):
            bench.client().job("/practice", {"digest": "f" * 64, **body})
    with pytest.raises(UserError, match=r"404|Not Found"):
        bench.client().get("/../../etc/passwd")


def test_one_client_at_a_time_and_a_lost_one_frees_the_robot(bench):
    # It stands still until the time is over, six seconds an episode, so that it is lost in the middle of one.
    bench.commit(ZERO_POLICY.replace("return np", "__import__('time').sleep(0.02); return np"))
    bench.aeb("practice", "-n", "1")
    digest = next(e.payload.digest for e in bench.ledger.events("commit"))
    env = {**os.environ, "HOME": str(bench.home)}
    long = subprocess.Popen([sys.executable, "-m", "autoenvbench.workspace.aeb", "evaluate", "-n", "900"], cwd=bench.repo,
                            env=env, stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert long.stdout.readline()  # its first episode is done
    code, _, err = bench.aeb("practice", "-n", "1")
    assert code == 4
    assert "busy" in err
    long.kill()
    long.wait()
    long.stdout.close()
    deadline = time.monotonic() + 20
    while bench.client().get("/health")["busy"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert bench.client().job("/practice", {"digest": digest, "n": 1})["episodes"] == 1
    aborted = [e.payload for e in bench.ledger.events("evaluation") if e.payload.phase == "aborted"]
    assert len(aborted) == 1
    judged = [e.payload for e in bench.ledger.events("episode") if e.payload.purpose == "evaluate"]
    assert len(judged) == aborted[0].episodes == sum(1 for _ in bench.ledger.events("start"))
    assert (judged[-1].reason, judged[-1].success) == ("interrupted", False)  # hanging up before it fails is failing


@pytest.mark.parametrize("victim", ["door", "cell"])
def test_held_out_scoring_that_is_killed_counts_what_began_and_runs_the_rest(bench, victim):
    bench.commit(NUDGE.replace("        pass", "        __import__('time').sleep(0.3)"))
    bench.aeb("practice", "-n", "1")
    digest = next(e.payload.digest for e in bench.ledger.events("commit"))
    admin = bench.client(bench.admin_token)

    def score():
        with contextlib.suppress(UserError, OSError, ValueError):
            admin.job("/held-out", {"digest": digest})

    for attempt in range(3):
        if attempt:
            bench.station.__enter__()
        thread = threading.Thread(target=score)
        thread.start()
        while sum(1 for _ in bench.ledger.events("start")) <= attempt:
            time.sleep(0.01)
        bench.kill(victim)
        thread.join(20)
    bench.station.__enter__()  # begins with judging what was cut off
    held = [e.payload for e in bench.ledger.events("episode") if e.payload.purpose == "heldout"]
    starts = [e.payload for e in bench.ledger.events("start")]
    assert (
        [(e.index, e.success) for e in held]
        == [(s.index, False) for s in starts]
        == [(0, False), (1, False), (2, False)]
    )
    assert {e.reason for e in held} == {"interrupted"}
    assert admin.job("/held-out", {"digest": digest})["episodes"] == 0  # all three starts are spent
    assert metrics.disturbances(bench.ledger.events()).interrupted == 3


def test_the_deadline_ends_jobs_and_refuses_new_ones_but_scores(bench):
    slow = NUDGE.replace("        pass", "        time.sleep(1)")  # so that the job's last step takes long
    bench.commit("import time\n" + slow)
    bench.aeb("practice", "-n", "1")
    digest = next(e.payload.digest for e in bench.ledger.events("commit"))
    ended = {}

    def evaluate():
        ended.update(bench.client().job("/evaluate", {"digest": digest, "n": 900}))

    thread = threading.Thread(target=evaluate)
    thread.start()
    while not bench.client().get("/health")["busy"]:
        time.sleep(0.02)
    bench.client(bench.admin_token).post("/halt", {})
    scored = bench.client(bench.admin_token).job("/held-out", {"digest": digest})  # at once: it waits for the robot
    assert scored["episodes"] == 3
    thread.join(20)
    assert ended["aborted"] is True
    code, _, err = bench.aeb("evaluate")
    assert code == 3
    assert "budget" in err
    assert bench.aeb("submit")[0] == 3
    assert bench.aeb("status")[0] == 0


def test_an_evaluation_that_beats_the_best_is_confirmed_on_fresh_starts(bench):
    bench.commit(_SOLVER)
    code, out, _ = bench.aeb("evaluate", "-n", "3", "--json")
    result = json.loads(out)
    assert code == 0
    assert result["success_rate"] > 0
    assert result["confirmation"]["episodes"] == 4
    indices = [e.payload.index for e in bench.ledger.events("episode")]
    assert indices == list(range(7))  # no start twice
    again = json.loads(bench.aeb("evaluate", "-n", "3", "--json")[1])
    assert "confirmation" not in again  # the same bundle is confirmed already
    assert again["candidate"]["episodes"] == 7  # more episodes pool
    status = json.loads(bench.aeb("status", "--json")[1])
    assert status["best"]["episodes"] == 7


def test_what_a_member_adopts_is_measured_anew_and_no_peer_can_spoil_it(bench):
    """The same files, from two members: each has its own confirmation, and the team's estimate pools what the station ran by itself."""
    bench.commit(_SOLVER)
    head = send_head(bench.client(), bench.repo)
    mine = bench.client().job("/evaluate", {"digest": head.digest, "n": 3})
    peer = bench.client(bench.admin_token)
    send_head(peer, bench.repo)
    theirs = peer.job("/evaluate", {"digest": head.digest, "n": 3})
    assert (mine["confirmation"]["episodes"], theirs["confirmation"]["episodes"]) == (4, 4)
    assert "confirmation" not in peer.job("/evaluate", {"digest": head.digest, "n": 3})
    with bench.follow() as state:
        own, other = state.of_member("codex").candidates, state.of_member("admin").candidates
        (both,) = state.candidates.known.values()
    assert [c.counted for c in (*own.known.values(), *other.known.values())] == [4, 4 + 3]
    assert (both.n, both.more_n) == (
        8,
        0,
    )  # confirmations pool; a peer's evaluations, which it may cut as it likes, do not


def test_who_declines_a_confirmation_has_an_evaluation_and_the_robot_back(bench):
    bench.commit(_SOLVER)
    result = json.loads(bench.aeb("evaluate", "-n", "3", "--no-confirm", "--json")[1])
    assert result["success_rate"] > 0
    assert "confirmation" not in result
    assert json.loads(bench.aeb("status", "--json")[1])["best"] is None
    asked = json.loads(bench.aeb("evaluate", "-n", "3", "--confirm", "--json")[1])
    assert asked["confirmation"]["episodes"] == 4


def confirmations(bench):
    return [e.payload for e in bench.ledger.events("episode") if e.payload.purpose == "confirm"]


def git(bench, *args):
    subprocess.run(["git", "-C", str(bench.repo), *args], check=True, capture_output=True)


def test_the_same_files_earn_one_confirmation_whatever_they_are_called(bench):
    """Empty commits, other branches and messages, reverts, and checkpoints written anew or in another order."""
    weights = bench.repo / "checkpoints"
    weights.mkdir()
    for name in ("a.bin", "b.bin"):
        (weights / name).write_bytes(name.encode())
    (bench.repo / ".gitignore").write_text("checkpoints/\n")
    git(bench, "add", ".gitignore")
    bench.commit(_SOLVER)
    assert "confirmation" in json.loads(bench.aeb("evaluate", "-n", "3", "--json")[1])
    commits = set()
    tricks = (
        lambda: git(bench, "commit", "-q", "--allow-empty", "-m", "nothing"),
        lambda: git(bench, "checkout", "-qb", "another-name"),
        lambda: git(bench, "commit", "-q", "--amend", "--allow-empty", "-m", "another message", "--date", "2001-01-01"),
        lambda: (bench.commit(_SOLVER + "# a comment\n"), git(bench, "revert", "--no-edit", "HEAD")),
        lambda: [(weights / n).unlink() or (weights / n).write_bytes(n.encode()) for n in ("b.bin", "a.bin")],
        lambda: os.utime(weights / "a.bin", (1, 1)),
    )
    for trick in tricks:
        trick()
        head = send_head(bench.client(), bench.repo)
        commits.add(head.commit)
        if trick in tricks[::3]:
            assert "confirmation" not in bench.client().job("/evaluate", {"digest": head.digest, "n": 3})
    assert len(commits) == 3
    assert len(confirmations(bench)) == 4
    (content,) = {e.payload.content for e in bench.ledger.events("evaluation", "episode", "start")}
    assert len({e.payload.content for e in bench.ledger.events("commit")}) == 1
    assert content
    assert len({e.payload.digest for e in bench.ledger.events("commit")}) == 4
    (weights / "a.bin").write_bytes(b"other weights")
    send_head(bench.client(), bench.repo)
    assert len({e.payload.content for e in bench.ledger.events("commit")}) == 2


@pytest.mark.parametrize("victim", ["door", "cell"])
def test_a_confirmation_goes_on_when_whoever_asked_for_it_is_killed(bench, victim):
    """A confirmation that goes badly cannot be stopped by the agent, and one that was killed with the station is finished."""
    bench.commit(_SOLVER.replace("class Policy", "import time\n\n\nclass Policy") + "        time.sleep(1)\n")
    env = {**os.environ, "HOME": str(bench.home)}
    asking = subprocess.Popen([sys.executable, "-m", "autoenvbench.workspace.aeb", "evaluate", "-n", "3"], cwd=bench.repo,
                              env=env, stdout=subprocess.DEVNULL)  # fmt: skip
    began = lambda: [e for e in bench.ledger.events("start") if e.payload.purpose == "confirm"]  # noqa: E731
    while not began():
        assert asking.poll() is None
        time.sleep(0.01)
    asking.kill()
    asking.wait()
    while not confirmations(bench):
        assert bench.client().get("/health")["busy"]
        time.sleep(0.01)
    while len(began()) == 1:
        time.sleep(0.01)
    bench.kill(victim)
    cut = [e for e in confirmations(bench) if e.reason != "interrupted"]
    bench.station.__enter__()
    bench.client(bench.admin_token).post("/pause", {"paused": False, "epoch": bench.clock.epoch})
    deadline = time.monotonic() + 60
    while len(confirmations(bench)) < 4 or bench.client().get("/health")["busy"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert confirmations(bench)[: len(cut)] == cut
    assert confirmations(bench)[len(cut)].reason == "interrupted"
    indices = [e.payload.index for e in bench.ledger.events("episode")]
    assert indices == list(range(7))  # none twice, none left out
    phases = [e.payload.phase for e in bench.ledger.events("evaluation") if e.payload.purpose == "confirm"]
    assert phases == ["started", "aborted", "started", "finished"]
    assert json.loads(bench.aeb("status", "--json")[1])["best"]["episodes"] == 4


@pytest.mark.parametrize("victim", ["door", "cell"])
@pytest.mark.parametrize("purpose", ["practice", "evaluate"])
def test_kill_9_of_either_process_settles_what_began_and_the_station_goes_on(bench, victim, purpose):
    bench.commit(ZERO_POLICY.replace("return np", "__import__('time').sleep(0.01); return np"))
    digest = send_head(bench.client(), bench.repo).digest
    failed, began = [], threading.Event()

    def job():
        try:
            bench.client().job(f"/{purpose}", {"digest": digest, "n": 9}, lambda episode: began.set())
        except (UserError, OSError, ValueError) as error:
            failed.append(str(error))

    asking = threading.Thread(target=job)
    asking.start()
    assert began.wait(60)
    while purpose == "evaluate" and len(list(bench.ledger.events("start"))) < 2:
        time.sleep(0.01)
    bench.kill(victim)
    asking.join(20)
    assert len(failed) == 1
    if victim == "cell":
        assert "SIGKILL" in failed[0]
        assert "autoenvbench resume" in next(e.payload.text for e in bench.ledger.events("note"))
        assert "SIGKILL; the station ends" in bench.station.log.read_text()
    bench.station.__enter__()
    starts = [e.payload.index for e in bench.ledger.events("start")]
    judged = [e.payload for e in bench.ledger.events("episode")]
    assert [e.payload.phase for e in bench.ledger.events("evaluation")] == ["started", "aborted"]
    if purpose == "evaluate":
        assert [e.index for e in judged] == starts == [0, 1]
        assert [e.reason for e in judged] == ["time_limit", "interrupted"]
    again = bench.client().job(f"/{purpose}", {"digest": digest, "n": 1})
    assert (again["evaluation"], again["episodes"]) == ("E2", 1)
    indices = [e.payload.index for e in bench.ledger.events("episode")]
    assert indices == list(range(len(judged) + 1))  # none twice, none left out


def test_there_is_no_environment_in_the_door_and_no_way_to_it_but_the_seam(bench):
    """No simulator is loaded there, and the worker's end of the seam is in the worker alone."""
    loaded = Path(f"/proc/{bench.door_pid}/maps").read_text()
    assert "mujoco" not in loaded
    assert "cv2" not in loaded
    assert "mujoco" in Path(f"/proc/{bench.cell_pid}/maps").read_text()
    assert b"admin" not in Path(f"/proc/{bench.cell_pid}/cmdline").read_bytes()
    for secret in (bench.token, bench.admin_token, "00" * 32):
        assert secret.encode() not in Path(f"/proc/{bench.cell_pid}/environ").read_bytes()
    outcomes = []
    digest = send_head(bench.client(), bench.repo).digest

    def ask():
        with contextlib.suppress(UserError):
            outcomes.append(bench.client().job("/evaluate", {"digest": digest, "n": 2}))

    asking = [threading.Thread(target=ask) for _ in range(6)]  # at the same time: who is second is told that it is busy
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(60)
    indices = [e.payload.index for e in bench.ledger.events("episode") if e.payload.purpose == "evaluate"]
    assert indices == list(range(2 * len(outcomes)))
    assert len({outcome["evaluation"] for outcome in outcomes}) == len(outcomes) >= 1


@pytest.mark.parametrize("bench", [{"cells": 2}], indirect=True)
def test_a_station_of_two_cells_shares_a_batch_out(bench):
    digest = send_head(bench.client(), bench.repo).digest
    result = bench.client().job("/evaluate", {"digest": digest, "n": 8})
    assert (result["evaluation"], result["episodes"], result["aborted"]) == ("E1", 8, False)
    episodes = list(bench.ledger.events("episode"))
    assert sorted(e.payload.index for e in episodes) == list(range(8))
    assert {e.station for e in episodes} == {"station-1", "station-1.2"}
    assert bench.client().job("/practice", {"digest": digest, "n": 2, "video": True})["videos"]
    (ended,) = [e.payload for e in bench.ledger.events("evaluation") if e.payload.purpose == "evaluate" and e.payload.phase == "finished"]  # fmt: skip
    assert (ended.episodes, ended.planned) == (8, 8)


_TEMPLATE = Path(__file__).parents[2] / "envs/enpire_envs/pusht/template/parametric.py"
_SOLVER = (
    _TEMPLATE.read_text()
    + f"""

class Policy(ParametricPolicy):
    def __init__(self, observation_space, action_space):
        super().__init__(observation_space, action_space, {TUNED!r})
"""
)


SCRIPT = """
def run(tools):
    try:
        print(tools.get_task_info())
    except tools.ToolError as error:
        print(error)
    tools.nudge([0.03, 0.0, 0.0])
"""


def test_scripts_are_interactive_in_practice_alone(bench):
    bench.commit(SCRIPT)
    code, _, err = bench.aeb("practice", "-n", "1", "--interactive", "--json")
    assert code == 0, err
    calls = sorted((bench.run_dir / "data" / "practice").glob("*.calls.jsonl"))
    first = json.loads(calls[0].read_text().splitlines()[0])
    assert (first["tool"], first["ok"]) == ("get_task_info", True)
    assert bench.aeb("practice", "-n", "1")[0] == 0
    calls = sorted(set((bench.run_dir / "data" / "practice").glob("*.calls.jsonl")) - set(calls))
    first = json.loads(calls[0].read_text().splitlines()[0])
    assert (first["ok"], first["kind"]) == (False, "gated")
    result = json.loads(bench.aeb("evaluate", "-n", "1", "--json")[1])
    assert result["failures"] == {"tool_error": 1}
    assert len(list((bench.run_dir / "data" / "practice").glob("*.calls.jsonl"))) == 2  # evaluations leave none


def test_unfinished_uploads_are_few_and_end_in_silence(bench):
    """Two at once of one client; the third is refused, and there is room again when one has gone."""
    head = f"POST /bundles?commit={'a' * 40} HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer {bench.token}\r\nContent-Length: 30000000\r\n\r\n"
    held = []
    try:
        for _ in range(2):
            held.append(socket.socket(socket.AF_UNIX))
            held[-1].connect(str(bench.socket))
            held[-1].sendall(head.encode() + bytes(1 << 20))
        time.sleep(0.5)
        with pytest.raises(UserError, match="2 uploads under way"):
            send_head(bench.client(), bench.repo)
        held.pop().close()
        deadline = time.monotonic() + 10
        while True:
            try:
                send_head(bench.client(), bench.repo)
                break
            except UserError:
                assert time.monotonic() < deadline
                time.sleep(0.2)
    finally:
        for one in held:
            one.close()


def test_ideas_name_few_others_and_everything_is_whole_text(bench):
    client = bench.client()
    assert client.post("/ideas", {"title": "the first", "inspired_by": []})["id"] == "I1"
    assert client.post("/ideas", {"title": "the second", "inspired_by": ["I1"]})["id"] == "I2"
    for sources in (["I1"] * 170_000, ["I1", "I1"], "I1", 7, {"I1": 1}, [["I1"]], [f"I{k}" for k in range(30)]):
        with pytest.raises(UserError, match=r"inspired_by|no idea"):
            client.post("/ideas", {"title": "many parents", "inspired_by": sources})
    for body in ({"title": "half a character \ud800"}, {"title": "x", "parent": ["\udfff"]}):
        with pytest.raises(UserError, match="whole characters"):
            client.post("/ideas", body)
    with pytest.raises(UserError, match="JSON"):
        client._request("POST", "/notes", b"[" * 200_000)
    assert [e.payload.id for e in bench.ledger.events("idea")] == ["I1", "I2"]


@pytest.mark.parametrize("bench", [{"regime": "heuristic"}], indirect=True)
def test_an_answer_that_is_not_of_its_runs_regime_is_refused_while_it_can_be_mended(bench):
    (bench.repo / ".gitignore").write_text("checkpoints/\n")
    (bench.repo / "checkpoints").mkdir()
    (bench.repo / "checkpoints/actor.bin").write_bytes(bytes(100))
    code, _, err = bench.aeb("submit")
    assert code == 2
    assert "declared as heuristic, and the answer's bundle holds 1 file in checkpoints/" in err
    assert "at most 4,000 numbers" in err  # and what would be one
    # what was refused and is scored all the same, as the confirmed best may be, is on record with what it holds
    refused = next(e.payload for e in bench.ledger.events("commit") if e.payload.phase == "received")
    bench.client(bench.admin_token).job("/held-out", {"digest": refused.digest})
    (event,) = bench.ledger.events("contents")
    assert (event.payload.digest, event.payload.contents.checkpoint_files) == (refused.digest, 1)
    (bench.repo / "checkpoints/actor.bin").unlink()
    assert bench.aeb("submit")[0] == 0
    assert [e.payload.phase for e in bench.ledger.events("commit")] == ["received", "received", "submitted"]
