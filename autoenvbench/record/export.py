"""A ledger's table as a file, for R, spreadsheets and pandas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autoenvbench.errors import UserError
from autoenvbench.text import csv_cell

if TYPE_CHECKING:
    import pandas as pd


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
