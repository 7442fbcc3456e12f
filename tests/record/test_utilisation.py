"""MRU and MTU of anybody's log, against a count by hand and a brute-force one; and what a log can have wrong, in words."""

import importlib.util
import json
import random
import re
import sys
from pathlib import Path

import pandas as pd
import pytest

from autoenvbench.cli.main import main
from autoenvbench.errors import UserError
from autoenvbench.publish.timeline import log_of
from autoenvbench.record import metrics, robot_log
from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import EpisodeEvent, ResetEvent, RunEvent, TokensEvent
from autoenvbench.record.ledger import Event, Ledger
from autoenvbench.record.results import research_seconds
from autoenvbench.record.run_config import RunConfig

ROOT = Path(__file__).parents[2]


def write(path, lines):
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def test_a_log_by_hand_as_csv_and_as_jsonl(tmp_path, capsys):
    rows = [
        {"session": "day", "from": 0, "to": 100},
        {"robot": "left", "from": 0, "to": 30, "reason": "episode"},
        {"robot": "left", "from": 20, "to": 40, "reason": "reset"},  # 10 s of it are the episode's
        {"robot": "right", "from": 90, "to": 130, "reason": "episode"},  # 30 s of it are after the session
        {"robot": "left", "from": 95},  # nobody knows how long
        {"robot": "spare", "from": 0, "to": 0},
        {"from": 1, "to": 50, "tokens": 1000},
        {"from": 90, "to": 101, "tokens": 70},  # ended outside
    ]
    as_jsonl = write(tmp_path / "log.jsonl", rows)
    names = ["tokens", "to", "from", "robot", "reason", "session", "note"]
    as_csv = write(tmp_path / "log.csv", [",".join(names), *(",".join(str(row.get(name, "")) for name in names) for row in rows)])  # fmt: skip
    out = tmp_path / "out.svg"
    told = []
    for path in (as_jsonl, as_csv):
        assert main(["utilisation", str(path), "--json", "--out", str(out)]) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[0] == told[1]
    assert told[0]["mru"] == pytest.approx((40 + 10 + 0) / 300)
    assert told[0]["mru_of_robots"] == pytest.approx({"left": 0.4, "right": 0.1, "spare": 0.0})
    assert told[0]["seconds_by_reason"] == pytest.approx({"episode": 40, "reset": 10})
    assert (told[0]["tokens"], told[0]["mtu"]) == (1000, pytest.approx(600))
    remarks = " ".join(told[0]["remarks"])
    for said in ("left begins something before it is done", "right did outside", "no `to`", "calls that ended outside"):
        assert said in remarks
    assert out.read_text().count("<svg") == 1
    assert robot_log.read_log(as_csv, robots=5).use.mru == pytest.approx(50 / 500)
    assert robot_log.read_log(as_csv, wall_s=200).use.mtu == pytest.approx(300)
    for wrong in ({"robots": 2}, {"wall_s": 99.0}):
        with pytest.raises(UserError, match=r"--robots 2 is fewer|is shorter"):
            robot_log.read_log(as_csv, **wrong)


def test_overlaps_count_once_as_a_brute_force_count_has_it(tmp_path):
    rng, path = random.Random(5), tmp_path / "log.jsonl"
    for _ in range(5):
        spans = [(a, a + rng.randrange(30)) for a in (rng.randrange(200) for _ in range(25))]
        write(path, [{"session": k, "from": 80 * k, "to": 80 * k + 50} for k in range(3)]
              + [{"robot": "r", "from": a, "to": b} for a, b in spans])  # fmt: skip
        log = robot_log.read_log(path)
        ticks = [t for k in range(3) for t in range(80 * k, 80 * k + 50)]
        worked = sum(any(a <= t < b for a, b in spans) for t in ticks)
        assert log.use.mru == pytest.approx(worked / 150)
        assert sum(log.seconds_by_reason().values()) == pytest.approx(worked)


FINE = {"robot": "r", "from": 0, "to": 1}


