"""`benchmarks/rows.py`: every command that it would type is one that can be typed, and nothing is run twice."""

import subprocess
import sys
from pathlib import Path

import pytest

from autoenvbench.agents.registry import make_agent
from autoenvbench.cli.parser import make_parser
from autoenvbench.cli.run_arguments import run_config_from_args
from autoenvbench.record.regimes import board_of

PROGRAM = Path(__file__).parents[1] / "benchmarks/rows.py"


def lines(*args):
    done = subprocess.run([sys.executable, str(PROGRAM), *map(str, args)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return [line.split()[3:] for line in done.stdout.splitlines()]  # without python -m autoenvbench


def test_each_row_is_a_run_that_its_agent_and_a_board_accept(tmp_path):
    configs = [
        run_config_from_args(make_parser().parse_args(line))
        for line in lines("--out", tmp_path, "--dry-run", "--runs", 1)
    ]
    assert len(configs) == 25
    assert len({(config.agent, config.env) for config in configs}) == 25
    for config in configs:
        make_agent(config.agent).check(config)
        assert config.env.endswith("-State-v0")
        assert (config.budget_s, config.robot_budget_s, config.held_out) == (3600, 7200, 200)
    assert {board_of(config.regime) for config in configs} == {"gradient", "heuristic"}


@pytest.mark.parametrize(("finished", "expected"), [(False, ["resume", "eval"]), (True, ["eval"])])
def test_a_finished_run_is_not_repeated_and_a_cut_one_is_gone_on_with(tmp_path, finished, expected):
    run = tmp_path / "recipe-bc-PushT-State-v0/s0/20261130-000000-recipe-bc-PushT-State-v0-s0"
    run.mkdir(parents=True)
    (run / "ledger.sqlite").touch()
    if finished:
        (run / "result.json").write_text("{}")
    found = lines("--out", tmp_path, "--dry-run", "--runs", 2, "--only", "recipe-bc-PushT-*")
    assert [line[0] for line in found] == expected


def test_a_finished_run_is_packed_filed_and_verified_once(tmp_path):
    name = "20261130-000000-cem-PushT-State-v0-s0"
    run, board = tmp_path / "cem-PushT-State-v0-station/s0" / name, tmp_path / "board"
    run.mkdir(parents=True)
    for file in ("ledger.sqlite", "result.json"):
        (run / file).touch()
    asked = (
        "--out",
        tmp_path,
        "--board",
        board,
        "--dry-run",
        "--runs",
        1,
        "--track",
        "station",
        "--only",
        "cem-PushT-*",
    )
    for line in (left := lines(*asked)):
        make_parser().parse_args(line)
    assert [line[:2] for line in left] == [["leaderboard", verb] for verb in ("pack", "add", "verify")]
    for folder, ending in (("archives", "tar"), ("submissions", "json"), ("verifications", "json")):
        (board / folder).mkdir(parents=True)
        (board / folder / f"{name}.{ending}").touch()
    assert lines(*asked) == []
    on_station = lines("--out", tmp_path / "new", "--dry-run", "--runs", 1, "--track", "station")
    assert len(on_station) == 20  # all but the one that practises in a simulator
    for line in on_station:
        config = run_config_from_args(make_parser().parse_args(line))
        make_agent(config.agent).check(config)
        assert config.track == "station"
