"""Ideas are stamped with the first use of the files that test them, as far as the station knows."""

from autoenvbench.record.events import Borrowed, EpisodeEvent, EvaluationEvent, IdeaEvent, ProvenanceEvent
from autoenvbench.record.first_use import FirstUses
from autoenvbench.record.ledger import Event


def uses(*rows):
    """After (time, idea) and (time, purpose, content, idea, steps=9) rows; an episode of so many steps ends 30 s after its batch began."""
    events = []
    for at, *what in rows:
        if len(what) == 1:
            events.append((float(at), "idea", IdeaEvent(id=what[0], title="a title")))
            continue
        purpose, content, idea, steps = (*what, 9)[:4]
        batch = {"purpose": purpose, "commit": content, "digest": content, "content": content}
        started = EvaluationEvent(phase="started", id=f"E{len(events)}", planned=1, idea=idea, **batch)
        episode = EpisodeEvent(evaluation=started.id, index=0, seed=0, success=False, score=0, stage="", steps=steps, sim_s=0, robot_s=0,
                               **batch)  # fmt: skip
        events += [(float(at), "evaluation", started), (at + 30.0, "episode", episode)]
    made = FirstUses()
    for at, kind, payload in sorted(events, key=lambda event: event[0]):
        made.add(Event(0, 0.0, at, kind, "a", "s", payload, ""))
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


def test_files_that_never_acted_have_not_run():
    failed = (10, "practice", "x", None, 0)  # such as a policy that could not be loaded
    assert uses(failed, (95, "I1"), (96, "evaluate", "x", "I1")).words("I1") == "recorded before its files ran here"
    assert uses((5, "I1"), (10, "evaluate", "x", "I1", 0)).words("I1") == ""
    seen = (10, "practice", "x", None, 1)
    assert uses(failed, seen, (95, "I1"), (96, "evaluate", "x", "I1")).late("I1") == 85


def test_a_batch_has_run_its_files_since_it_began():
    made = uses((10, "practice", "x", None), (20, "I1"), (50, "evaluate", "x", "I1"))
    assert made.late("I1") == 10  # recorded while the practice ran


# -- what is adopted ---------------------------------------------------------------------------------------------------
def team(*rows):
    """After (time, member, idea, its sources), (time, member, "borrowed", content, idea) and (time, member, purpose, content, idea) rows."""
    made = FirstUses()
    for k, (at, agent, *what) in enumerate(rows):
        if what[0] in ("evaluate", "practice"):
            purpose, content, idea = what
            batch = {"purpose": purpose, "commit": content, "digest": content, "content": content}
            payloads = {
                "evaluation": EvaluationEvent(phase="started", id=f"E{k}", planned=1, idea=idea, **batch),
                "episode": EpisodeEvent(evaluation=f"E{k}", index=0, seed=0, success=False, score=0, stage="", steps=9, sim_s=0, robot_s=0, **batch),
            }  # fmt: skip
        elif what[0] == "borrowed":
            payloads = {
                "provenance": ProvenanceEvent(
                    commit="c", content=what[1], sources=[Borrowed(agent="a", commit="b", how="tree", idea=what[2])]
                )
            }
        else:
            payloads = {"idea": IdeaEvent(id=what[0], title="a title", inspired_by=what[1])}
        for kind, payload in payloads.items():
            made.add(Event(0, 0.0, float(at), kind, agent, "s", payload, ""))
    return made


PEER = [(0, "a", "I1", []), (5, "a", "practice", "x", None), (9, "a", "evaluate", "x", "I1")]


def test_an_adoption_is_not_late_because_its_source_was_run_before():
    said = team(*PEER, (50, "b", "I2", ["I1"]), (60, "b", "evaluate", "x", "I2"))
    assert said.words("I2") == "adopted, and recorded before its adopter ran its files"
    assert said.words("I1") == "recorded before its files ran here"
    shown = team(*PEER, (40, "b", "borrowed", "x", "I1"), (50, "b", "I2", []), (60, "b", "evaluate", "x", "I2"))
    assert shown.late("I2") == -10  # nothing was said, and Git shows it
    alike = team(*PEER, (40, "b", "borrowed", "x", None), (50, "b", "I2", []), (60, "b", "evaluate", "x", "I2"))
    assert alike.late("I2") == 45  # of no idea: such as what both began with


def test_who_calls_it_an_adoption_is_late_all_the_same_where_he_ran_it_himself():
    for words in ([(30, "b", "I2", ["I1"])], [(20, "b", "borrowed", "x", "I1"), (30, "b", "I2", [])]):
        early = (10, "b", "practice", "x", None)
        said = team(*PEER, early, *words, (60, "b", "evaluate", "x", "I2"))
        assert said.words("I2") == "adopted, and recorded 20s after its adopter first ran its files"


def test_naming_a_source_excuses_no_files_that_are_not_its_own():
    run_by_another = (10, "c", "practice", "y", None)
    said = team(*PEER, run_by_another, (50, "b", "I2", ["I1"]), (60, "b", "evaluate", "y", "I2"))
    assert said.words("I2") == "recorded 40s after its files first ran here"
    own = team(*PEER, (50, "a", "I2", ["I1"]), (60, "a", "evaluate", "x", "I2"))  # nor an idea of one's own
    assert own.late("I2") == 45
