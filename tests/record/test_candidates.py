"""Who leads, and on what evidence: content counts, not commits; no estimate is a maximum over looks; 99 % needs 200 episodes."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoenvbench.record import metrics
from autoenvbench.record.candidates import Candidates
from autoenvbench.record.events import EvaluationEvent, RunEvent
from autoenvbench.record.goal import Goal
from autoenvbench.record.ledger import Event
from autoenvbench.record.state import RunState


def event(purpose, wins, n, content, commit=None, phase="finished", score=None):
    payload = EvaluationEvent(
        phase=phase, id="E", purpose=purpose, commit=commit or content, digest=commit or content, content=content, planned=n,
        episodes=n, successes=wins, score=wins / n if score is None else score,
    )  # fmt: skip
    return Event(0, 0.0, 1.0, "evaluation", "a", "s", payload, "")


def confirmed(*events):
    return metrics.best_curves(list(events))[1]


def test_equal_content_is_one_candidate_whatever_its_commits_are_called():
    made = Candidates.of(
        [event("evaluate", 20, 20, "x", "c1"), event("confirm", 28, 50, "x", "c1"), event("evaluate", 18, 20, "x", "c2"),
         event("confirm", 40, 50, "x", "c3")]
    )  # fmt: skip
    (candidate,) = made.known.values()
    assert (candidate.commit, candidate.counted_wins, candidate.counted) == ("c1", 28 + 18 + 40, 120)
    assert made.value == pytest.approx(86 / 120)  # what it was chosen by is not in it


def test_a_cut_confirmation_counts_as_it_stands_and_is_continued():
    cut = [event("confirm", 9, 10, "lucky", phase="aborted")]
    made = Candidates.of(cut)
    assert made.value == 9 / 50  # what is missing has not succeeded
    assert [(c.content, made.missing(c)) for c in made.pending()] == [("lucky", 40)]
    made = Candidates.of([*cut, event("confirm", 20, 40, "lucky")])
    assert made.value == 29 / 50
    assert made.pending() == []
    begun = event("confirm", 0, 0, "x", phase="started", score=0)
    assert Candidates.of([begun]).missing(Candidates.of([begun]).known["x"]) == 50


def test_candidates_that_cannot_be_told_apart_share_one_estimate():
    curve = confirmed(event("confirm", 28, 50, "a"), event("confirm", 32, 50, "b"), event("confirm", 25, 50, "c"))
    assert [p.value for p in curve] == [0.56, 0.60, pytest.approx(85 / 150)]
    assert curve[-1].commit == "b"  # which of them is handed in is its own matter
    assert curve[-1].episodes_behind == 150
    better = confirmed(event("confirm", 28, 50, "a"), event("confirm", 45, 50, "b"), event("confirm", 20, 50, "c"))
    assert [(p.value, p.commit) for p in better] == [(0.56, "a"), (0.9, "b")]  # and a worse one changes nothing


def test_from_98_percent_on_the_station_confirms_on_200_episodes():
    made = Candidates.of([event("confirm", 49, 50, "x")])
    assert made.missing(made.known["x"]) == 150
    made.add(event("confirm", 150, 150, "x").payload)
    assert made.missing(made.known["x"]) == 0
    made = Candidates.of([event("confirm", 48, 50, "x")])
    assert made.missing(made.known["x"]) == 0
    made.add(event("evaluate", 60, 60, "x").payload)  # unlucky at first
    assert made.missing(made.known["x"]) == 150
    streak = Event(0, 0.0, 0.0, "run", None, None, RunEvent(phase="started", config={"goal": "streak>=50"}), "")
    made = Candidates.of([streak, event("confirm", 46, 50, "x")])
    assert made.missing(made.known["x"]) == 150


@pytest.mark.parametrize("threshold", [0.98, 0.99, 1.0])
def test_a_lucky_fifty_claims_no_99_percent(threshold):
    goal = Goal.parse(f"success>={threshold}")
    lucky = [event("confirm", 50, 50, name) for name in "abcdefgh"]  # 400 successes, of eight candidates
    assert not goal.reached(RunState.of(lucky))
    assert metrics.resources_to(confirmed(*lucky), threshold) is None
    assert goal.reached(RunState.of([event("confirm", 50, 50, "x"), event("confirm", 150, 150, "x")]))
    assert goal.reached(RunState.of([*lucky, event("confirm", 150, 150, "c")]))
    assert metrics.resources_to(confirmed(*lucky, event("confirm", 150, 150, "c")), threshold) is not None
    assert not goal.reached(
        RunState.of([event("confirm", 50, 50, "x"), event("evaluate", 150, 150, "x")])
    )  # asked for by the agent


def test_copies_of_a_candidate_claim_no_99_percent_by_the_luckiest_of_them():
    copies = [event("confirm", 194, 200, f"copy {k}") for k in range(9)]
    lucky = event("confirm", 198, 200, "lucky")
    assert not confirmed(*copies, lucky)[-1].shows(0.99)
    assert not Goal.parse("success>=0.99").reached(RunState.of([*copies, lucky]))
    assert confirmed(event("confirm", 197, 200, "before"), lucky)[-1].shows(0.99)
    assert confirmed(*copies, event("confirm", 200, 200, "better"))[-1].shows(1.0)  # it can be told apart


def test_an_old_ledger_counts_by_what_it_has():
    old = event("confirm", 30, 50, "", "d1")
    assert confirmed(old)[-1].digest == "d1"


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["evaluate", "confirm"]), st.integers(0, 50)), max_size=20
    )
)
def test_the_estimate_is_that_of_somebodys_fresh_episodes_and_never_above_the_best_of_them(steps):
    made = Candidates()
    for content, purpose, wins in steps:
        made.add(event(purpose, wins, 50, content).payload)
        if made.group:
            rates = [c.counted_wins / max(c.counted, 50) for c in made.group]
            assert min(rates) - 1e-9 <= made.value <= max(rates) + 1e-9
            assert made.leader in made.group


def test_thirty_comment_only_commits_gain_little_and_thirty_empty_ones_nothing():
    """A slice of benchmarks/selection_bias.py."""
    rng = random.Random(0)
    gains = {}
    for kind in ("empty", "comment"):
        total = 0.0
        for _ in range(300):
            made = Candidates()
            for k in range(30):
                content = "x" if kind == "empty" else f"x{k}"
                looked = sum(rng.random() < 0.55 for _ in range(20))
                if looked / 20 > made.value and content not in made.known:
                    made.add(event("confirm", sum(rng.random() < 0.55 for _ in range(50)), 50, content).payload)
                elif content in made.known:
                    made.add(event("evaluate", looked, 20, content).payload)
            total += made.value - 0.55
        gains[kind] = total / 300
    assert abs(gains["empty"]) < 0.01
    assert gains["comment"] < 0.05  # 0.105 for the best of them
