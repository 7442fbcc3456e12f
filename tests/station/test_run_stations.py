"""Stations that differ: at which one an episode is, and that nobody chooses or knows one that judges."""

import hashlib
import hmac
import json
import shutil
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest
from conftest import ZERO_POLICY
from enpire_envs import registry
from enpire_envs.episodes import Episodes

from autoenvbench.cli.parser import make_parser
from autoenvbench.cli.run_arguments import run_config_from_args
from autoenvbench.errors import UserError
from autoenvbench.make_env import choose_stations, make_env
from autoenvbench.publish import ranking
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.results import Result
from autoenvbench.record.stations import LARGEST, SMALLEST, PrivateStations, Stations
from autoenvbench.study.compare import compare
from autoenvbench.study.plan import research_config
from autoenvbench.study.score import score
from autoenvbench.study.spec import Condition, Study, check
from autoenvbench.workspace.bundling import send_head

STANDARD, FLEET, INTRO = "Test/Stationed-Standard-v0", "Test/Stationed-Fleet-v0", "Test/Stationed-v0"
ZEROS = bytes(32)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of installed packages with `stationed` in it."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(
        Path(__file__).with_name("stationed"), site / "stationed", ignore=shutil.ignore_patterns("__pycache__")
    )
    info = site / "stationed-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stationed\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{registry.ENTRY_POINTS}]\nstationed = stationed:TASK\n")
    return site


@pytest.fixture(autouse=True)
def installed(site, monkeypatch):
    """The same, in this process and in those that it starts."""
    monkeypatch.setattr(registry, "_by_id", dict(registry._by_id))
    monkeypatch.setattr(registry, "problems", {})
    before = set(gym.registry)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    registry.load_entry_points()
    assert not registry.problems
    yield
    for env_id in set(gym.registry) - before:
        del gym.registry[env_id]


def numbers(folder):
    """The stations of the episodes kept in a folder, by evaluation and index."""
    from stationed.env import station_in

    kept = Episodes(folder)
    return {
        (meta["provenance"]["evaluation"], meta["provenance"]["index"], meta["attempt"], meta["provenance"]["station"]):
        station_in(kept[k]["observation"][0])
        for k, meta in enumerate(kept.meta)
    }  # fmt: skip


def mac(secret, label):
    return (
        int.from_bytes(hmac.new(secret, f"autoenvbench/1/station/{label}".encode(), hashlib.sha256).digest()[:8], "big")
        >> 1
    )


# -- numbers -------------------------------------------------------------------------------------------------------------
def test_whoever_has_the_secret_has_the_numbers():
    secret = bytes(range(32))
    run, each = Stations("run", secret), Stations("each", secret)
    assert [run.of_cell(k) for k in range(3)] == [mac(secret, "run")] * 3
    assert run.of_held_out(0) is None
    assert [each.of_cell(k) for k in range(2)] == [mac(secret, "cell/0"), mac(secret, "cell/1")]
    assert [each.of_held_out(k) for k in range(2)] == [mac(secret, "heldout/0"), mac(secret, "heldout/1")]
    many = {each.of_cell(k) for k in range(64)} | {each.of_held_out(k) for k in range(1000)}
    assert len(many) == 1064
    assert max(many) <= LARGEST


def test_private_numbers_are_all_that_private_stations_have():
    private = tuple(SMALLEST + k for k in range(12))
    for secret in (ZEROS, bytes(range(32))):
        each = Stations("each", secret, private)
        cells, held_out = [each.of_cell(k) for k in range(2)], [each.of_held_out(k) for k in range(10)]
        assert sorted(cells + held_out) == list(private)
        assert Stations("run", secret, private).of_cell(0) == Stations("run", secret, private).of_cell(1) == cells[0]
    assert Stations("run", ZEROS, private).of_cell(0) != Stations("run", bytes(range(32)), private).of_cell(0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1,", "no JSON list"), ("{}", "no JSON list"), ("[true]", "no JSON list"), ('["7"]', "no JSON list"), ("[" * 10**5, "no JSON list"),
        ("[]", "holds 0 private stations, and this needs 1"), ("[7]", "drawn at random"), (f"[{2**63}]", "drawn at random"),
        (f"[{2**50}, {2**50}]", "different numbers"),
    ],
)  # fmt: skip
def test_a_file_of_private_numbers_that_is_none_is_refused_with_what_to_type(tmp_path, text, words):
    file = tmp_path / "stations.json"
    file.write_text(text)
    with pytest.raises(UserError, match=words) as refused:
        PrivateStations.load(file, "run", cells=1, held_out=200)
    assert "secrets.randbits" in str(refused.value)


