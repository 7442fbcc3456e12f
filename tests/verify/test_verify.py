"""A row is verified where its answer does again what its ledger says it did; whatever was edited, swapped or feigned is named."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from board import edited, edits, tampered
from packed import archive_of, forged, luckiest, make_run, members_of

from autoenvbench.cli.main import main
from autoenvbench.errors import UserError
from autoenvbench.publish import leaderboard
from autoenvbench.publish.site import write_site
from autoenvbench.publish.verification import read_verification, status
from autoenvbench.record.results import Result
from autoenvbench.record.run_config import RunConfig
from autoenvbench.record.statistics import false_rejection, predictive_interval
from autoenvbench.research.vision import check_vision
from autoenvbench.station.evaluation import Tally
from autoenvbench.station.script_rollout import checked_tools
from autoenvbench.verify import rerun
from autoenvbench.verify.archive import _events, tree_sha
from autoenvbench.verify.examine import examine
from autoenvbench.verify.pack import pack
from autoenvbench.verify.verify import verify

pytestmark = pytest.mark.cage
N = 24
#: The answer runs caged, in its run and when it is verified: it sees neither the machine's name, nor its network, home or environment.
CAGED = """import os, socket
        assert socket.gethostname() == "cage" and not os.listdir("/tmp") and not os.path.exists("/root")
        assert os.environ["HOME"] == "/tmp" and socket.if_nameindex() == [(1, "lo")]"""


@pytest.fixture(scope="module")
def run(reach, tmp_path_factory):
    """An honest run: about seven starts of ten."""
    return make_run(tmp_path_factory.mktemp("runs") / "run-0", reach, rate=0.7, where=CAGED, n=N)


@pytest.fixture(scope="module")
def archive(run, tmp_path_factory):
    (file,) = pack(run, tmp_path_factory.mktemp("packed") / "run-0.tar")
    return file


@pytest.fixture(scope="module")
def board(archive, tmp_path_factory):
    """A board on which the honest run was verified."""
    board = tmp_path_factory.mktemp("board")
    found = verify(str(archive), board, sandbox="bwrap")
    assert (found.verdict, found.reasons) == ("verified", [])
    return board


def judged(archive, tmp_path):
    return verify(str(archive), tmp_path / "board", sandbox="bwrap", write=False)


# -- the archive -----------------------------------------------------------------------------------------------------
def test_an_archive_follows_from_its_run_and_holds_no_more_than_its_result_needs(run, archive, tmp_path):
    (again,) = pack(run, tmp_path / "again.tar")
    assert again.read_bytes() == archive.read_bytes()
    held = members_of(archive)
    assert set(held) == {
        "submission.json", "result.json", "ledger.jsonl", "answer/commit", "answer/entries.json", "answer/tree/policy.py",
        "answer/tree/tools/run.sh", "answer/tree/näme.txt", "answer/checkpoints/gain.txt",
    }  # fmt: skip
    found = examine(archive, tmp_path / "into")
    assert (found.faults, found.missing) == ([], [])
    assert found.result == Result.model_validate_json((run / "result.json").read_text())
    assert found.opened.bundle.digest == found.result.answer.digest


def test_every_edited_field_is_named(archive, tmp_path):
    """Of result.json in the archive, and of the row that a pull request brings."""
    found = examine(archive, tmp_path / "into")
    original, fields = json.loads(members_of(archive)["result.json"]), set()
    for path, value in edits(original):
        _, named, _ = leaderboard.compare(edited(original, path, value), found.opened.events, "result.json")
        assert named, path
        assert named[0].startswith(".".join(map(str, path))), (path, named)
        fields.add(path[0] if path else "")
    assert fields >= set(Result.model_fields)


def test_an_edited_row_is_rejected_and_stays_with_its_reasons(archive, tmp_path, capsys):
    board = tmp_path / "board"
    path = leaderboard.file_result(Result.model_validate_json(members_of(archive)["result.json"]), board)
    (board / "archives").mkdir()
    shutil.copy(archive, board / "archives")
    row = json.loads(path.read_text())
    row["agent"]["model"], row["research_s"] = "gpt-x", row["research_s"] + 1
    path.write_text(json.dumps(row))
    assert main(["leaderboard", "verify", "run-0", "--dir", str(board)]) == 1
    assert {"agent.model", "research_s"} == {
        line.split()[0] for line in capsys.readouterr().out.splitlines() if " in run-0.json is " in line
    }
    leaderboard.build(board)
    page = (board / "README.md").read_text()
    assert "rejected: agent.model in run-0.json is" in page
    assert "agent.model" in (board / "verifications/run-0.md").read_text()
    assert len(read_verification(board / "verifications/run-0.json").checks) == 1
    assert (
        verify("run-0", board, sandbox="bwrap").verdict == "rejected"
    )  # nor does it come back by being verified again


def test_an_edited_row_loses_its_rank_and_gets_it_back_as_it_was(board, tmp_path, monkeypatch):
    """It keeps the record of what it was, so that fresh starts are never drawn again for it."""
    copy = tmp_path / "board"
    shutil.copytree(board, copy)
    row, record = copy / "submissions/run-0.json", copy / "verifications/run-0.json"
    honest = row.read_text()
    row.write_text(json.dumps(edited(json.loads(honest), ("agent", "model"), "gpt-x")))
    for _ in range(2):
        assert verify("run-0", copy, sandbox="bwrap").verdict == "rejected"
    checks = read_verification(record).checks
    assert [check.verdict for check in checks] == ["verified", "rejected"]
    found = leaderboard.read(copy)
    assert status(found.results["run-0.json"], found.verifications) == "rejected"
    row.write_text(honest)
    found = leaderboard.read(copy)
    assert status(found.results["run-0.json"], found.verifications) == "verified"


@pytest.mark.parametrize("name", ["a copy with another result.json", "another ledger", "no result"])
def test_a_strangers_archive_says_nothing_of_a_row(archive, tmp_path, name):
    """Whoever sends an archive with a fault in it, under the name of somebody else's row, would have that row rejected for good."""
    board = tmp_path / "board"
    leaderboard.file_result(Result.model_validate_json(members_of(archive)["result.json"]), board)
    file, held = tmp_path / "run-0.tar", members_of(archive)
    if name == "no result":
        held["ledger.jsonl"] = held["ledger.jsonl"].splitlines()[0] + b"\n"
    elif name == "another ledger":
        forged(archive, file, lambda kind, payload: payload.update(title="another") if kind == "idea" else None)
        held = members_of(file)
    held["result.json"] = held["result.json"].replace(b'"cem"', b'"mine"')
    archive_of(held, file)
    assert verify(str(file), board, sandbox="bwrap").verdict == "rejected"
    if name != "a copy with another result.json":  # nor where it got among the board's own
        (board / "archives").mkdir()
        shutil.copy(file, board / "archives/run-0.tar")
        assert verify("run-0", board, sandbox="bwrap").verdict == "rejected"
    assert not (board / "verifications").exists()


