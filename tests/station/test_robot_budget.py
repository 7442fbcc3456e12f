"""A budget of robot time: what is counted, how exactly it ends, and what an agent that wants more of it tries."""

import json
import socket
import threading
import time

import gymnasium as gym
import numpy as np
import pytest
from conftest import ZERO_POLICY, judge

from autoenvbench.errors import BudgetOver, RobotBusy, UserError
from autoenvbench.record.events import EpisodeEvent, ResetEvent
from autoenvbench.record.state import RunState
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.cell import LocalCell
from autoenvbench.station.rollout import RobotTimer
from autoenvbench.workspace.bundling import send_head

EPISODE_S = 30.0  # of Push-T, where nothing is achieved
SLOW_FROM_THE_SECOND_EPISODE_ON = ZERO_POLICY.replace(
    "        pass", "        self.pause = 0.2 if hasattr(self, 'pause') else 0.0"
).replace("        return", "        __import__('time').sleep(self.pause)\n        return")


def until(holds):
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def used(bench):
    return RunState.of(bench.ledger.events()).robot_s


def budget_of(seconds, **more):
    return pytest.mark.parametrize("bench", [{"robot_budget_s": seconds, **more}], indirect=True)


@budget_of(70.0)
def test_a_huge_batch_ends_with_the_episode_in_which_the_budget_does(bench):
    code, out, _ = bench.aeb("practice", "-n", "1000", "--json")
    asked = json.loads(out)
    assert (code, asked["episodes"], asked["aborted"]) == (0, 3, True)
    assert used(bench) == 3 * EPISODE_S  # 20 s too much: less than one episode
    for verb in ("practice", "evaluate"):
        code, _, err = bench.aeb(verb, "-n", "1")
        assert code == 3
        assert "the robot budget of 1m 10s is used up" in err
    code, out, _ = bench.aeb("status")
    assert "robot time    0.0s left of 1m 10s" in out
    assert bench.aeb("submit")[0] == 0  # moves nothing
    scored = bench.client(bench.admin_token).job("/held-out", {"digest": send_head(bench.client(), bench.repo).digest})
    assert scored["episodes"] == 3
    assert used(bench) == 3 * EPISODE_S  # scoring is free


@budget_of(70.0)
def test_one_that_ends_with_the_budget_is_whole(bench):
    code, out, _ = bench.aeb("evaluate", "-n", "3", "--confirm")
    assert code == 0
    assert "0/3 succeeded" in out
    assert "cut off" not in out
    assert "confirmed" not in out  # there is no robot time for that
    assert used(bench) == 3 * EPISODE_S
    with pytest.raises(BudgetOver, match="used up"):
        bench.client().post("/home", {})


@budget_of(130.0)
def test_a_confirmation_is_charged_too(bench):
    code, out, _ = bench.aeb("evaluate", "-n", "3", "--confirm", "--json")
    told = json.loads(out)
    assert (code, told["episodes"], told["aborted"]) == (0, 3, False)
    assert (told["confirmation"]["episodes"], told["confirmation"]["aborted"]) == (2, True)  # of 4
    assert used(bench) == 5 * EPISODE_S
    bench.client(bench.admin_token).post("/pause", {"paused": False})  # what takes up confirmations that were cut
    time.sleep(0.5)
    assert used(bench) == 5 * EPISODE_S


@budget_of(100.0, cells=2)
def test_it_is_exceeded_by_an_episode_of_each_cell_at_most(bench):
    digest = send_head(bench.client(), bench.repo).digest
    ends = []

    def ask(path):
        try:
            ends.append(bench.client().job(path, {"digest": digest, "n": 500}))
        except UserError as error:
            ends.append(error)

    asking = [threading.Thread(target=ask, args=(path,)) for path in ("/practice", "/evaluate") * 4]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert all(isinstance(end, RobotBusy | BudgetOver) or end["aborted"] for end in ends)
    assert sum(isinstance(end, dict) for end in ends) == 1
    assert 100.0 <= used(bench) < 100.0 + 2 * EPISODE_S
    assert not any(e.payload.reason == "interrupted" for e in bench.ledger.events("episode"))
    (ended,) = [e.payload for e in bench.ledger.events("evaluation") if e.payload.phase != "started"]
    assert (ended.phase, ended.planned, ended.robot_s) == ("aborted", 500, used(bench))


