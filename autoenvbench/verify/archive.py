"""A submission as one file: a run's ledger, its result and its answer, or where the answer lies and its hash.

    submission.json       which run, which answer, and where the answer is if not in here (`Manifest`)
    result.json           as the run wrote it
    ledger.jsonl          a line an event: [seq, t_wall, t_run, kind, agent, station, payload as it was written]
    answer/commit         Git's commit object, whose SHA-1 is the commit's name
    answer/entries.json   the commit's files: [mode, SHA-1, path], as `git ls-tree -r` lists them
    answer/tree/...       the files themselves
    answer/checkpoints/...

The archive is a plain tar without compression and without times, owners or links: the same run gives the same bytes, and it unpacks to
no more than it is. Whoever opens one trusts nothing in it. The ledger is text, so that no database of a stranger's is ever opened; Git's
hashes are computed here, so that none of its packs is.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from autoenvbench.errors import UserError
from autoenvbench.record.events import parse_payload
from autoenvbench.record.ledger import Event
from autoenvbench.record.results import RunId
from autoenvbench.record.strict_model import StrictModel
from autoenvbench.station.bundles import MAX_CHECKPOINTS, MAX_TREE, Bundle, bundle_digest, unpack_archive
from autoenvbench.text import short

MAX_ARCHIVE = 64 << 20  # bytes; a larger answer is a file of its own, which the archive names by its hash
MAX_ANSWER = MAX_TREE + MAX_CHECKPOINTS
_MAX_EVENTS = 500_000
_MAX_JSON = 4 << 20  # bytes of the result, the manifest or the list of files
_MAX_PATH = 42  # folders in folders
_BLOBS = ("100644", "100755", "100664")  # Git's modes of regular files
_NO_FILES = ("120000", "160000")  # of links and submodules, which are in no checkout; a folder's follows from its files

Sha1 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Swapped(UserError):
    """An answer that is not what its hashes say."""


class Pointer(StrictModel):
    """Where an answer is that lies beside its archive: another tar, of `answer/` alone."""

    url: Annotated[str, StringConstraints(max_length=500)]
    sha256: Sha256
    bytes: int = Field(ge=1, le=2 * MAX_ANSWER)


class Manifest(StrictModel):
    """What an archive says of itself. `checkpoints`: whether the agent sent that folder beside its commit."""

    format: Literal[1] = 1
    run_id: RunId
    commit: Sha1
    digest: Sha256
    checkpoints: bool
    elsewhere: Pointer | None = None


# -- write -----------------------------------------------------------------------------------------------------------
#: A file of an archive: its name, what it holds (or the file that does), and whether it may be executed.
Member = tuple[str, bytes | Path, bool]


def write(file: IO[bytes], members: Iterable[Member]) -> None:
    """Write a tar whose bytes follow from its members' names and contents alone."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data, executable in members:
            info = tarfile.TarInfo(name)
            info.mode = 0o755 if executable else 0o644
            info.size = data.stat().st_size if isinstance(data, Path) else len(data)
            with data.open("rb") if isinstance(data, Path) else io.BytesIO(data) as source:
                tar.addfile(info, source)


def lines_of(events: Iterable[Event]) -> bytes:
    """A ledger as text. Floats are written so that they come back the same, and with them the ledger's digest."""
    rows = ([e.seq, e.t_wall, e.t_run, e.kind, e.agent, e.station, e.text] for e in events)
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


# -- read ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Opened:
    """An archive that was unpacked.

    Attributes:
        sha256: of the archive's bytes.
        given: what its result.json holds, whatever that is.
        bundle: the answer, checked against its hashes; None where it lies elsewhere and was not given, or is another one.
        swapped: in what it is another one; None where it is not.
    """

    sha256: str
    manifest: Manifest
    given: Any
    events: list[Event]
    bundle: Bundle | None
    swapped: str | None


