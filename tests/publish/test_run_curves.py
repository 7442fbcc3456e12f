"""Agents over hours: medians over runs, runs that did not get there, and what is refused."""

import csv

import numpy as np
import pytest
from board import write_run

from autoenvbench.cli.main import main
from autoenvbench.errors import UserError
from autoenvbench.publish.run_curves import RunCurve, quartiles, read_curves
from autoenvbench.publish.write_curves import over_hours, write_curves


def curve(name, *steps, budget=100.0, watched=None):
    success = [(t, v) for t, v in steps]
    return RunCurve(name, "an agent $x$", "E", budget, watched or budget, success, [(t, v / 2) for t, v in success])


def test_median_and_quartiles_are_over_runs_up_to_the_shortest_budget():
    curves = [curve("a", (10, 0.2), (50, 1.0)), curve("b", (30, 0.6)), curve("c", budget=200.0)]
    at, (low, middle, high) = quartiles(curves, "success", points=11)  # every 10 s
    assert at[-1] == 100.0
    np.testing.assert_allclose(middle[[0, 1, 3, 5, 10]], [0, 0, 0.2, 0.6, 0.6])
    np.testing.assert_allclose((low[10], high[10]), (0.3, 0.8))
    np.testing.assert_allclose(quartiles(curves, "score", points=11)[1], np.array([low, middle, high]) / 2)


def test_runs_that_did_not_get_there_are_marked_where_they_were_last_seen():
    by_agent = {"one": [curve("a", (10, 0.9)), curve("b", (10, 0.5))], "two": [curve("c", (20, 0.7), watched=40.0)]}
    for ax, scale in zip(over_hours(by_agent, 0.8).axes, (0.5, 1.0), strict=True):
        ticks = [tuple(line.get_xydata()[0]) for line in ax.lines if line.get_marker() == "|"]
        assert ticks == [(100.0, 0.5 * scale), (40.0, pytest.approx(0.7 * scale))]
        assert max(line.get_xdata()[-1] for line in ax.lines) == 100.0


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [
        write_run(folder / f"run-{k}", number=k, held_out=2, wins=1, confirm_episodes=n) for k, n in enumerate((20, 40))
    ]


def test_curves_come_from_ledgers(runs, tmp_path):
    ((agent, curves),) = read_curves(runs).items()
    assert agent.startswith("cem")
    # 15 of 20 fresh episodes; of the second, 20 of the 40 that a confirmation takes are missing
    assert [c.success[-1][1] for c in curves] == [c.score[-1][1] for c in curves] == [0.75, 0.375]
    files = write_curves(runs, tmp_path / "out", rate=0.7)
    assert sorted(file.name for file in files) == ["curves.csv", "curves.pdf", "curves.svg", "times.pdf", "times.svg"]
    assert all(file.stat().st_size for file in files)
    rows = list(csv.DictReader((tmp_path / "out/curves.csv").open()))
    assert [(row["run"], row["event"], row["success"]) for row in rows] == [
        ("run-0", "best", "0.7500"), ("run-0", "budget", "0.7500"), ("run-1", "best", "0.3750"), ("run-1", "budget", "0.3750"),
    ]  # fmt: skip


def test_what_cannot_be_drawn_is_refused(runs, tmp_path, capsys):
    elsewhere = write_run(tmp_path / "run-9", number=9, held_out=1, wins=0, env="ENPIRE/PushT-v0")
    with pytest.raises(UserError, match="of 2 environments"):
        read_curves([*runs, elsewhere])
    with pytest.raises(UserError, match="give each run once"):
        read_curves([runs[0], runs[0]])
    assert main(["publish", "curves", str(runs[0]), "--to", "1.5", "--out", str(tmp_path / "x")]) == 2
    assert main(["publish", "curves", str(tmp_path / "none")]) == 2
    assert not (tmp_path / "x").exists()


def test_two_runs_of_one_name_are_two(runs, tmp_path):
    """Those of a study that begin in the same second are called the same."""
    twin = write_run(tmp_path / "run-0", number=5, held_out=2, wins=1)
    (curves,) = read_curves([runs[0], twin]).values()
    assert [curve.run_id for curve in curves] == ["run-0", "run-0 (2)"]
