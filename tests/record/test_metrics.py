"""Metric definitions against brute force and against what must hold."""

import dataclasses

import pytest

from autoenvbench.record import metrics
from autoenvbench.record.events import (
    CallEvent,
    EpisodeEvent,
    EvaluationEvent,
    RunEvent,
    TokensEvent,
    WaitEvent,
    kind_of,
)
from autoenvbench.record.ledger import Event
from autoenvbench.record.summary import summarise


def evaluation(t, purpose, wins, n, commit="c", phase="finished"):
    payload = EvaluationEvent(
        phase=phase, id="E", purpose=purpose, commit=commit, digest=commit, planned=n, episodes=n, successes=wins
    )
    return Event(0, 0.0, t, "evaluation", "a", "s", payload, "")


def episode(t, purpose="evaluate", success=True, robot_s=2.0, index=0, attempt=0):
    payload = EpisodeEvent(evaluation="E", purpose=purpose, index=index, attempt=attempt, commit="c", digest="c", seed=0,
                           success=success, score=float(success), stage="", steps=1, sim_s=1.0, robot_s=robot_s)  # fmt: skip
    return Event(0, 0.0, t, "episode", "a", "s", payload, "")


def tokens(t, **counts):
    return Event(0, 0.0, t, "tokens", "a", None, TokensEvent(model="m", status=200, **counts), "")


def test_confirmed_best_uses_confirmations_only_and_is_no_maximum():
    events = [
        evaluation(1, "evaluate", 19, 20, "lucky"), evaluation(2, "confirm", 30, 50, "lucky"),
        evaluation(3, "evaluate", 20, 20, "worse"), evaluation(4, "confirm", 25, 50, "worse"),
        evaluation(5, "evaluate", 16, 20, "better"), evaluation(6, "confirm", 40, 50, "better"),
        evaluation(7, "evaluate", 5, 5, "too few"), evaluation(8, "confirm", 40, 40, "cut off", phase="aborted"),
    ]  # fmt: skip
    raw, confirmed = metrics.best_curves(events, min_episodes=20)
    assert [(p.t_run, p.value) for p in raw] == [(1, 0.95), (3, 1.0)]
    lucky = (30 + 25) / 100  # which cannot be told from "worse"
    assert [(p.t_run, p.value) for p in confirmed] == [(2, 0.6), (4, lucky), (6, 0.8), (8, 0.8)]
    assert [p.commit for p in confirmed] == ["lucky", "lucky", "better", "better"]


def test_resources_to_a_threshold():
    events = [
        tokens(0.5, input=1000, cached_input=600, output=100), episode(1), episode(1.5), evaluation(2, "confirm", 30, 50),
        tokens(3, input=2000, cached_input=1500, output=50, reasoning=20), episode(4),
        evaluation(5, "confirm", 48, 50, "another"),
        episode(9, purpose="heldout"),
    ]  # fmt: skip
    _, confirmed = metrics.best_curves(events)
    assert metrics.resources_to(confirmed, 0.5) == {"time_s": 2, "tokens": 500, "episodes": 2, "robot_s": 4.0}
    assert metrics.resources_to(confirmed, 0.95) == {"time_s": 5, "tokens": 1050, "episodes": 3, "robot_s": 6.0}
    assert metrics.resources_to(confirmed, 0.99) is None
    perfect = metrics.best_curves([evaluation(1, "confirm", 50, 50)])[1]
    assert metrics.resources_to(perfect, 1.0) is None  # 50 episodes cannot show it
    assert metrics.resources_to(metrics.best_curves([evaluation(1, "confirm", 200, 200)])[1], 1.0) is not None


def test_token_totals_count_each_category_once():
    t = metrics.token_totals(
        [
            tokens(1, input=1000, cached_input=600, cache_write=5, output=100, reasoning=30),
            tokens(2, input=10, output=0, in_flight=True),
        ],
        research_s=120.0,
    )
    assert (t.input, t.cached_input, t.cache_write, t.output, t.reasoning) == (1000, 600, 5, 100, 30)
    assert t.headline == 400 + 100  # what is estimated stands apart
    assert t.all == 1100
    assert (t.in_flight_calls, t.cut_input, t.cut_headline) == (1, 10, 10)
    assert t.per_minute == pytest.approx(500 / 2)


def test_robot_utilisation_is_for_scarce_robot_time_only():
    events = [episode(1), episode(2), episode(3, purpose="heldout")]
    assert metrics.robot_use(events, 10.0, cells=1, pace=1.0).mru == pytest.approx(0.4)
    assert metrics.robot_use(events, 10.0, cells=2, pace=1.0).mru == pytest.approx(0.2)
    assert metrics.robot_use(events, 10.0, cells=1, pace=0.0) is None


def test_each_cell_has_its_own_utilisation_and_stretched_time_shows():
    where = ["station-1", "station-1.2", "station-1", None]
    events = [dataclasses.replace(episode(k), station=name) for k, name in enumerate(where)]
    use = metrics.robot_use(events, 10.0, cells=3, pace=1.0)
    assert use.of_cells == {
        "station-1": pytest.approx(0.4),
        "station-1.2": pytest.approx(0.2),
    }  # and one that is not known
    assert use.mru == pytest.approx(8 / 30)
    slow = [
        dataclasses.replace(e, payload=e.payload.model_copy(update={"sim_s": e.payload.robot_s / 4})) for e in events
    ]
    assert metrics.robot_use(slow, 10.0, cells=3, pace=1.0).real_time == pytest.approx(0.25)


def test_summary_counts_first_attempts_for_the_streak():
    episodes = [episode(0, index=i, attempt=a, success=(a == 0 or i == 1)).payload for i in range(3) for a in range(8)]
    s = summarise(episodes)
    assert (s.episodes, s.successes, s.streak) == (24, 10, 3)
    assert s.pass_at_8 == 1.0
    assert s.failures == {"unknown": 14}
    assert summarise([]).success_rate == 0.0


def test_waiting_for_the_provider_is_no_working_time():
    """Two calls: only while one waits and no other is answered does the agent stand still; a kill ends all waits."""

    def event(t, payload):
        return Event(0, 0.0, t, kind_of(payload), "a", None, payload, "")

    def wait(t, call, phase):
        return event(t, WaitEvent(phase=phase, call=call))

    def done(t, call):
        return event(t, TokensEvent(model="m", status=200, call=call))

    one = [
        event(0, CallEvent(id="A", model="m")),
        wait(1, "A", "started"),
        wait(3, "A", "started"),
        wait(7, "A", "ended"),
        done(9, "A"),
    ]
    assert metrics.stalled_seconds(one, 100) == 6
    assert metrics.stalled_seconds(one, 4) == 3  # the research was over by then
    other = [event(2, CallEvent(id="B", model="m")), done(5, "B")]
    both = sorted(one + other, key=lambda e: e.t_run)
    assert metrics.stalled_seconds(both, 100) == 3  # 1 to 2 and 5 to 7
    killed = [*one[:2], event(4, RunEvent(phase="resumed")), event(50, RunEvent(phase="agents_stopped"))]
    assert metrics.stalled_seconds(killed, 100) == 3
    assert metrics.stalled_seconds([], 100) == 0
