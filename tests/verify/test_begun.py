"""Who can have a verification fail at will gets neither other fresh starts nor other outcomes; who wrote a false record is found out."""

import json

import pytest
from enpire_envs.fingerprint import fingerprint
from packed import forged, make_run

from autoenvbench.errors import UserError
from autoenvbench.make_env import make_env
from autoenvbench.publish import leaderboard
from autoenvbench.publish.verification import Fresh, read_verification, row_sha256, status
from autoenvbench.record.events import EvaluationEvent, StartEvent
from autoenvbench.record.results import Result
from autoenvbench.verify.begun import MOST_TRIES, Begun, folder_of, worst
from autoenvbench.verify.pack import pack
from autoenvbench.verify.verify import _write, verify

N = 20


@pytest.mark.cage
def test_who_ends_a_verification_when_it_goes_badly_gains_nothing(reach, tmp_path):
    """An answer that throws a coin each time, and ends the verification when its third fresh start goes badly: as one could that fills the memory."""
    run = make_run(tmp_path / "run-1", reach, where="import os; self.goes = os.urandom(1)[0] < 128", n=N)
    archive, board = pack(run, tmp_path / "run-1.tar")[0], tmp_path / "board"
    own = json.loads((run / "result.json").read_text())["held_out_secret"]
    seen: list[dict[int, tuple[int, bool]]] = []

    def watch(episode):
        if episode.index == 0:
            seen.append({})
        seen[-1][episode.index] = episode.seed, episode.success

    def spoil(episode):
        watch(episode)
        if len(seen) == 3 and sum(not won for _, won in seen[-1].values()) == 3:  # after both re-runs of its own starts
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify(str(archive), board, sandbox="bwrap", on_episode=spoil)
    begun = next((board / "verifications/begun").iterdir())
    secret = (begun / "secret").read_text().strip()
    first, failed = seen[-1], {index for index, (_, won) in seen[-1].items() if not won}
    assert [path.name for path in board.iterdir()] == ["verifications"]
    # Nor does looking on without writing draw others, or spend a try.
    seen.clear()
    verify(str(archive), board, sandbox="bwrap", on_episode=watch, write=False)
    assert {k: seen[-1][k][0] for k in first} == {k: seed for k, (seed, _) in first.items()}
    seen.clear()
    found = verify(str(archive), board, sandbox="bwrap", on_episode=watch)
    assert {k: seen[-1][k][0] for k in first} == {k: seed for k, (seed, _) in first.items()}
    (check,) = read_verification(board / "verifications/run-1.json").checks
    assert (check.fresh.secret, check.fresh.tries) == (secret, 2)
    assert secret != own
    assert check.fresh.held_out.successes == sum(won for k, (_, won) in seen[-1].items() if k not in failed)
    assert "begun 2 times" in (board / "verifications/run-1.md").read_text()
    assert not (board / "verifications/begun").exists()
    # That it throws a coin is no proof against its record.
    again = verify("run-1", board, sandbox="bwrap")
    assert again.verdict == found.verdict
    assert read_verification(board / "verifications/run-1.json").checks[0].refuted is None


def test_what_a_killed_verification_left_open_has_failed_and_tries_have_an_end(tmp_path):
    about = {"purpose": "heldout", "commit": "c", "digest": "d"}
    begun = Begun(tmp_path / "x/y/z")
    secret = begun.secret
    begun.ledger.append(StartEvent(evaluation="held-out", index=3, attempt=0, cell="sim", seed=1, **about))
    begun.close()  # as by a kill: nothing was judged
    begun = Begun(tmp_path / "x/y/z")
    assert (begun.secret, set(begun.failed), begun.tries) == (secret, {3}, 0)
    (left,) = (event.payload for event in begun.ledger.events("episode"))
    lucky = left.model_copy(update={"success": True, "reason": None, "score": 1.0})
    assert (worst(lucky, begun.failed).success, worst(lucky, begun.failed).score) == (False, 0.0)
    assert worst(lucky.model_copy(update={"index": 4}), begun.failed).success
    for _ in range(MOST_TRIES):
        begun.ledger.append(EvaluationEvent(phase="started", id="held-out", planned=9, **about))
    begun.close()
    with pytest.raises(UserError, match=f"begun {MOST_TRIES} times and never came to an end"):
        Begun(tmp_path / "x/y/z")
    (tmp_path / "x/y/z/secret").write_text("short")
    with pytest.raises(UserError, match="64 hexadecimal digits"):
        Begun(tmp_path / "x/y/z")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write into"):
        Begun(tmp_path / "file/y/z")


