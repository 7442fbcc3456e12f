"""What re-runs have found about the rows of a board: one file a row beside the submissions, and what it means for the row's rank.

A row says `self-reported` of itself, always. Whether it is verified or rejected stands in `verifications/RUN_ID.json`, which whoever runs
`autoenvbench leaderboard verify` writes, with the same in words in `RUN_ID.md`. What it found counts only for the row as it stood then, by its
ledger, its answer and the hash of all that it says, so that nothing can be exchanged under it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from autoenvbench.errors import UserError
from autoenvbench.record.results import HeldOut, Result, RunId
from autoenvbench.record.strict_model import StrictModel
from autoenvbench.text import short

FOLDER = "verifications"
_MAX_FILE = 1 << 20  # bytes
Verdict = Literal["verified", "rejected", "re-scored"]
Secret = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Words = Annotated[str, StringConstraints(max_length=1000)]
Date = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$")]


class Replay(StrictModel):
    """The answer on the run's own starts, again.

    Attributes:
        episodes: that were run again; `same`: of these, with the same outcome; `successes` now, `recorded_successes` in the ledger.
        skipped: held-out episodes that nobody can repeat: interrupted, rerun or void ones.
        by: what decided: that all outcomes are the same, or that the successes lie in `interval`, for an answer that is not
            deterministic or was scored on another platform.
        differing: some that differ, in words.
    """

    episodes: int = Field(ge=0)
    same: int = Field(ge=0)
    successes: int = Field(ge=0)
    recorded_successes: int = Field(ge=0)
    skipped: int = Field(ge=0)
    by: Literal["outcomes", "interval"]
    interval: tuple[int, int] | None = None
    differing: list[Words] = Field(default_factory=list, max_length=10)


class Fresh(StrictModel):
    """The answer on starts that nobody knew before.

    Attributes:
        secret: 32 bytes in hexadecimal, drawn at verification: from them the starts follow, so that anybody can run them again.
        held_out: what it came to there. It is what ranks.
        interval: successes among its episodes that the claim predicts, as 99 % of what policies of its rate do; None where nothing is
            claimed of this version of the environment.
        false_rejection: the chance with which an honest claim of whatever rate falls out of such an interval.
        tries: how often they were begun.
        failed: starts that failed in a try that never came to its end, by index: they have failed, also for whoever runs them again.
    """

    secret: Secret
    held_out: HeldOut
    interval: tuple[int, int] | None = None
    false_rejection: float | None = Field(default=None, ge=0, le=1)
    tries: int = Field(default=1, ge=1)
    failed: list[int] = Field(default_factory=list)

    @model_validator(mode="after")
    def check_failed(self) -> Fresh:
        """Raises ValueError for earlier failures that cannot have been."""
        n = self.held_out.episodes
        if self.failed != sorted({index for index in self.failed if 0 <= index < n}):
            raise ValueError(f"failed names starts other than 0 to {n - 1}, each once and in order")
        if len(self.failed) > n - self.held_out.successes:
            raise ValueError("failed names more starts than failed")
        return self


class Refuted(StrictModel):
    """A check that is not true: whoever ran its starts again found something else.

    Attributes:
        date: ISO 8601, UTC.
        reasons: in what they differ.
        held_out: what the answer came to on the check's own fresh starts.
    """

    date: Date
    reasons: list[Words] = Field(min_length=1, max_length=50)
    hardware: Words
    versions: dict[str, Words]
    held_out: HeldOut


class Check(StrictModel):
    """One verification of a row, in one version of its environment.

    Attributes:
        date: ISO 8601, UTC.
        fingerprint: of the environment here.
        row_sha256: of the row that it is about (see `row_sha256`).
        reasons: why it is rejected; for others what is to be known of it.
        archive_sha256: of the archive that was opened.
        refuted: by a later re-run.
    """

    date: Date
    fingerprint: Words
    row_sha256: Secret
    verdict: Verdict
    reasons: list[Words] = Field(default_factory=list, max_length=50)
    archive_sha256: Secret
    hardware: Words
    versions: dict[str, Words]
    sandbox: Words
    replay: Replay | None = None
    fresh: Fresh | None = None
    refuted: Refuted | None = None

    @property
    def outcome(self) -> Verdict:
        """The verdict that counts: what is not true has nothing verified."""
        return self.verdict if self.refuted is None else "rejected"

    @property
    def because(self) -> list[str]:
        """Reasons of the outcome."""
        if self.refuted is None:
            return self.reasons
        return [f"its record of {self.date} is not true, as was found on {self.refuted.date}", *self.refuted.reasons]


class Verification(StrictModel):
    """All verifications of one run's row: at most one in each version of its environment, so that nobody draws twice.

    A row that was edited has checks of its own beside those of what it was, and loses nothing where it is set right again.
    """

    run_id: RunId
    ledger_sha256: Secret | None
    answer: Words
    checks: list[Check] = Field(min_length=1, max_length=50)

    def of(self, result: Result) -> bool:
        """Whether this is about that run's row, by what it rests on; what the row says beside that is for `at`."""
        return (self.run_id, self.ledger_sha256, self.answer) == (
            result.run_id,
            result.ledger_sha256,
            result.answer.digest,
        )

    def at(self, fingerprint: str, row: str) -> Check | None:
        """What was found in this version of the environment about a row of this hash."""
        return next(
            (check for check in self.checks if (check.fingerprint, check.row_sha256) == (fingerprint, row)), None
        )


