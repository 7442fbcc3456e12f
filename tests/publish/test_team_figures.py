"""Figures of teams show what the ledgers hold: lines, dots and bars are the numbers, whatever names and texts are in them."""

import math

import numpy as np
import pytest
from histories import Author, tell

from autoenvbench.errors import UserError
from autoenvbench.evolution.team import TeamClimb
from autoenvbench.evolution.tree import IdeaTree
from autoenvbench.publish import idea_figure, team_figures, write_figures
from autoenvbench.publish.idea_layout import rows_of
from autoenvbench.publish.team_runs import TeamRun
from autoenvbench.record.events import AgentEvent, RunEvent


def told(**how):
    author = Author.in_memory()
    tell(author, **how)
    return author.sink.events


@pytest.fixture(scope="module")
def runs():
    """Teams of 1, 2 and 4, two runs each."""
    return [TeamRun.of(told(members=m, ideas=6 * m, seed=s)) for m in (4, 1, 2) for s in (0, 1)]


def test_the_tree_has_a_node_for_every_idea_and_a_ring_where_it_raised_the_team():
    events = told(members=3, ideas=15)
    tree, climb = IdeaTree.of(events), TeamClimb.of(events)
    top, bottom = idea_figure.idea_tree(tree, climb, 7200.0).axes
    dots = [line for line in top.lines if line.get_marker() == "o"]
    rings = [d for d in dots if d.get_markerfacecolor() == "none"]
    at = {(round(d.get_xdata()[0] * 60, 3), round(d.get_ydata()[0])) for d in dots}
    lanes = list(tree.lives)
    assert at == {(round(i.t_run, 3), lanes.index(i.agent)) for i in tree.ideas.values()}
    assert len(dots) - len(rings) == len(tree.ideas)
    assert len(rings) == sum(climb.verdict(i) == "raised" for i in tree.ideas) > 0
    assert len(top.patches) == len(tree.edges) > 0
    assert [line for line in top.lines if line.get_marker() == "x"]  # one member ended early
    thick = max(bottom.lines, key=lambda line: line.get_linewidth())
    assert list(thick.get_ydata()) == [0.0, *(p.value for p in climb.team.average), climb.value]


def test_ideas_of_one_moment_lie_beside_one_another():
    author = Author.in_memory()
    author.begin({"a-1": "cem"})
    ids = [author.idea("a-1") for _ in range(4)]
    author.t = 100.0
    ids.append(author.idea("a-1"))
    assert rows_of(IdeaTree.of(author.sink.events), 10.0) == dict(zip(ids, (0, 1, -1, 2, 0), strict=True))


def test_jumps_are_named_the_largest_first_and_none_on_another():
    climb = TeamClimb.of(told(members=8, ideas=80))
    named = idea_figure.labelled(climb.jumps, 7200.0)
    assert max(climb.jumps, key=lambda j: abs(j.gain)) in named
    assert 3 < len(named) <= 14
    for k, jump in enumerate(named):
        assert all(abs(jump.t_run - o.t_run) > 720 or abs(jump.after - o.after) > 0.075 for o in named[:k])


def test_scaling_is_the_median_and_the_quartiles_of_the_runs_of_each_size(runs):
    (ax,) = team_figures.scaling(runs).axes
    assert [line.get_label().split(",")[0] for line in ax.lines] == ["1 codex", "2 codex", "4 codex"]
    ones = [r for r in runs if r.team_size == 1]
    t = np.asarray(ax.lines[0].get_xdata()) * 60
    expected = [[next((p.value for p in reversed(r.confirmed) if p.t_run <= x), 0.0) for x in t] for r in ones]
    assert list(ax.lines[0].get_ydata()) == pytest.approx(list(np.median(expected, axis=0)))
    assert len(ax.collections) == 3


def test_tokens_a_minute_are_held_against_as_many_times_those_of_one(runs):
    mtu = team_figures.utilisation_by_team(runs, 0.5).axes[3]
    dashed = next(line for line in mtu.lines if line.get_linestyle() == "--")
    one = float(np.median([r.mtu for r in runs if r.team_size == 1]))
    assert list(dashed.get_ydata()) == pytest.approx([one, 2 * one, 4 * one])


def test_what_was_not_reached_is_said_and_makes_no_bar(runs):
    tokens = team_figures.utilisation_by_team(runs, 1.0).axes[4]
    reached = [[r.spent_to(1.0, "tokens") for r in runs if r.team_size == n] for n in (1, 2, 4)]
    said = [text.get_text() for text in tokens.texts]
    assert said == [f"{sum(map(math.isinf, group))} of 2\nnot" for group in reached if math.inf in group] != []
    assert len(tokens.patches) == sum(math.isfinite(team_figures.quartiles(g)[1]) for g in reached)


