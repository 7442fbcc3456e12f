"""Only verified rows are ranked, by the verifier's numbers, and what cannot be told apart is tied."""

from itertools import combinations

import pytest
from board import result_of, verified, write_run
from hypothesis import given
from hypothesis import strategies as st

from autoenvbench.publish import ranking
from autoenvbench.publish.ties import Rates, different, letters
from autoenvbench.publish.verification import status


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [result_of(write_run(folder / f"run-{k}", number=k, wins=180)) for k in range(3)]


def test_only_verified_rows_are_ranked_and_by_fresh_starts(results):
    (section,) = ranking.sections(results, {})
    assert section.tables == {}
    assert "self-reported: nobody has run its answer again" in section.unranked[0].note
    (section,) = ranking.sections(results, verified(results, fresh=160))
    (row,) = next(iter(section.tables.values()))
    assert (row.rank, row.letters, row.mean, row.claimed) == (1, "a", 0.8, "90.0 % / 90.0 % / 90.0 %")
    # two of three are no rank
    (section,) = ranking.sections(results, verified(results[:2]))
    assert section.tables == {}


def test_a_rejected_row_stays_with_its_reason(results):
    records = verified(results, verdict="rejected", reasons=["its outcomes are not those of the ledger"])
    (section,) = ranking.sections(results, records)
    assert section.tables == {}
    assert section.unranked[0].note == "rejected: its outcomes are not those of the ledger"
    assert (section.unranked[0].runs, section.unranked[0].mean) == (
        3,
        0.9,
    )  # as it says, and with what is wrong with that


@pytest.mark.parametrize("change", [{"ledger_sha256": "0" * 64}, {"answer": "another"}, {"run_id": "run-9"}])
def test_a_record_of_another_row_verifies_nothing(results, change):
    records = {run: record.model_copy(update=change) for run, record in verified(results).items()}
    assert {status(r, records) for r in results} == {"self-reported"}
    assert ranking.sections(results, records)[0].tables == {}


EDITS = {"config": None, "track": "station", "unranked_because": [], "contents": None, "research_s": 1.0}


@pytest.mark.parametrize("field", ["agent", *EDITS])
def test_a_row_that_was_edited_after_its_verification_is_verified_no_more(results, field):
    """It would stand under another name, in another table, or without what counts against it."""
    whole = [r.model_copy(update={"unranked_because": ["a reason"]}) for r in results]
    records = verified(whole)
    assert {status(r, records) for r in whole} == {"verified"}
    edited = [
        r.model_copy(update={field: r.agent.model_copy(update={"model": "another"}) if field == "agent" else EDITS[field]})
        for r in whole
    ]  # fmt: skip
    assert {status(r, records) for r in edited} == {"self-reported"}
    assert ranking.sections(edited, records)[0].tables == {}


def test_nor_does_one_of_another_version_of_the_environment(results):
    moved = [r.model_copy(update={"env": r.env.model_copy(update={"fingerprint": "0" * 16})}) for r in results]
    assert ranking.sections(moved, verified(results))[0].tables == {}


def test_rows_within_the_spread_are_tied():
    rows = [
        Rates(r, 200)
        for r in ([0.99, 0.98, 1.0], [0.95, 0.97, 0.96], [0.6, 0.9, 0.75], [0.5, 0.5, 0.5], [0.0, 0.0, 0.0])
    ]
    apart = different(rows)
    assert (0, 1) not in apart  # they differ by no more than runs do
    assert {(0, 3), (1, 3), (3, 4), (0, 4)} <= apart
    assert (2, 3) not in apart  # runs of 60 to 90 % say little
    assert different([Rates([1.0] * 3, 200), Rates([0.995] * 3, 200)]) == set()  # that runs agree is no proof
    assert letters(5, apart)[0][0] == "a"


@given(st.integers(0, 9).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.sampled_from(list(combinations(range(n), 2))) if n > 1 else st.nothing()))))  # fmt: skip
def test_two_rows_share_a_letter_exactly_where_they_are_not_told_apart(drawn):
    n, differing = drawn
    shown = letters(n, differing)
    assert all(shown)
    for i, j in combinations(range(n), 2):
        assert bool(set(shown[i]) & set(shown[j])) == ((i, j) not in differing)