@budget_of(600.0)
def test_who_hangs_up_before_the_verdict_pays_for_what_was_run(bench):
    bench.commit(SLOW_FROM_THE_SECOND_EPISODE_ON)
    body = json.dumps({"digest": send_head(bench.client(), bench.repo).digest, "n": 2}).encode()
    for patience in (
        1.0,
        3.0,
        9.0,
        27.0,
    ):  # until the second episode, which takes a minute, has begun on the busiest machine
        connection = bench.client()._connect(None)
        response = bench.client()._send(connection, "POST", "/practice", body, {})
        assert "episode" in json.loads(response.readline())
        time.sleep(patience)
        connection.sock.shutdown(socket.SHUT_RDWR)
        until(lambda: bench.client().get("/status")["robot"] == "free")
        judged, cut = ([e.payload for e in bench.ledger.events(kind)] for kind in ("episode", "reset"))
        if any(reset.robot_s for reset in cut):
            break
    assert len(judged) < 5  # practice that is cut is no episode
    assert {reset.purpose for reset in cut} == {"practice"}
    assert 0 < cut[-1].robot_s < EPISODE_S
    assert used(bench) == pytest.approx(EPISODE_S * len(judged) + sum(reset.robot_s for reset in cut))
    assert bench.client().get("/status")["robot_s"] == pytest.approx(used(bench), abs=0.1)


@budget_of(70.0)
def test_what_is_used_is_used_after_a_kill(bench):
    assert bench.aeb("practice", "-n", "2")[0] == 0
    bench.kill("door")
    with bench.station:
        code, out, _ = bench.aeb("practice", "-n", "9", "--json")
        assert (code, json.loads(out)["episodes"]) == (0, 1)
        assert bench.aeb("practice", "-n", "1")[0] == 3
    assert used(bench) == 3 * EPISODE_S
    bench.station.__enter__()  # for the fixture to end


class Clock:
    virtual = True

    def __init__(self):
        self.time = 5.0

    def now(self):
        return self.time


class Cell:
    """The one thing of a real cell that tells the time."""

    def __init__(self):
        self.station = self
        self.clock = Clock()


class Armed(gym.Wrapper):
    """Push-T, whose resets and steps take time on the clock of a twin."""

    kind, in_process, reset_options = "twin", False, ("attempt", "start")

    def __init__(self, env):
        super().__init__(env)
        self.real_cell = Cell()

    @property
    def unwrapped(self):
        return self

    def __getattr__(self, name):
        return getattr(self.env.unwrapped, name)

    def reset(self, **options):
        self.real_cell.clock.time += 20.0
        return self.env.reset(**options)

    def step(self, action):
        self.real_cell.clock.time += 0.1
        return self.env.step(action)


def test_robot_time_is_the_machines_at_a_pace_and_the_simulations_where_there_is_none(env, ledger, policy_dir):
    bundle = Bundle("c", "d", "", policy_dir(ZERO_POLICY))
    began = time.monotonic()
    (paced,) = judge(LocalCell(env, sandbox="none", track="open", pace=20), ledger, bundle, "practice", 1).episodes
    assert EPISODE_S / 20 <= paced.robot_s <= time.monotonic() - began
    (free,) = judge(LocalCell(env, sandbox="none", track="open"), ledger, bundle, "practice", 1).episodes
    assert free.robot_s == free.sim_s == EPISODE_S
    paced_cell = LocalCell(env, sandbox="none", track="open", pace=20)
    (scored,) = judge(paced_cell, ledger, bundle, "heldout", 1).episodes  # nobody's robot is waited for
    assert scored.robot_s == scored.sim_s == EPISODE_S


def test_a_twins_resets_take_its_own_time(env, ledger, policy_dir):
    armed = Armed(env)
    timer = RobotTimer(armed, 0.0)
    assert timer.seconds() == 0.0
    timer.start()
    armed.reset(seed=0)
    armed.step(np.zeros(2))
    timer.start()  # an episode that is begun anew goes on
    assert timer.ask(lambda: time.sleep(0.05))[1] >= 0.05  # a pause, in which virtual time stands still
    assert timer.seconds() == pytest.approx(20.1)


def test_resets_that_came_to_nothing_are_robot_time_and_scoring_is_not(ledger):
    about = {"evaluation": "E1", "index": 0, "commit": "c", "digest": "d", "seed": 0, "success": False, "score": 0.0, "stage": "",
             "steps": 1, "sim_s": 1.0}  # fmt: skip
    for purpose in ("practice", "evaluate", "confirm", "heldout"):
        ledger.append(EpisodeEvent(purpose=purpose, robot_s=1.0, **about))
        ledger.append(ResetEvent(attempts=3, detail="not ready", purpose=purpose, robot_s=10.0))
    state = RunState.of(ledger.events())
    assert state.robot_s == 33.0
    assert state.robot_used_up(33.0)
    assert not state.robot_used_up(33.1)
    assert not state.robot_used_up(None)