@pytest.mark.parametrize(
    ("name", "lines", "said"),
    [
        ("a.jsonl", [], "tells of no robot"),
        ("a.csv", [], "begins with"),
        ("a.csv", ["robot;from;to", "r;0;1"], "a log begins with robot,from,to"),
        ("a.csv", ["robot,from,to"], "tells of no robot"),
        ("a.csv", ["robot,from,to", "r,0,1,2"], "line 2: more values"),
        ("a.csv", ["robot,from,to", "r,0,2026-13-45"], "line 2: to is"),
        ("a.txt", [FINE], "no log"),
        ("a.jsonl", [FINE, "{broken"], "line 2: .* no JSON object"),
        ("a.jsonl", ["[" * 20_000], "no JSON object"),
        ("a.jsonl", ["x" * 100_000], "line 1: more than"),
        ("a.jsonl", ['{"robot": "r", "from": NaN, "to": 1}'], "line 1: from is nan"),
        ("a.jsonl", ['{"robot": "r", "from": 0, "to": 1e999}'], "line 1: to is inf"),
        ("a.jsonl", ['{"robot": "r", "from": 0, "to": ' + "9" * 400 + "}"], "line 1: to is"),
        ("a.jsonl", [{**FINE, "from": 2}], "line 1: it ends before it begins"),
        ("a.jsonl", [{**FINE, "from": True}], "line 1: from is"),
        ("a.jsonl", [{"robot": "r", "to": 3}], "no `from`"),
        ("a.jsonl", [{**FINE, "robot": {"a": 1}}], "line 1: robot is"),
        ("a.jsonl", [{**FINE, "tokens": 3}], "a robot and tokens"),
        ("a.jsonl", [{"from": 0, "tokens": -3}], "line 1: tokens is"),
        ("a.jsonl", [{"from": 0, "to": 2}], "no robot, no tokens and no session"),
        ("a.jsonl", [{"session": 1, "from": 0}], "a session has no `to`"),
        ("a.jsonl", [{**FINE, "to": 0}], "no wall-clock"),
        ("a.jsonl", [FINE, {"robot": "r", "from": 1.7e9, "to": 1.7e9 + 5}], "of one clock"),
        ("a.jsonl", [{**FINE, "robot": str(k)} for k in range(1001)], "more than 1000 robots"),
    ],
)  # fmt: skip
def test_a_log_that_cannot_be_counted_is_refused_in_words(tmp_path, capsys, name, lines, said):
    assert main(["utilisation", str(write(tmp_path / name, lines)), "--out", str(tmp_path / "o.svg")]) == 2
    error = capsys.readouterr().err
    assert re.search(said, error), error
    assert "Traceback" not in error
    assert not (tmp_path / "o.svg").exists()


def test_a_log_without_end_is_refused_before_memory_is(tmp_path, monkeypatch):
    monkeypatch.setattr(robot_log, "MOST_LINES", 10)
    with pytest.raises(UserError, match="more than 10 lines"):
        robot_log.read_log(write(tmp_path / "a.jsonl", [FINE] * 11))


def test_the_logger_to_paste_writes_what_is_read(tmp_path):
    source = ROOT / "examples/robot_log.py"
    assert len(source.read_text().split("class RobotLog")[1].splitlines()) <= 24
    spec = importlib.util.spec_from_file_location("robot_log_example", source)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    logger = example.RobotLog(tmp_path / "log.jsonl")
    with logger.busy("left", "episode"):
        sum(range(1000))
    with pytest.raises(ZeroDivisionError), logger.busy("left", "reset"):
        1 / 0  # noqa: B018
    with logger.call() as call:
        call["tokens"] = 1540
    log = robot_log.read_log(tmp_path / "log.jsonl")
    assert set(log.reasons) == {"episode", "reset"}
    assert log.use.tokens == 1540
    assert 0 < log.use.mru <= 1
    assert log.remarks == []


