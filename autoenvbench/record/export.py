"""A ledger as a flat table, for pandas, R and spreadsheets: a row an event, a column a field."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from autoenvbench.errors import UserError
from autoenvbench.record.ledger import Event
from autoenvbench.text import csv_cell


def events_table(events: Iterable[Event]) -> pd.DataFrame:
    """One row an event. Columns: seq, t_wall [Unix s], t_run [s], kind, agent, station, then every field of the payloads.

    A field that an event's kind does not have is missing there. Lists and objects are JSON text, so that every cell is one
    value.
    """
    rows = []
    for e in events:
        fields = {key: _cell(value) for key, value in e.payload.model_dump(mode="json", exclude={"version"}).items()}
        head = {
            "seq": e.seq,
            "t_wall": e.t_wall,
            "t_run": e.t_run,
            "kind": e.kind,
            "agent": e.agent,
            "station": e.station,
        }
        # A payload's own field of that name says the same about something else: `agent` events name the agent.
        rows.append({**head, **{(f"{e.kind}.{key}" if key in head else key): value for key, value in fields.items()}})
    table = pd.DataFrame(rows, columns=None if rows else ["seq", "t_wall", "t_run", "kind", "agent", "station"])
    return table.convert_dtypes()  # whole numbers and booleans stay what they are beside missing values


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """As CSV whose text cannot act as a formula. Raises UserError."""
    try:
        table.map(lambda value: csv_cell(value) if isinstance(value, str) else value).to_csv(path, index=False)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """As Parquet, text as it is. Raises UserError, also where no library for it is installed."""
    try:
        table.to_parquet(path, index=False)
    except ImportError:
        raise UserError("Parquet needs pyarrow: pip install 'autoenvbench[parquet]' (or write --csv)") from None
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None


def _cell(value: object) -> object:
    return json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value
