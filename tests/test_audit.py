"""A slice of `benchmarks/audit.py` and `benchmarks/soak.py` through their command lines, and what their figures rest on."""

import importlib
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import pytest
from enpire_envs import ENV_IDS
from enpire_envs.registry import level_of
from enpire_envs.task import Verdict

from autoenvbench.errors import UserError

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
LEVEL = "ENPIRE/PinInsertion-Standard-v0"  # of those whose policies see by cameras
IDS = (LEVEL, "ENPIRE/PushT-v0")


@pytest.fixture(autouse=True)
def programs(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def line(program, out, *more):
    return [sys.executable, str(BENCHMARKS / program), "--out", str(out), *map(str, more)]


def run(*words):
    done = subprocess.run(line(*words), capture_output=True, text=True, timeout=200)
    return done.returncode, done.stdout, done.stderr


def test_a_killed_audit_goes_on_where_it_was(tmp_path):
    out, twice = tmp_path / "audit.jsonl", tmp_path / "other.jsonl"
    small = ("--levels", LEVEL, "-n", 8)
    process = subprocess.Popen(line("audit.py", out, *small), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while not out.exists() or b"\n" not in out.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    with out.open("a") as file:
        file.write('{"env": "cut in the mid')
    first = out.read_bytes().partition(b"\n")[0]
    code, page, _ = run("audit.py", out, *small)
    assert code == 0, page
    assert out.read_bytes().startswith(first + b"\n")
    rows = [json.loads(row) for row in out.read_text().splitlines()]
    assert [row["seed"] for row in rows] == list(range(8))
    assert any(row["verdict"] and row["truth"] for row in rows)
    assert f"| {LEVEL.removeprefix('ENPIRE/')} |" in page
    assert run("audit.py", twice, "--levels", LEVEL, "-n", 1)[0] == 0
    again = json.loads(twice.read_text())
    assert {**again, "cpu_s": 0} == {**rows[0], "cpu_s": 0}


def test_every_ranked_level_is_audited():
    audit, episodes = importlib.import_module("audit"), importlib.import_module("audit_episodes")
    assert audit.ids([]) == [env_id for env_id in ENV_IDS if level_of(env_id).ranked]
    with pytest.raises(UserError, match="no environment is called nothing"):
        audit.ids(["nothing"])
    with pytest.raises(UserError, match=r"no independent truth of ENPIRE/PushTSimple-v0; leave them out"):
        audit.measure(Path("never"), audit.ids(["*PushTSimple*"]), 1)
    for env_id in audit.ids([]):
        assert gym.make(env_id, disable_env_checker=True).unwrapped.task.name in episodes.SUBJECTS


def test_an_episode_is_what_it_is_with_pictures():
    """What an audit leaves out decides nothing."""
    episodes = importlib.import_module("audit_episodes")
    blind, seen = episodes.make(LEVEL), gym.make(LEVEL, observation_width=8, disable_env_checker=True)
    assert blind.unwrapped._pixels() == {}
    found = [[replace(episodes.audited(env, seed), cpu_s=0) for seed in (0, 2, 5)] for env in (blind, seen)]
    assert found[0] == found[1]
    assert found[0][0].verdict
    assert (blind.unwrapped.cell.data.qpos == seen.unwrapped.cell.data.qpos).all()


@pytest.mark.parametrize(("env_id", "seed"), [("ENPIRE/PinInsertion-State-v0", 4), ("ENPIRE/PushT-State-v0", 4)])
def test_a_verifier_that_says_yes_to_everything_is_found_out(env_id, seed, monkeypatch):
    audit, episodes = importlib.import_module("audit"), importlib.import_module("audit_episodes")
    env = episodes.make(env_id)
    monkeypatch.setattr(env.unwrapped.task, "candidate", lambda readings: True)
    monkeypatch.setattr(env.unwrapped.task, "verify", lambda cell: Verdict(True))
    found = episodes.audited(env, seed)
    assert (found.verdict, found.truth, found.agree) == (True, False, False)
    row = {"env": env_id, "fingerprint": "0", "audit": "0", **vars_of(found)}
    assert f"disagreement: {env_id} seed {seed} (naive): verdict True, truth False, success" in list(
        audit.report([row])
    )


def vars_of(found):
    return {name: getattr(found, name) for name in found.__dataclass_fields__}


def test_a_pin_that_is_called_placed_and_is_not_is_found_out(monkeypatch):
    """Every pin of a board is judged, not the whole alone."""
    episodes = importlib.import_module("audit_episodes")
    scene = importlib.import_module("enpire_envs.pin_board.scene")
    monkeypatch.setattr(scene, "DEEP_ENOUGH", 0.005)  # what the environment is content with
    monkeypatch.setitem(episodes.SUBJECTS, "PinBoard", replace(episodes.SUBJECTS["PinBoard"], steps=400))
    found = episodes.audited(episodes.make("ENPIRE/PinBoard-v0"), 3)  # lets go of pins too early
    assert (found.verdict, found.truth, found.agree) == (False, False, False)


def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path):
    other = tmp_path / "notes.txt"
    other.write_text("remember\nthe milk")
    with pytest.raises(UserError, match="give another --out"):
        importlib.import_module("audit").measure(other, [LEVEL], 1)
    assert other.read_text() == "remember\nthe milk"


def test_a_soak_is_spread_evenly_and_goes_on(tmp_path):
    soak = importlib.import_module("soak")
    assert list(soak.parts_of(12_000, 2000)) == [(0, 2000, True), (1, 5000, False), (2, 5000, False)]
    assert list(soak.parts_of(1000, 2000)) == [(0, 1000, True)]
    out = tmp_path / "soak.jsonl"
    soak.measure(out, IDS, 20, 5)
    rows = [json.loads(row) for row in out.read_text().splitlines()]
    assert [(row["env"], row["steps"], row["pictures"]) for row in rows] == [
        (IDS[0], 5, True),
        (IDS[0], 15, False),
        (IDS[1], 20, False),
    ]
    assert not any(row["infinite"] or row["faults"] for row in rows)
    soak.measure(out, IDS, 20, 5)
    assert len(out.read_text().splitlines()) == len(rows)
    assert next(reversed(list(soak.report(rows)))).split()[:4] == ["all", "40", "steps", "(5"]
