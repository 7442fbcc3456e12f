"""A station's canary on the twin: between judged episodes, in the ledger under a kind of its own, charged to nobody."""

from __future__ import annotations

from collections.abc import Iterator

import gymnasium as gym
import pytest
from conftest import judge
from enpire_envs.env import ResetFailed
from enpire_envs.task import Verdict

from autoenvbench.errors import UserError
from autoenvbench.record import metrics
from autoenvbench.record.canary import canary_problems
from autoenvbench.record.starts import StartStreams
from autoenvbench.station.batch import Batch, draw_starts
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.canary import Canary
from autoenvbench.station.cell import LocalCell
from autoenvbench.study.policies import RandomPolicy

BUNDLE = Bundle("random", "random", "", None)


@pytest.fixture(scope="module")
def env() -> Iterator[gym.Env]:
    made = gym.make("ENPIRE/PushT-real-v0", disable_env_checker=True, max_episode_steps=3)
    inner = made.unwrapped
    lies = list(
        inner.real_cell.station.twin.truth()["block"]
    )  # every episode starts there, so that nothing has to be pushed
    inner.task.sample_start = lambda rng, starts: {"block": lies, "tip": [-0.28, -0.21]}
    yield made
    made.close()


def test_a_round_comes_after_its_episodes_and_counts_for_nobody(env, ledger, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("AUTOENVBENCH_CERTIFICATES", str(tmp_path))
    cell = LocalCell(
        env, sandbox="none", track="station", policy=RandomPolicy(env.action_space, 0), canary=Canary(env, 1, 0.0)
    )
    tally = judge(cell, ledger, BUNDLE, "evaluate", 1, agent="codex")
    assert len(tally.counted) == 1
    events = list(ledger.events())
    kinds = [e.kind for e in events if e.kind != "run"]
    assert kinds == ["evaluation", "verifier", "start", "episode", "canary", "canary", "evaluation"]
    named, *tries = (e for e in events if e.kind in ("verifier", "canary"))
    assert named.payload.certificate is None  # of this machine, where nothing was audited
    assert {e.agent for e in (named, *tries)} == {None}
    assert [(t.payload.probe, t.payload.success) for t in tries] == [("known_bad", False), ("reference", False)]
    assert tries[1].payload.reason == "time_limit"  # nobody solves it in three steps
    assert all(t.payload.robot_s > 0 and t.payload.alarm is None for t in tries)
    (episode,) = (e.payload for e in events if e.kind == "episode")
    assert sum(map(metrics.robot_seconds, events)) == episode.robot_s
    assert events[-1].payload.robot_s == pytest.approx(episode.robot_s)
    judge(cell, ledger, BUNDLE, "practice", 1, agent="codex")
    assert sum(e.kind == "canary" for e in ledger.events()) == 2  # of practice nothing is claimed


def test_a_verifier_that_says_yes_to_everything_is_found_out(env, ledger, monkeypatch) -> None:
    canary = Canary(env, 1, 0.0)
    monkeypatch.setattr(type(env.unwrapped.task), "verify", lambda self, cell: Verdict(True))
    monkeypatch.setattr(canary, "_reference", RandomPolicy(env.action_space, 0))
    canary.after("heldout", ledger, lambda: None)
    first = next(e.payload for e in ledger.events() if e.kind == "canary")
    assert (first.probe, first.success, first.alarm) == (
        "known_bad",
        True,
        "a scene that was just reset was called a success",
    )
    assert canary_problems(list(ledger.events()), 1)


def test_a_station_whose_tries_come_to_nothing_raises_the_alarm(env, ledger, monkeypatch) -> None:
    def broken(**_):
        raise ResetFailed("the gripper does not close")

    monkeypatch.setattr(env.unwrapped, "reset", broken)
    canary = Canary(env, 2, 0.0)
    canary.after("evaluate", ledger, lambda: None)
    assert not list(ledger.events())
    canary.after("evaluate", ledger, lambda: "the run is over")
    assert not list(ledger.events())  # no round begins that would be cut
    canary.after("evaluate", ledger, lambda: None)
    tries = [e.payload for e in ledger.events()]
    assert [t.success for t in tries] == [None] * 6
    assert "came to no verdict" in tries[2].alarm


def test_an_agent_that_stops_every_try_alarms_nobody_and_they_are_made_up_for_before_held_out_episodes(
    env, ledger, monkeypatch
) -> None:
    canary = Canary(env, 3, 0.0)
    cell = LocalCell(env, sandbox="none", track="station", policy=RandomPolicy(env.action_space, 0), canary=canary)

    def stopped(**_):
        canary.stopped_by_agent()
        raise ResetFailed("stopped_by_agent: by codex")

    with monkeypatch.context() as attack:
        attack.setattr(env.unwrapped, "reset", stopped)
        for _ in range(8):
            canary.after("evaluate", ledger, lambda: None)
    told = [e.kind for e in ledger.events()]
    assert told == ["note"] * 6  # one for each episode from the third on
    answers = iter(
        [None] * 3 + ["cancelled"] * 99
    )  # a batch that its agent cancels in its first episode, as often as it likes
    starts = draw_starts(StartStreams(bytes(32)), "evaluate", 0, 1)
    assert not cell.run(Batch("E1", "evaluate", BUNDLE, 1, starts), ledger, lambda: next(answers)).through
    assert set(canary._since.values()) == {9}
    with monkeypatch.context() as person:
        person.setattr(type(env.unwrapped.real_cell), "stopped_by_person", True)
        canary.after("evaluate", ledger, lambda: None)
    assert not list(ledger.events("canary"))
    before = ledger.last_seq()
    judge(cell, ledger, BUNDLE, "heldout", 1)
    kinds = [e.kind for e in ledger.events(after=before)]
    assert kinds == ["evaluation", "canary", "canary", "start", "episode", "evaluation"]
    assert [e.payload.alarm for e in ledger.events("canary")] == [None, None]
    assert canary_problems(list(ledger.events()), 3) == []


def test_a_person_whom_a_try_needs_is_asked_on_record(env, ledger, monkeypatch) -> None:
    def needs(**_):
        env.unwrapped.real_cell.ask_person("lay the T back on the mat")
        raise ResetFailed("the T is gone")

    monkeypatch.setattr(env.unwrapped, "reset", needs)
    canary = Canary(env, 3, 0.0, station="left", since={"known_bad": 2, "reference": 2})
    canary.after("evaluate", ledger, lambda: None)  # due already: the process before this one had judged two
    asked, tried = (e.payload for e in ledger.events())
    assert (asked.station, asked.asked) == ("left", "lay the T back on the mat")
    assert tried.success is None  # and no other try: the station waits for them


def test_a_simulated_cell_has_none() -> None:
    simulated = gym.make("ENPIRE/PushT-v0")
    with pytest.raises(UserError, match="for real stations"):
        Canary(simulated, 5, 0.0)
    simulated.close()
