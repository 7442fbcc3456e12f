"""A verifier's certificate: how often it was right where the truth is known, and whether that is often enough for this station.

A certificate is a pure function of an audit's rows, and whether it holds is a pure function of the certificate: nobody writes down that a
verifier is certified, so there is no such word to forge. Its numbers can be: who owns the machine can make up rows, as a ledger.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from autoenvbench.record.statistics import lower_bound
from autoenvbench.record.strict_model import StrictModel

BAR = 0.99  # that the lower bounds of both rates must reach
NEAR_SHARE = 0.30  # of the cases that must be near misses: within twice the threshold, on either side
GUARD_SHARE = 0.10  # of the tolerance that the guard band may be wide
MOST_ABSTAINED = 0.05  # of the scenes that nothing disturbs: a verifier that does not say is not wrong, and of no use

Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, le=10**9)]
Word = Annotated[str, StringConstraints(pattern=r"^[\w .:-]{1,64}$")]


class Counts(StrictModel):
    """Verdicts on scenes of one kind: rows of a confusion table, with those that were not given."""

    right_success: Count = 0
    missed_success: Count = 0
    right_failure: Count = 0
    false_success: Count = 0
    abstained_on_success: Count = 0
    abstained_on_failure: Count = 0

    @property
    def abstained(self) -> int:
        """Verdicts that were not given."""
        return self.abstained_on_success + self.abstained_on_failure

    @property
    def cases(self) -> int:
        """All of them."""
        return self.right_success + self.missed_success + self.right_failure + self.false_success + self.abstained

    @property
    def positives(self) -> tuple[int, int]:
        """(called successes, all that were decided) of true successes."""
        return self.right_success, self.right_success + self.missed_success

    @property
    def negatives(self) -> tuple[int, int]:
        """(called failures, all that were decided) of true failures."""
        return self.right_failure, self.right_failure + self.false_success

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in Counts.model_fields})


class Audit(StrictModel):
    """The first line of an audit's file: what is audited, how, and what its scenes are drawn from.

    Attributes:
        verifier: digest of the code that judges (`enpire_real.verifier.digest`).
        station, station_sha256: by name, and by the digest of its file with its calibration.
        kind: of its cell.
        truth: "twin", or "labels" that a person gave to clips.
        labels_sha256: of the clips' list, where there is one.
        twins: "drawn": other twins than the station, whose certificate this is not.
        planned: cases; seed: from which they are drawn, itself drawn when the audit began.
        tolerance_mm, guard_mm: of the task's threshold, and the band around it that is reported apart.
    """

    version: Literal[1] = 1
    env: Annotated[str, StringConstraints(pattern=r"^[\w/.-]{1,80}$")]
    verifier: Sha256
    station: Word
    station_sha256: Sha256
    kind: Literal["twin", "real"]
    truth: Literal["twin", "labels"]
    labels_sha256: Sha256 | None = None
    twins: Literal["own", "drawn"] = "own"
    planned: int = Field(ge=1, le=10**6)
    seed: int = Field(ge=0, lt=2**64)
    tolerance_mm: float = Field(gt=0)
    guard_mm: float = Field(gt=0)
    date: str = Field(max_length=32)


class Case(StrictModel):
    """One scene that was judged.

    Attributes:
        case: its number, from 0.
        margin_mm: how far its truth is from turning, positive for a success; None where nobody measured.
        verdict: None where none was given; `reason`: the verifier's.
        frame_ms: processor time of looking at one frame [ms].
    """

    case: int = Field(ge=0)
    perturbation: Word
    truth: bool
    margin_mm: float | None
    verdict: bool | None
    reason: str = Field(default="", max_length=200)
    frame_ms: list[Annotated[float, Field(ge=0)]] = Field(default_factory=list, max_length=100)

    @model_validator(mode="after")
    def check_margin(self) -> Case:
        """Raises ValueError where margin and truth contradict one another."""
        if self.margin_mm and (self.margin_mm > 0) != self.truth:
            raise ValueError(f"a margin of {self.margin_mm} mm is none of a {'success' if self.truth else 'failure'}")
        return self


class Certificate(StrictModel):
    """What an audit came to. See `Audit` for the fields of the first line.

    Attributes:
        perturbations: verdicts outside the guard band; `guard`: those inside.
        near: cases within twice the threshold, on either side.
        frame_ms_p95: of looking at one frame, processor time [ms].
        rows_sha256: of the audit's file.
    """

    audit: Audit
    perturbations: dict[Word, Counts]
    guard: Counts
    near: Count
    frame_ms_p95: float | None
    rows_sha256: Sha256

    @property
    def outside(self) -> Counts:
        """All verdicts outside the guard band."""
        return sum(self.perturbations.values(), Counts())

    @property
    def complete(self) -> bool:
        """Whether all planned cases are done."""
        return self.outside.cases + self.guard.cases == self.audit.planned

    @property
    def bounds(self) -> tuple[float, float]:
        """One-sided 95 % lower bounds of the true-positive and the true-negative rate."""
        return lower_bound(*self.outside.positives), lower_bound(*self.outside.negatives)

    def shortcomings(self) -> list[str]:
        """Why these numbers certify nothing, in words; empty where they do."""
        audit, cases = self.audit, self.outside.cases + self.guard.cases
        tpr, tnr = self.bounds
        quiet = self.perturbations.get("none", Counts())
        reasons = {
            f"{cases} of {audit.planned} cases are done": not self.complete,
            f"it is of twins that were drawn, not of {audit.station}": audit.twins == "drawn",
            f"the true-positive rate is at least {tpr:.6f}, and {BAR} is needed": not tpr >= BAR,
            f"the true-negative rate is at least {tnr:.6f}, and {BAR} is needed": not tnr >= BAR,
            f"{self.near} of {cases} cases are near misses, and {NEAR_SHARE:.0%} are needed": self.near < NEAR_SHARE * cases,
            f"its guard band of {audit.guard_mm:g} mm is more than a tenth of {audit.tolerance_mm:g} mm":
                audit.guard_mm > GUARD_SHARE * audit.tolerance_mm * (1 + 1e-9),
            "no scene was judged that nothing disturbs": not quiet.cases,
            f"it abstained on {quiet.abstained} of {quiet.cases} scenes that nothing disturbs":
                quiet.abstained > MOST_ABSTAINED * quiet.cases,
        }  # fmt: skip
        return [reason for reason, holds in reasons.items() if holds]


def certificate_of(lines: Sequence[str]) -> Certificate:
    """The certificate that an audit's file gives, from its lines. Raises ValueError for lines that are no audit."""
    if not lines:
        raise ValueError("it is empty")
    audit = Audit.model_validate_json(lines[0])
    cases = [Case.model_validate_json(line) for line in lines[1:]]
    if [case.case for case in cases] != list(range(len(cases))) or len(cases) > audit.planned:
        raise ValueError("its cases are not numbered from 0 on, one after the other")
    perturbations, guard = defaultdict[str, Counts](Counts), Counts()
    for case in cases:
        one = Counts(**{_cell(case): 1})
        if case.margin_mm is not None and abs(case.margin_mm) <= audit.guard_mm:
            guard = guard + one
        else:
            perturbations[case.perturbation] = perturbations[case.perturbation] + one
    looks = sorted(ms for case in cases for ms in case.frame_ms)
    return Certificate(
        audit=audit, perturbations=dict(perturbations), guard=guard,
        near=sum(near(case, audit.tolerance_mm) for case in cases),
        frame_ms_p95=looks[math.ceil(0.95 * len(looks)) - 1] if looks else None,
        rows_sha256=hashlib.sha256("\n".join(lines).encode()).hexdigest(),
    )  # fmt: skip


