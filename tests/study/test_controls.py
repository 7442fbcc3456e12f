"""A team beside its controls: what is run for it, and what is said of the difference."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from board import write_run

from autoenvbench.cli.main import main
from autoenvbench.record.metrics import Point
from autoenvbench.record.results import Result
from autoenvbench.study import local
from autoenvbench.study.controls import compare
from autoenvbench.study.estimate import estimate
from autoenvbench.study.execute import Measured
from autoenvbench.study.local import LocalRunner
from autoenvbench.study.outcomes import RunOutcome
from autoenvbench.study.page import write_page
from autoenvbench.study.plan import make_plan
from autoenvbench.study.study import note_crowding, write_pages


@pytest.fixture
def plan(tmp_path):
    def make(**changes):
        study = {"name": "team", "seeds": [0, 1], "base": {"env": "ENPIRE/PushT-v0", "agent": "cem", "budget": "60s"},
                 "grid": {"team": [1, 2]}, "controls": ["no-sharing", "one-agent", "longer"]} | changes  # fmt: skip
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(study))
        return make_plan(path, tmp_path / "out", sandbox="none", episodes=None)

    return make


def test_controls_have_the_teams_robots_budgets_and_starts(plan):
    base = {"env": "ENPIRE/PushT-v0", "agent": "cem", "budget": "60s", "robot_budget": "90s", "token_budget": 1000}
    levels = {level.name: level.runs[0].config for level in plan(base=base).levels}
    team = levels["team 2"]
    assert (team.team, team.cells, team.sharing) == (2, 2, True)
    changed = {
        name.removeprefix("team 2").strip(" ()"): {
            field: value for field, value in config.model_dump().items() if value != team.model_dump()[field]
        }
        for name, config in levels.items()
    }
    assert changed == {
        "": {},
        "team 1": {"team": 1, "cells": 1},
        "no-sharing": {"sharing": False},
        "one-agent": {"team": 1},
        "longer": {"team": 1, "cells": 1, "budget_s": 120.0},
    }


def test_equal_runs_are_run_once_and_cost_once(plan):
    made = plan(grid={"team": [1, 2], "stations": [2]})
    assert [len(level.runs) for level in made.levels] == [2] * 5
    # One alone with the team's two robots is a level of the grid, too.
    assert len(made.runs) == 8
    assert [run.config.seed for run in made.runs] == [0] * 4 + [1] * 4
    expected = estimate(made, jobs=3)
    assert (expected.runs, expected.finished, expected.tokens, expected.robot_s) == (8, 0, 0, None)
    assert expected.wall_s == 240  # 3 x 60 and 2 x 60 + 120 in turn: the lane with a long one last ends last
    paced = plan(base={"env": "ENPIRE/PushT-v0", "agent": "cem", "budget": "60s", "pace": 1, "robot_budget": "100s"})
    assert estimate(paced, jobs=1).robot_s == 2 * (
        60 + 3 * 100 + 100
    )  # the budget binds where two robots could work longer
    asked = [run.model_copy(update={"agents": ["codex"]}) for run in made.levels[0].runs]
    of_model = replace(made, levels=[replace(made.levels[0], runs=asked)])
    assert estimate(of_model, jobs=1).tokens is None
    bounded = [run.model_copy(update={"config": run.config.model_copy(update={"token_budget": 500})}) for run in asked]
    assert estimate(replace(made, levels=[replace(made.levels[0], runs=bounded)]), jobs=1).tokens == 1000


def test_runs_that_crowd_one_another_are_named_before_anything_is_asked_and_on_the_page(
    plan, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(local, "compute_class", lambda: "4c-cpu")
    made = plan(grid={"team": [1, 2], "stations": [2]})
    assert LocalRunner(1).crowding(made.runs) is None  # two members and two cells
    assert LocalRunner(2).crowding([]) is None
    why = "2 runs at a time, with 4 members and 4 cells in all, want 8 cores, and there are 4"
    assert (
        main(
            ["study", str(tmp_path / "study.yaml"), "--jobs", "2", "--sandbox", "none", "--out", str(tmp_path / "out")]
        )
        == 2
    )
    said = capsys.readouterr().err
    assert said.index(f"crowded: {why}") < said.index("nobody is there to be asked")
    made.folder.mkdir(parents=True)
    for found in (why, None, why):  # the study is started again
        note_crowding(made, found)
    assert write_pages(made, {})[0].read_text().count(why) == 1


# -- what is said ------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """A finished run's outcome whose numbers are replaced: (held-out rate, steps of its curve, all that it spent)."""
    result = Result.model_validate_json(
        (write_run(tmp_path_factory.mktemp("runs") / "run") / "result.json").read_text()
    )

    def make(rate, steps, time_s=100.0, robot_s=100.0, tokens=0, stopped_by="deadline"):
        held = result.held_out.model_copy(update={"success_rate": rate})
        totals = replace(result.tokens, headline=tokens)
        made = result.model_copy(
            update={
                "held_out": held,
                "research_s": time_s,
                "budget_s": 100.0,
                "robot_s": robot_s,
                "tokens": totals,
                "stopped_by": stopped_by,
            }
        )
        curve = [
            Point(t, value, 0, 1, 50, "c", "d", round(tokens * t / time_s), 50, robot_s * t / time_s)
            for t, value in steps
        ]
        return RunOutcome("", Path(), made, curve, [])

    return make