def row_sha256(result: Result) -> str:
    """SHA-256 of all that a row says. What says no more than its field's default is left out: a field that is new changes no hash."""
    said = result.model_dump(mode="json", exclude_defaults=True)
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def version(result: Result) -> str:
    """The version of its environment that a row names, as a record writes it; a stranger may name anything, or none."""
    return short(result.env.fingerprint or "0", 1000)


def read_verifications(board: Path) -> tuple[dict[str, Verification], dict[str, str]]:
    """Those of a board by run, and what is wrong with the files that are none, by name."""
    found: dict[str, Verification] = {}
    broken: dict[str, str] = {}
    for file in sorted((board / FOLDER).glob("*.json")):
        try:
            record = read_verification(file)
            if record.run_id != file.stem:
                raise UserError(f"it is of the run {record.run_id}, and is named otherwise")
            found[record.run_id] = record
        except UserError as error:
            broken[f"{FOLDER}/{file.name}"] = short(str(error), 300)
    return found, broken


def read_verification(file: Path) -> Verification:
    """One file. Raises UserError."""
    try:
        if not file.is_file() or file.stat().st_size > _MAX_FILE:
            raise UserError(f"{file} is no verification")
        return Verification.model_validate_json(file.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None
    except (ValidationError, RecursionError, OverflowError) as error:
        first = error.errors(include_input=False, include_url=False)[0] if isinstance(error, ValidationError) else None
        what = f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}" if first else repr(error)
        raise UserError(f"{file} is no verification: {what}") from None


def check_of(result: Result, records: Mapping[str, Verification]) -> Check | None:
    """What was found about a row in the version of the environment that it was measured in."""
    record = records.get(result.run_id)
    return None if record is None or not record.of(result) else record.at(version(result), row_sha256(result))


def rescored(result: Result, records: Mapping[str, Verification]) -> list[Check]:
    """Of a row that is verified: what its answer came to in other versions of its environment."""
    own = check_of(result, records)
    if own is None or own.outcome != "verified":
        return []
    checks, row = records[result.run_id].checks, row_sha256(result)
    return [check for check in checks if (check.outcome, check.row_sha256) == ("re-scored", row)]


def status(result: Result, records: Mapping[str, Verification]) -> Literal["verified", "self-reported", "rejected"]:
    """Of a row."""
    check = check_of(result, records)
    return "self-reported" if check is None else "verified" if check.outcome == "verified" else "rejected"


def unverified_because(result: Result, records: Mapping[str, Verification]) -> list[str]:
    """Why a row takes no rank, by what re-runs have found; empty for a verified one."""
    check = check_of(result, records)
    if check is None:
        other = result.run_id in records
        return [
            "self-reported: "
            + (
                "its verification is of another ledger, answer or version, or the row was edited since"
                if other
                else "nobody has run its answer again"
            )
        ]
    if check.outcome == "verified":
        return []
    return ["rejected: " + "; ".join(check.because)]
