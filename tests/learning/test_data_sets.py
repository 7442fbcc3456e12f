"""Named sets of mixed quality: the recipe makes the same episodes anew, in the environment that it is for and in no other."""

import json
from dataclasses import replace

import numpy as np
import pytest
from enpire_envs.episodes import Episodes
from enpire_envs.fingerprint import fingerprint
from gymnasium.spaces import Box

from autoenvbench.cli.main import main
from autoenvbench.errors import UserError
from autoenvbench.learning.episodes import load
from autoenvbench.make_env import make_env
from autoenvbench.study import data_sets
from autoenvbench.study.data_sets import DataSet, Part, check_set, find_set, published, record_set
from autoenvbench.study.policies import NoisyPolicy


@pytest.fixture
def recipe(reach):
    """Of the example task."""
    parts = (Part("scripted", 3, seed=1), Part("scripted", 4, seed=2, noise=0.5), Part("random", 5, seed=3))
    return DataSet("reach-mixed-v0", reach, parts, fingerprint(make_env(reach)), "")


def test_a_set_says_what_it_is_made_of(recipe, tmp_path):
    made = record_set(recipe, tmp_path / "set")
    assert json.loads((tmp_path / "set/data_set.json").read_text()) == made == check_set(tmp_path / "set")
    assert [(part["by"], part["noise"], part["seed"], part["episodes"]) for part in made["parts"]] == [
        ("scripted", 0, 1, 3), ("scripted", 0.5, 2, 4), ("random", 0, 3, 5),
    ]  # fmt: skip
    assert (made["name"], made["env"], made["fingerprint"]) == ("reach-mixed-v0", recipe.env, recipe.fingerprint)
    episodes = load([tmp_path / "set"])
    assert episodes.sources == {"scripted": 3, "scripted with 0.5 noise": 4, "random": 5}
    assert made["steps"] == episodes.steps == sum(part["steps"] for part in made["parts"])
    assert made["successes"] == sum(t.success for t in episodes) == sum(part["successes"] for part in made["parts"])
    assert 3 <= made["successes"] < 12
    assert len(made["parts"][0]["policies_sha256"]) == 64
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_a_recipe_gives_the_same_set_again(recipe, tmp_path):
    first = record_set(recipe, tmp_path / "a")
    again = record_set(replace(recipe, sha256=first["sha256"]), tmp_path / "b")
    assert (first["as_published"], again["as_published"]) == (False, True)
    other = replace(recipe, parts=(*recipe.parts[:2], replace(recipe.parts[2], seed=4)))
    assert record_set(other, tmp_path / "c")["sha256"] != first["sha256"]


