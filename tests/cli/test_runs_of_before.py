"""Runs that earlier versions made can still be read, shown, filed and gone on with (see tests/data/README.md)."""

import csv
import json
import lzma
import tarfile
from pathlib import Path

import pytest

from autoenvbench.cli import main as cli
from autoenvbench.publish.leaderboard import ADDED, differences
from autoenvbench.publish.ranking import conditions
from autoenvbench.record import metrics
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.results import Result, started
from autoenvbench.record.state import RunState

STORED = Path(__file__).parents[1] / "data" / "runs_of_before"


@pytest.fixture
def finished(tmp_path):
    """The folder of a finished run, as far as a reader needs it."""
    run = tmp_path / "20261130-003728-codex-PushT-v0-s0"
    run.mkdir()
    (run / "ledger.sqlite").write_bytes(lzma.decompress((STORED / "finished.sqlite.xz").read_bytes()))
    (run / "result.json").write_bytes((STORED / "finished.result.json").read_bytes())
    return run


@pytest.fixture
def unfinished(tmp_path):
    """The whole folder of a run that was killed."""
    with tarfile.open(STORED / "unfinished.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "20261130-001659-cem-PushT-v0-s1"


@pytest.fixture
def stored():
    return json.loads((STORED / "finished.result.json").read_text())


def test_its_result_is_computed_anew_and_filed(finished, stored, tmp_path, capsys):
    board = tmp_path / "board"
    assert cli.main(["leaderboard", "add", str(finished), "--dir", str(board)]) == 0, capsys.readouterr().err
    (filed,) = (board / "submissions").glob("*.json")
    not_then = {name: Result.model_fields[name].get_default(call_default_factory=True) for name in ADDED}
    assert list(differences(json.loads(filed.read_text()), {**not_then, **stored})) == []
    assert cli.main(["leaderboard", "build", "--dir", str(board)]) == 0
    assert "codex" in (board / "README.md").read_text()


def test_its_report_says_what_its_result_says(finished, stored, capsys):
    assert cli.main(["report", str(finished)]) == 0, capsys.readouterr().err
    page = (finished / "report.html").read_text()
    for said in (
        f"{stored['held_out']['success_rate']:.1%}".replace("%", " %"),
        f"{stored['best_confirmed']:.1%}".replace("%", " %"),
        f"{stored['tokens']['headline']:,}",
        stored["env"]["id"],
    ):
        assert said in page


def test_its_events_are_all_listed_and_exported(finished, tmp_path, capsys):
    assert cli.main(["ledger", str(finished)]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = tmp_path / "t.csv"
    assert cli.main(["ledger", str(finished), "--csv", str(table)]) == 0
    rows = list(csv.DictReader(table.open()))
    assert len(lines) == len(rows) == 291
    assert sum(row["kind"] == "episode" for row in rows) == 90 + 20


def test_its_one_member_bears_the_name_of_its_agent(finished):
    events = list(Ledger(finished / "ledger.sqlite").events())
    assert events[0].payload.members == {"codex": "codex"}
    assert '"members"' not in events[0].text  # as it was written
    assert {e.agent for e in events if e.kind == "agent"} == {"codex"}


def test_its_state_is_what_its_result_says(finished, stored):
    state = RunState.of(Ledger(finished / "ledger.sqlite").events())
    assert state.curves.confirmed[-1].value == pytest.approx(stored["best_confirmed"])
    assert state.curves.raw[-1].value == pytest.approx(stored["best_raw"])
    assert (len(state.held_out), state.held_out_successes) == (20, stored["held_out"]["successes"])
    assert state.agent_tokens.headline == stored["tokens"]["headline"]
    assert (state.submitted.commit, len(state.ideas)) == (stored["answer"]["commit"], stored["ideas"])
    assert state.research_s == stored["research_s"]


def test_its_agent_had_the_parametric_starter(finished, stored):
    ledger = Ledger(finished / "ledger.sqlite")
    assert started(list(ledger.events()))[1].starter == "parametric"
    assert "starter" not in stored["config"]
    assert conditions(Result.model_validate(stored))["starter"] == "parametric"


def test_a_finished_one_is_not_gone_on_with(finished, capsys):
    assert cli.main(["resume", str(finished)]) == 2
    assert "finished already" in capsys.readouterr().err


def test_an_unfinished_one_is_shown_and_not_filed(unfinished, tmp_path, capsys):
    assert cli.main(["report", str(unfinished)]) == 0
    assert "unfinished" in (unfinished / "report.html").read_text()
    assert cli.main(["leaderboard", "add", str(unfinished), "--dir", str(tmp_path / "board")]) == 2
    assert "autoenvbench resume" in capsys.readouterr().err


@pytest.mark.cage
def test_an_unfinished_one_goes_on_where_it_was_cut(unfinished, capsys):
    """And its result says that another version finished it."""
    ledger = Ledger(unfinished / "ledger.sqlite")
    before = list(ledger.events())
    assert cli.main(["resume", str(unfinished)]) == 0, capsys.readouterr().err
    events = list(ledger.events())
    assert [e.text for e in events[: len(before)]] == [e.text for e in before]
    assert events[len(before)].payload.phase == "resumed"
    assert events[len(before)].t_run == pytest.approx(before[-1].t_run)
    result = json.loads((unfinished / "result.json").read_text())
    assert result["held_out"]["episodes"] == len(metrics.heldout_episodes(events)) == 4
    assert result["disturbances"]["resumes"] == 1
    indices = [e.payload.index for e in events if e.kind == "start" and e.payload.purpose in ("evaluate", "confirm")]
    assert indices == list(range(len(indices)))  # no start twice, those before the cut included
    assert any("resumed on another machine, or under other versions" in reason for reason in result["unranked_because"])