def _run(tmp_path, pace):
    ledger = Ledger(tmp_path / "ledger.sqlite", RunClock.start(3600))
    config = RunConfig(agent="cem", env="ENPIRE/PushT-v0", budget_s=60, pace=pace, cells=2)
    ledger.append(RunEvent(phase="started", config=config.model_dump()))
    about = {
        "evaluation": "E1",
        "commit": "c",
        "digest": "c",
        "seed": 0,
        "success": True,
        "score": 1.0,
        "stage": "",
        "steps": 1,
        "sim_s": 1.0,
    }
    for k, purpose in enumerate(("practice", "evaluate", "heldout")):
        event = EpisodeEvent(index=k, purpose=purpose, robot_s=1e-4, **about)
        ledger.append(event, agent="a", station=f"station-1.{k + 1}")
        ledger.append(TokensEvent(model="m", status=200, input=100, cached_input=40, output=7), agent="a")
    ledger.append(ResetEvent(attempts=1, detail="", purpose="practice", robot_s=2e-4), station="station-1.1")
    ledger.append(RunEvent(phase="agents_stopped", detail="deadline"))
    return list(ledger.events())


@pytest.mark.parametrize("pace", [0.0, 1.0])
def test_a_run_has_the_numbers_of_its_result(tmp_path, pace):
    events = _run(tmp_path, pace)
    log, research_s = robot_log.of_run(events), research_seconds(events)
    use, tokens = metrics.robot_use(events, research_s, 2, pace), metrics.token_totals(events, research_s)
    assert log.use.mru == (use.mru if use else None)
    assert (log.use.mtu, log.use.tokens) == (tokens.per_minute, tokens.headline) == (60 * 201 / research_s, 201)
    if pace:
        assert use.mru == pytest.approx(4e-4 / (2 * research_s))
        assert log.use.of_robots["station-1.1"] == use.of_cells["station-1.1"]
        assert "station-1.3" not in log.busy  # held-out scoring is no research
    else:
        assert "no MRU" in log.remarks[0]
    assert isinstance(events[0], Event)
    with pytest.raises(UserError, match="leave --robots"):
        log_of(tmp_path, robots=3)


def _dataset(folder, episodes, fps=10):
    (folder / "meta").mkdir(parents=True, exist_ok=True)
    (folder / "data/chunk-000").mkdir(parents=True, exist_ok=True)
    (folder / "meta/info.json").write_text(json.dumps({"fps": fps, "robot_type": "so100"}))
    rows = [(k, t) for k, times in enumerate(episodes) for t in times]
    frame = pd.DataFrame(rows, columns=["episode_index", "timestamp"]).astype(
        {"episode_index": "int64", "timestamp": "float64"}
    )
    frame.to_parquet(folder / "data/chunk-000/file-000.parquet")
    return folder


def test_a_lerobot_dataset_tells_its_robot_time_and_no_more(tmp_path, monkeypatch):
    ten = [k / 10 for k in range(10)]
    data = _dataset(tmp_path / "a", [ten, ten, ten[:5]])
    with pytest.raises(UserError, match="--wall"):
        log_of(data)
    use = log_of(data, wall_s=10).use
    assert use.mru == pytest.approx(0.25)
    assert list(use.busy_s) == ["so100"]
    clocked = _dataset(tmp_path / "b", [[1.7e9 + t for t in ten], [1.7e9 + 3 + t for t in ten]])
    assert log_of(clocked).use.mru == pytest.approx(0.5, abs=1e-6)
    for wrong, said in (
        ([[0.0, 0.2, 0.1]], "go back in time"), ([[0.0, float("nan")]], "no number"), ([[0.0], [1.7e9]], "two clocks"), ([], "no frames"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            log_of(_dataset(tmp_path / "c", wrong), wall_s=60)
    (data / "data/chunk-000/file-000.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match="has no frames of a LeRobotDataset"):
        log_of(data, wall_s=60)
    for info in ("{", "[]", '{"fps": 0}', '{"fps": NaN}'):
        (clocked / "meta/info.json").write_text(info)
        with pytest.raises(UserError, match="fps"):
            log_of(clocked)
    (data / "meta/info.json").write_text('{"fps": 10}')
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install 'autoenvbench\[parquet\]'"):
        log_of(data, wall_s=60)
