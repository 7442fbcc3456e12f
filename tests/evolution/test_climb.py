"""The team average is the mean of what members have confirmed themselves, and a jump says which idea it came from."""

import random

import pytest
from histories import Author, anything, tell

from autoenvbench.evolution.team import TeamClimb
from autoenvbench.record.candidates import Candidates
from autoenvbench.record.events import AgentEvent, ComparisonEvent


@pytest.fixture
def author():
    author = Author.in_memory()
    author.begin({"a-1": "cem", "b-1": "cem"})
    return author


def replayed(events, member):
    """A member's own confirmed best now, by all of its evaluations read anew."""
    return Candidates.of(e for e in events if e.kind == "run" or e.agent == member).value


def test_the_average_is_the_mean_of_all_members_own_best_at_every_moment():
    for seed in range(12):
        told = Author.in_memory()
        tell(told, members=3, ideas=12, seed=seed)
        for events in (told.sink.events, anything(random.Random(seed))):
            curve = TeamClimb.of(events)
            best = [replayed(events, name) for name in curve.team.members]
            assert curve.value == pytest.approx(sum(best) / len(best))
            at = 0.0
            for jump in curve.jumps:  # each begins where the one before ended
                assert jump.before == pytest.approx(at)
                at = jump.after
            assert at == pytest.approx(curve.value)
            assert {j.t_run for j in curve.jumps} <= {p.t_run for p in curve.team.average}


def test_an_adopted_commit_raises_the_team_once_its_adopter_has_confirmed_it(author):
    first = author.idea("a-1")
    author.batch("a-1", "x", 18, 20, first)
    assert TeamClimb.of(author.sink.events).value == 0
    author.batch("a-1", "x", 40, 50, first, "confirm")
    assert TeamClimb.of(author.sink.events).value == pytest.approx(0.4)  # the other has nothing yet
    mine = author.idea("b-1", parent=first)
    author.batch("b-1", "x", 20, 20, mine)
    assert TeamClimb.of(author.sink.events).value == pytest.approx(0.4)  # no score is copied
    author.batch("b-1", "x", 45, 50, mine, "confirm")
    curve = TeamClimb.of(author.sink.events)
    assert [(j.agent, j.idea, j.evaluation, j.why) for j in curve.jumps] == [
        ("a-1", first, "E2", "confirmation"), ("b-1", mine, "E4", "confirmation"),
    ]  # fmt: skip
    assert [j.gain for j in curve.jumps] == pytest.approx([0.4, 0.45])
    assert [p.value for p in curve.team.of["b-1"].confirmed] == [0.9]


def test_verdicts(author):
    good, bad, none = author.idea("a-1"), author.idea("a-1"), author.idea("b-1")
    author.batch("a-1", "x", 40, 50, good, "confirm")
    author.batch("a-1", "y", 10, 50, bad, "confirm")
    author.batch("b-1", "z", 20, 20, none)
    curve = TeamClimb.of(author.sink.events)
    assert [curve.verdict(i) for i in (good, bad, none)] == ["raised", "did not raise", "not confirmed"]
    assert curve.gain(good) == pytest.approx(0.4)
    assert curve.gain(bad) == 0


def test_a_lucky_re_evaluation_raises_the_curve_and_no_idea(author):
    """ENPIRE's largest jump is one, without a label. Here it has one, and the verdict is of confirmations alone."""
    first, again = author.idea("a-1"), author.idea("a-1")
    author.batch("a-1", "x", 25, 50, first, "confirm")
    author.batch("a-1", "x", 50, 50, again)
    curve = TeamClimb.of(author.sink.events)
    assert [(j.why, j.idea, round(j.gain, 3)) for j in curve.jumps] == [
        ("confirmation", first, 0.25), ("re-evaluation", again, 0.125),
    ]  # fmt: skip
    assert (curve.verdict(again), curve.gain(first)) == ("not confirmed", pytest.approx(0.25))


def test_a_confirmation_in_two_pieces_is_one_gain(author):
    idea = author.idea("a-1")
    author.batch("a-1", "x", 10, 20, idea, "confirm")
    author.batch("a-1", "x", 30, 30, idea, "confirm")
    curve = TeamClimb.of(author.sink.events)
    assert curve.gain(idea) == pytest.approx(0.4)
    assert len(curve.jumps) == 2


def test_a_comparison_is_a_jump_without_an_idea(author):
    for commit, wins in (("x", 40), ("y", 36)):
        author.batch("a-1", commit, wins, 50, author.idea("a-1"), "confirm")
    about = {"id": "C1", "challenger": "y", "incumbent": "x", "most": 100, "alpha": 0.02}
    author.write(ComparisonEvent(phase="ended", starts=50, wins=2, losses=20, verdict="incumbent", **about), "a-1")
    jump = TeamClimb.of(author.sink.events).jumps[-1]
    assert (jump.evaluation, jump.why, jump.idea) == ("C1", "comparison", None)
    assert jump.gain == pytest.approx(0.02)


def test_a_member_that_joins_late_lowers_the_average_and_no_idea_is_to_blame(author):
    idea = author.idea("a-1")
    author.batch("a-1", "x", 45, 50, idea, "confirm")
    author.write(AgentEvent(phase="started", name="cem"), "c-1")
    curve = TeamClimb.of(author.sink.events)
    assert [(j.why, j.agent, j.idea, round(j.gain, 2)) for j in curve.jumps][1:] == [
        ("a member joined", "c-1", None, -0.15)
    ]
    assert curve.verdict(idea) == "raised"
