"""Whatever is typed, and whatever lies where a file was expected: one line that says what to type next, never a traceback."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from autoenvbench.cli import main as cli
from autoenvbench.cli import printing
from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import IdeaEvent, NoteEvent
from autoenvbench.record.ledger import Ledger
from autoenvbench.workspace import aeb

#: What a line may name: see `things`.
WRONG = [
    # numbers that are none, or too large for what they count
    "envs --jsn",
    "score --policy random -n 0",
    "score --policy random -n -3",
    "score --policy random -n 99999999999999999999",
    "score --policy random -n 1 --seed -1",
    "score --policy random -n 1 --seed 99999999999999999999999999",
    "score --policy random -n 1 --attempts 0",
    "score --policy random -n nan",
    "eval --agent cem --budget nan",
    "eval --agent cem --budget 0s",
    "eval --agent cem --budget inf",
    "eval --agent cem --budget 1e400s",
    "eval --agent cem --budget 1m --seed -5",
    "eval --agent cem --budget 1m --seed 99999999999999999999999999",
    "eval --agent cem --budget 1m --pace nan",
    "eval --agent cem --budget 1m --stations 0",
    "train rlpd --out {missing} --pace 1",
    "train rlpd --out {missing} --episodes 5",
    "train rlpd --out {missing} --station ENPIRE/PushT-v0 --pace 2",
    "eval --agent cem --budget 1m --stations 65",
    "eval --agent cem --budget 1m --held-out 0",
    "eval --agent cem --budget 1m --held-out 99999999999999999999",
    "eval --agent cem --budget 1m --attempts 99999999999999999999",
    "eval --agent cem --budget 1m --cost-budget nan",
    "eval --agent cem --budget 1m --cost-budget inf",
    "eval --agent cem --budget 1m --agent-memory nan",
    "eval --agent cem --budget 1m --agent-memory inf",
    "eval --agent cem --budget 1m --token-budget -5",
    "eval --agent cem --budget 1m --token-budget 9e9M",
    "eval --agent cem --budget 1m --nudges -1",
    "eval --agent cem --budget 1m --goal success>=nan",
    "eval --agent cem --budget 1m --goal success>=2",
    "eval --agent cem --budget 1m --goal banana",
    "compare random random -n 0",
    "figures",
    "figures {missing} --out {missing}",
    "figures {missing} --to 2",
    "figures {missing} --to nan",
    "compare random random -n 99999999999999999999",
    "compare random random --alpha nan",
    "compare random random --seed -1 -n 1",
    # names of nothing
    "score --policy {missing}",
    "score --policy {empty}",
    "score --policy random --env ENPIRE/Nothing-v0",
    "score --policy random --env-arg nonsense",
    "score --policy random -n 1 --env-arg control=banana",
    "score --policy random -n 1 --env-arg criterion={{}}",
    "score --policy random -n 1 --env-arg render_mode=human",
    "score --policy random --trajectories=",
    "score --policy random -n 1 --trajectories {file}",
    "score --policy random -n 1 --protocol banana",
    "score --policy random -n 1 --held-out-secret banana",
    "score --policy random -n 1 --tool nonsense",
    "score --policy random -n 1 --tool width=banana",
    "score --policy random -n 1 --tool width=-4",
    "score --policy zero-shot -n 1 --tools-replay {missing}",
    "score --policy zero-shot -n 1 --tools-replay {binary}",
    "score --policy zero-shot -n 1 --env ENPIRE/PushT-v0 --tool vlm=m --base-url notaurl",
    "compare {missing} random",
    "eval --agent banana",
    "eval --agent=",
    "eval --agent command:",
    "eval --agent replay:{missing} --budget 1m",
    "eval --agent replay:{binary} --budget 1m",
    "eval --agent replay:{folder} --budget 1m",
    "eval --agent cem --env ENPIRE/Nothing-v0",
    "eval --agent cem --budget 1m --regime banana",
    "eval --agent cem --budget 1m --out {file}",
    "eval --agent cem --budget 1m --out {file}/below",
    "eval --agent cem --budget 1m --prices {binary}",
    "eval --agent cem --budget 1m --prices {folder}",
    "eval --agent cem --budget 1m --prices {missing}",
    "eval --agent codex --budget 1m --replay {binary}",
    "eval --agent codex --budget 1m --replay {folder}",
    "eval --agent codex --budget 1m --agent-args \"'\"",
    "eval --agent mini --model m --base-url notaurl --budget 1m",
    "tools ENPIRE/Nothing-v0",
    "tools ENPIRE/PushT-v0 --env-arg x",
    "tools ENPIRE/PushT-v0 --tool mode=banana",
    "setup banana",
    "setup robocasa --assets {missing}",
    "study {missing} --yes",
    "study {binary} --yes",
    "study {folder} --yes",
    "study {list} --yes",
    "study {file} -n 0",
    # runs that are none
    *(f"{verb} {what}" for verb in ("pause", "resume", "report", "ledger", "leaderboard add")
      for what in ("{missing}", "{empty}", "{file}", "{broken}")),
    "ledger {run} --kind banana",
    "ledger {run} --csv {folder}",
    "ledger {run} --csv {file}/x.csv",
    "ledger {run} --csv=",
    "report {run} --out {folder}",
    "leaderboard add {binary}",
    "leaderboard add {list}",
    "leaderboard build --dir {missing}",
    "leaderboard build --dir {file}",
    # stations
    "station init {folder}",
    "station init {file}/x.yaml",
    "station print {file}",
    *(f"station {verb} {what}" for verb in ("doctor --dry-run", "calibrate --camera top --dry-run", "validate --dry-run",
                                            "home --dry-run", "watch --seconds 1")
      for what in ("{missing}", "{binary}", "{folder}", "{list}")),
    "station calibrate --camera banana --dry-run",
    "station calibrate --camera top --arm banana --dry-run",
    "station calibrate --camera top --samples -1 --dry-run",
    "station calibrate --camera top --samples 1000000000000 --dry-run",
    "station calibrate --camera top --bearing-deg nan --dry-run",
    "station watch --port 80000",
    "station watch --port -1",
    "station watch --port {taken} --seconds 1",
    "station watch --seconds nan",
    "station watch --seconds -1",
    "station twin {file}",
    "station twin {folder} {binary}",
    "station twin {folder} {missing}",
    "station dataset {missing} {missing}",
    "station dataset {empty} {missing}",
    "station dataset {folder} {file}",
]  # fmt: skip


@pytest.fixture
def things(tmp_path, monkeypatch):
    """What stands in the way, by name; the working folder is an empty one."""
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "folder", "broken", "run"):
        (tmp_path / name).mkdir()
    (tmp_path / "folder" / "note.txt").write_text("x")
    (tmp_path / "file").write_text("agent: 1\n")
    (tmp_path / "list").write_text("[1, {}]")
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "broken" / "ledger.sqlite").write_bytes(os.urandom(5000))
    (tmp_path / "broken" / "lock").touch()
    (tmp_path / "broken" / "result.json").write_bytes(os.urandom(50))
    ledger = Ledger(tmp_path / "run" / "ledger.sqlite", RunClock.start(60))
    ledger.append(NoteEvent(text="a run that never started"))
    ledger.close()
    (tmp_path / "run" / "lock").touch()
    with socket.create_server(("127.0.0.1", 0)) as server:
        names = {name: name for name in ("empty", "folder", "broken", "run", "file", "list", "binary", "missing")}
        yield {**names, "taken": str(server.getsockname()[1])}


def words(line: str, things: dict[str, str]) -> list[str]:
    return [word.format(**things) for word in shlex.split(line)]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("line", WRONG)
def test_wrong_input_is_said_in_a_line(line, things, capsys):
    before = sorted(Path().rglob("*"))
    code = cli.main(words(line, things))
    said = capsys.readouterr().err
    assert code == 2, said
    assert "Traceback" not in said
    assert len(said.strip()) > 20
    assert said.count("usage:") == 0
    assert not [p for p in Path().rglob("*") if p not in before and p.name in ("ledger.sqlite", "result.json")]


#: What an agent may type at its station's command.
WRONG_AEB = ["", "banana", "practice -n 0", "practice -n -1", "practice -n x", "practice --seed -1", "evaluate -n 99999999999999",
             "idea", "idea x", "episodes --limit x", "episodes E1&limit=3", "note", "submit now"]  # fmt: skip


@pytest.mark.parametrize("line", WRONG_AEB)
def test_an_agent_reads_what_to_type_too(line, tmp_path, monkeypatch, capsys):
    """Outside a workspace, where every verb is wrong."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    try:
        code = aeb.main(line.split())
    except SystemExit as ended:
        code = ended.code
    said = capsys.readouterr().err
    assert code == 2
    assert "Traceback" not in said
    assert len(said.strip()) > 20


