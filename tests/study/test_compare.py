"""`autoenvbench compare`: two policies, shared starts."""

import json

import pytest
from conftest import ZERO_POLICY

from autoenvbench.cli.main import main
from autoenvbench.errors import UserError
from autoenvbench.study.compare import compare


@pytest.mark.cage
def test_the_better_policy_is_named_and_the_comparison_stops(policy_dir, capsys):
    code = main(["compare", str(policy_dir(ZERO_POLICY)), "reference", "-n", "60", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert code == 0
    assert result["better"] == "reference"
    assert result["p_value"] <= 0.05
    assert result["starts"] < 20
    assert result["only_second"] == result["policies"][1]["successes"] == result["starts"]
    assert [side["episodes"] for side in result["policies"]] == [result["starts"]] * 2


def test_both_run_from_the_same_starts_and_a_seed_repeats_them():
    once = compare("ENPIRE/TieZipTie-v0", ("naive", "naive"), 6, seed=3, sandbox="none")
    again = compare("ENPIRE/TieZipTie-v0", ("naive", "naive"), 6, seed=3, sandbox="none")
    assert once == again
    assert once["only_first"] == once["only_second"] == 0  # one policy, the same starts: the same outcomes
    assert once["verdict"] == "undecided"
    assert once["better"] is None


@pytest.mark.parametrize("wrong", [{"most": 0}, {"alpha": 0.0}, {"alpha": float("nan")}])
def test_a_comparison_of_nothing_is_refused(wrong):
    with pytest.raises(UserError, match=r"-n 0|--alpha"):
        compare("ENPIRE/PushT-v0", ("random", "random"), **{"most": 5, **wrong}, sandbox="none")
