"""Studies: one thing varied at a time, on the same starts, compared pair by pair; interrupted ones go on."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from autoenvbench.cli.main import main
from autoenvbench.errors import UserError
from autoenvbench.record import metrics
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.statistics import mcnemar, paired_difference
from autoenvbench.study.execute import Measured
from autoenvbench.study.local import LocalRunner, StudyObserver
from autoenvbench.study.plan import make_plan
from autoenvbench.study.spec import check, grid_levels, load_study, merge
from autoenvbench.study.study import run_study
from autoenvbench.study.tables import matched

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPT = """
import numpy as np

def run(tools):
    if "detect_object" in tools:
        where = tools.detect_object("red T")[0]["position"]
    elif "vlm_query" in tools:
        tools.vlm_query("where is the T?")
        return
    else:
        return
    tools.nudge(0.01 * np.sign(where - tools.get_robot_state()["position"]))
"""
STUDY = {
    "name": "eyes",
    "episodes": 3,
    "base": {"env": "ENPIRE/PushT-v0", "policy": "script"},
    "axes": {
        "vision": {
            "images": {},
            "VLM as a tool": {"tools": {"vision": "vlm", "vlm": "scripted"}, "tools_replay": "vlm.json"},
            "none": {"tools": {"vision": "none"}},
        },
        "method": {"script": {}, "reference": {"policy": "reference"}, "zero-shot": {"policy": "zero-shot"}},
    },
}


@pytest.fixture
def study(tmp_path):
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "policy.py").write_text(SCRIPT)
    (tmp_path / "vlm.json").write_text(json.dumps({"steps": [{"text": "left", "usage": {"input": 100, "output": 2}}]}))

    def write(**changes):
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({**STUDY, **changes}, sort_keys=False))
        return path

    return write


def measure(path, out, episodes=None, jobs=1):
    """Run a study on this machine, uncaged."""
    return run_study(make_plan(path, out, sandbox="none", episodes=episodes), LocalRunner(jobs), StudyObserver())


@pytest.mark.cage
def test_a_study_ends_in_a_table_and_a_figure_per_axis_and_goes_on_where_it_was(study, tmp_path, capsys):
    path = study()
    assert main(["study", str(path), "--yes", "--out", str(tmp_path / "out")]) == 0
    page, runs, comparisons, table, *figures = [Path(line) for line in capsys.readouterr().out.split()]
    assert [path.name for path in (page, runs, comparisons, table)] == [
        "index.html",
        "runs.csv",
        "comparisons.csv",
        "README.md",
    ]
    assert "on 3 scenes" in page.read_text()
    text = table.read_text()
    assert "| images |" in text
    assert "on 3 scenes" in text
    assert [figure.name for figure in figures] == ["vision.png", "method.png"]
    assert all(figure.stat().st_size > 5000 for figure in figures)
    results = json.loads((table.parent / "results.json").read_text())
    assert [row["level"] for row in results["method"]] == ["script", "reference", "zero-shot"]
    assert results["method"][1]["outcomes"] == [True, True, True]
    assert results["vision"][1]["policy_tokens"] == 3 * 102
    assert results["vision"][0]["policy_tokens"] == 0

    before = {file.name: file.stat().st_mtime_ns for file in table.parent.glob("level-*.json")}
    assert len(before) == 5  # the script with images is on both axes, and was measured once
    one = sorted(table.parent.glob("level-*.json"))[0]
    one.unlink()  # as if it had been killed there
    assert main(["study", str(path), "--yes", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err
    assert said.count("measured already") >= 4
    after = {file.name: file.stat().st_mtime_ns for file in table.parent.glob("level-*.json")}
    assert before.keys() == after.keys()
    assert sum(before[name] != after[name] for name in before) == 1
    assert json.loads((table.parent / "results.json").read_text()) == results

    # Another answer of the scripted model is another level, and so is another file beside the policy.
    for changed, again in ((tmp_path / "vlm.json", 1), (tmp_path / "script" / "weights.json", 3)):
        known = set(table.parent.glob("level-*.json"))
        changed.write_text(json.dumps({"steps": [{"text": "right", "usage": {"input": 100, "output": 2}}]}))
        assert main(["study", str(path), "--yes", "--out", str(tmp_path / "out")]) == 0
        assert len(set(table.parent.glob("level-*.json")) - known) == again


@pytest.mark.parametrize("example", ["study_vision.yaml", "study_agents.yaml", "study_team.yaml"])
def test_the_examples_are_studies(example):
    made = load_study(EXAMPLES / example)
    for levels in (*made.axes.values(), grid_levels(made)):
        for change in levels.values():
            check(made, merge(made.base, change, EXAMPLES))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"axes": {}}, "axes"),
        ({"episods": 3}, "episods"),
        ({"axes": {"a": {"x": {"tools": {"visoin": "none"}}}}}, "unknown visoin"),
        ({"axes": {"a": {"x": {"tools": {"vision": "vlm"}}}}}, "need a model"),
        ({"axes": {"a": {"x": {"policy": "nowhere"}}}}, "there is no policy.py"),
        ({"axes": {"a": {"x": {"agent": "cem"}}}}, "one of the two"),
        ({"base": {"env": "ENPIRE/PushT-v0", "agent": "cem"}, "axes": {"a": {"x": {}}}}, "needs a budget"),
        (
            {"base": {"env": "ENPIRE/PushT-v0", "agent": "cem*2", "budget": "1m"}, "axes": {"a": {"x": {"team": 3}}}},
            "names 2 members",
        ),
        ({"axes": {"a": {"x": {"env": "ENPIRE/PushTea-v0"}}}}, "a: x: unknown environment"),
        (
            {
                "base": {"env": "ENPIRE/PushT-v0", "agent": "cem", "budget": "1m"},
                "axes": {"a": {"x": {"regime": "bv"}}},
            },
            "unknown regime",
        ),
        (
            {"base": {"env": "ENPIRE/PushT-v0", "agent": "codex", "budget": "1m"}, "axes": {"a": {"x": {}}}},
            "a: x: cannot start codex",
        ),
        ({"axes": {"a b": {"x": {}}, "a_b": {"x": {}}}}, "both mean a_b.png"),
        ({"contrls": []}, "unknown key 'contrls'; known are .*grid, controls"),
        ({"axes": {"a": {"x": {"taem": 2}}}}, "unknown key 'axes.a.x.taem'; known are .*team, stations"),
        ({"grid": {"taem": [2]}}, "unknown key 'taem'; known are .*team, stations"),
        ({"grid": {"team": [2, 0]}}, "grid: team"),
        ({"grid": {"team": [2, 2]}}, "values that differ"),
        ({"controls": ["no-shering"]}, "no-sharing"),
        ({"controls": ["no-sharing"]}, "no level has one; say team"),
        ({"seeds": [1, 1]}, "1 is there twice"),
        ({"reach": [80]}, "above 0 and at most 1"),
        (
            {
                "base": {"env": "ENPIRE/PushT-v0", "agent": "cem,recipe:bc", "budget": "1m"},
                "axes": {"a": {"x": {}}},
                "controls": ["longer"],
            },
            "several kinds",
        ),
    ],
)
def test_a_wrong_study_is_refused_before_anything_runs(study, tmp_path, changes, complaint):
    with pytest.raises(UserError, match=complaint):
        measure(study(**changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_research_is_a_level_too(study, tmp_path):
    """Two budgets of the built-in researcher: each answer is scored on the same held-out starts."""
    base = {"env": "ENPIRE/PushT-v0", "agent": "cem"}
    levels = {"6 s": {"budget": "6s"}, "7 s": {"budget": "7s", "regime": "heuristic"}}
    path = study(base=base, seeds=[0], axes={"budget": levels})
    _, _, _, table, _ = measure(path, tmp_path / "out", episodes=4)
    rows = json.loads((table.parent / "results.json").read_text())["budget"]
    assert [row["episodes"] for row in rows] == [4, 4]
    starts = []
    for run in (table.parent / "runs").glob("*/*/"):
        ledger = Ledger(run / "ledger.sqlite")
        starts.append([e.seed for e in metrics.heldout_episodes(ledger.events("episode"))])
        ledger.close()
    assert starts[0] == starts[1]
    assert len(set(starts[0])) == 4


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_paired_statistics(pairs):
    one, two = [a for a, _ in pairs], [b for _, b in pairs]
    p = mcnemar(one, two)
    assert 0 < p <= 1
    assert p == mcnemar(two, one)
    # Scenes on which both agree say nothing.
    assert p == mcnemar([*one, True, False], [*two, True, False])
    difference, low, high = paired_difference(one, two)
    assert low <= difference + 1e-12
    assert difference <= high + 1e-12
    assert np.isclose(difference, np.mean(two) - np.mean(one)) if pairs else (low, high) == (-1, 1)


def test_mcnemar_against_the_binomial_by_hand():
    assert mcnemar([True] * 6, [False] * 6) == pytest.approx(2 / 64)
    assert mcnemar([True] * 5 + [False], [False] * 5 + [True]) == pytest.approx(2 * 7 / 64)
    assert mcnemar([True, False], [True, False]) == 1.0


def test_different_scenes_are_never_paired():
    def row(level, scenes):
        return Measured(level, 3, 1, [True, False, False], scenes, {}, "stand-in")

    assert matched(row("a", ["x", "y", "z"]), row("b", ["x", "q", "z"])) == ([True, False], [True, False])
    assert len(matched(row("a", [None] * 3), row("b", [None] * 3))[0]) == 3


def test_where_the_machine_failed_there_is_no_pair():
    one = Measured("a", 2, 2, [True, None, True], [None] * 3, {}, "sim")
    two = Measured("b", 3, 1, [False, False, True], [None] * 3, {}, "sim")
    assert matched(one, two) == ([True, True], [False, True])
