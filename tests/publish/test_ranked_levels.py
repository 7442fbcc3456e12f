"""A level for tutorials takes no rank, whatever a row says of itself."""

import gymnasium as gym
import pytest
from board import RANKED, result_of, verified, verify_all, write_run
from enpire_envs import registry
from enpire_envs.fingerprint import fingerprint
from enpire_envs.registry import level_of

from autoenvbench.make_env import make_env
from autoenvbench.publish import leaderboard, levels, ranking
from autoenvbench.record.results import EnvInfo

INTRO = "ENPIRE/PinInsertion-v0"


def rows(results):
    sections = ranking.sections(results, verified(results))
    ranked = [row for s in sections for table in s.tables.values() for row in table]
    return ranked, [row for s in sections for row in s.unranked]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three perfect runs on a ranked level: nothing speaks against their rank."""
    made = [write_run(tmp_path_factory.mktemp("runs") / f"run-{k}", number=k, wins=200) for k in range(3)]
    ranked, unranked = rows([result_of(run) for run in made])
    assert (len(ranked), unranked) == (1, [])
    return made


def claiming(runs, **env):
    """The same runs, whose rows claim another environment, and that nothing is against them."""
    return [
        result.model_copy(update={"env": EnvInfo(**{**result.env.model_dump(), **env}), "unranked_because": []})
        for result in map(result_of, runs)
    ]


@pytest.mark.parametrize(("env", "why"), [
    ({"id": INTRO}, f"intro is for tutorials and never ranked; run {RANKED}"),
    ({"id": INTRO, "kwargs": {"level": "state"}}, "intro is for tutorials"),
    ({"id": RANKED, "kwargs": {"level": "intro"}}, "the level state is ranked as it is, and this ran with level='intro'"),
    ({"kwargs": {"clearance": 0.2}}, "clearance=0.2; leave out --env-arg"),
    ({"id": "ENPIRE/PinInsertion-Standart-v0"}, "is not registered here"),
    ({"id": "enpire_envs:ENPIRE/PinInsertion-v0"}, "is not registered here"),
    ({"id": "ENPIRE/PinInsertion-State"}, "is not registered here"),
    ({"id": ""}, "is not registered here"), ({"fingerprint": None}, "there is no fingerprint"),
])  # fmt: skip
def test_a_row_on_no_ranked_level_takes_no_rank(runs, env, why):
    results = claiming(runs, **env)
    assert why in "; ".join(ranking.unranked_because(results[0]))
    ranked, unranked = rows(results)
    assert ranked == []
    assert sum(row.runs for row in unranked) == 3


def test_a_row_of_intro_that_says_it_is_another_level_is_known_by_its_fingerprint(runs):
    env = make_env(INTRO)
    results = claiming(runs, fingerprint=fingerprint(env))
    env.close()
    ranked, unranked = rows(results)
    assert ranked == []
    assert f"it says {RANKED}, and its fingerprint is that of {INTRO}" in unranked[0].note


def test_another_name_for_a_task_is_no_way_around_its_levels(runs):
    spec = gym.spec(INTRO)
    gym.register("Mine/Pin-v0", entry_point=spec.entry_point)
    try:
        ranked, unranked = rows(claiming(runs, id="Mine/Pin-v0"))
    finally:
        del gym.registry["Mine/Pin-v0"]
    assert ranked == []
    assert f"Mine/Pin-v0 is {INTRO} under another name" in unranked[0].note


def test_every_level_is_ranked_or_not_as_the_registry_says(runs):
    ids = [env_id for entry in registry.entries() for env_id in entry.envs]
    for env_id in ids:
        level = level_of(env_id)
        ranked, unranked = rows(claiming(runs, id=env_id))
        assert bool(ranked) == (level is None or level.ranked), env_id
        assert levels.history(env_id) == (not ranked)
        assert len(ranked) + len(unranked) == 1


def test_old_rows_are_kept_as_history(runs, tmp_path):
    """A level that is moved down a rung takes its rows with it: their files stay as they are, and their figures are shown."""
    board = tmp_path / "board"
    for run in [*runs, *(write_run(tmp_path / f"intro-{k}", number=k, env=INTRO, wins=190) for k in range(3))]:
        added = leaderboard.add(run, board)
        assert any("intro is for tutorials" in remark for remark in added.remarks) == run.name.startswith("intro")
    verify_all(board)
    leaderboard.build(board)
    page = (board / "README.md").read_text()
    boards, _, history = page.partition("## History")
    assert "| 1 gold | a | cem 1.0 | 3 | 100.0 % | 100.0 % / 100.0 % / 100.0 % |" in boards
    assert INTRO not in boards.partition("## ENPIRE")[2]
    assert "| cem 1.0 | 3 | 95.0 % |" in history
    assert "a level for tutorials" in history