def near(case: Case, tolerance_mm: float) -> bool:
    """Whether a case is within twice the threshold, on either side: off by half the tolerance to twice of it."""
    return case.margin_mm is not None and -tolerance_mm <= case.margin_mm <= tolerance_mm / 2


def _cell(case: Case) -> str:
    if case.verdict is None:
        return "abstained_on_success" if case.truth else "abstained_on_failure"
    if case.truth:
        return "right_success" if case.verdict else "missed_success"
    return "false_success" if case.verdict else "right_failure"


def uncertified_because(
    certificate: Certificate | None, *, env: str, verifier: str, station: str, station_sha256: str
) -> list[str]:
    """Why results of a station may not be ranked by its verifier, in words; empty where they may.

    Args:
        certificate: that was found for it, if one was.
        env, verifier, station, station_sha256: what judged, as `Audit` names it.
    """
    if certificate is None:
        return [
            f"its verifier is not certified for station {station}; `autoenvbench verifier audit {env}` audits those that can be (real/README.md)"
        ]
    audit = certificate.audit
    other = {
        "environment": audit.env != env,
        "code of the verifier": audit.verifier != verifier,
        "station": audit.station != station,
        "calibration of the station": audit.station_sha256 != station_sha256,
    }
    if differing := [name for name, differs in other.items() if differs]:
        return [f"the certificate of station {station} is of another {' and '.join(differing)}; audit it anew"]
    return [f"the verifier of station {station} is not certified: {reason}" for reason in certificate.shortcomings()]


def parse_certificate(given: Mapping[str, Any]) -> Certificate:
    """A certificate as a file or an event holds it. Raises pydantic's ValidationError."""
    return Certificate.model_validate_json(json.dumps(given))
