"""`autoenvbench leaderboard pack RUN`: a finished run's submission archive."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from autoenvbench.errors import UserError
from autoenvbench.publish.leaderboard import check_run
from autoenvbench.publish.ledger_audit import audited_events
from autoenvbench.record.addresses import tells_more
from autoenvbench.record.answer import Answer
from autoenvbench.station.bundles import MAX_TREE, BundleStore, bundle_digest, unpack_archive
from autoenvbench.text import short
from autoenvbench.verify.archive import MAX_ANSWER, MAX_ARCHIVE, Manifest, Member, Pointer, git_sha, lines_of, write

_LISTING = 16 << 20  # bytes of Git's list of a commit's files, or of a commit's message


def pack(run_dir: Path, out: Path | None = None, answer_url: str | None = None) -> list[Path]:
    """Write a run's archive; returns the files. The same run gives the same bytes.

    Args:
        out: the file; by default the run's name with .tar, in the working directory.
        answer_url: where the answer will be: it goes into a second file, OUT with .answer.tar, which the archive names by its hash.

    Raises:
        UserError: a run that is not finished or not as its ledger says, or whose answer is not there; an archive that is too large.
    """
    result, _ = check_run(run_dir)
    out = Path(f"{result.run_id}.tar") if out is None else out
    events = audited_events(run_dir / "ledger.sqlite")
    if names := sorted(
        {name for e in events if e.kind == "run" for name in _telling("config", e.payload.config or {})}
    ):
        raise UserError(
            f"{', '.join(names)} in the ledger: an address with a user, a query or a fragment, where keys stand, cannot be published, and "
            "what is in a ledger stays; run it again with an address that has none"
        )
    ledger = lines_of(events)
    files = [out]
    with tempfile.TemporaryDirectory() as scratch:
        answer, sent = _answer(run_dir, result.answer, Path(scratch))
        pointer = None
        if answer_url is not None:
            files.append(out.with_name(f"{out.name.removesuffix('.tar')}.answer.tar"))
            sha256, size = _write(files[1], answer, MAX_ANSWER)
            pointer = Pointer(url=answer_url, sha256=sha256, bytes=size)
        manifest = Manifest(
            run_id=result.run_id, commit=result.answer.commit, digest=result.answer.digest, checkpoints=sent, elsewhere=pointer,
        )  # fmt: skip
        own: list[Member] = [
            ("submission.json", manifest.model_dump_json(indent=1).encode() + b"\n", False),
            ("result.json", run_dir / "result.json", False),
            ("ledger.jsonl", ledger, False),
        ]
        _write(out, own if pointer else [*own, *answer], MAX_ARCHIVE)
    return files


def _telling(name: str, value: Any) -> Iterator[str]:
    """Where a configuration holds an address that tells more than where to ask, by dotted names."""
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _telling(f"{name}.{short(str(key))}", inner)
    elif isinstance(value, str) and "://" in value and len(value.split()) == 1 and tells_more(value):
        yield name


def _write(path: Path, members: Iterable[Member], most: int) -> tuple[str, int]:
    """Write it whole or not at all; returns its SHA-256 and its bytes. Raises UserError, also where it is larger than archives may be."""
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w+b") as file:
            write(file, members)
            size = file.tell()
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if size > most:
            raise UserError(
                f"{path.name} would have {size / 2**20:.1f} MB, and at most {most >> 20} are taken; give the answer a file of its own, "
                "at an address where it will be (--answer-url URL), with no more in it than it needs"
            )
        part.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another with --out") from None
    finally:
        part.unlink(missing_ok=True)
    return sha256, size


def _answer(run_dir: Path, answer: Answer, scratch: Path) -> tuple[list[Member], bool]:
    """The answer's files, by the station's own repository, and whether checkpoints were sent with its commit. Raises UserError."""
    if not (run_dir / "bundles/objects.git").is_dir():
        raise UserError(
            f"{run_dir} has no bundles/: the answer that was scored is gone, so that nobody can run it again"
        )
    store = BundleStore(run_dir / "bundles")
    bundle = store.get(answer.digest)
    if bundle is None:
        raise UserError(f"{run_dir / 'bundles'} does not hold the answer {answer.digest[:12]} that was scored")
    checkpoints = bundle.path / "checkpoints"
    sent = checkpoints.is_dir() and bundle_digest(answer.commit, checkpoints) == answer.digest
    if not sent and bundle_digest(answer.commit, scratch / "none") != answer.digest:
        raise UserError(f"{bundle.path} is not as the station made it: its digest is not {answer.digest[:12]}")
    commit = store.objects.git("cat-file", "commit", answer.commit, said=_LISTING).encode()
    if git_sha("commit", commit) != answer.commit:
        raise UserError(f"the commit {answer.commit[:12]} has a message that is not UTF-8: it cannot be packed")
    rows = store.objects.git("ls-tree", "-r", "-z", "--full-tree", answer.commit, said=_LISTING).split("\0")[:-1]
    entries = [
        [*row.partition("\t")[0].split()[::2], row.partition("\t")[2]] for row in rows
    ]  # MODE TYPE SHA-1 <tab> PATH
    tree, tar = scratch / "tree", scratch / "tree.tar"
    store.objects.git("archive", "--format=tar", "-o", str(tar), answer.commit)
    unpack_archive(tar, tree, MAX_TREE)
    executable = {path for mode, _, path in entries if mode == "100755"}
    members: list[Member] = [
        ("answer/commit", commit, False),
        ("answer/entries.json", json.dumps(entries).encode() + b"\n", False),
    ]
    for folder, name in ((tree, "tree"), *([(checkpoints, "checkpoints")] if sent else [])):
        paths = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()}
        members += [
            (f"answer/{name}/{path}", paths[path], name == "tree" and path in executable) for path in sorted(paths)
        ]
    return members, sent