def test_what_a_team_is_worth_is_said_plainly(outcome):
    good = [outcome(0.9 + k / 100, [(10 + k, 0.5), (20 + k, 0.9)]) for k in range(6)]
    poor = [outcome(0.5 + k / 50, [(60 + 5 * k, 0.5)]) for k in range(6)]
    helps = compare("team", "no-sharing", good, poor, [0.5, 0.9])
    assert helps.verdict.startswith(
        "Sharing ideas, against as many members who work alone, helps: held-out success: +37.5 points ["
    )
    assert "research time to 50%: -1m 00s [" in helps.verdict
    assert "costs" not in helps.verdict
    costs = compare("team", "one-agent", poor, good, [0.5])
    assert "costs: held-out success: -37.5 points" in costs.verdict
    assert "helps" not in costs.verdict
    same = compare("team", "longer", good, good[::-1], [0.5])
    assert "does not help in these runs" in same.verdict
    few = compare("team", "longer", good[:4], poor, [0.5])
    assert "cannot be judged: 4 and 6 runs" in few.verdict
    assert few.rates[0].low is None
    assert compare("team", "longer", good, [], [0.5]) is None


def test_equal_robot_time_and_tokens_cut_whoever_spent_more(outcome):
    """The control is as good in the end, with four times the robot time and a tenth of the tokens."""
    team = [outcome(0.8, [(50, 0.8)], robot_s=100.0, tokens=1000) for _ in range(5)]
    alone = [outcome(0.8, [(20, 0.3), (90, 0.8)], robot_s=400.0, tokens=100) for _ in range(5)]
    found = {d.what: d for d in compare("team", "longer", team, alone, [0.8]).rates}
    robots = found["confirmed best at equal robot time"]
    assert (robots.amount, robots.team, robots.control, robots.low) == (
        100,
        0.8,
        pytest.approx(0.3),
        pytest.approx(0.5),
    )
    tokens = found["confirmed best at equal tokens"]
    assert (tokens.amount, tokens.team, tokens.control, tokens.high) == (100, 0.0, 0.8, pytest.approx(-0.8))
    assert found["held-out success"].difference == 0


def test_a_run_is_watched_as_far_as_it_could_have_got_there(outcome):
    assert outcome(0, [], time_s=30, robot_s=50, stopped_by="robot_budget").watched("time_s") == 100
    assert outcome(0, [], time_s=30, robot_s=50, stopped_by="robot_budget").watched("robot_s") == 50
    assert outcome(0, [], time_s=30, stopped_by="gave_up").watched("robot_s") == float("inf")
    assert outcome(0, [], time_s=30, stopped_by="goal").watched("time_s") == 30
    given_up = [outcome(0, [], time_s=30, robot_s=10, stopped_by="gave_up") for _ in range(5)]
    got_there = [outcome(1, [(50, 1.0)]) for _ in range(5)]
    times = {t.clock: t for t in compare("team", "longer", given_up, got_there, [0.5]).times}
    assert times["robot_s"].sooner.horizon == 100  # who gave up does not shorten the watch
    assert times["robot_s"].sooner.difference == 50


def test_a_page_has_the_milestones_of_each_task(plan, outcome):
    """Two efforts on two tasks: levels of one task share a figure, and a task whose runs got nowhere has none."""
    seen = plan(
        grid={"effort": ["low", "high"], "env": ["ENPIRE/PushT-v0", "ENPIRE/PinInsertion-v0"]},
        controls=[],
    )
    seen.folder.mkdir(parents=True)
    finished, axes = {}, {}
    for level in seen.levels:
        got = {} if "Pin" in level.condition.env else {"reach": (10.0, 0.25), "success": (50.0, 1.0)}
        finished[level.axis, level.name] = [replace(outcome(0.5, [(50, 0.5)]), first_at=got) for _ in range(3)]
        axes.setdefault(level.axis, []).append(Measured(level.name, 2, 1, [True, False], [None, None], {}, "sim"))
    paths = write_page(seen, axes, finished, [], {})
    page = paths[0].read_text()
    assert page.count("when one counted episode") == 1
    assert "ENPIRE/PushT-v0: when one counted episode" in page
    assert page.count("research wall-clock until first reached") == 1
