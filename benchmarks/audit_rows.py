"""A file of measurements, one JSON object a line, that survives whoever writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autoenvbench.errors import UserError

Row = dict[str, Any]


def rows_of(out: Path) -> list[Row]:
    """All whole lines of the file; none where there is no file. What a kill left of the last line is cut off. Raises UserError."""
    if not out.exists():
        return []
    text = out.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    try:
        rows = [json.loads(line) for line in whole.splitlines()]
    except ValueError as error:
        raise UserError(f"{out} is no file of such rows ({error}); give another --out") from None
    if whole != text:
        with out.open("r+b") as file:
            file.truncate(len(whole))
    return rows


def append(out: Path, row: Row) -> None:
    """One more line, on disk when this returns."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a") as file:
        file.write(json.dumps(row) + "\n")