def test_another_environment_is_refused(recipe, tmp_path):
    with pytest.raises(UserError, match=r"of fingerprint 0123456789abcdef, which is .* here: code, versions"):
        record_set(replace(recipe, fingerprint="0123456789abcdef"), tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_left_alone(recipe, tmp_path):
    (tmp_path / "x").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        record_set(recipe, tmp_path)
    assert (tmp_path / "x").read_text() == "mine"


@pytest.mark.parametrize("how", ["lost", "added", "changed"])
def test_a_set_with_other_episodes_is_seen(recipe, tmp_path, how):
    record_set(recipe, tmp_path / "set")
    files = sorted((tmp_path / "set").glob("*.episode"))
    if how == "lost":
        files[0].unlink()
    elif how == "added":
        (tmp_path / "set/zzz.episode").write_bytes(files[0].read_bytes())
    else:
        files[0].write_bytes(files[1].read_bytes())
    with pytest.raises(UserError, match=r"not those of its data_set\.json"):
        check_set(tmp_path / "set")


def test_a_folder_that_is_no_set_is_said_to_be_none(shown):
    with pytest.raises(UserError, match="--set NAME"):
        check_set(shown)


# -- the published ones ---------------------------------------------------------------------------------------------------
def test_published_sets_can_be_made_here():
    """Whoever changes what they rest on runs scripts/publish_data_sets.py, or gives a set that results rest on a new name."""
    assert set(published()) == {
        f"{task}-{quality}-v0" for task in ("pin", "gpu", "cut") for quality in ("mixed", "expert")
    }
    for name, recipe in published().items():
        env = make_env(recipe.env)
        assert fingerprint(env) == recipe.fingerprint, name
        env.close()
        assert len(recipe.sha256) == 64


def test_no_two_parts_share_starts_or_files():
    for recipe in published().values():
        assert (
            len({part.seed for part in recipe.parts}) == len({part.name for part in recipe.parts}) == len(recipe.parts)
        )
    mixed = [recipe.parts for name, recipe in published().items() if "mixed" in name]
    assert len({tuple((p.by, p.episodes, p.noise > 0) for p in parts) for parts in mixed}) == 1, (
        "one composition for all tasks"
    )


def test_an_unknown_name_is_answered_by_all_names():
    with pytest.raises(
        UserError, match=r"'pin-v9'.*pin-mixed-v0 \(ENPIRE/PinInsertion-v0: 40 scripted, 40 scripted-noise30"
    ):
        find_set("pin-v9")


# -- the command line -----------------------------------------------------------------------------------------------------
def test_from_the_command_line(recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data_sets, "published", lambda: {recipe.name: recipe})
    assert main(["demos", "--set", recipe.name, "--out", str(tmp_path / "set")]) == 0
    captured = capsys.readouterr()
    assert "12 episodes" in captured.out
    assert check_set(tmp_path / "set")["sha256"] in captured.out
    assert "not the episodes that reach-mixed-v0 was published with" in captured.err
    assert (
        main(["demos", "--set", recipe.name, "--out", str(tmp_path / "b"), "--by", "naive", "--all", "--seed", "0"])
        == 2
    )
    assert (
        "the recipe of reach-mixed-v0 says what is recorded; leave --by, --seed, --all out" in capsys.readouterr().err
    )


def test_demonstrations_with_noise(reach, tmp_path, policy_dir, capsys):
    assert main(["demos", "--env", reach, "-n", "3", "--noise", "0.5", "--all", "--out", str(tmp_path / "noisy")]) == 0
    assert [e.meta["provenance"]["policy"] for e in Episodes(tmp_path / "noisy")] == ["scripted with 0.5 noise"] * 3
    folder = policy_dir("class Policy:\n    pass\n")
    args = ["--by", str(folder), "--noise", "0.5", "--out", str(tmp_path / "b"), "--sandbox", "none"]
    assert main(["demos", "--env", reach, *args]) == 2
    assert "--noise interrupts a task's own policies" in capsys.readouterr().err


# -- what stands for a half-trained policy -----------------------------------------------------------------------------------
class Still:
    """Does nothing, and remembers what was done in its place."""

    def reset(self, observation):
        self.done = []

    def act(self, observation):
        return np.zeros(2, np.float32)

    def did(self, action):
        self.done.append(action)


def test_bursts_take_their_share_and_the_script_is_told():
    still = Still()
    policy = NoisyPolicy(still, Box(-1, 1, (2,), np.float32), 0.3, seed=1)
    policy.reset(None)
    actions = np.stack([policy.act(None) for _ in range(20_000)])
    noisy = actions.any(axis=1)
    assert 0.27 < noisy.mean() < 0.33
    np.testing.assert_array_equal(actions[noisy], np.stack(still.done))
    changes = (np.diff(actions[noisy], axis=0) != 0).any(axis=1).sum() + 1
    assert noisy.sum() / changes == pytest.approx(NoisyPolicy.BURST, rel=0.01)
    assert np.abs(actions[noisy]).max() <= 1
    assert np.abs(actions[noisy].mean(axis=0)).max() < 0.1


def test_no_burst_outlasts_its_episode():
    policy = NoisyPolicy(Still(), Box(-1, 1, (2,), np.float32), 0.5, seed=1)
    firsts = []
    for _ in range(300):
        policy.reset(None)
        firsts.append(policy.act(None).any())
        for _ in range(20):
            policy.act(None)
    assert np.mean(firsts) < 0.15  # a burst that begins there: 1 in 15