def open_archive(path: Path, into: Path, answer: Path | None = None) -> Opened:
    """Unpack an archive into a new folder and read it.

    Args:
        answer: the answer's own file, where the archive only points to one.

    Raises:
        UserError: it is no such archive.
    """
    sha256 = _unpacked(path, into, MAX_ARCHIVE)
    try:
        manifest = Manifest.model_validate(_json(into / "submission.json"))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise UserError(f"submission.json in {path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if manifest.elsewhere is None and answer is not None:
        raise UserError(f"{path} holds its answer itself; leave --answer out")
    events, bundle, swapped = list(_events(into / "ledger.jsonl")), None, None
    try:
        if manifest.elsewhere is not None:
            shutil.rmtree(into / "answer", ignore_errors=True)
        if answer is not None and manifest.elsewhere is not None:
            _take_answer(answer, into, manifest.elsewhere)
        if answer is not None or manifest.elsewhere is None:
            bundle = _bundle(into / "answer", manifest)
    except Swapped as error:
        swapped = str(error)
    return Opened(sha256, manifest, _json(into / "result.json"), events, bundle, swapped)


def _take_answer(answer: Path, into: Path, pointer: Pointer) -> None:
    scratch = into / "elsewhere"
    found = _unpacked(answer, scratch, MAX_ANSWER)
    if found != pointer.sha256:
        raise Swapped(
            f"{answer} is not the answer that the archive names: its SHA-256 is {found}, not {pointer.sha256}"
        )
    if not (scratch / "answer").is_dir():
        raise UserError(f"{answer} holds no answer; it is the second file that `leaderboard pack --answer-url` writes")
    os.rename(scratch / "answer", into / "answer")


def _unpacked(path: Path, into: Path, most: int) -> str:
    """Unpack a file of at most so many bytes, by a process under limits; returns its SHA-256. Raises UserError."""
    if not path.is_file():
        raise UserError(f"cannot read {path}: no such file; make one with: autoenvbench leaderboard pack RUN")
    if path.stat().st_size > most:
        raise UserError(
            f"{path} is larger than {most >> 20} MB; give the answer a file of its own: autoenvbench leaderboard pack RUN --answer-url URL"
        )
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        unpack_archive(path, into, most)
    except UserError as error:
        raise UserError(
            f"{path} is no submission: {str(error).removeprefix('cannot unpack the upload: ')}; make one with: "
            "autoenvbench leaderboard pack RUN"
        ) from None
    return sha256


def _json(file: Path) -> Any:
    try:
        if file.stat().st_size > _MAX_JSON:
            raise UserError(f"{file.name} in the archive is larger than {_MAX_JSON >> 20} MB")
        return json.loads(file.read_bytes())
    except OSError:
        raise UserError(f"the archive holds no {file.name}; make one with: autoenvbench leaderboard pack RUN") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file.name} in the archive is no JSON: {error}") from None


def _events(file: Path) -> Iterator[Event]:
    try:
        lines = file.read_bytes().splitlines()
    except OSError:
        raise UserError("the archive holds no ledger.jsonl; make one with: autoenvbench leaderboard pack RUN") from None
    if len(lines) > _MAX_EVENTS:
        raise UserError(f"the ledger has more than {_MAX_EVENTS:,} events")
    for number, line in enumerate(lines, 1):
        try:
            seq, t_wall, t_run, kind, agent, station, text = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            raise UserError(f"line {number} of ledger.jsonl is no event of a ledger") from None
        plain = type(seq) is int and type(t_wall) is float and type(t_run) is float
        named = (
            isinstance(kind, str)
            and isinstance(text, str)
            and all(x is None or isinstance(x, str) for x in (agent, station))
        )
        if not plain or not named:
            raise UserError(f"line {number} of ledger.jsonl has a value of another type than a ledger's")
        try:
            payload = parse_payload(kind, text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"event {number} is no {short(kind)} event: {short(str(error), 200)}") from None
        yield Event(seq, t_wall, t_run, kind, agent, station, payload, text)


