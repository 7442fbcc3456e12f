"""Goals: what they mean, and what is refused."""

import pytest

from autoenvbench.cli.run_arguments import parse_count
from autoenvbench.errors import UserError
from autoenvbench.record.events import EpisodeEvent, EvaluationEvent
from autoenvbench.record.goal import Goal
from autoenvbench.record.state import RunState


def episodes(ledger, digest, outcomes, purpose="confirm"):
    for index, success in enumerate(outcomes):
        ledger.append(
            EpisodeEvent(
                evaluation="E1", purpose=purpose, index=index, commit="c", digest=digest, seed=index, success=success,
                score=float(success), stage="x", steps=1, sim_s=1, robot_s=1,
            )
        )  # fmt: skip


def test_a_streak_is_of_one_candidate_within_its_first_200_confirmation_episodes(ledger):
    goal = Goal.parse("streak >= 50")
    episodes(ledger, "practised", [True] * 200, "practice")
    episodes(ledger, "evaluated", [True] * 200, "evaluate")  # as many as the agent likes, until it is lucky
    episodes(ledger, "a", [True] * 50)
    episodes(ledger, "b", [False, True] * 100 + [True] * 60)
    assert not goal.reached(RunState.of(ledger.events()))
    episodes(ledger, "a", [False, True] * 75)
    assert goal.reached(RunState.of(ledger.events()))


def test_success_counts_when_it_is_confirmed(ledger):
    goal = Goal.parse("success>=0.9")
    common = {"commit": "c", "digest": "d", "planned": 50, "episodes": 50, "successes": 48, "score": 0.97}
    ledger.append(EvaluationEvent(phase="finished", id="E1", purpose="evaluate", **common))
    ledger.append(EvaluationEvent(phase="started", id="E2", purpose="confirm", **common))
    assert not goal.reached(RunState.of(ledger.events()))
    ledger.append(EvaluationEvent(phase="finished", id="E3", purpose="confirm", **common))
    assert goal.reached(RunState.of(ledger.events()))
    assert Goal.parse("score>=0.97").reached(RunState.of(ledger.events()))
    assert not Goal.parse("success>=0.97").reached(RunState.of(ledger.events()))


@pytest.mark.parametrize("text", ["", "streak", "streak>50", "success>=95", "luck>=1", "success>=0.9 or streak>=3"])
def test_what_cannot_be_read_is_explained(text):
    with pytest.raises(UserError, match="write it like"):
        Goal.parse(text)


@pytest.mark.parametrize(
    ("text", "count"), [("5M", 5_000_000), ("200k", 200_000), ("1500000", 1_500_000), ("0.5m", 500_000)]
)
def test_counts(text, count):
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["", "-5", "5G", "k", "0", "5 parsecs"])
def test_bad_counts(text):
    with pytest.raises(UserError, match="write it like"):
        parse_count(text)
