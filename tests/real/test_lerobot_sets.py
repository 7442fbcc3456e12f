"""`autoenvbench demos --from ... --to lerobot` and back, with LeRobot itself; what comes back can be learnt from."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from enpire_envs.episode_file import EncodedImages, encode_png, read_episode, write_episode
from enpire_envs.fingerprint import fingerprint

from autoenvbench.cli.main import main
from autoenvbench.errors import UserError
from autoenvbench.learning.episodes import load
from autoenvbench.make_env import make_env
from autoenvbench.study.data_sets import DataSet, Part, check_set, record_set
from autoenvbench.study.lerobot_sets import _declare, from_lerobot, to_lerobot

PYTHON = Path(__file__).parents[2] / ".tools" / "lerobot" / "bin" / "python"
with_lerobot = pytest.mark.skipif(
    not PYTHON.exists(), reason="the LeRobot environment is not there: make .tools/.lerobot"
)

#: Says what LeRobot reads in ours, and makes a dataset of its own for the same task.
READ_AND_MAKE = """
import json, sys
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
ours = LeRobotDataset("some/body", root=sys.argv[1])
rows = ours.hf_dataset
print(json.dumps({"fps": ours.fps, "episodes": ours.num_episodes, "frames": len(ours), "success": int(sum(map(bool, rows["next.success"]))),
                  "state": ours[1]["observation.state"].tolist(), "action": ours[1]["action"].tolist()}))
vector = lambda n: {"dtype": "float32", "shape": (n,), "names": None}
flag = {"dtype": "bool", "shape": (1,), "names": None}
theirs = LeRobotDataset.create("some/body", 10, {"observation.state": vector(4), "action": vector(2), "next.success": flag}, root=sys.argv[2])
for length, won in ((3, True), (2, False)):
    for k in range(length):
        theirs.add_frame({"observation.state": np.full(4, k / 100, np.float32), "action": np.full(2, k / 10, np.float32),
                          "next.success": np.array([won and k == length - 1]), "task": "reach"})
    theirs.save_episode()
theirs.finalize()
"""


@with_lerobot
def test_a_set_goes_to_lerobot_and_comes_back(reach, tmp_path, capsys):
    here = fingerprint(make_env(reach))
    recipe = DataSet("reach-mixed-v0", reach, (Part("scripted", 2, seed=1), Part("random", 1, seed=2)), here, "")
    made = record_set(recipe, tmp_path / "set")
    python = ["--python", str(PYTHON)]
    assert (
        main(["demos", "--from", str(tmp_path / "set"), "--to", "lerobot", "--out", str(tmp_path / "lerobot"), *python])
        == 0
    )
    assert f"3 episodes, {made['steps']} steps" in capsys.readouterr().out
    done = subprocess.run(
        [PYTHON, "-c", READ_AND_MAKE, tmp_path / "lerobot", tmp_path / "theirs"], capture_output=True, text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"}, check=True,
    )  # fmt: skip
    first = load([tmp_path / "set"])[0]
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "fps": 10, "episodes": 3, "frames": made["steps"], "success": made["successes"],
        "state": pytest.approx(first.observation[1]), "action": pytest.approx(first.action[1]),
    }  # fmt: skip

    assert main(["demos", "--from", str(tmp_path / "lerobot"), "--out", str(tmp_path / "back"), *python]) == 0
    assert check_set(tmp_path / "back") == made  # the same bits, and the word of who made them
    assert load([tmp_path / "back"]).sources == {"scripted": 2, "random": 1}

    # A dataset of others: whoever imports it says of which environment it is.
    assert main(["demos", "--from", str(tmp_path / "theirs"), "--out", str(tmp_path / "b"), *python]) == 2
    assert "does not say which environment it is of; say so with --env ID" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
    from_lerobot(tmp_path / "theirs", tmp_path / "imported", env_id=reach, python=str(PYTHON))
    imported = load([tmp_path / "imported"])
    imported.check(make_env(reach))
    assert [(len(t), t.success, t.terminated, t.source, t.reward.tolist()) for t in imported] == [
        (3, True, True, "imported", [0, 0, 1]), (2, False, False, "imported", [0, 0]),
    ]  # fmt: skip
    np.testing.assert_allclose(
        imported[0].observation[:, 0], [0, 0.01, 0.02, 0.02]
    )  # the last one is not in a LeRobotDataset
    np.testing.assert_allclose(imported[0].action[:, 0], [0, 0.1, 0.2])


def stranger(path, *, actions=0.5, state=4, hz=10, image=None):
    """An episode as `enpire_real.dataset` makes it of a dataset of others."""
    steps = {
        "reward": np.zeros(2),
        "terminated": np.array([False, True]),
        "truncated": np.zeros(2, bool),
        "time": np.arange(2) / hz,
        "source": np.full(2, 255, np.uint8),
        "late": np.zeros(2, bool),
    }
    columns = {
        "observation.state": np.zeros((3, state), np.float32),
        "action": np.full((2, 2), actions, np.float32),
        **steps,
    }
    if image is not None:
        columns["observation.images.eye"] = EncodedImages.of([encode_png(np.zeros(image, np.uint8))] * 3)
    write_episode(path, {"control_hz": hz, "provenance": {"collector": "LeRobotDataset some/body"}}, columns)
    return read_episode(path)


@pytest.mark.parametrize(
    ("odd", "what"),
    [
        ({"hz": 20}, "run at 20 Hz, Example/Reach-v0 at 10"),
        ({"state": 5}, r"observation\.state has rows of shape \(5,\), the environment's \(4,\)"),
        ({"actions": 3.0}, "action goes from 3.0 to 3.0, outside the environment's bounds"),
        ({"actions": np.nan}, "action goes from nan to nan"),
    ],
)
def test_what_cannot_be_of_the_environment_is_refused(reach, tmp_path, odd, what):
    with pytest.raises(UserError, match=what):
        _declare(stranger(tmp_path / "a.episode", **odd), make_env(reach))


def test_images_are_found_by_their_names(tmp_path):
    env = make_env("ENPIRE/PushT-v0", {"obs_type": "pixels_agent_pos"})
    shape = env.observation_space["pixels"].shape
    episode = stranger(tmp_path / "a.episode", state=2, image=shape)
    with pytest.raises(
        UserError,
        match=r"observes observation\.pixels, which would be observation\.images\.pixels; .*observation\.images\.eye",
    ):
        _declare(episode, env)
    columns = {**episode.columns, "observation.images.pixels": episode["observation.images.eye"]}
    _declare(replace(episode, columns=columns), env)
    assert set(load([tmp_path])[0].observation) == {"agent_pos", "pixels"}
    env.close()


def test_wrong_ways_are_said(reach, shown, tmp_path, capsys):
    for args, what in (
        (["--from", str(shown)], "no LeRobotDataset .* with --to lerobot it becomes one"),
        (["--from", str(shown), "--by", "naive", "--seed", "0"], "--from records nothing; leave --by, --seed out"),
        (["--from", str(shown), "--to", "lerobot", "--env", reach], "leave --env out"),
        (["--from", str(shown), "--lossless"], "add --to lerobot"),
        (["--to", "lerobot"], "name its folder by --from"),
    ):
        assert main(["demos", "--out", str(tmp_path / "out"), *args]) == 2
        assert re.search(what, capsys.readouterr().err), args
    (tmp_path / "a/meta").mkdir(parents=True)
    (tmp_path / "a/meta/info.json").write_text("{}")
    with pytest.raises(UserError, match="is a LeRobotDataset already; leave --to out"):
        to_lerobot(tmp_path / "a", tmp_path / "b")
    assert not (tmp_path / "out").exists()