@pytest.mark.cage
def test_a_record_that_was_written_by_hand_for_a_forged_ledger_is_refuted(reach, tmp_path):
    """All in it is true but the word `verified`, and that all outcomes were the same."""
    archive = pack(make_run(tmp_path / "run-1", reach, rate=0.6, n=N), tmp_path / "run-1.tar")[0]
    turned = 0

    def turn(kind, payload):
        nonlocal turned
        if kind == "episode" and not payload["success"] and turned < 2:
            payload.update(success=True, score=1.0, stage="success", reason=None, detail=None)
            turned += 1
        elif kind == "evaluation" and payload["phase"] == "finished":
            payload["successes"] += turned

    board = tmp_path / "board"
    (tmp_path / "f").mkdir()
    assert verify(str(forged(archive, tmp_path / "f/run-1.tar", turn)), board, sandbox="bwrap").verdict == "rejected"
    file = board / "verifications/run-1.json"
    record = json.loads(file.read_text())
    record["checks"][0].update(verdict="verified", reasons=[])
    record["checks"][0]["replay"].update(same=N, differing=[])
    file.write_text(json.dumps(record))
    found = leaderboard.read(board)
    assert status(found.results["run-1.json"], found.verifications) == "verified"
    assert verify("run-1", board, sandbox="bwrap").verdict == "rejected"
    found = leaderboard.read(board)
    assert status(found.results["run-1.json"], found.verifications) == "rejected"
    assert "outcomes are not those of the ledger" in (board / "verifications/run-1.md").read_text()


@pytest.mark.cage
def test_who_was_killed_once_is_verified_and_stays_so_and_nobody_verifies_beside(reach, tmp_path):
    """An honest answer that always does the same; the machine goes down in the midst of an episode."""
    run = make_run(tmp_path / "run-1", reach, n=8)
    archive, board = pack(run, tmp_path / "run-1.tar")[0], tmp_path / "board"
    result = Result.model_validate_json((run / "result.json").read_text())
    env = make_env(reach)
    begun = Begun(folder_of(board / "verifications", "run-1", fingerprint(env), row_sha256(result)))
    env.close()
    about = {"purpose": "heldout", "commit": "c", "digest": "d"}
    begun.ledger.append(EvaluationEvent(phase="started", id="held-out", planned=8, **about))
    begun.ledger.append(StartEvent(evaluation="held-out", index=3, attempt=0, cell="sim", seed=1, **about))
    for write in (True, False):  # it is under way: a second would have the same starts, and no try of it would count
        with pytest.raises(UserError, match="being verified by another process"):
            verify(str(archive), board, sandbox="bwrap", write=write)
    begun.close()
    assert verify(str(archive), board, sandbox="bwrap").verdict == "verified"
    file = board / "verifications/run-1.json"
    (check,) = read_verification(file).checks
    assert (check.fresh.failed, check.fresh.tries, check.fresh.held_out.successes) == ([3], 2, 7)
    kept = file.read_bytes()
    again = verify("run-1", board, sandbox="bwrap")
    assert again.verdict == "verified"
    assert "again" not in " ".join(again.reasons)  # they gave just what the record says
    other = check.model_copy(update={"verdict": "rejected", "date": check.date.replace("20", "21", 1)})
    with pytest.raises(UserError, match="was verified meanwhile"):
        _write(result, other, board)
    assert file.read_bytes() == kept
    fresh = check.fresh.model_dump()
    for failed in ([8], [3, 3], [-1], [3, 4]):
        with pytest.raises(ValueError, match="failed names"):
            Fresh(**{**fresh, "failed": failed})


@pytest.mark.cage
def test_a_false_record_that_names_another_computer_is_refuted_all_the_same(reach, tmp_path):
    """Of an answer that never gets there: its owner forges the ledger, then the record, and names a computer that nobody has."""
    archive = pack(make_run(tmp_path / "run-1", reach, rate=0, n=6), tmp_path / "run-1.tar")[0]

    def forge(kind, payload):
        if kind == "run" and payload["phase"] == "started":
            payload["hardware"] = "another, 2 cores"
        elif kind == "episode":
            payload.update(success=True, score=1.0, stage="success", reason=None, detail=None)
        elif kind == "evaluation" and payload["phase"] == "finished":
            payload["successes"] = 6

    board = tmp_path / "board"
    (tmp_path / "f").mkdir()
    assert verify(str(forged(archive, tmp_path / "f/run-1.tar", forge)), board, sandbox="bwrap").verdict == "rejected"
    file = board / "verifications/run-1.json"
    honest = json.loads(file.read_text())
    check = honest["checks"][0]
    check.update(verdict="verified", reasons=[], hardware="another, 2 cores")
    check["fresh"]["interval"] = check["replay"]["interval"] = [0, 6]
    file.write_text(json.dumps(honest))
    said = " ".join(verify("run-1", board, sandbox="bwrap", write=False).reasons)
    for phase in ("on 6 fresh starts it succeeded 0 times", "on the run's own starts it succeeded 0 times"):
        assert f"its own numbers do not: {phase}" in said
    # Numbers that go with the word are those that re-runs miss by far.
    won = {"successes": 6, "success_rate": 1.0, "wilson95": [0.5, 1.0], "score": 1.0, "streak": 6, "failures": {}}
    check["fresh"]["held_out"].update(won)
    check["replay"].update(successes=6, same=6, differing=[])
    file.write_text(json.dumps(honest))
    found = verify("run-1", board, sandbox="bwrap")
    assert (found.verdict, len(found.reasons)) == ("rejected", 2)
    assert "on the run's own starts it succeeded 0 times" in found.reasons[0]
    assert "its record says 6 of 6 on the fresh starts" in found.reasons[1]
    assert read_verification(file).checks[0].outcome == "rejected"
