"""What an archive bears out before anything of it is run: the result from its ledger, field by field, and the answer from its hashes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from autoenvbench.errors import UserError
from autoenvbench.make_env import is_real
from autoenvbench.publish.leaderboard import compare, differences, fingerprint_remarks, read_json
from autoenvbench.publish.ledger_audit import faults
from autoenvbench.record.results import Result
from autoenvbench.record.strangers import odd_arguments, reaching_tools
from autoenvbench.station.bundles import look_through
from autoenvbench.text import short
from autoenvbench.verify.archive import Opened, open_archive

NAMED = 20  # edited fields that are named, of however many
MOST_EPISODES = 5_000


@dataclass(frozen=True, slots=True)
class Examined:
    """An archive that was read.

    Attributes:
        result: by the ledger; None where the ledger makes none.
        faults: what is edited, swapped or contradicts itself: each is a reason to reject it.
        missing: why its answer cannot be run again here, and what to type; empty where it can.
        remarks: what its submitter should know.
    """

    opened: Opened
    result: Result | None
    faults: list[str]
    missing: list[str]
    remarks: list[str]


def examine(
    archive: Path, into: Path, *, answer: Path | None = None, row: Path | None = None, private: bool = False
) -> Examined:
    """Read an archive, unpacked into a new folder. Raises UserError for what is none.

    Args:
        answer: see `open_archive`.
        row: the board's file of this run, which must say what the ledger gives.
        private: whether the run's private stations are at hand.
    """
    opened = open_archive(archive, into, answer)
    found = [opened.swapped] if opened.swapped else []
    try:
        if (fault := next(faults(opened.events), None)) is not None:
            found.append(f"the ledger contradicts itself: {fault}")
        result, edited, remarks = compare(opened.given, opened.events, "result.json")
    except UserError as error:
        return Examined(opened, None, [*found, str(error)], [], [])
    found += edited[:NAMED]
    if row is not None:
        found += islice(_edited_row(row, result), NAMED)
    found += _other_answer(opened, result)
    return Examined(opened, result, list(dict.fromkeys(found)), list(_missing(opened, result, private)), remarks)


def examine_file(archive: Path, answer: Path | None = None) -> Examined:
    """What an archive comes to, for who wants to know and runs nothing. Raises UserError for what is none."""
    with tempfile.TemporaryDirectory(prefix="aeb-check-") as scratch:
        found = examine(archive, Path(scratch) / "archive", answer=answer)
    here = [] if found.result is None else fingerprint_remarks(found.result)
    return replace(found, remarks=[*found.remarks, *here])


def _edited_row(row: Path, result: Result) -> Iterator[str]:
    given = read_json(row)
    for where, filed, computed in differences(given, result.model_dump(mode="json")):
        yield f"{where} in {row.name} is {short(repr(filed))}, and by the ledger it is {short(repr(computed))}"


def _other_answer(opened: Opened, result: Result) -> Iterator[str]:
    """In what the archive's answer is not the one that the ledger says was scored."""
    manifest = opened.manifest
    for name, given, scored in (
        ("run_id", manifest.run_id, result.run_id), ("commit", manifest.commit, result.answer.commit), ("digest", manifest.digest, result.answer.digest),
    ):  # fmt: skip
        if given != scored:
            yield f"the answer was swapped: {name} in submission.json is {short(given)}, and by the ledger it is {short(scored)}"
    if opened.bundle is None:
        return
    contents = {e.payload.content for e in opened.events if e.kind == "episode" and e.payload.digest == manifest.digest}
    if contents - {"", opened.bundle.content}:
        yield "the answer was swapped: its files and checkpoints are not the content of its episodes in the ledger"
    if result.contents is not None:
        try:
            here = look_through(opened.bundle)
        except UserError as error:
            yield f"the answer cannot be looked through: {error}"
            return
        for where, given, found in differences(
            result.contents.model_dump(mode="json"), here.model_dump(mode="json"), "contents"
        ):
            yield f"{where} is {short(repr(given))} by the ledger, and the answer in the archive has {short(repr(found))}"


def _missing(opened: Opened, result: Result, private: bool) -> Iterator[str]:
    """Why the answer cannot be run again here. Whatever the archive names is a stranger's choice: no address in it is ever asked."""
    pointer = opened.manifest.elsewhere
    if opened.bundle is None and opened.swapped is None and pointer is not None:
        yield (
            f"its answer is elsewhere: download {short(pointer.url, 300)} ({pointer.bytes:,} bytes, SHA-256 {pointer.sha256}) and add --answer FILE"
        )
    if result.kind != "sim" or is_real(result.env.id):
        yield f"it was scored on a cell of the kind {result.kind}: only episodes of our simulators can be run again"
    if not result.deterministic:
        yield "its policies ask a language model, so that a re-run says nothing about this run"
    if reaching := reaching_tools(result.tools):
        yield reaching
    if odd := odd_arguments(result.env.kwargs):
        yield odd
    if result.stations == "private" and not private:
        yield "its stations are private: whoever has the file adds --private-stations FILE"
    if result.config is None or (result.config.get("held_out", 0) * result.config.get("attempts", 1)) > MOST_EPISODES:
        yield f"it has more than {MOST_EPISODES:,} held-out episodes"
