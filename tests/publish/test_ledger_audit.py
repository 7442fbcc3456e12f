"""A ledger that was edited, thinned out or is no ledger of ours is refused, and says where."""

import re
import shutil

import pytest
from board import result_of, tampered, write_run

from autoenvbench.errors import UserError
from autoenvbench.publish import leaderboard
from autoenvbench.record.ledger import Ledger


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run-0")


LEDGERS = {
    "a trigger dropped": (["DROP TRIGGER IF EXISTS event_frozen"], "event_frozen"),
    "a failure deleted": (["DELETE FROM event WHERE seq = (SELECT seq FROM event WHERE kind = 'episode' AND payload LIKE '%time_limit%' LIMIT 1)"],
                          "is missing"),
    "a bad end cut off": (["DELETE FROM event WHERE seq = (SELECT max(seq) FROM event WHERE kind = 'episode')",
                           "UPDATE event SET seq = seq - 1 WHERE kind = 'run' AND payload LIKE '%\"finished\"%'"], "events were written"),
    "a start tried twice": (["UPDATE event SET payload = json_set(payload, '$.index', 0, '$.seed', (SELECT json_extract(payload, '$.seed')"
                             " FROM event WHERE payload LIKE '%heldout%' AND json_extract(payload, '$.index') = 0)) WHERE payload LIKE"
                             " '%heldout%' AND json_extract(payload, '$.index') = 1"], "has two outcomes"),
    "a chosen start": (["UPDATE event SET payload = json_set(payload, '$.seed', 7) WHERE payload LIKE '%heldout%' AND"
                        " json_extract(payload, '$.index') = 199"], "has seed"),
    "a start that was not planned": (["UPDATE event SET payload = json_set(payload, '$.attempt', 3) WHERE payload LIKE '%heldout%' AND"
                                      " json_extract(payload, '$.index') = 199"], "was not planned"),
    "a failure that never ended": (["UPDATE event SET kind = 'start' WHERE payload LIKE '%heldout%' AND json_extract(payload, '$.index') = 199"],
                                   "an episode began, and has no outcome"),
    "another bundle scored": (["UPDATE event SET payload = json_set(payload, '$.digest', 'd9') WHERE payload LIKE '%heldout%'"],
                              "a held-out episode of d9, and the answer is d1"),
    "another secret": (["UPDATE event SET payload = json_set(payload, '$.secret_sha256', hex(zeroblob(32))) WHERE seq = 1"], "secret revealed"),
    "a better confirmation": (["UPDATE event SET payload = json_set(payload, '$.successes', 20) WHERE kind = 'evaluation' AND"
                               " payload LIKE '%confirm%' AND payload LIKE '%finished%'"], "E2 says successes 20, and has 15"),
    "a batch thinned out": (["UPDATE event SET payload = json_set(payload, '$.planned', 30) WHERE kind = 'evaluation' AND"
                             " payload LIKE '%confirm%' AND payload LIKE '%finished%'"], "E2 is finished with 20 of 30 episodes"),
    "other contents of the answer": (["UPDATE event SET kind = 'contents', payload = '{\"digest\": \"d1\", \"contents\": {\"weight_files\": 1}}'"
                                      " WHERE kind = 'agent'"], "holds something else than it did before"),
    "time turned back": (["UPDATE event SET t_run = t_run - 30 WHERE kind = 'evaluation'"], "research time goes back"),
    "a time that is none": (["UPDATE event SET t_run = 9e999 WHERE seq = 5"], "has no time"),
    "another body": (["UPDATE event SET payload = json_set(payload, '$.cell', 'reported') WHERE kind = 'episode'"], "no cell calls itself"),
    "scored while it worked": (["UPDATE event SET payload = json_set(payload, '$.phase', 'paused') WHERE payload LIKE '%agents_stopped%'",
                                "UPDATE event SET kind = 'run', payload = '{\"phase\": \"agents_stopped\"}' WHERE payload LIKE '%heldout%' AND"
                                " json_extract(payload, '$.index') = 199"], "still at work"),
}  # fmt: skip


@pytest.mark.parametrize("name", LEDGERS)
def test_an_edited_ledger_contradicts_itself(run, tmp_path, name):
    """Also where result.json was computed anew from the edited ledger."""
    copy = tmp_path / run.name
    shutil.copytree(run, copy)
    statements, words = LEDGERS[name]
    forged = tampered(copy, *statements) if "DROP" not in statements[0] else copy
    if "DROP" in statements[0]:
        import sqlite3

        sqlite3.connect(copy / "ledger.sqlite").execute(statements[0])
    with pytest.raises(UserError, match=re.escape(words)):
        leaderboard.add(forged, tmp_path / "board")


def test_a_view_is_no_ledger(run, tmp_path):
    """It could answer otherwise each time it is read, or for ever."""
    import sqlite3

    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    db = sqlite3.connect(copy / "ledger.sqlite")
    db.execute("ALTER TABLE event RENAME TO kept")
    db.execute(
        "CREATE VIEW event AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x FROM n) SELECT x AS seq FROM n"
    )
    db.close()
    with pytest.raises(UserError, match="not a ledger's"):
        leaderboard.add(copy, tmp_path / "board")


def test_a_ledger_of_events_that_nobody_knows_is_read_and_its_digest_covers_them(run):
    ledger = Ledger(run / "ledger.sqlite")
    events = list(ledger.events())
    assert result_of(run).ledger_sha256 == ledger.digest()
    assert all(e.text for e in events)
