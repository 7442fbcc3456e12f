"""Several members at one station, as they meet it: a real door, real cell workers, each member's own client."""

import json
import os
import signal
import threading
import time

import pytest
from conftest import ZERO_POLICY

from autoenvbench.errors import RobotBusy, UserError
from autoenvbench.workspace.bundling import send_head

#: Half a second an episode of 25 steps, whatever the machine.
SLOW = ZERO_POLICY.replace("return np", "__import__('time').sleep(0.02); return np")
SHORT = {"env_kwargs": {"max_episode_steps": 25}, "members": ("cem",)}


class Follower(threading.Thread):
    """A member's job, followed on a thread."""

    def __init__(self, client, path, body):
        super().__init__()
        self.client, self.path, self.body = client, path, body
        self.lines, self.result, self.error = [], None, None
        self.start()

    def run(self):
        try:
            self.result = self.client.job(
                self.path, self.body, lambda e: self.lines.append(e["index"]), lambda jobs: self.lines.append(jobs)
            )
        except UserError as error:
            self.error = error


def until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def send(bench, member):
    return send_head(bench.client(bench.tokens[member]), bench.repo).digest


def episodes(bench, **wanted):
    return [
        e
        for e in bench.ledger.events("episode")
        if all(getattr(e.payload, key) == value for key, value in wanted.items())
    ]


@pytest.mark.parametrize("bench", [SHORT | {"cells": 2}], indirect=True)
def test_two_members_work_at_once_and_a_killed_cell_costs_one_episode(bench):
    bench.commit(SLOW)
    digests = {member: send(bench, member) for member in bench.tokens}
    codex, cem = bench.client(), bench.client(bench.tokens["cem"])
    first = Follower(codex, "/evaluate", {"digest": digests["codex"], "n": 12, "confirm": False})
    until(lambda: len({e.station for e in bench.ledger.events("start")}) == 2)  # it has both
    second = Follower(cem, "/evaluate", {"digest": digests["cem"], "n": 10, "confirm": False})
    until(lambda: {e.agent for e in bench.ledger.events("start")} == {"codex", "cem"})
    status = codex.get("/status")
    assert [cell["cell"] for cell in status["cells"]] == ["station-1", "station-1.2"]
    assert {cell["job"].rsplit(" ", 1)[-1] for cell in status["cells"]} == {"codex", "cem"}  # shared equally
    with pytest.raises(RobotBusy, match="a job of yours"):
        codex.job("/practice", {"digest": digests["codex"], "n": 1})
    code, out, _ = bench.aeb("status")
    assert code == 0
    assert "robot         station-1.2: " in out

    os.kill(bench.cell_pids[1], signal.SIGKILL)
    for job, member, n in ((first, "codex", 12), (second, "cem", 10)):
        job.join(90)
        assert job.result is not None, job.error
        assert (job.result["episodes"], job.result["aborted"]) == (n, False)
        judged = [e.payload.index for e in episodes(bench, purpose="evaluate") if e.agent == member]
        assert len(set(judged)) == len(judged) == n
    cut = episodes(bench, reason="interrupted")
    assert [e.station for e in cut] == ["station-1.2"][: len(cut)]  # none, if it was between two episodes
    assert any("ended by signal SIGKILL; the other cells go on" in e.payload.text for e in bench.ledger.events("note"))
    until(lambda: codex.get("/status")["cells"][1]["job"] is None)  # it was started again
    assert len(bench.cell_pids) == 2
    assert [(e.agent, e.payload.phase) for e in bench.ledger.events("job") if e.agent == "cem"][-1] == ("cem", "ended")


@pytest.mark.parametrize("bench", [SHORT], indirect=True)
def test_who_floods_one_robot_keeps_nobody_from_it_and_who_hangs_up_leaves_the_line(bench):
    bench.commit(SLOW)
    digests = {member: send(bench, member) for member in bench.tokens}
    codex, cem = bench.client(), bench.client(bench.tokens["cem"])
    flood = Follower(codex, "/evaluate", {"digest": digests["codex"], "n": 1000, "confirm": False})
    until(lambda: flood.lines)
    result = cem.job("/practice", {"digest": digests["cem"], "n": 1}, on_wait=(waited := []).extend)
    assert (result["episodes"], result["aborted"]) == (1, False)
    assert len(waited) == 1
    assert "by codex" in waited[0]
    asked, began, _ = (e.seq for e in bench.ledger.events("job") if e.agent == "cem")
    between = [e for e in bench.ledger.events("start") if asked < e.seq < began]
    assert len(between) <= 1  # which had been given out already
    jobs = [(e.agent, e.payload.phase) for e in bench.ledger.events("job")]
    assert [phase for agent, phase in jobs if agent == "cem"] == ["asked", "began", "ended"]

    done = len(flood.lines)
    hanging = cem._connect(timeout=None)
    body = json.dumps({"digest": digests["cem"], "n": 500, "confirm": False})
    hanging.request("POST", "/evaluate", body, {"Authorization": f"Bearer {bench.tokens['cem']}"})
    until(lambda: any("by cem" in job for job in codex.get("/status")["waiting"]))
    hanging.close()
    until(lambda: "by cem" not in codex.get("/status")["robot"])
    until(lambda: len(flood.lines) > done + 1)
    assert flood.result is None
    bench.client(bench.admin_token).post("/halt", {})
    flood.join(30)
    assert flood.result["aborted"]
    phases = [e.payload.phase for e in bench.ledger.events("job") if e.agent == "codex"]
    assert phases[0] == "began"
    assert phases[-1] == "ended"


@pytest.mark.parametrize(
    "bench", [SHORT | {"cells": 2, "own_stations": True, "sharing": False, "team": 2}], indirect=True
)
def test_members_with_stations_of_their_own_share_none_and_who_works_alone_hears_of_no_other(bench):
    bench.commit(SLOW)
    jobs = [
        Follower(bench.client(token), "/evaluate", {"digest": send(bench, member), "n": 6, "confirm": False})
        for member, token in bench.tokens.items()
    ]
    seen = []
    while any(job.is_alive() for job in jobs):
        seen += [cell["job"] for cell in bench.client().get("/status")["cells"]]
        time.sleep(0.1)
    assert "a job of another member" in seen
    assert any("by codex" in (job or "") for job in seen)
    assert not any("by cem" in (job or "") for job in seen)
    for job in jobs:
        assert job.result["episodes"] == 6
    assert {(e.agent, e.station) for e in episodes(bench)} == {("codex", "station-1"), ("cem", "station-1.2")}
    with pytest.raises(UserError, match="robots of their own"):
        bench.client(bench.admin_token).post("/members", {"member": "late", "token": "x" * 40})
