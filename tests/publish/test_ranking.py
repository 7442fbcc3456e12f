"""Like is ranked with like: what takes a rank, in which table, in which order."""

import pytest
from board import result_of, verified, write_run

from autoenvbench.publish import ranking
from autoenvbench.record.events import CallEvent, TokensEvent, WaitEvent
from autoenvbench.record.run_config import RunConfig


def sections(results):
    """Of results that are all verified."""
    return ranking.sections(results, verified(results))


def results(tmp_path, name, n=3, **given):
    return [result_of(write_run(tmp_path / f"{name}-{k}", number=k, **given)) for k in range(n)]


#: One other value for each field of a configuration, in which runs must not be taken for repetitions of each other.
OTHERWISE = {
    "agent": "command:other", "env": "ENPIRE/PinInsertion-v0", "env_kwargs": {"criterion": "pose"}, "budget_s": 61, "track": "station",
    "pace": 1.0, "sandbox": "docker", "model": "m", "models": {"codex": "m"}, "effort": "high", "agent_args": ["--fast"], "base_url": "http://127.0.0.1:1/v1",
    "token_budget": 5, "cost_budget": 5.0, "regime": "bc", "tools": {"width": 640}, "tools_replay": "x.json", "goal": "success>=0.9",
    "nudges": 0, "agent_memory_gb": 1.0, "gateway": "replay", "replay": "x.json", "held_out": 201, "attempts": 2, "min_episodes": 10,
    "confirm_episodes": 20, "allow_hosted_tools": True,
    "strict_episodes": 100, "starter": "parametric", "robot_budget_s": 60.0, "demos": 20, "cells": 2, "team": 2,
    "experience_sha256": "e" * 64, "sharing": False, "own_stations": True, "vision": "none", "robots": ["station:left"],
    "vision_model": "qwen-vl", "vision_url": "http://127.0.0.1:1/v1", "vision_questions": 5,
    "canary_every": 25,
}  # fmt: skip


def test_every_field_of_a_configuration_keeps_runs_apart_or_says_why_not(tmp_path):
    given = {name: value for name, value in OTHERWISE.items() if name in RunConfig.model_fields}
    unknown = set(RunConfig.model_fields) - set(given) - set(ranking.NOT_MEASURED)
    assert not unknown, f"say in OTHERWISE or ranking.NOT_MEASURED whether {unknown} changes what is measured"
    first = result_of(write_run(tmp_path / "first"))
    for name, value in given.items():
        other = result_of(
            write_run(tmp_path / name, number=1, **{name: value, **({"held_out": 200} if name != "held_out" else {})})
        )
        pair = sections([first, other])
        rows = [row for s in pair for row in [*s.unranked, *(r for t in s.tables.values() for r in t)]]
        assert len(rows) == 2, name


@pytest.mark.parametrize(
    "facts", [{"compute_class": "64c-gpu"}, {"versions": {"autoenvbench": "0.2.0"}}, {"fingerprint": "0" * 16}]
)
def test_nor_do_runs_of_another_machine_or_version_share_a_row(tmp_path, facts):
    one, two = result_of(write_run(tmp_path / "a")), result_of(write_run(tmp_path / "b", number=1, started=facts))
    assert sum(len(s.unranked) for s in sections([one, two])) == 2


def test_a_rank_is_given_within_a_table_and_starts_anew_in_the_next(tmp_path):
    all_of = [
        *results(tmp_path, "good", wins=180), *results(tmp_path, "worse", wins=100, agent_args=["--lazy"]),
        *results(tmp_path, "slow", wins=190, pace=1.0), *results(tmp_path, "few", n=2, wins=200, nudges=1),
    ]  # fmt: skip
    (section,) = sections(all_of)
    ranks = {words: [(row.rank, row.agent, row.mean) for row in rows] for words, rows in section.tables.items()}
    assert sorted(ranks.values()) == [[(1, "cem 1.0", 0.9), (2, "cem 1.0 (--lazy)", 0.5)], [(1, "cem 1.0", 0.95)]]
    assert [(row.rank, row.note) for row in section.unranked] == [(None, "2 of the 3 runs that a rank takes")]


def test_intervals_are_over_runs_and_times_are_censored(tmp_path):
    many = [r for k, wins in enumerate((100, 120, 140, 160, 180)) for r in results(tmp_path, f"m{k}", n=1, wins=wins)]
    (row,) = next(iter(sections(many)[0].tables.values()))
    assert row.interval[1] - row.interval[0] > 0.2  # the pooled episodes' would be 0.06 wide
    assert ranking._row(ranking.place(many[:3], {}), "").interval is None
    assert ranking._row(ranking.place(many[:1], {}), "").interval == many[0].held_out.wilson95
    fast, *slow = [r.model_copy(update={"research_s": 600.0}) for r in many]
    fast = fast.model_copy(update={"to_threshold": {"0.8": {"time_s": 60.0}}})
    slow = [r.model_copy(update={"to_threshold": {"0.8": None}}) for r in slow]
    assert (
        ranking._row(ranking.place([fast, *slow], {}), "").to_80 == "more (1/5)"
    )  # and not 60 s, the median of those that got there
    assert ranking._row(ranking.place([fast, fast, slow[0]], {}), "").to_80 == "1m 00s (2/3)"


