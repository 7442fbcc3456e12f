"""A ledger as a pandas table: a row an event, a column a field."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from autoenvbench.record.events import KINDS

if TYPE_CHECKING:
    import pandas as pd

    from autoenvbench.record.ledger import Event

_HEAD = ("seq", "t_wall", "t_run", "kind", "agent", "station")


def events_frame(events: Iterable[Event], *kinds: str) -> pd.DataFrame:
    """One row an event of these kinds (of all, if none is named), in their order.

    Columns: seq, t_wall [Unix s], t_run [s], kind, agent, station, then every field of the payloads; those of named kinds are
    there without a single event, too. A field that an event's kind does not have is missing (`pandas.NA`) in its row. One that is
    called like a column of the head is `KIND.FIELD`. Lists and objects are JSON text, so that every cell is one value.
    """
    import pandas as pd

    rows = []
    for e in events:
        if kinds and e.kind not in kinds:
            continue
        fields = e.payload.model_dump(mode="json", exclude={"version"})
        head = (e.seq, e.t_wall, e.t_run, e.kind, e.agent, e.station)
        rows.append(
            dict(zip(_HEAD, head, strict=True)) | {_column(e.kind, name): _cell(v) for name, v in fields.items()}
        )
    named = [_column(kind, name) for kind in kinds for name in KINDS[kind].model_fields if name != "version"]
    table = pd.DataFrame(rows, columns=list(dict.fromkeys([*_HEAD, *named])) if kinds or not rows else None)
    return table.convert_dtypes()  # whole numbers and booleans stay what they are beside missing values


def _column(kind: str, name: str) -> str:
    # A payload's own field of that name says the same about something else.
    return f"{kind}.{name}" if name in _HEAD else name


def _cell(value: object) -> object:
    return json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value
