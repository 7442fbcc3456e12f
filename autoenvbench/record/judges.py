"""What judged a run in real cells: stations, certificates, and the success rate corrected for what a certified verifier gets wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import Field, ValidationError

from autoenvbench.record.certificate import Certificate, Counts, Sha256, Word, parse_certificate, uncertified_because
from autoenvbench.record.events import VerifierEvent
from autoenvbench.record.ledger import Event
from autoenvbench.record.statistics import rogan_gladen
from autoenvbench.record.strict_model import StrictModel

REAL_KINDS = ("twin", "real")


class Judge(StrictModel):
    """What judged in one cell. See `events.VerifierEvent`.

    Attributes:
        cell: of the run.
        station: whose arms it moved, by name.
    """

    cell: str = Field(max_length=200)
    station: Word
    station_sha256: Sha256
    verifier: Sha256
    certificate: Certificate | None = None


class Corrected(StrictModel):
    """The held-out success rate by Rogan and Gladen, 0 to 1, with its 95 % interval (`statistics.rogan_gladen`)."""

    success_rate: float = Field(ge=0, le=1)
    interval95: tuple[float, float]


def judges_of(events: Iterable[Event]) -> list[Judge]:
    """Who judged, each once, in the order in which they began. Raises ValueError for an event that names no judge."""
    found: list[Judge] = []
    for event in events:
        if event.kind == "verifier":
            said: VerifierEvent = event.payload
            try:
                certificate = None if said.certificate is None else parse_certificate(said.certificate)
            except ValidationError as error:
                raise ValueError(f"event {event.seq}: the certificate is none: {error.errors()[0]['msg']}") from None
            judge = Judge(
                cell=event.station or "", station=said.name, station_sha256=said.station_sha256, verifier=said.verifier,
                certificate=certificate,
            )  # fmt: skip
            if judge not in found:
                found.append(judge)
    return found


def cells_without_judge(events: Iterable[Event], judges: Sequence[Judge]) -> list[str]:
    """Cells whose held-out episodes were judged by nobody that the ledger knows."""
    known = {judge.cell for judge in judges}
    judged = {event.station or "" for event in events if event.kind == "episode" and event.payload.purpose == "heldout"}
    return sorted(judged - known)


def judge_problems(kind: str, env_id: str, judges: Sequence[Judge]) -> list[str]:
    """Why what was judged may not be ranked, in words; empty where it may, and in simulation.

    Args:
        kind: of the cell in which it was judged.
    """
    if kind not in REAL_KINDS:
        return []
    if not judges:
        return ["nothing says which verifier judged it"]
    reasons = (
        uncertified_because(
            judge.certificate,
            env=env_id,
            verifier=judge.verifier,
            station=judge.station,
            station_sha256=judge.station_sha256,
        )
        for judge in judges
    )
    return list(dict.fromkeys(reason for each in reasons for reason in each))


def corrected(successes: int, episodes: int, env_id: str, judges: Sequence[Judge]) -> Corrected | None:
    """A success rate corrected for its judges' errors; None where one of them is not certified, or there are none."""
    certificates = {
        judge.certificate.rows_sha256: judge.certificate for judge in judges if judge.certificate is not None
    }
    if not certificates or judge_problems("real", env_id, judges):
        return None
    counts = sum((certificate.outside for certificate in certificates.values()), Counts())
    found = rogan_gladen((successes, episodes), counts.positives, counts.negatives)
    return None if found is None else Corrected(success_rate=found[0], interval95=found[1:])
