"""A leaderboard takes what a ledger bears out, ranks like with like, and survives whatever lies in its folder."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from board import refuse_every_edit, result_of, tampered, write_run

from autoenvbench.errors import UserError
from autoenvbench.publish import leaderboard, ranking
from autoenvbench.publish.report import write_report
from autoenvbench.record.events import CallEvent, CommitEvent, TokensEvent, WaitEvent
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.results import Result, choose_answer
from autoenvbench.record.run_config import RunConfig


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run-0")


# -- add -------------------------------------------------------------------------------------------------------------
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


# -- no true 0 % -------------------------------------------------------------------------------------------------------
FAILED, ANSWERED = TokensEvent(model="gpt-x", status=429, error="HTTP 429", wait_s=0.0), TokensEvent(model="gpt-x", status=200, input=100, output=10)  # fmt: skip
NONSENSE = TokensEvent(model="gpt-x", status=400, error="max_tokens must be above 0")  # asked for by the agent
NO_CREDIT = NONSENSE.model_copy(update={"error": "Your credit balance is too low to access the API."})


@pytest.mark.parametrize(("given", "reason"), [
    ({"work": False}, "never worked"),
    ({"work": False, "calls": [FAILED] * 3}, "never worked"),
    ({"calls": [FAILED] * 3 + [ANSWERED] * 2}, "3 of its 5 model calls failed"),
    ({"calls": [CallEvent(id="1", model="gpt-x"), WaitEvent(phase="started", call="1"), 1.0, WaitEvent(phase="ended", call="1"), ANSWERED]},
     "waiting for its model's provider"),
    ({"work": False, "calls": [ANSWERED.model_copy(update={"in_flight": True})]}, "never worked"),
    ({"calls": [ANSWERED] + [NO_CREDIT] * 9}, "9 of its 10 model calls failed"),
])  # fmt: skip
def test_a_run_that_measured_nothing_is_no_zero(tmp_path, given, reason):
    result = result_of(write_run(tmp_path / "run", wins=0, **given))
    assert any(reason in why for why in result.void_because)
    assert set(result.void_because) <= set(ranking.unranked_because(result))


@pytest.mark.parametrize("given", [
    {}, {"work": False, "calls": [ANSWERED]}, {"calls": [ANSWERED] * 3 + [FAILED]}, {"calls": [ANSWERED] + [NONSENSE] * 9},
])  # fmt: skip
def test_a_run_that_tried_and_failed_is_a_zero(tmp_path, given):
    result = result_of(write_run(tmp_path / "run", wins=0, **given))
    assert result.void_because == []
    assert result.unranked_because == []


# -- rank ------------------------------------------------------------------------------------------------------------
def results(tmp_path, name, n=3, **given):
    return [result_of(write_run(tmp_path / f"{name}-{k}", number=k, **given)) for k in range(n)]


#: One other value for each field of a configuration, in which runs must not be taken for repetitions of each other.
OTHERWISE = {
    "agent": "command:other", "env": "ENPIRE/PinInsertion-v0", "env_kwargs": {"criterion": "pose"}, "budget_s": 61, "track": "station",
    "pace": 1.0, "sandbox": "docker", "model": "m", "effort": "high", "agent_args": ["--fast"], "base_url": "http://127.0.0.1:1/v1",
    "token_budget": 5, "cost_budget": 5.0, "regime": "bc", "tools": {"width": 640}, "tools_replay": "x.json", "goal": "success>=0.9",
    "nudges": 0, "agent_memory_gb": 1.0, "gateway": "replay", "replay": "x.json", "held_out": 201, "attempts": 2, "min_episodes": 10,
    "confirm_episodes": 20, "allow_hosted_tools": True,
    "strict_episodes": 100,
}  # fmt: skip


def test_every_field_of_a_configuration_keeps_runs_apart_or_says_why_not(tmp_path):
    given = {name: value for name, value in OTHERWISE.items() if name in RunConfig.model_fields}
    unknown = set(RunConfig.model_fields) - set(given) - set(ranking.NOT_MEASURED)
    assert not unknown, f"say in OTHERWISE or ranking.NOT_MEASURED whether {unknown} changes what is measured"
    first = result_of(write_run(tmp_path / "first"))
    for name, value in given.items():
        other = result_of(
            write_run(tmp_path / name, number=1, **{name: value, **({"held_out": 200} if name != "held_out" else {})})
        )
        pair = ranking.sections([first, other])
        rows = [row for s in pair for row in [*s.unranked, *(r for t in s.tables.values() for r in t)]]
        assert len(rows) == 2, name


@pytest.mark.parametrize(
    "facts", [{"compute_class": "64c-gpu"}, {"versions": {"autoenvbench": "0.2.0"}}, {"fingerprint": "0" * 16}]
)
def test_nor_do_runs_of_another_machine_or_version_share_a_row(tmp_path, facts):
    one, two = result_of(write_run(tmp_path / "a")), result_of(write_run(tmp_path / "b", number=1, started=facts))
    assert sum(len(s.unranked) for s in ranking.sections([one, two])) == 2


def test_a_rank_is_given_within_a_table_and_starts_anew_in_the_next(tmp_path):
    all_of = [
        *results(tmp_path, "good", wins=180), *results(tmp_path, "worse", wins=100, agent_args=["--lazy"]),
        *results(tmp_path, "slow", wins=190, pace=1.0), *results(tmp_path, "few", n=2, wins=200, nudges=1),
    ]  # fmt: skip
    (section,) = ranking.sections(all_of)
    ranks = {words: [(row.rank, row.agent, row.mean) for row in rows] for words, rows in section.tables.items()}
    assert sorted(ranks.values()) == [[(1, "cem 1.0", 0.9), (2, "cem 1.0 (--lazy)", 0.5)], [(1, "cem 1.0", 0.95)]]
    assert [(row.rank, row.note) for row in section.unranked] == [(None, "2 of the 3 runs that a rank takes")]


def test_intervals_are_over_runs_and_times_are_censored(tmp_path):
    many = [r for k, wins in enumerate((100, 120, 140, 160, 180)) for r in results(tmp_path, f"m{k}", n=1, wins=wins)]
    (row,) = next(iter(ranking.sections(many)[0].tables.values()))
    assert row.interval[1] - row.interval[0] > 0.2  # the pooled episodes' would be 0.06 wide
    assert ranking._row(many[:3], "").interval is None
    assert ranking._row(many[:1], "").interval == many[0].held_out.wilson95
    fast, *slow = [r.model_copy(update={"research_s": 600.0}) for r in many]
    fast = fast.model_copy(update={"to_threshold": {"0.8": {"time_s": 60.0}}})
    slow = [r.model_copy(update={"to_threshold": {"0.8": None}}) for r in slow]
    assert ranking._row([fast, *slow], "").to_80 == "more (1/5)"  # and not 60 s, the median of those that got there
    assert ranking._row([fast, fast, slow[0]], "").to_80 == "1m 00s (2/3)"


def test_equal_means_share_a_rank(tmp_path):
    (section,) = ranking.sections([*results(tmp_path, "a"), *results(tmp_path, "b", agent_args=["x"]), *results(tmp_path, "c", wins=10, agent_args=["y"])])  # fmt: skip
    (rows,) = section.tables.values()
    assert [row.rank for row in rows] == [1, 1, 3]


# -- scores ------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def score():
    from autoenvbench.study.score import score

    return json.loads(json.dumps(score("ENPIRE/PushT-v0", "random", 6)))


def test_a_score_is_filed_as_self_reported_and_never_ranked(score, tmp_path):
    file = tmp_path / "score.json"
    for seed in range(3):
        file.write_text(json.dumps({**score, "seed": seed, "policy": "mine"}))
        leaderboard.add(file, tmp_path / "board")
    found = leaderboard.read(tmp_path / "board").results.values()
    # Even if its file is edited in the board's folder to claim that nothing is against it.
    (section,) = ranking.sections([r.model_copy(update={"unranked_because": []}) for r in found])
    assert section.tables == {}
    assert "no ledger bears them out" in section.unranked[0].note


def test_a_score_that_contradicts_itself_or_claims_more_is_refused(score, tmp_path):
    file = tmp_path / "score.json"
    for change in ({"successes": 6}, {"success_rate": 1.0}, {"wilson95": [0.9, 1.0]}, {"streak": 6}, {"pass_at_8": 1.0}, {"episodes": 7},
                   {"outcomes": [True] * 6}, {"failures": {}}, {"score": 1.5}, {"score": "nan"}, {"kind": "better"}, {"verification": "verified"},
                   {"unranked_because": []}, {"policy_tokens": -1}, {"fingerprint": None}, {"scenes": []}):  # fmt: skip
        file.write_text(json.dumps({**score, **change}))
        with pytest.raises(UserError, match="not what `autoenvbench score"):
            leaderboard.add(file, tmp_path / "board")
    for name in score:
        file.write_text(json.dumps({k: v for k, v in score.items() if k != name}))
        with pytest.raises(UserError, match="not what `autoenvbench score"):
            leaderboard.add(file, tmp_path / "board")


# -- build -----------------------------------------------------------------------------------------------------------
def bad_files(folder, run):
    good = json.loads((run / "result.json").read_text())

    def variant(**changes):
        return json.dumps({**good, **changes})

    texts = {
        "tokens": variant(tokens={"calls": "many"}), "tokens2": variant(tokens=[1]), "tokens3": variant(tokens={"calls": 1}),
        "verified": variant(verification="verified"), "version": variant(version=1), "extra": variant(stars=5),
        "times": variant(to_threshold={"0.8": {"time_s": None}}), "infinite": variant(robot_s=0).replace('"robot_s": 0', '"robot_s": 1e999'),
        "nan": variant(mtu=1).replace('"mtu": 1', '"mtu": NaN'), "rate": variant(held_out={**good["held_out"], "success_rate": 1.0}),
        "streak": variant(held_out={**good["held_out"], "streak": 500}), "path": variant(run_id="../../x"), "deep": "[" * 200_000,
        "empty": "", "list": "[]", "null": "null", "date": variant(date="yesterday"), "renamed": variant(run_id="another"),
        "long": '{"version": ' + "9" * 10_000 + "}", "huge": " " * (5 << 20),
    }  # fmt: skip
    for name, text in texts.items():
        (folder / f"{name}.json").write_text(text)
    (folder / "binary.json").write_bytes(bytes(range(256)))
    (folder / "folder.json").mkdir()
    os.mkfifo(folder / "pipe.json")
    (folder / "loop.json").symlink_to("loop.json")
    (folder / "zero.json").symlink_to("/dev/zero")
    return {*texts, "binary", "folder", "pipe", "loop", "zero"}


def test_one_bad_submission_never_breaks_the_board(run, tmp_path):
    board = tmp_path / "board"
    leaderboard.add(run, board)
    bad = bad_files(board / "submissions", run)
    done = subprocess.run(
        [sys.executable, "-m", "autoenvbench", "leaderboard", "build", "--dir", board],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    page = (board / "README.md").read_text()
    assert "| cem 1.0 | 1 | 75.0 % |" in page
    listed = page[page.index("## Broken submissions") :]
    for name in bad:
        assert f"{name}.json" in listed
        assert f"left out {name}.json: " in done.stderr


MARKUP = "<img src=x onerror=alert(1)>[x](javascript:alert(1)) `y` | z \x1b[31m \u202e <!-- \n# head"


def test_what_submitters_wrote_does_nothing_on_a_page(tmp_path):
    board = tmp_path / "board"
    for k in range(3):
        call = TokensEvent(model=MARKUP, status=200, input=10, output=5)
        leaderboard.add(
            write_run(tmp_path / f"run-{k}", number=k, agent=MARKUP, effort=MARKUP, agent_args=[MARKUP], regime=MARKUP, goal="success>=1",
                      base_url=MARKUP, env_kwargs={MARKUP: MARKUP}, calls=[call], started={"compute_class": MARKUP, "fingerprint": MARKUP}), board,
        )  # fmt: skip
    (board / "submissions/<b>x|y.json").write_text("no")
    leaderboard.build(board)
    for name in ("README.md", "index.html"):
        page = (board / name).read_text()
        assert "onerror" in page  # it is shown ...
        assert not re.search(
            "<img|<b>x|<!--|javascript:alert\\(1\\)\\)[^<]*</a|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", page
        )
    page = (board / "README.md").read_text()
    assert not re.search(r"(?<!\\)\[x(?<!\\)\]", page)
    table = [line for line in page.splitlines() if line.startswith("| 1 ")]
    assert len(table) == 1
    assert len(re.findall(r"(?<!\\)\|", table[0])) == 11


def test_the_boards_pages_are_what_its_submissions_give(tmp_path):
    """The repository's own."""
    own = Path(__file__).parents[2] / "leaderboards"
    board = tmp_path / "board"
    shutil.copytree(own, board)
    _, broken = leaderboard.build(board)
    assert broken == {}
    for name in ("README.md", "index.html", "result.schema.json"):
        assert (board / name).read_text() == (own / name).read_text(), (
            f"type: autoenvbench leaderboard build, and commit {name}"
        )


def test_a_ledger_of_events_that_nobody_knows_is_read_and_its_digest_covers_them(run):
    ledger = Ledger(run / "ledger.sqlite")
    events = list(ledger.events())
    assert result_of(run).ledger_sha256 == ledger.digest()
    assert all(e.text for e in events)
