"""`autoenvbench demos`: who showed what, where; a folder that is whole or not there; starts that no score ever has."""

import json

import pytest
from enpire_envs.episodes import Episodes
from enpire_envs.fingerprint import fingerprint

from autoenvbench.cli.main import main
from autoenvbench.errors import UserError
from autoenvbench.learning.episodes import load
from autoenvbench.make_env import make_env
from autoenvbench.study.demos import record_demos
from autoenvbench.study.score import score


def test_a_folder_says_who_where_and_how_often(reach, shown):
    made = json.loads((shown / "demos.json").read_text())
    assert {k: made[k] for k in ("env", "by", "digest", "kept", "attempted", "successes", "episodes", "seed")} == {
        "env": reach, "by": "scripted", "digest": "scripted", "kept": "successes", "attempted": 100, "successes": 100, "episodes": 100, "seed": 0,
    }  # fmt: skip
    assert made["fingerprint"] == fingerprint(make_env(reach))
    episodes = load([shown])
    assert (len(episodes), episodes.steps, episodes.sources) == (100, made["steps"], {"scripted": 100})
    episodes.check(make_env(reach))


def test_the_same_seed_gives_the_same_episodes(reach, tmp_path):
    sums = {
        name: record_demos(reach, "scripted", 5, tmp_path / name, seed=seed, sandbox="none")["sha256"]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    }
    assert sums["a"] == sums["b"] != sums["c"]


def test_failures_are_left_out_or_kept(reach, tmp_path, policy_dir):
    """This policy stands still where the mark is to its left."""
    half = policy_dir(
        "import numpy as np\nclass Policy:\n    def __init__(self, *spaces): pass\n    def reset(self, o): self.o = o\n"
        "    def act(self, o): return np.clip((o[2:] - o[:2]) / 0.08, -1, 1) * (self.o[2] > self.o[0])\n"
    )
    made = record_demos(reach, str(half), 6, tmp_path / "good", sandbox="none")
    assert (made["episodes"], made["successes"]) == (6, 6)
    assert made["attempted"] > 6
    assert all(e.success for e in Episodes(tmp_path / "good"))
    assert load([tmp_path / "good"]).sources == {made["digest"]: 6}
    made = record_demos(reach, str(half), 12, tmp_path / "all", keep_failures=True, sandbox="none")
    assert (made["episodes"], made["attempted"], made["kept"]) == (12, 12, "all")
    assert 0 < made["successes"] == sum(e.success for e in Episodes(tmp_path / "all")) < 12


def test_who_solves_nothing_shows_nothing(reach, tmp_path):
    with pytest.raises(
        UserError, match=r"naive solved none of 50 starts of Example/Reach-v0 in a row .*time_limit.*--all"
    ):
        record_demos(reach, "naive", 3, tmp_path / "out", sandbox="none")
    assert list(tmp_path.iterdir()) == []


def test_a_task_without_a_script_has_no_demonstrations_to_give(reach, tmp_path, monkeypatch, capsys):
    monkeypatch.delattr("reach.reference.Scripted")
    assert main(["demos", "--env", reach, "-n", "3", "--out", str(tmp_path / "demos")]) == 2
    assert "Example/Reach-v0 has no scripted policy" in capsys.readouterr().err
    assert main(["eval", "--agent", "cem", "--env", reach, "--demos", "3", "--budget", "60s", "--sandbox", "none",
                 "--out", str(tmp_path / "runs")]) == 2  # fmt: skip
    assert "--demos 3: Example/Reach-v0 has no scripted policy" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_in_use_is_left_alone(reach, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").write_text("")
    assert main(["demos", "--env", reach, "-n", "2", "--out", str(tmp_path / "mine")]) == 2
    assert "is there already; name a new folder" in capsys.readouterr().err
    assert [p.name for p in tmp_path.rglob("*")] == ["mine", "x"]


def test_no_score_begins_where_a_demonstration_did(reach, shown, tmp_path):
    for seed in (0, 1):
        score(reach, "scripted", 30, seed=seed, sandbox="none", trajectories=tmp_path / str(seed))
    shown_at, scored_at = ({e.meta["seed"] for folder in folders for e in Episodes(folder)} for folders in ([shown], [tmp_path / "0", tmp_path / "1"]))  # fmt: skip
    assert len(shown_at) == 100
    assert len(scored_at) == 60
    assert not shown_at & scored_at


def test_from_the_command_line_to_a_score(reach, tmp_path, capsys):
    demos, run = tmp_path / "demos", tmp_path / "run"
    assert main(["demos", "--env", reach, "-n", "80", "--out", str(demos)]) == 0
    assert "80 episodes" in capsys.readouterr().out
    assert main(["train", "bc", "--env", reach, "--demos", str(demos), "--minutes", "1", "--out", str(run), "--set", "updates=600", "--set", "lr=3e-3",
                 "--set", "history=0", "--set", "average=0.95"]) == 0  # fmt: skip
    captured = capsys.readouterr()
    assert f"autoenvbench score --env {reach} --policy {run}/policy" in captured.out
    assert "by scripted (80)" in captured.err
    assert main(["score", "--env", reach, "--policy", f"{run}/policy", "-n", "10", "--sandbox", "none", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["successes"] >= 7
    assert main(["train", "list"]) == 0
    listed = capsys.readouterr().out
    assert "`bc`: behaviour cloning" in listed
    assert "hidden=256  width of the hidden layers" in listed
    assert main(["train", "bc", "--env", reach]) == 2
    assert "--out DIR" in capsys.readouterr().err