def test_equal_means_share_a_rank(tmp_path):
    (section,) = sections([*results(tmp_path, "a"), *results(tmp_path, "b", agent_args=["x"]), *results(tmp_path, "c", wins=10, agent_args=["y"])])  # fmt: skip
    (rows,) = section.tables.values()
    assert [row.rank for row in rows] == [1, 1, 3]


# -- no true 0 % -------------------------------------------------------------------------------------------------------
FAILED, ANSWERED = TokensEvent(model="gpt-x", status=429, error="HTTP 429", wait_s=0.0), TokensEvent(model="gpt-x", status=200, input=100, output=10)  # fmt: skip
NONSENSE = TokensEvent(model="gpt-x", status=400, error="max_tokens must be above 0")  # asked for by the agent
NO_CREDIT = NONSENSE.model_copy(update={"error": "Your credit balance is too low to access the API."})


@pytest.mark.parametrize(("given", "reason"), [
    ({"work": False}, "never worked"),
    ({"work": False, "calls": [FAILED] * 3}, "never worked"),
    ({"calls": [FAILED] * 3 + [ANSWERED] * 2}, "3 of its 5 model calls failed"),
    ({"calls": [CallEvent(id="1", model="gpt-x"), WaitEvent(phase="started", call="1"), 1.0, WaitEvent(phase="ended", call="1"), ANSWERED]},
     "waiting for its model's provider"),
    ({"work": False, "calls": [ANSWERED.model_copy(update={"in_flight": True})]}, "never worked"),
    ({"calls": [ANSWERED] + [NO_CREDIT] * 9}, "9 of its 10 model calls failed"),
])  # fmt: skip
def test_a_run_that_measured_nothing_is_no_zero(tmp_path, given, reason):
    result = result_of(write_run(tmp_path / "run", wins=0, **given))
    assert any(reason in why for why in result.void_because)
    assert set(result.void_because) <= set(ranking.unranked_because(result))


@pytest.mark.parametrize("given", [
    {}, {"work": False, "calls": [ANSWERED]}, {"calls": [ANSWERED] * 3 + [FAILED]}, {"calls": [ANSWERED] + [NONSENSE] * 9},
])  # fmt: skip
def test_a_run_that_tried_and_failed_is_a_zero(tmp_path, given):
    result = result_of(write_run(tmp_path / "run", wins=0, **given))
    assert result.void_because == []
    assert result.unranked_because == []


# -- regimes as boards ------------------------------------------------------------------------------------------------------
WEIGHTS = {"checkpoint_files": 1, "weight_files": 1, "weight_bytes": 9000, "network": True}


def tables(results):
    return {words: [row.agent for row in rows] for s in sections(results) for words, rows in s.tables.items()}


def test_regimes_are_boards_that_never_mix(tmp_path):
    all_of = [
        *results(tmp_path, "bc", regime="bc", contents=WEIGHTS), *results(tmp_path, "rl", regime="online-rl", contents=WEIGHTS),
        *results(tmp_path, "hand", regime="heuristic"), *results(tmp_path, "free"), *results(tmp_path, "mixed", regime="mixed", contents=WEIGHTS),
    ]  # fmt: skip
    found = {words.partition(" regime")[0]: agents for words, agents in tables(all_of).items()}
    assert found == {"gradient": ["cem 1.0 (bc)", "cem 1.0 (online-rl)"], "heuristic": ["cem 1.0 (heuristic)"],
                     "free": ["cem 1.0", "cem 1.0 (mixed)"]}  # fmt: skip


@pytest.mark.parametrize(("regime", "contents", "why"), [
    ("heuristic", WEIGHTS, "1 file in checkpoints/ and 1 file of weights"), ("heuristic", {"table": 5000, "numbers": 5000}, "a table of 5,000 numbers"),
    ("bc", {"weight_files": 1}, "holds no checkpoints/network.onnx"),
])  # fmt: skip
def test_an_answer_that_is_not_of_its_regime_takes_no_rank_on_any_board(tmp_path, regime, contents, why):
    given = results(tmp_path, "run", regime=regime, contents=contents)
    assert tables(given) == {}
    assert why in sections(given)[0].unranked[0].note
    # nor does one whose ledger does not say what it holds
    unknown = [r.model_copy(update={"contents": None}) for r in given]
    assert tables(unknown) == {}


@pytest.mark.parametrize(
    "other",
    [
        {"track": "station"},
        {"starter": "parametric"},
        {"regime": "heuristic"},
        {"pace": 1.0},
        {"robot_budget_s": 60.0},
        {"started": {"stations": "run"}},
    ],
)
def test_what_makes_a_board_never_mixes(tmp_path, other):
    assert len(tables([*results(tmp_path, "one"), *results(tmp_path, "two", **other)])) == 2
