"""Episodes come in as they were kept, say who made them, and do not mix with others."""

import numpy as np
import pytest
from enpire_envs.episode_file import EpisodeWriter, describe_space
from gymnasium import spaces

from autoenvbench.errors import UserError
from autoenvbench.learning.episodes import load
from autoenvbench.make_env import make_env

BOX, ACTION = spaces.Box(-1, 1, (3,), np.float32), spaces.Box(-1, 1, (2,), np.float32)


def write(folder, name, rng, *, success=True, steps=4, space=BOX, **meta):
    folder.mkdir(exist_ok=True)
    writer = EpisodeWriter()
    space.seed(int(rng.integers(1000)))
    writer.begin(space.sample())
    for k in range(steps):
        last = k == steps - 1
        writer.step(
            rng.uniform(-1, 1, 2), space.sample(), float(last), last and success, last and not success, time=k / 10
        )
    about = {"env": "A-v0", "fingerprint": "f", "observation_space": describe_space(space), "action_space": describe_space(ACTION)}  # fmt: skip
    provenance = {"provenance": {"policy": "scripted"}}
    writer.write(folder / f"{name}.episode", {**about, **provenance, "verdict": {"success": success}, **meta}, action_shape=(2,))  # fmt: skip


def test_a_folder_in_memory(tmp_path, rng):
    write(tmp_path / "a", "1", rng)
    write(tmp_path / "a", "2", rng, success=False, steps=7)
    write(tmp_path / "b", "1", rng, provenance={"agent": "codex-1"})
    data = load([tmp_path / "a", tmp_path / "b"])
    assert [(len(t), t.success, t.terminated, t.source) for t in data] == [
        (4, True, True, "scripted"), (7, False, False, "scripted"), (4, True, True, "codex-1"),
    ]  # fmt: skip
    assert (data.steps, data.sources) == (15, {"scripted": 2, "codex-1": 1})
    assert data[1].observation.shape == (8, 3)
    assert [len(t) for t in load([tmp_path / "a"], successes=True)] == [4]


def test_images_are_decoded(tmp_path, rng):
    space = spaces.Dict(pixels=spaces.Box(0, 255, (8, 6, 3), np.uint8), agent_pos=BOX)
    write(tmp_path / "a", "1", rng, space=space)
    (trajectory,) = load([tmp_path / "a"])
    assert {key: (value.shape, value.dtype) for key, value in trajectory.observation.items()} == {
        "pixels": ((5, 8, 6, 3), np.uint8), "agent_pos": ((5, 3), np.float32),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"env": "B-v0"}, "its env is B-v0, there it is A-v0"),
        ({"fingerprint": "g"}, "its fingerprint is g, there it is f"),
        ({"space": spaces.Box(-1, 1, (4,), np.float32)}, "its observation_space is"),
    ],
)
def test_episodes_of_another_environment_do_not_mix(tmp_path, rng, other, words):
    write(tmp_path / "a", "1", rng)
    write(tmp_path / "a", "2", rng, **other)
    with pytest.raises(UserError, match=f"2.episode does not go with .*1.episode: {words}"):
        load([tmp_path / "a"])


def test_what_is_no_episode_is_said(tmp_path, rng):
    with pytest.raises(UserError, match=r"there are no episodes .* `autoenvbench demos` makes some"):
        load([tmp_path])
    write(tmp_path / "a", "1", rng, success=False)
    with pytest.raises(UserError, match=r"no successful episode with a step is in .*/a"):
        load([tmp_path / "a"], successes=True)
    (tmp_path / "a" / "2.episode").write_bytes(b"x" * 100)
    with pytest.raises(UserError, match=r"2.episode is no episode"):
        load([tmp_path / "a"])


def test_they_are_refused_for_another_environment_or_version(tmp_path, rng):
    from enpire_envs.fingerprint import fingerprint

    env = make_env("ENPIRE/PushT-v0")
    write(tmp_path / "a", "1", rng)
    with pytest.raises(UserError, match="of A-v0, not of ENPIRE/PushT-v0"):
        load([tmp_path / "a"]).check(env)
    write(tmp_path / "b", "1", rng, env="ENPIRE/PushT-v0")
    with pytest.raises(UserError, match=r"made in another ENPIRE/PushT-v0 .fingerprint f, now "):
        load([tmp_path / "b"]).check(env)
    write(tmp_path / "c", "1", rng, env="ENPIRE/PushT-v0", fingerprint=fingerprint(env))
    with pytest.raises(
        UserError, match=r"the observations of these episodes are .*'shape': .3.*those of ENPIRE/PushT-v0"
    ):
        load([tmp_path / "c"]).check(env)
    env.close()
