"""The idea tree has every idea and every evaluation once, and nothing in it comes from what was not there yet."""

import random
from collections import Counter

import pytest
from histories import Author, anything

from autoenvbench.evolution.tree import JUDGED, IdeaTree
from autoenvbench.record.events import AgentEvent, Borrowed, LearnedEvent, ProvenanceEvent

HISTORIES = 1000


def check(events):
    tree = IdeaTree.of(events)
    written = [e for e in events if e.kind == "idea"]
    order = {e.payload.id: k for k, e in enumerate(written)}
    assert list(tree.ideas) == list(order)  # no idea is lost, none is made up
    # no orphan: every idea hangs on a root, by ideas older than itself
    reached, front = set(), [i.id for i in tree.roots]
    while front:
        id = front.pop()
        assert id not in reached
        reached.add(id)
        front += [child.id for child in tree.children(id)]
    assert reached == set(order)
    assert all(i.parent is None or order[i.parent] < order[i.id] for i in tree.ideas.values())
    # what was declared and was there is drawn, and nothing else is
    declared = {
        (source, e.payload.id, "parent" if source == e.payload.parent else "said")
        for e in written
        for source in [e.payload.parent, *e.payload.inspired_by]
        if source in order and order[source] < order[e.payload.id]
    }
    assert {(e.source, e.target, e.how) for e in tree.edges if e.how in ("parent", "said")} == declared
    # in time: nobody has anything of an idea before it is there
    assert [e.t_run for e in tree.edges] == sorted(e.t_run for e in tree.edges)
    for edge in tree.edges:
        assert edge.source != edge.target
        assert edge.t_run >= max(tree.ideas[edge.source].t_run, tree.ideas[edge.target].t_run)
    assert max(Counter((e.source, e.target) for e in tree.edges).values(), default=1) == 1
    # every judged evaluation is at one place: that of the idea that it names, if that was there
    place = {}
    for e in events:
        p = e.payload
        if e.kind == "evaluation" and p.purpose in JUDGED and p.id not in place:
            there = {x.payload.id for x in written if x.seq < e.seq}
            place[p.id] = p.idea if p.idea in there else None
    shown = [(x.id, i.id) for i in tree.ideas.values() for x in i.evaluations] + [(x.id, None) for x in tree.no_idea]
    assert sorted(shown) == sorted(place.items())
    for idea in tree.ideas.values():
        assert all(x.began >= idea.t_run for x in idea.evaluations)
        assert idea.commits == list(dict.fromkeys(x.commit for x in idea.evaluations))
    # whoever did anything has a lane
    assert {e.agent for e in written} | {x.agent for x in tree.evaluations()} <= set(tree.lives)
    return tree


def test_a_thousand_random_histories():
    seen = Counter()
    for seed in range(HISTORIES):
        tree = check(anything(random.Random(seed)))
        seen["roots"] += len(tree.roots) > 1
        seen["not evaluated"] += any(not i.evaluations for i in tree.ideas.values())
        seen["no idea"] += bool(tree.no_idea)
        seen["open"] += any(e.ended is None for e in tree.evaluations())
        seen.update({e.how for e in tree.edges})
        dead = {name for name, lives in tree.lives.items() if lives and lives[-1][1] is not None}
        seen["of the dead"] += any(tree.ideas[e.source].agent in dead for e in tree.edges)
    kinds = {"roots", "not evaluated", "no idea", "open", "of the dead"}
    assert all(seen[kind] > 50 for kind in kinds | {"parent", "said", "merge", "patch", "tree", "declared"}), seen


@pytest.fixture
def author():
    author = Author.in_memory()
    author.begin({"a-1": "cem", "b-1": "cem"})
    return author


def test_what_a_commit_has_of_others_is_an_edge_to_the_idea_that_it_tests(author):
    first = author.idea("a-1")
    author.batch("a-1", "x", 5, 10, first)
    author.write(AgentEvent(phase="exited", name="cem", reason="memory_limit"), "a-1")
    author.t = 10.0
    mine, newest = author.idea("b-1"), author.idea("b-1")
    author.write(
        ProvenanceEvent(commit="y", sources=[Borrowed(agent="a-1", commit="x", idea=first, how="merge")]), "b-1"
    )
    author.t = 20.0
    author.batch("b-1", "y", 5, 10, mine)
    tree = check(author.sink.events)
    assert [(e.source, e.target, e.t_run, e.how) for e in tree.edges] == [(first, mine, 10.0, "merge")]
    assert newest not in {edge.source for edge in tree.edges}


def test_a_commit_that_nobody_evaluated_is_its_authors_newest_ideas_of_then(author):
    first, mine = author.idea("a-1"), author.idea("b-1")
    author.write(
        ProvenanceEvent(commit="y", sources=[Borrowed(agent="a-1", commit="x", idea=first, how="patch")]), "b-1"
    )
    author.idea("b-1")
    assert [(e.source, e.target) for e in check(author.sink.events).edges] == [(first, mine)]


def test_only_an_ideas_author_says_what_it_taught_and_the_newest_words_count(author):
    idea = author.idea("a-1")
    for agent, words in (("a-1", "first"), ("b-1", "forged"), ("a-1", "second"), ("b-1", "forged again")):
        author.write(LearnedEvent(idea=idea, text=words), agent)
    assert IdeaTree.of(author.sink.events).ideas[idea].learned == "second"


def test_rates_are_pooled_over_all_of_an_ideas_batches_and_cut_ones_count_as_far_as_they_ran(author):
    idea = author.idea("a-1")
    author.batch("a-1", "x", 8, 10, idea)
    author.batch("a-1", "x", 10, 10, idea, cut=5)
    author.batch("a-1", "x", 30, 50, idea, "confirm")
    author.batch("a-1", "z", 50, 50, idea, "confirm", cut=20, closed=False)  # killed: its end is not on record
    author.batch("a-1", "x", 3, 3, idea, "practice")
    node = check(author.sink.events).ideas[idea]
    assert (node.evaluated, node.confirmed, node.practised) == ((13, 15), (50, 70), 3)
    assert node.commits == ["x", "z"]


def test_a_life_that_a_kill_ended_ends_when_the_next_one_begins(author):
    for t, phase in ((1.0, "started"), (5.0, "started"), (8.0, "exited"), (9.0, "started")):
        author.t = t
        author.write(AgentEvent(phase=phase, name="cem"), "a-1")
    assert IdeaTree.of(author.sink.events).lives["a-1"] == [(1.0, 5.0), (5.0, 8.0), (9.0, None)]
