"""A leaderboard files what a ledger bears out, once, and inside its folder."""

import dataclasses
import json
import shutil
import subprocess
import sys

import pytest
from board import refuse_every_edit, result_of, tampered, write_run

from autoenvbench.errors import UserError
from autoenvbench.publish import leaderboard, ranking
from autoenvbench.publish.report import write_report
from autoenvbench.record.answer import choose_answer
from autoenvbench.record.events import CommitEvent
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.results import Result


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run-0")


def test_every_field_of_a_result_comes_from_its_ledger(run, tmp_path):
    tried, fields = refuse_every_edit(run, tmp_path / "copy")
    assert fields >= set(Result.model_fields)
    assert tried > 150


def test_an_untouched_result_is_filed_once(run, tmp_path):
    path = leaderboard.add(run, tmp_path / "board").path
    assert Result.model_validate_json(path.read_text()) == result_of(run)
    assert leaderboard.add(run, tmp_path / "board").path == path


def test_what_is_filed_is_computed_and_never_copied(run, tmp_path):
    """JSON of two equal keys, of which a reader takes either, changes nothing."""
    copy = tmp_path / run.name
    shutil.copytree(run, copy)
    text = (copy / "result.json").read_text()
    (copy / "result.json").write_text('{"run_id": "../../somebody",' + text.lstrip()[1:])
    path = leaderboard.add(copy, tmp_path / "board").path
    assert json.loads(path.read_text())["run_id"] == run.name


def test_a_result_needs_nothing_but_its_events(run):
    """The same in another folder, time zone and environment, without a PATH."""
    program = (
        "import sys, json; from pathlib import Path\n"
        "from autoenvbench.record.ledger import Ledger; from autoenvbench.record.results import Result\n"
        "events = list(Ledger(Path(sys.argv[1])).events())\n"
        "def refuse(event, args):\n"
        "    if event in ('open', 'subprocess.Popen', 'os.listdir', 'socket.connect'): raise RuntimeError(event)\n"
        "sys.addaudithook(refuse)\n"
        "print(Result.from_events(events).model_dump_json(indent=1))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, run / "ledger.sqlite"], capture_output=True, text=True, cwd="/",
        env={"TZ": "Pacific/Auckland", "PATH": "", "OPENAI_BASE_URL": "http://127.0.0.1:1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == (run / "result.json").read_text()


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped", "a/b", "..", "", "x\n", "a b", "x" * 300, "-rf"])
def test_a_run_id_is_never_a_path(tmp_path, name):
    run = write_run(tmp_path / "run")
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    with pytest.raises(UserError, match="run_id"):
        leaderboard.add(
            tampered(copy, f"UPDATE event SET payload = json_set(payload, '$.run_id', '{name}') WHERE seq = 1"),
            tmp_path / "board",
        )
    assert not (tmp_path / "board").exists()


def test_what_ends_after_the_answer_was_chosen_does_not_change_it(run):
    """A policy that sleeps at the deadline, an upload or a submission under way: their events may come late."""
    ledger = Ledger(run / "ledger.sqlite")
    events = list(ledger.events())
    ledger.close()
    over = next(k for k, e in enumerate(events) if e.kind == "run" and e.payload.phase == "agents_stopped")
    late = dataclasses.replace(
        events[0], kind="commit", agent="cem", payload=CommitEvent(phase="submitted", commit="c2", digest="d2")
    )
    chosen = choose_answer(events, 20)
    assert chosen.digest == "d1"
    assert choose_answer([*events[: over + 1], late, *events[over + 1 :]], 20) == chosen
    assert choose_answer([*events[:over], late, *events[over:]], 20).digest == "d2"


def test_a_failure_blamed_on_the_machine_costs_the_rank(run, tmp_path):
    copy = tmp_path / run.name
    shutil.copytree(run, copy)
    forged = tampered(copy, "UPDATE event SET payload = json_set(payload, '$.infrastructure', json('true')) WHERE payload LIKE '%heldout%'"
                            " AND json_extract(payload, '$.index') = 199")  # fmt: skip
    result, _ = leaderboard.check_run(forged)
    assert (result.held_out.episodes, result.held_out.void) == (199, 1)
    assert "only 199 of 200 held-out episodes count" in result.unranked_because


def test_a_copy_under_another_name_is_refused(run, tmp_path):
    board = tmp_path / "board"
    leaderboard.add(run, board)
    for name, words in (("run-1", "has the same held_out_secret"), ("RUN-0", "has the same run_id")):
        copy = tmp_path / name
        shutil.copytree(run, copy)
        renamed = tampered(copy, f"UPDATE event SET payload = json_set(payload, '$.run_id', '{name}') WHERE seq = 1")
        with pytest.raises(UserError, match=words):
            leaderboard.add(renamed, board)
    shutil.copy(board / "submissions/run-0.json", board / "submissions/run-9.json")
    _, broken = leaderboard.build(board)
    assert list(broken) == ["run-9.json"]


def test_a_link_does_not_lead_out_of_the_board(run, tmp_path):
    folder = tmp_path / "board/submissions"
    folder.mkdir(parents=True)
    (folder / f"{run.name}.json").symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match="exists"):
        leaderboard.add(run, tmp_path / "board")
    assert not (tmp_path / "outside").exists()


def test_an_old_ledger_says_what_it_cannot_bear_out(tmp_path):
    nothing = dict.fromkeys(("run_id", "known_starts", "hardware", "compute_class", "prices", "cell"))
    run = write_run(tmp_path / "run", started=nothing)
    (run / "result.json").write_text(json.dumps({"version": 1, "run_id": "mine", "hardware": "a supercomputer"}))
    assert write_report(run).exists()
    added = leaderboard.add(run, tmp_path / "board")
    filed = Result.model_validate_json(added.path.read_text())
    assert filed.run_id.startswith("unnamed-")
    assert filed.hardware is None
    assert "its ledger does not record run_id, hardware, compute_class, known_starts, prices" in filed.unranked_because
    assert any("its ledger does not record" in remark for remark in added.remarks)


@pytest.mark.parametrize(("given", "reason"), [
    ({"started": {"known_starts": True}}, "starts known beforehand"),
    ({"resumed": {"hardware": "a faster computer"}}, "resumed on another machine"),
    ({"resumed": {"fingerprint": "0" * 16}}, "resumed on another machine"),
    ({"held_out": 199}, "fewer than 200"),
    ({"sandbox": "none"}, "no cage"),
    ({"replay": "script.json", "gateway": "replay"}, "scripted model"),
])  # fmt: skip
def test_a_run_under_other_rules_takes_no_rank(tmp_path, given, reason):
    result = result_of(write_run(tmp_path / "run", **given))
    assert any(reason in why for why in ranking.unranked_because(result)), result.unranked_because


def test_resuming_alone_is_stated_and_no_reproach(tmp_path):
    result = result_of(write_run(tmp_path / "run", resumed={}))
    assert result.disturbances.resumes == 1
    assert result.unranked_because == []