def test_where_each_start_has_a_station_of_its_own_the_file_must_have_so_many(tmp_path):
    file = tmp_path / "stations.json"
    file.write_text(json.dumps([2**50 + k for k in range(200)]))
    assert len(PrivateStations.load(file, "run", cells=1, held_out=200).numbers) == 200
    with pytest.raises(UserError, match="holds 200 private stations, and this needs 201"):
        PrivateStations.load(file, "each", cells=1, held_out=200)
    with pytest.raises(UserError, match="cannot read"):
        PrivateStations.load(tmp_path / "none.json", "run", cells=1, held_out=1)
    other = tmp_path / "other.json"
    other.write_text(json.dumps([2**50 + k for k in reversed(range(200))], indent=3))
    one, two = (PrivateStations.load(path, "run", cells=1, held_out=1) for path in (file, other))
    assert one == two  # the digest is of the numbers, not of how they are written


def test_private_numbers_are_kept_where_no_cage_shows_them_and_only_where_they_have_a_use(tmp_path, site):
    given = json.dumps([2**50 + k for k in range(9)])
    (tmp_path / "stations.json").write_text(given)
    (site / "stationed/stations.json").write_text(given)
    env = make_env(STANDARD)
    assert choose_stations(env, {}, tmp_path / "stations.json", 5).source == "private"
    with pytest.raises(UserError, match="where every cage shows it"):
        choose_stations(env, {}, site / "stationed/stations.json", 5)
    with pytest.raises(UserError, match="one station alone"):
        choose_stations(env, {"station_seed": 1}, tmp_path / "stations.json", 5)
    for env_id in (INTRO, "ENPIRE/PushT-v0"):
        with pytest.raises(UserError, match=f"all stations of {env_id} are the same"):
            choose_stations(make_env(env_id), {}, tmp_path / "stations.json", 5)
        assert choose_stations(make_env(env_id), {}, None, 5).source is None


# -- a run's episodes ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "bench",
    [{"env": FLEET, "scope": "each", "cells": 2, "held_out": 6, "attempts": 2, "track": "station"}],
    indirect=True,
)
def test_every_cell_is_a_station_and_every_held_out_start_another_one(bench):
    stations = Stations("each", ZEROS)
    own = {"station-1": stations.of_cell(0), "station-1.2": stations.of_cell(1)}
    digest = send_head(bench.client(), bench.repo).digest
    wished = {"station": 5, "station_seed": 5, "options": {"station": 5}, "named": {"station": 5}}
    bench.client().job("/practice", {"digest": digest, "n": 8, **wished})
    bench.client().job("/evaluate", {"digest": digest, "n": 8, "confirm": True, **wished})
    practised = numbers(bench.run_dir / "data/practice")
    judged = numbers(bench.run_dir / "episodes")
    assert (len(practised), len(judged)) == (8, 8 + 4)
    assert all(number == own[cell] for (*_, cell), number in {**practised, **judged}.items())
    assert {cell for *_, cell in judged} == set(own)
    assert len({cell for *_, cell in practised}) == 1  # practice has one robot

    shown = [
        bench.aeb(*verb, "--json")[1]
        for verb in (("status",), ("episodes",), ("episodes", "E1"), ("episodes", "E2"), ("practice", "-n", "1"), ("evaluate", "-n", "3"))
    ]  # fmt: skip
    shown += [file.read_bytes().decode("latin-1") for file in (bench.run_dir / "data").rglob("*") if file.is_file()]
    known = [*own.values(), *(stations.of_held_out(k) for k in range(6))]
    assert not [number for number in known for text in shown if str(number) in text]

    with pytest.raises(UserError, match="not for agents"):
        bench.client().job("/held-out", {"digest": digest})
    bench.client(bench.admin_token).job("/held-out", {"digest": digest})
    scored = {key: number for key, number in numbers(bench.run_dir / "episodes").items() if key[0] == "held-out"}
    assert len(scored) == 12
    assert all(number == stations.of_held_out(index) for (_, index, _, _), number in scored.items())
    assert len(set(scored.values())) == 6
    assert not set(scored.values()) & set(own.values())