def test_a_missing_git_is_said(things, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(Path("empty").resolve()))
    assert cli.main(["eval", "--agent", "cem", "--budget", "5s", "--sandbox", "none"]) == 2
    assert "git" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
def test_a_full_disk_ends_in_words_and_keeps_what_is_there(things, capsys):
    small = Path("small")
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("this container may not mount")
    try:
        code = cli.main(["eval", "--agent", "cem", "--budget", "5s", "--out", str(small / "runs"), "--sandbox", "none"])
        said = capsys.readouterr().err
        assert code in (1, 2)
        assert "Traceback" not in said
        assert "space" in said or "full" in said or "disk" in said
        assert cli.main(["score", "--policy", "random", "-n", "3", "--trajectories", str(small / "t")]) in (1, 2)
        assert "Traceback" not in capsys.readouterr().err
    finally:
        subprocess.run(
            ["umount", "--lazy", str(small)], check=True
        )  # a ledger that nobody holds may not be collected yet


# -- what is right is still right ------------------------------------------------------------------------------------------
def test_a_ledger_is_a_flat_table(tmp_path, capsys):
    ledger = Ledger(tmp_path / "ledger.sqlite", RunClock.start(60))
    ledger.append(NoteEvent(text="=HYPERLINK(1)"), agent="a")
    ledger.append(IdeaEvent(id="I1", title="push, then look", inspired_by=["I0"]), agent="a")
    ledger.close()
    csv, parquet = tmp_path / "t.csv", tmp_path / "t.parquet"
    assert cli.main(["ledger", str(tmp_path), "--csv", str(csv), "--parquet", str(parquet)]) == 0
    table, exact = pd.read_csv(csv), pd.read_parquet(parquet)
    assert list(table.columns) == list(exact.columns)
    assert {"seq", "t_run", "kind", "agent", "text", "id", "title", "inspired_by"} <= set(table.columns)
    assert table.text[0] == "'=HYPERLINK(1)"  # a spreadsheet would run it
    assert exact.text[0] == "=HYPERLINK(1)"
    assert json.loads(exact.inspired_by[1]) == ["I0"]
    assert table.title[1] == "push, then look"


def test_progress_is_told_without_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(printing, "_LINE_EVERY_S", 0.0)
    monkeypatch.setattr(printing, "stderr", Console(stderr=True, force_terminal=False))
    assert cli.main(["score", "--policy", "random", "-n", "3"]) == 0
    assert "random on ENPIRE/PushT-v0: 2 of 3" in capsys.readouterr().err


def test_agents_does_not_wait_for_a_program_that_does_not_answer(tmp_path, monkeypatch, capsys):
    slow = tmp_path / "codex"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("AUTOENVBENCH_CODEX", str(slow))
    began = time.monotonic()
    assert cli.main(["agents", "--json"]) == 0
    assert time.monotonic() - began < 20.0  # 2.5 s and what a busy machine takes beside
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert "no answer" in rows["codex"]["missing"]
    assert rows["cem"]["ready"]
