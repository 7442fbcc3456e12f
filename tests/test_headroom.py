"""A slice of `benchmarks/headroom.py` through its command line, and the arithmetic of its bars and curves."""

import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from board import RANKED, write_run
from enpire_envs.fingerprint import fingerprint
from enpire_envs.registry import level_of

from autoenvbench.errors import UserError
from autoenvbench.make_env import make_env

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALL = ("--levels", RANKED, "-n", "2", "--cost-steps", "0")


@pytest.fixture(autouse=True)
def programs(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def line(out, *more):
    return [sys.executable, str(BENCHMARKS / "headroom.py"), "--out", str(out), *SMALL, *map(str, more)]


def headroom(out, *more):
    done = subprocess.run(line(out, *more), capture_output=True, text=True, timeout=200)
    return done.returncode, done.stdout, done.stderr


def here(env_id):
    env = make_env(env_id)
    mark = fingerprint(env)
    env.close()
    return mark


def test_it_measures_what_is_missing_and_nothing_twice(tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen(
        line(out, "--policies", "random", "reference"), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 100
    while not (first := list(out.rglob("*.json"))):  # killed as soon as one measurement is whole
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    before = first[0].stat()
    run = write_run(tmp_path / "run", started={"fingerprint": here(RANKED)})
    old = write_run(tmp_path / "old", number=1)  # of another version of the level
    code, page, said = headroom(out, "--policies", "random", "reference", "--runs", run, old)
    assert (code, first[0].stat().st_mtime_ns) == (0, before.st_mtime_ns)
    assert "random" not in said
    (level,) = json.loads((out / "headroom.json").read_text())["levels"]
    assert (level["id"], level["level"]) == (RANKED, level_of(RANKED).name)
    assert level["rates"] == {"random": {"successes": 0, "episodes": 2},
                              "reference": {"successes": 2, "episodes": 2}}  # fmt: skip
    (found,) = level["runs"]
    assert (found["run"], found["held_out"], found["to"]) == (
        "run",
        {"successes": 150, "episodes": 200},
        {"0.8": None, "0.95": None},
    )
    assert {v["state"] for v in level["verdicts"][:4]} == {"open"}  # two episodes are none
    assert f"| {RANKED} | **open** 100.0 % [34.2, 100.0, 2 episodes] |" in page
    assert (out / "headroom.md").read_text() == page.rstrip("\n") + "\n"
    assert (out / "headroom.png").read_bytes().startswith(b"\x89PNG")


def test_cem_is_a_run_like_any_other(tmp_path):
    out = tmp_path / "out"
    code, page, said = headroom(out, "--policies", "cem", "--cem-minutes", "0.02")
    assert (code, said) == (0, "[1/1] PinInsertion-State-v0 cem\n")
    (result,) = out.rglob("result.json")
    run = json.loads(result.read_text())
    assert (run["agent"]["name"], run["env"]["id"], run["budget_s"], run["held_out"]["episodes"]) == (
        "cem",
        RANKED,
        1.2,
        2,
    )
    assert "| cem | " in page
    (level,) = json.loads((out / "headroom.json").read_text())["levels"]
    void = bool(run["void_because"])  # on a busy machine it may not have begun in 1.2 s, which is no measurement
    assert level["rates"] == ({} if void else {"cem": {"successes": run["held_out"]["successes"], "episodes": 2}})


@pytest.mark.parametrize(("more", "words"), [
    (("--levels", "banana"), "no ranked level is called 'banana'; there are"), (("--runs", "/nowhere"), "--runs /nowhere: there is no such folder"),
    (("-n", "0"), "0 is out of range"),
])  # fmt: skip
def test_wrong_use_is_refused_in_words(tmp_path, monkeypatch, capsys, more, words):
    program = importlib.import_module("headroom")
    monkeypatch.setattr(sys, "argv", ["headroom.py", "--out", str(tmp_path / "out"), *more])
    with pytest.raises(UserError) as refused:
        program.main()
    assert words in str(refused.value)
    if "banana" in words:
        assert RANKED in str(refused.value)
        assert "ENPIRE/PinInsertion-v0" not in str(refused.value)  # intro is none


def test_what_is_no_run_is_said_and_left_out(tmp_path, capsys):
    bars = importlib.import_module("headroom_bars")
    for name, data in (("empty", b""), ("noise", b"SQLite format 3\0" + bytes(range(256)) * 20)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ledger.sqlite").write_bytes(data)
    good = write_run(tmp_path / "good")
    assert [run.run for run in bars.read_runs([tmp_path, good])] == ["good"]
    said = capsys.readouterr().err
    assert said.count("left out") == 2
    assert said.count("\n") == 2


@pytest.mark.parametrize(("level", "kind"), [(RANKED, "state"), ("ENPIRE/PinInsertion-Standard-v0", "pixels")])
def test_a_step_is_measured_against_intro(level, kind):
    cost = importlib.import_module("headroom_cost").steps_per_second(level, "ENPIRE/PinInsertion-v0", 3)
    assert set(cost) == {kind}  # what the level gives
    assert cost[kind]["ratio"] == pytest.approx(cost[kind]["level"] / cost[kind]["intro"])
    assert cost[kind]["level"] > 1


# -- bars --------------------------------------------------------------------------------------------------------------
def judged(rates=(), cost=(), runs=()):
    program = importlib.import_module("headroom_bars")
    rung = program.Rung(RANKED, level_of(RANKED), "f", None, Path())
    rates = {name: program.Rate(*pair) for name, pair in dict(rates).items()}
    climbs = [
        program.AgentRun("r", agent, RANKED, "f", "open", 0.0, 3600.0, {"0.8": t, "0.95": t}, None) for agent, t in runs
    ]
    found = program.Findings(rung, rates, dict(cost), climbs)
    states = {v.bar: v.state for v in program.verdicts(found)}
    return list(states.values()), program.table([found], None)


@pytest.mark.parametrize(("wins", "state"), [(200, "met"), (194, "met"), (192, "missed"), (190, "missed")])
def test_the_reference_must_reach_95_percent_with_a_lower_bound_of_93(wins, state):
    assert judged({"reference": (wins, 200)})[0][0] == state


@pytest.mark.parametrize(
    ("policy", "place", "good", "bad"), [("naive", 1, 20, 21), ("random", 2, 0, 1), ("cem", 3, 100, 101)]
)
def test_what_must_not_solve_a_level(policy, place, good, bad):
    assert judged({policy: (good, 200)})[0][place] == "met"
    assert judged({policy: (bad, 200)})[0][place] == "missed"
    assert judged({policy: (0, 199)})[0][place] == "open"
    assert judged()[0][place] == "open"


def test_what_a_step_may_cost():
    fair = {"level": 3000.0, "intro": 3100.0, "ratio": 3000 / 3100}
    assert judged(cost={"state": fair, "pixels": {"level": 300.0}})[0][4:6] == ["met", "met"]
    dear = {"level": 2000.0, "intro": 3100.0, "ratio": 2000 / 3100}
    assert judged(cost={"state": fair})[0][4:6] == ["met", "n/a"]
    assert judged(cost={"state": dear, "pixels": {"level": 299.0}})[0][4:6] == ["missed", "missed"]


def test_a_level_that_falls_in_half_an_hour_is_moved_down():
    states, page = judged(runs=[("codex", 1799.0), ("cem", None)])
    assert states[-1] == "missed"
    assert f"**{RANKED} is moved down a rung**: codex in 29m 59s reached 95 %." in page
    assert judged(runs=[("codex", 1800.0)])[0][-1] == "met"
    assert judged()[0][-1] == "open"


def test_names_of_agents_do_nothing_on_the_page():
    _, page = judged(runs=[("a | b\n<img>", 10.0)])
    assert "<img>" not in page
    assert max(len(row.split(" | ")) for row in page.splitlines() if "a \\|" in row and row.startswith("| ENPIRE")) == 8


# -- item response -----------------------------------------------------------------------------------------------------
ABILITY, DIFFICULTY = np.array([-3.0, -1.0, 0.0, 1.0, 2.0, 4.0]), np.linspace(-2, 2.5, 8)


def simulated(slopes, seed, n=200):
    rng = np.random.default_rng(seed)
    rates = 1 / (1 + np.exp(-slopes * (ABILITY[:, None] - DIFFICULTY)))
    return {(f"a{i}", f"l{k}"): (int(rng.binomial(n, rates[i, k])), n) for i in range(6) for k in range(8)}


def test_difficulties_are_found_within_their_intervals():
    program, inside = importlib.import_module("item_response"), []
    for seed in range(12):
        fitted = program.best_fit(simulated(np.ones(8), seed))
        truth = DIFFICULTY - DIFFICULTY.mean()
        inside += [fitted.difficulty[f"l{k}"].low <= truth[k] <= fitted.difficulty[f"l{k}"].high for k in range(8)]
        assert fitted.dispersion < 2
    assert 0.88 < np.mean(inside) < 0.995


def test_levels_that_separate_sharply_are_told_from_dull_ones():
    program, slopes = importlib.import_module("item_response"), np.exp(np.linspace(-0.9, 0.9, 8))
    fitted = program.best_fit(simulated(slopes, 0))
    assert fitted.model == "2PL"
    assert fitted.aic < program.fit(simulated(slopes, 0)).aic
    for k, slope in enumerate(slopes):
        assert fitted.discrimination[f"l{k}"].value == pytest.approx(slope, rel=0.4)
    few = {pair: counts for pair, counts in simulated(slopes, 0).items() if pair[0] in ("a0", "a1", "a5")}
    assert program.best_fit(few).model == "1PL"  # three agents cannot tell


def test_agents_that_never_fail_or_never_win_are_finite():
    fitted = importlib.import_module("item_response").best_fit(
        {("reference", "l"): (200, 200), ("random", "l"): (0, 200)}
    )
    low, high = fitted.ability["random"], fitted.ability["reference"]
    assert low.high < 0 < high.low
    assert np.isfinite([low.low, high.high]).all()


def test_rates_that_no_ability_explains_have_wider_intervals():
    program = importlib.import_module("item_response")
    fair = simulated(np.ones(8), 0)
    crossed = {
        (a, level): (n - w if (a == "a1") == (level in ("l0", "l1")) else w, n) for (a, level), (w, n) in fair.items()
    }
    wide = program.fit(crossed)
    assert wide.dispersion > 5
    assert (
        wide.difficulty["l3"].high - wide.difficulty["l3"].low
        > program.fit(fair).difficulty["l3"].high - program.fit(fair).difficulty["l3"].low
    )