@pytest.mark.parametrize("bench", [{"env": STANDARD, "scope": "run", "held_out": 3, "track": "station"}], indirect=True)
def test_a_run_is_at_one_station_from_its_first_episode_to_its_last(bench):
    digest = send_head(bench.client(), bench.repo).digest
    bench.client().job("/practice", {"digest": digest, "n": 2})
    bench.client().job("/evaluate", {"digest": digest, "n": 3})
    bench.kill("door")
    with bench.station:
        bench.client(bench.admin_token).job("/held-out", {"digest": digest})
    bench.station.__enter__()  # for the fixture to end
    seen = [*numbers(bench.run_dir / "data/practice").values(), *numbers(bench.run_dir / "episodes").values()]
    assert seen == [mac(ZEROS, "run")] * 8


# -- whole runs, scores and comparisons ------------------------------------------------------------------------------------
def run_of(out, *more):
    """A run of an agent that does nothing, without a cage; its folder, its result and what was said of it."""
    args = [
        "eval",
        "--agent",
        "command:true",
        "--budget",
        "30s",
        "--sandbox",
        "none",
        "--held-out",
        "4",
        "--out",
        str(out),
        *map(str, more),
    ]
    done = subprocess.run([sys.executable, "-m", "autoenvbench", *args], capture_output=True, text=True, timeout=120)
    assert done.returncode == 6, done.stderr  # nothing was measured
    (folder,) = out.iterdir()
    return folder, Result.model_validate_json((folder / "result.json").read_text()), done.stderr


def brief(folder):
    return (folder / "agents/command-1/workspace/TASK.md").read_text()


def test_a_run_of_the_standard_level(tmp_path):
    folder, result, said = run_of(tmp_path / "runs", "--env", STANDARD)
    assert (result.track, result.pace, result.stations, result.stations_sha256) == ("station", 1.0, "run", None)
    assert (
        "station track: the simulator is hidden (as the level standard is by default; --track open is another board); in real time"
        in said
    )
    number = mac(bytes.fromhex(result.held_out_secret), "run")
    assert set(numbers(folder / "episodes").values()) == {number}
    assert "scoring too, are at one and the same. Which one it is, nobody is told." in brief(folder)
    assert str(number) not in brief(folder)
    assert result.env.kwargs == {}
    assert str(number) not in "".join(e.text for e in Ledger(folder / "ledger.sqlite").events())
    tree = folder / "bundles" / result.answer.digest / "tree"
    (kept := tmp_path / "again").mkdir()
    again = score(STANDARD, str(tree), 4, held_out_secret=result.held_out_secret, sandbox="none", trajectories=kept)
    assert again["stations"] == "run"
    assert set(numbers(kept).values()) == {number}
    assert again["fingerprint"] == result.env.fingerprint


def test_on_the_open_track_an_agent_may_simulate_its_own_station(tmp_path):
    folder, result, said = run_of(tmp_path / "runs", "--env", STANDARD, "--track", "open")
    assert (result.track, result.pace) == ("open", 0.0)
    assert (
        "open track: the task may be simulated (not the track of the level standard; --track station is another board)"
        in said
    )
    number = mac(bytes.fromhex(result.held_out_secret), "run")
    assert f'gymnasium.make("{STANDARD}", station_seed={number})' in brief(folder)
    assert set(numbers(folder / "episodes").values()) == {number}


def test_private_stations_are_named_nowhere(tmp_path):
    file, private = tmp_path / "stations.json", [2**62 + 7919 * k for k in range(1, 9)]
    file.write_text(json.dumps(private))
    more = ("--env", FLEET, "--track", "open", "--pace", "0", "--private-stations", file)
    folder, result, _ = run_of(tmp_path / "runs", *more)
    digest = PrivateStations.load(file, "each", cells=1, held_out=4).sha256
    assert (result.stations, result.stations_sha256) == ("private", digest)
    secret = bytes.fromhex(result.held_out_secret)
    seen = numbers(folder / "episodes")
    assert [seen["held-out", k, 0, "station-1"] for k in range(4)] == [
        Stations("each", secret, tuple(private)).of_held_out(k) for k in range(4)
    ]
    written = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert not [number for number in private for content in written if str(number).encode() in content]
    assert "every episode of the scoring at the end is at another one, which nobody has met" in brief(folder)
    row = ranking.conditions(result)
    assert (row["stations"], row["stations_sha256"]) == ("private", digest)
    assert "private_stations" not in row  # wherever the file lay
    assert (result.config or {})["private_stations"] == "stations.json"
    assert "stations private" in (folder / "report.html").read_text()

    (kept := tmp_path / "again").mkdir()
    tree = folder / "bundles" / result.answer.digest / "tree"
    again = score(
        FLEET,
        str(tree),
        4,
        held_out_secret=result.held_out_secret,
        private_stations=file,
        sandbox="none",
        trajectories=kept,
    )
    assert again["stations"] == "private"
    assert sorted(numbers(kept).values()) == sorted(seen.values())


