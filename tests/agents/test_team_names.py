"""Teams as `--agent` and `--team` name them."""

from pathlib import Path

import pytest

from autoenvbench.agents.registry import make_agent
from autoenvbench.agents.team import parse_models, parse_team, team_name
from autoenvbench.cli.parser import make_parser
from autoenvbench.cli.run_arguments import members_from_args, run_config_from_args
from autoenvbench.errors import UserError
from autoenvbench.record.standing import crowding
from autoenvbench.research.run import research

PROGRAM = "command:python3 -c 'print(2*3, 4)'"


@pytest.mark.parametrize(("texts", "team", "members", "name"), [
    (["codex"], None, ["codex"], "codex"),
    (["codex"], 3, ["codex"] * 3, "codex"),
    (["codex*2,kimi-code"], None, ["codex", "codex", "kimi-code"], "codex*2,kimi-code"),
    ([" kimi-code , codex * 2"], 3, ["kimi-code", "codex", "codex"], "codex*2,kimi-code"),
    (["codex,recipe:bc*2,cem"], None, ["codex", "recipe:bc", "recipe:bc", "cem"], "cem,codex,recipe:bc*2"),
    ([PROGRAM], 2, [PROGRAM] * 2, PROGRAM),  # a program keeps its commas and stars
    ([f"cem,{PROGRAM}", "cem"], None, ["cem", PROGRAM, "cem"], f"cem*2,{PROGRAM}"),
])  # fmt: skip
def test_who_a_team_is(texts, team, members, name):
    assert parse_team(texts, team) == members
    assert team_name(members) == name


@pytest.mark.parametrize(("texts", "team", "why"), [
    (["codex,claude-code"], 3, "names 2 members and --team says 3"),
    (["codex*2"], 4, "names 2 members and --team says 4"),
    (["codex,"], None, "a comma with no agent beside it"),
    ([",codex"], None, "a comma with no agent beside it"),
    ([""], None, "names nobody"),
    (["codex*0"], None, "1 to 64 of an agent"),
    (["codex*65"], None, "1 to 64 of an agent"),
    (["codex*40,cem*40"], None, "80 members are more than the 64"),
    (["codex*999999999"], None, "1 to 64 of an agent"),
    (["codex,nobody"], None, "unknown agent 'nobody'"),
    (["codex*two"], None, r"unknown agent 'codex\*two'"),
    (["recipe:nothing"], None, "nothing"),
])  # fmt: skip
def test_what_is_no_team_is_refused_in_words(texts, team, why):
    with pytest.raises(UserError, match=why):
        parse_team(texts, team)


def given(*line):
    return make_parser().parse_args(["eval", *line])


def test_the_command_line_names_a_team_and_what_it_shares():
    args = given("--agent", "cem", "--team", "2", "--stations", "4", "--no-sharing", "--own-stations")
    config = run_config_from_args(args)
    assert members_from_args(args) == ["cem", "cem"]
    assert (config.agent, config.team, config.cells, config.sharing, config.own_stations) == ("cem", 2, 4, False, True)
    alone = run_config_from_args(given())
    assert (alone.agent, alone.team, alone.sharing, alone.own_stations) == ("codex", 1, True, False)
    assert run_config_from_args(given("--agent", "cem", "--team", "3")).cells == 3  # a robot each, as in a study
    with pytest.raises(UserError, match="2 members want 2 robots, and --stations says 1"):
        run_config_from_args(given("--agent", "cem,codex", "--own-stations", "--stations", "1"))
    assert crowding(config, "2c-cpu") == "2 members and 4 cells want 6 cores, and there are 2"
    assert crowding(config, "6c-gpu") is crowding(alone, "1c-cpu") is crowding(config, None) is None


MIXED = ["codex", "codex", "kimi-code", "cem"]


@pytest.mark.parametrize(("text", "one", "by_kind"), [
    (None, None, {}),
    ("gpt-x", "gpt-x", {}),
    ("codex=gpt-x,kimi-code=kimi-y", None, {"codex": "gpt-x", "kimi-code": "kimi-y"}),
    (" kimi-code = vendor/kimi:y ", None, {"kimi-code": "vendor/kimi:y"}),
])  # fmt: skip
def test_a_model_for_all_or_one_for_each_kind(text, one, by_kind):
    assert parse_models(text, MIXED) == (one, by_kind)


@pytest.mark.parametrize(("text", "why"), [
    ("codx=gpt-x", r"no member of this run is 'codx'; models are for codex=\.\.\., kimi-code=\.\.\."),
    ("claude-code=x", "no member of this run is 'claude-code'"),
    ("codex-1=gpt-x", "no member of this run is 'codex-1'"),
    ("cem=gpt-x", "cem asks no language model; models are for codex="),
    ("codex=a,codex=b", "write each agent once"),
    ("codex=a,b", "write each agent once"),
    ("codex=", "write each agent once"),
])  # fmt: skip
def test_a_model_that_is_nobodys_is_refused_with_who_there_is(text, why):
    with pytest.raises(UserError, match=why):
        parse_models(text, MIXED)


def test_each_kind_asks_for_its_own_model_alone():
    config = run_config_from_args(given("--agent", "codex*2,kimi-code,mini", "--model", "codex=gpt-x,kimi-code=kimi-y"))
    asked = {kind: make_agent(kind).models(config.of_agent(kind)) for kind in ("codex", "kimi-code", "mini")}
    assert asked == {"codex": ("gpt-x",), "kimi-code": ("kimi-y",), "mini": ("gpt-5.5",)}  # its own default
    assert config.model is None
    same = run_config_from_args(given("--agent", "codex*2", "--model", "gpt-x"))
    assert make_agent("codex").models(same.of_agent("codex")) == ("gpt-x",)
    with pytest.raises(UserError, match="no member of this run is 'kimi-code'"):  # nor through Python
        research(config.model_copy(update={"agent": "codex", "team": 1}), Path("nowhere"))
