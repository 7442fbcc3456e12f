"""Several members of one run: each one's own best, the team's average, and which of their answers counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoenvbench.errors import UserError
from autoenvbench.record.answer import choose_answer
from autoenvbench.record.events import AgentEvent, CommitEvent, EvaluationEvent, RunEvent, TokensEvent
from autoenvbench.record.ledger import Event
from autoenvbench.record.member_info import member_info
from autoenvbench.record.state import RunState
from autoenvbench.record.team import spent_to, team_curves

TEAM = {"codex-1": "codex", "codex-2": "codex", "cem-1": "cem"}


class Story:
    """A ledger's events, one after the other, a second apart."""

    def __init__(self, members=TEAM):
        self.events = []
        self.add(RunEvent(phase="started", members=members, config={"confirm_episodes": 50}), "run")
        self.add(CommitEvent(phase="starter", commit="c0", digest="c0", content="c0"), "commit")

    def add(self, payload, kind, agent=None):
        k = len(self.events)
        self.events.append(Event(k + 1, float(k), float(k), kind, agent, "s", payload, ""))
        return self

    def batch(self, agent, purpose, wins, n, content, phase="finished"):
        payload = EvaluationEvent(phase=phase, id=f"E{len(self.events)}", purpose=purpose, commit=content, digest=content, content=content,
                                  planned=n, episodes=n, successes=wins, score=wins / n)  # fmt: skip
        return self.add(payload, "evaluation", agent)

    def confirmed(self, agent, wins, content, n=50):
        return self.batch(agent, "evaluate", n, n, content).batch(agent, "confirm", wins, n, content)

    def submit(self, agent, content):
        return self.add(
            CommitEvent(phase="submitted", commit=content, digest=content, content=content), "commit", agent
        )

    def answer(self):
        found = choose_answer(self.events, 20)
        return found.commit, found.how


def test_the_average_is_over_all_members_and_each_ones_own_best():
    story = Story().confirmed("codex-1", 30, "a").confirmed("codex-2", 45, "b").confirmed("cem-1", 15, "c")
    team = team_curves(story.events)
    assert [(p.value, p.agent) for p in team.average] == [
        (pytest.approx(0.2), "codex-1"), (pytest.approx(0.5), "codex-2"), (pytest.approx(0.6), "cem-1"),
    ]  # fmt: skip
    assert (spent_to(team.average, 0.5)["time_s"], spent_to(team.average, 0.61)) == (5.0, None)
    state = RunState.of(story.events)
    assert state.curves.confirmed[-1].value == 0.9  # the team's best
    assert state.of_member("cem-1").confirmed[-1].value == 0.3
    assert state.of_member("nobody").candidates.confirm_episodes == 50  # and no member by being asked for
    assert state == RunState.of(story.events)


def test_one_who_joins_counts_from_then_on_and_who_is_no_member_never_does():
    story = Story({"codex-1": "codex"}).confirmed("codex-1", 40, "a").confirmed("admin", 50, "b")
    story.add(RunEvent(phase="joined", members={"cem-1": "cem"}), "run").confirmed("cem-1", 20, "c")
    assert [(p.value, p.members) for p in team_curves(story.events).average] == [
        (0.8, 1),
        (0.4, 2),
        (pytest.approx(0.6), 2),
    ]
    unnamed = Story({}).add(AgentEvent(phase="started", name="codex"), "agent", "codex").confirmed("codex", 40, "a")
    assert team_curves(unnamed.events).members == ["codex"]


def test_of_one_member_the_last_word_counts_whatever_is_known_of_it():
    story = Story({"codex-1": "codex"})
    assert story.answer() == ("c0", "starter")
    assert story.batch("codex-1", "evaluate", 9, 20, "raw").answer() == ("raw", "best evaluated")
    assert story.confirmed("codex-1", 40, "a").answer() == ("a", "confirmed best")
    assert story.submit("codex-1", "a").submit("codex-1", "untested").answer() == ("untested", "submitted")


def test_of_several_the_answer_with_the_highest_lower_bound_counts():
    story = Story().confirmed("codex-1", 40, "a").confirmed("codex-2", 42, "b")
    story.submit("codex-2", "b").submit("codex-1", "a")
    assert story.answer() == ("b", "submitted")
    story.batch("cem-1", "confirm", 49, 50, "a")  # a third one adopts it: 89 of 100
    assert story.answer() == ("a", "submitted")
    assert Story().submit("codex-1", "a").submit("cem-1", "b").answer() == (
        "b",
        "submitted",
    )  # nobody knows: the newest
    assert Story().submit("codex-1", "a").submit("cem-1", "b").submit("codex-1", "c").answer() == ("c", "submitted")


def test_whose_answer_is_better_is_not_a_matter_of_how_often_or_how_far_somebody_evaluates():
    story = (
        Story().confirmed("codex-1", 47, "a").confirmed("cem-1", 45, "b").submit("cem-1", "b").submit("codex-1", "a")
    )
    for _ in range(40):
        story.batch("cem-1", "evaluate", 46, 50, "b")
    assert story.answer() == ("a", "submitted")
    # Who confirms a peer's untested answer first cannot pull it down by evaluations that it cuts.
    story = Story().batch("codex-1", "evaluate", 18, 20, "a").submit("codex-1", "a").confirmed("cem-1", 30, "b")
    story.submit("cem-1", "b").batch("cem-1", "confirm", 45, 50, "a")
    for _ in range(40):
        story.batch("cem-1", "evaluate", 0, 1, "a", phase="aborted")
    assert story.answer() == ("a", "submitted")


@pytest.mark.parametrize("peer_submits", [True, False])
@given(rubbish=st.lists(st.integers(0, 3), max_size=8))
def test_a_hostile_member_does_not_decide_the_answer_of_its_team(peer_submits, rubbish):
    """It submits what nobody tested, has a bad one confirmed, cuts evaluations of a peer's best again and again, and has the last word."""
    story = Story().confirmed("codex-1", 35, "good")
    if peer_submits:
        story.submit("codex-1", "good")
    for trick in rubbish:
        if trick == 0:
            story.submit("cem-1", "untested")
        elif trick == 1:
            story.confirmed("cem-1", 1, "bad").submit("cem-1", "bad")
        elif trick == 2:
            story.batch("cem-1", "evaluate", 0, 1, "good", phase="aborted")
        else:
            story.submit("cem-1", "c0")
    story.submit("cem-1", "untested")
    assert story.answer() == ("good", "submitted" if peer_submits else "confirmed best")
    assert RunState.of(story.events).of_member("codex-1").confirmed[-1].value == 0.7


def test_what_was_said_after_the_agents_had_stopped_is_too_late():
    story = Story().submit("codex-1", "a").add(RunEvent(phase="agents_stopped"), "run").submit("cem-1", "b")
    assert story.answer() == ("a", "submitted")
    with pytest.raises(UserError, match="no commit"):
        choose_answer(Story().events[:1], 20)


def test_a_member_says_its_own_model_whether_it_has_asked_it_or_not():
    models = {"codex": "gpt-x"}
    story = Story()
    for member, kind in TEAM.items():
        story.add(AgentEvent(phase="started", name=kind, model=models.get(kind)), "agent", member)
    story.add(TokensEvent(model="gpt-x-2026", status=200, input=10, output=1), "tokens", "codex-1")
    team = team_curves(story.events)
    said = {name: member_info(name, kind, story.events, team, models).model for name, kind in TEAM.items()}
    assert said == {"codex-1": "gpt-x-2026", "codex-2": "gpt-x", "cem-1": None}
