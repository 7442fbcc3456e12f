"""Ideas are stamped with the first use of the files that test them, as far as the station knows."""

from autoenvbench.record.events import EvaluationEvent, IdeaEvent
from autoenvbench.record.first_use import FirstUses
from autoenvbench.record.ledger import Event


def uses(*rows):
    """After (time, idea) and (time, purpose, content, idea) rows."""
    made = FirstUses()
    for at, *what in rows:
        if len(what) == 1:
            kind, payload = "idea", IdeaEvent(id=what[0], title="a title")
        else:
            purpose, content, idea = what
            kind, payload = "evaluation", EvaluationEvent(phase="started", id="E1", purpose=purpose, commit=content, digest=content,
                                                          content=content, planned=1, idea=idea)  # fmt: skip
        made.add(Event(0, 0.0, float(at), kind, "a", "s", payload, ""))
    return made


def test_an_idea_that_was_recorded_first_says_so():
    made = uses((10, "I1"), (40, "practice", "x", None), (60, "evaluate", "x", "I1"))
    assert made.late("I1") == -30
    assert made.words("I1") == "recorded before its files ran here"


def test_an_idea_that_was_recorded_when_its_outcome_was_known_says_so():
    made = uses((10, "practice", "x", None), (95, "I1"), (96, "evaluate", "x", "I1"))
    assert made.late("I1") == 85
    assert made.words("I1") == "recorded 1m 25s after its files first ran here"


def test_what_was_evaluated_for_another_idea_is_not_new():
    made = uses(
        (0, "I1"), (5, "evaluate", "x", "I1"), (9, "I2"), (12, "evaluate", "x", "I2"), (20, "evaluate", "y", "I2")
    )
    assert made.late("I2") == 4  # its first test is what counts


def test_an_idea_without_a_test_has_no_stamp():
    made = uses((0, "I1"), (5, "practice", "x", "I1"))
    assert made.late("I1") is None
    assert made.words("I1") == ""
    assert made.late("I9") is None
