"""Where certificates lie on the machine of a station: beside the rows that bear them out, without which none holds."""

from __future__ import annotations

import json
import os
from pathlib import Path

from autoenvbench.record.certificate import Certificate, certificate_of, parse_certificate

MAX_FILE = 256 << 20  # bytes of an audit


def store_folder() -> Path:
    """The folder that AUTOENVBENCH_CERTIFICATES names, else the user's own, which no cage shows."""
    if named := os.environ.get("AUTOENVBENCH_CERTIFICATES"):
        return Path(named)
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "autoenvbench" / "certificates"


def store(certificate: Certificate, rows: str) -> Path:
    """Keep a certificate with its rows; a later one of the same verifier and station takes its place. Raises OSError."""
    file = _file(certificate.audit.verifier, certificate.audit.station_sha256)
    file.parent.mkdir(parents=True, exist_ok=True)
    for path, text in ((file.with_suffix(".jsonl"), rows), (file, certificate.model_dump_json(indent=1) + "\n")):
        scratch = path.with_name(path.name + ".tmp")
        scratch.write_text(text)
        scratch.replace(path)
    return file


def find(verifier: str, station_sha256: str) -> tuple[Certificate | None, str | None]:
    """The certificate of a verifier at a station, or why there is none that holds (None where there is no file at all)."""
    file = _file(verifier, station_sha256)
    if not file.exists():
        return None, None
    try:
        rows = file.with_suffix(".jsonl")
        if max(file.stat().st_size, rows.stat().st_size) > MAX_FILE:
            raise ValueError("it is too large")
        found = parse_certificate(_json(file.read_text()))
        if certificate_of(rows.read_text().splitlines()) != found:
            raise ValueError("its rows do not bear it out: one of the two was edited")
    except (OSError, ValueError, RecursionError) as error:  # pydantic's errors are ValueErrors
        return None, f"{file.name} does not count: {str(error).splitlines()[0]}"
    return found, None


def _json(text: str) -> dict[str, object]:
    given = json.loads(text)
    if not isinstance(given, dict):
        raise ValueError("it holds no certificate")
    return given


def _file(verifier: str, station_sha256: str) -> Path:
    return store_folder() / f"{verifier[:16]}-{station_sha256[:16]}.json"
