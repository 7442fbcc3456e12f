"""Teams as `--agent` and `--team` name them."""

import pytest

from autoenvbench.agents.team import parse_team, team_name
from autoenvbench.cli.parser import make_parser
from autoenvbench.cli.run_arguments import members_from_args, run_config_from_args
from autoenvbench.errors import UserError
from autoenvbench.record.standing import crowding

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
    with pytest.raises(UserError, match="2 members want 2 robots, and --stations says 1"):
        run_config_from_args(given("--agent", "cem,codex", "--own-stations"))
    assert crowding(config, "2c-cpu") == "2 members and 4 cells want 6 cores, and there are 2"
    assert crowding(config, "6c-gpu") is crowding(alone, "1c-cpu") is crowding(config, None) is None
