"""`autoenvbench leaderboard verify`: whether a row is what its ledger says, and its answer does again what the ledger says it did.

read the archive -> recompute the result, field by field -> run the answer on the run's starts, in a fresh cage -> and on fresh starts
-> a verdict with its reasons, in a record beside the row

Fresh starts are drawn once for a row in one version of its environment, before anything is run (`verify.begun`). Whoever verifies it again
runs those of the record, and finds out whether the record is true: one that is not is refuted, in the record itself.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from autoenvbench.errors import UserError
from autoenvbench.publish.leaderboard import file_result, parse, read_json
from autoenvbench.publish.verification import (
    FOLDER,
    Check,
    Fresh,
    Refuted,
    Replay,
    Verdict,
    Verification,
    read_verification,
    row_sha256,
    version,
)
from autoenvbench.record.compute import hardware
from autoenvbench.record.events import EpisodeEvent
from autoenvbench.record.results import Result, versions
from autoenvbench.record.statistics import percent, predictive_interval
from autoenvbench.sandbox.cage import Sandbox
from autoenvbench.verify.begun import Begun, folder_of, hold
from autoenvbench.verify.examine import Examined, examine
from autoenvbench.verify.report import in_words
from autoenvbench.verify.rerun import Rerun, other_platform

ARCHIVES = "archives"


@dataclass(frozen=True, slots=True)
class Verified:
    """What became of one row.

    Attributes:
        files: that were written.
    """

    run_id: str
    verdict: Literal["verified", "rejected", "re-scored", "self-reported"]
    reasons: list[str]
    files: list[Path] = field(default_factory=list)


def rows(board: Path) -> list[str]:
    """All rows of a board, by name."""
    return sorted(file.stem for file in (board / "submissions").glob("*.json"))


def verify(
    source: str, board: Path, *, sandbox: Sandbox, answer: Path | None = None, private: Path | None = None, write: bool = True,
    on_episode: Callable[[EpisodeEvent], None] = lambda event: None,
) -> Verified:  # fmt: skip
    """Verify an archive, or a row of the board whose archive is there.

    Args:
        source: an archive's path, or a row by its run_id or file.
        answer: the answer's own file, where the archive points to one.
        private: the file of the run's private stations.
        write: file the row and its archive on the board, if they are not there, and the record beside them.

    Raises:
        UserError: for what is no archive and no row, and for what cannot be run here.
    """
    archive, row = _find(source, board)
    if archive is None:
        assert row is not None
        why = f"there is no {board / ARCHIVES / row.stem}.tar, so that nobody can run its answer again; whoever has its run types: autoenvbench leaderboard pack RUN"
        return Verified(row.stem, "self-reported", [why])
    with tempfile.TemporaryDirectory(prefix="aeb-verify-") as scratch:
        found = examine(archive, Path(scratch) / "archive", answer=answer, row=row, private=private is not None)
        if found.result is None:
            return Verified(found.opened.manifest.run_id if row is None else row.stem, "rejected", found.faults)
        record = _record(found.result, board)
        if found.faults:
            own = row is not None and archive == board / ARCHIVES / f"{row.stem}.tar"
            return _rejected(found.result, row if own and write else None, found, board)
        if found.missing:
            return Verified(found.result.run_id, "self-reported", found.missing)
        assert found.opened.bundle is not None
        rerun = Rerun(
            found.result,
            found.opened.events,
            found.opened.bundle,
            sandbox=sandbox,
            private=private,
            on_episode=on_episode,
        )
        with rerun:
            row_hash = row_sha256(found.result)
            earlier = None if record is None else record.at(rerun.fingerprint, row_hash)
            folder = folder_of(board / FOLDER, found.result.run_id, rerun.fingerprint, row_hash)
            if earlier is not None:
                if write:
                    shutil.rmtree(
                        folder, ignore_errors=True
                    )  # of a verification that ended when its record was written
                return _audited(found.result, earlier, rerun, board if write else None)
            begun = Begun(folder if write else _copied(folder, Path(scratch) / "begun"))
            with contextlib.closing(begun):
                check = _check(found.result, found.opened.sha256, rerun, sandbox, begun)
                files = _write(found.result, check, board, archive) if write else []
            begun.end()
    return Verified(found.result.run_id, check.verdict, check.reasons, files)


def _copied(folder: Path, to: Path) -> Path:
    """What was begun, for who writes nothing there."""
    if folder.is_dir():
        try:
            with hold(folder):  # a ledger that is written meanwhile would not be whole
                shutil.copytree(folder, to)
        except (OSError, shutil.Error) as error:
            raise UserError(f"cannot read {folder}: {error}") from None
    return to


def _find(source: str, board: Path) -> tuple[Path | None, Path | None]:
    """(archive, row), of which one may be missing."""
    given = Path(source)
    name = given.name.removesuffix(".json").removesuffix(".tar")
    row = board / "submissions" / f"{name}.json"
    if given.is_file() and given.suffix != ".json":
        return given, row if row.is_file() else None
    if not row.is_file():
        raise UserError(
            f"{source} is no archive, and {board / 'submissions'} has no row {name}; name one of them, or say --all"
        )
    archive = board / ARCHIVES / f"{name}.tar"
    return (archive if archive.is_file() else None), row


def _record(result: Result, board: Path) -> Verification | None:
    """The record of a row, if there is one. Raises UserError for one that is of another row."""
    file = board / FOLDER / f"{result.run_id}.json"
    if not file.exists():
        return None
    record = read_verification(file)
    if not record.of(result):
        raise UserError(f"{file} is about another ledger or answer; take it away if it should not be there")
    return record


# -- verdicts --------------------------------------------------------------------------------------------------------
def _check(result: Result, archive: str, rerun: Rerun, sandbox: Sandbox, begun: Begun) -> Check:
    """Run the answer again, on fresh starts that are drawn now or were by a try that did not come to its end."""
    if rerun.fingerprint != result.env.fingerprint:
        fresh = rerun.fresh(begun.secret, begun)
        said = percent(result.held_out.success_rate, result.held_out.wilson95)
        now = percent(fresh.held_out.success_rate, fresh.held_out.wilson95)
        words = f"it claims {said} in the version {result.env.fingerprint} of its environment, and came to {now} in this one, {rerun.fingerprint}"
        return _found(result, "re-scored", [words], rerun.fingerprint, archive, sandbox, None, fresh)
    replay, fresh = rerun.replay(), rerun.fresh(begun.secret, begun)
    against = [*_replay_faults(replay), *_fresh_faults(fresh)]
    verdict: Verdict = "rejected" if against else "verified"
    return _found(
        result, verdict, against or _remarks(result, replay), rerun.fingerprint, archive, sandbox, replay, fresh
    )


def _replay_faults(replay: Replay) -> list[str]:
    found = []
    if replay.by == "outcomes" and replay.same < replay.episodes:
        found.append(
            f"on the run's own starts {replay.episodes - replay.same} of {replay.episodes} outcomes are not those of the ledger, and two re-runs "
            f"agree: {replay.differing[0]}"
        )
    if replay.interval is not None and not replay.interval[0] <= replay.successes <= replay.interval[1]:
        low, high = replay.interval
        found.append(
            f"on the run's own starts it succeeded {replay.successes} times; the ledger says {replay.recorded_successes}, which predicts {low} to {high}"
        )
    return found


def _fresh_faults(fresh: Fresh) -> list[str]:
    if fresh.interval is None or fresh.interval[0] <= fresh.held_out.successes <= fresh.interval[1]:
        return []
    low, high = fresh.interval
    return [
        f"on {fresh.held_out.episodes} fresh starts it succeeded {fresh.held_out.successes} times, and its claim predicts {low} to {high} "
        f"(of honest claims {100 * (fresh.false_rejection or 0):.1f} % at most fall out of that)"
    ]


def _remarks(result: Result, replay: Replay) -> list[str]:
    if replay.same == replay.episodes:
        return []
    why = other_platform(result.versions, result.hardware)
    return [
        f"{replay.episodes - replay.same} of {replay.episodes} outcomes on the run's own starts differ, so that only rates were compared: "
        + (why or "the answer is not deterministic, two re-runs differ as well")
    ]


def _found(
    row: Result, verdict: Verdict, reasons: list[str], fingerprint: str, archive: str, sandbox: str, replay: Replay | None = None, fresh: Fresh | None = None,
) -> Check:  # fmt: skip
    return Check(
        date=_now(), fingerprint=fingerprint, row_sha256=row_sha256(row), verdict=verdict,
        reasons=[reason[:1000] for reason in reasons[:50]], archive_sha256=archive, hardware=hardware(), versions=versions(), sandbox=sandbox,
        replay=replay, fresh=fresh,
    )  # fmt: skip


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _rejected(result: Result, row: Path | None, found: Examined, board: Path) -> Verified:
    """Refused without being run. A row of the board keeps its place, with the reason; what is not on it does not get there.

    Args:
        row: None where nothing is written. It answers for its own archive on the board alone, and for that only where the archive holds
            the ledger and the answer that it names: anybody can put a row's name on an archive that has faults.
    """
    rejected = Verified(result.run_id, "rejected", found.faults)
    if row is None:
        return rejected
    filed = parse(read_json(row))
    named = (filed.run_id, filed.ledger_sha256, filed.answer.digest)
    if named != (result.run_id, result.ledger_sha256, found.opened.manifest.digest) or named[2] != result.answer.digest:
        return rejected
    known = _record(filed, board)
    if known is not None and known.at(version(filed), row_sha256(filed)) is not None:
        return rejected
    check = _found(filed, "rejected", found.faults, version(filed), found.opened.sha256, "nothing was run")
    return replace(rejected, files=_write(filed, check, board))


def _audited(result: Result, check: Check, rerun: Rerun, board: Path | None) -> Verified:
    """A record that is there already, against what its starts give this time. Where it is proven not to be true, that is written into it.

    Args:
        board: None where nothing is written.
    """
    if check.fresh is None or check.refuted is not None:
        return Verified(result.run_id, "rejected", [f"rejected on {check.date}", *check.because])
    secret, was = bytes.fromhex(check.fresh.secret), check.fresh.held_out
    against, remarks = [], [f"as it was on {check.date}: fresh starts are drawn once"]
    if check.verdict == "verified":
        replay = rerun.replay()
        faults = _replay_faults(replay)
        # A rate may miss its interval once; an honest one seldom does twice, on whatever computer.
        if replay.by == "outcomes" or (faults and _replay_faults(rerun.replay())):
            against += faults
        else:
            remarks += faults + _remarks(result, replay)
    failed = check.fresh.failed
    now = rerun.fresh(secret, failed=failed).held_out
    if now != was:
        # Which computer a record names is its writer's choice: that excuses other outcomes, and never a rate that is far off.
        elsewhere = other_platform(check.versions, check.hardware)
        again = rerun.fresh(secret, failed=failed).held_out
        words = f"its record says {was.successes} of {was.episodes} on the fresh starts of {check.date}, and they gave {now.successes} of {now.episodes} again"
        low, high = predictive_interval(was.successes, was.episodes, now.episodes)
        # An answer that is not deterministic does something else each time, but seldom twice something else by far.
        far = now.episodes != was.episodes or not any(low <= one.successes <= high for one in (now, again))
        if far or (now == again and not elsewhere):
            against.append(words)
        else:
            remarks.append(f"{words}: {elsewhere or 'the answer is not deterministic'}")
    if check.verdict == "verified":
        against += _own_faults(check, rerun)
    if not against:
        return Verified(result.run_id, check.verdict, [*remarks, *check.reasons])
    refuted = Refuted(
        date=_now(),
        reasons=[reason[:1000] for reason in against],
        hardware=hardware(),
        versions=versions(),
        held_out=now,
    )
    false_check = check.model_copy(update={"refuted": refuted})
    files = _write(result, false_check, board) if board is not None else []
    return Verified(result.run_id, "rejected", against, files)


def _own_faults(check: Check, rerun: Rerun) -> list[str]:
    """Why a record that says `verified` does not follow from its own numbers. Its intervals are computed anew: they are its writer's."""
    assert check.fresh is not None
    wins, claimed = rerun.claim()
    interval = predictive_interval(wins, claimed, check.fresh.held_out.episodes)
    found = _fresh_faults(check.fresh.model_copy(update={"interval": interval}))
    if check.fresh.failed and check.fresh.tries == 1:
        found.append("starts failed in an earlier try, and there was one try")
    if check.replay is None:
        found.append("the run's own starts were not run again")
    else:
        interval = predictive_interval(wins, claimed, claimed)
        found += _replay_faults(check.replay.model_copy(update={"interval": interval, "recorded_successes": wins}))
    return [f"its record says verified, and its own numbers do not: {fault}" for fault in found]


