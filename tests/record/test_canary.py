"""A canary's alarm, by one rule for the station and for readers of its ledger, and in no count of any agent."""

from __future__ import annotations

import pytest

from autoenvbench.record import metrics
from autoenvbench.record.canary import CanaryWatch, canary_problems, watches_of
from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import CanaryEvent, EpisodeEvent
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.state import RunState


def alarms(*tries: tuple[str, bool | None]) -> list[bool]:
    watch = CanaryWatch()
    return [watch.add(*one) is not None for one in tries]


def test_what_raises_the_alarm() -> None:
    good = [("known_bad", False), ("reference", True)]
    assert not any(alarms(*good * 20))
    assert alarms(*good, ("known_bad", True), *good) == [False, False, True, True, True]  # once is enough, and it stays
    fails = ("reference", False)
    assert alarms(fails, fails, fails) == [False, False, True]
    assert not any(alarms(*good, fails, *good * 3, fails, *good * 9))  # references fail now and then
    assert any(alarms(*[("reference", k % 3 == 0) for k in range(12)]))
    assert alarms(*[("reference", None)] * 3) == [False, False, True]  # who stops every try hides nothing
    assert not any(alarms(*[("reference", None), ("reference", None), ("reference", True)] * 4))


@pytest.fixture
def ledger():
    made = Ledger(":memory:", RunClock.start(60))
    yield made
    made.close()


def test_a_canary_is_nobodys_episode_and_nobodys_robot_time(ledger) -> None:
    judged = EpisodeEvent(
        evaluation="E1", purpose="evaluate", index=0, commit="c", digest="d", seed=1, success=True, score=1.0, stage="s",
        steps=5, sim_s=1.0, robot_s=2.0,
    )  # fmt: skip
    ledger.append(judged, agent="codex", station="station-1")
    for probe, success in (("known_bad", False), ("reference", False)):
        ledger.append(CanaryEvent(probe=probe, seed=3, success=success, robot_s=50.0), station="station-1")
    events = list(ledger.events())
    assert sum(map(metrics.robot_seconds, events)) == 2.0
    assert metrics.busy_seconds(events) == {"station-1": 2.0}
    state = RunState.of(events, 20)
    assert (state.robot_s, state.curves.episodes, state.curves.robot_s) == (2.0, 1, 2.0)
    assert metrics.heldout_episodes(events) == []


def test_a_ledger_tells_of_each_station_and_forgets_no_alarm(ledger) -> None:
    for success in (False, False, False):
        ledger.append(CanaryEvent(probe="reference", seed=1, success=success), station="a")
    ledger.append(CanaryEvent(probe="known_bad", seed=1, success=False), station="b")
    ledger.append(CanaryEvent(probe="known_bad", seed=1, success=False, alarm="the bus is on fire"), station="c")
    problems = canary_problems(list(ledger.events()), every=10)
    assert [line.split()[3] for line in problems] == ["a", "c"]
    assert "failed 3 of its last 3" in problems[0]
    assert "on fire" in problems[1]
    assert canary_problems([], every=10) == []


def test_one_early_try_vouches_for_few_episodes(ledger) -> None:
    def judged(n: int, purpose="evaluate") -> None:
        for k in range(n):
            ledger.append(
                EpisodeEvent(evaluation="E1", purpose=purpose, index=k, commit="c", digest="d", seed=1, success=True, score=1.0,
                             stage="s", steps=5, sim_s=1.0, robot_s=2.0), station="a",
            )  # fmt: skip

    def tried(*probes: str) -> None:
        for probe in probes:
            ledger.append(CanaryEvent(probe=probe, seed=1, success=probe == "reference"), station="a")

    def problems() -> str:
        return "; ".join(canary_problems(list(ledger.events()), every=5))

    tried("known_bad", "reference")
    judged(10)
    assert problems() == ""
    judged(1)
    assert "11 episodes were judged without a verdict of its" in problems()
    tried("known_bad")
    assert "reference tries" in problems()  # each probe for itself
    tried("reference")
    assert problems() == ""  # made up for before anything that is claimed
    assert watches_of(ledger.events())["a"].since == {"known_bad": 0, "reference": 0}
    judged(10, "heldout")
    assert problems() == ""
    judged(1, "heldout")
    tried("known_bad", "reference")
    assert "silent for too long" in problems()  # too late for what was claimed
    assert canary_problems(list(ledger.events()), every=0) == []