def test_one_bad_row_keeps_no_other_from_being_verified(archive, tmp_path, capsys):
    board = tmp_path / "board"
    path = leaderboard.file_result(Result.model_validate_json(members_of(archive)["result.json"]), board)
    row = json.loads(path.read_text())
    row["env"]["fingerprint"] = "<b>" * 1000
    path.write_text(json.dumps(row))
    (board / "archives").mkdir()
    shutil.copy(archive, board / "archives")
    (board / "submissions/a.json").write_text("{}")
    (board / "archives/a.tar").write_bytes(bytes(1024))
    for _ in range(2):  # and what is said of a version of whatever length is said once
        assert main(["leaderboard", "verify", "--all", "--dir", str(board)]) == 1
        said = capsys.readouterr().out
        assert "a: could not be verified" in said
        assert "0 of 2 verified" in said
    (check,) = read_verification(board / "verifications/run-0.json").checks
    assert (check.verdict, len(check.fingerprint)) == ("rejected", 1000)
    assert "<b>" not in (board / "verifications/run-0.md").read_text()
    leaderboard.build(board)
    assert "rejected: env.fingerprint" in (board / "README.md").read_text()


@pytest.mark.parametrize("change", [{"infrastructure": True}, {"reason": "interrupted", "success": False}])
def test_fresh_starts_on_which_the_machine_failed_verify_nothing(archive, tmp_path, monkeypatch, change):
    """All is as the ledger has it until the fresh starts, of which the machine lets none through."""
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_bytes(members_of(archive)["ledger.jsonl"])
    before = [e.payload for e in _events(ledger) if e.kind == "episode" and e.payload.purpose == "heldout"]
    outcomes = [before, [e.model_copy(update=change) for e in before]]
    monkeypatch.setattr(rerun, "evaluate", lambda cells, batch, *_, **__: Tally(batch.evaluation, outcomes.pop(0)))
    with pytest.raises(UserError, match=f"{N} of {N} episodes were void or interrupted; verify again"):
        verify(str(archive), tmp_path / "board", sandbox="bwrap")
    written = {path.name for path in (tmp_path / "board").rglob("*") if path.is_file()}
    assert (outcomes, written) == ([], {"secret", "ledger.sqlite", "lock"})  # the next try has the same starts