# -- the answer against its hashes -----------------------------------------------------------------------------------
def _bundle(folder: Path, manifest: Manifest) -> Bundle:
    """The answer as it runs: the commit's files, with the checkpoints that were sent in their place. Raises UserError for any other bytes
    than the commit and the digest stand for."""
    try:
        commit = (folder / "commit").read_bytes()
    except OSError:
        raise UserError("the archive holds no answer; make one with: autoenvbench leaderboard pack RUN") from None
    if git_sha("commit", commit) != manifest.commit:
        raise Swapped(f"the answer was swapped: answer/commit is not the commit {manifest.commit}")
    tree = folder / "tree"
    tree.mkdir(exist_ok=True)
    entries = _json(folder / "entries.json")
    _check_files(tree, entries)
    sha = tree_sha(entries)
    if not commit.startswith(f"tree {sha}\n".encode()):
        raise Swapped(f"the answer was swapped: its files are not those of the commit {manifest.commit}")
    checkpoints = folder / "checkpoints"
    if checkpoints.exists() and not manifest.checkpoints:
        raise Swapped("the answer was swapped: the archive holds checkpoints, and says that the agent sent none")
    if bundle_digest(manifest.commit, checkpoints) != manifest.digest:
        raise Swapped(
            f"the answer was swapped: commit and checkpoints have the digest {bundle_digest(manifest.commit, checkpoints)[:12]}, and the "
            f"archive says {manifest.digest[:12]}"
        )
    content = bundle_digest(sha, checkpoints)
    if manifest.checkpoints:
        own = tree / "checkpoints"
        if own.is_file():
            own.unlink()
        shutil.rmtree(own, ignore_errors=True)
        checkpoints.mkdir(exist_ok=True)
        os.rename(checkpoints, own)
    return Bundle(manifest.commit, manifest.digest, "", tree, content)


def _check_files(tree: Path, entries: Any) -> None:
    """Raises UserError unless the regular files below a folder are those that are listed, by mode and content."""
    if not isinstance(entries, list) or not all(
        isinstance(e, list) and len(e) == 3 and all(isinstance(x, str) for x in e) for e in entries
    ):
        raise UserError("answer/entries.json is no list of [mode, SHA-1, path]")
    listed = {path: (mode, sha) for mode, sha, path in entries if mode in _BLOBS}
    found = {file.relative_to(tree).as_posix(): file for file in tree.rglob("*") if not file.is_dir()}
    if odd := sorted(listed.keys() ^ found.keys()):
        raise Swapped(f"the answer was swapped: {short(odd[0])} is listed and missing, or there and not listed")
    for path, file in found.items():
        mode, sha = listed[path]
        runs = bool(file.stat().st_mode & stat.S_IXUSR)
        if git_sha("blob", file.read_bytes()) != sha or runs != (mode == "100755"):
            raise Swapped(f"the answer was swapped: {short(path)} is not the file that its commit holds")


def git_sha(kind: str, data: bytes) -> str:
    """The name that Git gives an object: SHA-1, in hexadecimal."""
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()


def tree_sha(entries: list[list[str]]) -> str:
    """The name of the tree with these files, each [mode, SHA-1, path]. Raises UserError for what is no tree."""
    root: dict[str, Any] = {}
    for mode, sha, path in entries:
        *folders, name = path.split("/")
        node: Any = root
        for folder in folders:
            node = node.setdefault(folder, {}) if isinstance(node, dict) else node
        fits = isinstance(node, dict) and name and name not in node and len(folders) < _MAX_PATH
        if not fits or mode not in (*_BLOBS, *_NO_FILES) or not re.fullmatch("[0-9a-f]{40}", sha):
            raise UserError(f"answer/entries.json: {short(path)} cannot stand in a commit")
        node[name] = (mode, sha)
    return _tree(root)


def _tree(node: dict[str, Any]) -> str:
    rows = []
    for name, item in node.items():
        folder = isinstance(item, dict)
        mode, sha = ("40000", _tree(item)) if folder else item
        key = os.fsencode(name)
        rows.append((key + b"/" if folder else key, mode.encode() + b" " + key + b"\0" + bytes.fromhex(sha)))
    return git_sha("tree", b"".join(row for _, row in sorted(rows)))
