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


def test_who_stops_every_try_raises_the_alarm(env, ledger, monkeypatch) -> None:
    def stopped(**_):
        raise ResetFailed("stopped_by_agent: by codex")

    monkeypatch.setattr(env.unwrapped, "reset", stopped)
    canary = Canary(env, 2, 0.0)
    canary.after("evaluate", ledger, lambda: None)
    assert not list(ledger.events())
    canary.after("evaluate", ledger, lambda: "the run is over")
    assert not list(ledger.events())  # no round begins that would be cut
    canary.after("evaluate", ledger, lambda: None)
    tries = [e.payload for e in ledger.events()]
    assert [t.success for t in tries] == [None] * 6
    assert "came to no verdict" in tries[2].alarm


def test_a_simulated_cell_has_none() -> None:
    simulated = gym.make("ENPIRE/PushT-v0")
    with pytest.raises(UserError, match="for real stations"):
        Canary(simulated, 5, 0.0)
    simulated.close()