def test_a_station_that_anybody_can_read_takes_no_rank(tmp_path):
    folder, result, _ = run_of(tmp_path / "runs", "--env", FLEET, "--env-arg", "station_seed=5", "--pace", "0")
    assert set(numbers(folder / "episodes").values()) == {5}
    assert result.stations == "public"
    assert "its station is known beforehand (--env-arg station_seed)" in result.unranked_because


def test_a_score_says_at_which_stations_it_was_made(tmp_path, policy_dir):
    policy = str(policy_dir(ZERO_POLICY))
    at = {}
    for name, env_id, given in (("standard", STANDARD, {}), ("named", STANDARD, {"station_seed": 9}), ("fleet", FLEET, {}),
                                ("again", FLEET, {}), ("intro", INTRO, {})):  # fmt: skip
        (folder := tmp_path / name).mkdir()
        told = score(env_id, policy, 5, env_kwargs=given, sandbox="none", trajectories=folder)
        at[name] = numbers(folder)
        assert told["stations"] == (None if name == "intro" else "public")
    assert set(at["standard"].values()) == set(at["intro"].values()) == {0}
    assert set(at["named"].values()) == {9}
    assert len(set(at["fleet"].values())) == 5
    assert at["fleet"] == at["again"]


def test_two_policies_are_compared_at_the_same_stations(policy_dir):
    source = "import json, numpy as np\nclass Policy:\n def __init__(self, o, a): pass\n def reset(self, o): self.o = o\n" \
             " def act(self, o): return np.full(1, {} if self.o[2] % 2 else -1.0)\n"  # fmt: skip
    first, second = (str(policy_dir(source.format(sign))) for sign in (1.0, -1.0))
    told = compare(FLEET, (first, second), 12, sandbox="none")
    assert 0 < told["policies"][0]["successes"] < told["starts"]  # stations differ from start to start
    assert told["only_second"] == 0


# -- what a run is on where nobody says so --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("env_id", "more", "expected"),
    [
        (STANDARD, [], ("station", 1.0)), (FLEET, [], ("station", 1.0)), (STANDARD, ["--pace", "0"], ("station", 0.0)),
        (STANDARD, ["--track", "open"], ("open", 0.0)), (STANDARD, ["--track", "open", "--pace", "1"], ("open", 1.0)),
        (INTRO, [], ("open", 0.0)), (INTRO, ["--track", "station"], ("station", 0.0)), ("ENPIRE/PushT-v0", [], ("open", 0.0)),
        ("ENPIRE/PinInsertion-State-v0", [], ("open", 0.0)),
    ],
)  # fmt: skip
def test_track_and_pace_are_the_levels_unless_a_run_is_told_otherwise(env_id, more, expected):
    config = run_config_from_args(make_parser().parse_args(["eval", "--agent", "cem", "--env", env_id, *more]))
    assert (config.track, config.pace) == expected
    given = dict(zip(more[::2], more[1::2], strict=True))
    condition = Condition(env=env_id, agent="cem", budget="1m", robot_budget="30s", track=given.get("--track"),
                          pace=float(given["--pace"]) if "--pace" in given else None)  # fmt: skip
    study = Study(name="s", base=condition, axes={"x": {"y": Condition()}})
    check(study, condition)
    planned = research_config(study, condition, 0, "none")
    assert (planned.track, planned.pace, planned.robot_budget_s) == (*expected, 30.0)


def test_an_arms_station_is_on_its_own_track_in_a_study_too():
    condition = Condition(env="ENPIRE/PushT-real-v0", policy="random", track="open")
    with pytest.raises(UserError, match="on the station track"):
        check(Study(name="s", base=condition, axes={"x": {"y": Condition()}}), condition)


@pytest.mark.parametrize(("env_id", "level", "own"), [(INTRO, "standard", STANDARD), (STANDARD, "fleet", FLEET), (STANDARD, "intro", INTRO),
                                                      (FLEET, "fleet", FLEET)])  # fmt: skip
def test_a_level_with_an_id_of_its_own_is_asked_for_by_that_id(env_id, level, own):
    with pytest.raises(UserError, match=f"type --env {own} without level={level}"):
        make_env(env_id, {"level": level})
    with pytest.raises(UserError, match="unknown level"):
        make_env(env_id, {"level": "hardest"})