def test_milestones_are_when_an_episode_first_got_so_far():
    author = Author.in_memory()
    author.begin({"a-1": "cem"})
    author.t = 100.0
    author.batch("a-1", "x", 0, 2, seconds=20.0)  # reach, then align
    author.batch("a-1", "x", 10, 10, purpose="heldout", seconds=10.0)
    for purpose in ("practice", "learn"):  # whose starts may have been chosen
        author.batch("a-1", "x", 1, 1, purpose=purpose, seconds=10.0)
    author.t = 600.0
    author.write(RunEvent(phase="agents_stopped"))
    run = TeamRun.of(author.sink.events)
    assert run.first_at == {"reach": (110.0, 0.25), "align": (120.0, 0.5)}
    assert team_figures.stage_order([run.first_at]) == ["reach", "align"]
    assert (run.reached(["reach", "align"]), run.reached(["align"]), run.reached(["insert"])) == (
        110.0,
        120.0,
        math.inf,
    )
    (ax,) = team_figures.milestones([run]).axes
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([110 / 60, 2.0])


def test_quartiles_are_values_that_are_there():
    assert team_figures.quartiles([3, 1, math.inf, 2]) == (1, 2, 3)
    assert team_figures.quartiles([math.inf, 1, math.inf]) == (1, math.inf, math.inf)
    assert team_figures.quartiles([5]) == (5, 5, 5)


@pytest.fixture
def two_runs(tmp_path):
    for name, how in (("one", {"members": 1, "ideas": 3}), ("two", {"members": 2, "ideas": 4})):
        (tmp_path / name).mkdir()
        with Author.of_ledger(tmp_path / name / "ledger.sqlite") as author:
            tell(author, **how)
    return [tmp_path / "one", tmp_path / "two"]


def test_files_of_every_run_and_of_all_together_and_the_same_whenever_they_are_made(two_runs, tmp_path, monkeypatch):
    of_run = write_figures.of_run
    monkeypatch.setattr(write_figures, "of_run", lambda events: list(of_run(events))[:1])  # of a run, the tree will do
    files = write_figures.write_figures(two_runs, tmp_path / "out")
    names = {str(f.relative_to(tmp_path / "out")) for f in files}
    over_all = {
        f"{what}.{ext}" for what in ("scaling", "utilisation", "milestones", "activity") for ext in ("svg", "pdf")
    }
    assert names == over_all | {f"{run}/idea_tree.{ext}" for run in ("one", "two") for ext in ("svg", "pdf")}
    again = write_figures.write_figures(two_runs[:1], tmp_path / "again")
    for file in again:
        assert file.read_bytes() == (tmp_path / "out" / file.relative_to(tmp_path / "again")).read_bytes()


def test_a_run_has_its_tree_its_climb_its_use_and_its_time():
    events = told(members=2, ideas=4)
    assert [what for what, _ in write_figures.of_run(events)] == ["idea_tree", "hill_climb", "utilisation", "activity"]


def test_what_cannot_be_drawn_together_is_refused_in_words(two_runs, tmp_path):
    elsewhere = Author.in_memory()
    elsewhere.begin({"a-1": "cem"}, env="ENPIRE/PushT-v0")
    with pytest.raises(UserError, match="of 2 environments"):
        write_figures.compared([TeamRun.of(told(members=1, ideas=1)), TeamRun.of(elsewhere.sink.events)])
    with pytest.raises(UserError, match="same name"):
        write_figures.write_figures([two_runs[0], two_runs[0]], tmp_path / "out")
    with pytest.raises(UserError, match="no ledger"):
        write_figures.write_figures([tmp_path], tmp_path / "out")
    with pytest.raises(UserError, match="--to"):
        write_figures.write_figures(two_runs, tmp_path / "out", 80)


def test_names_that_would_be_formulas_or_escapes_are_drawn_as_they_are(tmp_path):
    """A dollar sign begins a formula in matplotlib, and one that is none ends the program."""
    bad = "$\\frac{</text>$<script>\x1b]0;"
    author = Author.in_memory()
    author.begin({bad: bad, "b-1": "cem"})
    author.write(AgentEvent(phase="started", name=bad), bad)
    author.ideas = 1
    author.batch(bad, "x", 45, 50, author.idea(bad), "confirm")
    author.t = 60.0
    author.write(RunEvent(phase="agents_stopped"))
    events = author.sink.events
    run = TeamRun.of(events)
    for figure in (
        *(draw() for what, draw in write_figures.of_run(events) if what in ("idea_tree", "activity")),
        team_figures.scaling([run]), team_figures.milestones([run]), team_figures.utilisation_by_team([run], 0.8),
    ):  # fmt: skip
        figure.savefig(tmp_path / "figure.svg")
        assert "<script" not in (tmp_path / "figure.svg").read_text()
