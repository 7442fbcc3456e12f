"""A run's regime decides its board, and the answer must be of it."""

import pytest

from autoenvbench.record import regimes
from autoenvbench.record.contents import BundleContents
from autoenvbench.record.regimes import board_of, contradictions, rules

TEXT = BundleContents(numbers=150, table=3, named=["policy.py"])
WEIGHTS = TEXT.model_copy(
    update={"checkpoint_files": 1, "weight_files": 1, "weight_bytes": 9000, "named": ["checkpoints/actor.pt"]}
)


def test_every_regime_has_a_board():
    boards = {regime: board_of(regime) for regime in (*regimes.REGIMES, None)}
    assert boards == {"heuristic": "heuristic", "tools": "free", "bc": "gradient", "offline-rl": "gradient", "online-rl": "gradient",
                      "mixed": "free", None: "free"}  # fmt: skip


@pytest.mark.parametrize("regime", ["bc", "offline-rl", "online-rl"])
def test_an_answer_of_a_gradient_regime_is_a_declared_network(regime):
    assert contradictions(regime, WEIGHTS.model_copy(update={"network": True})) == []
    for other in (TEXT, WEIGHTS):  # weights that a script may or may not look at are none
        assert contradictions(regime, other) == [
            f"declared as {regime}, and the answer's bundle holds no {regimes.NETWORK}"
        ]
    assert regimes.NETWORK in rules(regime)
    assert regimes.answer_of(regime) == "network"


@pytest.mark.parametrize(("more", "words"), [
    ({"checkpoint_files": 1}, "1 file in checkpoints/"), ({"weight_files": 2}, "2 files of weights"), ({"binary_files": 1}, "something else than text"),
    ({"table": regimes.MAX_TABLE + 1}, "a table of 257 numbers; at most 256"), ({"numbers": regimes.MAX_NUMBERS + 1}, "4,001 numbers"),
    ({"coded_bytes": regimes.MAX_CODED + 1}, "4,097 bytes of coded words"),
])  # fmt: skip
def test_an_answer_of_the_heuristic_regime_holds_none_in_any_form(more, words):
    assert contradictions("heuristic", TEXT) == []
    (why,) = contradictions("heuristic", TEXT.model_copy(update=more))
    assert words in why
    assert "policy.py" in why


def test_what_nobody_recorded_is_of_no_declared_regime():
    assert all(contradictions(regime, None) for regime in ("heuristic", "bc"))
    for regime in ("mixed", "tools", None):
        assert contradictions(regime, None) == contradictions(regime, WEIGHTS) == []
        assert rules(regime) == ""
