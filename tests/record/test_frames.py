"""A ledger as a pandas table: every field a column, every cell one value."""

import json

import pandas as pd

from autoenvbench.record.events import AgentEvent, EpisodeEvent, IdeaEvent, NoteEvent
from autoenvbench.record.frames import events_frame


def _write(ledger):
    ledger.append(IdeaEvent(id="I1", title="push", inspired_by=["I0"]), agent="cem")
    for k in range(4):
        ledger.append(
            EpisodeEvent(evaluation="E1", purpose="evaluate", index=k, commit="c", digest="d", seed=2**47 + k, success=k > 0,
                         score=k / 4, stage="push", steps=10, sim_s=1.0, robot_s=1.5, violations=["force"] * (k == 2)),
            agent="cem", station="station-1",
        )  # fmt: skip
    ledger.append(AgentEvent(phase="exited", name="cem", exit_code=0), agent="cem-1")


def test_a_kind_is_a_table_with_its_fields_and_their_types(ledger):
    _write(ledger)
    episodes = ledger.frame("episode")
    assert set(EpisodeEvent.model_fields) - {"version"} <= set(episodes.columns)
    assert list(episodes["index"]) == [0, 1, 2, 3]
    assert episodes.success.mean() == 0.75
    assert pd.api.types.is_bool_dtype(episodes.success)
    assert list(episodes.seed) == [2**47 + k for k in range(4)]  # no seed loses its last bits
    assert [json.loads(v) for v in episodes.violations] == [[], [], ["force"], []]
    assert set(episodes.station) == {"station-1"}


def test_kinds_side_by_side_leave_out_what_the_other_has(ledger):
    _write(ledger)
    table = ledger.frame()
    assert list(table.kind) == ["idea", *["episode"] * 4, "agent"]
    assert list(table.seq) == [1, 2, 3, 4, 5, 6]
    assert table.title.notna().tolist() == [True, *[False] * 5]
    assert table.exit_code.dtype == "Int64"  # a whole number, though most rows have none
    assert (table.agent.iloc[-1], table.name.iloc[-1]) == ("cem-1", "cem")


def test_columns_are_there_without_an_event(ledger):
    assert len(ledger.frame("episode", "note")) == 0
    assert {"seq", "t_run", "success", "text"} <= set(ledger.frame("episode", "note").columns)
    assert list(ledger.frame().columns) == ["seq", "t_wall", "t_run", "kind", "agent", "station"]


def test_of_many_events_those_of_the_named_kinds(ledger):
    _write(ledger)
    ledger.append(NoteEvent(text="a note"))
    events = list(ledger.events())
    assert events_frame(events, "note", "idea").kind.tolist() == ["idea", "note"]
    pd.testing.assert_frame_equal(events_frame(events, "episode"), ledger.frame("episode"))