def _write(result: Result, check: Check, board: Path, archive: Path | None = None) -> list[Path]:
    """The record of a row, in two forms; before it the row and its archive, where they are not on the board.

    Raises:
        UserError: also for a verification that is there already: another one takes its place only where it says that that is refuted.
    """
    known = _record(result, board)
    there = None if known is None else known.at(check.fingerprint, check.row_sha256)
    if there is not None and (check.refuted is None or check != there.model_copy(update={"refuted": check.refuted})):
        raise UserError(f"{result.run_id} was verified meanwhile ({there.outcome}), and that holds; verify again")
    files = []
    if archive is not None:
        files = [file_result(result, board), _keep(archive, board / ARCHIVES / f"{result.run_id}.tar")]
    others = (
        [c for c in known.checks if (c.fingerprint, c.row_sha256) != (check.fingerprint, check.row_sha256)]
        if known
        else []
    )
    checks = [*others, check]
    record = Verification(
        run_id=result.run_id, ledger_sha256=result.ledger_sha256, answer=result.answer.digest, checks=checks
    )
    texts = {".json": record.model_dump_json(indent=1) + "\n", ".md": in_words(result, record)}
    try:
        (board / FOLDER).mkdir(parents=True, exist_ok=True)
        for ending, text in texts.items():
            file = board / FOLDER / f"{result.run_id}{ending}"
            scratch = file.with_name(f".{file.name}.tmp")
            scratch.write_text(text)
            os.replace(scratch, file)
            files.append(file)
    except OSError as error:
        raise UserError(f"cannot write into {board / FOLDER}: {error.strerror}") from None
    return files


def _keep(archive: Path, to: Path) -> Path:
    try:
        if to.exists():
            if not to.samefile(archive) and to.read_bytes() != archive.read_bytes():
                raise UserError(f"{to} is another archive of this run; move it away first")
            return to
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(archive, to)
    except OSError as error:
        raise UserError(f"cannot write {to}: {error.strerror}") from None
    return to