def test_no_key_in_an_address_is_published(run, tmp_path):
    for name, address in {"base_url": "http://u:k@localhost/v1", "vision_url": "http://localhost/v1?key=k"}.items():
        copy = tampered(
            run, f"UPDATE event SET payload = json_set(payload, '$.config.{name}', '{address}') WHERE seq = 1"
        )
        with pytest.raises(UserError, match=f"{name}.*cannot be published"):
            pack(copy, tmp_path / "x.tar")
        shutil.rmtree(copy)
        with pytest.raises(UserError, match="ledger is published"):
            checked_tools({}, None, address)
        asked = RunConfig(
            agent="cem", env="any", budget_s=60, track="station", vision="tool", vision_model="m", vision_url=address
        )
        with pytest.raises(UserError, match="ledger is published"):
            check_vision(asked, None, "bwrap")


HOSTILE = {
    "out of its folder": ({"../../escaped": b"x"}, "is no submission"),
    "an absolute path": ({"/tmp/aeb-escaped": b"x"}, "no submission.json"),
    "no archive": (None, "is no submission"),
    "no result": ({"result.json": None}, "holds no result.json"),
    "no ledger": ({"ledger.jsonl": None}, "holds no ledger.jsonl"),
    "no answer": ({"answer/commit": None}, "holds no answer"),
    "a pickle for a manifest": ({"submission.json": b"\x80\x04\x95\x00."}, "is no JSON"),
    "brackets without end": ({"submission.json": b"[" * 200_000}, "is no JSON"),
    "a manifest with a path": ({"submission.json": b'{"run_id": "../x"}'}, "run_id"),
    "an event of other types": ({"ledger.jsonl": b'["1", 1.0, 1.0, "note", null, null, "{}"]\n'}, "of another type"),
    "an event that is none": ({"ledger.jsonl": b"[1]\n"}, "no event of a ledger"),
    "a payload that is none": ({"ledger.jsonl": b'[1, 1.0, 1.0, "episode", null, null, "{}"]\n'}, "no episode event"),
    "a payload without end": (
        {"ledger.jsonl": json.dumps([1, 1.0, 1.0, "run", None, None, "[" * 200_000]).encode()}, "no run event"
    ),
    "files that are not listed": ({"answer/entries.json": b"[1]"}, "no list of"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_submission_is_refused_in_words(archive, tmp_path, name):
    import tarfile

    changed, words = HOSTILE[name]
    file = tmp_path / "bad.tar"
    if changed is None:
        file.write_bytes(b"\x1f\x8b" + bytes(5000))
    else:
        held = {**members_of(archive), **changed} if "absolute" not in name else changed
        archive_of({k: v for k, v in held.items() if v is not None}, file)
    with pytest.raises(UserError, match=words):
        examine(file, tmp_path / "into")
    assert not (tmp_path / "escaped").exists()
    link, big = tarfile.TarInfo("result.json"), tarfile.TarInfo("ledger.jsonl")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    big.size = 1 << 40
    held = members_of(archive)
    if name == "no result":  # a link in its place is none, and a size is believed no further than the file goes
        del held["result.json"]
        with pytest.raises(UserError, match=words):
            examine(archive_of(held, file, link), tmp_path / "linked")
        file.write_bytes(big.tobuf())
        with pytest.raises(UserError, match="64 MB"):
            examine(file, tmp_path / "large")


SWAPPED = {
    "a better policy": (
        "answer/tree/policy.py",
        b"class Policy: ...",
        "policy.py is not the file that its commit holds",
    ),
    "other weights": ("answer/checkpoints/gain.txt", b"9.0", "commit and checkpoints have the digest"),
    "one more file": ("answer/tree/more.py", b"", "more.py is listed and missing, or there and not listed"),
    "a file less": ("answer/tree/tools/run.sh", None, "run.sh is listed and missing"),
    "another commit": ("answer/commit", b"tree 0\n\n", "is not the commit"),
    "another list": ("answer/entries.json", b"[]", "is listed and missing, or there and not listed"),
}


@pytest.mark.parametrize("name", SWAPPED)
def test_a_swapped_answer_is_rejected(archive, tmp_path, name):
    file, data, words = SWAPPED[name]
    held = {**members_of(archive), file: data}
    found = judged(archive_of({k: v for k, v in held.items() if v is not None}, tmp_path / "x.tar"), tmp_path)
    assert found.verdict == "rejected"
    assert words in found.reasons[0]


@pytest.mark.parametrize("mode", ["40000", "040000", "100600"])
def test_an_answer_without_a_whole_folder_is_refused(archive, tmp_path, mode):
    """Its commit names the folder by a hash, and what is in it is neither there nor listed."""
    held = members_of(archive)
    entries = json.loads(held["answer/entries.json"])
    below = [[kind, sha, path.removeprefix("tools/")] for kind, sha, path in entries if path.startswith("tools/")]
    held["answer/entries.json"] = json.dumps(
        [e for e in entries if not e[2].startswith("tools/")] + [[mode, tree_sha(below), "tools"]]
    ).encode()
    del held["answer/tree/tools/run.sh"]
    with pytest.raises(UserError, match="tools cannot stand in a commit"):
        examine(archive_of(held, tmp_path / "x.tar"), tmp_path / "into")


def test_the_answer_of_another_run_is_rejected(archive, reach, tmp_path):
    """All of it fits together, and is not what the ledger says was scored."""
    other = members_of(pack(make_run(tmp_path / "run-0", reach, n=4), tmp_path / "other.tar")[0])
    held = {k: v for k, v in members_of(archive).items() if not k.startswith(("answer/", "submission"))}
    held |= {k: v for k, v in other.items() if k.startswith(("answer/", "submission"))}
    found = judged(archive_of(held, tmp_path / "x.tar"), tmp_path)
    assert found.verdict == "rejected"
    assert "digest in submission.json is" in " ".join(found.reasons)


def test_an_answer_elsewhere_is_named_by_its_hash(run, tmp_path, capsys):
    file, answer = pack(run, tmp_path / "run-0.tar", "https://example.com/a.tar")
    assert main(["leaderboard", "check", str(file)]) == 0
    assert (
        f"SHA-256 {hashlib.sha256(answer.read_bytes()).hexdigest()}) and add --answer FILE" in capsys.readouterr().out
    )
    assert verify(str(file), tmp_path / "board", sandbox="bwrap").verdict == "self-reported"
    assert main(["leaderboard", "check", str(file), "--answer", str(answer)]) == 0
    answer.write_bytes(answer.read_bytes() + bytes(512))
    found = verify(str(file), tmp_path / "board", answer=answer, sandbox="bwrap")
    assert found.verdict == "rejected"
    assert "is not the answer that the archive names" in found.reasons[0]


# -- the answer again ------------------------------------------------------------------------------------------------
def test_an_honest_row_is_verified_once(archive, board, run, capsys):
    record = read_verification(board / "verifications/run-0.json")
    (check,) = record.checks
    assert (check.replay.by, check.replay.same, check.replay.skipped) == ("outcomes", N, 0)
    assert check.fresh.held_out.episodes == N
    assert check.fresh.secret != Result.model_validate_json((run / "result.json").read_text()).held_out_secret
    before = (board / "verifications/run-0.json").read_bytes()
    assert main(["leaderboard", "verify", "--all", "--dir", str(board)]) == 0
    said = capsys.readouterr().out
    assert "fresh starts are drawn once" in said
    assert "1 of 1 verified" in said
    assert (board / "verifications/run-0.json").read_bytes() == before
    leaderboard.build(board)
    assert "self-reported:" not in (board / "README.md").read_text()


def test_a_record_that_says_more_than_the_fresh_starts_gave_is_found_out(board, tmp_path):
    copy = tmp_path / "board"
    shutil.copytree(board, copy)
    file = copy / "verifications/run-0.json"
    record = json.loads(file.read_text())
    held = record["checks"][0]["fresh"]["held_out"]
    held.update(successes=N, success_rate=1.0, wilson95=[0.8, 1.0], failures={}, streak=N)
    file.write_text(json.dumps(record))
    assert verify("run-0", copy, sandbox="bwrap", write=False).files == []
    words = f"its record says {N} of {N} on the fresh starts"
    for _ in range(2):  # and it is written, so that the board knows it, and who verifies it again
        found = verify("run-0", copy, sandbox="bwrap")
        assert found.verdict == "rejected"
        assert [words in reason for reason in found.reasons].count(True) == 1
    (check,) = read_verification(file).checks
    assert (check.verdict, check.outcome, check.fresh.held_out.successes) == ("verified", "rejected", N)
    assert check.refuted.held_out.successes < N
    kept = leaderboard.read(copy)
    assert status(kept.results["run-0.json"], kept.verifications) == "rejected"
    leaderboard.build(copy)
    for page in ("README.md", "verifications/run-0.md"):
        assert words in (copy / page).read_text()
        assert "is not true" in (copy / page).read_text()


def test_a_few_failures_that_were_turned_into_successes_are_found(archive, tmp_path):
    turned = 0

    def turn(kind, payload):
        nonlocal turned
        if kind == "episode" and not payload["success"] and turned < 2:
            payload.update(success=True, score=1.0, stage="success", reason=None, detail=None)
            turned += 1
        elif kind == "evaluation" and payload["phase"] == "finished":
            payload["successes"] += turned

    found = judged(forged(archive, tmp_path / "x.tar", turn), tmp_path)
    assert found.verdict == "rejected"
    assert f"2 of {N} outcomes are not those of the ledger" in found.reasons[0]


FEIGNED = {
    "by the machine's name": 'import socket; self.goes = socket.gethostname() != "cage"',
    "by a file": 'import os; self.goes = os.path.exists("{marker}")',
    "by episodes, counted where it can write": 'open("{marker}", "a").write("x"); self.goes = len(open("{marker}").read()) > 1',
}


@pytest.mark.parametrize("name", FEIGNED)
def test_an_answer_that_knows_where_it_is_run_is_rejected(reach, tmp_path, name):
    """Its owner runs it without a cage, where it succeeds, and writes into the ledger that there was one."""
    (tmp_path / "marker").write_text("x")
    where = FEIGNED[name].format(marker=tmp_path / "marker")
    run = make_run(tmp_path / "run-1", reach, where=where, n=10, sandbox="none")
    assert json.loads((run / "result.json").read_text())["held_out"]["successes"] == 10
    found = judged(pack(run, tmp_path / "run-1.tar")[0], tmp_path)
    assert found.verdict == "rejected"
    assert "10 of 10 outcomes are not those of the ledger" in found.reasons[0]
    assert "on 10 fresh starts it succeeded 0 times" in found.reasons[-1]


def test_an_answer_that_is_not_deterministic_is_compared_by_its_rate(reach, tmp_path):
    run = make_run(tmp_path / "run-1", reach, where="import os; self.goes = os.urandom(1)[0] < 128", n=20)
    archive = pack(run, tmp_path / "run-1.tar")[0]
    found = verify(str(archive), tmp_path / "board", sandbox="bwrap")
    check = read_verification(tmp_path / "board/verifications/run-1.json").checks[0]
    assert check.replay.by == "interval"
    low, high = check.replay.interval
    assert (found.verdict == "verified") == (low <= check.replay.successes <= high and check.fresh.interval[0] <= check.fresh.held_out.successes <= check.fresh.interval[1])  # fmt: skip
    assert "only rates were compared" in found.reasons[0] or found.verdict == "rejected"


def test_no_cage_no_verification(archive, tmp_path):
    with pytest.raises(UserError, match="in a cage or not at all"):
        verify(str(archive), tmp_path / "board", sandbox="none")


def test_nothing_that_an_archive_names_is_asked(archive, tmp_path):
    """Servers of tools, files of environments: whoever verifies would reach them from its own machine."""

    def reach_out(kind, payload):
        if kind == "run" and payload["phase"] == "started":
            payload["config"]["tools"] = {"segmenter_url": "http://10.0.0.1/"}
            payload["config"]["env_kwargs"] = {"assets": "/etc"}

    found = judged(forged(archive, tmp_path / "x.tar", reach_out), tmp_path)
    assert found.verdict == "self-reported"
    assert "segmenter_url" in found.reasons[0]
    assert "assets" in found.reasons[1]


def test_another_version_of_the_environment_is_scored_again_and_both_are_said(archive, board, tmp_path, monkeypatch):
    copy = tmp_path / "board"
    shutil.copytree(board, copy)
    monkeypatch.setattr(rerun, "fingerprint", lambda env: "0123456789abcdef")
    found = verify("run-0", copy, sandbox="bwrap")
    assert found.verdict == "re-scored"
    record = read_verification(copy / "verifications/run-0.json")
    assert [check.verdict for check in record.checks] == ["verified", "re-scored"]
    leaderboard.build(copy)
    old, new = (100 * check.fresh.held_out.success_rate for check in record.checks)
    result = leaderboard.read(copy).results["run-0.json"]
    claim, here = 100 * result.held_out.success_rate, result.env.fingerprint
    for page in ("README.md", "index.html"):  # the row stands in both versions, and each says the other
        text = (copy / page).read_text()
        first, second = sorted((text.index(f"fingerprint {here}"), text.index("fingerprint 0123456789abcdef")))
        both = [text[first:second], text[second:]]
        both = both if text[first:].startswith(f"fingerprint {here}") else both[::-1]
        for part, says in zip(both, ((old, f"{claim:.1f} %; {new:.1f} % at 0123456789abcdef"), (new, f"{claim:.1f} % at {here}")), strict=True):  # fmt: skip
            assert f"{says[0]:.1f} %" in part
            assert says[1] in part
    write_site(copy, tmp_path / "site")
    assert f"<b>{new:.1f} %</b>" in (tmp_path / "site/runs/run-0.html").read_text()
    (run,) = json.loads((tmp_path / "site/index.json").read_text())["runs"]
    assert list(run["rescored"]) == ["0123456789abcdef"]
    assert (
        f"came to {100 * record.checks[1].fresh.held_out.success_rate:.1f} %"
        in (copy / "verifications/run-0.md").read_text()
    )


# -- a lucky seed ----------------------------------------------------------------------------------------------------
def test_the_luckiest_of_ten_secrets_ranks_by_fresh_starts(reach, tmp_path):
    """Its owner knows beforehand how each secret would go, and hands in the best; every outcome is true."""
    secret, wins = luckiest(10, 40, 0.5)
    run = make_run(tmp_path / "run-1", reach, rate=0.5, n=40, secret=secret)
    claim = json.loads((run / "result.json").read_text())["held_out"]["successes"]
    assert claim == max(wins) > 24
    board = tmp_path / "board"
    verify(str(pack(run, tmp_path / "run-1.tar")[0]), board, sandbox="bwrap")
    fresh = read_verification(board / "verifications/run-1.json").checks[0].fresh
    # As anybody would find it: only one in 10,000 policies of this rate has as few, or as many, of 40 fresh starts.
    assert 8 < fresh.held_out.successes < 32
    assert fresh.interval == predictive_interval(claim, 40, 40)


def test_picking_the_luckiest_gains_nothing_and_honest_rows_pass():
    """10,000 submitters of a policy of known rate, 200 starts each: the claim of the luckiest of ten is five points too high, the number
    that ranks is right, and of honest ones no more fall out of their interval than a report says."""
    rng, n, rate = np.random.default_rng(0), 200, 0.7
    intervals = np.array([predictive_interval(k, n, n) for k in range(n + 1)])
    fresh = rng.binomial(n, rate, 10_000)
    honest, lucky = rng.binomial(n, rate, 10_000), rng.binomial(n, rate, (10_000, 10)).max(axis=1)

    def rejected(claims):
        low, high = intervals[claims].T
        return (fresh < low) | (fresh > high)

    assert abs(lucky.mean() / n - rate - 0.05) < 0.003
    assert abs(fresh[~rejected(lucky)].mean() / n - rate) < 0.002
    assert rejected(honest).mean() < false_rejection(n, n) + 0.003 < 0.013
    assert rejected(lucky).mean() > 2 * rejected(honest).mean()
    # who forges twenty points is found in nearly all cases
    assert rejected(np.minimum(honest + 40, n)).mean() > 0.95


def test_wrong_input_is_said_in_a_line(tmp_path, capsys):
    for line, words in (
        (["verify"], "or say --all"), (["verify", "nothing", "--dir", str(tmp_path)], "has no row nothing"), (["check", str(tmp_path)], "no such file"),
        (["verify", "--all", "--dir", str(tmp_path)], "there are no rows"), (["pack", str(tmp_path)], "is no run's folder"),
    ):  # fmt: skip
        assert main(["leaderboard", *line]) == 2
        assert words in capsys.readouterr().err
