"""When a run first got so far: by the episodes that count, and by no others."""

from board import result_of, write_run
from histories import Author

from autoenvbench.record.events import EpisodeEvent
from autoenvbench.record.milestones import first_reached, milestones


def told():
    author = Author.in_memory()
    author.begin({"a-1": "cem"})
    author.t = 100.0
    for purpose in ("practice", "learn"):  # a step before the goal, where the agent likes to begin
        author.batch("a-1", "x", 1, 1, purpose=purpose, seconds=10.0)
    return author


def test_where_an_agent_may_begin_as_it_likes_nothing_is_reached():
    assert milestones(told().sink.events) == {}


def test_what_was_spent_when_a_counted_episode_got_there_or_beyond():
    author = told()
    author.call("a-1", 5.0, fresh=100, output=20)
    author.batch("a-1", "x", 0, 2, seconds=20.0)  # until 135 reach, until 145 align
    author.batch("a-1", "x", 1, 1, purpose="compare", seconds=10.0)  # and success without any insert
    author.call("a-1", 5.0)
    author.batch("a-1", "x", 0, 3, seconds=30.0)  # reach, align, and only now insert
    author.batch("a-1", "y", 1, 1, purpose="heldout", seconds=1.0)
    found = milestones(author.sink.events)
    assert list(found) == ["reach", "align", "insert", "success"]
    assert [round(spent["time_s"]) for spent in found.values()] == [135, 145, 155, 155]
    assert [round(spent["robot_s"]) for spent in found.values()] == [21, 28, 35, 35]  # practice took some, too
    assert {spent["tokens"] for spent in found.values()} == {120}


def test_a_failing_machine_reaches_nothing_and_success_is_a_verdict_not_a_name():
    author = told()
    common = {
        "evaluation": "E9",
        "purpose": "evaluate",
        "commit": "c",
        "digest": "d",
        "seed": 1,
        "steps": 1,
        "sim_s": 1.0,
        "robot_s": 1.0,
    }
    for k, (stage, success, broken) in enumerate(
        [("severed", True, True), ("success", False, False), ("", False, False), ("severed", True, False)]
    ):
        author.t = 200.0 + k
        more = {"success": success, "stage": stage, "score": float(success), "infrastructure": broken}
        author.write(EpisodeEvent(index=k, **common, **more), "a-1", "station-1")
    assert {stage: reached.time_s for stage, reached in first_reached(author.sink.events).items()} == {
        "severed": 203.0, "success": 203.0
    }  # fmt: skip


def test_a_result_has_them(tmp_path):
    result = result_of(write_run(tmp_path / "run"))
    assert list(result.milestones)[-1] == "success"
    assert result.milestones["success"]["time_s"] <= result.research_s
