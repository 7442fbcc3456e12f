"""Time by activity: every second of a member's life once, under the first name that holds."""

import random

import pytest
from histories import Author, anything, tell

from autoenvbench.evolution.activity import ACTIVITIES, team_time, time_by_activity
from autoenvbench.record.events import AgentEvent, IdeaEvent, JobEvent, LookEvent, RunEvent


@pytest.fixture
def author():
    author = Author.in_memory()
    author.begin({"a-1": "codex", "b-1": "codex"}, pace=1.0)
    author.write(AgentEvent(phase="started", name="codex"), "a-1")
    return author


def after(author, seconds, payload):
    author.t += seconds
    author.write(payload, "a-1")


def test_a_day_in_the_life_of_a_member(author):
    author.call("a-1", 10.0)
    after(author, 3.0, LookEvent(what="peers"))
    author.t += 2.0
    author.call("a-1", 20.0, fresh=700, output=50)  # this one takes in what it saw
    after(author, 5.0, IdeaEvent(id="I1", title="an idea"))
    author.t += 40.0  # edits, and trains on its own machine
    author.commit("a-1", "x")
    author.write(JobEvent(phase="asked", what="evaluate"), "a-1")
    after(author, 60.0, JobEvent(phase="began", what="evaluate"))
    author.batch("a-1", "x", 5, 10, "I1", seconds=100.0)
    author.write(JobEvent(phase="ended", what="evaluate"), "a-1")
    author.batch("a-1", "x", 5, 10, purpose="learn", seconds=30.0)
    author.t += 7.0
    author.write(AgentEvent(phase="exited", name="codex", reason="agent_ended"), "a-1")
    author.t += 1000.0
    author.write(RunEvent(phase="agents_stopped"))
    time = time_by_activity(author.sink.events, author.t)["a-1"]
    assert time.alive_s == pytest.approx(277.0)
    assert time.seconds == pytest.approx({
        "training": 30.0, "robot at work": 70.0, "waiting for a robot": 90.0, "summarising peers": 22.0, "waiting for the model": 10.0,
        "coding": 40.0, "reading": 15.0,
    })  # fmt: skip
    assert (time.looks, time.peer_tokens, time.tokens) == (1, 750, 3250)


def test_time_in_a_call_while_a_robot_works_counts_once(author):
    author.batch("a-1", "x", 5, 10, seconds=100.0, closed=False)
    author.t = 40.0
    author.call("a-1", 90.0)
    time = time_by_activity(author.sink.events, author.t)["a-1"]
    assert time.seconds["robot at work"] == pytest.approx(70.0)
    assert time.seconds["waiting for the model"] + time.seconds["waiting for a robot"] == pytest.approx(60.0)


def test_free_running_simulation_is_timed_by_the_clock_and_not_by_simulated_seconds():
    author = Author.in_memory()
    author.begin({"a-1": "codex"}, pace=0.0)
    author.write(AgentEvent(phase="started", name="codex"), "a-1")
    author.batch("a-1", "x", 5, 10, purpose="practice", seconds=100.0)
    author.batch("a-1", "x", 5, 10, seconds=100.0)
    time = time_by_activity(author.sink.events, author.t)["a-1"]
    assert time.seconds["robot at work"] == pytest.approx(175.0)  # practice whole, evaluation from its start events on


def test_a_job_that_makes_room_for_another_waits_until_it_has_a_robot_again():
    author = Author.in_memory()
    author.begin({"a-1": "codex"}, pace=0.0)
    author.write(AgentEvent(phase="started", name="codex"), "a-1")
    batch = author.batch(
        "a-1", "x", 1, 2, purpose="practice", seconds=20.0, cut=1, closed=False
    )  # its first episode took 10 s
    for seconds, phase in ((0.0, "asked"), (50.0, "began")):
        after(author, seconds, JobEvent(phase=phase, what="practice"))
    author.t += 10.0
    episode = next(e.payload for e in author.sink.events if e.kind == "episode")
    author.write(episode.model_copy(update={"index": 1, "evaluation": batch}), "a-1", "station-1")
    time = time_by_activity(author.sink.events, author.t)["a-1"]
    assert time.seconds["robot at work"] == pytest.approx(20.0)
    assert time.seconds["waiting for a robot"] == pytest.approx(50.0)


def test_what_a_kill_left_open_ends_when_the_run_goes_on(author):
    author.t = 10.0
    author.write(JobEvent(phase="asked", what="evaluate"), "a-1")
    author.t = 15.0
    author.write(RunEvent(phase="resumed"))
    author.write(AgentEvent(phase="started", name="codex"), "a-1")
    author.t = 50.0
    author.write(RunEvent(phase="agents_stopped"))
    time = time_by_activity(author.sink.events, 50.0)["a-1"]
    assert (time.seconds["waiting for a robot"], time.seconds["reading"], time.alive_s) == pytest.approx(
        (5.0, 45.0, 50.0)
    )


def test_activities_add_up_to_the_time_alive_in_any_history():
    for seed in range(25):
        told = Author.in_memory()
        tell(told, members=3, ideas=6, seed=seed)
        for events in (told.sink.events, anything(random.Random(seed))):
            for research_s in (events[-1].t_run, events[-1].t_run / 2):
                times = time_by_activity(events, research_s)
                for time in times.values():
                    assert set(time.seconds) == set(ACTIVITIES)
                    assert sum(time.seconds.values()) == pytest.approx(time.alive_s)
                    assert min(time.seconds.values()) >= 0
                    assert time.peer_tokens <= time.tokens
                whole = team_time(times)
                assert whole.alive_s == pytest.approx(sum(t.alive_s for t in times.values()))
